"""Restorers of clips: one small module a paper. Float (N, T, 3, h, w) in [0, 1] to every frame, (N,
T, 3, H, W), or to the reference frame, (N, 3, H, W)."""
