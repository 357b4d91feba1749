"""What a network looks at, as pictures on a page.

The techniques have a room of their own, below judging, which shows heat maps as well.
"""
