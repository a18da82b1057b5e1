"""Face alignment as a measure of hallucination: how far dlib's 68 landmarks move between the true
face and the hallucinated one.

EDFace-Celeb-1M (section 4.4, Table 3) takes dlib's landmarks on the HR and on the SR image and
reports a "Normalized Root Mean Squared Error". It prints neither the normaliser, nor where the SR's
face box comes from, nor what happens to a face dlib does not find. The choices made here, each a
named argument:

- ``normaliser="interocular"``, the distance of the outer eye corners of the HR face (300-W's
  convention). Of the three offered it is the one that agrees with the printed range, 0.021-0.022 at
  2x, 0.025-0.030 at 4x, 0.035-0.044 at 8x: on 2,000 CelebA crops the mere bicubic image, which the
  paper's methods should beat, gives 0.017, 0.027 and 0.052 with it, but 0.010, 0.017 and 0.031 with
  the box and 0.007, 0.012 and 0.022 with the diagonal.
- ``boxes="own"``: the face is detected afresh in the SR image, as the paper's wording suggests. The
  detector's boxes lie on a coarse grid, so a small change of the image can move them by some
  pixels, and the landmarks a little with them. ``boxes="hr"`` keeps the HR image's box and leaves
  that noise out.
- A face not found is NaN and counted, never dropped in silence: a mean over the faces found
  flatters a method that loses the hard ones. Of the same crops, 3 % have no face dlib finds even in
  HR; bicubic then loses another 0.6 % at 2x, 3 % at 4x, 21 % at 8x and 85 % at 4x_DN.

dlib rounds landmarks to whole pixels. At 128x128 that alone is an error of about 0.01, a floor
under every figure.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from torch import Tensor

from lrface.data.landmarks import Landmarker
from lrface.errors import UsageError

Normaliser = Literal["interocular", "box", "diagonal"]
Boxes = Literal["own", "hr"]


def nrmse(
    sr_landmarks: np.ndarray, hr_landmarks: np.ndarray, normaliser: Normaliser = "interocular"
) -> np.ndarray:
    """Normalised root mean squared error of 68 landmarks: two arrays (N, 68, 2) to float64 (N,), a
    fraction (0 is perfect).

    The root of the mean over the points of the squared distance, divided by a length of the HR
    face: ``interocular``, the distance of the outer eye corners (points 37 and 46 of 300-W);
    ``box``, the root of the area of the landmarks' bounding box; ``diagonal``, that box's diagonal.
    NaN where either face is missing or the length is 0. Source: EDFace-Celeb-1M, section 4.4; the
    normaliser is ours to choose (see the module's text).
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
    """Alignment errors of a batch of faces with an account of those that have none. Every HR face
    is in exactly one of ``n``, ``failures``, ``excluded``."""

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
        """Faces found in the HR image but lost in the SR image: the method's own failures."""
        return int((self.hr_found & ~self.sr_found).sum())

    @property
    def excluded(self) -> int:
        """Faces not found in the HR image already (or with no measurable size): they say nothing
        about the method."""
        return len(self.nrmse) - self.n - self.failures

    @property
    def mean(self) -> float:
        """Mean error over the ``n`` faces that have one, NaN if none has. Report ``n`` and
        ``failures`` beside it."""
        return float(np.nanmean(self.nrmse)) if self.n else float("nan")


def compare(
    sr_landmarks: np.ndarray, hr_landmarks: np.ndarray, normaliser: Normaliser = "interocular"
) -> Alignment:
    """The errors of :func:`nrmse` with their account, from landmarks (N, 68, 2) already at hand:
    the HR face's serve every method."""
    sr_found, hr_found = (
        np.isfinite(points).all((1, 2)) for points in (sr_landmarks, hr_landmarks)
    )
    return Alignment(nrmse(sr_landmarks, hr_landmarks, normaliser), hr_found, sr_found)


def alignment_error(
    sr: Tensor,
    hr: Tensor,
    landmarker: Landmarker | None = None,
    boxes: Boxes = "own",
    normaliser: Normaliser = "interocular",
) -> Alignment:
    """Alignment error between hallucinated and true faces, both uint8 (N, 3, H, W) of equal shape.

    ``boxes="own"`` detects the face in each SR image, which can fail; ``"hr"`` reuses the box found
    in the HR image. Pass a ``landmarker`` to keep its models between calls. Source:
    EDFace-Celeb-1M, section 4.4 and Table 3.
    """
    if sr.shape != hr.shape:
        raise UsageError(
            f"alignment_error compares images of equal shape, got SR {tuple(sr.shape)} and HR {tuple(hr.shape)}"
        )
    if boxes not in ("own", "hr"):
        raise UsageError(
            f"unknown boxes {boxes!r}: choose own (detect in the SR image) or hr (reuse the HR image's box)"
        )
    landmarker = landmarker or Landmarker()
    hr_boxes = landmarker.detect(hr)
    sr_boxes = landmarker.detect(sr) if boxes == "own" else hr_boxes
    return compare(
        landmarker.landmarks68(sr, sr_boxes), landmarker.landmarks68(hr, hr_boxes), normaliser
    )
