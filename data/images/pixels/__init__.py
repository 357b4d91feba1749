"""From decoded values to pixels: the decode policy, colour, windows, resizing, encoding and augmentation."""
