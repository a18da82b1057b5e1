"""Brows and beards: short strands attached to points of the skin, so they follow expressions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lrface.data.synthetic.assets import LIPS, MOUTH, Head, place, scatter
from lrface.data.synthetic.identities import Identity
from lrface.data.synthetic.kernel import smoothstep, unit
from lrface.data.synthetic.skin import beard_density
from lrface.data.synthetic.streams import IDENTITY, stream


@dataclass(frozen=True)
class Brows:
    """Strands all of whose points are attached to skin triangles."""

    corners: np.ndarray
    """int32 (n, k, 3): corner vertices of the triangle under each point."""
    weights: np.ndarray
    """float64 (n, k, 3): barycentric weights in it."""
    offsets: np.ndarray
    """float64 (n, k): height over the skin, decimetres."""
    colours: np.ndarray
    """float64 (n, 3), linear RGB."""
    anchors: tuple[np.ndarray, np.ndarray]
    """Corner vertices (10, 3) and weights (10, 3) of the iBUG points 17-26, which are on these
    brows and not at fixed vertices of the mesh."""

    def pose(self, vertices: np.ndarray, normals: np.ndarray) -> np.ndarray:
        """Points (n, k, 3) on a posed mesh."""
        outward = unit(place(normals, self.corners, self.weights))
        return place(vertices, self.corners, self.weights) + outward * self.offsets[..., None]


@dataclass(frozen=True)
class Beard:
    """Strands that are rooted in the skin and fall."""

    corners: np.ndarray
    """int32 (n, 3): corner vertices of the triangle under each root."""
    weights: np.ndarray
    """float64 (n, 3): barycentric weights in it."""
    lengths: np.ndarray
    """float64 (n,), decimetres."""
    jitter: np.ndarray
    """float64 (n, 3), added to the directions."""
    colours: np.ndarray
    """float64 (n, 3), linear RGB."""

    def pose(self, vertices: np.ndarray, normals: np.ndarray, rotation: np.ndarray) -> np.ndarray:
        """Points (n, 4, 3) on a posed mesh, whose head is rotated by ``rotation`` (3, 3)."""
        root = place(vertices, self.corners, self.weights)
        normal = unit(place(normals, self.corners, self.weights))
        down = rotation[:, 1] * -1 + rotation[:, 2] * 0.15
        k = np.linspace(0, 1, 4)[None, :, None]
        along, length = unit(0.5 * normal + 0.8 * down + self.jitter), self.lengths[:, None, None]
        return root[:, None] + along[:, None] * length * k + down * (0.3 * length) * k**2


def _groomed(
    rng: np.random.Generator, identity: Identity, side: int, middle, span: tuple[float, float]
) -> np.ndarray:
    """Hairs (n, 4, 2) of one brow as they grow: up at the nose, then along the brow.

    Those above the line ``middle(t)`` lean down to it and those below up: a brow is dense in its
    middle and soft at its edges. ``span`` are its ends, ``side`` is -1 or 1.
    """
    male, bushy = identity.gender == "male", identity.scores["Bushy_Eyebrows"]
    start, end = span
    count = int((760 + 260 * male) * np.exp(0.30 * np.clip(bushy, -1.2, 2.2)))
    thick = (0.050 if male else 0.041) * float(np.exp(0.16 * bushy))
    t = rng.beta(1.0, 1.3, count)
    across = np.clip(rng.normal(0, 0.45, count), -1, 1)  # from -1 below to 1 above
    wide = thick * (0.66 + 0.34 * smoothstep(0, 0.22, t)) * (1 - 0.70 * smoothstep(0.3, 1, t))
    x, y = start + (end - start) * t, middle(t) + across * wide
    slope = np.degrees(np.arctan2(middle(t + 0.01) - middle(t - 0.01), 0.02 * (end - start)))
    rise = np.interp(t, (0, 0.08, 0.22, 0.55, 1), (64, 42, 26, 12, 2))
    angle = np.radians(slope + rise - 26 * across + rng.normal(0, 7, count))
    length = (0.048 + 0.032 * rng.random(count)) * (1 - 0.35 * t)
    length *= (0.55 + 0.45 * smoothstep(0, 0.15, t)) * (1.0 if male else 0.88)
    length *= 1.15 if identity.attributes["Bushy_Eyebrows"] else 1.0
    k = np.linspace(0, 1, 4)[None]
    bent = angle[:, None] - 0.40 * k
    along = side * (x[:, None] + length[:, None] * k * np.cos(bent))
    return np.stack([along, y[:, None] + length[:, None] * k * np.sin(bent)], -1)


def _level(template: Head, vertices: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Heights (k,) on the template whose places on a person's mesh (n, 3) are at heights ``y``.

    The forehead's shape differs between people, and would tilt one pair of brows to a frown.
    """
    on_template = y.copy()
    for _ in range(3):
        both = [template.behind(side * x, on_template)[:2] for side in (-1, 1)]
        seen = np.mean([place(vertices, *one)[..., 1] for one in both], 0)
        on_template += np.clip(0.8 * (y - seen), -0.06, 0.06)
    return np.convolve(np.pad(on_template, 1, "edge"), (0.25, 0.5, 0.25), "valid")


def grow_brows(identity: Identity, template: Head, vertices: np.ndarray) -> Brows:
    """A person's brows: random in thickness, arch, slope and place, and as their attributes say.

    ``vertices`` (n, 3) is the person's mesh without expression.
    """
    rng = stream(identity.seed, identity.number, IDENTITY, "brows")
    male, wild = identity.gender == "male", identity.attributes["Bushy_Eyebrows"]
    bushy, arched = identity.scores["Bushy_Eyebrows"], identity.scores["Arched_Eyebrows"]
    count = int(520 + 110 * male + 90 * np.clip(bushy, -1.5, 2.5))
    thick = (0.026 if male else 0.022) * float(np.exp(0.30 * bushy))
    arch = 0.026 + 0.012 * arched - 0.012 * male
    u = rng.random(4)
    start, end = 0.125 + 0.065 * (u[0] - 0.3), 0.53 + 0.06 * (u[1] - 0.5)
    base, tail = 7.470 + 0.045 * (u[2] - 0.5), 0.014 + 0.022 * u[3]
    groomed = identity.generation > 1
    if groomed:
        start, end = 0.135 + 0.05 * (u[0] - 0.5), 0.600 + 0.05 * (u[1] - 0.5)
        arch = float(np.clip(0.060 + 0.020 * arched - 0.018 * male, 0.02, 0.11))
        base, tail = base - 0.036, 0.9 * arch + 0.024 + 0.04 * (u[3] - 0.5)

    def midline(t):  # height at t, from 0 at the nose to 1 at the temple
        if groomed:
            return np.interp(t, steps, heights)
        bow = arch * np.sin(np.pi * np.clip(t * 0.85 + 0.08, 0, 1)) * 1.5
        return base + bow - tail * smoothstep(0.55, 1, t) + 0.016 * (1 - t) ** 2

    if groomed:  # up to the arch over the outer edge of the iris, and down to the temple
        steps = np.linspace(0, 1, 12)
        shape = base + arch * smoothstep(-0.25, 0.72, steps) - tail * smoothstep(0.56, 1.08, steps)
        heights = _level(template, vertices, start + (end - start) * steps, shape)
    strands = []
    for side in (-1, 1):
        if groomed:
            strands.append(_groomed(rng, identity, side, midline, (start, end)))
            continue
        t = rng.random(count) ** 0.9
        taper = (1 - 0.68 * t**2) * (0.55 + 0.45 * smoothstep(0, 0.25, t))
        middle = midline(t)
        x = start + (end - start) * t
        y = middle + (rng.random(count) + rng.random(count) - 1) * thick * taper * 1.15
        degrees = 36 - 32 * smoothstep(0, 0.4, t) - 18 * t + rng.normal(0, 8, count)
        angle = np.radians(degrees) - 0.3 * (y - middle) / thick
        length = (0.036 + 0.026 * rng.random(count)) * (1.2 if wild else 1.0)
        k = np.linspace(0, 1, 4)[None]
        bent = angle[:, None] - 0.5 * k
        across = side * (x[:, None] + length[:, None] * k * np.cos(bent))
        strands.append(np.stack([across, y[:, None] + length[:, None] * k * np.sin(bent)], -1))
    xy = np.concatenate(strands)
    corners, weights, found = template.behind(xy[..., 0], xy[..., 1])
    keep = found.all(1)
    darker = {"blond": 0.50, "lightbrown": 0.65, "red": 0.65, "white": 0.30, "grey": 0.42}
    if groomed:
        darker = {name: 0.8 * share for name, share in darker.items()}
    share = darker.get(identity.hair_colour, 0.95)  # brows are darker than light hair
    colour = 0.85 * np.array(identity.hair) * share + 0.07 * np.array(identity.tone)
    colours = colour[None] * np.exp(rng.normal(0, 0.15, (len(xy), 1)))
    offsets = np.broadcast_to(np.array([0.003, 0.009, 0.010, 0.007]), xy.shape[:2])
    outward = np.array([1.0, 0.78, 0.53, 0.28, 0.02])
    x, y = start + (end - start) * outward, midline(outward)
    if groomed:  # hairs rise from their roots, but at the ends they lie flat or are few
        y = y + 0.014 * np.sin(np.pi * outward) - 0.014 * outward**4
    anchors = template.behind(np.concatenate([-x, x[::-1]]), np.concatenate([y, y[::-1]]))[:2]
    return Brows(corners[keep], weights[keep], offsets[keep], colours[keep], anchors)


def grow_beard(identity: Identity, template: Head) -> Beard | None:
    """A person's beard, or None."""
    if not identity.beard:
        return None
    rng = stream(identity.seed, identity.number, IDENTITY, "beard")
    c = template.centres
    density = np.array([beard_density(x, y, z) for x, y, z in c])
    masks = template.skin_masks
    density *= (masks[LIPS] < 0.3) & (masks[MOUTH] < 0.2) & (c[:, 1] > 6.05)
    across = np.abs(c[:, 0])
    upper_lip = (across < 0.36) & (c[:, 1] > 6.58) & (c[:, 2] > 1.1)
    chin = (across < 0.25) & (c[:, 1] < 6.58) & (c[:, 2] > 0.95)
    u = rng.random(2)
    parts = {  # density, number of strands, length
        "stubble": (density, 4500, 0.020),
        "mustache": (density * upper_lip, 1900, 0.026 + 0.016 * u[0]),
        "goatee": (density * chin, 2600, 0.040 + 0.05 * u[0]),
        "full": (density * ~upper_lip, 9000, 0.034 + 0.075 * u[1] ** 1.5),
    }
    corners, weights, lengths = [], [], []
    for kind in identity.beard:
        where, count, length = parts[kind]
        a, b = scatter(rng, template, where, count)
        x = place(template.vertices, a, b)[:, 0]
        corners.append(a)
        weights.append(b)
        at_the_side = np.where(np.abs(x) > 0.5, 0.55, 1.0)
        lengths.append(length * (0.5 + 0.8 * rng.random(count)) * at_the_side)
    a, b, lengths = np.concatenate(corners), np.concatenate(weights), np.concatenate(lengths)
    colours = 1.05 * np.array(identity.hair)[None] * np.exp(rng.normal(0, 0.22, (len(a), 1)))
    return Beard(a, b, lengths, 0.20 * rng.normal(size=(len(a), 3)), colours)
