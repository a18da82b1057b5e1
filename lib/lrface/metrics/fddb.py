"""Face detection by the protocol of FDDB: found faces over the number of false alarms.

The protocol (Jain and Learned-Miller, 2010, and their published evaluation code): faces are
ellipses, detections are boxes, and both are drawn as masks of whole pixels inside the image. At
each score that occurs, the detections from it upwards are assigned to faces one to one, so that the
sum of their overlaps (intersection over union of the masks) is largest. The discrete score counts
the pairs that overlap by more than 0.5, the continuous one adds up all overlaps; both are divided
by the number of faces. All detections without a discrete hit are false alarms, of either score.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from scipy.optimize import linear_sum_assignment

from lrface.errors import UsageError
from lrface.metrics.detection import Found, checked_found

HIT = 0.5
"""The overlap that a discrete hit exceeds."""


@dataclass(frozen=True, eq=False)
class FDDB:
    """Found faces and false alarms of a whole set, at each score that occurs."""

    thresholds: np.ndarray
    """float64 (T,): the scores, falling."""
    hits: np.ndarray
    """int64 (T,): faces found at a threshold, by the discrete score."""
    overlap: np.ndarray
    """float64 (T,): the sum of overlaps, the continuous score before its division."""
    false_alarms: np.ndarray
    """int64 (T,)."""
    faces: int

    def discrete(self, false_alarms: int) -> float:
        """The share of faces that are found with at most this many false alarms, in [0, 1]."""
        return self._at(self.hits, false_alarms)

    def continuous(self, false_alarms: int) -> float:
        """The sum of overlaps over the number of faces, with at most this many false alarms."""
        return self._at(self.overlap, false_alarms)

    def _at(self, values: np.ndarray, false_alarms: int) -> float:
        if false_alarms < 0:
            raise UsageError(f"a number of false alarms is at least 0, got {false_alarms}")
        within = values[self.false_alarms <= false_alarms]
        return float(within.max(initial=0) / self.faces) if self.faces else np.nan


def fddb(
    ellipses: Sequence[np.ndarray],
    found: Sequence[Found],
    sizes: Sequence[tuple[int, int]],
) -> FDDB:
    """Score the detections of a whole set by FDDB's rules.

    Parameters
    ----------
    ellipses : sequence of float (G_i, 5)
        The faces of each image: half the major and half the minor axis in pixels, the angle of the
        major axis with the horizontal in radians (clockwise on the screen), and the centre's x and
        y: the columns of the official lists. The drawn axes and centre are whole pixels.
    found : sequence of (float (N_i, 4), float (N_i,))
        The detections of each image: boxes as x, y, w, h in pixels, and scores. The corner
        ``x + w, y + h`` belongs to the box.
    sizes : sequence of (int, int)
        Height and width of each image.

    Returns
    -------
    FDDB

    Raises
    ------
    UsageError
        Other shapes, or values that are not finite.

    Source
    ------
    FDDB (Jain and Learned-Miller, UMass Amherst TR UM-CS-2010-009), section 5, and its published
    evaluation code. Faces outside the image are faces, as there.

    Examples
    --------
    >>> circle = np.array([[20, 20, 0, 50, 50]])
    >>> found = np.array([[32, 32, 36, 36], [80, 80, 10, 10]]), np.array([2.0, 1.0])
    >>> scored = fddb([circle], [found], [(100, 100)])
    >>> scored.discrete(0), scored.false_alarms.tolist(), round(scored.continuous(0), 2)
    (1.0, [0, 1], 0.83)
    """
    if not len(ellipses) == len(found) == len(sizes):
        raise UsageError(
            f"{len(ellipses)} images have ellipses, {len(found)} have detections and {len(sizes)} "
            "have sizes"
        )
    changes, faces = [], 0
    for i, (truth, pair, size) in enumerate(zip(ellipses, found, sizes, strict=True)):
        truth = _checked(truth, i)
        boxes, scores = checked_found(*pair, i)
        faces += len(truth)
        changes.append(_by_score(_mask_overlaps(truth, boxes, size), scores))
    changes = np.concatenate([np.zeros((0, 4)), *changes])
    thresholds, which = np.unique(-changes[:, 0], return_inverse=True)
    total = np.zeros((len(thresholds), 3))
    np.add.at(total, which, changes[:, 1:])
    total = total.cumsum(0)
    hits, alarms = (total[:, c].round().astype(np.int64) for c in (0, 2))
    return FDDB(-thresholds, hits, total[:, 1], alarms, faces)


def _by_score(shared: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """What each score of an image adds: float64 (T, 4) of score, hits, overlap, false alarms."""
    rows, before = [], np.zeros(3)
    for threshold in np.unique(scores)[::-1]:
        kept = shared[:, scores >= threshold]
        pairs = kept[linear_sum_assignment(kept, maximize=True)]
        hits = int((pairs > HIT).sum())
        now = np.array([hits, pairs.sum(), kept.shape[1] - hits])
        rows.append([threshold, *(now - before)])
        before = now
    return np.array(rows).reshape(-1, 4)


def _mask_overlaps(ellipses: np.ndarray, boxes: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Intersection over union of the drawn masks, float64 (G, N); 0 where both are outside."""
    shared = np.zeros((len(ellipses), len(boxes)))
    if not shared.size:
        return shared
    height, width = size
    corners = np.rint(np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], 1)).astype(int)
    left, top = np.maximum(corners[:, :2], 0).T
    right, bottom = np.minimum(corners[:, 2:] + 1, (width, height)).T
    right, bottom = np.maximum(right, left), np.maximum(bottom, top)
    area = (right - left) * (bottom - top)
    for g, (major, minor, angle, x, y) in enumerate(ellipses.tolist()):
        mask = np.zeros((height, width), np.uint8)
        centre, axes = (round(x), round(y)), (int(major), int(minor))
        cv2.ellipse(mask, centre, axes, np.degrees(angle), 0, 360, 1, cv2.FILLED)
        inside = np.array(
            [
                np.count_nonzero(mask[a:b, c:d])
                for a, b, c, d in zip(top, bottom, left, right, strict=True)
            ]
        )
        union = np.count_nonzero(mask) + area - inside
        shared[g] = inside / np.maximum(union, 1)
    return shared


def _checked(ellipses: np.ndarray, image: int) -> np.ndarray:
    array = np.asarray(ellipses, np.float64)
    if array.size == 0:
        return np.zeros((0, 5))
    if array.ndim != 2 or array.shape[1] != 5 or not np.isfinite(array).all():
        raise UsageError(
            f"the ellipses of image {image}: want finite numbers (N, 5), the half axes, "
            f"angle, x, y, got shape {array.shape}"
        )
    return array
