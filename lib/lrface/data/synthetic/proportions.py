"""The proportions of a face, mapped to the distribution of those of real faces.

A random sum of morph targets can be a caricature. :func:`conform` measures 17 distances on a mesh
and corrects it so that their means and spreads over people are those that a landmark detector finds
on 989 CelebA faces, and outliers are bounded.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from lrface.data.synthetic.assets import Head, head
from lrface.data.synthetic.kernel import smoothstep

# fmt: off
UNADJUSTED = {
    "face width": (2.414, 0.121), "jaw width": (2.029, 0.122), "eye width": (0.440, 0.041),
    "eye height": (0.154, 0.040), "mouth width": (0.763, 0.080), "nose width": (0.405, 0.086),
    "nose length": (0.805, 0.084), "eyes to mouth": (1.154, 0.117), "eyes to chin": (1.851, 0.185),
    "eyes to brows": (0.383, 0.045), "lip height": (0.331, 0.072), "nose to lip": (0.234, 0.045),
    "crown": (1.927, 0.223), "jaw corner width": (1.700, 0.120), "chin width": (1.134, 0.109),
    "jaw corner": (1.495, 0.158), "chin corner": (1.657, 0.172),
}
"""Mean and standard deviation of each proportion of meshes before :func:`conform`, over all groups,
in units of the distance between the eyes."""
REAL = {
    "face width": (2.19, 0.090), "jaw width": (1.83, 0.090), "eye width": (0.430, 0.020),
    "eye height": (0.132, 0.018), "mouth width": (0.845, 0.068), "nose width": (0.385, 0.045),
    "nose length": (0.75, 0.050), "eyes to mouth": (1.075, 0.074), "eyes to chin": (1.84, 0.105),
    "eyes to brows": (0.315, 0.036), "lip height": (0.31, 0.050), "nose to lip": (0.215, 0.034),
    "crown": (1.82, 0.080), "jaw corner width": (1.53, 0.085), "chin width": (1.08, 0.075),
    "jaw corner": (1.35, 0.085), "chin corner": (1.56, 0.090),
}
"""Mean and standard deviation after it: a landmark detector finds the same on the rendered pictures
as on photographs. ``crown``, which has no landmark, is from anthropometry."""
HANDLES = (
    "head/head-scale-vert", "forehead/forehead-scale-vert", "chin/chin-height",
    "mouth/mouth-trans:up:down", "nose/nose-scale-vert", "nose/nose-trans:up:down",
    "eyebrows/eyebrows-trans:up:down", "mouth/mouth-scale-horiz", "mouth/mouth-scale-vert",
    "eyes/l-eye-scale", "eyes/l-eye-height2", "nose/nose-scale-horiz", "nose/nose-width3",
    "eyes/l-eye-trans:out:in", "head/head:square:diamond", "chin/chin-width",
    "head/head-scale-horiz", "lift", "taper",
)
# fmt: on
"""Deformations that change the proportions: pairs of morph targets, ``name:more:less`` (by default
``incr`` and ``decr``), and the two fields of :func:`_fields`."""
LIMIT = 2.3
"""The largest deviation of a proportion from its mean, in standard deviations."""


def proportions(vertices: np.ndarray) -> np.ndarray:
    """The proportions (17,) of a neutral mesh, in the order of ``REAL``."""
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
            x[11] - x[5],
            x[10] - x[6],
            -(y[5] + y[11]) / 2,
            -(y[6] + y[10]) / 2,
        ]
    )


@lru_cache(maxsize=1)
def _fields() -> dict[str, np.ndarray]:
    """Displacements (n, 3) that no morph target has: ``lift`` of the jaw's corners, ``taper``.

    ``taper`` widens the lower jaw.
    """
    v = head().vertices
    x, y, z = v.T
    front, nothing = smoothstep(0.0, 0.45, z), np.zeros_like(x)
    corner = np.exp(-(((np.abs(x) - 0.46) / 0.22) ** 2) - ((y - 6.42) / 0.24) ** 2)
    lower = np.exp(-(((y - 6.38) / 0.26) ** 2))
    return {
        "lift": 0.12 * np.stack([nothing, corner * front, nothing], 1),
        "taper": 0.12 * np.stack([x * lower * front, nothing, nothing], 1),
    }


def _deform(template: Head, vertices: np.ndarray, handle: str, weight: float) -> None:
    """Apply one of ``HANDLES`` in place; a negative weight is its opposite."""
    if handle in _fields():
        vertices += weight * _fields()[handle]
        return
    base, high, low = handle.split(":") if ":" in handle else (handle, "incr", "decr")
    # In a fixed order: where left and right move the same vertex, the order decides the rounding.
    for name in dict.fromkeys((base, base.replace("/l-", "/r-"))):
        template.morph(vertices, f"{name}-{high if weight > 0 else low}", abs(weight))


@lru_cache(maxsize=1)
def _inverse() -> np.ndarray:
    """Weights of the handles for a unit change of each proportion (19, 17).

    The damped least-squares inverse of the handles' effects, by central differences on the
    template.
    """
    template, columns = head(), []
    for handle in HANDLES:
        ends = []
        for weight in (0.5, -0.5):
            vertices = template.vertices.copy()
            _deform(template, vertices, handle, weight)
            ends.append(proportions(vertices))
        columns.append(ends[0] - ends[1])
    unit = np.array([sd for _, sd in REAL.values()])
    effect = np.stack(columns, 1) / unit[:, None]
    return effect.T @ np.linalg.inv(effect @ effect.T + 0.02 * np.eye(len(unit))) / unit[None]


def conform(vertices: np.ndarray) -> None:
    """Map a neutral mesh's proportions to those of real faces, in place.

    Each proportion keeps its z-score among people, squashed into (-LIMIT, LIMIT). Three damped
    Gauss-Newton steps.
    """
    before, real = np.array(list(UNADJUSTED.values())), np.array(list(REAL.values()))
    z = (proportions(vertices) - before[:, 0]) / before[:, 1]
    goal = real[:, 0] + real[:, 1] * LIMIT * np.tanh(z / LIMIT)
    template, inverse = head(), _inverse()
    for _ in range(3):
        weights = inverse @ (goal - proportions(vertices))
        for handle, weight in zip(HANDLES, weights, strict=True):
            _deform(template, vertices, handle, float(np.clip(weight, -1.5, 1.5)))
