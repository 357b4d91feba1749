"""Evaluation: predictions of a split, metrics, slices, the report, the model card, and what is to be blessed."""
