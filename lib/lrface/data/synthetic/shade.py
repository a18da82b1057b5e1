"""Deferred shading: the light of every pixel of the z-buffer, by the part of the mesh it shows.

Diffuse light wraps around skin, most in red, which imitates subsurface scattering; highlights are
Blinn-Phong; the key light has a shadow map, the ambient light baked ambient visibility.
"""

from __future__ import annotations

from math import floor, sin, sqrt

import numpy as np

from lrface.data.synthetic.accessories import COLLAR, FRAME, HAT, TIE
from lrface.data.synthetic.assets import BODY, LEFT_EYE, LOWER_TEETH, RIGHT_EYE, TONGUE, UPPER_TEETH
from lrface.data.synthetic.clothes import cloth_at
from lrface.data.synthetic.eyes import eyeball
from lrface.data.synthetic.kernel import inline, kernel
from lrface.data.synthetic.noise import noise, step
from lrface.data.synthetic.skin import GLOSS, skin_at
from lrface.data.synthetic.strands import lit_plane, lit_share

CAP, BEANIE, BRIM = 0, 1, 2
"""Hats, in the order of :data:`.accessories.HATS`."""


@inline
def _normalise(v):
    length = sqrt(v[0] * v[0] + v[1] * v[1] + v[2] * v[2]) + 1e-9
    v[0] /= length
    v[1] /= length
    v[2] /= length


@inline
def _hat(table, q, hat, colour):
    """Write the albedo of a hat to ``colour`` (3,), from its paint coordinates ``q``.

    These are the azimuth and the share of the way to the edge (:func:`.accessories.fit_hat`);
    ``hat`` is its linear RGB and its kind.
    """
    turn, down = q[0], q[1]
    k = 1 + 0.10 * noise(table, turn * 40, down * 30, 0.0, 8)
    if hat[3] == BEANIE:  # knit, and the edge of the turned-up rim
        rim = 0.10 * step(0.68, 0.70, down) * step(0.74, 0.72, down)
        k += 0.16 * sin(turn * 75) * (0.5 + 0.5 * sin(down * 120)) - rim
    elif hat[3] == CAP:  # the visor, the crown's edge, six seams, and the button on top
        seam = turn * 3 / 3.14159 + 0.5
        near = abs(seam - floor(seam) - 0.5)
        k -= 0.22 * (down >= 1.0) + 0.30 * step(0.95, 0.98, down) * (down < 1.0)
        seams = 0.25 * step(0.06, 0.02, abs(near - 0.5) * (0.2 + down)) * (down < 1.0)
        k -= seams + 0.15 * step(0.06, 0.03, down)
    elif 0.80 < down < 1.0:
        k *= 0.45  # the ribbon of a brimmed hat
    for d in range(3):
        colour[d] = hat[d] * k


@inline
def _tooth(q, upper, teeth, colour):
    """Write the albedo of teeth to ``colour`` (3,), and return the share of gum.

    ``q`` is the template point, ``teeth`` the colour. Incisors, canines and what is behind them
    have their own widths; their corners are rounded, and they darken into the mouth.
    """
    ax = abs(q[0])
    h = (q[1] - 6.60) / 0.19 if upper else (6.60 - q[1]) / 0.17
    # teeth by the distance of their middles and halves of their widths, decimetres
    if not upper:
        ax = ax * 1.25
    if ax < 0.088:
        d, half, low = abs(ax - 0.044), 0.044, 0.0
    elif ax < 0.155:
        d, half, low = abs(ax - 0.1215), 0.0335, 0.05
    elif ax < 0.230:
        d, half, low = abs(ax - 0.1925), 0.0375, 0.0
    else:
        d, half, low = abs(ax - 0.2675), 0.0375, 0.07
    side = (half - d) / half  # 0 between teeth, 1 in the middle of one
    corner = low + 0.10 * (1 - min(side / 0.45, 1.0)) ** 2
    void = 1 - step(corner - 0.02, corner + 0.05, h)
    gap = step(0.02, 0.22, side)
    gum = step(0.66, 0.80, h + 0.16 * (1 - side) ** 2)
    deep = step(0.36, 0.10, abs(q[0]))
    k = (0.72 + 0.28 * gap) * (0.42 + 0.58 * deep) * (0.90 + 0.10 * step(0.0, 0.3, h))
    for d in range(3):
        pink = 0.42 if d == 0 else 0.17
        white = teeth[d] * k * (1.15 - 0.03 * d)
        one = white * (1 - gum) + pink * gum * (0.5 + 0.5 * deep)
        dark = 0.10 if d == 0 else 0.03
        colour[d] = one * (1 - void) + dark * void
    return gum


# fmt: off
@kernel
def shade(
    face, bary, vertices, normals, paint, uv, triangles, part, occlusion, table, skin, moles, masks,
    pigment, rotation, eye_centres, gazes, iris, teeth, cloth, frame_colour, hat, lights, slope,
    axes, extent, shadow, softness, image,
):
    # fmt: on
    """Write linear light to ``image`` wherever ``face`` shows a triangle.

    Parameters
    ----------
    face, bary
        The z-buffer (:func:`.raster.rasterise`).
    vertices, normals, paint : float64 (n, 3)
        The posed mesh, and the points at which skin, cloth, ... are computed.
    uv : float32 (m, 3, 2)
        Places in the masks.
    triangles : int32 (m, 3)
    part : int8 (m,)
    occlusion : float64 (n,)
        Ambient visibility, 0 to 1.
    table : float32 (32, 32, 32)
        The noise lattice.
    skin, moles, masks, pigment
        As :func:`.skin.skin_at`.
    rotation : float64 (3, 3)
        Of the head.
    eye_centres, gazes : float64 (2, 3), (2, 3, 3)
        Centres of the eyeballs; right, up and line of sight of each.
    iris, teeth
        As :func:`.eyes.eye_numbers`; teeth have their ambient visibility as a fourth number.
    cloth : float64 (20,)
        As :meth:`.clothes.Clothes.packed`.
    frame_colour, hat : float64 (3,), (4,)
        Linear RGB of the glasses; linear RGB and kind of the hat.
    lights, slope
        As :meth:`.light.Light.packed`, and the ambient light's sideways gradient.
    axes, extent, shadow
        The key light's depth map, as in :func:`.strands.lit_share`.
    softness : float
        Of the shadow's edge, as :class:`.light.Light` has it.
    image : float64 (H, W, 3)
    """
    height, width = face.shape
    second = pigment.shape[0] > 1
    half = np.array([lights[0, 0], lights[0, 1], lights[0, 2] + 1.0])
    _normalise(half)
    p, n, q = np.zeros(3), np.zeros(3), np.zeros(3)
    colour, bump, outward = np.zeros(3), np.zeros(3), np.zeros(3)
    for y in range(height):
        for x in range(width):
            f = face[y, x]
            if f < 0:
                continue
            kind = part[f]
            i0, i1, i2 = triangles[f, 0], triangles[f, 1], triangles[f, 2]
            b1, b2 = bary[y, x, 0], bary[y, x, 1]
            b0 = 1 - b1 - b2
            for d in range(3):
                p[d] = vertices[i0, d] * b0 + vertices[i1, d] * b1 + vertices[i2, d] * b2
                n[d] = normals[i0, d] * b0 + normals[i1, d] * b1 + normals[i2, d] * b2
                q[d] = paint[i0, d] * b0 + paint[i1, d] * b1 + paint[i2, d] * b2
            _normalise(n)
            sky = occlusion[i0] * b0 + occlusion[i1] * b1 + occlusion[i2] * b2
            gloss, power, wrap_r, wrap_g, wrap_b = 0.0, 20.0, 0.0, 0.0, 0.0
            if kind == BODY:
                covered, edge = cloth_at(table, cloth, q, colour, bump)
                if covered > 0:
                    wrap_r = wrap_g = wrap_b = 0.1
                else:
                    u = uv[f, 0, 0] * b0 + uv[f, 1, 0] * b1 + uv[f, 2, 0] * b2
                    v = uv[f, 0, 1] * b0 + uv[f, 1, 1] * b1 + uv[f, 2, 1] * b2
                    lip, inside, gloss = skin_at(
                        table, skin, moles, masks, pigment, q, u, v, colour, bump
                    )
                    sky *= (1 - 0.75 * inside) * edge
                    if second:  # sockets and folds lie deeper than in the template's map
                        sky = sky**1.3
                    power = skin[GLOSS] * (1 + 1.2 * lip)
                    wrap_r, wrap_g, wrap_b = 0.32, 0.19, 0.14
                # the bump is in the template's coordinates; only its tangential part tilts the
                # normal
                tx = rotation[0, 0] * bump[0] + rotation[0, 1] * bump[1] + rotation[0, 2] * bump[2]
                ty = rotation[1, 0] * bump[0] + rotation[1, 1] * bump[1] + rotation[1, 2] * bump[2]
                tz = rotation[2, 0] * bump[0] + rotation[2, 1] * bump[1] + rotation[2, 2] * bump[2]
                along = tx * n[0] + ty * n[1] + tz * n[2]
                n[0] = n[0] + tx - along * n[0]
                n[1] = n[1] + ty - along * n[1]
                n[2] = n[2] + tz - along * n[2]
                _normalise(n)
            elif kind in (LEFT_EYE, RIGHT_EYE):
                e = kind - LEFT_EYE
                for d in range(3):
                    n[d] = p[d] - eye_centres[e, d]
                    outward[d] = rotation[d, 1]
                _normalise(n)
                sky = eyeball(table, n, outward, gazes[e], iris, colour)
                gloss, power = 0.55, 240.0
                if iris[5] > 0:
                    gloss, power = 0.40, 420.0
            elif kind in (UPPER_TEETH, LOWER_TEETH):
                if second:
                    gum = _tooth(q, kind == UPPER_TEETH, teeth, colour)
                    sky, gloss, power = teeth[3] * (1 - 0.4 * gum), 0.10 * teeth[3], 60.0
                    if n[1] < 0 and kind == UPPER_TEETH:  # the edge is rounded less than the mesh
                        n[1] *= 0.3
                        _normalise(n)
                else:
                    cell = q[0] * 12.5 + 0.5
                    gap = 0.88 + 0.12 * step(0.02, 0.10, abs(cell - floor(cell) - 0.5))
                    dim = step(0.40, 0.14, abs(q[0]))
                    for d in range(3):
                        colour[d] = teeth[d] * gap * (0.62 + 0.38 * dim) * (1.22 - 0.07 * d)
                    sky, gloss, power = teeth[3], 0.12 * teeth[3], 50.0
            elif kind == TONGUE:
                colour[0], colour[1], colour[2] = 0.34, 0.10, 0.10
                sky, gloss, power = 0.45, 0.08, 30.0
            else:
                if n[2] < 0:
                    n[0], n[1], n[2] = -n[0], -n[1], -n[2]
                if kind == FRAME:
                    for d in range(3):
                        colour[d] = frame_colour[d]
                    gloss, power = 0.3, 50.0
                elif kind == HAT:
                    _hat(table, q, hat, colour)
                    sky, wrap_r, wrap_g, wrap_b = 0.95, 0.12, 0.12, 0.12
                elif kind == COLLAR:
                    weave = 1 + 0.04 * noise(table, q[0] * 60, q[1] * 60, q[2] * 60, 3)
                    for d in range(3):
                        colour[d] = (cloth[10 + d] if cloth[8] == 4 else cloth[d]) * weave
                    sky, wrap_r, wrap_g, wrap_b = 0.9, 0.1, 0.1, 0.1
                elif kind == TIE:
                    for d in range(3):
                        colour[d] = cloth[13 + d] * (1 + 0.06 * sin(90 * (q[0] + q[1])))
                    sky, gloss, power, wrap_r, wrap_g, wrap_b = 0.9, 0.05, 20.0, 0.1, 0.1, 0.1
            facing = n[0] * lights[0, 0] + n[1] * lights[0, 1] + n[2] * lights[0, 2]
            # under grazing light the depth map's pixels are far apart in depth, and the surface
            # would shade itself
            bias = 0.026 + 0.034 * (1 - facing) / max(facing, 0.15)
            lit = 0.0
            if facing > -0.4 and second:
                lit = lit_plane(shadow, axes, p, n, extent, 0.022, softness, x, y)
            elif facing > -0.4:
                lit = lit_share(shadow, axes, p[0], p[1], p[2], extent, bias, softness)
            if kind in (UPPER_TEETH, LOWER_TEETH):
                lit = 0.70 + 0.30 * lit  # lips let light through
            facing_fill = n[0] * lights[2, 0] + n[1] * lights[2, 1] + n[2] * lights[2, 2]
            fill = max((facing_fill + 0.3) / 1.3, 0.0)
            up, side = 0.5 + 0.5 * n[1], max(1 + slope * n[0], 0.2)
            mirrored = max(n[0] * half[0] + n[1] * half[1] + n[2] * half[2], 0.0)
            shine = gloss * mirrored**power * max(facing, 0.0) * lit * (power + 8) / 30
            rim = (1 - min(max(n[2], 0.0), 1.0)) ** 4
            for d in range(3):
                wrap = wrap_r if d == 0 else wrap_g if d == 1 else wrap_b
                through = lit + (1 - lit) * (0.10 if d == 0 and wrap_r > 0.3 else 0.0)
                direct = max((facing + wrap) / (1 + wrap), 0.0) * through * (0.45 + 0.55 * sky)
                # light reflected inside a hollow takes the skin's colour: creases are not grey
                bounced = 1 + 0.35 * colour[d] * (1 - sky)
                ambient = (lights[5, d] + (lights[4, d] - lights[5, d]) * up) * side * sky
                around = ambient * bounced + lights[3, d] * fill * sky
                diffuse = colour[d] * (lights[1, d] * direct + around)
                image[y, x, d] = diffuse + lights[1, d] * shine * sky + rim * gloss * 0.6 * around
