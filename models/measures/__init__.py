"""Numbers about predictions: metrics, intervals by resampling, calibration, paired comparison."""
