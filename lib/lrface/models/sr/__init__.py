"""Restorers of single images: one small module a paper. Float (N, 3, h, w) in [0, 1] to (N, 3, H,
W)."""
