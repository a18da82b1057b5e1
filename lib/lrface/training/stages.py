"""The training of a network in stages (:mod:`lrface.models.stages`), one run after all.

Finished stages are kept, and each stage has a checkpoint of its own, so that a training that was
interrupted anywhere ends with the weights of one that was not.
"""

from __future__ import annotations

import copy
import io
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lrface.data import FaceSet
from lrface.errors import LrfaceError
from lrface.files import write_atomic
from lrface.models.objective import Batch
from lrface.models.stages import TrainingStage, steps_of
from lrface.training import distributed, loop
from lrface.training.batches import TrainingData
from lrface.training.hyperparameters import Hyperparameters


@dataclass
class _Finished:
    """What the stages so far have left, as it is stored when one ends."""

    stages: int = 0
    log: list[dict[str, Any]] = field(default_factory=list)
    weights: dict[str, Tensor] = field(default_factory=dict)
    seconds: float = 0.0
    resumed: int = 0


def train(
    net: nn.Module,
    data: TrainingData,
    stages: Sequence[TrainingStage],
    hyper: Hyperparameters,
    *,
    folder: Path,
    label: str,
    validation: FaceSet | None = None,
) -> tuple[nn.Module, list[dict[str, Any]], dict[str, Any]]:
    """As :func:`lrface.training.loop.train`, stage after stage.

    Parameters
    ----------
    stages : sequence of TrainingStage
        In their order. Each descends for its share of ``hyper.steps``
        (:func:`lrface.models.stages.steps_of`) with an optimiser, a schedule and an order of faces
        of its own.
    folder : Path
        Holds the checkpoints: ``finished.pt``, of all stages that have ended, and
        ``stage<number>.pt``, of one under way.

    Returns
    -------
    net, log, facts
        ``step`` in the log counts on through all stages, and ``stage`` names each.

    Raises
    ------
    LrfaceError
        In several processes.
    """
    if distributed.rank_and_world_size()[1] > 1:
        raise LrfaceError(f"{label}: it is trained in stages: train it in one process")
    device = distributed.fabric().device
    net.to(device)
    done, facts = _resume(net, folder / "finished.pt", label), {}
    for number, (stage, steps) in enumerate(
        zip(stages, steps_of(stages, hyper.steps), strict=True)
    ):
        if number < done.stages:
            continue
        began = time.monotonic()
        if stage.fit is not None:
            net.eval()
            stage.fit(net, partial(_whole_faces, data, hyper.batch, device))
            net.train()
            done.seconds += time.monotonic() - began
        elif steps:
            # faces are whole: a patch is the stage's own matter
            own = replace(hyper, steps=steps, patch=None, seed=hyper.seed + (number << 32))
            checkpoint = folder / f"stage{number}.pt"
            how = dict(checkpoint=checkpoint, label=f"{label}, {stage.name}")
            how |= dict(validation=validation if stage.restores else None)
            net, log, facts = loop.train(net, data, stage.objective, own, **how)
            before = done.log[-1]["step"] if done.log else 0
            done.log += [row | {"step": before + row["step"], "stage": stage.name} for row in log]
            done.seconds += facts["seconds"]
            done.resumed = max(done.resumed, facts["resumed"])
        done.stages = number + 1
        _save(net, done, folder / "finished.pt")
    facts = {k: v for k, v in facts.items() if k not in ("seconds", "resumed")}
    facts = {"device": "cpu", "threads": torch.get_num_threads()} | facts
    return net, done.log, {"seconds": done.seconds, "resumed": done.resumed} | facts


def _whole_faces(
    data: TrainingData, batch: int, device: torch.device, most: int
) -> Iterator[Batch]:
    rows = np.linspace(0, len(data.faces) - 1, min(most, len(data.faces))).round().astype(int)
    for first in range(0, len(rows), batch):
        some = rows[first : first + batch]
        hr = data.faces.stack(some).float().div(255)
        points, labels = (
            None if values is None else torch.from_numpy(values[some])
            for values in (data.landmarks, data.labels)
        )
        yield Batch(data.degradation(hr, torch.from_numpy(some)), hr, points, labels).to(device)


def _resume(net: nn.Module, file: Path, label: str) -> _Finished:
    if not file.exists():
        return _Finished()
    fresh = copy.deepcopy(net.state_dict())
    try:
        device = next(net.parameters()).device
        done = _Finished(**torch.load(file, map_location=device, weights_only=True))
        net.load_state_dict(done.weights)
    except Exception as error:  # a damaged file raises errors of many kinds
        what = f"cannot read {file.name} ({type(error).__name__})"
        print(f"{label}: {what}; training starts again from the first stage")
        net.load_state_dict(fresh)
        for checkpoint in file.parent.glob("stage*.pt"):
            checkpoint.unlink()
        return _Finished()
    done.resumed += 1
    return done


def _save(net: nn.Module, done: _Finished, file: Path) -> None:
    done.weights = net.state_dict()
    buffer = io.BytesIO()  # torch.save to a file hides a full disk behind errors of its own
    torch.save(vars(done), buffer)
    write_atomic(file, lambda temporary: temporary.write_bytes(buffer.getbuffer()))
    for checkpoint in file.parent.glob("stage*.pt"):
        checkpoint.unlink()
