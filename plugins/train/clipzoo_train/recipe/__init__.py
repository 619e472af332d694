"""Recipes of ``clipzoo run train``."""
