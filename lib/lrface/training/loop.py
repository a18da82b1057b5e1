"""The training loop.

What it does at a step depends on the seed and the step alone, so that a training that was
interrupted anywhere ends with the weights of one that was not.
"""

from __future__ import annotations

import copy
import io
import math
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from lrface import numerics
from lrface.data import ClipSet, FaceSet
from lrface.degrade import Degradation, round_uint8
from lrface.errors import Diverged, LrfaceError
from lrface.files import progress, write_atomic
from lrface.models.objective import Batch, Objective
from lrface.training import distributed
from lrface.training.batches import TrainingData, batches
from lrface.training.hyperparameters import Hyperparameters
from lrface.training.lookahead import Lookahead

SAVE_SECONDS = 30.0
"""The least time between two checkpoints."""
SAVE_RATIO = 20
"""And it is so many times what the last one took, so that they cost 5 % of a training at most."""


@torch.no_grad()
def validate(
    net: nn.Module, faces: FaceSet | ClipSet, degrade: Degradation, device: torch.device
) -> float:
    """Mean RGB PSNR (dB) over a few validation faces, or the middle frames of clips.

    It draws the learning curve; no model is selected by it.
    """
    total, count = 0.0, 0
    for lr, hr in _validation_pairs(faces, degrade):
        sr = net(lr.to(device)).cpu()
        sr = round_uint8(sr[:, sr.shape[1] // 2] if sr.ndim == 5 else sr)
        mse = (sr - hr).double().square().mean((1, 2, 3)).clamp_min(1e-12)
        total, count = total + float((-10 * mse.log10()).sum()), count + len(hr)
    return total / count


def _validation_pairs(
    faces: FaceSet | ClipSet, degrade: Degradation
) -> Iterator[tuple[Tensor, Tensor]]:
    """Small faces or clips, and the faces or middle frames that are to come out."""
    count = 0
    for hr in faces.batches(32 if isinstance(faces, FaceSet) else 8):
        rows = torch.arange(count, count + len(hr))
        count += len(hr)
        hr = hr.float().div(255)
        if isinstance(faces, FaceSet):
            yield degrade(hr, rows), hr
            continue
        t = hr.shape[1]
        if faces.captured:
            lr = faces.captures(rows.tolist()).float().div(255)
        else:
            streams = (rows[:, None] * t + torch.arange(t)).flatten()
            lr = degrade(hr.flatten(0, 1), streams).unflatten(0, (-1, t))
        yield (lr[:, 0] if t == 1 else lr), hr[:, t // 2]


class _Learner:
    """The network, its objective and their optimisers on the device, and one step of them."""

    def __init__(self, net: nn.Module, objective: Objective, hyper: Hyperparameters):
        self.fabric: Fabric = distributed.fabric()
        self.objective = objective
        net = net.to(memory_format=torch.channels_last)
        self.bf16 = hyper.precision == "bf16-autocast" and numerics.bf16_is_fast(self.fabric.device)
        if self.bf16:
            numerics.autocast_in_training(net)
        optimiser = torch.optim.Adam(objective.groups(net), hyper.lr, **objective.adam)
        if objective.lookahead is not None:
            Lookahead(optimiser, **objective.lookahead)
        self.net, self.optimiser = self.fabric.setup(net, optimiser)
        objective.to(self.fabric.device)
        self.parts: dict[str, Any] = {"model": self.net, "optimiser": self.optimiser}
        """What a checkpoint holds of it, by name."""
        self.discriminator_optimiser = None
        if (discriminator := objective.discriminator) is not None:
            optimiser = torch.optim.Adam(discriminator.parameters(), hyper.lr, **objective.adam)
            objective.discriminator, optimiser = self.fabric.setup(discriminator, optimiser)
            self.discriminator_optimiser = optimiser
            self.parts |= {"discriminator": objective.discriminator}
            self.parts |= {"discriminator_optimiser": optimiser}
        if objective.state is not None:
            self.parts["state"] = objective.state

    def step(self, batch: Batch, lr: float) -> Tensor:
        """One step on a batch; gives the loss and, where there is one, its trivial value."""
        _set_lr(self.optimiser, lr)
        losses = self.objective(self.net, batch.to(self.fabric.device))
        self.optimiser.zero_grad()
        self.fabric.backward(losses["loss"])
        if (most := self.objective.clip_norm) is not None:
            self.fabric.clip_gradients(self.net, self.optimiser, max_norm=most)
        self.optimiser.step()
        if self.discriminator_optimiser is not None:
            _set_lr(self.discriminator_optimiser, lr * self.objective.discriminator_lr_ratio)
            # also of the gradients that the network's own loss left in the discriminator
            self.discriminator_optimiser.zero_grad()
            self.fabric.backward(losses["discriminator"])
            self.discriminator_optimiser.step()
        return torch.stack([losses[k].detach() for k in ("loss", "trivial") if k in losses])


def _set_lr(optimiser: torch.optim.Optimizer, lr: float) -> None:
    for group in optimiser.param_groups:
        group["lr"] = lr * group.get("rate", 1.0)


@dataclass
class _Progress:
    """The state of a training beside the weights, as a checkpoint stores it."""

    step: int = 0
    log: list[dict[str, float]] = field(default_factory=list)
    total: Tensor | None = None
    """Sums of the loss, and of its trivial value if there is one, since the last row of the log, on
    the device."""
    seen: int = 0
    """Number of losses in ``total``."""
    seconds: float = 0.0
    resumed: int = 0


def train(
    net: nn.Module,
    data: TrainingData,
    objective: Objective,
    hyper: Hyperparameters,
    *,
    checkpoint: Path,
    label: str,
    validation: FaceSet | ClipSet | None = None,
) -> tuple[nn.Module, list[dict[str, float]], dict[str, Any]]:
    """Train a network in place.

    Of several processes (:mod:`lrface.training.distributed`) each takes every so many-th row of
    every batch, and their gradients are averaged; rank 0 writes the checkpoint, validates and shows
    the progress.

    Parameters
    ----------
    net : Module
        The network, initialised.
    data : TrainingData
        Its faces.
    objective : Objective
        What is descended; it may change with the network (a discriminator, a state).
    hyper : Hyperparameters
        Steps, batch, patch, learning rate, schedule, precision and seed.
    checkpoint : Path
        File with all that it takes to go on; written every half minute, or less often where that
        takes long; read if it exists.
    label : str
        The training's name in messages.
    validation : FaceSet or ClipSet, optional
        Faces or clips on which the PSNR of the learning curve is measured.

    Returns
    -------
    net : Module
        The trained network.
    log : list of dict
        ``step, loss, lr, val_psnr`` at each fiftieth of the run, and ``trivial`` beside the loss if
        the objective gives it.
    facts : dict
        ``seconds, resumed`` (times), ``device, threads``; of a lower precision the one that was
        ``computed_in``, float32 where the device is not faster in the lower one; if several,
        ``processes``; on a GPU ``peak_gpu_memory_mb`` (1e6 bytes).

    Raises
    ------
    Diverged
        If the loss is not finite; the last good checkpoint is left.
    LrfaceError
        If a step does not fit in a GPU's memory, with a batch size that does.
    """
    rank, world_size = distributed.rank_and_world_size()
    distributed.check_split(net, objective, hyper.batch, label)
    learner = _Learner(net, objective, hyper)
    device = learner.fabric.device
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    done = _resume(learner, checkpoint, label)
    began = saved = time.monotonic()
    spent, good, every = done.seconds, done.step, max(1, hyper.steps // 50)
    own, pause = slice(rank, None, world_size), SAVE_SECONDS
    show = progress(label, hyper.steps) if rank == 0 else nullcontext(lambda *_: None)
    try:
        with show as advance, numerics.training(device):
            advance(done.step)
            for batch in batches(data, hyper, done.step, own, device):
                loss = _step_in_memory(learner, batch, hyper, done.step, world_size, label)
                if world_size > 1:
                    loss = learner.fabric.all_reduce(loss, reduce_op="mean")
                done.total, done.seen, done.step = done.total + loss, done.seen + 1, done.step + 1
                if done.step % every == 0 or done.step == hyper.steps:
                    row = _log_row(done, hyper, learner, good, label)
                    # ten points make a learning curve; a run too short to have one has its end
                    due = done.step % (every * 5) == 0 and hyper.steps >= 100
                    if validation is not None and rank == 0 and (due or done.step == hyper.steps):
                        row["val_psnr"] = _validate(learner, validation, data.degradation)
                    done.log.append(row)
                    done.total, done.seen = torch.zeros_like(done.total), 0
                now = time.monotonic()
                due = rank == 0 and now - saved > pause and done.step < hyper.steps
                if due and torch.isfinite(done.total).all():
                    done.seconds = spent + now - began
                    _save(learner, done, checkpoint)
                    saved, good = time.monotonic(), done.step
                    pause = max(SAVE_SECONDS, SAVE_RATIO * (saved - now))
                advance(1, f"loss {done.log[-1]['loss']:.4f}" if done.log else "")
    except KeyboardInterrupt:
        where = f"interrupted at step {done.step} of {hyper.steps}"
        print(f"{label}: {where}; the same command goes on from the last checkpoint")
        raise
    cuda = device.type == "cuda"
    facts = {
        "seconds": spent + time.monotonic() - began,
        "resumed": done.resumed,
        "device": torch.cuda.get_device_name() if cuda else "cpu",
        "threads": torch.get_num_threads(),
    }
    facts |= {"processes": world_size} if world_size > 1 else {}
    if hyper.precision != "32-true":
        facts["computed_in"] = hyper.precision if learner.bf16 else "32-true"
    if cuda:
        facts["peak_gpu_memory_mb"] = round(torch.cuda.max_memory_allocated() / 1e6)
    return learner.net.module, done.log, facts


def _resume(learner: _Learner, checkpoint: Path, label: str) -> _Progress:
    """Load a checkpoint into the learner; without one, or with a damaged one, start at step 0."""
    device = learner.fabric.device
    done = _Progress(total=torch.zeros((), device=device))
    if checkpoint.exists():
        fresh = {name: copy.deepcopy(part.state_dict()) for name, part in learner.parts.items()}
        try:
            # not to the device: Adam would wait for its count of steps there, twice a parameter
            state = torch.load(checkpoint, map_location="cpu", weights_only=True)
            for name, part in learner.parts.items():
                part.load_state_dict(state[name])
            facts = {name: state[name] for name in ("step", "log", "seen", "seconds")}
            total = state["total"].to(device)
            done = _Progress(total=total, resumed=state["resumed"] + 1, **facts)
        except Exception as error:  # a damaged file raises errors of many kinds
            for name, part in learner.parts.items():
                part.load_state_dict(fresh[name])
            what = f"cannot read {checkpoint.name} ({type(error).__name__})"
            print(f"{label}: {what}; training starts again from step 0")
    if distributed.broadcast_from_rank0(lambda: done.step) != done.step:
        what = f"the processes do not read the same {checkpoint.name}"
        raise LrfaceError(f"{label}: {what}: put LRFACE_CACHE where all nodes see it")
    return done


def _save(learner: _Learner, done: _Progress, checkpoint: Path) -> None:
    state = {name: part.state_dict() for name, part in learner.parts.items()} | vars(done)
    buffer = io.BytesIO()  # torch.save to a file hides a full disk behind errors of its own
    torch.save(state, buffer)
    write_atomic(checkpoint, lambda temporary: temporary.write_bytes(buffer.getbuffer()))


def _log_row(
    done: _Progress, hyper: Hyperparameters, learner: _Learner, good: int, label: str
) -> dict[str, float]:
    loss, *trivial = (done.total / done.seen).view(-1).tolist()
    if not math.isfinite(loss):
        raise Diverged(
            f"{label}: the loss is {loss} near step {done.step}, the last good checkpoint is at "
            f"step {good}: lower the learning rate ({hyper.lr:g}) and run again"
        )
    lr = learner.optimiser.param_groups[0]["lr"]
    row = {"step": done.step, "loss": loss, "lr": lr, "val_psnr": float("nan")}
    return row | ({"trivial": trivial[0]} if trivial else {})


def _validate(learner: _Learner, validation: FaceSet | ClipSet, degradation: Degradation) -> float:
    device = learner.fabric.device
    learner.net.eval()
    with numerics.ieee_float32(device):
        psnr = validate(learner.net, validation, degradation, device)
    learner.net.train()
    return psnr


def _step_in_memory(
    learner: _Learner, batch: Batch, hyper: Hyperparameters, step: int, world_size: int, label: str
) -> Tensor:
    """One step; :class:`LrfaceError` with a batch size that fits if it runs out of memory."""
    try:
        return learner.step(batch, hyper.learning_rate(step))
    except torch.OutOfMemoryError:
        pass  # the error keeps the step's tensors alive until the end of this clause
    learner.optimiser.zero_grad()
    fits = None if world_size > 1 else _what_fits(lambda few: learner.step(few, 0.0), batch)
    name = torch.cuda.get_device_name() if torch.cuda.is_available() else "the device"
    what = f"{label}: out of memory on {name} with batch {hyper.batch}"
    if world_size > 1:  # the others take no part in a trial
        advice = "start more processes, or choose a smaller batch"
        raise LrfaceError(f"{what} in {world_size} processes: {advice}")
    if fits:
        raise LrfaceError(f"{what}: batch {fits} fits")
    advice = "choose a smaller patch or a smaller network"
    raise LrfaceError(f"{what}, and with one face alone: {advice}")


def _what_fits(step: Callable[[Batch], Tensor], batch: Batch) -> int:
    """The largest half, quarter, ... of a batch with which a step fits in memory, or 0.

    These steps change the network, which does not matter: the training ends here, and its
    checkpoint is written already.
    """
    size = len(batch.lr) // 2
    while size:
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        with suppress(torch.OutOfMemoryError):
            step(Batch(*(part if part is None else part[:size] for part in batch)))
            return size
        size //= 2
    return 0


def fit_closed_form(
    net: nn.Module,
    fit: Callable[[nn.Module, Iterator[tuple[Tensor, Tensor]]], None],
    data: TrainingData,
    batch: int,
    label: str,
    validation: FaceSet | None = None,
) -> tuple[nn.Module, list[dict[str, float]], dict[str, Any]]:
    """As :func:`train`, for a network that is computed from one pass over the training faces.

    ``fit(net, pairs)`` gets the pairs (lr, hr) of whole faces that are not mirrored.
    """
    faces, degradation = data.faces, data.degradation

    def pairs() -> Iterator[tuple[Tensor, Tensor]]:
        with progress(label, len(faces)) as advance:
            for first, hr in zip(range(0, len(faces), batch), faces.batches(batch), strict=True):
                hr = hr.float().div(255)
                yield degradation(hr, torch.arange(first, first + len(hr))), hr
                advance(len(hr))

    began = time.monotonic()
    fit(net, pairs())
    net.eval()
    cpu, nan = torch.device("cpu"), float("nan")
    psnr = nan if validation is None else validate(net, validation, degradation, cpu)
    facts = {"resumed": 0, "device": "cpu", "threads": torch.get_num_threads()}
    facts = {"seconds": time.monotonic() - began} | facts
    return net, [{"step": 1, "loss": nan, "lr": nan, "val_psnr": psnr}], facts
