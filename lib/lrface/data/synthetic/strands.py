"""Strands of hair as polylines: how they grow, follow the head, cast shadows and are drawn.

Light on a strand is that of a thin cylinder (Kajiya and Kay 1989), its shadow that of the key
light's depth map.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import acos, atan2, cos, exp, floor, pi, sin, sqrt

import numpy as np

from lrface.data.synthetic.kernel import inline, kernel
from lrface.data.synthetic.noise import noise
from lrface.data.synthetic.skin import hairline


@kernel
def radius_at(skull, x, y, z):
    """The skull's radius in the direction of unit vector (x, y, z), bilinear in the skull map."""
    turns, polars = skull.shape
    a = (atan2(x, z) + pi) / (2 * pi) * turns - 0.5
    b = acos(max(min(y, 1.0), -1.0)) / pi * polars - 0.5
    i, j = int(floor(a)), int(floor(b))
    fa, fb = a - i, b - j
    i0, i1 = i % turns, (i + 1) % turns
    j0, j1 = min(max(j, 0), polars - 1), min(max(j + 1, 0), polars - 1)
    upper = skull[i0, j0] * (1 - fa) + skull[i1, j0] * fa
    lower = skull[i0, j1] * (1 - fa) + skull[i1, j1] * fa
    return upper * (1 - fb) + lower * fb


@kernel
def grow(
    table, roots, start, comb, length, lift, hold, clear, numbers, skull, centre, jitter, seed, out
):
    """Grow strands from their roots into ``out`` (n, k + 1, 3).

    A strand starts in one direction, bends to the direction it is combed to and then down; it is
    pushed out of the skull, and back towards it.

    Parameters
    ----------
    table : ndarray
        The noise lattice.
    roots, start, comb : float64 (n, 3)
        Roots, first directions (unit vectors), and directions of combing (of any length).
    length, lift, hold, clear : float64 (n,)
        Length; height of the strand's layer above the skull; how far above that it may go; how
        strongly it is pushed off the face. Decimetres.
    numbers : float64 (7,)
        Gravity, curl radius, curls (radians a decimetre), bending length, frequency and strength of
        wisps, and roughness.
    skull, centre : ndarray
        The skull map and its centre.
    jitter : float64 (n, 4)
        Standard normal numbers.
    seed : int
        Of the noise.
    """
    gravity, curl, turns, bend = numbers[0], numbers[1], numbers[2], numbers[3]
    wisp_rate, wisp, rough = numbers[4], numbers[5], numbers[6]
    segments = out.shape[1] - 1
    p, d, w = np.zeros(3), np.zeros(3), np.zeros(3)
    for s in range(roots.shape[0]):
        step = length[s] / segments
        # neighbours have like noise at their roots, so they make wisps and curl in phase
        nx, ny, nz = roots[s, 0] * wisp_rate, roots[s, 1] * wisp_rate, roots[s, 2] * wisp_rate
        for c in range(3):
            p[c], d[c] = roots[s, c], start[s, c]
            out[s, 0, c] = p[c]
            w[c] = wisp * noise(table, nx, ny, nz, seed + c)
        phase = 6 * noise(table, nx, ny, nz, seed + 3) + 0.6 * jitter[s, 3]
        blend = 1 - exp(-step / bend)
        for k in range(1, segments + 1):
            u = k / segments
            fall = 1 - exp(-((u * length[s] / 0.55) ** 2))
            combed = 1 - fall * min(gravity, 1.0)
            tx = (comb[s, 0] + w[0]) * combed + rough * jitter[s, 0]
            ty = (comb[s, 1] + w[1]) * combed + rough * jitter[s, 1] - gravity * fall
            tz = (comb[s, 2] + w[2]) * combed + rough * jitter[s, 2]
            if clear[s] > 0 and p[2] > 0.62 and abs(p[0]) < 0.78 and p[1] < 7.82:
                tx += clear[s] * (1.8 if p[0] > 0 else -1.8)
                tz -= clear[s] * 1.2
            d[0] += (tx - d[0]) * blend
            d[1] += (ty - d[1]) * blend
            d[2] += (tz - d[2]) * blend
            size = sqrt(d[0] ** 2 + d[1] ** 2 + d[2] ** 2) + 1e-9
            for c in range(3):
                d[c] /= size
                p[c] += d[c] * step
            x, y, z = p[0] - centre[0], p[1] - centre[1], p[2] - centre[2]
            r = sqrt(x * x + y * y + z * z) + 1e-9
            floor_r = radius_at(skull, x / r, y / r, z / r) + lift[s] * min(u * 4, 1.0)
            roof = floor_r + 0.5 * hold[s]
            if hold[s] > 0 and r > roof and p[1] > 6.9:
                f = 0.65 + 0.35 * roof / r
                p[0], p[1], p[2] = centre[0] + x * f, centre[1] + y * f, centre[2] + z * f
            if r < floor_r and floor_r - r < 0.35:
                f = floor_r / r
                p[0], p[1], p[2] = centre[0] + x * f, centre[1] + y * f, centre[2] + z * f
            a, q = phase + turns * u * length[s], curl * min(u * 3, 1.0)
            out[s, k, 0] = p[0] + q * cos(a)
            out[s, k, 1] = p[1] + 0.5 * q * sin(0.9 * a + 1)
            out[s, k, 2] = p[2] + q * sin(a)


@kernel
def over_face(points, lowest, shift, receding):
    """Which strands (n,) hang over the face: below the hairline in front, or below ``lowest``.

    ``lowest`` (height in decimetres, 0: none) is for bangs; ``shift`` and ``receding`` as for
    :func:`.skin.hairline`.
    """
    out = np.zeros(points.shape[0], np.bool_)
    for s in range(points.shape[0]):
        for k in range(2, points.shape[1]):
            x, y, z = points[s, k, 0], points[s, k, 1], points[s, k, 2]
            if z < 0.7 or y < 6.05:
                continue
            turn = atan2(x, z - 0.55)
            if lowest > 0:
                if abs(turn) < 0.80 and y < lowest:
                    out[s] = True
                    break
                continue
            d = abs(turn) * 57.2958
            if (d < 46 and y < hairline(turn, shift, receding) - 0.06) or (d < 58 and y < 7.62):
                out[s] = True
                break
    return out


@kernel
def pose_hanging(points, head, hang, pivot, below):
    """Strands (n, k, 3) of a turned head: long hair hangs instead of turning with it.

    Down to the height ``below`` they are rotated by the matrix ``head`` about ``pivot``, from there
    on by ``hang``.
    """
    out = np.empty(points.shape)
    p, anchor, origin = np.zeros(3), np.zeros(3), np.zeros(3)
    for s in range(points.shape[0]):
        loose = False
        for k in range(points.shape[1]):
            for c in range(3):
                p[c] = points[s, k, c] - pivot[c]
            if not loose:
                for c in range(3):
                    turned = head[c, 0] * p[0]
                    out[s, k, c] = pivot[c] + turned + head[c, 1] * p[1] + head[c, 2] * p[2]
                if k > 0 and points[s, k, 1] < below:
                    loose = True
                    for c in range(3):
                        anchor[c], origin[c] = out[s, k, c], p[c]
            else:
                x, y, z = p[0] - origin[0], p[1] - origin[1], p[2] - origin[2]
                for c in range(3):
                    out[s, k, c] = anchor[c] + hang[c, 0] * x + hang[c, 1] * y + hang[c, 2] * z
    return out


@inline
def lit_share(shadow, axes, x, y, z, extent, bias, reach):
    """How much of the key light reaches a point, 0 to 1: the share of nine taps of its depth map.

    Percentage-closer filtering (Reeves et al. 1987). ``axes`` and ``extent`` are the map's
    (:func:`.raster.depth_map`), ``bias`` is how far in front of the point (decimetres) something
    must be to shade it, ``reach`` the distance of the taps in pixels of the map.
    """
    size = shadow.shape[0]
    u = ((axes[0, 0] * x + axes[0, 1] * y + axes[0, 2] * z) / extent + 1) * size * 0.5
    v = ((axes[1, 0] * x + axes[1, 1] * y + axes[1, 2] * z) / extent + 1) * size * 0.5
    depth = -(axes[2, 0] * x + axes[2, 1] * y + axes[2, 2] * z) - bias
    lit = 0
    for dy in range(-1, 2):
        for dx in range(-1, 2):
            i, j = int(u + dx * reach), int(v + dy * reach)
            if i < 0 or j < 0 or i >= size or j >= size or shadow[j, i] >= depth:
                lit += 1
    return lit / 9.0


@inline
def lit_plane(shadow, axes, p, n, extent, bias, reach, x, y):
    """As :func:`lit_share` at ``p`` (3,) on a surface with normal ``n`` (3,), by sixteen taps.

    A tap is compared with the depth of the surface's tangent plane there, so that surfaces which
    slant to the light do not shade themselves in stripes; and each pixel (x, y) of the buffer moves
    the taps by another fraction of their distance, so that the shadow of hair is no net.
    """
    reach *= 0.7
    moved_x, moved_y = 0.75488 * x + 0.56984 * y, 0.56984 * x - 0.75488 * y
    moved_x, moved_y = moved_x - floor(moved_x) - 2.0, moved_y - floor(moved_y) - 2.0
    size = shadow.shape[0]
    scale = size * 0.5 / extent
    u = (axes[0, 0] * p[0] + axes[0, 1] * p[1] + axes[0, 2] * p[2]) * scale + size * 0.5
    v = (axes[1, 0] * p[0] + axes[1, 1] * p[1] + axes[1, 2] * p[2]) * scale + size * 0.5
    depth = -(axes[2, 0] * p[0] + axes[2, 1] * p[1] + axes[2, 2] * p[2]) - bias
    a = axes[0, 0] * n[0] + axes[0, 1] * n[1] + axes[0, 2] * n[2]
    b = axes[1, 0] * n[0] + axes[1, 1] * n[1] + axes[1, 2] * n[2]
    c = max(axes[2, 0] * n[0] + axes[2, 1] * n[1] + axes[2, 2] * n[2], 0.25) * scale
    lit = 0
    for dy in range(4):
        for dx in range(4):
            i, j = int(u + (dx + moved_x) * reach), int(v + (dy + moved_y) * reach)
            # of the tap's own pixel, whose depth is that at its middle
            plane = depth + (a * (i + 0.5 - u) + b * (j + 0.5 - v)) / c
            if i < 0 or j < 0 or i >= size or j >= size or shadow[j, i] >= plane:
                lit += 1
    return lit / 16.0


def companions(points: np.ndarray, count: int) -> Iterator[np.ndarray]:
    """``count`` times the strands (n, k, 3), each beside itself by less than a lock's width.

    Large pictures show the skin between the strands of a small one.
    """
    spread = np.linspace(0.4, 1.0, points.shape[1])[None, :, None] * 0.014
    turn = np.arange(len(points))[:, None] * np.array([1.618, 2.414, 3.303])
    for k in range(count):
        yield points + spread * np.sin(turn * (k + 1) + 2 * k)[:, None]


@kernel
def cast(points, axes, extent, shadow):
    """Draw strands (n, k, 3) into the key light's depth map ``shadow``, in place."""
    size = shadow.shape[0]
    for s in range(points.shape[0]):
        a0 = b0 = z0 = 0.0
        for j in range(points.shape[1]):
            x, y, z = points[s, j, 0], points[s, j, 1], points[s, j, 2]
            a1 = ((axes[0, 0] * x + axes[0, 1] * y + axes[0, 2] * z) / extent + 1) * size * 0.5
            b1 = ((axes[1, 0] * x + axes[1, 1] * y + axes[1, 2] * z) / extent + 1) * size * 0.5
            z1 = -(axes[2, 0] * x + axes[2, 1] * y + axes[2, 2] * z)
            if j > 0:
                count = int(max(abs(a1 - a0), abs(b1 - b0))) + 1
                for i in range(count):
                    t = i / count
                    u, v = int(a0 + (a1 - a0) * t), int(b0 + (b1 - b0) * t)
                    depth = z0 + (z1 - z0) * t
                    if 0 <= u < size and 0 <= v < size and depth < shadow[v, u]:
                        shadow[v, u] = depth
            a0, b0, z0 = a1, b1, z1


@kernel
def draw(
    points,
    colours,
    cover,
    camera,
    lights,
    axes,
    extent,
    shadow,
    gloss,
    shaded_roots,
    thick,
    depth,
    image,
):
    """Draw strands as depth-tested lines into ``image`` and ``depth``, in place.

    Parameters
    ----------
    points : float64 (n, k, 3)
        Posed strands, decimetres from the scene's centre.
    colours : float64 (n, 3)
        Linear RGB.
    cover : float64 (n,)
        Opacity in [0, 1], which falls towards the tip.
    camera : float64 (5,)
        Focal length in pixels, distance, x and y of the image's centre in pixels, height of the
        optical axis.
    lights : float64 (6, 3)
        As :meth:`.light.Light.packed`.
    axes, extent, shadow
        The key light's depth map, as in :func:`lit_share`.
    gloss : float64 (2,)
        Strength and exponent of the highlight.
    shaded_roots : bool
        Darken the strands towards their roots, as inside a head of hair.
    thick : int
        Width of the lines in pixels.
    depth, image : float64 (H, W), (H, W, 3)
    """
    height, width = depth.shape
    colour = np.zeros(3)
    for s in range(points.shape[0]):
        for j in range(points.shape[1] - 1):
            x, y, z = points[s, j, 0], points[s, j, 1], points[s, j, 2]
            dx, dy, dz = points[s, j + 1, 0] - x, points[s, j + 1, 1] - y, points[s, j + 1, 2] - z
            size = sqrt(dx * dx + dy * dy + dz * dz)
            if size < 1e-7:
                continue
            w0, w1 = camera[0] / (camera[1] - z), camera[0] / (camera[1] - z - dz)
            a0, b0 = camera[2] + x * w0, camera[3] - (y - camera[4]) * w0
            a1, b1 = camera[2] + (x + dx) * w1, camera[3] - (y + dy - camera[4]) * w1
            if max(a0, a1) < 0 or max(b0, b1) < 0 or min(a0, a1) >= width or min(b0, b1) >= height:
                continue
            mx, my, mz = x + 0.5 * dx, y + 0.5 * dy, z + 0.5 * dz
            lit = lit_share(shadow, axes, mx, my, mz, extent, 0.06, 1.6)
            tx, ty, tz = dx / size, dy / size, dz / size
            along = tx * lights[0, 0] + ty * lights[0, 1] + tz * lights[0, 2]
            across, across_view = sqrt(max(1 - along * along, 0.0)), sqrt(max(1 - tz * tz, 0.0))
            shine = gloss[0] * max(across * across_view - along * tz, 0.0) ** gloss[1]
            fill_along = tx * lights[2, 0] + ty * lights[2, 1] + tz * lights[2, 2]
            fill = sqrt(max(1 - fill_along * fill_along, 0.0))
            open_sky = 1.0
            if shaded_roots:
                open_sky = 0.42 + 0.58 * min((j + 0.5) / (points.shape[1] - 1) * 2.0, 1.0)
            for d in range(3):
                around = (0.62 * lights[4, d] + 0.38 * lights[5, d]) * 0.8
                soft = around + 0.45 * lights[3, d] * fill
                light = soft * open_sky + lights[1, d] * across * (0.78 * lit + 0.05)
                highlight = lights[1, d] * lit * shine * (0.3 + 0.7 * colours[s, d]) * open_sky
                colour[d] = colours[s, d] * light + highlight
            count = int(max(abs(a1 - a0), abs(b1 - b0))) + 1
            flat = abs(a1 - a0) > abs(b1 - b0)
            for i in range(count):
                t = i / count
                xf, yf, near = a0 + (a1 - a0) * t, b0 + (b1 - b0) * t, -(z + dz * t)
                along_it = (j + t) / (points.shape[1] - 1)
                alpha = cover[s] * (1 - 0.85 * along_it * along_it * along_it)
                for k in range(thick):
                    px = int(floor(xf)) + (0 if flat else k)
                    py = int(floor(yf)) + (k if flat else 0)
                    if 0 <= px < width and 0 <= py < height and near < depth[py, px] + 0.004:
                        if near < depth[py, px] and alpha > 0.30:
                            depth[py, px] = near
                        for d in range(3):
                            image[py, px, d] += alpha * (colour[d] - image[py, px, d])
