"""Checks of stored results: second sources of a number, comparison of runs, what made a table."""
