"""Recipes: one YAML file for each known data set, validated by `flows.recipe`."""
