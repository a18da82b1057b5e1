"""Figures: drawn once, saved as PNG, PDF and the numbers they were drawn from, signed with their data and preset."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from torch import Tensor

from lrface.degrade import resize

METHOD_COLOURS = {"HR": "#000000", "bicubic": "#8c8c8c", "SRCNN": "#dd8452", "EDSR": "#4c72b0", "RCAN": "#55a868"}


def comparison(columns: dict[str, Tensor], titles: list[str] | None = None) -> Figure:
    """A grid of faces: a column a method, a row a face; float (N, 3, h, w) in [0, 1] each, smaller ones enlarged pixel by pixel.

    ``titles`` labels the rows. The faces are drawn at one image pixel to one figure pixel at least, never smoothed.
    """
    height = max(images.shape[2] for images in columns.values())
    n = len(next(iter(columns.values())))
    # Sized by hand, because tight layout would resample the faces.
    inch, gap, top = 1.28, 0.05, 0.3
    left = 0.9 if titles else 0.05
    size = (left + len(columns) * (inch + gap), top + n * (inch + gap) + 0.25)
    figure = Figure(figsize=size, dpi=200)
    for c, (name, images) in enumerate(columns.items()):
        for r in range(n):
            box = ((left + c * (inch + gap)) / size[0], 1 - (top + (r + 1) * (inch + gap)) / size[1], inch / size[0], inch / size[1])
            axes = figure.add_axes(box)
            axes.imshow(images[r].clamp(0, 1).permute(1, 2, 0).numpy(), interpolation="nearest", extent=(0, height, height, 0))
            axes.axis("off")
            if r == 0:
                axes.set_title(name, fontsize=8, pad=3)
            if titles and c == 0:
                figure.text(0.04, box[1] + box[3] / 2, titles[r], fontsize=6, va="center")
    return figure


def crop_zoom(images: Tensor, box: tuple[int, int, int, int], size: int = 128) -> Tensor:
    """A part of each face (left, top, right, bottom in pixels) enlarged to ``size`` for the eye."""
    left, top, right, bottom = box
    return resize(images[:, :, top:bottom, left:right], (size, size)).clamp(0, 1)


def intervals(figure: Figure, table, metrics: dict[str, str]) -> None:
    """Draw a long table into ``figure``: a panel a metric (name -> axis label), a group a setting, a point with interval a method."""
    axes = figure.subplots(1, len(metrics), squeeze=False)[0]
    for ax, (metric, label) in zip(axes, metrics.items(), strict=True):
        here = table[table["metric"] == metric]
        settings, methods = list(dict.fromkeys(here["setting"])), list(dict.fromkeys(here["method"]))
        for m, method in enumerate(methods):
            rows = here[here["method"] == method].set_index("setting").reindex(settings)
            x = np.arange(len(settings)) + (m - (len(methods) - 1) / 2) * 0.7 / len(methods)
            error = np.abs(np.stack([rows["value"] - rows["low"], rows["high"] - rows["value"]])).astype(float)
            colour = METHOD_COLOURS.get(method)
            ax.errorbar(x, rows["value"], np.nan_to_num(error), fmt="o", ms=4, capsize=2, color=colour, label=method)
            ax.plot(x, rows["published"], "x", ms=5, color=colour)
        ax.set_xticks(range(len(settings)), settings, fontsize=8)
        ax.set_title(label, fontsize=9)
        ax.grid(axis="y", alpha=0.3)
        ax.spines[["top", "right"]].set_visible(False)
    handles, labels = axes[0].get_legend_handles_labels()
    cross = axes[0].plot([], [], "kx", ms=5)[0]
    figure.legend([*handles, cross], [*labels, "published"], ncol=len(labels) + 1, loc="upper center", fontsize=8, frameon=False)
    figure.subplots_adjust(left=0.05, right=0.99, top=0.8, bottom=0.16)
