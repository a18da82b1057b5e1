"""Value noise on a 3D lattice, for the grain of skin, hair and cloth.

It is read at points of the template head and not from a texture map, so it has no seams.
"""

from __future__ import annotations

from functools import lru_cache
from math import floor

import numpy as np

from lrface.data.synthetic.kernel import inline, kernel
from lrface.data.synthetic.streams import stream

SIZE = 32


@lru_cache(maxsize=1)
def lattice() -> np.ndarray:
    """Uniform numbers in [-1, 1], float32 (32, 32, 32): one table, shifted for each seed."""
    return stream(0, 0, 0, "noise").uniform(-1, 1, (SIZE, SIZE, SIZE)).astype(np.float32)


@inline
def noise(table, x, y, z, seed):
    """Noise in [-1, 1] at a point: the lattice's values, interpolated smoothly; cells of size 1."""
    i, j, k = int(floor(x)), int(floor(y)), int(floor(z))
    u, v, w = x - i, y - j, z - k
    u = u * u * (3 - 2 * u)
    v = v * v * (3 - 2 * v)
    w = w * w * (3 - 2 * w)
    i, j, k = i + 7 * seed, j + 13 * seed, k + 23 * seed + (seed >> 5)
    # the lattice repeats after 32 cells
    i0, i1, j0, j1, k0, k1 = i & 31, (i + 1) & 31, j & 31, (j + 1) & 31, k & 31, (k + 1) & 31
    a = table[i0, j0, k0] * (1 - u) + table[i1, j0, k0] * u
    b = table[i0, j1, k0] * (1 - u) + table[i1, j1, k0] * u
    c = table[i0, j0, k1] * (1 - u) + table[i1, j0, k1] * u
    d = table[i0, j1, k1] * (1 - u) + table[i1, j1, k1] * u
    return (a * (1 - v) + b * v) * (1 - w) + (c * (1 - v) + d * v) * w


@inline
def step(low, high, x):
    """:func:`.kernel.smoothstep` of a number, for use in kernels."""
    t = (x - low) / (high - low)
    t = 0.0 if t < 0 else (1.0 if t > 1 else t)
    return t * t * (3 - 2 * t)


@kernel
def noise_at(table, points, rate, seed):
    """Noise (n,) at points (n, 3) with ``rate`` cells a decimetre."""
    out = np.empty(points.shape[0])
    for i in range(points.shape[0]):
        out[i] = noise(table, points[i, 0] * rate, points[i, 1] * rate, points[i, 2] * rate, seed)
    return out
