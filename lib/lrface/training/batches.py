"""The batches of a training: random crops, mirror images and orders of frames.

All are set by the seed and the step. For a network on a GPU the faces go there as 8-bit pixels and
are mirrored, degraded and cut on it.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
import psutil
import torch
from torch import Tensor

from lrface.data import ClipSet, TrainingSet
from lrface.data.landmarks import MIRRORED
from lrface.degrade import Degradation
from lrface.models.objective import Batch
from lrface.training.hyperparameters import Hyperparameters


@dataclass(frozen=True, eq=False)
class TrainingData:
    """The faces that a network is trained on, with what its objective needs of each."""

    faces: TrainingSet
    degradation: Degradation
    landmarks: np.ndarray | None = None
    """float32 (N, 68, 2), pixels of each face, for an objective that needs them; of clips (N, T,
    68, 2)."""
    labels: np.ndarray | None = None
    """int64 (N,), the number of each face's identity; float32 (N, A), its attributes; or of windows
    float32 (N, 8), :data:`lrface.data.windows.LABELS`."""
    native: np.ndarray | None = None
    """bool (N,), whether each face is a native one without a high-resolution truth."""
    frames: int | None = None
    """Frames that are taken of each clip, in random order; 1: single faces. None: all."""
    mirrored_labels: np.ndarray | None = None
    """The labels of the mirrored pictures, if they are others (where a face is in a window)."""
    mirrors_landmarks: bool = True
    """Whether the landmarks of a mirrored clip are mirrored with it."""


CPU = torch.device("cpu")
MEMORY_SHARE = 0.25
"""The share of the free memory that decoded faces may take."""


class _Decoded:
    """The faces of a set, each decoded once and kept as 8-bit pixels where all fit in memory."""

    def __init__(self, faces: TrainingSet):
        self.faces = faces
        self.known = np.zeros(len(faces), bool)
        self.pictures: Tensor | None = None
        self.fits = True

    def stack(self, rows: np.ndarray) -> Tensor:
        """As :meth:`lrface.data.FaceSet.stack`."""
        if not self.fits:
            return self.faces.stack(rows.tolist())
        missing = np.unique(rows[~self.known[rows]])
        if len(missing):
            found = self.faces.stack(missing.tolist())
            if self.pictures is None:
                size = len(self.faces) * found[0].nbytes
                self.fits = size <= MEMORY_SHARE * psutil.virtual_memory().available
                if not self.fits:
                    return found[torch.from_numpy(np.searchsorted(missing, rows))]
                # pages that no face has been written to take no memory
                self.pictures = torch.empty(len(self.faces), *found.shape[1:], dtype=torch.uint8)
            self.pictures[torch.from_numpy(missing)] = found
            self.known[missing] = True
        return self.pictures[torch.from_numpy(rows)]


@lru_cache(maxsize=2)  # a permutation of a million rows is worth keeping for its epoch
def _order(n: int, seed: int, epoch: int) -> np.ndarray:
    return np.random.Generator(np.random.Philox(key=[seed, epoch])).permutation(n)


def batch_indices(n: int, batch: int, step: int, seed: int) -> np.ndarray:
    """The rows of batch ``step``; every epoch is a new permutation of all ``n`` rows."""
    positions = np.arange(step * batch, (step + 1) * batch)
    epochs = positions // n
    rows = np.empty(batch, dtype=np.int64)
    for epoch in np.unique(epochs):
        rows[epochs == epoch] = _order(n, seed, int(epoch))[positions[epochs == epoch] % n]
    return rows


def batches(
    data: TrainingData,
    hyper: Hyperparameters,
    first: int = 0,
    share: slice = slice(None),
    device: torch.device = CPU,
) -> Iterator[Batch]:
    """The batches of the steps from ``first`` on.

    Faces are mirrored at random and cut to ``hyper.patch`` HR pixels (None: whole faces). A face is
    degraded whole and cut afterwards, so the border of a patch is never padded. Clips are whole,
    their frames mirrored together and in random order. The next batch is prepared in a thread while
    one is used; what is computed on a GPU is computed in the calling thread. ``share`` selects rows
    of every batch, for one of several processes: they are the rows of the whole batch.
    """
    clips = isinstance(data.faces, ClipSet)
    faces = data.faces if clips else _Decoded(data.faces)
    read, made = (_read_clips, _made_clips) if clips else (_read, _made)

    def prepare(step: int) -> Any:
        taken = read(data, faces, hyper, step, share)
        return made(data, taken) if device.type == "cpu" else taken

    with ThreadPoolExecutor(1) as ahead:
        pending = ahead.submit(prepare, first) if first < hyper.steps else None
        for step in range(first, hyper.steps):
            ready = pending.result()
            pending = ahead.submit(prepare, step + 1) if step + 1 < hyper.steps else None
            yield ready if device.type == "cpu" else made(data, ready.to(device))


@dataclass
class _Taken:
    """What was drawn for a batch: 8-bit pixels, and random numbers."""

    hr: Tensor
    """uint8 (N, 3, H, W), of clips (N, T, 3, H, W)."""
    flip: Tensor
    """bool (N,): the mirrored ones."""
    streams: Tensor
    """int64: the number of each picture's noise stream."""
    lr: Tensor | None = None
    """Captures, uint8, where clips have them."""
    points: Tensor | None = None
    labels: Tensor | None = None
    native: Tensor | None = None
    corners: np.ndarray | None = None
    """int (N, 2): top and left of each patch in LR pixels; None: whole faces."""
    cut: int = 0
    """Side of a patch in LR pixels."""

    def to(self, device: torch.device) -> _Taken:
        # the numbers of noise streams and the corners are read on the CPU
        names = ("hr", "flip", "lr", "points", "labels", "native")
        given = {name: getattr(self, name) for name in names}
        return replace(self, **{k: x if x is None else x.to(device) for k, x in given.items()})


def _random(hyper: Hyperparameters, step: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(key=[hyper.seed, (1 << 62) + step]))


def _read(
    data: TrainingData, faces: _Decoded, hyper: Hyperparameters, step: int, share: slice
) -> _Taken:
    batch, random = hyper.batch, _random(hyper, step)
    rows = batch_indices(len(data.faces), batch, step, hyper.seed)[share]
    hr = faces.stack(rows)
    flip = torch.from_numpy(random.random(batch)[share] < 0.5)
    labels, native, points = (
        None if values is None else torch.from_numpy(values[rows])
        for values in (data.labels, data.native, data.landmarks)
    )
    if data.mirrored_labels is not None:
        mirrored = torch.from_numpy(data.mirrored_labels[rows])
        labels = torch.where(flip[:, None], mirrored, labels)
    streams = torch.arange(step * batch, (step + 1) * batch)[share]
    taken = _Taken(hr, flip, streams, None, points, labels, native)
    if hyper.patch is not None:
        taken.cut = hyper.patch // data.degradation.scale
        sides = (side // data.degradation.scale for side in hr.shape[2:])
        corners = [random.integers(0, side - taken.cut + 1, batch)[share] for side in sides]
        taken.corners = np.stack(corners, 1)
    return taken


def _made(data: TrainingData, taken: _Taken) -> Batch:
    hr, flip = taken.hr.float().div(255), taken.flip.view(-1, 1, 1, 1)
    hr = torch.where(flip, hr.flip(3), hr)
    lr = data.degradation(hr, taken.streams)
    points, scale = taken.points, data.degradation.scale
    if points is not None:
        width, sign = (points.new_tensor(pair) for pair in ([hr.shape[3] - 1.0, 0.0], [-1.0, 1.0]))
        mirrored = points[:, MIRRORED] * sign + width
        points = torch.where(flip[..., 0], mirrored, points)
    if taken.corners is None:
        return Batch(lr, hr, points, taken.labels, taken.native)

    def cuts(pictures: Tensor, by: int) -> Tensor:
        size = taken.cut * by
        corners = zip(pictures, taken.corners * by, strict=True)
        return torch.stack([x[:, y : y + size, c : c + size] for x, (y, c) in corners])

    if points is not None:
        points = points - scale * points.new_tensor(taken.corners[:, None, ::-1].copy())
    return Batch(cuts(lr, 1), cuts(hr, scale), points, taken.labels, taken.native)


def _read_clips(
    data: TrainingData, clips: ClipSet, hyper: Hyperparameters, step: int, share: slice
) -> _Taken:
    batch, random = hyper.batch, _random(hyper, step)
    rows = batch_indices(len(clips), batch, step, hyper.seed)[share]
    flip = torch.from_numpy(random.random(batch)[share] < 0.5)
    order = random.random((batch, clips.frames)).argsort(1)[share, : data.frames]
    numbers = torch.arange(step * batch, (step + 1) * batch)[share, None]
    taken = _Taken(clips.stack(rows, order), flip, numbers * clips.frames + torch.from_numpy(order))
    if clips.captured:
        taken.lr = clips.captures(rows, order)
    if data.landmarks is not None:
        taken.points = torch.from_numpy(data.landmarks[rows[:, None], order])
    return taken


def _made_clips(data: TrainingData, taken: _Taken) -> Batch:
    hr, points = taken.hr.float().div(255), taken.points
    if taken.lr is not None:
        lr = taken.lr.float().div(255)
    else:
        flat = data.degradation(hr.flatten(0, 1), taken.streams.flatten())
        lr = flat.unflatten(0, taken.streams.shape)
    flip = taken.flip.view(-1, 1, 1, 1, 1)
    hr, lr = (torch.where(flip, x.flip(-1), x) for x in (hr, lr))
    if points is not None and data.mirrors_landmarks:
        width, sign = (points.new_tensor(pair) for pair in ([hr.shape[-1] - 1.0, 0.0], [-1.0, 1.0]))
        points = torch.where(flip[..., 0], points[:, :, MIRRORED] * sign + width, points)
    if data.frames == 1:
        return Batch(lr[:, 0], hr[:, 0], None if points is None else points[:, 0])
    return Batch(lr, hr, points)
