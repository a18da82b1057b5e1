"""Is it still the same person? Two embeddings of a face, compared pair by pair."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from lrface.errors import UsageError
from lrface.metrics.intervals import counts


def similarity(a: Tensor | np.ndarray, b: Tensor | np.ndarray) -> np.ndarray:
    """Cosine similarity of row i of ``a`` and row i of ``b``, both (N, D): float64 (N,) in [-1, 1],
    higher is more alike.

    A zero vector has no direction: its similarity is NaN, as it is for a vector with a NaN (a face
    that was not found). Source: EDFace-Celeb-1M, section 4.5 and Table 3 ("Identity"), where it
    compares SR with HR.
    """
    a, b = _rows(a, b)
    # Scaling by the largest entry first keeps the squares of very short or very long vectors from
    # vanishing or overflowing.
    with np.errstate(invalid="ignore", divide="ignore"):
        a, b = (x / np.abs(x).max(1, keepdims=True, initial=0) for x in (a, b))
        cosine = (a * b).sum(1) / (np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1))
    return np.clip(cosine, -1, 1)


def distance(a: Tensor | np.ndarray, b: Tensor | np.ndarray) -> np.ndarray:
    """Euclidean distance of row i of ``a`` and row i of ``b``, both (N, D): float64 (N,), lower is
    more alike.

    Vectors are compared as they come, not normalised: this is dlib's own measure, with 0.6 as its
    threshold. NaN where a vector holds a NaN; a zero vector is an ordinary point here.
    """
    a, b = _rows(a, b)
    return np.linalg.norm(a - b, axis=1)


@dataclass(frozen=True, eq=False)
class Impostors:
    """How alike different people look, and whether the same person still stands out."""

    different: np.ndarray
    """float64: cosine similarity of every pair of faces of two people."""
    same: np.ndarray
    """float64: of every pair of two faces of one person."""
    medians: np.ndarray
    """float64 (1 + resamples,): the median of ``different``, then that of each resample of people;
    for :func:`estimate`, as it is or less that of other vectors of the same faces."""
    rates: np.ndarray
    """float64 (1 + resamples,): the share of ``same`` above all but ``fpr`` of ``different``, then
    as above."""


def impostors(
    vectors: Tensor | np.ndarray,
    identities: np.ndarray,
    fpr: float = 0.01,
    resamples: int = 200,
    seed: int = 0,
) -> Impostors:
    """All pairs of embeddings (N, D) with their identities (N,). Resampling draws identities; the
    same seed draws the same ones.

    Source: EDFace-Celeb-1M, section 4.5 and Figure 6, which shows similarities between different
    people before and after hallucination.
    """
    x = np.asarray(
        vectors.detach().double().cpu() if isinstance(vectors, Tensor) else vectors, np.float64
    )
    x = x / np.linalg.norm(x, axis=1, keepdims=True)
    people = np.unique(np.asarray(identities), return_inverse=True)[1]
    a, b = np.triu_indices(len(x), 1)
    cosine, alike = (x @ x.T)[a, b], people[a] == people[b]
    sides = {}
    for kind, mask in (("different", ~alike), ("same", alike)):
        order = np.argsort(cosine[mask], kind="stable")
        sides[kind] = cosine[mask][order], people[a[mask]][order], people[b[mask]][order]
    n = int(people.max()) + 1
    drawn = counts(n, resamples, seed)
    medians, rates = np.full(len(drawn), np.nan), np.full(len(drawn), np.nan)
    for i, times in enumerate(drawn):
        value, one, other = sides["different"]
        reached = np.cumsum(times[one] * times[other])
        if not len(reached) or not reached[-1]:
            continue
        # a pair of people drawn k and l times stands k * l times in the list
        medians[i] = value[np.searchsorted(reached, reached[-1] / 2)]
        bar = value[min(np.searchsorted(reached, (1 - fpr) * reached[-1]), len(value) - 1)]
        value, one, _ = sides["same"]
        weight = times[one]
        if weight.sum():
            rates[i] = weight[value > bar].sum() / weight.sum()
    return Impostors(sides["different"][0], sides["same"][0], medians, rates)


def _rows(a: Tensor | np.ndarray, b: Tensor | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    a, b = (
        np.asarray(x.detach().double().cpu() if isinstance(x, Tensor) else x, np.float64)
        for x in (a, b)
    )
    if a.ndim != 2 or a.shape != b.shape:
        raise UsageError(
            f"embeddings are compared row by row: want two arrays (N, D), got {a.shape} and {b.shape}"
        )
    return a, b
