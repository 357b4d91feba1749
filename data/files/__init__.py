"""Files: atomic writes, locks, ordered listings, hashes, parallel processing.

Cards, the JSON files that list others with sizes and hashes, are read and checked here too.
"""
