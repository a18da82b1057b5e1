"""Brows and beards: short strands tied to places on the skin, so they follow every expression."""

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
    """Strands whose points each sit on a skin triangle."""

    corners: np.ndarray
    """int32 (n, k, 3)."""
    weights: np.ndarray
    offsets: np.ndarray
    """Height over the skin (n, k), decimetres."""
    colours: np.ndarray
    anchors: tuple[np.ndarray, np.ndarray]
    """Corner vertices (10, 3) and weights of iBUG's points 17-26, which lie on these brows and not
    at a fixed place."""

    def pose(self, vertices: np.ndarray, normals: np.ndarray) -> np.ndarray:
        """Points (n, k, 3) on a posed mesh."""
        return (
            place(vertices, self.corners, self.weights)
            + unit(place(normals, self.corners, self.weights)) * self.offsets[..., None]
        )


@dataclass(frozen=True)
class Beard:
    """Strands that start on the skin and fall."""

    corners: np.ndarray
    weights: np.ndarray
    lengths: np.ndarray
    jitter: np.ndarray
    colours: np.ndarray

    def pose(self, vertices: np.ndarray, normals: np.ndarray, rotation: np.ndarray) -> np.ndarray:
        """Points (n, 4, 3) on a posed mesh."""
        root, normal = (
            place(vertices, self.corners, self.weights),
            unit(place(normals, self.corners, self.weights)),
        )
        down = rotation[:, 1] * -1 + rotation[:, 2] * 0.15
        k = np.linspace(0, 1, 4)[None, :, None]
        along, length = unit(0.5 * normal + 0.8 * down + self.jitter), self.lengths[:, None, None]
        return root[:, None] + along[:, None] * length * k + down * (0.3 * length) * k**2


def grow_brows(identity: Identity, template: Head) -> Brows:
    """Brows by thickness, arch, slope and place, drawn once a person."""
    rng = stream(identity.seed, identity.number, IDENTITY, "brows")
    male, bushy, arched = (
        identity.gender == "male",
        identity.scores["Bushy_Eyebrows"],
        identity.scores["Arched_Eyebrows"],
    )
    wild = identity.attributes["Bushy_Eyebrows"]
    count = int(520 + 110 * male + 90 * np.clip(bushy, -1.5, 2.5))
    thick = (0.026 if male else 0.022) * float(np.exp(0.30 * bushy))
    arch = 0.026 + 0.012 * arched - 0.012 * male
    u = rng.random(4)
    start, end = 0.125 + 0.065 * (u[0] - 0.3), 0.53 + 0.06 * (u[1] - 0.5)
    base, tail = 7.470 + 0.045 * (u[2] - 0.5), 0.014 + 0.022 * u[3]

    def midline(t):
        return (
            base
            + arch * np.sin(np.pi * np.clip(t * 0.85 + 0.08, 0, 1)) * 1.5
            - tail * smoothstep(0.55, 1, t)
            + 0.016 * (1 - t) ** 2
        )

    strands = []
    for side in (-1, 1):
        t = rng.random(count) ** 0.9
        taper = (1 - 0.68 * t**2) * (0.55 + 0.45 * smoothstep(0, 0.25, t))
        middle = midline(t)
        x = start + (end - start) * t
        y = middle + (rng.random(count) + rng.random(count) - 1) * thick * taper * 1.15
        angle = (
            np.radians(36 - 32 * smoothstep(0, 0.4, t) - 18 * t + rng.normal(0, 8, count))
            - 0.3 * (y - middle) / thick
        )
        length = (0.036 + 0.026 * rng.random(count)) * (1.2 if wild else 1.0)
        k = np.linspace(0, 1, 4)[None]
        bent = angle[:, None] - 0.5 * k
        strands.append(
            np.stack(
                [
                    side * (x[:, None] + length[:, None] * k * np.cos(bent)),
                    y[:, None] + length[:, None] * k * np.sin(bent),
                ],
                -1,
            )
        )
    xy = np.concatenate(strands)
    corners, weights, found = template.behind(xy[..., 0], xy[..., 1])
    keep = found.all(1)
    darker = {"blond": 0.50, "lightbrown": 0.65, "red": 0.65, "white": 0.30, "grey": 0.42}.get(
        identity.hair_colour, 0.95
    )
    colour = 0.85 * np.array(identity.hair) * darker + 0.07 * np.array(identity.tone)
    colours = colour[None] * np.exp(rng.normal(0, 0.15, (len(xy), 1)))
    offsets = np.broadcast_to(np.array([0.003, 0.009, 0.010, 0.007]), xy.shape[:2])
    outward = np.array([1.0, 0.78, 0.53, 0.28, 0.02])
    x, y = start + (end - start) * outward, midline(outward)
    anchors = template.behind(np.concatenate([-x, x[::-1]]), np.concatenate([y, y[::-1]]))[:2]
    return Brows(corners[keep], weights[keep], offsets[keep], colours[keep], anchors)


def grow_beard(identity: Identity, template: Head) -> Beard | None:
    """The beard, or None; stubble is the shortest."""
    if not identity.beard:
        return None
    rng = stream(identity.seed, identity.number, IDENTITY, "beard")
    c = template.centres
    density = np.array([beard_density(x, y, z) for x, y, z in c])
    density *= (
        (template.skin_masks[LIPS] < 0.3) & (template.skin_masks[MOUTH] < 0.2) & (c[:, 1] > 6.05)
    )
    across = np.abs(c[:, 0])
    upper_lip = (across < 0.36) & (c[:, 1] > 6.58) & (c[:, 2] > 1.1)
    chin = (across < 0.25) & (c[:, 1] < 6.58) & (c[:, 2] > 0.95)
    u = rng.random(2)
    parts = {
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
        lengths.append(
            length * (0.5 + 0.8 * rng.random(count)) * np.where(np.abs(x) > 0.5, 0.55, 1.0)
        )
    a, b, lengths = np.concatenate(corners), np.concatenate(weights), np.concatenate(lengths)
    colours = 1.05 * np.array(identity.hair)[None] * np.exp(rng.normal(0, 0.22, (len(a), 1)))
    return Beard(a, b, lengths, 0.20 * rng.normal(size=(len(a), 3)), colours)
