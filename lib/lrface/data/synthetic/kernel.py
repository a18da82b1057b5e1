"""Compilation of the inner loops by Numba, and the linear algebra and colour curves they share.

Kernels use neither fast math nor threads: operations are rounded as IEEE 754 says and sums have one
order, so the same parameters give the same bytes whatever the number of workers.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path

import numba
import numpy as np

from lrface.files import cache_dir


@lru_cache(maxsize=1)
def _store() -> str:
    # Numba notices changes of the file that holds a kernel, not of the files whose functions it
    # calls, so the cache folder is named by a hash of all of them.
    digest = hashlib.sha256(numba.__version__.encode())
    for file in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(file.read_bytes())
    return str(cache_dir("kernels", digest.hexdigest()[:16]))


def kernel(function):
    """Compile a function of arrays and numbers, once a machine and version of this package.

    Later processes load the machine code from the user's cache.
    """
    before = numba.config.CACHE_DIR
    numba.config.CACHE_DIR = _store()
    try:
        return numba.njit(cache=True, nogil=True, error_model="numpy")(function)
    finally:
        numba.config.CACHE_DIR = before


def inline(function):
    """Compile a small function that only kernels call."""
    return numba.njit(nogil=True, error_model="numpy")(function)


@kernel
def vertex_normals(vertices, triangles):
    """Unit normals (n, 3): the area-weighted mean over the triangles that meet at a vertex."""
    normals = np.zeros(vertices.shape)
    for t in range(triangles.shape[0]):
        a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        ax, ay, az = vertices[a, 0], vertices[a, 1], vertices[a, 2]
        ux, uy, uz = vertices[b, 0] - ax, vertices[b, 1] - ay, vertices[b, 2] - az
        vx, vy, vz = vertices[c, 0] - ax, vertices[c, 1] - ay, vertices[c, 2] - az
        nx, ny, nz = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
        for i in (a, b, c):
            normals[i, 0] += nx
            normals[i, 1] += ny
            normals[i, 2] += nz
    for i in range(len(normals)):
        length = np.sqrt(normals[i, 0] ** 2 + normals[i, 1] ** 2 + normals[i, 2] ** 2) + 1e-12
        for d in range(3):
            normals[i, d] /= length
    return normals


@kernel
def rotate(points, matrix, pivot):
    """``pivot + matrix @ (point - pivot)`` for points (n, 3).

    A plain loop, since a BLAS may round differently on another machine.
    """
    out = np.empty(points.shape)
    for i in range(points.shape[0]):
        x, y, z = points[i, 0] - pivot[0], points[i, 1] - pivot[1], points[i, 2] - pivot[2]
        for d in range(3):
            out[i, d] = pivot[d] + matrix[d, 0] * x + matrix[d, 1] * y + matrix[d, 2] * z
    return out


@kernel
def add_sparse(vertices, rows, offsets, weight):
    """Apply a morph target in place: add ``weight * offsets`` (k, 3) to ``rows`` (k,)."""
    for i in range(rows.shape[0]):
        for d in range(3):
            vertices[rows[i], d] += weight * offsets[i, d]


def rotation(yaw: float, pitch: float, roll: float) -> np.ndarray:
    """The head's rotation matrix (3, 3) from angles in degrees: roll first, then pitch, then yaw.

    Positive yaw turns the face towards the image's right, positive pitch turns it down, positive
    roll tilts its top towards the image's left.
    """
    (cy, cp, cr), (sy, sp, sr) = (f(np.radians([yaw, pitch, roll])) for f in (np.cos, np.sin))
    turn = [[cy, sy * sp, sy * cp], [0.0, cp, -sp], [-sy, cy * sp, cy * cp]]
    lean = [[cr, -sr, 0.0], [sr, cr, 0.0], [0.0, 0.0, 1.0]]
    return np.array(
        [[sum(turn[i][k] * lean[k][j] for k in range(3)) for j in range(3)] for i in range(3)]
    )


def unit(vectors: np.ndarray) -> np.ndarray:
    """Vectors (..., 3) scaled to length 1."""
    return vectors / (np.sqrt((vectors**2).sum(-1, keepdims=True)) + 1e-12)


def smoothstep(low: float, high: float, x):
    """A cubic step from 0 at ``low`` to 1 at ``high``; with ``low > high`` it falls from 1 to 0.

    ``x`` is an array or a number.
    """
    t = np.clip((x - low) / (high - low), 0.0, 1.0)
    return t * t * (3 - 2 * t)


def linear(colour) -> np.ndarray:
    """sRGB on the 0-255 scale to linear light in [0, 1] (IEC 61966-2-1)."""
    c = np.asarray(colour, np.float64) / 255
    return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)


def srgb(light: np.ndarray) -> np.ndarray:
    """Linear light in [0, 1] to sRGB in [0, 1] (IEC 61966-2-1); values outside are clipped."""
    x = np.clip(light, 0, 1)
    return np.where(x <= 0.0031308, x * 12.92, 1.055 * x ** (1 / 2.4) - 0.055)
