"""What a model was trained on, beside it: the training profile, by which later images are compared with it."""
