"""The quality of a data set: duplicates, leaks between splits, outliers."""
