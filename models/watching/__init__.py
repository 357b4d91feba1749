"""Whether a model still fits the images of the day: drift, expected accuracy, limits, and the history of a table."""
