"""Figures: drawn once, saved as PNG, PDF and the numbers they were drawn from, signed with their
data and preset."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from torch import Tensor

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
}

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


def intervals(figure: Figure, table, metrics: dict[str, str]) -> None:
    """Draw a long table into ``figure``: a panel a metric (name -> axis label), a group a setting,
    a point with interval a method."""
    axes = figure.subplots(1, len(metrics), squeeze=False)[0]
    for ax, (metric, label) in zip(axes, metrics.items(), strict=True):
        here = table[table["metric"] == metric]
        settings, methods = (
            list(dict.fromkeys(here["setting"])),
            list(dict.fromkeys(here["method"])),
        )
        for m, method in enumerate(methods):
            rows = here[here["method"] == method].set_index("setting").reindex(settings)
            x = np.arange(len(settings)) + (m - (len(methods) - 1) / 2) * 0.7 / len(methods)
            error = np.abs(
                np.stack([rows["value"] - rows["low"], rows["high"] - rows["value"]])
            ).astype(float)
            colour = METHOD_COLOURS.get(method)
            ax.errorbar(
                x,
                rows["value"],
                np.nan_to_num(error),
                fmt="o",
                ms=4,
                capsize=2,
                color=colour,
                label=method,
            )
            ax.plot(x, rows["published"], "x", ms=5, color=colour)
        ax.set_xticks(range(len(settings)), settings, fontsize=8)
        ax.set_title(label, fontsize=9)
        ax.grid(axis="y", alpha=0.3)
        ax.spines[["top", "right"]].set_visible(False)
    handles, labels = axes[0].get_legend_handles_labels()
    cross = axes[0].plot([], [], "kx", ms=5)[0]
    figure.legend(
        [*handles, cross],
        [*labels, "published"],
        ncol=len(labels) + 1,
        loc="upper center",
        fontsize=8,
        frameon=False,
    )
    figure.subplots_adjust(left=0.05, right=0.99, top=0.8, bottom=0.16)
