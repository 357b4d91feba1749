"""Several labels an image: calibration, thresholds, metrics, comparison; and how answers are given for either task."""
