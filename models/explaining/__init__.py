"""What a network looks at, as pictures on a page.

The techniques have a package of their own, below `evaluation`, which shows heat maps as well.
"""
