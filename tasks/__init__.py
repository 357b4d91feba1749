"""Prefect tasks: each is a door to one plain function of `data` or `models`, and passes paths, never pixels."""
