"""Fixtures of all tests: a data root, a cache and an output folder of each test's own.

The faces are drawn by code: two eyes and a mouth, and nobody's.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import settings
from lrface import cli, degrade, runs
from lrface.data import SceneSet
from lrface.execution import notebooks
from lrface.training import loop
from lrface.training.batches import TrainingData
from lrface.training.hyperparameters import Hyperparameters
from PIL import Image
from safetensors.torch import load_file

REAL = os.environ.get("LRFACE_DATA") and str(Path(os.environ["LRFACE_DATA"]).resolve())
settings.register_profile("lrface", deadline=None)  # a busy machine fails no test
settings.load_profile("lrface")
torch.set_num_threads(1)  # on tensors this small threads only wait for one another
needs_real = pytest.mark.skipif(
    not REAL, reason="LRFACE_DATA is not set: the tests on real faces need it"
)


def pytest_collection_modifyitems(items):
    """Fast tests first, those that execute notebooks last."""

    def late(item) -> tuple[bool, bool]:
        return item.get_closest_marker("slow") is not None, "test_notebooks" in item.nodeid

    items.sort(key=late)


def draw(seed: int, width: int = 178, height: int = 218) -> np.ndarray:
    """A smooth picture with a face-like layout, uint8 (height, width, 3); one seed, one picture."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width] / height
    x = x - width / height / 2
    image = np.ones((height, width, 3)) * random.uniform(40, 200, 3)
    skin = random.uniform((120, 80, 60), (240, 200, 180))
    radius = ((x / random.uniform(0.24, 0.3)) ** 2 + ((y - 0.55) / 0.38) ** 2)[..., None]
    image += (skin - image) / (1 + np.exp(20 * (radius - 1)))
    for cx, cy, sx, sy in (
        (-0.09, 0.5, 0.03, 0.02),
        (0.09, 0.5, 0.03, 0.02),
        (0, 0.7, 0.07, 0.015),
    ):
        spot = np.exp(-(((x - cx) / sx) ** 2) - ((y - cy) / sy) ** 2)[..., None]
        image += spot * (random.uniform(10, 80, 3) - image)
    image += (
        12 * np.sin(2 * np.pi * (x * random.uniform(5, 30) + y * random.uniform(5, 30)))[..., None]
    )
    return np.clip(image, 0, 255).astype(np.uint8)


def face_shapes(n: int, height: int = 96, width: int = 80, seed: int = 0) -> np.ndarray:
    """68 landmarks (n, 68, 2) of upright faces in pixels, that differ in place, size, turn, width,
    view from the side, opening of the mouth and height of the brows."""
    random = np.random.default_rng(seed)
    t = np.linspace(0, np.pi, 17)
    jaw = np.stack([-0.34 * np.cos(t), 0.02 + 0.4 * np.sin(t)], 1)
    brow = np.stack([np.linspace(0, 0.16, 5), [-0.18, -0.2, -0.21, -0.2, -0.19]], 1)
    nose = np.concatenate(
        [np.linspace((0, -0.1), (0, 0.08), 4), np.linspace((-0.06, 0.11), (0.06, 0.11), 5)]
    )
    corner = np.array([0, 60, 120, 180, 240, 300]) * np.pi / 180
    eye = np.stack([-0.06 * np.cos(corner), -0.025 * np.sin(corner)], 1)

    def lips(points: int, x: float, y: float) -> np.ndarray:
        angle = 2 * np.pi * np.arange(points) / points
        return np.stack([-x * np.cos(angle), 0.23 - y * np.sin(angle)], 1)

    brows = [brow + (x, 0) for x in (-0.24, 0.08)]
    eyes = [eye + (x, -0.1) for x in (-0.16, 0.16)]
    mouth = [lips(12, 0.12, 0.05), lips(8, 0.09, 0.025)]
    face = np.concatenate([jaw, *brows, nose, *eyes, *mouth])
    assert len(face) == 68
    points = np.repeat(face[None], n, 0)
    wide, side, turn = (random.normal(0, s, (n, 1)) for s in (0.05, 0.08, 0.1))
    points[..., 0] = points[..., 0] * (1 + wide) + side * (0.3 - points[..., 0] ** 2 * 4)
    points[:, 48:, 1] += random.normal(0, 0.2, (n, 1)) * (points[:, 48:, 1] - 0.23)
    points[:, 17:27, 1] += random.normal(0, 0.015, (n, 1))
    points = points @ np.stack(
        [np.cos(turn), -np.sin(turn), np.sin(turn), np.cos(turn)], -1
    ).reshape(n, 2, 2)
    points *= 0.8 * min(height, width) * random.normal(1, 0.05, (n, 1, 1))
    points += np.array([width / 2, height / 2]) + random.normal(0, 1.5, (n, 1, 2))
    points += random.normal(0, 0.1, points.shape)
    return points.astype(np.float32)


def disc_scene(random, size: int, heights: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
    """Noise with three bright ellipses as faces: uint8 (size, size, 3), boxes float (3, 4)."""
    image = random.integers(40, 110, (size, size, 3)).astype(np.uint8)
    y, x = np.mgrid[0:size, 0:size] + 0.5
    boxes = []
    for i in range(3):
        h = float(np.exp(random.uniform(*np.log(heights))))
        w = 0.75 * h
        left = size * i / 3 + random.uniform(0, max(size / 3 - w, 1))
        top = random.uniform(0, size - h)
        inside = ((x - left - w / 2) / (w / 2)) ** 2 + ((y - top - h / 2) / (h / 2)) ** 2 < 1
        image[inside] = random.integers(190, 250, 3)
        boxes.append((left, top, w, h))
    return image, np.array(boxes)


def disc_scenes(folder: Path, n: int, heights=(12, 60), size: int = 240, seed: int = 0) -> SceneSet:
    """``n`` scenes of :func:`disc_scene` as PNG files in a folder."""
    random, images, boxes = np.random.default_rng(seed), [], []
    for i in range(n):
        picture, faces = disc_scene(random, size, heights)
        Image.fromarray(picture).save(folder / f"{seed}-{i}.png")
        images.append(dict(key=f"{seed}-{i}", path=f"{seed}-{i}.png", split="train"))
        boxes += [dict(zip("xywh", face, strict=True), image=f"{seed}-{i}") for face in faces]
    images = pd.DataFrame(images).assign(width=size, height=size, digest=f"{seed}")
    return SceneSet("discs", folder, images, pd.DataFrame(boxes), photos=False)


def disc_wider(root: Path) -> Path:
    """A data root with such scenes in WIDER FACE's layout: four to train on, two others."""
    for split, n, seed in (("train", 4, 1), ("val", 2, 2)):
        folder = root / f"wider/WIDER_{split}/images/0--Parade"
        folder.mkdir(parents=True)
        scenes, lines = disc_scenes(folder, n, (12, 25), 120, seed), []
        for row, faces in zip(scenes.images["path"], scenes.truth(), strict=True):
            lines += [f"0--Parade/{row}", str(len(faces))]
            lines += [" ".join(f"{v:.0f}" for v in face) + " 0 0 0 0 0 0" for face in faces]
        lists = root / "wider/wider_face_split"
        lists.mkdir(exist_ok=True)
        (lists / f"wider_face_{split}_bbx_gt.txt").write_text("\n".join(lines) + "\n")
    return root


class Still:
    """Images in memory, uint8 (N, 3, H, W): as much of a face set as the training loop needs."""

    def __init__(self, pictures: torch.Tensor):
        self.pictures = pictures

    def __len__(self):
        return len(self.pictures)

    def stack(self, rows):
        return self.pictures[torch.as_tensor(rows)]


def noise(n: int, side: int) -> Still:
    """``n`` images of noise, ``side`` pixels wide and high, the same in every test."""
    generator = torch.Generator().manual_seed(1)
    shape = (n, 3, side, side)
    return Still(torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator))


def make_celeba(root: Path, identities: int = 70, each: int = 2) -> Path:
    folder = root / "celeba" / "img_align_celeba"
    folder.mkdir(parents=True)
    keys = [f"{i + 1:06d}.jpg" for i in range(identities * each)]
    for i, key in enumerate(keys):
        Image.fromarray(draw(i)).save(folder / key, quality=92)
    (folder.parent / "identity_CelebA.txt").write_text(
        "".join(f"{k} {1000 + i // each}\n" for i, k in enumerate(keys))
    )
    (folder.parent / "list_eval_partition.txt").write_text("".join(f"{k} 0\n" for k in keys))
    attributes = "".join(f"{k} {1 if i % 2 else -1} -1\n" for i, k in enumerate(keys))
    (folder.parent / "list_attr_celeba.txt").write_text(f"{len(keys)}\nMale Smiling\n{attributes}")
    return root


@pytest.fixture(scope="session")
def drawn_root(tmp_path_factory) -> Path:
    """A data root with a small CelebA of drawn faces in the official layout; never written to."""
    return make_celeba(tmp_path_factory.mktemp("data"))


@pytest.fixture(autouse=True)
def own_places(monkeypatch, tmp_path_factory, drawn_root):
    places = tmp_path_factory.mktemp("places")
    monkeypatch.setenv("LRFACE_DATA", str(drawn_root))
    monkeypatch.setenv("LRFACE_CACHE", str(places / "cache"))
    monkeypatch.setenv("LRFACE_OUT", str(places / "out"))
    monkeypatch.delenv("LRFACE_PROGRESS", raising=False)
    return places


@pytest.fixture
def lrface(monkeypatch, capsys):
    """Run a command line; returns (exit code, stdout, stderr)."""

    def call(*words):
        monkeypatch.setattr(sys, "argv", ["lrface", *map(str, words)])
        code = 0
        try:
            cli.main()
        except SystemExit as exit_:
            code = exit_.code or 0
        out = capsys.readouterr()
        return code, out.out, out.err

    return call


TINY = {
    "parameters": """
from typing import Literal
data: str = "celeba"
preset: Literal["smoke", "quick", "gpu"] = "quick"
steps: int = 3""",
    "study": """
import lrface.data
import pandas as pd
from lrface import degrade, report
from matplotlib.figure import Figure
faces = lrface.data.load(data, "test", 4)
study = report.Study("07_tiny", faces, preset)""",
    "train": """
from lrface import runs
train = lrface.data.load(data, "train", 8)
config = runs.Config(
    method="SRCNN", degradation=degrade.setting("4x"), data=data, n_train=8, steps=steps,
    batch=2, patch=32, precision="32-true",
)
run = runs.fit(config, train)
loss = run.record["loss"]""",
    "outputs": """
from lrface.metrics import Estimate
rows = [report.row("SRCNN", "4x", "psnr", Estimate(30 + loss, 29.0, 32.0, 4))]
table = report.long(rows, study.name, "1", "edface", ())
study.table("table1", table)
study.listing("list", table[["method"]])
figure = Figure(figsize=(1, 1))
figure.subplots().plot([0, loss])
study.figure("curve", figure, table, alt="A line.")
study.findings(report.findings.evaluate("00", lambda *_: None, {}))""",
}
"""A study in a few lines: it trains, and writes a table, a list, a figure and findings."""


def make_project(root: Path, **cells: str) -> Path:
    """A project with one notebook, 07_tiny, with the cells of TINY.

    ``cells`` replaces cells by their names, or appends further ones.
    """
    root.joinpath("notebooks").mkdir(parents=True, exist_ok=True)
    root.joinpath("pyproject.toml").touch()
    notebook = nbformat.v4.new_notebook()
    for name, source in (TINY | cells).items():
        tags = {"tags": ["parameters"]} if name == "parameters" else {}
        notebook.cells.append(nbformat.v4.new_code_cell(source.strip(), metadata=tags, id=name))
    path = root / "notebooks" / "07_tiny.ipynb"
    nbformat.write(notebook, path)
    return path


@pytest.fixture
def project(own_places, monkeypatch):
    """``project(**cells)`` writes the notebook of the test's own project and returns its path.

    Results are written into the project.
    """
    root = own_places / "project"
    monkeypatch.setenv("LRFACE_ROOT", str(root))
    monkeypatch.setenv("LRFACE_OUT", str(root))
    return lambda **cells: make_project(root, **cells)


def in_process(path, out, values, environment, *_):
    """A stand-in for ``kernel.execute``: the cells run here, in a fraction of a second."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        space = {}
        for source, tags in notebooks.cells(path):
            exec(source, space)
            if "parameters" in tags:
                space |= values
    nbformat.write(nbformat.read(path, 4), out)


def train_tiny(net, faces, setting, objective, checkpoint, label="tiny", **fields):
    """The training loop on a few faces; ``fields`` are hyperparameters and training data."""
    names = ("landmarks", "labels", "native")
    given = {name: fields.pop(name) for name in names if name in fields}
    data = TrainingData(faces, degrade.setting(setting), **given)
    hyper = Hyperparameters(**fields)
    return loop.train(net, data, objective, hyper, checkpoint=checkpoint, label=label)


def tiny_config(**changes):
    """A training of a few steps on 32 faces of the drawn CelebA."""
    fields = {
        "method": "SRCNN",
        "degradation": degrade.setting("4x"),
        "data": "celeba",
        "n_train": 32,
        "steps": 6,
        "batch": 4,
        "patch": 32,
    }
    return runs.Config(**(fields | changes))


def weights_of(run):
    """The weights that a run has stored, copied: the file may change afterwards."""
    stored = load_file(run.folder / "model.safetensors")
    return {name: tensor.clone() for name, tensor in stored.items()}


def same(a, b):
    """Whether two state dicts are equal."""
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.fixture
def interrupted(monkeypatch, tmp_path):
    """``interrupted(run, at)``: the result of ``run(checkpoint)``, and an interrupted checkpoint.

    The second is that of another run, stopped before batch ``at``.
    """
    monkeypatch.setattr(loop, "SAVE_SECONDS", 0.0)
    monkeypatch.setattr(loop, "SAVE_RATIO", 0)

    def call(run, at):
        def some(*arguments, batches=loop.batches):
            for i, batch in enumerate(batches(*arguments)):
                if i == at:
                    raise KeyboardInterrupt
                yield batch

        whole, stopped = run(tmp_path / "a"), tmp_path / "b"
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(loop, "batches", some)
            run(stopped)
        return whole, stopped

    return call
