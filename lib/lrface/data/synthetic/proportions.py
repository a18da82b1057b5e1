"""Where the features of a face lie: proportions drawn in to those of real faces, so that no sum of morph targets makes a caricature."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from lrface.data.synthetic.assets import Head, head

# fmt: off
DRAWN = {"face width": (2.414, 0.121), "jaw width": (2.020, 0.121), "eye width": (0.440, 0.041), "eye height": (0.155, 0.041),
         "mouth width": (0.763, 0.080), "nose width": (0.405, 0.086), "nose length": (0.801, 0.109), "eyes to mouth": (1.160, 0.133),
         "eyes to chin": (1.881, 0.243), "eyes to brows": (0.385, 0.051), "lip height": (0.330, 0.084), "nose to lip": (0.246, 0.062),
         "crown": (1.940, 0.262)}
"""Mean and standard deviation of the proportions of meshes before :func:`conform`, over all groups; units: the eyes' distance."""
REAL = {"face width": (2.25, 0.085), "jaw width": (1.91, 0.095), "eye width": (0.430, 0.020), "eye height": (0.132, 0.018),
        "mouth width": (0.83, 0.062), "nose width": (0.385, 0.045), "nose length": (0.75, 0.050), "eyes to mouth": (1.05, 0.068),
        "eyes to chin": (1.84, 0.105), "eyes to brows": (0.315, 0.036), "lip height": (0.31, 0.050), "nose to lip": (0.215, 0.034),
        "crown": (1.82, 0.080)}
"""What they become: a landmark detector finds the same means and spreads on the pictures as on portraits. ``crown`` is anthropometry's."""
HANDLES = ("head/head-scale-vert", "forehead/forehead-scale-vert", "chin/chin-height", "mouth/mouth-trans:up:down", "nose/nose-scale-vert",
           "nose/nose-trans:up:down", "eyebrows/eyebrows-trans:up:down", "mouth/mouth-scale-horiz", "mouth/mouth-scale-vert",
           "eyes/l-eye-scale", "eyes/l-eye-height2", "nose/nose-scale-horiz", "nose/nose-width3", "eyes/l-eye-trans:out:in", "chin/chin-bones",
           "head/head-scale-horiz")
# fmt: on
"""Pairs of targets that move them, more and less."""
LIMIT = 2.3
"""Standard deviations of a proportion at most."""


def proportions(vertices: np.ndarray) -> np.ndarray:
    """The proportions (13,) of a neutral mesh, in the order of ``REAL``."""
    points = vertices[head().landmarks]
    right, left = points[36:42].mean(0), points[42:48].mean(0)
    distance = left[0] - right[0]
    x, y = points[:, 0] / distance, (points[:, 1] - (left[1] + right[1]) / 2) / distance
    top = (vertices[:, 1].max() - (left[1] + right[1]) / 2) / distance
    return np.array(
        [
            x[16] - x[0],
            x[12] - x[4],
            (x[39] - x[36] + x[45] - x[42]) / 2,
            (y[[37, 38, 43, 44]] - y[[41, 40, 47, 46]]).mean(),
            x[54] - x[48],
            x[35] - x[31],
            y[27] - y[33],
            -(y[48] + y[54]) / 2,
            -y[8],
            y[17:27].mean(),
            y[51] - y[57],
            y[33] - y[51],
            top,
        ]
    )


def _pull(template: Head, vertices: np.ndarray, handle: str, weight: float) -> None:
    base, high, low = handle.split(":") if ":" in handle else (handle, "incr", "decr")
    for name in {base, base.replace("/l-", "/r-")}:
        template.morph(vertices, f"{name}-{high if weight > 0 else low}", abs(weight))


@lru_cache(maxsize=1)
def _answers() -> np.ndarray:
    """Weights of the handles for each proportion (16, 13): the damped inverse of what the handles do to the template."""
    template, columns = head(), []
    for handle in HANDLES:
        ends = []
        for weight in (0.5, -0.5):
            vertices = template.vertices.copy()
            _pull(template, vertices, handle, weight)
            ends.append(proportions(vertices))
        columns.append(ends[0] - ends[1])
    unit = np.array([sd for _, sd in REAL.values()])
    effect = np.stack(columns, 1) / unit[:, None]
    return effect.T @ np.linalg.inv(effect @ effect.T + 0.02 * np.eye(len(unit))) / unit[None]


def conform(vertices: np.ndarray) -> None:
    """Draw a neutral mesh's proportions in to those of real faces, in place: each keeps its place among all, none goes far out."""
    drawn, real = np.array(list(DRAWN.values())), np.array(list(REAL.values()))
    place = (proportions(vertices) - drawn[:, 0]) / drawn[:, 1]
    goal = real[:, 0] + real[:, 1] * LIMIT * np.tanh(place / LIMIT)
    template, answers = head(), _answers()
    for _ in range(3):
        for handle, weight in zip(HANDLES, answers @ (goal - proportions(vertices)), strict=True):
            _pull(template, vertices, handle, float(np.clip(weight, -1.2, 1.2)))
