"""Alignment error: how far dlib's 68 landmarks move between the HR face and the hallucinated one.

EDFace-Celeb-1M (section 4.4, Table 3) detects dlib's landmarks in the HR and in the SR image and
reports a "Normalized Root Mean Squared Error". The paper prints neither the normaliser, nor where
the face box of the SR image comes from, nor what happens to a face that dlib does not find. The
choices made here:

- The normaliser is ``interocular``, the distance of the outer eye corners of the HR face (300-W's
  convention). Of the three offered it is the one that agrees with the printed range, 0.021-0.022 at
  2x, 0.025-0.030 at 4x, 0.035-0.044 at 8x: on 2,000 CelebA crops bicubic interpolation, which the
  paper's methods should beat, gives 0.017, 0.027 and 0.052 with it, but 0.010, 0.017 and 0.031 with
  ``box`` and 0.007, 0.012 and 0.022 with ``diagonal``.
- Studies detect the face anew in the SR image, as the paper's wording suggests. The detector's
  boxes lie on a coarse grid, so a small change of the image can move them by some pixels, and the
  landmarks a little with them. Landmarks in the HR image's box are free of that noise:
  ``landmarker(sr, boxes=landmarker.detect(hr))``.
- A face that is not found has the error NaN and is counted: a mean over the faces found flatters a
  method that loses the hard ones. Of the same crops, dlib finds no face in 3 % even in HR; bicubic
  interpolation then loses another 0.6 % at 2x, 3 % at 4x, 21 % at 8x and 85 % at 4x_DN.

dlib rounds landmarks to whole pixels. At 128x128 that alone is an error of about 0.01, a lower
bound of every result.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from lrface.errors import UsageError

Normaliser = Literal["interocular", "box", "diagonal"]


def nrmse(
    sr_landmarks: np.ndarray, hr_landmarks: np.ndarray, normaliser: Normaliser = "interocular"
) -> np.ndarray:
    """Normalised root mean squared error of 68 landmarks; 0 is perfect.

    The root of the mean over points of the squared distance, divided by a length of the HR face.

    Parameters
    ----------
    sr_landmarks, hr_landmarks : float (N, 68, 2)
        In pixels, in iBUG 300-W order.
    normaliser : {"interocular", "box", "diagonal"}
        The distance of the outer eye corners (points 37 and 46 of 300-W); the square root of the
        area of the landmarks' bounding box; that box's diagonal.

    Returns
    -------
    float64 (N,)
        NaN where either face was not found or the length is 0.

    Raises
    ------
    UsageError
        Other shapes or normalisers.

    Source
    ------
    EDFace-Celeb-1M, section 4.4. It does not state the normaliser (see the module's docstring).

    Examples
    --------
    >>> hr = np.zeros((1, 68, 2))
    >>> hr[0, 45] = 30, 40  # the outer eye corners are 50 pixels apart
    >>> nrmse(hr + (3, 4), hr)
    array([0.1])
    """
    sr, hr = np.asarray(sr_landmarks, np.float64), np.asarray(hr_landmarks, np.float64)
    if sr.shape != hr.shape or sr.ndim != 3 or sr.shape[1:] != (68, 2):
        raise UsageError(
            f"nrmse wants two arrays of 68 landmarks (N, 68, 2), got {sr.shape} and {hr.shape}"
        )
    if normaliser == "interocular":
        length = np.linalg.norm(hr[:, 45] - hr[:, 36], axis=1)
    elif normaliser in ("box", "diagonal"):
        sides = hr.max(1) - hr.min(1)
        length = np.sqrt(sides.prod(1)) if normaliser == "box" else np.linalg.norm(sides, axis=1)
    else:
        raise UsageError(f"unknown normaliser {normaliser!r}: choose interocular, box or diagonal")
    error = np.sqrt(((sr - hr) ** 2).sum(2).mean(1))
    return error / np.where(length > 0, length, np.nan)


@dataclass(frozen=True, eq=False)
class Alignment:
    """Alignment errors of N faces, and how many have none.

    Every face is counted once: in ``n``, ``failures`` or ``excluded``.
    """

    nrmse: np.ndarray
    """float64 (N,): NaN where the HR or the SR face was not found."""
    hr_found: np.ndarray
    """bool (N,)"""
    sr_found: np.ndarray
    """bool (N,)"""

    @property
    def n(self) -> int:
        """Faces with an error."""
        return int(np.isfinite(self.nrmse).sum())

    @property
    def failures(self) -> int:
        """Faces found in the HR but not in the SR image: failures of the method."""
        return int((self.hr_found & ~self.sr_found).sum())

    @property
    def excluded(self) -> int:
        """Faces not found in the HR image (or of size 0), which say nothing about the method."""
        return len(self.nrmse) - self.n - self.failures

    @property
    def mean(self) -> float:
        """Mean error over ``n`` faces, NaN if ``n`` is 0. Report ``failures`` with it."""
        return float(np.nanmean(self.nrmse)) if self.n else float("nan")


def compare(
    sr_landmarks: np.ndarray, hr_landmarks: np.ndarray, normaliser: Normaliser = "interocular"
) -> Alignment:
    """Alignment errors (:func:`nrmse`) with counts of the faces that were not found.

    Parameters
    ----------
    sr_landmarks, hr_landmarks : float (N, 68, 2)
        NaN for a face that was not found, as :class:`lrface.data.landmarks.Landmarker` gives them.
    normaliser : {"interocular", "box", "diagonal"}

    Returns
    -------
    Alignment

    Examples
    --------
    >>> hr = np.random.default_rng(0).uniform(0, 128, (3, 68, 2))
    >>> sr = hr.copy()
    >>> sr[1] = np.nan
    >>> found = compare(sr, hr)
    >>> found.n, found.failures, found.excluded, found.mean
    (2, 1, 0, 0.0)
    """
    pair = (sr_landmarks, hr_landmarks)
    sr_found, hr_found = (np.isfinite(points).all((1, 2)) for points in pair)
    return Alignment(nrmse(sr_landmarks, hr_landmarks, normaliser), hr_found, sr_found)
