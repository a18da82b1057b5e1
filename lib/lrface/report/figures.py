"""Figures: one style for all studies, whatever a user's matplotlibrc says.

:func:`axes` makes a figure in the style; :func:`band`, :func:`points`, :func:`histogram` and
:func:`intervals` draw estimates; :func:`colour`, :func:`marker` and :func:`axis_title` give a
method or metric the same look and name in every study. The global state of matplotlib is left
alone: each drawing method sets the theme for as long as it runs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import wraps
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import NullLocator
from matplotlib.transforms import ScaledTranslation
from torch import Tensor

from lrface.metrics.intervals import Estimate

PALETTE = {
    "black": "#000000",
    "grey": "#adadad",
    "sand": "#e0cf86",
    "orange": "#f5b21d",
    "blue": "#0b4f9e",
    "sky": "#4aa3e8",
    "green": "#1d9a4e",
    "teal": "#3f6f62",
    "pink": "#d35fae",
    "wine": "#5e1f47",
    "olive": "#9a9424",
    "vermilion": "#a63605",
}
"""Colours that also readers who confuse red and green tell apart."""

METHOD_COLOURS = {
    name: PALETTE[colour]
    for colour, names in {
        "black": ["HR", "good camera", "random boxes"],
        "grey": [
            "bicubic",
            "RPCN-like",
            "softmax",
            "never saw a poor camera",
            "has it not",
            "Viola-Jones",
            "dense windows",
        ],
        "sand": ["Eigenface", "DRRN", "registered mean"],
        "orange": [
            "SRCNN",
            "joint",
            "Joint",
            "Triplet-kNN",
            "20 px",
            "FRNET",
            "wider",
            "VidFace-B",
            "multi-scale cascade, portraits",
        ],
        "blue": [
            "EDSR",
            "CentreFace",
            "oversampling",
            "native",
            "dlib",
            "synthetic",
            "has it",
            "HOG",
        ],
        "sky": [
            "RDN",
            "FSRCNN",
            "CentreFace + VDSR",
            "undersampling",
            "ytf",
            "VidFace, native",
            "selective search",
            "MMOD",
        ],
        "green": [
            "RCAN",
            "CBN-common",
            "SphereFace",
            "cost-sensitive",
            "same height",
            "lfw",
            "EDVR",
            "two-stage CNN",
        ],
        "teal": ["HAN", "CentreFace, same height", "VDSR", "VidFace-DeU"],
        "pink": ["DICNet", "VGG-Face-like", "ANet-like", "tinyface", "Faceness"],
        "wine": ["DICGAN", "A+", "DeepID2", "SRNET", "VidFace-RLPE"],
        "olive": [
            "WaveletSRNet",
            "CBN-fixed",
            "PANDA-like",
            "mixed lessons",
            "mixed training",
            "MuCAN",
        ],
        "vermilion": [
            "HiFaceGAN",
            "CBN",
            "CSRI",
            "LMLE-kNN",
            "celeba",
            "VidFace",
            "multi-scale cascade",
        ],
    }.items()
    for name in names
} | {"fine-tuned on native faces": PALETTE["blue"]}
"""The colour of each restorer, recogniser, learning method, condition, judge and face set."""

METHOD_MARKERS = {
    **dict.fromkeys(["bicubic", "Eigenface"], "^"),
    **dict.fromkeys(["DICNet", "DICGAN", "WaveletSRNet", "HiFaceGAN"], "s"),
    **dict.fromkeys(["LMLE-kNN", "Triplet-kNN"], "s"),
    **dict.fromkeys(["DeepID2", "ANet-like", "PANDA-like"], "D"),
    **dict.fromkeys(["CSRI", "joint", "RPCN-like"], "s"),
}
"""The marker of a family: face restorers, learnt metrics, learning from faces; others: "o"."""

THEME = {
    **sns.axes_style("ticks"),
    **sns.plotting_context("paper"),
    "font.size": 8,
    "axes.titlesize": 9,
    "axes.labelsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "legend.title_fontsize": 7,
    "legend.frameon": False,
    "legend.handlelength": 1.8,
    "figure.titlesize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "axes.prop_cycle": matplotlib.cycler(color=[*list(PALETTE.values())[4:], PALETTE["orange"]]),
    "lines.linewidth": 1.2,
    "lines.markersize": 4,
    "errorbar.capsize": 2,
    "axes.formatter.min_exponent": 5,  # 1000 and 0.1 on logarithmic axes, not 10 to the power
    "font.family": ["sans-serif"],
    "font.sans-serif": ["DejaVu Sans"],
}
"""Fonts, sizes, lines and spines of every figure."""

FOOTER = 0.12
"""Inches below a figure that are left to its footer (:meth:`lrface.report.Study.figure`)."""

_FIXED = {"backend", "backend_fallback", "interactive", "toolbar", "timezone", "date.epoch"}
"""Settings that are not a matter of style."""
_STYLE = {k: v for k, v in matplotlib.rcParamsDefault.items() if k not in _FIXED} | THEME
_in_theme = False


@contextmanager
def theme() -> Iterator[None]:
    """Draw in :data:`THEME` while the block runs; the user's settings are back afterwards.

    Needed only around drawing on axes that :func:`axes` did not make.
    """
    global _in_theme
    if _in_theme:  # setting it again would only cost time
        yield
        return
    _in_theme = True
    try:
        with matplotlib.rc_context(_STYLE):
            yield
    finally:
        _in_theme = False


def _themed(*names: str):
    """Class decorator: these methods run in the theme."""

    def decorate(cls):
        for name in names:

            @wraps(method := getattr(cls, name))
            def call(self, *args, _method=method, **kwargs):
                with theme():
                    return _method(self, *args, **kwargs)

            setattr(cls, name, call)
        return cls

    return decorate


@_themed(
    *("plot", "errorbar", "fill_between", "stairs", "hist", "bar", "barh", "scatter", "imshow"),
    *("step", "pcolormesh", "axhline", "axvline", "axhspan", "axvspan", "axline", "hlines"),
    *("vlines", "text", "annotate", "legend", "set", "set_title", "set_xlabel", "set_ylabel"),
    *("set_xticks", "set_yticks", "set_xscale", "set_yscale", "tick_params", "grid", "loglog"),
    *("semilogx", "semilogy", "boxplot", "violinplot", "matshow", "contour", "contourf", "twinx"),
)
class _Axes(Axes):
    pass


@_themed(*("draw", "savefig", "legend", "text", "suptitle", "supxlabel", "supylabel"), "colorbar")
class _Figure(Figure):
    def add_subplot(self, *args, **kwargs):
        if "projection" not in kwargs:
            kwargs.setdefault("axes_class", _Axes)
        with theme():
            return super().add_subplot(*args, **kwargs)

    def add_axes(self, *args, **kwargs):
        with theme():
            return super().add_axes(*args, **kwargs)


def colour(name: str) -> str | None:
    """The colour of a method, recogniser, judge, condition or face set: one in every study.

    Parameters
    ----------
    name : str
        A name of :data:`METHOD_COLOURS`, or such a name with an addition (``"EDSR + identity"``,
        ``"DICNet 0.3"``, ``"celeba (n = 500)"``), which has the colour of the plain name.

    Returns
    -------
    str or None
        None for any other name: matplotlib's cycle then gives the next colour.

    Examples
    --------
    >>> colour("EDSR") == colour("EDSR + identity"), colour("my method")
    (True, None)
    """
    return _named(METHOD_COLOURS, name)


def marker(name: str) -> str:
    """The marker of a method or recogniser: one for each family.

    Examples
    --------
    >>> marker("EDSR"), marker("DICNet"), marker("bicubic")
    ('o', 's', '^')
    """
    return _named(METHOD_MARKERS, name) or "o"


def _named(known: Mapping[str, str], name: str) -> str | None:
    plain = re.split(r", | \+ | \(| (?=[\d.]+$)", str(name))[0]
    return known.get(name) or known.get(plain)


AXIS_TITLES = {
    "psnr": "PSNR (dB)",
    "ssim": "SSIM",
    "val_psnr": "validation PSNR (dB)",
    "alignment": "alignment (NRMSE)",
    "identity": "identity, cosine",
    "identity_frnet": "identity, cosine (FRNET)",
    "lost": "faces lost by the detector",
    "detected": "faces found by the detector",
    "landmark_error": "landmark error / box side",
    "mAP": "mean average precision",
    "tpr": "true positive rate",
    "fpr": "false positive rate",
    "ms": "milliseconds per face",
    "macs": "multiply-accumulates",
}


def axis_title(metric: str) -> str:
    """A metric's name in words, as tables of papers print it.

    Parameters
    ----------
    metric : str
        A metric of a long table, also with its judge: ``"accuracy (dlib)"``.

    Examples
    --------
    >>> axis_title("tpr_at_1e-3"), axis_title("psnr"), axis_title("rank20")
    ('TPR at FPR 0.1 %', 'PSNR (dB)', 'rank 20')
    >>> axis_title("balanced_accuracy"), axis_title("tpr_at_1e-2 (dlib)")
    ('balanced accuracy', 'TPR at FPR 1 % (dlib)')
    """
    plain, bracket, judge = metric.partition(" (")
    if metric in AXIS_TITLES:
        return AXIS_TITLES[metric]
    if found := re.fullmatch(r"tpr_at_([\de.-]+)", plain):
        title = f"TPR at FPR {100 * float(found[1]):g} %"
    elif found := re.fullmatch(r"rank_?(\d+)", plain):
        title = f"rank {found[1]}"
    else:
        title = AXIS_TITLES.get(plain, plain.replace("_", " "))
    return title + bracket + judge


def axes(
    ncols: int = 1, nrows: int = 1, *, size: tuple[float, float] | None = None, **options: Any
) -> tuple[Figure, list[Axes]]:
    """A figure in the theme and its axes, row by row.

    Parameters
    ----------
    ncols, nrows : int
        Panels beside and below one another.
    size : (float, float), optional
        Width and height of the figure in inches. Default: 3.2 x 2.7 for each panel.
    **options
        Of ``Figure.subplots``: ``sharex``, ``sharey``, ``width_ratios``, ...

    Returns
    -------
    figure : Figure
        Not known to pyplot; its layout is "constrained", so nothing overlaps.
    axes : list of Axes
        ``nrows * ncols`` of them, without spines on top and on the right.

    Examples
    --------
    >>> figure, (left, right) = axes(ncols=2, size=(6, 3), sharey=True)
    >>> figure, [ax] = axes()
    """
    width, height = size or (3.2 * ncols, 2.7 * nrows)
    below = FOOTER / height
    layout = ConstrainedLayoutEngine(rect=(0, below, 1, 1 - below))
    figure = _Figure(figsize=(width, height), layout=layout)
    return figure, list(figure.subplots(nrows, ncols, squeeze=False, **options).flat)


def legend(where: Figure | Axes, ax: Axes | None = None, **options: Any) -> None:
    """One legend above the panels, outside the data.

    Parameters
    ----------
    where : Figure or Axes
        The figure, or axes of it.
    ax : Axes, optional
        Whose labels are shown. Default: ``where`` if it is axes, else those of all axes, each
        label once.
    **options
        Of ``Figure.legend``: ``title``, ``ncol``, ``loc="outside right upper"``, ...

    Examples
    --------
    >>> figure, [ax] = axes()
    >>> _ = ax.plot([1, 2], label="EDSR")
    >>> legend(figure)
    """
    figure = where if isinstance(where, Figure) else where.figure
    asked = where if ax is None else ax
    found: dict[str, Any] = {}
    for one in figure.axes if isinstance(asked, Figure) else [asked]:
        for handle, label in zip(*one.get_legend_handles_labels(), strict=True):
            found.setdefault(label, handle)
    if not found:
        return
    letters = max(map(len, found))
    fitting = int(figure.get_size_inches()[0] / (0.4 + 0.062 * letters))
    place = {"loc": "outside upper center", "ncol": max(1, min(len(found), fitting))}
    with theme():
        figure.legend(found.values(), found.keys(), **place | options)


def _frame(x: Sequence[float], estimates: pd.DataFrame | Sequence[Estimate]) -> pd.DataFrame:
    if isinstance(estimates, pd.DataFrame):
        return estimates
    return pd.DataFrame(estimates, columns=Estimate._fields).assign(x=list(x))


def band(
    ax: Axes,
    x: Sequence[float],
    estimates: pd.DataFrame | Sequence[Estimate],
    style: str = "-",
    label: str | None = None,
    colour: str | None = None,
    **options: Any,
) -> pd.DataFrame:
    """A line with the band of its intervals.

    Parameters
    ----------
    ax : Axes
    x : sequence of N numbers
    estimates : data frame or sequence of N Estimates
        A frame has the columns ``value``, ``low`` and ``high``.
    style : str
        Of the line, as ``Axes.plot`` has it: ``"o-"``, ``":"``.
    label : str, optional
        For the legend. The line has the colour of a method of this name (:func:`colour`).
    colour : str, optional
        Another colour.
    **options
        Of ``Axes.plot``.

    Returns
    -------
    DataFrame
        What was drawn: the frame, or the estimates with a column ``x``.

    Examples
    --------
    >>> figure, [ax] = axes()
    >>> band(ax, [1, 5], [Estimate(0.3, 0.2, 0.4, 9), Estimate(0.5, 0.4, 0.6, 9)], label="CSRI")
       value  low  high  n  x
    0    0.3  0.2   0.4  9  1
    1    0.5  0.4   0.6  9  5
    """
    frame = _frame(x, estimates)
    colour = colour or (label and _named(METHOD_COLOURS, label))
    line = ax.plot(x, frame["value"], style, label=label, color=colour, **options)[0]
    shade = dict(color=line.get_color(), alpha=0.14, lw=0)
    ax.fill_between(x, frame["low"], frame["high"], **shade)
    return frame


def points(
    ax: Axes,
    x: Sequence[float],
    estimates: pd.DataFrame | Sequence[Estimate],
    style: str | None = None,
    label: str | None = None,
    colour: str | None = None,
    horizontal: bool = False,
    shift: float = 0.0,
    **options: Any,
) -> pd.DataFrame:
    """Points with their intervals as error bars.

    Parameters
    ----------
    ax, x, estimates, label, colour
        As in :func:`band`.
    style : str, optional
        As ``Axes.errorbar`` has it: ``"o-"``, ``"D"``. Default: the marker of a method of this
        label (:func:`marker`), without a line.
    horizontal : bool
        The values lie on the x axis, and ``x`` are the heights of the rows.
    shift : float
        Moves all points to the right (``horizontal``: up), in 1/72 inch, whatever the scale of the
        axis: so that the error bars of several methods do not cover one another.
    **options
        Of ``Axes.errorbar``.

    Returns
    -------
    DataFrame
        What was drawn, as :func:`band` gives it.
    """
    frame = _frame(x, estimates)
    bars = np.stack([frame["value"] - frame["low"], frame["high"] - frame["value"]])
    bars = np.nan_to_num(np.abs(bars.astype(float)))
    look = dict(fmt=style or marker(label or ""), label=label)
    look["color"] = colour or (label and _named(METHOD_COLOURS, label))
    if shift:
        aside = (0, shift / 72) if horizontal else (shift / 72, 0)
        ax.margins(**{"y" if horizontal else "x": 0.09})
        look["transform"] = ax.transData + ScaledTranslation(*aside, ax.figure.dpi_scale_trans)
    if horizontal:
        ax.errorbar(frame["value"], x, xerr=bars, **look | options)
    else:
        ax.errorbar(x, frame["value"], bars, **look | options)
    return frame


def log_scale(ax: Axes, axis: str = "x", ticks: Sequence[float] = (), base: float = 10) -> None:
    """A logarithmic axis whose ticks are plain numbers.

    Parameters
    ----------
    ax : Axes
    axis : {"x", "y"}
    ticks : sequence of numbers
        Where ticks stand. Default: at powers of ``base``.
    base : float

    Examples
    --------
    >>> figure, [ax] = axes()
    >>> log_scale(ax, ticks=[1, 5, 10, 50])
    >>> [text.get_text() for text in ax.get_xticklabels()]
    ['1', '5', '10', '50']
    """
    getattr(ax, f"set_{axis}scale")("log", base=base)
    if len(ticks):
        getattr(ax, f"set_{axis}ticks")(ticks, [f"{tick:g}" for tick in ticks])
        getattr(ax, f"{axis}axis").set_minor_locator(NullLocator())


def histogram(
    ax: Axes, values: Sequence[float], bins: int | Sequence[float], **options: Any
) -> pd.DataFrame:
    """A filled histogram; returns what was drawn: columns ``from``, ``to`` and ``count``.

    Examples
    --------
    >>> figure, [ax] = axes()
    >>> histogram(ax, [1, 2, 2], [0.5, 1.5, 2.5])
       from   to  count
    0   0.5  1.5      1
    1   1.5  2.5      2
    """
    counts, edges = np.histogram(values, bins)
    ax.stairs(counts, edges, **dict(fill=True, color=PALETTE["blue"], alpha=0.8) | options)
    return pd.DataFrame({"from": edges[:-1], "to": edges[1:], "count": counts})


def intervals(table: pd.DataFrame, metrics: Mapping[str, str] | Sequence[str]) -> Figure:
    """A long table as a figure: a panel per metric, a point with its interval per method.

    A cross is the published value.

    Parameters
    ----------
    table : DataFrame
        A long table (:func:`lrface.report.long`).
    metrics : sequence of str, or mapping
        Metrics, or metric -> axis title (default: :func:`axis_title`).
    """
    titles = metrics if isinstance(metrics, Mapping) else {m: axis_title(m) for m in metrics}
    figure, panels = axes(ncols=len(titles), size=(3.25 * len(titles), 3.6))
    for ax, (metric, title) in zip(panels, titles.items(), strict=True):
        here = table[table["metric"] == metric]
        settings, methods = (list(dict.fromkeys(here[c])) for c in ("setting", "method"))
        for m, method in enumerate(methods):
            rows = here[here["method"] == method].set_index("setting").reindex(settings)
            x = np.arange(len(settings)) + (m - (len(methods) - 1) / 2) * 0.7 / len(methods)
            own = colour(method) or f"C{m}"
            points(ax, x, rows, label=method, colour=own)
            ax.plot(x, rows["published"], "x", ms=5, color=own)
        ax.set_xticks(range(len(settings)), settings)
        ax.set_title(title)
        ax.grid(axis="y", alpha=0.3)
    panels[0].plot([], [], "kx", ms=5, label="published")
    legend(figure, panels[0])
    return figure


Box = tuple[float, float, float, float]


def parts(points: np.ndarray, size: int) -> list[Box]:
    """Boxes around the eyes and the mouth of a face.

    Parameters
    ----------
    points : float (68, 2)
        Its landmarks, in pixels.
    size : int
        Width and height of the image.

    Returns
    -------
    list of (left, top, right, bottom)
        Two boxes inside the image, twice as wide as high.
    """
    boxes = []
    for part in (points[36:48], points[48:68]):
        width = min(1.5 * np.ptp(part[:, 0]), size)
        left = np.clip(part[:, 0].mean() - width / 2, 0, size - width)
        top = np.clip(part[:, 1].mean() - width / 4, 0, size - width / 2)
        boxes.append((left, top, left + width, top + width / 2))
    return boxes


TILE, GAP, DPI = 256, 10, 200
"""Of :func:`comparison`: width of a face and space between faces, in pixels; dots per inch."""


def comparison(
    columns: dict[str, Tensor], titles: list[str] | None = None, zoom: list[list[Box]] | None = None
) -> Figure:
    """A grid of faces: a column per method, a row per face.

    Nothing is smoothed: every dot of the figure has the colour of one pixel of an image.

    Parameters
    ----------
    columns : dict of float tensors (N, 3, h, w) in [0, 1]
        Of each method, all of one shape; smaller images are enlarged pixel by pixel.
    titles : list of N str, optional
        Names of the rows.
    zoom : list of N lists of boxes, optional
        Parts of each face to be shown enlarged below it (:func:`parts`), in pixels of the largest
        column.

    Examples
    --------
    >>> import torch
    >>> figure = comparison({"LR": torch.rand(2, 3, 16, 16), "HR": torch.rand(2, 3, 64, 64)})
    """
    side, across = max(images.shape[2:] for images in columns.values())
    n = len(next(iter(columns.values())))
    frame = (0.0, 0.0, float(across), float(side))
    rows = [(face, box) for face in range(n) for box in (frame, *(zoom[face] if zoom else ()))]
    # One picture of all faces: axes for each would take ten times as long to draw.
    canvas, middles = _canvas(list(columns.values()), rows, side)
    height, width = canvas.shape[:2]
    lines = 1 + max(name.count("\n") for name in columns)
    left, right, top, bottom = 180 if titles else 10, 10, 30 + 30 * lines, 40
    whole_width, whole_height = left + width + right, top + height + bottom
    figure = _Figure(figsize=(whole_width / DPI, whole_height / DPI), dpi=DPI)
    box = (left / whole_width, bottom / whole_height, width / whole_width, height / whole_height)
    ax = figure.add_axes(_Axes(figure, box))
    ax.imshow(canvas, interpolation="nearest", aspect="auto")
    ax.axis("off")
    above = dict(fontsize=8 if lines == 1 else 7, ha="center", va="bottom")
    for c, name in enumerate(columns):
        ax.text(c * (TILE + GAP) + TILE / 2, -12, name, **above)
    for face, title in enumerate(titles or ()):
        ax.text(-170, middles[face], title, fontsize=6, va="center")
    return figure


def _canvas(
    columns: list[Tensor], rows: list[tuple[int, Box]], side: int
) -> tuple[np.ndarray, dict[int, float]]:
    """The faces beside one another, float (h, w, 3), and the middle of each face's first row."""
    heights = [round(TILE * (box[3] - box[1]) / (box[2] - box[0])) for _, box in rows]
    shape = (sum(heights) + GAP * (len(rows) - 1), len(columns) * (TILE + GAP) - GAP, 3)
    canvas, middles, y = np.ones(shape, np.float32), {}, 0
    for (face, (left, top, right, bottom)), height in zip(rows, heights, strict=True):
        middles.setdefault(face, y + height / 2)
        for c, images in enumerate(columns):
            picture = images[face].clamp(0, 1).permute(1, 2, 0).cpu().numpy()
            per = side / picture.shape[0]
            down = top + (np.arange(height) + 0.5) / height * (bottom - top)
            across = left + (np.arange(TILE) + 0.5) / TILE * (right - left)
            down, across = (np.floor(at / per).astype(int) for at in (down, across))
            x = c * (TILE + GAP)
            canvas[y : y + height, x : x + TILE] = picture[down][:, across]
        y += height + GAP
    return canvas, middles
