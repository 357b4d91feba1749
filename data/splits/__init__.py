"""Splits: the draw by content hash, and the share of each class or label in every split."""
