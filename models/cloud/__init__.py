"""Recognition services of others: asked for their words on each image, which become rows of a prediction table."""
