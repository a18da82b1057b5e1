"""Figures: one style for all studies, saved as PNG, PDF and the numbers they were drawn from."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from lrface.metrics.intervals import Estimate

THEME = {
    **sns.axes_style("ticks"),
    "font.size": 8,
    "axes.titlesize": 9,
    "axes.labelsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "lines.linewidth": 1.0,
    "lines.markersize": 4,
    "xtick.major.width": 0.8,
    "ytick.major.width": 0.8,
    "figure.dpi": 100,
    "font.family": ["sans-serif"],
    "font.sans-serif": ["DejaVu Sans"],
}
"""Fonts, sizes and lines of every figure."""

METHOD_COLOURS = {
    "HR": "#000000",
    "bicubic": "#8c8c8c",
    "Eigenface": "#c4b8a8",
    "SRCNN": "#dd8452",
    "EDSR": "#4c72b0",
    "RDN": "#64b5cd",
    "RCAN": "#55a868",
    "HAN": "#2f6b3a",
    "DICNet": "#8172b3",
    "DICGAN": "#b78ad4",
    "WaveletSRNet": "#c9a227",
    "HiFaceGAN": "#c44e52",
    # recognisers (study 05)
    "CSRI": "#c44e52",
    "joint": "#dd8452",
    "CentreFace": "#4c72b0",
    "SphereFace": "#55a868",
    "VGG-Face-like": "#8172b3",
    "DeepID2": "#937860",
    "CentreFace + VDSR": "#64b5cd",
    "RPCN-like": "#8c8c8c",
    "CentreFace, same height": "#55a868",
    "never saw a poor camera": "#8c8c8c",
    "fine-tuned on native faces": "#4c72b0",
    # learning from imbalanced classes (study 04)
    "softmax": "#8c8c8c",
    "undersampling": "#64b5cd",
    "oversampling": "#4c72b0",
    "cost-sensitive": "#2f6b3a",
    "Triplet-kNN": "#dd8452",
    "LMLE-kNN": "#c44e52",
    "ANet-like": "#8172b3",
    "PANDA-like": "#c9a227",
}
"""A method's colour, the same in every figure."""

AXIS_TITLES = {
    "psnr": "PSNR, dB",
    "ssim": "SSIM",
    "alignment": "alignment, NRMSE",
    "identity": "identity, cosine (dlib)",
    "identity_frnet": "identity, cosine (FRNET)",
    "lost": "faces lost by the detector",
    "mAP": "mean average precision",
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "ms": "milliseconds a face",
    "parameters": "parameters",
    "macs": "multiply-accumulates",
}


def axis_title(metric: str) -> str:
    """A metric's name in words.

    Examples
    --------
    >>> axis_title("tpr_at_1e-3"), axis_title("rank20"), axis_title("psnr")
    ('TPR at FPR 0.1 %', 'rank 20', 'PSNR, dB')
    """
    if found := re.fullmatch(r"tpr_at_([\de.-]+)", metric):
        return f"TPR at FPR {100 * float(found[1]):g} %"
    if found := re.fullmatch(r"rank(\d+)", metric):
        return f"rank {found[1]}"
    return AXIS_TITLES.get(metric, metric.replace("_", " "))


def colour(name: str) -> str | None:
    """The colour of a method, recogniser or condition; None (the next of the cycle) if it has none."""
    return METHOD_COLOURS.get(name)


def use_theme() -> None:
    """Make :data:`THEME` the style of this process, whatever a user's matplotlibrc says."""
    fixed = {"backend", "interactive", "toolbar", "timezone"}
    defaults = {k: v for k, v in matplotlib.rcParamsDefault.items() if k not in fixed}
    with matplotlib._api.suppress_matplotlib_deprecation_warning():
        matplotlib.rcParams.update(defaults | THEME)


def axes(
    ncols: int = 1, nrows: int = 1, *, size: tuple[float, float], **options: Any
) -> tuple[Figure, list[Axes]]:
    """A figure in the theme and its axes, row by row.

    Parameters
    ----------
    ncols, nrows : panels.
    size : width and height in inches.
    options : of ``Figure.subplots`` (``sharex``, ``sharey``, ...).

    Examples
    --------
    >>> figure, (left, right) = axes(ncols=2, size=(6, 3), sharey=True)
    """
    use_theme()
    figure = Figure(figsize=size, layout="constrained")
    return figure, list(figure.subplots(nrows, ncols, squeeze=False, **options).flat)


def legend(figure: Figure, ax: Axes | None = None, **options: Any) -> None:
    """One legend above the panels, outside the data, of everything that is labelled in ``ax``
    (default: in all axes)."""
    found: dict[str, Any] = {}
    for one in figure.axes if ax is None else [ax]:
        handles, labels = one.get_legend_handles_labels()
        for handle, label in zip(handles, labels, strict=True):
            found.setdefault(label, handle)
    if not found:
        return
    width = figure.get_size_inches()[0]
    longest = max(map(len, found))
    ncol = max(1, min(len(found), int(width / (0.35 + 0.062 * longest))))
    place = {"loc": "outside upper center", "ncol": ncol} | options
    figure.legend(found.values(), found.keys(), **place)


def _frame(estimates: pd.DataFrame | Sequence[Estimate]) -> pd.DataFrame:
    return estimates if isinstance(estimates, pd.DataFrame) else pd.DataFrame(estimates)


def band(
    ax: Axes,
    x: Sequence[float],
    estimates: pd.DataFrame | Sequence[Estimate],
    style: str = "-",
    label: str | None = None,
    colour: str | None = None,
    **options: Any,
) -> None:
    """A line with the band of its intervals; ``estimates`` have ``value``, ``low`` and ``high``."""
    frame = _frame(estimates)
    line = ax.plot(x, frame["value"], style, label=label, color=colour, **options)[0]
    shade = dict(color=line.get_color(), alpha=0.14, lw=0)
    ax.fill_between(x, frame["low"], frame["high"], **shade)


def points(
    ax: Axes,
    x: Sequence[float],
    estimates: pd.DataFrame | Sequence[Estimate],
    style: str = "o",
    label: str | None = None,
    colour: str | None = None,
    horizontal: bool = False,
    **options: Any,
) -> None:
    """Points with their intervals as error bars; ``horizontal``: ``x`` are the heights of rows."""
    frame = _frame(estimates)
    error = np.stack([frame["value"] - frame["low"], frame["high"] - frame["value"]])
    error = np.nan_to_num(np.abs(error.astype(float)))
    look = dict(fmt=style, capsize=2, label=label, color=colour) | options
    if horizontal:
        ax.errorbar(frame["value"], x, xerr=error, **look)
    else:
        ax.errorbar(x, frame["value"], error, **look)


Box = tuple[float, float, float, float]


def parts(points: np.ndarray, size: int) -> list[Box]:
    """Where the eyes and the mouth of a face are, from its 68 landmarks (68, 2): two boxes left,
    top, right, bottom, twice as wide as high, inside the ``size`` x ``size`` picture."""
    boxes = []
    for part in (points[36:48], points[48:68]):
        width = min(1.5 * np.ptp(part[:, 0]), size)
        left = np.clip(part[:, 0].mean() - width / 2, 0, size - width)
        top = np.clip(part[:, 1].mean() - width / 4, 0, size - width / 2)
        boxes.append((left, top, left + width, top + width / 2))
    return boxes


def comparison(
    columns: dict[str, Tensor], titles: list[str] | None = None, zoom: list[list[Box]] | None = None
) -> Figure:
    """A grid of faces: a column a method, a row a face; float (N, 3, h, w) in [0, 1] each, smaller
    ones enlarged pixel by pixel.

    ``titles`` labels the rows. ``zoom`` gives each face's boxes (pixels of the largest column,
    twice as wide as high) to be shown enlarged below it. Nothing is smoothed: every point of the
    figure has the colour of one pixel of a face.
    """
    side = max(images.shape[2] for images in columns.values())
    n = len(next(iter(columns.values())))
    rows = [
        (face, box)
        for face in range(n)
        for box in ((0.0, 0.0, float(side), float(side)), *(zoom[face] if zoom else ()))
    ]
    tile, gap, dpi = 256, 10, 200
    heights = [round(tile * (box[3] - box[1]) / (box[2] - box[0])) for _, box in rows]
    # One picture of all faces: an axes for each would take ten times as long to draw.
    canvas = np.ones(
        (sum(heights) + gap * (len(rows) - 1), len(columns) * (tile + gap) - gap, 3), np.float32
    )
    y, tops = 0, {}
    for (face, (left, top, right, bottom)), height in zip(rows, heights, strict=True):
        tops.setdefault(face, y + height / 2)
        for c, images in enumerate(columns.values()):
            picture = images[face].clamp(0, 1).permute(1, 2, 0).numpy()
            per = side / picture.shape[0]
            down = np.floor(
                (top + (np.arange(height) + 0.5) / height * (bottom - top)) / per
            ).astype(int)
            across = np.floor(
                (left + (np.arange(tile) + 0.5) / tile * (right - left)) / per
            ).astype(int)
            canvas[y : y + height, c * (tile + gap) : c * (tile + gap) + tile] = picture[down][
                :, across
            ]
        y += height + gap
    height, width = canvas.shape[:2]
    lines = 1 + max(name.count("\n") for name in columns)
    margin = (180 if titles else 10, 30 + 30 * lines)  # left, top
    size = (margin[0] + width + 10, margin[1] + height + 40)
    use_theme()
    figure = Figure(figsize=(size[0] / dpi, size[1] / dpi), dpi=dpi)
    axes = figure.add_axes((margin[0] / size[0], 40 / size[1], width / size[0], height / size[1]))
    axes.imshow(canvas, interpolation="nearest", aspect="auto")
    axes.axis("off")
    for c, name in enumerate(columns):
        axes.text(
            c * (tile + gap) + tile / 2,
            -12,
            name,
            fontsize=8 if lines == 1 else 7,
            ha="center",
            va="bottom",
        )
    for face, title in enumerate(titles or ()):
        axes.text(-170, tops[face], title, fontsize=6, va="center")
    return figure


def intervals(table: pd.DataFrame, metrics: Mapping[str, str] | Sequence[str]) -> Figure:
    """A long table as a figure: a panel a metric, a group a setting, a point with its interval a
    method, a cross the published value.

    ``metrics`` are metrics, or metric -> axis title.
    """
    titles = metrics if isinstance(metrics, Mapping) else {m: axis_title(m) for m in metrics}
    figure, panels = axes(ncols=len(titles), size=(3.25 * len(titles), 3.6))
    for ax, (metric, title) in zip(panels, titles.items(), strict=True):
        here = table[table["metric"] == metric]
        settings, methods = (list(dict.fromkeys(here[c])) for c in ("setting", "method"))
        for m, method in enumerate(methods):
            rows = here[here["method"] == method].set_index("setting").reindex(settings)
            x = np.arange(len(settings)) + (m - (len(methods) - 1) / 2) * 0.7 / len(methods)
            points(ax, x, rows, label=method, colour=colour(method))
            ax.plot(x, rows["published"], "x", ms=5, color=colour(method))
        ax.set_xticks(range(len(settings)), settings)
        ax.set_title(title)
        ax.grid(axis="y", alpha=0.3)
    panels[0].plot([], [], "kx", ms=5, label="published")
    legend(figure, panels[0])
    return figure
