"""Experiments whose pages in `docs/experiments` are made by one command each."""
