"""Restorers of clips, one module per paper.

They take float (N, T, 3, h, w) in [0, 1] and return every frame, (N, T, 3, 8h, 8w) (VidFace), or
the reference frame, (N, 3, 8h, 8w) (EDVR, MuCAN).
"""
