"""A data set before training: likely label errors, and the page of findings."""
