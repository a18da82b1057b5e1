"""A method whose behaviour changes gets a new version, or released networks would pass for it.

For every method and objective one training step from a fixed seed gives the loss, the gradients and
the weights that ``fingerprints.json`` states. If a change is meant, raise the method's version and
store the new numbers: ``PYTHONPATH=tests .venv/bin/python tests/training/test_behaviour.py``.
"""

import json
import math
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Still, draw
from lrface import degrade, models
from lrface.data import ClipSet
from lrface.data.part_windows import ATTRIBUTES
from lrface.models.losses import Pixelwise, WithPreprocessor
from lrface.training import loop, stages
from lrface.training.batches import TrainingData
from lrface.training.config import LOOP_VERSION
from lrface.training.hyperparameters import Hyperparameters
from torch.optim.optimizer import register_optimizer_step_pre_hook

STORED = Path(__file__).with_name("fingerprints.json")
CLASSES = 7
BEHIND_BICUBIC = "FRNET paper, behind bicubic"


def cases():
    """Name -> (method, loss). A restorer without objectives of its own is trained with L1."""
    known = models.METHODS | models.RECOGNISERS | models.VIDEO | models.DETECTORS
    found = {}
    for name, method in known.items():
        if method.trainable:
            losses = list(method.objectives) or ["closed form" if method.fit_closed_form else "l1"]
            found |= {f"{name} {loss}": (name, loss) for loss in losses}
    return found | {"SRCNN mse": ("SRCNN", "mse"), BEHIND_BICUBIC: ("FRNET", "paper")}


def face_landmarks(random, n, side=128):
    """68 landmarks (n, 68, 2) where an upright face has them, each moved by a pixel or so."""
    t = np.linspace(0, np.pi, 17)
    jaw = np.stack([-0.34 * np.cos(t), 0.02 + 0.4 * np.sin(t)], 1)
    brow, eye, lip = (np.linspace(0, 1, k)[:, None] for k in (5, 6, 20))
    circle = np.concatenate([np.cos(2 * np.pi * eye), np.sin(2 * np.pi * eye)], 1)
    mouth = np.concatenate([-np.cos(2 * np.pi * lip), np.sin(2 * np.pi * lip)], 1)
    nose = np.concatenate(
        [
            np.linspace((0, -0.1), (0, 0.08), 4),
            np.linspace((-0.06, 0.11), (0.06, 0.11), 5),
        ]
    )
    brows = [np.concatenate([x + 0.16 * brow, -0.2 + 0 * brow], 1) for x in (-0.24, 0.08)]
    eyes = [np.array([x, -0.1]) + (-0.06, 0.03) * circle for x in (-0.16, 0.16)]
    points = np.concatenate([jaw, *brows, nose, *eyes, (0, 0.22) + (0.12, 0.05) * mouth])
    points = side * (0.5 + points) + random.normal(0, 1, (n, 68, 2))
    return points.astype(np.float32)


class Faces(Still):
    def batches(self, size):
        return self.pictures.split(size)


def inputs(labels):
    """Four faces of two people, each with everything that an objective may need."""
    random = np.random.default_rng(5)
    pictures = torch.from_numpy(np.stack([draw(i, 128, 128) for i in range(4)])).permute(0, 3, 1, 2)
    points = face_landmarks(random, 4)
    numbers = np.array([0, 0, 3, 3])
    if labels == "attributes":
        numbers = (random.random((4, CLASSES)) < 0.5).astype(np.float32)
    native = np.array([False, True, False, True])
    return Faces(pictures.contiguous()), points, numbers, native


class Clips(ClipSet):
    """Two clips of seven drawn faces."""

    def __init__(self):
        super().__init__("drawn", None)
        faces = [np.stack([draw(7 * i + k, 128, 128) for k in range(7)]) for i in range(2)]
        self.__dict__["pictures"] = torch.from_numpy(np.stack(faces)).permute(0, 1, 4, 2, 3)

    def __len__(self):
        return 2

    def stack(self, clips, order=None):
        return self.pictures[np.asarray(clips)[:, None], order][..., 16:112]


def windows(side, parts=False):
    """Four windows of drawn faces: two with a box each, two without; or with facial parts, too."""
    pictures = torch.from_numpy(np.stack([draw(i, side, side) for i in range(4)]))
    labels = np.full((4, 8), np.nan, np.float32)
    labels[:, :4] = [[1, 1, 0, 0], [0, -1, -1, -1], [1, 0, 0, 1], [0, -1, -1, -1]]
    labels[::2, 4:] = [[0.05, -0.02, -0.7, -0.4], [0.0, 0.1, -0.6, -0.3]]
    if parts:
        shown = (np.random.default_rng(5).random((4, len(ATTRIBUTES))) < 0.5) * labels[:, :1]
        labels = np.concatenate([labels[:, :1], shown, labels[:, 4:]], 1).astype(np.float32)
    faces = Faces(pictures.permute(0, 3, 1, 2).contiguous())
    flipped = np.arange(labels.shape[1]) == labels.shape[1] - 4
    mirrored = labels * np.where(flipped, -1, 1).astype(np.float32)
    return TrainingData(faces, degrade.HR, labels=labels, mirrored_labels=mirrored)


def summary(tensors):
    """The norm of some tensors and their product with a fixed wave."""
    flat = torch.cat([t.detach().double().flatten() for t in tensors])
    wave = torch.sin(torch.arange(len(flat), dtype=torch.float64))
    return [float(flat.norm()), float(flat @ wave)]


def floats(*modules):
    return [
        t.detach().clone()
        for module in modules
        if module is not None
        for t in module.state_dict().values()
        if t.is_floating_point()
    ]


def measure(name, method, loss):
    """The numbers of one step.

    The loss; of each optimiser the gradients and Adam's settings; of the network, the discriminator
    and the state all floats after the step, and how they moved.
    """
    chosen = models.find(method)
    faces, points, labels, native = inputs(chosen.labels)
    data = TrainingData(faces, degrade.setting("4x"), points, labels, native)
    scale, size, batch = 4, chosen.sizes[0], 4
    if method in models.VIDEO:
        points = face_landmarks(np.random.default_rng(5), 14).reshape(2, 7, 68, 2)
        scale, batch, points = 8, 2, points - np.float32([16, 0])
        data = TrainingData(Clips(), degrade.setting("8x"), points)
    if method in models.DETECTORS:
        scale, data = 1, windows(chosen.face_size, chosen.labels == "parts")
    torch.manual_seed(0)
    net = models.build(method, scale, size, CLASSES)
    if chosen.fit_closed_form:
        loop.fit_closed_form(net, chosen.fit_closed_form, data, 4, name)
        return {"version": chosen.version, "weights": summary(floats(net))}
    if chosen.stages:
        return in_stages(name, net, chosen, loss, data)
    objective = chosen.objectives[loss](net) if loss in chosen.objectives else Pixelwise(loss)
    if name == BEHIND_BICUBIC:
        objective = WithPreprocessor(models.restorer("bicubic", 4), objective)
    changing = (net, objective.discriminator, objective.state)
    before, gradients, adam = floats(*changing), [], []

    def watch(optimiser, *_):
        (group,) = optimiser.param_groups
        gradients.append(summary([p.grad for p in group["params"] if p.grad is not None]))
        adam.append([group["lr"], *group["betas"], group["weight_decay"]])

    hook = register_optimizer_step_pre_hook(watch)
    try:
        with tempfile.TemporaryDirectory() as folder:
            hyper = Hyperparameters(steps=1, batch=batch, patch=None, lr=1e-3)
            how = dict(checkpoint=Path(folder, "last.pt"), label=name)
            _, log, _ = loop.train(net, data, objective, hyper, **how)
    finally:
        hook.remove()
    after = floats(net, objective.discriminator, objective.state)
    moved = [b - a for a, b in zip(before, after, strict=True)]
    return {
        "version": chosen.version,
        "loss": log[0]["loss"],
        "gradients": gradients,
        "adam": adam,
        "weights": summary(after),
        "moved": summary(moved),
    }


def in_stages(name, net, method, loss, data):
    """The same of a training in stages, one step each."""
    parts = method.stages(net, loss, 64)
    parts = [replace(part, share=min(part.share, 1)) for part in parts]
    hyper = Hyperparameters(sum(part.share for part in parts), batch=4, patch=None, lr=1e-3)
    with tempfile.TemporaryDirectory() as folder:
        net, log, _ = stages.train(net, data, parts, hyper, folder=Path(folder), label=name)
    weights = summary(floats(net))
    return {"version": method.version, "loss": log[-1]["loss"], "weights": weights}


def differs(found, stored):
    """Which of the numbers differ from the stored ones by more than rounding, if any.

    Adam's first step moves a weight by the sign of its gradient, and where the true gradient is
    zero (a bias before batch normalisation) rounding decides the sign: ``moved`` may be a few
    hundredths off.
    """
    if found.keys() != stored.keys() or len(found.get("adam", [])) != len(stored.get("adam", [])):
        return "what is computed"
    if found.get("adam") != stored.get("adam"):
        return "adam"
    # the loss of a training in stages comes after several such steps (4e-4 apart on two processors)
    of_loss = 1e-4 if "gradients" in stored or "moved" in stored else 2e-3
    for what, tolerance in (("loss", of_loss), ("weights", 2e-3), ("moved", 0.05)):
        if what in stored and not close(found[what], stored[what], tolerance):
            return what
    both = zip(found.get("gradients", []), stored.get("gradients", []), strict=True)
    return None if all(close(*pair, 1e-3) for pair in both) else "gradients"


def close(found, stored, tolerance):
    """A number relative to itself; a pair of :func:`summary` relative to its norm."""
    if isinstance(stored, float):
        return math.isclose(found, stored, rel_tol=tolerance)
    return all(abs(a - b) <= tolerance * stored[0] for a, b in zip(found, stored, strict=True))


def stored_fingerprints():
    return json.loads(STORED.read_text())


@pytest.mark.slow
@pytest.mark.skipif(
    not torch.backends.cpu.get_cpu_capability().startswith("AVX"),
    reason="stored on x86 with AVX; other processors round by more than the tolerances",
)
@pytest.mark.parametrize("name", cases())
def test_behaviour_changes_only_with_the_version(name):
    stored, found = stored_fingerprints(), measure(name, *cases()[name])
    assert stored["loop_version"] == LOOP_VERSION, "store the new numbers"
    assert name in stored["methods"], "store the numbers of the new method"
    expected = stored["methods"][name]
    what = differs(found, expected)
    assert found["version"] == expected["version"], "store the new version's numbers"
    assert what is None, f"{name}: {what} changed, and its version did not"


def test_every_stored_behaviour_is_of_a_method_there_is():
    assert set(stored_fingerprints()["methods"]) == set(cases())


def store():
    """Write the numbers anew; refuse those that changed under the same version."""
    torch.set_num_threads(1)
    old = stored_fingerprints() if STORED.exists() else {"loop_version": 0, "methods": {}}
    found = {name: measure(name, *case) for name, case in cases().items()}
    if old["loop_version"] == LOOP_VERSION:
        for name, one in found.items():
            before = old["methods"].get(name, {})
            if before.get("version") == one["version"] and differs(one, before):
                sys.exit(f"{name} changed, and its version did not: raise it first")
            found[name] = one if differs(one, before) else before
    text = json.dumps({"loop_version": LOOP_VERSION, "methods": found}, indent=1)
    STORED.write_text(text + "\n")


if __name__ == "__main__":
    store()
