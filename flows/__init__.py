"""Prefect flows, one per file, each the list of its steps; the command line, the settings and the recipes."""
