"""Is it still the same person? Two embeddings of a face, compared pair by pair."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from lrface.errors import UsageError


def similarity(a: Tensor | np.ndarray, b: Tensor | np.ndarray) -> np.ndarray:
    """Cosine similarity of row i of ``a`` and row i of ``b``, both (N, D): float64 (N,) in [-1, 1], higher is more alike.

    A zero vector has no direction: its similarity is NaN, as it is for a vector with a NaN (a face that was not found). Source:
    EDFace-Celeb-1M, section 4.5 and Table 3 ("Identity"), where it compares SR with HR.
    """
    a, b = _rows(a, b)
    # Scaling by the largest entry first keeps the squares of very short or very long vectors from vanishing or overflowing.
    with np.errstate(invalid="ignore", divide="ignore"):
        a, b = (x / np.abs(x).max(1, keepdims=True, initial=0) for x in (a, b))
        cosine = (a * b).sum(1) / (np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1))
    return np.clip(cosine, -1, 1)


def distance(a: Tensor | np.ndarray, b: Tensor | np.ndarray) -> np.ndarray:
    """Euclidean distance of row i of ``a`` and row i of ``b``, both (N, D): float64 (N,), lower is more alike.

    Vectors are compared as they come, not normalised: this is dlib's own measure, with 0.6 as its threshold. NaN where a vector holds
    a NaN; a zero vector is an ordinary point here.
    """
    a, b = _rows(a, b)
    return np.linalg.norm(a - b, axis=1)


def _rows(a: Tensor | np.ndarray, b: Tensor | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    a, b = (np.asarray(x.detach().double().cpu() if isinstance(x, Tensor) else x, np.float64) for x in (a, b))
    if a.ndim != 2 or a.shape != b.shape:
        raise UsageError(f"embeddings are compared row by row: want two arrays (N, D), got {a.shape} and {b.shape}")
    return a, b
