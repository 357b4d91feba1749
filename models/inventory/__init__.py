"""What a workspace holds: data sets, models and tables, the history of a model, and what may go."""
