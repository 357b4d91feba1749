"""Bytes to pixels and back: the one decoder, its policy, resizing, encoding, and augmentation."""
