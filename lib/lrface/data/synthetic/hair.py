"""Hairstyles: where strands start, which way they are combed, and how long they are.

A style is a choice of numbers for :func:`.strands.grow`, found by eye at 128 pixels. Styles: buzz,
short, sidepart, back, fringe, bun, long, bangs, bob and bobbangs for straight and wavy hair; buzz,
coils, coilfringe, afro, ringlets and bun for coily hair; bald.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from lrface.data.synthetic.assets import EARS, SKULL_CENTRE, Head, place, scatter
from lrface.data.synthetic.identities import Identity
from lrface.data.synthetic.kernel import smoothstep, unit, vertex_normals
from lrface.data.synthetic.noise import lattice, noise_at
from lrface.data.synthetic.skin import LINE, RECEDING, hairline
from lrface.data.synthetic.strands import grow, over_face
from lrface.data.synthetic.streams import IDENTITY, stream


@dataclass(frozen=True)
class Strands:
    """Polylines with one colour each, in the coordinates of the unposed head."""

    points: np.ndarray
    """float64 (n, k, 3), decimetres."""
    colours: np.ndarray
    """float64 (n, 3), linear RGB."""
    roots: np.ndarray
    """float64 (n, 3): point of the template where each begins."""
    cover: np.ndarray
    """float64 (n,): opacity in [0, 1]; hair is thinner at the hairline."""

    def where(self, keep: np.ndarray) -> Strands:
        """Only the strands where ``keep`` (n,) is true."""
        return Strands(self.points[keep], self.colours[keep], self.roots[keep], self.cover[keep])


@dataclass(frozen=True)
class _Plan:
    """Arguments of :func:`.strands.grow`, for each strand or one number for all; decimetres."""

    comb: np.ndarray
    """Direction of combing (n, 3), of any length."""
    length: np.ndarray | float = 1.0
    lift: np.ndarray | float = 0.0
    """Height of a strand's layer above the skull."""
    hold: np.ndarray | float = 0.1
    """How far above its layer a strand may go."""
    clear: np.ndarray | float = 0.0
    """How strongly a strand is pushed off the face, 0 or 1."""
    gravity: float = 0.4
    curl: float = 0.0
    turns: float = 0.0
    bend: float = 0.07
    wisp_rate: float = 5.0
    wisp: float = 0.22
    rough: float = 0.08
    segments: int = 10
    combing: float = 0.8
    """Weight of the combing in a strand's first direction, against the skin's normal."""
    lowest: float = 0.0
    """Height below which bangs are removed; 0: nothing may hang over the forehead."""


# fmt: off
COUNT = {
    "buzz": 9000, "short": 11500, "coils": 10000, "coilfringe": 10000, "afro": 13000,
    "ringlets": 9500, "long": 17000, "bangs": 17500, "bob": 15000, "bobbangs": 16000, "bald": 2200,
}
# fmt: on
"""Number of strands of a style; 11,000 for the others."""


@dataclass(frozen=True)
class _Scalp:
    """The roots of n strands and the directions that a comb may take there."""

    roots: np.ndarray
    """Points of the person's head (n, 3)."""
    template: np.ndarray
    """The same points on the template (n, 3)."""
    normal: np.ndarray
    """The skin's normals there (n, 3)."""
    turn: np.ndarray
    """Azimuth (n,), radians from straight ahead."""
    front: np.ndarray
    """1 above the forehead, 0 elsewhere (n,), smooth between."""
    top: np.ndarray
    """1 on top of the head, 0 elsewhere (n,), smooth between."""
    side: np.ndarray
    """Away from the parting (n, 3)."""
    back: np.ndarray
    forward: np.ndarray
    down: np.ndarray


def _scalp(
    rng: np.random.Generator,
    template: Head,
    vertices: np.ndarray,
    style: str,
    line: float,
    receding: float,
) -> _Scalp:
    """Roots of a style above the hairline, which ``line`` shifts and ``receding`` bends."""
    c = template.centres
    turns = np.arctan2(c[:, 0], c[:, 2] - 0.55)
    edge = np.array([hairline(t, line, receding) for t in turns])
    above = smoothstep(-0.04, 0.09, c[:, 1] - edge)
    off_ears = template.skin_masks[EARS] < 0.3
    weight = above * off_ears * (c[:, 1] > 6.8) * (np.abs(c[:, 0]) <= 0.80)
    if style == "bald":  # a wreath around the back of the head
        weight = weight * smoothstep(7.75, 7.55, c[:, 1]) * smoothstep(0.95, 0.6, c[:, 2])
    elif style != "buzz":
        weight = weight * (1 + 1.2 * smoothstep(0.8, 1.2, c[:, 2]))
    corners, weights = scatter(rng, template, weight, COUNT.get(style, 11000))
    at = place(template.vertices, corners, weights)
    x, y = at[:, 0], at[:, 1]
    turn, zero = np.arctan2(x, at[:, 2] - 0.55), np.zeros(len(at))
    parting = rng.choice([-1, 1]) * (0.10 + 0.2 * rng.random())
    return _Scalp(
        roots=place(vertices, corners, weights),
        template=at,
        normal=unit(place(vertex_normals(vertices, template.triangles), corners, weights)),
        turn=turn,
        front=smoothstep(1.0, 0.3, np.abs(turn)) * smoothstep(7.7, 7.95, y),
        top=smoothstep(7.9, 8.25, y),
        side=np.stack([np.tanh((x - parting) * 14), zero - 0.1, zero], 1),
        back=np.stack([x * 0.3, zero + 0.1, zero - 1], 1),
        forward=np.stack([x * 0.2, zero - 0.25, zero + 1], 1),
        down=np.stack([x * 0.15, zero - 1, zero - 0.25], 1),
    )


def _plan(rng: np.random.Generator, style: str, texture: str, s: _Scalp) -> _Plan:
    """The numbers of a style, some of them random."""
    n, u = len(s.roots), rng.random(6)
    layer, zero = rng.random(n) ** 1.3, np.zeros(n)
    top, front, x = s.top[:, None], s.front[:, None], s.template[:, 0]
    up = np.stack([zero, zero + 1, zero], 1)
    falls = s.down * (1 - top)
    spread = 0.5 * rng.normal(size=n)
    if style == "bald":
        return _Plan(s.down, 0.10, 0.03 * layer, segments=3)
    if style == "buzz":
        comb, length = s.normal + 0.6 * s.forward, 0.05 + 0.04 * u[0]
        return _Plan(comb, length, 0.02 * layer, 0.0, gravity=0.0, wisp=0.1, segments=3)
    if style == "short":  # brushed forward, up or to the side
        brushed_up = 0.35 <= u[1] < 0.65
        length = (0.26 + 0.22 * u[0]) * (0.45 + 0.55 * s.top + 0.2 * s.front)
        brushed = s.forward if u[1] < 0.35 else s.side
        if brushed_up:
            brushed = s.normal * 1.1 + 0.3 * s.back
        comb = brushed * top + falls + 0.25 * s.normal
        hold = 0.1 + 0.2 * brushed_up
        return _Plan(comb, length, 0.10 * layer, hold, gravity=0.7, segments=7, lowest=7.72)
    if style == "sidepart":
        comb = (s.side + 0.45 * s.back) * top + falls + 0.25 * up * front
        length = (0.6 + 0.4 * u[0]) * (0.35 + 0.65 * s.top)
        lift = layer * 0.11 * (0.5 + 0.5 * s.top)
        return _Plan(comb, length, lift, 0.02 + 0.6 * lift, 0.6, gravity=0.8, segments=10)
    if style == "back":
        comb = (s.back + 0.45 * up * front) * top + (0.6 * s.down + 0.7 * s.back) * (1 - top)
        length, hold = 0.8 + 0.3 * u[0], 0.06 + layer * 0.13
        return _Plan(comb, length, 0.13 * layer, hold, 0.8, gravity=0.4, segments=11)
    if style == "fringe":
        comb = (s.forward + 0.35 * s.side) * top + falls
        in_front = 0.24 + 0.10 * u[0] + 0.05 * spread
        length = np.where(s.front > 0.4, in_front, 0.55 * (0.6 + 0.4 * s.top))
        lift, hold = 0.12 * layer, 0.05 + 0.12 * layer
        return _Plan(comb, length, lift, hold, gravity=0.8, segments=9, lowest=7.56)
    if style in ("coils", "coilfringe", "afro", "ringlets"):
        low, vary = {
            "coils": (0.10, 0.10),
            "coilfringe": (0.16, 0.08),
            "afro": (0.28, 0.22),
            "ringlets": (0.6, 0.5),
        }[style]
        height, hanging = low + vary * u[0], style == "ringlets"
        by_height = 0.45 + 0.55 * smoothstep(6.9, 7.7, s.template[:, 1])
        aside = (0.5 * s.side + 0.4 * s.back) * hanging
        forward = 0.5 * s.forward * front * (style == "coilfringe")
        return _Plan(
            comb=s.normal + 0.1 * up + aside + forward,
            length=height * by_height * (0.75 + 0.5 * rng.random(n)),
            lift=layer * height * (0.5 if not hanging else 0.25),
            hold=0.0,
            clear=0.8 if hanging else 0.3,
            gravity=0.9 if hanging else 0.1,
            curl=0.022 + 0.02 * u[1],
            turns=34 + 16 * u[2],
            wisp=0.8,
            rough=0.4,
            segments=int(min(12 + 18 * height, 26)),
            lowest=7.60 if style == "coilfringe" else 0.0,
        )
    if style == "bun":
        comb = np.stack([-x * 0.2, 0.35 * (s.template[:, 1] < 7.9) + zero, zero - 1], 1)
        plan = _Plan(comb, 1.1, 0.05 * layer, 0.03, 0.5, gravity=0.0, wisp=0.10, rough=0.06)
        return replace(plan, segments=9, combing=2.0)
    # hanging hair: long hair and bobs, with or without bangs
    bob = style.startswith("bob")
    length = (1.0 + 0.35 * u[0] if bob else 1.9 + 1.5 * u[0]) * (0.88 + 0.24 * rng.random(n))
    aside = 0.75 * s.side * (1 - 0.5 * front)
    on_top = (aside + s.back * (0.5 + 0.45 * front) + 0.8 * up * front) * np.maximum(top, front)
    outward = np.stack([0.25 * np.sign(x), zero, zero - 0.35], 1)
    comb = on_top + falls * (1 - front) + outward
    lift = 0.18 * layer
    hold = np.where(s.template[:, 1] > 7.6, 0.10 + lift, 0.28)
    plan = _Plan(comb, length, lift, hold, np.ones(n), gravity=1.3, bend=0.15, segments=16)
    if texture == "wavy":
        plan = replace(plan, curl=0.02 + 0.04 * u[1], turns=6 + 6 * u[2])
    if "bangs" in style:
        bangs = (np.abs(s.turn) < 0.78) & (s.template[:, 1] > 7.8) & (s.template[:, 2] > 0.75)
        ends = 7.56 + 0.05 * u[3]
        cut = np.clip((s.template[:, 1] - ends) * 1.12 + 0.02 * spread, 0.15, 0.8)
        comb = np.where(bangs[:, None], 0.8 * s.forward + 0.25 * s.side * u[4] - 0.5 * up, comb)
        length, clear = np.where(bangs, cut, length), np.where(bangs, 0.0, 1.0)
        plan = replace(plan, comb=comb, length=length, clear=clear, lowest=7.52)
    return plan


def _bun(rng: np.random.Generator, segments: int, high: bool) -> np.ndarray:
    """Strands (m, segments + 1, 3) wound into a bun, on the crown or at the back of the head."""
    m = 1600
    turn, tilt = 2 * np.pi * rng.random((m, 1)), np.arccos(2 * rng.random((m, 1)) - 1)
    size = 0.24 + 0.05 * rng.random((m, 1))
    k = np.linspace(0, 2.2, segments + 1)[None]
    x, z = np.sin(tilt) * np.cos(turn + k), np.sin(tilt) * np.sin(turn + k)
    ball = np.stack([x, np.cos(tilt) + 0 * k, z], -1) * size[..., None]
    return ball + (np.array([0, 8.42, -0.05]) if high else np.array([0, 7.65, -0.75]))


def _clump(points: np.ndarray, roots: np.ndarray, size: float, strength: float) -> None:
    """Pull strands (n, k, 3) together in locks, in place.

    Each moves towards the first strand with a root in the same cell of the scalp, of ``size``
    decimetres, most at its tip.
    """
    cells = np.floor(roots / size + 0.35 * np.sin(9 * roots[:, [1, 2, 0]])).astype(np.int64)
    number = cells @ np.array([1, 10_007, 100_000_007])
    _, first, which = np.unique(number, return_index=True, return_inverse=True)
    guide = points[first][which]
    apart = np.sqrt(((points[:, -1] - guide[:, -1]) ** 2).sum(-1))
    along = (np.linspace(0, 1, points.shape[1]) ** 1.2)[None]
    share = strength * along * smoothstep(0.40, 0.15, apart)[:, None]
    points += share[..., None] * (guide - points)


def grow_hair(
    identity: Identity, template: Head, vertices: np.ndarray, skin: np.ndarray
) -> Strands | None:
    """A person's hair on their own mesh (n, 3), or None for a shaven head.

    ``skin`` are the skin's numbers (:func:`.skin.skin_numbers`), of which the hairline is used.
    """
    rng = stream(identity.seed, identity.number, IDENTITY, "hair")
    style, shaven = identity.hairstyle, rng.random() < 0.5
    if style == "bald" and shaven:
        return None
    scalp = _scalp(rng, template, vertices, style, skin[LINE], skin[RECEDING])
    plan = _plan(rng, style, identity.texture, scalp)
    if identity.texture == "wavy" and not plan.curl and style not in ("buzz", "bald", "bun"):
        curl, turns = 0.022 + 0.02 * rng.random(), 9 + 7 * rng.random()
        plan = replace(plan, curl=curl, turns=turns, wisp=0.45, segments=plan.segments + 6)
    n = len(scalp.roots)
    strand_rng = stream(identity.seed, identity.number, IDENTITY, "strands")
    jitter = np.clip(strand_rng.normal(size=(n, 4)), -1.6, 1.6)
    points = np.zeros((n, plan.segments + 1, 3))
    # Hair lies flat at the hairline: strands that stood up there would fall into the face.
    upwards = 0.45 * scalp.normal * (1 - 0.8 * scalp.front[:, None] * (plan.lowest == 0))
    start = unit(upwards + plan.combing * unit(plan.comb) + 0.06 * jitter[:, :3])

    def each(value):  # one number for each strand
        return np.ascontiguousarray(np.broadcast_to(np.asarray(value, float), (n,)))

    numbers = np.array(
        [plan.gravity, plan.curl, plan.turns, plan.bend, plan.wisp_rate, plan.wisp, plan.rough]
    )
    grow(
        lattice(),
        scalp.roots,
        start,
        plan.comb,
        each(plan.length),
        each(plan.lift) + 0.01,
        each(plan.hold),
        each(plan.clear),
        numbers,
        template.skull_radius(vertices),
        SKULL_CENTRE,
        jitter,
        int(rng.integers(4096)),
        points,
    )
    # A strand over the eyes would be another style, and a single one over the forehead looks like a
    # scratch at 128 pixels.
    slack = 0.03 if identity.texture == "coily" else 0.0  # coils stand off the forehead
    keep = ~over_face(points, plan.lowest, skin[LINE] - slack, skin[RECEDING])
    if style in ("buzz", "short", "coils", "coilfringe", "afro"):
        keep &= points[:, :, 1].min(1) > 6.74  # and so does a single strand on the neck
    if identity.texture != "coily" and style not in ("buzz", "bald", "bun"):
        _clump(points, scalp.template, 0.055, 0.45)
    points, roots = points[keep], scalp.template[keep]
    turns = np.arctan2(roots[:, 0], roots[:, 2] - 0.55)
    rise = roots[:, 1] - np.array([hairline(t, skin[LINE], skin[RECEDING]) for t in turns])
    soft = 0.22 if identity.texture != "coily" else 0.45
    cover = soft + (0.85 - soft) * smoothstep(-0.02, 0.13, rise)
    if style == "bun":
        bun = _bun(rng, plan.segments, rng.random() < 0.6)
        points = np.concatenate([points, bun])
        roots = np.concatenate([roots, np.tile([[0, 8.3, 0.0]], (len(bun), 1))])
        cover = np.concatenate([cover, np.full(len(bun), 0.8)])
    clump = 0.6 * noise_at(lattice(), roots, 13.0, 3) + 0.6 * noise_at(lattice(), roots, 5.0, 4)
    uneven = 0.30 if identity.generation == 1 else 0.75
    shade = np.exp(0.12 * strand_rng.normal(size=len(points)) + uneven * clump)
    if identity.hair_colour in ("grey", "white"):
        shade = shade * np.exp(0.22 * strand_rng.normal(size=len(points)))
    return Strands(points, np.array(identity.hair)[None] * shade[:, None], roots, cover)
