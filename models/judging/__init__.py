"""Evaluation: metrics, slices, the report, the model card, and which version is blessed."""
