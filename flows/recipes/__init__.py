"""Recipes: one YAML file for each known data set, validated by `darkroom.flows.recipe`."""
