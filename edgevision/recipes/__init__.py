"""Recipes, one file for each model: what it takes and what it gives.

`RECIPES` maps "variant data", "data", "variant" or "" to a `Recipe`; the first that fits is taken.
"""
