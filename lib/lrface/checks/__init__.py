"""Checks on what is stored: second sources for every number, comparison of runs, and what made a
table."""
