"""Is a model good enough? Evaluation, slices, the report, the model card, and which version may score."""
