"""A trained model on disk, its card, and which version is blessed. The ready-made ImageNet model is built here too."""
