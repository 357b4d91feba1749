"""The report of an evaluation: predictions of a split, slices, figures, the page and the model card."""
