"""The one training loop: what it does at step s depends on the seed and on s alone, so it can stop
anywhere and go on."""

from __future__ import annotations

import copy
import io
import math
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext, suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lrface.data import FaceSet
from lrface.data.landmarks import MIRRORED
from lrface.degrade import Degradation, round_uint8
from lrface.errors import Diverged, LrfaceError
from lrface.files import progress, write_atomic
from lrface.models.losses import Batch
from lrface.training import distributed

VERSION = 1
"""Raised when the loop's meaning changes: it is part of every run's key."""

PIXEL = {"l1": F.l1_loss, "mse": F.mse_loss}
SAVE_SECONDS = 30.0


class Pixelwise(nn.Module):
    """The plainest objective: one loss between the restored and the true face."""

    def __init__(self, loss: str):
        super().__init__()
        self.loss = PIXEL[loss]

    def forward(self, net: nn.Module, batch: Batch) -> dict[str, Tensor]:
        return {"loss": self.loss(net(batch.lr).float(), batch.hr)}


def learning_rate(schedule: str, base: float, step: int, steps: int) -> float:
    """``cosine``: 2 % linear warm-up, then a half cosine to zero; ``constant``; and the papers'
    own, as fractions of their runs: ``halve``: halved at each fifth (RDN, RCAN); ``halve-once``: at
    two thirds (EDSR); ``halve-early``: at 1, 2, 4 and 8 fifteenths (DICNet); ``tail``: constant,
    then linearly to zero over the last two fifths (HiFaceGAN); ``drops``: a tenth at 4 sevenths and
    again at 6, that is at 16,000 and 24,000 of 28,000 (joint model, section 4.1, which calls the
    last "epochs")."""
    if schedule == "cosine":
        warm = max(1, steps // 50)
        return (
            base * (step + 1) / warm
            if step < warm
            else base * 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))
        )
    if schedule == "halve":
        return base * 0.5 ** (5 * step // steps)
    if schedule == "halve-once":
        return base * 0.5 ** (3 * step >= 2 * steps)
    if schedule == "halve-early":
        return base * 0.5 ** sum(15 * step >= n * steps for n in (1, 2, 4, 8))
    if schedule == "tail":
        return base * min(1.0, 5 * (steps - step) / (2 * steps))
    if schedule == "drops":
        return base * 0.1 ** sum(7 * step >= n * steps for n in (4, 6))
    return base


@lru_cache(maxsize=2)  # a permutation of a million rows is worth keeping for its epoch
def _order(n: int, seed: int, epoch: int) -> np.ndarray:
    return np.random.Generator(np.random.Philox(key=[seed, epoch])).permutation(n)


def drawn(n: int, batch: int, step: int, seed: int) -> np.ndarray:
    """The rows of batch ``step``: every epoch is a new permutation of all n rows, whatever has run
    before."""
    positions = np.arange(step * batch, (step + 1) * batch)
    epochs = positions // n
    rows = np.empty(batch, dtype=np.int64)
    for epoch in np.unique(epochs):
        rows[epochs == epoch] = _order(n, seed, int(epoch))[positions[epochs == epoch] % n]
    return rows


def batches(
    faces: FaceSet,
    degrade: Degradation,
    batch: int,
    patch: int | None,
    seed: int,
    first: int,
    steps: int,
    points: np.ndarray | None = None,
    labels: np.ndarray | None = None,
    native: np.ndarray | None = None,
    share: slice = slice(None),
) -> Iterator[Batch]:
    """The batches of steps ``first``..``steps``-1: mirrored at random, cut to ``patch`` HR pixels
    (None: whole).

    ``points`` (N, 68, 2), ``labels`` (N,) and ``native`` (N,) are those of every face, for batches
    that carry them. The face is degraded whole and cut afterwards, so no border of a patch is ever
    filled in. The next batch is prepared meanwhile. ``share`` takes a part of every batch: what it
    holds is then what the whole one has in these places.
    """

    def make(step: int) -> Batch:
        rows = drawn(len(faces), batch, step, seed)[share]
        hr = faces.stack(rows).float().div(255)
        random = np.random.Generator(np.random.Philox(key=[seed, (1 << 62) + step]))
        flip = torch.from_numpy(random.random(batch)[share] < 0.5).view(-1, 1, 1, 1)
        hr = torch.where(flip, hr.flip(3), hr)
        lr = degrade(hr, torch.arange(step * batch, (step + 1) * batch)[share])
        marks, names = None, None if labels is None else torch.from_numpy(labels[rows])
        small = None if native is None else torch.from_numpy(native[rows])
        if points is not None:
            marks = torch.from_numpy(points[rows])
            mirrored = marks[:, MIRRORED] * torch.tensor([-1.0, 1.0]) + torch.tensor(
                [hr.shape[3] - 1.0, 0.0]
            )
            marks = torch.where(flip[..., 0], mirrored, marks)
        if patch is None:
            return Batch(lr, hr, marks, names, small)
        cut = patch // degrade.scale
        top, left = (random.integers(0, side - cut + 1, batch)[share] for side in lr.shape[2:])
        s = degrade.scale
        pieces = [
            (
                lr[i, :, t : t + cut, c : c + cut],
                hr[i, :, t * s : (t + cut) * s, c * s : (c + cut) * s],
            )
            for i, (t, c) in enumerate(zip(top, left, strict=True))
        ]
        if marks is not None:
            marks = marks - s * torch.from_numpy(np.stack([left, top], 1)).float()[:, None]
        return Batch(
            torch.stack([a for a, _ in pieces]),
            torch.stack([b for _, b in pieces]),
            marks,
            names,
            small,
        )

    with ThreadPoolExecutor(1) as ahead:
        pending = ahead.submit(make, first) if first < steps else None
        for step in range(first, steps):
            ready = pending.result()
            pending = ahead.submit(make, step + 1) if step + 1 < steps else None
            yield ready


@torch.no_grad()
def validate(net: nn.Module, faces: FaceSet, degrade: Degradation, device: torch.device) -> float:
    """Mean RGB PSNR (dB) over a few validation faces, at full precision: the learning curve, never
    a model selector."""
    total, count = 0.0, 0
    for hr in faces.batches(32):
        hr = hr.float().div(255)
        lr = degrade(hr, torch.arange(count, count + len(hr)))
        sr = round_uint8(net(lr.to(device)).float().cpu())
        mse = (sr - hr).double().square().mean((1, 2, 3)).clamp_min(1e-12)
        total, count = total + float((-10 * mse.log10()).sum()), count + len(hr)
    return total / count


def train(
    net: nn.Module,
    faces: FaceSet,
    validation: FaceSet | None,
    degrade: Degradation,
    *,
    steps: int,
    batch: int,
    patch: int | None,
    lr: float,
    schedule: str,
    objective: nn.Module,
    precision: str,
    seed: int,
    checkpoint: Path,
    label: str,
    points: np.ndarray | None = None,
    labels: np.ndarray | None = None,
    native: np.ndarray | None = None,
) -> tuple[nn.Module, list[dict[str, float]], dict[str, Any]]:
    """Train ``net`` in place and return it with its log (a row each fiftieth of the run) and the
    facts of the run.

    ``objective(net, batch)`` gives the scalars to descend: ``loss`` by the network and, for an
    adversarial method, ``rival`` by ``objective.rival``, the module that judges it. Further entries
    are logged. A network in training mode may return more than the image, for its objective; in
    evaluation mode it returns the image. ``objective.adam`` holds Adam's other settings (``betas``,
    ``weight_decay``), ``objective.rival_rate`` the rival's learning rate as a multiple of the
    network's, ``objective.memory`` a module that the objective changes itself, by no gradient (the
    centres of identities): a checkpoint holds it, too. ``objective.landmarks`` says that it wants
    them, if not every objective of its method does. ``points`` are the faces' landmarks (N, 68, 2),
    ``labels`` (N,) their identities and ``native`` (N,) whether each is a native face without a
    true one, for an objective that wants them. ``checkpoint`` holds everything needed to go on; it
    is written every half minute and read if it exists. A loss that is not finite raises
    :class:`lrface.errors.Diverged` and leaves the last good checkpoint. A step that does not fit in
    a GPU's memory raises :class:`LrfaceError` with a batch size that does.

    Of several processes (:mod:`lrface.training.distributed`) each takes every so many-th row of
    every batch, and their gradients are averaged; the first writes the checkpoint, validates and
    shows the progress.
    """
    number, processes = distributed.share()
    distributed.check_split(net, objective, batch, label)
    runner = distributed.fabric(precision)
    net = net.to(memory_format=torch.channels_last)
    adam = getattr(objective, "adam", {})
    optimiser = torch.optim.Adam([p for p in net.parameters() if p.requires_grad], lr, **adam)
    net, optimiser = runner.setup(net, optimiser)
    objective.to(runner.device)
    parts: dict[str, Any] = {"model": net, "optimiser": optimiser}
    rival = getattr(objective, "rival", None)
    if rival is not None:
        objective.rival, rival_optimiser = runner.setup(
            rival, torch.optim.Adam(rival.parameters(), lr, **adam)
        )
        parts |= {"rival": objective.rival, "rival_optimiser": rival_optimiser}
    if getattr(objective, "memory", None) is not None:
        parts["memory"] = objective.memory
    first, log, spent, resumed = 0, [], 0.0, 0
    total, seen, every = torch.zeros((), device=runner.device), 0, max(1, steps // 50)
    if checkpoint.exists():
        fresh = {name: copy.deepcopy(part.state_dict()) for name, part in parts.items()}
        try:
            state = torch.load(checkpoint, map_location=runner.device, weights_only=True)
            for name, part in parts.items():
                part.load_state_dict(state[name])
            first, log, spent, resumed = (
                state["step"],
                state["log"],
                state["seconds"],
                state["resumed"] + 1,
            )
            total, seen = state["total"].to(runner.device), state["seen"]
        except (
            Exception
        ) as error:  # a damaged file says so in many ways; none of them is worth losing the run for
            for name, part in parts.items():
                part.load_state_dict(fresh[name])
            print(
                f"{label}: cannot read {checkpoint.name} ({type(error).__name__}); training starts again from step 0"
            )
    if distributed.by_first(lambda: first) != first:
        raise LrfaceError(
            f"{label}: the processes do not read the same {checkpoint.name}: put LRFACE_CACHE where all nodes see it"
        )

    began = saved = time.monotonic()
    good = first

    def save(step: int) -> None:
        state = {name: part.state_dict() for name, part in parts.items()} | {
            "step": step,
            "log": log,
            "total": total,
            "seen": seen,
            "seconds": spent + time.monotonic() - began,
            "resumed": resumed,
        }
        held = io.BytesIO()  # torch.save hides a full disk behind errors of its own
        torch.save(state, held)
        write_atomic(checkpoint, lambda temporary: temporary.write_bytes(held.getbuffer()))

    def descend(one: Batch, rate: float) -> Tensor:
        for group in optimiser.param_groups:
            group["lr"] = rate
        losses = objective(net, one.to(runner.device))
        optimiser.zero_grad()
        runner.backward(losses["loss"])
        optimiser.step()
        if rival is not None:
            for group in rival_optimiser.param_groups:
                group["lr"] = rate * getattr(objective, "rival_rate", 1.0)
            rival_optimiser.zero_grad()  # also of what the network's own loss left there
            runner.backward(losses["rival"])
            rival_optimiser.step()
        return losses["loss"].detach()

    step = first
    own = slice(number, None, processes)
    try:
        with progress(label, steps) if number == 0 else nullcontext(lambda *_: None) as advance:
            advance(first)
            for one in batches(
                faces, degrade, batch, patch, seed, first, steps, points, labels, native, own
            ):
                try:
                    value = descend(one, learning_rate(schedule, lr, step, steps))
                except torch.OutOfMemoryError:
                    # and not here: while the error is at hand, so is all that the step held
                    value = None
                if value is None:
                    optimiser.zero_grad()
                    raise LrfaceError(
                        _too_large(lambda few: descend(few, 0.0), one, batch, processes, label)
                    )
                if processes > 1:
                    value = runner.all_reduce(value, reduce_op="mean")
                total, seen, step = total + value, seen + 1, step + 1
                if step % every == 0 or step == steps:
                    mean = float(total / seen)
                    if not math.isfinite(mean):
                        raise Diverged(
                            f"{label}: the loss is {mean} near step {step}, the last good checkpoint is at step {good}: lower the learning "
                            f"rate ({lr:g}) and run again"
                        )
                    row = {
                        "step": step,
                        "loss": mean,
                        "lr": optimiser.param_groups[0]["lr"],
                        "val_psnr": float("nan"),
                    }
                    # ten points make a learning curve; a run too short to have one is looked at
                    # once
                    if (
                        validation is not None
                        and number == 0
                        and ((step % (every * 5) == 0 and steps >= 100) or step == steps)
                    ):
                        net.eval()
                        row["val_psnr"] = validate(net, validation, degrade, runner.device)
                        net.train()
                    log.append(row)
                    total, seen = torch.zeros_like(total), 0
                if (
                    number == 0
                    and time.monotonic() - saved > SAVE_SECONDS
                    and step < steps
                    and torch.isfinite(total)
                ):
                    save(step)
                    saved, good = time.monotonic(), step
                advance(1, f"loss {log[-1]['loss']:.4f}" if log else "")
    except KeyboardInterrupt:
        print(
            f"{label}: interrupted at step {step} of {steps}; the same command goes on from the last checkpoint"
        )
        raise
    device = torch.cuda.get_device_name() if runner.device.type == "cuda" else "cpu"
    facts = {
        "seconds": spent + time.monotonic() - began,
        "resumed": resumed,
        "device": device,
        "threads": torch.get_num_threads(),
    }
    return net.module, log, facts | ({"processes": processes} if processes > 1 else {})


def _too_large(
    descend: Callable[[Batch], Tensor], one: Batch, batch: int, processes: int, label: str
) -> str:
    """The sentence about a step that ran out of memory; to know what fits, halves of the batch are
    tried until a whole step passes.

    The run is given up, and its checkpoint is written, so what such a step does to the network is
    seen by nobody.
    """
    said = f"{label}: out of memory on {torch.cuda.get_device_name() if torch.cuda.is_available() else 'the device'} with batch {batch}"
    if processes > 1:  # the others take no part in a trial
        return f"{said} in {processes} processes: start more processes, or choose a smaller batch"
    size = batch // 2
    while size:
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        with suppress(torch.OutOfMemoryError):
            descend(Batch(*(part if part is None else part[:size] for part in one)))
            return f"{said}: batch {size} fits"
        size //= 2
    return f"{said}, and with one face alone: choose a smaller patch or a smaller network"


def solve(
    net: nn.Module,
    fill: Callable[[nn.Module, Iterator[tuple[Tensor, Tensor]]], None],
    faces: FaceSet,
    validation: FaceSet | None,
    degrade: Degradation,
    batch: int,
    label: str,
) -> tuple[nn.Module, list[dict[str, float]], dict[str, Any]]:
    """As :func:`train`, for a network that is computed from one pass over the training pairs (whole
    faces, not mirrored)."""

    def pairs() -> Iterator[tuple[Tensor, Tensor]]:
        with progress(label, len(faces)) as advance:
            for first, hr in zip(range(0, len(faces), batch), faces.batches(batch), strict=True):
                hr = hr.float().div(255)
                yield degrade(hr, torch.arange(first, first + len(hr))), hr
                advance(len(hr))

    began = time.monotonic()
    fill(net, pairs())
    net.eval()
    score = (
        validate(net, validation, degrade, torch.device("cpu"))
        if validation is not None
        else float("nan")
    )
    facts = {
        "seconds": time.monotonic() - began,
        "resumed": 0,
        "device": "cpu",
        "threads": torch.get_num_threads(),
    }
    return net, [{"step": 1, "loss": float("nan"), "lr": float("nan"), "val_psnr": score}], facts
