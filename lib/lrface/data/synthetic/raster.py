"""The z-buffer: which triangle is visible at each pixel, and where on it."""

from __future__ import annotations

from math import ceil, floor

import numpy as np

from lrface.data.synthetic.kernel import kernel

FAR = 1e9


@kernel
def rasterise(screen, triangles, depth, face, bary):
    """Draw triangles into ``depth``, ``face`` and ``bary``, in place; the nearest wins.

    Parameters
    ----------
    screen : float64 (n, 3)
        Vertices: x and y in buffer pixels, pixel i spanning [i, i + 1), and a depth that grows away
        from the viewer.
    triangles : int32 (m, 3)
    depth : float64 (H, W)
    face : int32 (H, W)
        Number of the visible triangle; unchanged (-1) where nothing is drawn.
    bary : float64 (H, W, 2)
        Barycentric weights of the triangle's second and third corner.
    """
    height, width = face.shape
    for t in range(triangles.shape[0]):
        a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        x0, y0, z0 = screen[a, 0], screen[a, 1], screen[a, 2]
        x1, y1, z1 = screen[b, 0], screen[b, 1], screen[b, 2]
        x2, y2, z2 = screen[c, 0], screen[c, 1], screen[c, 2]
        area = (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)
        if abs(area) < 1e-9:
            continue
        left = max(int(floor(min(x0, x1, x2))), 0)
        right = min(int(ceil(max(x0, x1, x2))), width - 1)
        top = max(int(floor(min(y0, y1, y2))), 0)
        bottom = min(int(ceil(max(y0, y1, y2))), height - 1)
        inverse = 1.0 / area
        step1, step2 = (y2 - y0) * inverse, -(y1 - y0) * inverse
        for y in range(top, bottom + 1):
            py = y + 0.5
            w1 = ((left + 0.5 - x0) * (y2 - y0) - (x2 - x0) * (py - y0)) * inverse
            w2 = ((x1 - x0) * (py - y0) - (left + 0.5 - x0) * (y1 - y0)) * inverse
            for x in range(left, right + 1):
                w0 = 1 - w1 - w2
                if w0 >= 0 and w1 >= 0 and w2 >= 0:
                    z = w0 * z0 + w1 * z1 + w2 * z2
                    if z < depth[y, x]:
                        depth[y, x] = z
                        face[y, x] = t
                        bary[y, x, 0] = w1
                        bary[y, x, 1] = w2
                w1 += step1
                w2 += step2


def buffers(height: int, width: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Empty ``depth, face, bary`` for :func:`rasterise`."""
    return (
        np.full((height, width), FAR),
        np.full((height, width), -1, np.int32),
        np.zeros((height, width, 2)),
    )


def depth_map(
    points: np.ndarray, triangles: np.ndarray, axes: np.ndarray, size: int, extent: float
) -> np.ndarray:
    """An orthographic depth map (size, size), such as the shadow map of a light.

    ``axes`` (3, 3) are unit vectors to the right, down and towards the viewer; the view is ``2 *
    extent`` decimetres wide and centred on the origin.
    """
    screen = np.empty((len(points), 3))
    for d in range(3):
        screen[:, d] = (
            points[:, 0] * axes[d, 0] + points[:, 1] * axes[d, 1] + points[:, 2] * axes[d, 2]
        )
    screen[:, :2] = (screen[:, :2] / extent + 1) * (size / 2)
    screen[:, 2] *= -1
    depth, face, bary = buffers(size, size)
    rasterise(screen, triangles, depth, face, bary)
    return depth


def axes_towards(direction: np.ndarray) -> np.ndarray:
    """Right, down and the direction itself, as rows (3, 3), for a viewer in that direction."""
    x, y, z = direction
    # (0, 1, 0.01) x direction: never degenerate for lights above the horizon
    right = np.array([z - 0.01 * y, 0.01 * x, -x])
    right /= np.sqrt((right**2).sum())
    a, b, c = right
    down = np.array([y * c - z * b, z * a - x * c, x * b - y * a])
    return np.stack([right, -down if down[1] > 0 else down, direction])
