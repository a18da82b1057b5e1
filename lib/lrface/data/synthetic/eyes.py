"""Eyeballs, painted by the angle to the line of sight, teeth colours, and lashes."""

from __future__ import annotations

from math import sqrt

import numpy as np

from lrface.data.synthetic.identities import Identity
from lrface.data.synthetic.kernel import inline, linear
from lrface.data.synthetic.noise import noise, step
from lrface.data.synthetic.streams import IDENTITY, stream

TEETH = linear([(226, 218, 198), (216, 204, 178), (234, 228, 214)])


@inline
def eyeball(table, normal, up, gaze, iris, colour):
    """Write the albedo of an eyeball to ``colour`` (3,), at a point with outward ``normal``.

    ``up`` is the head's up, ``gaze`` (3, 3) has right, up and the line of sight as rows, ``iris``
    (6,) is as in :func:`eye_numbers`. Returns the share of ambient light under the upper lid.
    """
    along = normal[0] * gaze[2, 0] + normal[1] * gaze[2, 1] + normal[2] * gaze[2, 2]
    x = normal[0] * gaze[0, 0] + normal[1] * gaze[0, 1] + normal[2] * gaze[0, 2]
    y = normal[0] * gaze[1, 0] + normal[1] * gaze[1, 1] + normal[2] * gaze[1, 2]
    r = sqrt(x * x + y * y) if along > 0 else 1.0
    edge = step(0.45, 0.95, r)
    vein = step(0.45, 0.7, noise(table, normal[0] * 14, normal[1] * 30, normal[2] * 14, 77)) * edge
    colour[0] = 0.62 - 0.10 * edge
    colour[1] = (0.58 - 0.18 * edge) * (1 - 0.06 * vein)
    colour[2] = (0.56 - 0.18 * edge) * (1 - 0.06 * vein)
    if r < iris[3] * 1.1:
        # noise on a circle, so that the iris's fibres have no seam
        cx, cy = x / (r + 1e-9), y / (r + 1e-9)
        coarse = 0.3 * noise(table, cx * 9, cy * 9, r * 12, 80)
        fibre = 0.6 + coarse + 0.25 * noise(table, cx * 21, cy * 21, r * 22, 81)
        k = (0.36 + 0.58 * fibre) * (1 - 0.68 * step(0.78, 1.0, r / iris[3]))
        k *= 1 + 0.35 * step(0.1, -0.6, y / iris[3])  # the cornea gathers light in the lower half
        cover = 1 - step(iris[3] * 0.96, iris[3] * 1.09, r)
        pupil = 1 - step(iris[4] * 0.88, iris[4] * 1.12, r)
        for d in range(3):
            inside = iris[d] * k * (1 - pupil) + 0.006 * pupil
            colour[d] = colour[d] * (1 - cover) + inside * cover
    if iris[5] > 0:  # the corners lie deep between the lids, and the upper lid casts a shadow
        corner = step(0.40, 0.95, abs(x))
        lidded = normal[0] * up[0] + normal[1] * up[1] + normal[2] * up[2]
        k = (0.76 - 0.32 * corner) * (1 - 0.36 * step(0.02, 0.50, lidded))
        for d in range(3):
            colour[d] *= k * (1 - 0.03 * d)
    upward = normal[0] * up[0] + normal[1] * up[1] + normal[2] * up[2]
    return 0.92 - 0.56 * step(0.05, 0.60, upward)


def eye_numbers(identity: Identity) -> tuple[np.ndarray, np.ndarray]:
    """A person's iris (6,) and teeth (3,).

    The iris is linear RGB, then the radii of iris and pupil over the eyeball's, and 1 if the
    eyes lie deep between the lids (second generation); teeth linear RGB.
    """
    rng = stream(identity.seed, identity.number, IDENTITY, "eyes")
    radius = np.clip(0.455 + 0.015 * rng.normal(), 0.42, 0.49)
    deep = float(identity.generation > 1)
    iris = np.array([*identity.iris, radius, 0.16 + 0.05 * rng.random(), deep])
    return iris, TEETH[rng.integers(len(TEETH))] * 0.95


def lash_strands(vertices: np.ndarray, quads: np.ndarray) -> np.ndarray:
    """Upper lashes (n, 3, 3) on a posed mesh, three points from root to tip; four a lash quad."""
    strands = []
    for t in (0.1, 0.35, 0.6, 0.85):
        root = vertices[quads[:, 0]] * (1 - t) + vertices[quads[:, 1]] * t
        tip = vertices[quads[:, 2]] * (1 - t) + vertices[quads[:, 3]] * t
        strands.append(np.stack([root, (root + tip) / 2, tip], 1))
    return np.concatenate(strands) + np.array([0.0, 0.0, 0.006])


def lash_lines(vertices: np.ndarray, quads: np.ndarray) -> np.ndarray:
    """The edges of the upper lids, dark with roots of lashes: strands (n, 3, 3), there and back."""
    a, b = vertices[quads[:, 0]], vertices[quads[:, 1]]
    there = np.stack([a, (a + b) / 2, b], 1) + np.array([0.0, -0.003, 0.008])
    return np.concatenate([there, there[:, ::-1]])
