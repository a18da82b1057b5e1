"""One look for every figure, whatever a user's matplotlibrc says."""

import json
from io import BytesIO
from itertools import combinations
from types import SimpleNamespace

import matplotlib
import numpy as np
import pandas as pd
import pytest
import torch
from lrface import report
from lrface.errors import UsageError
from lrface.metrics import Estimate
from lrface.report import figures
from lrface.report import study as study_outputs
from PIL import Image

SEEN = {  # linear RGB to linear RGB (Machado et al. 2009, severity 1)
    "all colours": np.eye(3),
    "without red cones": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "without green cones": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
}
TOGETHER = [  # names that one figure draws
    ["HR", *["bicubic", "Eigenface", "SRCNN", "EDSR", "RDN", "RCAN", "HAN", "DICNet", "DICGAN"]]
    + ["WaveletSRNet", "HiFaceGAN"],
    ["CSRI", "joint", "CentreFace", "SphereFace", "VGG-Face-like", "DeepID2"]
    + ["CentreFace + VDSR", "RPCN-like"],
    ["CSRI", "CentreFace", "CentreFace, same height"],
    ["never saw a poor camera", "fine-tuned on native faces"],
    ["softmax", "undersampling", "oversampling", "cost-sensitive", "Triplet-kNN", "LMLE-kNN"]
    + ["DeepID2", "ANet-like", "PANDA-like"],
    ["synthetic", "celeba", "lfw", "ytf", "wider", "tinyface"],
    ["native", "same height", "20 px", "good camera"],
    ["dlib", "FRNET"],
    ["has it", "has it not"],
]


def lab(linear):
    x = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    x = x @ np.clip(linear, 0, 1) / [0.9505, 1.0, 1.089]
    f = np.where(x > 0.008856, np.cbrt(x), 7.787 * x + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def looks(colour):
    c = np.array(matplotlib.colors.to_rgb(colour))
    linear = np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)
    return [lab(np.array(matrix) @ linear) for matrix in SEEN.values()]


@pytest.mark.parametrize("names", TOGETHER, ids=lambda names: names[-1])
def test_names_of_one_figure_have_colours_that_everyone_tells_apart(names):
    colours = {name: looks(figures.colour(name)) for name in names}
    for one, other in combinations(names, 2):
        for a, b in zip(colours[one], colours[other], strict=True):
            assert np.linalg.norm(a - b) > 15, (one, other)


def test_a_name_with_an_addition_has_the_colour_of_the_plain_name():
    for name in ("EDSR + identity", "EDSR 0.3", "EDSR, same epochs", "EDSR (n = 9)"):
        assert figures.colour(name) == figures.colour("EDSR")
    assert figures.colour("EDSRplus") is None and figures.colour("mine") is None


@pytest.mark.parametrize("horizontal", [False, True])
def test_series_that_are_shifted_do_not_cover_one_another(horizontal):
    figure, [ax] = figures.axes(size=(3, 3))
    estimates = [Estimate(0.5, 0.4, 0.6, 9)] * 2
    for i, name in enumerate(["EDSR", "RCAN", "HAN"]):
        shift = 10.0 * (i - 1)
        figures.points(ax, [10, 20], estimates, label=name, horizontal=horizontal, shift=shift)
    figure.savefig(BytesIO())
    middles = [
        one.lines[0].get_transform().transform(np.stack(one.lines[0].get_data(), 1))
        for one in ax.containers
    ]
    apart = np.diff(np.array(middles), axis=0) * 72 / figure.dpi
    assert np.allclose(apart, [0, 10] if horizontal else [10, 0])
    box = ax.get_window_extent()
    assert all(box.contains(*point) for points in middles for point in points)


def drawn():
    figure, (left, right) = figures.axes(2, size=(5, 2))
    estimates = [Estimate(v, v - 1, v + 1, 9) for v in (20.0, 24.0)]
    figures.band(left, [1, 10], estimates, label="EDSR")
    figures.points(right, [1, 10], estimates, label="mine")
    left.plot([1, 10], [19, 25])
    left.set(xlabel="rank", title="4x")
    figures.log_scale(left, ticks=[1, 10])
    figures.legend(figure)
    found = BytesIO()
    figure.savefig(found, dpi=50)
    return np.array(Image.open(found))


def test_the_settings_of_a_user_neither_change_a_figure_nor_are_changed():
    plain = drawn()
    spoilt = {"font.size": 17, "lines.linewidth": 6, "axes.grid": True, "xtick.labelsize": 20}
    spoilt |= {"axes.facecolor": "yellow", "savefig.facecolor": "red", "axes.titlesize": 22}
    with matplotlib.rc_context(spoilt):
        before = dict(matplotlib.rcParams)
        assert (drawn() == plain).all() and dict(matplotlib.rcParams) == before


def test_a_legend_lies_outside_the_data_and_names_everything_once():
    figure, panels = figures.axes(3, size=(6, 2))
    for ax in panels:
        for name in ("EDSR", "RCAN", "a method with quite a long name"):
            ax.plot([0, 1], [0, 1], label=name)
    figures.legend(figure)
    figure.savefig(BytesIO())
    (legend,) = figure.legends
    assert len(legend.get_texts()) == 3
    box = legend.get_window_extent()
    for ax in panels:
        assert not box.overlaps(ax.get_window_extent())
    assert box.x0 >= 0 and box.x1 <= figure.bbox.width


def test_faces_are_drawn_pixel_by_pixel():
    small = torch.rand(1, 3, 4, 4, generator=torch.Generator().manual_seed(1))
    figure = figures.comparison({"LR": small, "HR": torch.rand(1, 3, 64, 64)}, ["a"])
    found = BytesIO()
    figure.savefig(found, dpi=figures.DPI)
    shown = np.array(Image.open(found).convert("RGB")).reshape(-1, 3)
    for pixel in (small[0] * 255).reshape(3, -1).T.numpy():
        assert (np.abs(shown - pixel).max(1) < 1.01).sum() >= 60 * 60


def test_alt_text_is_stored_wherever_the_figure_is(monkeypatch):
    shown = []
    monkeypatch.setattr(
        study_outputs, "display", lambda image, metadata: shown.append((image, metadata))
    )
    faces = SimpleNamespace(name="synthetic", fingerprint="0123abcd", photos=False)
    study = report.Study("07_tiny", faces, "smoke")
    figure, [ax] = figures.axes()
    ax.plot([1, 2])
    study.figure("curve", figure, pd.DataFrame({"x": [1]}), alt="A line that rises.")
    with Image.open(study.figures / "curve.png") as png:
        assert png.text["Description"] == "A line that rises."
    assert b"A line that rises." in (study.figures / "curve.pdf").read_bytes()
    [(image, metadata)] = shown
    assert metadata["image/png"] == {"alt": "A line that rises."}
    assert json.dumps(metadata) and image.data[:4] == b"\x89PNG"
    with pytest.raises(UsageError, match="needs alt text"):
        study.figure("curve", figure, pd.DataFrame({"x": [1]}), alt=" ")
