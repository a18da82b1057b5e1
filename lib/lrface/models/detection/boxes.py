"""What all detectors share: the check of an image, the order of their boxes, instances that no two
threads use at once, and a correction of boxes to another convention."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from lrface.data.windows import overlaps
from lrface.errors import UsageError


def checked(image: np.ndarray) -> np.ndarray:
    """The image as contiguous uint8 (H, W, 3); raises :class:`UsageError` if it is none."""
    if (
        not isinstance(image, np.ndarray)
        or image.dtype != np.uint8
        or image.ndim != 3
        or image.shape[2] != 3
        or not image.size
    ):
        kind = f"{getattr(image, 'dtype', type(image).__name__)} {getattr(image, 'shape', '')}"
        raise UsageError(f"a detector wants an image uint8 (H, W, 3), got {kind.strip()}")
    return np.ascontiguousarray(image)


def ordered(boxes: Sequence, scores: Sequence) -> tuple[np.ndarray, np.ndarray]:
    """Boxes float64 (N, 4) and scores float64 (N,), by falling score, then by position."""
    boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
    scores = np.asarray(scores, np.float64).reshape(-1)
    order = np.lexsort((*boxes.T[::-1], -scores))
    return boxes[order], scores[order]


class Pool:
    """Instances of a detector: its library gives wrong boxes if two threads share one."""

    def __init__(self, make: Callable):
        self.make = make
        self._free: list = []

    @contextmanager
    def one(self) -> Iterator:
        """An instance that no other thread uses at present."""
        try:
            instance = self._free.pop()
        except IndexError:
            instance = self.make()
        yield instance
        self._free.append(instance)


@dataclass(frozen=True)
class BoxFit:
    """A correction of boxes: a detector's squares to the boxes that another set draws.

    Made by :meth:`fit`. The WIDER FACE paper corrects its baselines' boxes by a linear fit that it
    does not state; this one is ours.
    """

    shift: tuple[float, float]
    """What is added to the centre, as fractions of the box's width and height."""
    scale: tuple[float, float]
    """What width and height are multiplied by."""

    @classmethod
    def fit(cls, detected: np.ndarray, truth: np.ndarray) -> BoxFit:
        """Fit to pairs of a detection and its face: medians of the four ratios.

        Parameters
        ----------
        detected, truth : float (N, 4)
            x, y, w, h in pixels; sides over 0, N at least 1.

        Raises
        ------
        UsageError
            Other shapes, or a side of 0.

        Examples
        --------
        >>> fit = BoxFit.fit(np.array([[0.0, 0, 10, 10]]), np.array([[1.0, -1, 8, 12]]))
        >>> fit.scale, fit(np.array([[100.0, 100, 20, 20]])).tolist()
        ((0.8, 1.2), [[102.0, 98.0, 16.0, 24.0]])
        """
        detected, truth = (np.asarray(b, np.float64) for b in (detected, truth))
        if detected.shape != truth.shape or detected.ndim != 2 or detected.shape[1:] != (4,):
            raise UsageError(
                f"want pairs of boxes (N, 4), got shapes {detected.shape} and {truth.shape}"
            )
        if not len(truth) or min(detected[:, 2:].min(), truth[:, 2:].min()) <= 0:
            raise UsageError("want at least one pair of boxes, with sides over 0")
        moved = (truth[:, :2] + truth[:, 2:] / 2) - (detected[:, :2] + detected[:, 2:] / 2)
        shift = np.median(moved / detected[:, 2:], axis=0)
        scale = np.median(truth[:, 2:] / detected[:, 2:], axis=0)
        return cls(tuple(shift.tolist()), tuple(scale.tolist()))

    def __call__(self, boxes: np.ndarray) -> np.ndarray:
        """Corrected boxes, float64 (N, 4)."""
        boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
        size = boxes[:, 2:] * self.scale
        centre = boxes[:, :2] + boxes[:, 2:] * (0.5 + np.array(self.shift))
        return np.concatenate([centre - size / 2, size], 1)


def fitted_by_halves(
    found: Sequence[tuple[np.ndarray, np.ndarray]], truth: Sequence[np.ndarray]
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Detections whose boxes are corrected to a set's convention (:class:`BoxFit`).

    The correction of the scenes at even places is fitted to those at odd ones, and the other way
    round, so that no scene is corrected by its own boxes.

    Parameters
    ----------
    found : sequence of (float (N_i, 4), float (N_i,))
        Boxes and scores of each scene.
    truth : sequence of float (G_i, 4)
        Its faces. A detection is paired with the face that it overlaps most, from 0.3 on.

    Returns
    -------
    list of (float64 (N_i, 4), float64 (N_i,))
        As they are where a half has no pair.

    Examples
    --------
    >>> truth = [np.array([[10.0, 10, 20, 30]]), np.array([[50.0, 10, 20, 30]])]
    >>> found = [(boxes * (1, 1, 1.5, 1), np.ones(1)) for boxes in truth]
    >>> fitted_by_halves(found, truth)[0][0].tolist()
    [[10.0, 10.0, 20.0, 30.0]]
    """
    fits = []
    for half in (0, 1):
        pairs = []
        for (boxes, _), faces in zip(found[half::2], truth[half::2], strict=True):
            faces = faces[(faces[:, 2:] > 0).all(1)]
            if len(boxes) and len(faces):
                shared = overlaps(boxes, faces)
                near = shared.max(1) >= 0.3
                pairs += zip(boxes[near], faces[shared.argmax(1)[near]], strict=True)
        fits.append(BoxFit.fit(*map(np.array, zip(*pairs, strict=True))) if pairs else None)
    corrected = []
    for i, (boxes, scores) in enumerate(found):
        fit = fits[1 - i % 2]
        corrected.append((boxes if fit is None else fit(boxes), scores))
    return corrected
