"""The batches of a training: random crops, mirror images and orders of frames.

All are set by the seed and the step.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
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
    data: TrainingData, hyper: Hyperparameters, first: int = 0, share: slice = slice(None)
) -> Iterator[Batch]:
    """The batches of the steps from ``first`` on.

    Faces are mirrored at random and cut to ``hyper.patch`` HR pixels (None: whole faces). A face is
    degraded whole and cut afterwards, so the border of a patch is never padded. Clips are whole,
    their frames mirrored together and in random order. The next batch is
    prepared in a thread while one is used. ``share`` selects rows of every batch, for one of
    several processes: they are the rows of the whole batch.
    """
    with ThreadPoolExecutor(1) as ahead:
        make = _clip_batch if isinstance(data.faces, ClipSet) else _batch

        def prepare(step: int):
            return ahead.submit(make, data, hyper, step, share) if step < hyper.steps else None

        pending = prepare(first)
        for step in range(first, hyper.steps):
            ready = pending.result()
            pending = prepare(step + 1)
            yield ready


def _clip_batch(data: TrainingData, hyper: Hyperparameters, step: int, share: slice) -> Batch:
    clips, batch = data.faces, hyper.batch
    rows = batch_indices(len(clips), batch, step, hyper.seed)[share]
    random = np.random.Generator(np.random.Philox(key=[hyper.seed, (1 << 62) + step]))
    flip = torch.from_numpy(random.random(batch)[share] < 0.5)
    order = random.random((batch, clips.frames)).argsort(1)[share, : data.frames]
    hr = clips.stack(rows, order).float().div(255)
    if clips.captured:
        lr = clips.captures(rows, order).float().div(255)
    else:
        numbers = torch.arange(step * batch, (step + 1) * batch)[share, None]
        streams = numbers * clips.frames + torch.from_numpy(order)
        lr = data.degradation(hr.flatten(0, 1), streams.flatten()).unflatten(0, order.shape)
    hr, lr = (torch.where(flip.view(-1, 1, 1, 1, 1), x.flip(-1), x) for x in (hr, lr))
    points = None
    if data.landmarks is not None:
        points = torch.from_numpy(data.landmarks[rows[:, None], order])
        if data.mirrors_landmarks:
            width = torch.tensor([hr.shape[-1] - 1.0, 0.0])
            mirrored = points[:, :, MIRRORED] * torch.tensor([-1.0, 1.0]) + width
            points = torch.where(flip.view(-1, 1, 1, 1), mirrored, points)
    if data.frames == 1:
        return Batch(lr[:, 0], hr[:, 0], None if points is None else points[:, 0])
    return Batch(lr, hr, points)


def _batch(data: TrainingData, hyper: Hyperparameters, step: int, share: slice) -> Batch:
    batch, scale = hyper.batch, data.degradation.scale
    rows = batch_indices(len(data.faces), batch, step, hyper.seed)[share]
    hr = data.faces.stack(rows).float().div(255)
    random = np.random.Generator(np.random.Philox(key=[hyper.seed, (1 << 62) + step]))
    flip = torch.from_numpy(random.random(batch)[share] < 0.5).view(-1, 1, 1, 1)
    hr = torch.where(flip, hr.flip(3), hr)
    lr = data.degradation(hr, torch.arange(step * batch, (step + 1) * batch)[share])
    labels, native = (
        None if values is None else torch.from_numpy(values[rows])
        for values in (data.labels, data.native)
    )
    if data.mirrored_labels is not None:
        mirrored = torch.from_numpy(data.mirrored_labels[rows])
        labels = torch.where(flip.flatten(1), mirrored, labels)
    points = None
    if data.landmarks is not None:
        points = torch.from_numpy(data.landmarks[rows])
        width = torch.tensor([hr.shape[3] - 1.0, 0.0])
        mirrored = points[:, MIRRORED] * torch.tensor([-1.0, 1.0]) + width
        points = torch.where(flip[..., 0], mirrored, points)
    if hyper.patch is None:
        return Batch(lr, hr, points, labels, native)
    cut = hyper.patch // scale
    top, left = (random.integers(0, side - cut + 1, batch)[share] for side in lr.shape[2:])

    def cuts(pictures: Tensor, by: int) -> Tensor:
        size = cut * by
        corners = zip(pictures, top * by, left * by, strict=True)
        return torch.stack([x[:, y : y + size, c : c + size] for x, y, c in corners])

    if points is not None:
        points = points - scale * torch.from_numpy(np.stack([left, top], 1)).float()[:, None]
    return Batch(cuts(lr, 1), cuts(hr, scale), points, labels, native)
