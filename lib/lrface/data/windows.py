"""WindowSet: square windows cut out of scenes, for networks that tell faces from what is none.

The four ranges of face heights, their sub-classes and the windows' sides are those of the WIDER
FACE paper's multi-scale cascade (section 4.2). Its sampling is not stated; ours:

- A **positive** window has a face at its centre, off by at most half the network's stride, whose
  height is in the range. A face outside a sub-class is resampled to a height in it where the scenes
  have too few of its own: first larger ones are reduced, then others enlarged, twice at most.
- A **negative** window overlaps every face by less than 0.5 in intersection over union, with the
  three boxes (one a sub-class) that it stands for. Half of them lie anywhere, half on or beside
  faces of other sizes.
- A face that is covered to 60 % or more, or marked as invalid, is neither.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pandas as pd
from filelock import FileLock

from lrface.data.scenes import BOX, SceneSet
from lrface.data.splits import manifest
from lrface.files import cache_dir, progress, write_atomic

if TYPE_CHECKING:
    from torch import Tensor

VERSION = 1
"""To be raised when the same scenes give other windows."""
ASPECT = 0.75
"""Width over height of the box that a window stands for. The median is 0.69 in rendered crowds and
0.80 in the WIDER FACE images at hand."""
STRIDE = 4
"""Of the networks, in pixels of their input."""
COVERED = 0.6
OVERLAP = 0.5
LABELS = ("face", "first", "second", "third", "x", "y", "log width", "log height")
"""Columns of a window's labels. ``face`` is 1 or 0; the three sub-classes are 1 or 0, of a window
without a face -1: unknown. The last four are the face's box: its centre minus the window's, and the
logarithms of its sides, all as shares of the window's side; NaN without a face."""


@dataclass(frozen=True)
class Range:
    """A range of face heights, and the window that a network for it looks at."""

    name: str
    window: int
    """Side of the window in pixels of the image (at its first level)."""
    pool: int
    """By how much a window is reduced before the first layer; a choice of ours, for speed."""
    edges: tuple[int, int, int, int]
    """Bounds of the three sub-classes of height, in pixels."""
    levels: tuple[int, ...] = (1,)
    """By how much the image is reduced: more than one level is an image pyramid."""

    @property
    def side(self) -> int:
        """Side of the network's input."""
        return self.window // self.pool

    @property
    def heights(self) -> np.ndarray:
        """The height that stands for each sub-class: the geometric mean of its bounds."""
        edges = np.array(self.edges, float)
        return np.sqrt(edges[:-1] * edges[1:])


RANGES = {
    r.name: r
    for r in (
        Range("10-30", 30, 1, (10, 15, 20, 30)),
        Range("30-120", 120, 2, (30, 50, 80, 120)),
        Range("120-240", 240, 4, (120, 160, 200, 240)),
        Range("240-480", 480, 8, (240, 320, 400, 480)),
        Range("pyramid", 30, 1, (10, 15, 20, 30), (1, 3, 9, 27)),
    )
}
"""The cascade's four, and the one of the two-stage network, which sees an image pyramid: its levels
join without a gap."""


@dataclass(frozen=True)
class WindowSet:
    """Windows of one range, and what is in them. They are cut when they are first needed.

    Made by :func:`lrface.data.load_windows`, or by what a trained network proposes
    (:mod:`lrface.training.mining`).
    """

    name: str
    """Of the set of scenes."""
    range: Range
    table: pd.DataFrame
    """``key, identity, split`` of the *scenes*: windows of one scene are of one identity."""
    recipe: str
    """All that decides the windows: the fingerprint is a hash of it."""
    most: int
    """Windows at most: how many there are is known when they are cut."""
    choose: Callable[[], tuple[SceneSet, pd.DataFrame]]
    """Gives the scenes, and a row a window: ``scene`` (a row of ``scenes.images``), ``left, top,
    side`` in its pixels, and the columns of labels."""
    photos: bool = False
    columns: tuple[str, ...] = LABELS
    """Of the labels."""

    def __getstate__(self) -> dict:
        # windows that were cut stay in this process: another reads them from the cache
        return {f.name: getattr(self, f.name) for f in fields(self)}

    def __len__(self) -> int:
        return len(self.labels)

    @cached_property
    def fingerprint(self) -> str:
        """16 hex digits that change when a window does; known before any is cut."""
        facts = f"{self.name}\n{self.range}\n{VERSION}\n{self.recipe}"
        return hashlib.sha256(facts.encode()).hexdigest()[:16]

    @property
    def manifest(self) -> dict:
        """Split rule, counts and the sha256 of the scenes (:func:`splits.manifest`)."""
        return manifest(self.table, "by scene")

    @cached_property
    def _cut(self) -> tuple[np.ndarray, np.ndarray]:
        store = cache_dir("windows") / f"{self.fingerprint}.npy"
        labels = store.with_suffix(".labels.npy")
        with FileLock(store.with_suffix(".lock")):  # several trainings may ask for it at once
            if not store.exists():
                scenes, windows = self.choose()
                found = _cut_all(scenes, windows, self.range.side)
                values = windows[list(self.columns)].to_numpy(np.float32)
                write_atomic(labels, lambda path: np.save(path, values))
                write_atomic(store, lambda path: np.save(path, found))
        return np.load(store, mmap_mode="r"), np.load(labels)

    @property
    def labels(self) -> np.ndarray:
        """float32 (N, 8), the columns of :data:`LABELS`; or other ``columns``."""
        return self._cut[1]

    @property
    def mirrored_labels(self) -> np.ndarray:
        """The labels of the mirrored windows."""
        return self.labels * np.where(np.array(self.columns) == "x", -1, 1).astype(np.float32)

    def stack(self, rows: Sequence[int]) -> Tensor:
        """Some windows, in any order: uint8 (len(rows), 3, side, side)."""
        import torch

        found = self._cut[0][np.asarray(rows, int)]
        return torch.from_numpy(np.ascontiguousarray(found)).permute(0, 3, 1, 2).contiguous()


def cut(image: np.ndarray, squares: np.ndarray, side: int) -> np.ndarray:
    """Squares of an image, each resized.

    Parameters
    ----------
    image : uint8 (H, W, 3)
    squares : int (N, 3)
        Left, top and side in pixels. Outside the image its edge is repeated.
    side : int
        Of the results: a mean over areas where that is smaller, else linear interpolation.

    Returns
    -------
    uint8 (N, side, side, 3)

    Examples
    --------
    >>> cut(np.zeros((9, 9, 3), np.uint8), np.array([[-2, 4, 8]]), 4).shape
    (1, 4, 4, 3)
    """
    h, w = image.shape[:2]
    found = np.empty((len(squares), side, side, 3), np.uint8)
    for i, (left, top, size) in enumerate(np.asarray(squares, int).tolist()):
        x0, y0, x1, y1 = max(left, 0), max(top, 0), min(left + size, w), min(top + size, h)
        if (x0, y0, x1, y1) == (left, top, left + size, top + size):
            part = image[y0:y1, x0:x1]
        else:
            rows = np.arange(top, top + size).clip(0, h - 1)
            part = image[rows[:, None], np.arange(left, left + size).clip(0, w - 1)]
        how = cv2.INTER_AREA if size > side else cv2.INTER_LINEAR
        resized = part if size == side else cv2.resize(part, (side, side), interpolation=how)
        found[i] = resized
    return found


def _cut_all(scenes: SceneSet, windows: pd.DataFrame, side: int) -> np.ndarray:
    found = np.empty((len(windows), side, side, 3), np.uint8)
    groups = windows.reset_index(drop=True).groupby("scene")
    with progress("windows", len(groups)) as advance:
        for scene, rows in groups:
            squares = rows[["left", "top", "side"]].to_numpy()
            found[rows.index] = cut(scenes.read(int(scene)), squares, side)
            advance()
    return found


def overlaps(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Intersection over union of every pair of boxes ``x, y, w, h``, float64 (N, M).

    WIDER FACE's evaluation adds a pixel to each side (:func:`lrface.metrics.detection.overlaps`);
    training does not.
    """
    a, b = np.asarray(a, np.float64)[:, None], np.asarray(b, np.float64)[None]
    low = np.maximum(a[..., :2], b[..., :2])
    high = np.minimum(a[..., :2] + a[..., 2:], b[..., :2] + b[..., 2:])
    both = np.maximum(high - low, 0).prod(-1)
    return both / np.maximum(a[..., 2:].prod(-1) + b[..., 2:].prod(-1) - both, 1e-9)


def usable(boxes: pd.DataFrame) -> np.ndarray:
    """Which faces are learnt from, bool (G,): of some size, valid, and not covered too much."""
    good = (boxes["w"] > 0) & (boxes["h"] > 0)
    if "invalid" in boxes:
        good &= boxes["invalid"] == 0
    if "covered" in boxes:
        good &= boxes["covered"] < COVERED
    return good.to_numpy()


def targets(squares: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """The boxes ``x, y, w, h`` (N, 4) as the last four of :data:`LABELS`, in squares (N, 3)."""
    squares, boxes = np.asarray(squares, float), np.asarray(boxes, float)
    side = squares[:, 2:]
    offset = (boxes[:, :2] + boxes[:, 2:] / 2 - squares[:, :2]) / side - 0.5
    return np.concatenate([offset, np.log(boxes[:, 2:] / side)], 1)


def boxes_of(squares: np.ndarray, found: np.ndarray) -> np.ndarray:
    """The inverse of :func:`targets`: boxes ``x, y, w, h``, float64 (N, 4)."""
    squares, found = np.asarray(squares, float), np.asarray(found, float)
    size = np.exp(found[:, 2:]) * squares[:, 2:]
    centre = squares[:, :2] + (found[:, :2] + 0.5) * squares[:, 2:]
    return np.concatenate([centre - size / 2, size], 1)


def sampled(
    scenes: SceneSet, range: Range, per_class: int, negatives: int, seed: int
) -> tuple[SceneSet, pd.DataFrame]:
    """Windows for a network that proposes faces; see the module's docstring.

    Parameters
    ----------
    scenes : SceneSet
    range : Range
    per_class, negatives : int
        Positive windows of each sub-class, at most, and negative windows.
    seed : int

    Returns
    -------
    scenes : SceneSet
        As given.
    windows : DataFrame
        As :attr:`WindowSet.choose` gives it.
    """
    random = np.random.Generator(np.random.Philox(key=[seed, range.window]))
    boxes = scenes.boxes
    place = boxes["image"].map(pd.Series(scenes.images.index, scenes.images["key"])).to_numpy()
    truth, good = boxes[BOX].to_numpy(float), usable(boxes)
    parts = []
    for k, (low, high) in enumerate(zip(range.edges[:-1], range.edges[1:], strict=True)):
        chosen, ratio = _faces(truth[:, 3], good, low, high, per_class, len(range.levels), random)
        size = np.rint(range.window * ratio)
        jitter = (
            random.uniform(-0.5, 0.5, (len(chosen), 2)) * (STRIDE * range.pool * ratio)[:, None]
        )
        corner = np.rint(truth[chosen, :2] + truth[chosen, 2:] / 2 + jitter - size[:, None] / 2)
        squares = np.concatenate([corner, size[:, None]], 1)
        classes = np.tile(np.eye(3)[k], (len(chosen), 1))
        values = np.concatenate([np.ones((len(chosen), 1)), classes], 1)
        parts.append(_rows(place[chosen], squares, values, targets(squares, truth[chosen])))
    parts.append(_negatives(scenes, range, truth, place, negatives, random))
    return scenes, pd.concat(parts, ignore_index=True)


def _faces(
    heights: np.ndarray,
    good: np.ndarray,
    low: int,
    high: int,
    count: int,
    levels: int,
    random: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Faces for a sub-class, and by how much each is reduced to get a height in it."""
    own = np.flatnonzero(good & (heights >= low) & (heights < high))
    larger = np.flatnonzero(good & (heights >= high))
    smaller = np.flatnonzero(good & (heights >= low / 2) & (heights < low))
    if levels > 1:  # a pyramid reduces every face
        own, larger = own[:0], np.concatenate([own, larger])
    own = random.permutation(np.tile(own, 2))[:count]
    rest = larger if len(larger) else smaller
    more = random.choice(rest, min(count - len(own), 4 * len(rest))) if len(rest) else rest
    wanted = np.exp(random.uniform(np.log(low), np.log(high), len(more)))
    if levels > 1:
        wanted = np.minimum(wanted, heights[more])
    ratio = np.concatenate([np.ones(len(own)), np.maximum(heights[more] / wanted, 0.5)])
    return np.concatenate([own, more]).astype(int), ratio


def _negatives(
    scenes: SceneSet,
    range: Range,
    truth: np.ndarray,
    place: np.ndarray,
    count: int,
    random: np.random.Generator,
) -> pd.DataFrame:
    squares, where = [], []
    for i in np.arange(count):
        row = int(random.integers(len(scenes)))
        height, width = scenes.sizes[row]
        faces = truth[place == row]
        fits = [level for level in range.levels if range.edges[0] * level < height]
        level = int(random.choice(fits or [1]))
        for _ in np.arange(20):  # a scene full of faces may have no such window
            centre = random.uniform(0, (width, height))
            if i % 2 and len(faces):
                x, y, w, h = faces[random.integers(len(faces))]
                centre = (x + w / 2, y + h / 2) + random.normal(0, 0.5, 2) * h
            if _free(centre, range.heights * level, faces):
                side = range.window * level
                squares.append([*np.rint(np.asarray(centre) - side / 2), side])
                where.append(row)
                break
    squares = np.array(squares).reshape(-1, 3)
    values = np.tile([0.0, -1, -1, -1], (len(squares), 1))
    return _rows(where, squares, values, np.full((len(squares), 4), np.nan))


def _free(centre: np.ndarray, heights: np.ndarray, faces: np.ndarray) -> bool:
    size = np.stack([ASPECT * heights, heights], 1)
    boxes = np.concatenate([np.asarray(centre) - size / 2, size], 1)
    return not len(faces) or overlaps(boxes, faces).max() < OVERLAP


def _rows(
    scene: Sequence[int], squares: np.ndarray, values: np.ndarray, box: np.ndarray
) -> pd.DataFrame:
    table = pd.DataFrame(squares.astype(int), columns=["left", "top", "side"])
    labels = np.concatenate([values, box], 1)
    table[list(LABELS)] = labels
    table.insert(0, "scene", np.asarray(scene, int))
    return table
