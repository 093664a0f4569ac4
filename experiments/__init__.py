"""Recipes and studies of this project."""
