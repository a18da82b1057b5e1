"""Clothes: painted on shoulders and neck by template point, lifted off the skin by their thickness.

Shirts have a modelled collar, and ties a knot and a blade.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import atan2, cos, floor

import numpy as np

from lrface.data.synthetic.accessories import Mesh, grid_triangles
from lrface.data.synthetic.assets import Head
from lrface.data.synthetic.kernel import inline, kernel, linear, smoothstep
from lrface.data.synthetic.noise import noise

KINDS = ("crew", "vneck", "turtleneck", "shirt", "suit")
PATTERNS = ("plain", "stripes", "plaid", "pinstripes")

# fmt: off
_DYES = linear([
    (28, 30, 36), (44, 52, 74), (92, 96, 102), (198, 196, 190), (232, 230, 226), (96, 34, 38),
    (52, 74, 58), (122, 98, 74), (64, 92, 126), (150, 72, 66), (176, 154, 122), (84, 62, 92),
    (190, 142, 70), (58, 106, 112),
])
_SHIRTS = linear([
    (236, 236, 234), (198, 212, 230), (226, 214, 218), (214, 222, 214), (60, 66, 84),
    (150, 170, 200),
])
# fmt: on
_SUITS = linear([(30, 32, 38), (42, 48, 66), (74, 76, 82), (66, 54, 46)])
_TIES = linear([(110, 28, 36), (34, 48, 92), (30, 30, 34), (58, 84, 66), (130, 100, 52)])


@dataclass(frozen=True)
class Clothes:
    """What is worn in one picture; colours are linear RGB."""

    kind: str = "crew"
    """One of ``KINDS``."""
    colour: tuple[float, float, float] = (0.1, 0.12, 0.2)
    second: tuple[float, float, float] = (0.6, 0.6, 0.58)
    """Colour of the pattern."""
    pattern: str = "plain"
    """One of ``PATTERNS``."""
    pitch: float = 8.0
    """Stripes a decimetre."""
    rise: float = 0.0
    """How much higher the neckline is, decimetres."""
    shirt: tuple[float, float, float] = (0.8, 0.8, 0.8)
    """Colour of the shirt under a suit."""
    tie: tuple[float, float, float] | None = None
    textured: bool = False
    """Whether cloth has a weave and folds (second generation)."""

    @property
    def necktie(self) -> bool:
        """True if a tie is worn."""
        return self.tie is not None

    def packed(self) -> np.ndarray:
        """The numbers that kernels take, float64 (20,); the last two are unused."""
        pattern, kind = PATTERNS.index(self.pattern), KINDS.index(self.kind)
        tie = self.tie or (0.0, 0.0, 0.0)
        numbers = [*self.colour, *self.second, pattern, self.pitch, kind, self.rise]
        return np.array(
            [*numbers, *self.shirt, *tie, float(self.necktie), float(self.textured), 0, 0]
        )


@kernel
def neckline(x, z, kind, rise):
    """Height of the upper edge of a garment on the template at (x, z); ``kind`` by ``KINDS``."""
    front = 0.5 * (1 + cos(atan2(x, z - 0.22)))
    if kind == 2:
        return 6.10 + rise - 0.04 * front
    if kind >= 3:
        return 5.96 + rise - 0.16 * front
    edge = 5.93 + rise - 0.19 * front
    if kind == 1 and z > 0.2:
        edge -= max(0.42 - abs(x), 0.0) * 1.1
    return edge


@inline
def cloth_at(table, c, q, colour, bump):
    """Cloth at template point ``q`` (3,), with the numbers ``c`` of :meth:`Clothes.packed`.

    Writes the albedo to ``colour`` and the normal's tilt to ``bump``, as :func:`.skin.skin_at`.
    Returns 1 on cloth and 0 on skin, and a factor for the shadow of the edge on the skin.
    """
    kind = int(c[8])
    edge = neckline(q[0], q[2], kind, c[9])
    gap = edge - q[1]
    if gap < 0:
        return 0.0, 1 - 0.45 * max(1 + gap / 0.07, 0.0)
    which, ax = 0, abs(q[0])  # 0 the garment, 1 the shirt under it, 2 the tie
    if kind >= 3 and q[2] > 0.2:
        if kind == 4 and ax < 0.10 + 0.55 * max(q[1] - 5.05, 0.0):
            which = 1
        if c[16] > 0 and ax < 0.075 + 0.035 * max(5.7 - q[1], 0.0):
            which = 2
    if kind == 4 and gap < 0.16 and q[2] <= 0.2:
        which = 1
    fine = 0.05 * noise(table, q[0] * 90, q[1] * 90, q[2] * 90, 3)
    weave = 1 + fine + 0.10 * noise(table, q[0] * 6, q[1] * 6, q[2] * 6, 4)
    stripe = 0.0
    if which == 0:
        rows, columns = q[1] * c[7] - floor(q[1] * c[7]), q[0] * c[7] - floor(q[0] * c[7])
        if c[6] == 1:
            stripe = 1.0 if rows < 0.45 else 0.0
        elif c[6] == 2:
            stripe = 0.5 * (rows < 0.3) + 0.5 * (columns < 0.3)
        elif c[6] == 3:
            stripe = 0.7 if columns < 0.14 else 0.0
    for d in range(3):
        main = c[d] * (1 - stripe) + c[3 + d] * stripe
        colour[d] = weave * (main if which == 0 else c[10 + d] if which == 1 else c[13 + d])
    if kind < 3 and gap < 0.09:  # the ribbed band
        ribs = q[0] * 40 - floor(q[0] * 40)
        for d in range(3):
            colour[d] *= 0.86 + 0.08 * (ribs < 0.5)
    bump[0] = 0.28 * noise(table, q[0] * 8, q[1] * 4, q[2] * 8, 6)
    bump[1] = 0.12 * noise(table, q[0] * 5, q[1] * 9, q[2] * 5, 7)
    bump[2] = 0.0
    if c[17] > 0:
        folds = noise(table, q[0] * 5, q[1] * 2.2, q[2] * 5, 9)
        yarn = noise(table, q[0] * 130, q[1] * 46, q[2] * 130, 10)
        bump[0] += 0.55 * folds + 0.12 * yarn
        bump[1] += 0.30 * noise(table, q[0] * 3, q[1] * 6, q[2] * 3, 11)
        for d in range(3):
            colour[d] *= (1 + 0.14 * yarn) * (1 + 0.16 * folds)
    return 1.0, 1.0


@kernel
def edge_heights(points, kind, rise):
    """Height of the neckline (n,) at the azimuths of template points (n, 3)."""
    out = np.empty(points.shape[0])
    for i in range(points.shape[0]):
        out[i] = neckline(points[i, 0], points[i, 2], kind, rise)
    return out


def dress(
    clothes: Clothes, template: Head, vertices: np.ndarray, normals: np.ndarray
) -> np.ndarray:
    """The mesh (n, 3), below the neckline moved along its normals by the thickness of the cloth."""
    edge = edge_heights(template.vertices, KINDS.index(clothes.kind), clothes.rise)
    thick = 0.07 if clothes.kind == "turtleneck" else 0.05
    lift = thick * smoothstep(-0.01, 0.14, edge - template.vertices[:, 1])
    lift[template.rigid] = 0
    return vertices + normals * lift[:, None]


def collar(clothes: Clothes, template: Head, vertices: np.ndarray) -> Mesh | None:
    """The folded collar of a shirt around the neck of this person; None for other clothes."""
    if clothes.kind not in ("shirt", "suit"):
        return None
    x, y, z = template.vertices.T
    neck = vertices[(y > 5.85) & (y < 6.2) & (z < 0.85) & (np.abs(x) < 0.62)]
    axis = np.array([0.0, (neck[:, 2].max() + neck[:, 2].min()) / 2])
    half = np.array([np.abs(neck[:, 0]).max(), (neck[:, 2].max() - neck[:, 2].min()) / 2])
    sheets, count = [], 48
    # Rows from the inside of the stand over the fold to the outer edge: distance from the neck,
    # height, and how far open in front. The fold opens wider than the stand, so that the front has
    # two leaves with points and not a slot.
    closed = 0.04 if clothes.necktie else 0.20
    for out, height, gap in (
        (0.015, -0.08, 0.0),
        (0.025, 0.05, 0.16),
        (0.045, 0.095, 0.22),
        (0.075, 0.07, 0.20),
        (0.12, -0.08, 0.12),
    ):
        turn = np.linspace(closed + gap, 2 * np.pi - closed - gap, count)
        from_front = np.minimum(turn, 2 * np.pi - turn) - closed - gap
        point = smoothstep(0.55, 0.0, from_front) * (out > 0.1)
        radius = half[None] + (out + 0.05 * point)[:, None]
        base = 5.93 + clothes.rise - 0.17 * 0.5 * (1 + np.cos(turn))
        around, forward = np.sin(turn) * radius[:, 0], np.cos(turn) * radius[:, 1]
        heights = base + height - 0.20 * point
        sheets.append(np.stack([axis[0] + around, heights, axis[1] + forward], 1))
    points = np.concatenate(sheets)
    return Mesh(points, grid_triangles(len(sheets), count).astype(np.int32), points)


def knot(clothes: Clothes, band: Mesh) -> Mesh | None:
    """The knot and blade of a tie in front of the collar ``band``; None without a tie."""
    if not clothes.necktie:
        return None
    top = 5.80 + clothes.rise
    front = band.vertices[band.vertices[:, 1] > top - 0.12, 2].max()
    rows = (  # height, half width, depth
        (0.07, 0.085, 0.05),
        (0.03, 0.100, 0.10),
        (-0.07, 0.080, 0.115),
        (-0.14, 0.052, 0.09),
        (-0.16, 0.058, 0.08),
        (-0.35, 0.09, 0.12),
        (-0.75, 0.12, 0.22),
    )
    across = np.linspace(-1, 1, 7)
    sheets = [
        np.stack([half * across, np.full(7, top + height), front + depth - 0.035 * across**2], 1)
        for height, half, depth in rows
    ]
    points = np.concatenate(sheets)
    return Mesh(points, grid_triangles(len(rows), 7).astype(np.int32), points)


def sample_clothes(rng: np.random.Generator, necktie: bool, male: bool) -> Clothes:
    """Random everyday clothes; with a tie a suit (three in four) or a shirt."""
    u = rng.random(10)
    if necktie:
        kind = "suit" if u[0] < 0.75 else "shirt"
    else:
        shares = (0.44, 0.10, 0.10, 0.24, 0.12) if male else (0.42, 0.26, 0.14, 0.12, 0.06)
        kind = KINDS[int(np.searchsorted(np.cumsum(shares), u[0] * 0.9999))]
    palette = _SUITS if kind == "suit" else _SHIRTS if kind == "shirt" else _DYES
    vary = np.exp(0.25 * (u[1] - 0.5))
    colour, second = palette[int(u[2] * len(palette))] * vary, _DYES[int(u[3] * len(_DYES))]
    if kind == "suit":
        pattern = "pinstripes" if u[4] < 0.15 else "plain"
    else:
        pattern = PATTERNS[int(np.searchsorted((0.66, 0.80, 0.90, 1.0), u[4]))]
    shirt, tie = _SHIRTS[int(u[7] * len(_SHIRTS))], _TIES[int(u[8] * len(_TIES))]
    return Clothes(
        kind=kind,
        colour=tuple(colour.tolist()),
        second=tuple(second.tolist()),
        pattern=pattern,
        pitch=float(4 + 7 * u[5]),
        rise=float((0.05 if necktie else -0.02) + 0.07 * u[6]),
        shirt=tuple(shirt.tolist()),
        tie=tuple(tie.tolist()) if necktie else None,
    )
