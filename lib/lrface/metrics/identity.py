"""Identity: is it still the same person? Pairs of embeddings, compared row by row or all pairs.

A recogniser's vectors need not point in all directions: dlib's of any two faces have a cosine of
0.8 to 0.9, so that little room is left between strangers and one person. ``centre`` takes out what
all faces share, the mean vector of training faces; :func:`strangers` gives the level that a face
without any identity has.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from lrface.errors import UsageError
from lrface.metrics.intervals import counts


def similarity(
    a: Tensor | np.ndarray, b: Tensor | np.ndarray, centre: Tensor | np.ndarray | None = None
) -> np.ndarray:
    """Cosine similarity of row i of ``a`` and row i of ``b``; higher is more similar.

    Parameters
    ----------
    a, b : float (N, D)
    centre : float (D,), optional
        Subtracted from every row first: the mean vector of faces that are in neither (the training
        faces). By default nothing is.

    Returns
    -------
    float64 (N,)
        In [-1, 1]. NaN for a zero vector, which has no direction, and for a vector with a NaN (a
        face that was not found).

    Raises
    ------
    UsageError
        Other shapes.

    Source
    ------
    EDFace-Celeb-1M, section 4.5 and Table 3 ("Identity"), where it compares SR with HR.

    Examples
    --------
    >>> similarity(np.array([[3.0, 4.0], [1.0, 0.0]]), np.array([[6.0, 8.0], [0.0, 2.0]]))
    array([1., 0.])
    >>> similarity(np.array([[3.0, 1.0]]), np.array([[3.0, -1.0]]), centre=np.array([3.0, 0.0]))
    array([-1.])
    """
    a, b = (_unit(x) for x in _rows(a, b, centre))
    return np.clip((a * b).sum(1), -1, 1)


def strangers(
    a: Tensor | np.ndarray,
    b: Tensor | np.ndarray,
    identities: np.ndarray,
    centre: Tensor | np.ndarray | None = None,
) -> np.ndarray:
    """Mean cosine similarity of row i of ``a`` and all rows of ``b`` that show other people.

    The level of :func:`similarity` at which nothing of the person is left: where restored faces
    (``a``) are as similar to their own true faces (``b``) as to those of strangers, no identity is
    preserved.

    Parameters
    ----------
    a, b : float (N, D)
        Row i of both shows person ``identities[i]``; for the floor of true faces give them twice.
    identities : (N,)
    centre : float (D,), optional
        As in :func:`similarity`.

    Returns
    -------
    float64 (N,)
        In [-1, 1]. NaN where the row of ``a`` has no direction or everybody is one person; rows of
        ``b`` without a direction are left out.

    Raises
    ------
    UsageError
        Other shapes, or not one identity a row.

    Examples
    --------
    >>> faces = np.array([[1.0, 0.0], [1.0, 0.1], [0.0, 2.0]])
    >>> strangers(faces, faces, ["ann", "ann", "bob"]).round(2)
    array([0.  , 0.1 , 0.05])
    """
    a, b = (_unit(x) for x in _rows(a, b, centre))
    people = np.unique(np.asarray(identities), return_inverse=True)[1].reshape(-1)
    if len(people) != len(a):
        raise UsageError(f"{len(people)} identities were given for {len(a)} embeddings")
    known = np.isfinite(b).all(1)
    sums = np.zeros((people.max(initial=-1) + 1, b.shape[1]))
    np.add.at(sums, people[known], b[known])
    faces = np.bincount(people[known], minlength=len(sums))
    others, count = sums.sum(0) - sums[people], faces.sum() - faces[people]
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.clip((a * others).sum(1) / count, -1, 1)


def distance(a: Tensor | np.ndarray, b: Tensor | np.ndarray) -> np.ndarray:
    """Euclidean distance of row i of ``a`` and row i of ``b``; lower is more similar.

    Vectors are not normalised: this is dlib's own measure, with 0.6 as its threshold.

    Parameters
    ----------
    a, b : float (N, D)

    Returns
    -------
    float64 (N,)
        NaN where a vector has a NaN; a zero vector is an ordinary point here.

    Raises
    ------
    UsageError
        Other shapes.

    Examples
    --------
    >>> distance(np.array([[3.0, 4.0]]), np.array([[0.0, 0.0]]))
    array([5.])
    """
    a, b = _rows(a, b)
    return np.linalg.norm(a - b, axis=1)


@dataclass(frozen=True, eq=False)
class Impostors:
    """How similar different people look, and how well the same person stands out from them."""

    different: np.ndarray
    """float64: cosine similarity of every pair of faces of two people, in rising order."""
    same: np.ndarray
    """float64: that of every pair of faces of one person, in rising order."""
    medians: np.ndarray
    """float64 (1 + resamples,): the median of ``different``, then that of each resample of people.
    For :func:`estimate`, as it is or minus that of other embeddings of the same faces."""
    rates: np.ndarray
    """float64 (1 + resamples,): TPR, the share of ``same`` above all but a share ``fpr`` of
    ``different``, then that of each resample."""


def impostors(
    vectors: Tensor | np.ndarray,
    identities: np.ndarray,
    fpr: float = 0.01,
    resamples: int = 200,
    seed: int = 0,
) -> Impostors:
    """Similarities of all impostor pairs (two people) and all genuine pairs (one person).

    Parameters
    ----------
    vectors : float (N, D)
        Embeddings of faces.
    identities : (N,)
    fpr : float
        The share of impostor pairs above the threshold of ``rates``.
    resamples, seed : int
        Of the bootstrap over people; equal seeds resample alike.

    Returns
    -------
    Impostors

    Source
    ------
    EDFace-Celeb-1M, section 4.5 and Figure 6, which shows similarities between different people
    before and after hallucination.

    Examples
    --------
    >>> found = impostors(np.array([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0]]), ["a", "a", "b"])
    >>> found.different.round(1), found.same.round(2)
    (array([0. , 0.1]), array([1.]))
    """
    x = _array(vectors)
    x = x / np.linalg.norm(x, axis=1, keepdims=True)
    people = np.unique(np.asarray(identities), return_inverse=True)[1]
    a, b = np.triu_indices(len(x), 1)
    cosine, genuine = (x @ x.T)[a, b], people[a] == people[b]
    pairs = {}
    for kind, mask in (("different", ~genuine), ("same", genuine)):
        order = np.argsort(cosine[mask], kind="stable")
        pairs[kind] = cosine[mask][order], people[a[mask]][order], people[b[mask]][order]
    n = int(people.max()) + 1
    resampled = counts(n, resamples, seed)
    medians, rates = np.full(len(resampled), np.nan), np.full(len(resampled), np.nan)
    for i, times in enumerate(resampled):
        value, one, other = pairs["different"]
        # A pair of people who are drawn k and l times is in the resample k * l times.
        reached = np.cumsum(times[one] * times[other])
        if not len(reached) or not reached[-1]:
            continue
        medians[i] = value[np.searchsorted(reached, reached[-1] / 2)]
        last = np.searchsorted(reached, (1 - fpr) * reached[-1])
        threshold = value[min(last, len(value) - 1)]
        value, one, _ = pairs["same"]
        weight = times[one]
        if weight.sum():
            rates[i] = weight[value > threshold].sum() / weight.sum()
    return Impostors(pairs["different"][0], pairs["same"][0], medians, rates)


def _rows(
    a: Tensor | np.ndarray, b: Tensor | np.ndarray, centre: Tensor | np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    a, b = _array(a), _array(b)
    if a.ndim != 2 or a.shape != b.shape:
        raise UsageError(
            "embeddings are compared row by row: want two arrays (N, D), "
            f"got {a.shape} and {b.shape}"
        )
    if centre is None:
        return a, b
    centre = _array(centre)
    if centre.shape != a.shape[1:]:
        raise UsageError(f"the centre of embeddings {a.shape} has shape {centre.shape}")
    return a - centre, b - centre


def _array(x: Tensor | np.ndarray) -> np.ndarray:
    return np.asarray(x.detach().double().cpu() if isinstance(x, Tensor) else x, np.float64)


def _unit(x: np.ndarray) -> np.ndarray:
    # Scaling by the largest entry first keeps squares of extreme entries from under- and overflow.
    with np.errstate(invalid="ignore", divide="ignore"):
        x = x / np.abs(x).max(1, keepdims=True, initial=0)
        return x / np.linalg.norm(x, axis=1, keepdims=True)
