"""What files need: written whole or not at all, locked, listed in order, hashed, worked on in parallel.

Cards, the JSON files that list others with sizes and hashes, are read and checked here too.
"""
