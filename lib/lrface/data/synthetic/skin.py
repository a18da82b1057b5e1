"""Skin: albedo, bump and gloss at every point of the template, by formulas and without a texture.

So there are no seams, and a person is 32 numbers (:func:`skin_numbers`). Places such as "cheek" or
"under the eyes" are Gaussians and steps in template coordinates (decimetres; see :mod:`.assets`),
placed by eye on the mesh.
"""

from __future__ import annotations

from math import atan2, exp, floor, sqrt

import numpy as np

from lrface.data.synthetic.assets import EARS, EYELIDS, LIPS, MOUTH, Head, place, scatter
from lrface.data.synthetic.identities import Identity
from lrface.data.synthetic.kernel import inline, kernel, linear, smoothstep
from lrface.data.synthetic.noise import noise, step
from lrface.data.synthetic.skin_maps import factor
from lrface.data.synthetic.streams import IDENTITY, stream

# Positions of the skin's numbers in the vector that kernels take: colours (3) TONE, LIP and HAIR;
# redness BLOOD and BLUSH; strengths of uneven colour BLOTCH, FRECKLE, WRINKLE, FOLD (nose to
# mouth), CIRCLES (under the eyes), beard SHADOW, SCALP (hair colour under hair), BUMP; make-up
# LIP_COVER, EYESHADOW, LASHLINE; highlights OIL (strength) and GLOSS (exponent); the hairline's
# LINE (shift) and RECEDING; SEED of the noise; of the second generation GRAIN, PORES and SPOTS.
TONE, BLOOD, BLOTCH, FRECKLE, WRINKLE, SHADOW = 0, 3, 4, 5, 6, 7
LIP, LIP_COVER, OIL, SEED, BUMP, HAIR, SCALP, EYESHADOW = 8, 11, 12, 13, 14, 15, 18, 19
LINE, RECEDING, CIRCLES, GLOSS, BLUSH, LASHLINE, FOLD = 20, 21, 22, 23, 24, 25, 26
GRAIN, PORES, SPOTS = 27, 28, 29
LENGTH = 32
# fmt: off
LIPSTICKS = linear([
    (168, 52, 60), (164, 78, 84), (140, 52, 60), (186, 104, 98), (158, 92, 82), (178, 100, 104),
])
# fmt: on
"""Linear RGB of lipsticks on fair skin."""


@kernel
def hairline(turn, shift, receding):
    """Height of the hairline on the template, decimetres.

    ``turn`` is the azimuth in radians from straight ahead; ``shift`` raises the line in front,
    ``receding`` (0 to 1) at the temples.
    """
    d = abs(turn) * 57.2958
    if d < 25:
        h = 7.97 + 0.02 * d / 25 + receding * 0.22 * d / 25
    elif d < 45:
        h = 7.99 - 0.12 * (d - 25) / 20 + receding * 0.22
    elif d < 62:
        h = 7.87 - 0.17 * (d - 45) / 17 + receding * 0.22 * (62 - d) / 17
    elif d < 74:
        h = 7.70 - 0.16 * (d - 62) / 12
    elif d < 80:
        h = 7.54 - 0.26 * (d - 74) / 6
    elif d < 92:
        h = 7.28
    elif d < 104:
        h = 7.28 + 0.20 * (d - 92) / 12
    elif d < 125:
        h = 7.48 - 0.45 * (d - 104) / 21
    else:
        h = 7.03 - 0.18 * (d - 125) / 55
    return h + shift * (1 - d / 62) if d < 62 else h


@kernel
def beard_density(x, y, z):
    """Density of a beard, 0 to 1, at a template point: jaw and chin, and the upper lip."""
    ax = abs(x)
    line = 6.92 - 0.70 * (0.62 - ax) + (0.25 if ax > 0.58 else 0.0)
    jaw = step(0.0, 0.16, line - y) * step(0.45, 0.62, z) * step(5.95, 6.2, y)
    lip = step(0.34, 0.24, ax) * step(6.86, 6.80, y) * step(6.60, 6.68, y) * step(1.2, 1.3, z)
    return max(jaw, lip)


@inline
def sample_mask(mask, u, v):
    """A uint8 mask at texture place (u, v), bilinear, in [0, 1]."""
    height, width = mask.shape
    x, y = u * width - 0.5, (1 - v) * height - 0.5
    i, j = int(floor(x)), int(floor(y))
    fx, fy = x - i, y - j
    i0, i1, j0, j1 = max(i, 0), min(i + 1, width - 1), max(j, 0), min(j + 1, height - 1)
    return (
        (mask[j0, i0] * (1 - fx) + mask[j0, i1] * fx) * (1 - fy)
        + (mask[j1, i0] * (1 - fx) + mask[j1, i1] * fx) * fy
    ) / 255.0


@kernel
def wrinkles(table, s, q, colour, bump, seed):
    """Forehead lines, crow's feet and lines under the eyes.

    Darkens ``colour`` (3,) and adds to the normal's tilt ``bump`` (3,), in place.
    """
    amount, ax = s[WRINKLE], abs(q[0])
    if 7.56 < q[1] < 8.0 and q[2] > 0.8 and ax < 0.5:
        phase = (
            q[1] + 0.05 * noise(table, q[0] * 4, q[1] * 3, 0.0, seed + 60) + 0.12 * ax * ax
        ) / 0.085
        f = phase - floor(phase) - 0.5
        a = (
            amount
            * step(7.56, 7.66, q[1])
            * step(8.0, 7.88, q[1])
            * step(0.5, 0.28, ax)
            * (0.55 + 0.45 * noise(table, q[0] * 5, floor(phase), 1.0, seed + 61))
        )
        g = exp(-((f / 0.16) ** 2))
        bump[1] += a * 4.0 * f * g
        for d in range(3):
            colour[d] *= 1 - 0.20 * a * g
    ex, ey = ax - 0.50, q[1] - 7.27
    r = sqrt(ex * ex + ey * ey)
    if ex > 0 and r < 0.26 and q[2] > 0.6:
        angle = atan2(ey, ex) / 0.38 + noise(table, q[0] * 5, q[1] * 5, 2.0, seed + 63) * 0.3
        f = angle - floor(angle) - 0.5
        a = amount * step(0.02, 0.08, r) * step(0.26, 0.12, r)
        g = exp(-((f / 0.18) ** 2))
        bump[1] += a * 2 * f * g
        for d in range(3):
            colour[d] *= 1 - 0.20 * a * g
    if q[1] < 7.22 and q[2] > 0.8:
        r = sqrt(((ax - 0.30) / 0.22) ** 2 + ((q[1] - 7.30) / 0.20) ** 2)
        if 0.6 < r < 1.25:
            for k in range(2):
                f = (r - (0.80 + 0.22 * k)) / 0.06
                g = exp(-f * f) * amount * (0.8 - 0.3 * k)
                bump[1] += 0.4 * f * g
                for d in range(3):
                    colour[d] *= 1 - 0.15 * g


@inline
def _fine(table, s, q, colour, seed):
    """What is finer than a map of skin: mottling, pores and blemishes, in place on ``colour``."""
    a = noise(table, q[0] * 38, q[1] * 38, q[2] * 38, seed + 101)
    b = noise(table, q[0] * 84, q[1] * 84, q[2] * 84, seed + 103)
    c = noise(table, q[0] * 190, q[1] * 190, q[2] * 190, seed + 105)
    fine = s[GRAIN] * (0.35 * a + 0.30 * b + 0.35 * c)
    pore = s[PORES] * step(0.35, 0.8, c) * (0.6 + 0.4 * a)
    near = noise(table, q[0] * 44, q[1] * 44, q[2] * 44, seed + 107) + 0.3 * b
    spot = s[SPOTS] * step(0.62, 0.95, near)
    colour[0] *= (1 + fine) * (1 - 0.55 * pore) * (1 - 0.04 * spot)
    colour[1] *= (1 + 1.1 * fine) * (1 - 0.70 * pore) * (1 - 0.22 * spot)
    colour[2] *= (1 + 1.15 * fine) * (1 - 0.75 * pore) * (1 - 0.20 * spot)


@kernel
def skin_at(table, s, moles, masks, pigment, q, u, v, colour, bump):
    """Skin at template point ``q`` (3,), whose place in the masks is (u, v).

    Writes the linear RGB albedo to ``colour`` (3,) and the tilt of the normal to ``bump`` (3,).
    ``s`` are the skin's numbers (LENGTH,), ``moles`` (k, 5) as :func:`moles`, ``pigment`` as
    :func:`.skin_maps.skin_map`. Returns the masks of
    the lips and of the inside of the mouth, and the strength of the highlight.
    """
    seed, ax = int(s[SEED]), abs(q[0])
    lip, ear = sample_mask(masks[LIPS], u, v), sample_mask(masks[EARS], u, v)
    inside = sample_mask(masks[MOUTH], u, v)
    low = noise(table, q[0] * 3, q[1] * 3, q[2] * 3, seed)
    mid = 0.65 * noise(table, q[0] * 11, q[1] * 11, q[2] * 11, seed + 7) + 0.35 * noise(
        table, q[0] * 23, q[1] * 23, q[2] * 23, seed + 8
    )
    high = noise(table, q[0] * 52, q[1] * 52, q[2] * 52, seed + 17)
    grain = 1 + s[BLOTCH] * (0.06 * low + 0.05 * mid + 0.05 * high)
    cheek = exp(-(((ax - 0.40) / 0.24) ** 2 + ((q[1] - 6.95) / 0.20) ** 2))
    tip = exp(-((q[0] / 0.16) ** 2 + ((q[1] - 6.93) / 0.14) ** 2)) * step(1.2, 1.4, q[2])
    chin = exp(-((q[0] / 0.22) ** 2 + ((q[1] - 6.27) / 0.12) ** 2))
    red = (
        max(cheek * (0.6 + s[BLUSH]) + 0.7 * tip + 0.7 * ear + 0.4 * chin + 0.25 * mid, -0.3)
        * s[BLOOD]
    )
    colour[0] = s[TONE] * grain * (1 + 0.02 * red)
    colour[1] = s[TONE + 1] * grain * (1 - 0.15 * red)
    colour[2] = s[TONE + 2] * grain * (1 - 0.12 * red)
    if pigment.shape[0] > 1:
        # the maps' painted hair shows through at the temples, where ours may not cover it
        own = 1 - step(0.53, 0.64, ax) * step(7.08, 7.20, q[1])
        for d in range(3):
            colour[d] *= 1 + own * (factor(pigment, u, v, d) - 1)
        _fine(table, s, q, colour, seed)
    socket = exp(-(((ax - 0.31) / 0.20) ** 2 + ((q[1] - 7.30) / 0.13) ** 2)) * step(0.9, 1.05, q[2])
    under = exp(-(((ax - 0.29) / 0.16) ** 2 + ((q[1] - 7.13) / 0.05) ** 2))
    k = 1 - 0.10 * socket - s[CIRCLES] * 0.28 * under
    colour[0] *= k
    colour[1] *= k * (1 - 0.04 * socket - 0.05 * under * s[CIRCLES])
    colour[2] *= k
    if s[EYESHADOW] > 0:
        shade = s[EYESHADOW] * exp(-(((ax - 0.32) / 0.16) ** 2 + ((q[1] - 7.37) / 0.055) ** 2))
        colour[0] *= 1 - 0.45 * shade
        colour[1] *= 1 - 0.58 * shade
        colour[2] *= 1 - 0.42 * shade
    if s[FRECKLE] > 0:
        amount = (
            s[FRECKLE]
            * exp(-((q[0] / 0.55) ** 2 + ((q[1] - 7.02) / 0.25) ** 2))
            * step(0.8, 1.0, q[2])
        )
        if amount > 0.03:
            spot = (
                step(0.42, 0.72, noise(table, q[0] * 30, q[1] * 30, q[2] * 30, seed + 31)) * amount
            )
            colour[0] *= 1 - 0.28 * spot
            colour[1] *= 1 - 0.42 * spot
            colour[2] *= 1 - 0.48 * spot
    for m in range(moles.shape[0]):
        gap = (q[0] - moles[m, 0]) ** 2 + (q[1] - moles[m, 1]) ** 2 + (q[2] - moles[m, 2]) ** 2
        r = moles[m, 3]
        if gap < 2.2 * r * r:
            a = (1 - step(r * 0.6, r * 1.4, sqrt(gap))) * moles[m, 4]
            colour[0] *= 1 - 0.60 * a
            colour[1] *= 1 - 0.70 * a
            colour[2] *= 1 - 0.73 * a
    if s[SHADOW] > 0:
        a = min(max(beard_density(q[0], q[1], q[2]) * s[SHADOW] * (0.8 + 0.4 * high), 0.0), 0.85)
        for d in range(3):
            colour[d] *= 1 - a
            colour[d] += a * ((0.36 + 0.05 * d) * colour[d] / max(1 - a, 0.1) + 0.2 * s[HAIR + d])
    fine = s[BUMP]
    for d in range(3):
        bump[d] = fine * (
            0.5 * noise(table, q[0] * 24, q[1] * 24, q[2] * 24, seed + 41 + d)
            + 0.6 * noise(table, q[0] * 66, q[1] * 66, q[2] * 66, seed + 44 + d)
        )
    if s[WRINKLE] > 0:
        wrinkles(table, s, q, colour, bump, seed)
    if s[FOLD] > 0 and 6.6 < q[1] < 7.0 and 0.15 < ax < 0.48 and q[2] > 1.0:
        # the nasolabial fold, from the wing of the nose to the corner of the mouth
        along = (6.98 - q[1]) / 0.36
        f = (ax - (0.215 + 0.165 * along)) / 0.022
        g = exp(-f * f) * s[FOLD] * step(-0.02, 0.2, along) * step(1.05, 0.6, along)
        bump[0] += (0.5 if q[0] > 0 else -0.5) * f * g
        for d in range(3):
            colour[d] *= 1 - 0.20 * g
    if lip > 0.01:
        streak = noise(table, q[0] * 55, q[1] * 10, q[2] * 6, seed + 70)
        a = lip * s[LIP_COVER]
        for d in range(3):
            colour[d] = colour[d] * (1 - a) + s[LIP + d] * (1 + 0.10 * streak) * a
        bump[0] += 0.22 * lip * streak
    if s[LASHLINE] > 0:
        lid = sample_mask(masks[EYELIDS], u, v)
        for d in range(3):
            colour[d] *= 1 - s[LASHLINE] * lid
    if inside > 0.02:
        colour[0] = colour[0] * (1 - inside) + 0.16 * inside
        colour[1] = colour[1] * (1 - inside) + 0.035 * inside
        colour[2] = colour[2] * (1 - inside) + 0.03 * inside
    if s[SCALP] > 0 and ear < 0.3 and q[1] > 6.8:
        edge = hairline(atan2(q[0], q[2] - 0.55), s[LINE], s[RECEDING]) + 0.025 * noise(
            table, q[0] * 20, q[1] * 20, q[2] * 20, 5
        )
        a = s[SCALP] * step(-0.05, 0.13, q[1] - edge) * 0.95
        for d in range(3):
            colour[d] = colour[d] * (1 - a) + s[HAIR + d] * 0.7 * a
    zone = 0.55 + 0.6 * exp(-((q[0] / 0.3) ** 2)) * step(6.7, 7.2, q[1])
    return lip, inside, s[OIL] * zone * (1 + 0.12 * high) * (1 + 1.4 * lip)


def skin_numbers(identity: Identity) -> np.ndarray:
    """The skin's numbers (LENGTH,) of a person without make-up."""
    rng = stream(identity.seed, identity.number, IDENTITY, "skin")
    u, s = rng.random(16), np.zeros(LENGTH)
    tone, hair = np.array(identity.tone), np.array(identity.hair)
    aged = float(smoothstep(30, 74, identity.age))
    fair, rosy = identity.depth < 0.25, identity.attributes["Rosy_Cheeks"]
    s[TONE : TONE + 3], s[HAIR : HAIR + 3] = tone, hair
    s[BLOOD] = (0.50 + 0.4 * u[0] + 0.4 * rosy) * (1 - 0.6 * identity.depth)
    s[BLUSH] = 0.8 * rosy * max(1 - identity.depth, 0.3)
    s[BLOTCH] = 0.6 + 0.6 * u[1] + 0.4 * aged
    s[FRECKLE] = (0.4 + 0.5 * u[2]) * (fair and identity.group == "White" and u[3] < 0.25)
    s[WRINKLE] = aged * (0.55 + 0.4 * u[4])
    s[FOLD] = 0.15 + 0.5 * aged
    if identity.gender == "male":
        shaved = (0.06 + 0.22 * u[5]) * (1 - 0.5 * identity.depth)
        stubble, full = "stubble" in identity.beard, "full" in identity.beard
        s[SHADOW] = shaved + 0.30 * stubble + 0.45 * full
    s[LIP : LIP + 3] = tone * ([0.80, 0.58, 0.58] if identity.depth < 0.55 else [0.84, 0.70, 0.72])
    s[LIP_COVER], s[OIL], s[BUMP] = 0.72, 0.06 + 0.08 * u[6], 0.05 + 0.06 * u[7] + 0.06 * aged
    s[SEED], s[GLOSS] = int(u[8] * 4096), 11 + 10 * u[9]
    s[SCALP] = {"bald": 0.0, "buzz": 0.80}.get(identity.hairstyle, 1.0)
    line = (0.01 if identity.gender == "male" else -0.045) + 0.04 * rng.normal()
    s[LINE], s[RECEDING] = np.clip(line, -0.12, 0.08), identity.receding
    s[CIRCLES] = u[10] * (0.15 + 0.25 * aged) + 0.5 * identity.attributes["Bags_Under_Eyes"]
    if identity.generation > 1:
        _with_map(s, identity, rng.random(6), aged)
    return s


def _with_map(s: np.ndarray, identity: Identity, u: np.ndarray, aged: float) -> None:
    """Change the numbers (LENGTH,) to those of skin that has a map, in place.

    The map has the redness of cheeks and lips and the circles under the eyes already.
    """
    s[GRAIN], s[PORES] = 0.028 + 0.03 * u[0] + 0.03 * aged, 0.10 * u[1]
    s[SPOTS] = 0.9 * u[2] ** 3 + 0.3 * aged
    s[BLOTCH] *= 0.5
    s[BLOOD] *= 0.5
    s[CIRCLES] *= 0.5
    s[LIP_COVER] = 0.25
    s[OIL] = 0.05 + 0.16 * u[3] ** 1.5
    s[GLOSS] = 8 + 14 * u[4]


def with_makeup(
    numbers: np.ndarray, identity: Identity, lipstick: bool, heavy: bool, rng: np.random.Generator
) -> np.ndarray:
    """A copy of the skin's numbers with the lipstick and make-up of one picture."""
    s, u = numbers.copy(), rng.random(5)
    if lipstick:
        shade = LIPSTICKS[int(u[0] * len(LIPSTICKS))]
        s[LIP : LIP + 3] = shade * (1 - 0.35 * identity.depth) * np.exp(0.2 * (u[1] - 0.5))
        s[LIP_COVER] = 0.45 + 0.35 * u[4] ** 2
    if heavy:
        s[EYESHADOW], s[BLUSH], s[LASHLINE] = 0.20 + 0.4 * u[2], s[BLUSH] + 0.12 + 0.2 * u[3], 0.10
        s[BLOTCH] *= 0.5
        s[CIRCLES] *= 0.4
    return s


def moles(identity: Identity, template: Head) -> np.ndarray:
    """Moles (k, 5), up to five: point on the template, radius in decimetres, strength in [0, 1]."""
    rng = stream(identity.seed, identity.number, IDENTITY, "moles")
    (x, y, z), masks = template.centres.T, template.skin_masks
    on_face = (np.abs(x) < 0.62) & (y > 6.1) & (y < 8) & (z > 0.7)
    where = on_face & (masks[MOUTH] < 0.2) & (masks[LIPS] < 0.1)
    if identity.generation > 1:  # one beside the mouth would look like a hole in the lip
        where &= (np.abs(x) > 0.34) | (y < 6.4) | (y > 6.8)
    count = int(rng.integers(0, 6))
    corners, weights = scatter(rng, template, where.astype(float), 6)
    count = min(count, 2) if identity.generation > 1 else count
    size = np.stack([0.008 + 0.013 * rng.random(6) ** 2, 0.4 + 0.5 * rng.random(6)], 1)
    return np.concatenate([place(template.vertices, corners, weights), size], 1)[:count]
