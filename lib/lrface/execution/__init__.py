"""Notebooks as studies: parameters, kernels, what a run used and wrote, and how it is published."""
