"""The first steps of every method from one seed, on this machine's GPU and on its CPU."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import numpy as np
import torch

from lrface import data, degrade, models, numerics
from lrface.data.landmarks import landmarks
from lrface.models.losses import Pixelwise, WithPreprocessor
from lrface.settings import override
from lrface.training import loop
from lrface.training.batches import TrainingData
from lrface.training.hyperparameters import Hyperparameters

FACES = 6


@dataclass(frozen=True)
class Case:
    """A method with one of its objectives, at a size."""

    method: str
    loss: str
    size: str
    native: bool = False
    """Whether half of the faces are native ones, without a high-resolution truth."""
    preprocessor: str | None = None

    @property
    def name(self) -> str:
        words = (self.method, self.loss, self.size, "native" * self.native, self.preprocessor)
        return " ".join(filter(None, words))


KINDS = ("METHODS", "RECOGNISERS", "VIDEO")


def cases(size: str = "small", kinds: Iterable[str] = KINDS) -> Iterator[Case]:
    """Every method of some kinds that descends, with each of its objectives; ``size`` small or
    paper."""
    for kind in (getattr(models, name) for name in kinds):
        for name, method in kind.items():
            if not method.trainable or method.fit_closed_form:
                continue
            own = "narrow" if size == "small" and size not in method.sizes else size
            alone = kind is models.METHODS and not method.needs_landmarks
            for loss in (*(["l1"] if alone else []), *method.objectives):
                yield Case(name, loss, own)
    if "RECOGNISERS" not in kinds:
        return
    for name in ("CSRI", "RPCN-like"):
        yield Case(name, next(iter(models.RECOGNISERS[name].objectives)), size, native=True)
    yield Case("FRNET", "paper", size, preprocessor="bicubic")


def training_data(case: Case, objective: torch.nn.Module) -> TrainingData:
    """The rendered faces, or clips, of a case, with what its objective needs of them."""
    method = models.find(case.method)
    points_needed = method.needs_landmarks or objective.needs_landmarks
    if case.method in models.VIDEO:
        clips = data.load_clips("synthetic-clips", "train", 2)
        points = clips.landmarks if points_needed else None
        return TrainingData(clips, degrade.setting("8x"), points)
    faces = data.load("synthetic", "train", FACES)
    labels = faces.classes(method.labels)[1] if case.method in models.RECOGNISERS else None
    points = landmarks(faces) if points_needed else None
    native = np.arange(FACES) % 2 == 0 if case.native else None
    small = method.restores or case.native or case.preprocessor
    setting = degrade.setting("4x") if small else degrade.HR
    return TrainingData(faces, setting, points, labels, native)


def losses(case: Case, device: str, steps: int = 2, precision: str = "32-true") -> list[float]:
    """The loss of each of the first steps; ``device`` is a value of ``LRFACE_DEVICE``."""
    method = models.find(case.method)
    classes = None
    if case.method in models.RECOGNISERS:
        classes = len(data.load("synthetic", "train", FACES).classes(method.labels)[0])
    clips = case.method in models.VIDEO
    torch.manual_seed(0)
    net = models.build(case.method, 8 if clips else 4, case.size, classes)
    own = method.objectives
    objective = own[case.loss](net) if case.loss in own else Pixelwise(case.loss)
    if case.preprocessor:
        objective = WithPreprocessor(models.restorer(case.preprocessor, 4), objective)
    given = training_data(case, objective)
    hyper = Hyperparameters(
        steps, 1 if clips else 2, None, 1e-4, "constant", precision=precision, seed=0
    )
    with override(device=device), tempfile.TemporaryDirectory() as folder:
        how = dict(checkpoint=Path(folder, "last.pt"), label=case.name)
        return [row["loss"] for row in loop.train(net, given, objective, hyper, **how)[1]]


def compared(case: Case, steps: int = 2) -> dict[str, float | str]:
    """The relative difference of a case's losses between the GPU, with and without TF32, and the
    CPU: of the first step, and of the second, which the first one's gradients have moved."""
    true = losses(case, "cpu", steps)
    with mock.patch.object(numerics, "training", lambda device: nullcontext()):
        ieee = losses(case, "auto", steps)
    pairs = dict(zip(("first", "second"), zip(ieee, true, strict=True), strict=False))
    if numerics.gpu_problem() == "":
        pairs["tf32"] = (losses(case, "auto", 1)[0], true[0])
    apart = {name: abs(a - b) / max(abs(b), 1e-12) for name, (a, b) in pairs.items()}
    return {"name": case.name} | apart
