"""Restorers of single images, one module a paper: float (N, 3, h, w) in [0, 1] to (N, 3, H, W)."""
