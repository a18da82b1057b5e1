"""Faces brought to one distance between the eyes, which is how CBN's slides measure resolution.

The slides name settings by the distance of the eye *centres* in the small face, "5 px" and "8 px".
A face is only magnified, about the centre of its crop, and stays in the place and at the angle in
which it was cropped: it is unaligned.

Seen from the side the eyes are close together, and bringing them apart would magnify the face out
of its window. Such faces are left out where it takes more than ``most`` of what the set's median
face takes; so are faces whose eyes are unknown, and those whose window reaches so far beyond the
crop that more than an eighth of it, on a side, would be a mirror image.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from lrface.data.faceset import FaceSet
from lrface.data.landmarks import landmarks
from lrface.errors import LrfaceError

MIRRORED_SHARE = 1 / 8
"""How much of a window's side may lie beyond the crop, at most, on either side of it."""
LEFT_EYE, RIGHT_EYE = slice(36, 42), slice(42, 48)


class Brought(NamedTuple):
    """Faces at one distance, and how many were left out, and why."""

    faces: FaceSet
    unknown: int
    """No eyes were found in them."""
    from_the_side: int
    """Their eyes are too close together."""
    beyond: int
    """Their window reaches too far beyond the crop."""


def eye_distances(points: np.ndarray) -> np.ndarray:
    """Distance of the eye centres (means of six landmarks each), float (N,), of landmarks (N, 68,
    2).

    Examples
    --------
    >>> points = np.zeros((1, 68, 2))
    >>> points[:, 42:48, 0] = 5
    >>> eye_distances(points)
    array([5.])
    """
    points = np.asarray(points, np.float64)
    return np.linalg.norm(points[:, RIGHT_EYE].mean(1) - points[:, LEFT_EYE].mean(1), axis=1)


def at_eye_distance(faces: FaceSet, pixels: float, window: int = 128, most: float = 1.5) -> Brought:
    """The faces of a set, magnified to one distance between their eye centres.

    Parameters
    ----------
    faces : FaceSet
        Its landmarks are its own, or dlib's (:func:`lrface.data.landmarks.landmarks`).
    pixels : float
        Distance of the eye centres afterwards, in HR pixels.
    window : int
        Side of the window about the centre of the crop, in pixels.
    most : float
        The largest magnification, over the median of the set.

    Returns
    -------
    Brought
        Of the faces, ``table`` has the columns ``magnified`` and ``landmarks`` (in pixels of the
        window), other digests, and the keys of before.

    Raises
    ------
    LrfaceError
        No face is left.

    Examples
    --------
    >>> from lrface import data
    >>> found = at_eye_distance(data.load("synthetic", "val", 20), 40)
    >>> set(eye_distances(landmarks(found.faces)).round(2)), found.faces.read(0).shape
    ({np.float64(40.0)}, (128, 128, 3))
    """
    points = landmarks(faces).astype(np.float64)
    apart = eye_distances(points)
    with np.errstate(divide="ignore"):
        magnified = pixels / apart
    known = np.isfinite(apart)
    median = np.median(magnified[known]) if known.any() else np.nan
    side = faces.side or faces.crop.size
    small = known & (magnified > most * median)
    beyond = (
        known & ~small & ((window / magnified - side) / 2 > MIRRORED_SHARE * window / magnified)
    )
    keep = known & ~small & ~beyond
    if not keep.any():
        raise LrfaceError(
            f"no face of {faces.name} can be brought to {pixels:g} pixels between the eyes in a "
            f"window of {window}: {int((~known).sum())} without landmarks, {int(small.sum())} seen "
            f"from the side, {int(beyond.sum())} whose window leaves the picture"
        )
    chosen, magnified, points = faces.where(keep), magnified[keep], points[keep]
    moved = (points - (side - 1) / 2) * magnified[:, None, None] + (window - 1) / 2
    marks = (
        f"{d}:{m:.9g}:{window}" for d, m in zip(chosen.table["digest"], magnified, strict=True)
    )
    table = chosen.table.assign(
        magnified=magnified,
        landmarks=[one.astype(np.float32) for one in moved],
        digest=[hashlib.sha256(mark.encode()).hexdigest()[:16] for mark in marks],
    )
    brought = replace(chosen, table=table, side=window)
    return Brought(brought, int((~known).sum()), int(small.sum()), int(beyond.sum()))
