"""Face detection by the protocol of WIDER FACE: precision over recall, and average precision (AP)
on a list of faces or on any subset of them.

The protocol (Yang, Luo, Loy and Tang, CVPR 2016, and its published evaluation code):

- Scores are scaled to 0-1 by the lowest and the highest of the whole set. (The published code
  counts a highest score below zero as zero.)
- A detection is compared with *all* boxes of its image and sees only the best one: overlap is the
  intersection over the union, with sides of ``w + 1`` and ``h + 1`` pixels.
- Below an overlap of 0.5 it is a false alarm. Else it is neutral if its box is not in the list; a
  hit if it is the first there, in the order of scores; and a false alarm if it is a later one.
- Images without boxes, or without detections, are skipped: their false alarms are free, their faces
  count.
- Precision and recall are taken at the thresholds ``1 - t / 1000`` for t from 1 to 1,000; AP is the
  area under the precision envelope.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lrface.errors import UsageError
from lrface.metrics.intervals import BLOCK, Estimate, counts, estimate

THRESHOLDS = 1 - np.arange(1, 1001) / 1000
"""The thresholds of the scaled scores, float64 (1000,), from 0.999 down to 0."""
OVERLAP = 0.5
"""The least overlap of a detection and its box."""
Found = tuple[np.ndarray, np.ndarray]
"""The detections of an image: boxes (N, 4) as x, y, w, h in pixels, and scores (N,)."""


@dataclass(frozen=True, eq=False)
class Detection:
    """Hits and false alarms of a detector on a list of faces, image by image."""

    hits: np.ndarray
    """int32 (I, 1000): faces of the list that are found, by image and threshold."""
    detections: np.ndarray
    """int32 (I, 1000): detections that count, which are the hits and the false alarms."""
    faces: np.ndarray
    """int64 (I,): faces of the list."""

    @property
    def n(self) -> int:
        """Number of faces in the list."""
        return int(self.faces.sum())

    @property
    def recall(self) -> np.ndarray:
        """Found faces over all faces of the list, float64 (1000,), by falling threshold."""
        return _ratio(self.hits.sum(0), self.n)

    @property
    def precision(self) -> np.ndarray:
        """Hits over detections that count, float64 (1000,); 0 where there are none."""
        return _ratio(self.hits.sum(0), self.detections.sum(0))

    @property
    def AP(self) -> float:
        """Average precision, in [0, 1]; NaN for an empty list."""
        return float(average_precision(self.precision, self.recall)) if self.n else np.nan

    def draws(
        self, resamples: int = 1000, seed: int = 0, clusters: Sequence | None = None
    ) -> np.ndarray:
        """AP as measured and over bootstrap resamples of images.

        Draws of two detectors on the same images may be subtracted.

        Parameters
        ----------
        resamples : int
            Number of bootstrap resamples R.
        seed : int
            Of the resamples. Equal seeds draw equal resamples.
        clusters : sequence (I,), optional
            The event of each image: whole events are resampled. Default: images are.

        Returns
        -------
        float64 (1 + R,)
            AP as measured, then that of each resample. NaN without a face.

        Raises
        ------
        UsageError
            Clusters of another length.
        """
        unit = np.arange(len(self.faces)) if clusters is None else np.asarray(clusters)
        if unit.shape != self.faces.shape:
            raise UsageError(
                f"want a cluster for each of {len(self.faces)} images, got shape {unit.shape}"
            )
        unit = np.unique(unit, return_inverse=True)[1]
        units = int(unit.max(initial=-1)) + 1
        hits, detections, faces = (
            _sums(part, unit, units) for part in (self.hits, self.detections, self.faces[:, None])
        )
        times = counts(units, resamples, seed) if units else np.zeros((1 + resamples, 0))
        found = []
        for block in np.array_split(times, 1 + len(times) * len(THRESHOLDS) // BLOCK):
            hit, all_faces = block @ hits, block @ faces
            precision, recall = _ratio(hit, block @ detections), _ratio(hit, all_faces)
            area = average_precision(precision, recall)
            found.append(np.where(all_faces[:, 0] > 0, area, np.nan))
        return np.concatenate(found)

    def interval(
        self,
        confidence: float = 0.95,
        resamples: int = 1000,
        seed: int = 0,
        clusters: Sequence | None = None,
    ) -> Estimate:
        """AP with its bootstrap interval over images (:meth:`draws`); ``n`` counts the faces.

        The bounds are NaN with fewer than two images (or clusters).
        """
        draws = self.draws(resamples, seed, clusters)
        units = len(self.faces) if clusters is None else len(set(clusters))
        return estimate(draws if units > 1 else draws[:1], self.n, confidence)


@dataclass(frozen=True, eq=False)
class Matches:
    """Each detection of a set and the box that it sees. :meth:`on` scores a list of faces."""

    image: np.ndarray
    """int64 (D,): the image of a detection, of those in images with boxes and detections."""
    box: np.ndarray
    """int64 (D,): its box, as a row of all boxes of the set; -1 if none overlaps enough."""
    first: np.ndarray
    """bool (D,): whether it is the first detection of that box."""
    step: np.ndarray
    """int64 (D,): the index of the highest threshold that it reaches."""
    of_box: np.ndarray
    """int64 (G,): the image of each box."""
    images: int
    """Number of images I."""

    def on(self, listed: np.ndarray | Sequence | None = None) -> Detection:
        """Score the detections on a list of faces.

        Parameters
        ----------
        listed : bool (G,), optional
            Which boxes are in the list, all images' boxes one after the other; by default all.

        Returns
        -------
        Detection

        Raises
        ------
        UsageError
            Another number of boxes, or not booleans.
        """
        total = len(self.of_box)
        listed = np.ones(total, bool) if listed is None else np.asarray(listed)
        if listed.shape != (total,) or listed.dtype != bool:
            raise UsageError(
                f"want a list of {total} booleans, one a box, got {listed.dtype} of shape "
                f"{listed.shape}"
            )
        inside = np.append(listed, False)[self.box]  # the last entry stands for no box
        hit = inside & self.first
        return Detection(
            self._by_threshold(hit),
            self._by_threshold(inside | (self.box < 0)),
            np.bincount(self.of_box[listed], minlength=self.images),
        )

    def _by_threshold(self, which: np.ndarray) -> np.ndarray:
        steps = len(THRESHOLDS)
        cells = self.image[which] * steps + self.step[which]
        new = np.bincount(cells, minlength=self.images * steps).reshape(self.images, steps)
        return new.cumsum(1, dtype=np.int32)


def match_detections(
    boxes: Sequence[np.ndarray], found: Sequence[Found], overlap: float = OVERLAP
) -> Matches:
    """Match the detections of a whole set to its boxes by WIDER's rules.

    Parameters
    ----------
    boxes : sequence of float (G_i, 4)
        All faces of each image, also those in no list: x, y, w, h in pixels. A side may be 0.
    found : sequence of (float (N_i, 4), float (N_i,))
        The detections of each image, boxes and scores in any order; of equal scores the earlier
        comes first. Higher scores are surer; their scale is free. If all scores of the set are
        equal (the published code then divides 0 by 0), all detections count at the last threshold.
    overlap : float
        The least overlap of a detection and its box, in (0, 1].

    Returns
    -------
    Matches

    Raises
    ------
    UsageError
        Other shapes, values that are not finite, or sides below 0.

    Source
    ------
    WIDER FACE (Yang et al., CVPR 2016), section 3.3, and its published evaluation code.

    Examples
    --------
    >>> boxes = [np.array([[10, 10, 20, 20], [50, 10, 8, 8]]), np.array([[5, 5, 30, 40]])]
    >>> first = np.array([[11, 10, 20, 20], [80, 80, 20, 20]]), np.array([0.9, 0.4])
    >>> none = np.zeros((0, 4)), np.zeros(0)
    >>> matches = match_detections(boxes, [first, none])
    >>> matches.on().AP, matches.on([True, False, True]).AP, matches.on([False, True, False]).AP
    (0.3333333333333333, 0.5, 0.0)
    """
    if not 0 < overlap <= 1:
        raise UsageError(f"an overlap lies over 0 and is at most 1, got {overlap}")
    if len(boxes) != len(found):
        raise UsageError(f"{len(boxes)} images have boxes and {len(found)} have detections")
    boxes = [checked_boxes(b, f"the boxes of image {i}") for i, b in enumerate(boxes)]
    found = [checked_found(*pair, i) for i, pair in enumerate(found)]
    scores = [score for _, score in found if len(score)]
    low = min((score.min() for score in scores), default=0.0)
    high = max((score.max() for score in scores), default=0.0)
    images, best, firsts, steps = [], [], [], []
    start = 0
    for i, (truth, (detected, score)) in enumerate(zip(boxes, found, strict=True)):
        if len(truth) and len(detected):
            order = np.argsort(-score, kind="stable")
            shared = overlaps(detected[order], truth)
            box = shared.argmax(1)
            box = np.where(shared.max(1) >= overlap, box + start, -1)
            first = np.zeros(len(box), bool)
            first[np.unique(box, return_index=True)[1]] = True
            scaled = (score[order] - low) / ((high - low) or 1.0)
            images.append(np.full(len(box), i))
            best.append(box)
            firsts.append(first & (box >= 0))
            steps.append(np.searchsorted(-THRESHOLDS, -scaled))
        start += len(truth)
    of_box = np.repeat(np.arange(len(boxes)), [len(truth) for truth in boxes])
    empty = np.zeros(0, np.int64)
    return Matches(
        np.concatenate([empty, *images]),
        np.concatenate([empty, *best]),
        np.concatenate([empty.astype(bool), *firsts]),
        np.concatenate([empty, *steps]),
        of_box,
        len(boxes),
    )


def overlaps(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Intersection over union of every pair of boxes, with sides of ``w + 1`` and ``h + 1``.

    Parameters
    ----------
    a, b : float (N, 4), (M, 4)
        x, y, w, h in pixels, sides from 0.

    Returns
    -------
    float64 (N, M)
        In [0, 1].

    Examples
    --------
    >>> overlaps(np.array([[0, 0, 9, 9]]), np.array([[0, 0, 9, 9], [5, 0, 9, 9], [30, 0, 9, 9]]))
    array([[1.        , 0.33333333, 0.        ]])
    """
    a, b = np.asarray(a, np.float64)[:, None], np.asarray(b, np.float64)[None]
    low = np.maximum(a[..., :2], b[..., :2])
    high = np.minimum(a[..., :2] + a[..., 2:], b[..., :2] + b[..., 2:])
    both = np.maximum(high - low + 1, 0).prod(-1)
    # the side that the published code has: of the corners, which are rounded
    area_a, area_b = (((x[..., :2] + x[..., 2:]) - x[..., :2] + 1).prod(-1) for x in (a, b))
    return both / (area_a + area_b - both)


def average_precision(precision: np.ndarray, recall: np.ndarray) -> np.ndarray:
    """The area under the envelope of precision (the highest at this recall or a higher one).

    Parameters
    ----------
    precision, recall : float (..., T)
        By falling threshold, so recall does not fall.

    Returns
    -------
    float64 (...)

    Examples
    --------
    >>> float(average_precision(np.array([1.0, 0.5, 0.75]), np.array([0.25, 0.25, 0.5])))
    0.4375
    """
    precision, recall = np.asarray(precision, np.float64), np.asarray(recall, np.float64)
    envelope = np.maximum.accumulate(precision[..., ::-1], -1)[..., ::-1]
    return (np.diff(recall, axis=-1, prepend=0.0) * envelope).sum(-1)


def checked_boxes(boxes: np.ndarray, what: str) -> np.ndarray:
    """Boxes as float64 (N, 4); raises :class:`UsageError` if they are none."""
    array = np.asarray(boxes, np.float64)
    if array.size == 0:
        return np.zeros((0, 4))
    if array.ndim != 2 or array.shape[1] != 4:
        raise UsageError(f"{what}: want boxes (N, 4) as x, y, w, h, got shape {array.shape}")
    if not np.isfinite(array).all() or (array[:, 2:] < 0).any():
        raise UsageError(f"{what}: want finite numbers and sides from 0")
    return array


def checked_found(boxes: np.ndarray, scores: np.ndarray, image: int) -> Found:
    """Detections of an image as float64 (N, 4) and (N,); raises :class:`UsageError`."""
    what = f"the detections of image {image}"
    boxes, scores = checked_boxes(boxes, what), np.asarray(scores, np.float64)
    if scores.shape != (len(boxes),) or not np.isfinite(scores).all():
        raise UsageError(
            f"{what}: want a finite score for each of {len(boxes)}, got shape {scores.shape}"
        )
    return boxes, scores


def _ratio(part: np.ndarray, whole: np.ndarray | int) -> np.ndarray:
    """``part / whole``, 0 where the whole is 0."""
    part, whole = np.broadcast_arrays(np.asarray(part, np.float64), whole)
    return np.divide(part, whole, out=np.zeros(part.shape), where=whole > 0)


def _sums(values: np.ndarray, unit: np.ndarray, units: int) -> np.ndarray:
    """Sums over the images of each unit, float64 (units, ...)."""
    total = np.zeros((units, *values.shape[1:]))
    np.add.at(total, unit, values)
    return total
