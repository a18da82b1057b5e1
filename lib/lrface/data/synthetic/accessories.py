"""What is worn on the head: glasses and hats, as small meshes fitted to the person."""

from __future__ import annotations

from dataclasses import dataclass
from math import acos, atan2, cos, pi, sqrt

import cv2
import numpy as np

from lrface.data.synthetic.assets import SKULL_CENTRE, Head
from lrface.data.synthetic.identities import Identity
from lrface.data.synthetic.kernel import kernel, linear, smoothstep, unit
from lrface.data.synthetic.streams import IDENTITY, stream

FRAME, HAT, COLLAR, TIE = 11, 13, 14, 15
"""Mesh parts, beside those of the head."""
FRAMES = linear(
    [(22, 20, 20), (62, 40, 26), (140, 124, 92), (118, 118, 122), (84, 26, 28), (34, 42, 74)]
)
HATS = ("cap", "beanie", "brim")


@dataclass(frozen=True)
class Mesh:
    """Vertices (n, 3) in the frame of the unposed head, triangles (m, 3), and where on the template
    the paint is read (n, 3)."""

    vertices: np.ndarray
    triangles: np.ndarray
    paint: np.ndarray


@dataclass(frozen=True)
class Glasses:
    """A person's own glasses, worn or not; decimetres."""

    half_width: float
    half_height: float
    squareness: float
    rim: float
    """Radius of the rim's tube."""
    colour: tuple[float, float, float]


def glasses_of(identity: Identity) -> Glasses:
    """The glasses this person would wear: all pictures show the same pair."""
    u = stream(identity.seed, identity.number, IDENTITY, "glasses").random(6)
    return Glasses(
        0.235 + 0.05 * u[0],
        0.155 + 0.07 * u[1],
        2 + 2.5 * u[2],
        0.009 + 0.018 * u[3] ** 2,
        tuple(FRAMES[int(u[4] * len(FRAMES))].tolist()),
    )


def _tube(
    path: np.ndarray, radius: float, closed: bool = False, sides: int = 6
) -> tuple[np.ndarray, np.ndarray]:
    tangent = np.roll(path, -1, 0) - np.roll(path, 1, 0)
    if not closed:
        tangent[0], tangent[-1] = path[1] - path[0], path[-1] - path[-2]
    tangent = unit(tangent)
    u = unit(np.cross(tangent, np.array([0.13, 0.97, 0.2])))
    v, a = np.cross(tangent, u), np.arange(sides) / sides * 2 * np.pi
    ring = radius * (np.cos(a)[None, :, None] * u[:, None] + np.sin(a)[None, :, None] * v[:, None])
    i, j = (
        g.ravel()
        for g in np.meshgrid(np.arange(len(path) - (not closed)), np.arange(sides), indexing="ij")
    )
    following, beside = (i + 1) % len(path), (j + 1) % sides
    a0, a1, b0, b1 = (
        i * sides + j,
        i * sides + beside,
        following * sides + j,
        following * sides + beside,
    )
    return (path[:, None] + ring).reshape(-1, 3), np.concatenate(
        [np.stack([a0, b0, a1], 1), np.stack([a1, b0, b1], 1)]
    )


def fit_glasses(glasses: Glasses, template: Head, vertices: np.ndarray) -> tuple[Mesh, list[Mesh]]:
    """Frame and the two lenses on a head (n, 3)."""
    parts: list[tuple[np.ndarray, np.ndarray]] = []
    eyes = [vertices[rows] for rows in template.eyes]
    centres = [eye.mean(0) for eye in eyes]
    middle, front = (centres[0] + centres[1]) / 2, max(eye[:, 2].max() for eye in eyes) + 0.095
    temple = np.abs(template.vertices[:, 1] - 7.4) + np.abs(template.vertices[:, 2] - 0.75) < 0.16
    reach = np.abs(vertices[temple, 0]).max() + 0.03
    t = np.linspace(0, 2 * np.pi, 28, endpoint=False)
    outline = (
        np.sign(np.cos(t)) * np.abs(np.cos(t)) ** (2 / glasses.squareness),
        np.sign(np.sin(t)) * np.abs(np.sin(t)) ** (2 / glasses.squareness),
    )
    lenses, inner = [], []
    for centre in centres:
        side = np.sign(centre[0] - middle[0])
        cx, cy = centre[0] + side * 0.03, middle[1] - 0.03
        x, y = cx + glasses.half_width * outline[0], cy + glasses.half_height * outline[1]
        ring = np.stack([x, y, front - 0.35 * (x - middle[0]) ** 2 - 0.06 * (y - cy)], 1)
        parts.append(_tube(ring, glasses.rim, closed=True))
        k = np.arange(len(t))
        fan = np.stack([np.zeros_like(k), 1 + k, 1 + (k + 1) % len(t)], 1)
        lens = np.concatenate([ring.mean(0, keepdims=True), ring])
        lenses.append(Mesh(lens, fan.astype(np.int32), lens))
        outer, depth = (
            cx + side * glasses.half_width,
            front - 0.35 * (side * (cx - middle[0]) + glasses.half_width) ** 2,
        )
        arm = [
            [outer, cy + 0.07, depth],
            [(outer + side * reach) / 2 + side * 0.05, cy + 0.08, front - 0.28],
            [side * reach, cy + 0.08, 0.75],
            [side * reach, cy + 0.06, 0.45],
        ]
        parts.append(_tube(np.array(arm), glasses.rim * 0.9))
        inner.append(cx - side * glasses.half_width)
    left, right = sorted(inner)
    x = np.linspace(left, right, 6)
    bow = np.cos((x - middle[0]) / (right - left) * 3.1)
    parts.append(
        _tube(
            np.stack(
                [x, middle[1] + 0.03 + 0.03 * bow, front + 0.02 - 0.35 * (x - middle[0]) ** 2], 1
            ),
            glasses.rim,
        )
    )
    shift = np.cumsum([0, *(len(v) for v, _ in parts)])
    points = np.concatenate([v for v, _ in parts])
    return Mesh(
        points,
        np.concatenate([f + s for (_, f), s in zip(parts, shift, strict=False)]).astype(np.int32),
        points,
    ), lenses


_EDGE = {"cap": (71.0, 98.0), "beanie": (69.0, 102.0), "brim": (71.0, 95.0)}
"""Polar angle of the hat's lower edge in front and behind, degrees from straight up."""
_TURNS, _ROWS = 72, 22


def _edge_angle(kind: str, turn):
    front, back = _EDGE[kind]
    return np.radians((front + back) / 2 - (back - front) / 2 * np.cos(turn))


def fit_hat(kind: str, skull: np.ndarray, lift: float) -> tuple[Mesh, np.ndarray]:
    """A hat over a skull map (96, 64), and the radius (96, 64) it leaves to hair, infinite where it
    does not cover."""
    tripled = np.concatenate([skull] * 3).astype(np.float64)
    smooth = cv2.GaussianBlur(cv2.dilate(tripled, np.ones((3, 3))), (0, 0), 3.0)[
        len(skull) : 2 * len(skull)
    ]
    turns = np.linspace(-np.pi, np.pi, _TURNS, endpoint=False)
    edge = _edge_angle(kind, turns)
    share = np.linspace(0.0, 1.0, _ROWS)
    polar = share[:, None] * edge[None]
    i = ((turns + np.pi) / (2 * np.pi) * skull.shape[0]).astype(int) % skull.shape[0]
    j = np.clip(polar / np.pi * skull.shape[1], 0, skull.shape[1] - 1).astype(int)
    fit = smooth[i[None], j]
    fit = cv2.GaussianBlur(np.concatenate([fit] * 3, 1), (0, 0), 2.0)[:, _TURNS : 2 * _TURNS]
    fit[0] = fit[0].mean()
    if kind == "beanie":
        radius = (
            fit
            + 0.035
            + lift
            + 0.07 * smoothstep(0.8, 0.1, share)[:, None]
            + 0.022 * smoothstep(0.70, 0.74, share)[:, None]
        )
    elif kind == "cap":
        radius = fit + 0.04 + lift + 0.09 * np.sin(np.pi * share)[:, None] ** 1.5
    else:
        radius = (
            np.minimum(fit + 0.04 + lift, 0.98 / np.maximum(np.cos(polar), 0.2))
            + 0.03 * np.sin(np.pi * share)[:, None]
        )
    direction = np.stack(
        [np.sin(turns)[None] * np.sin(polar), np.cos(polar), np.cos(turns)[None] * np.sin(polar)],
        -1,
    )
    crown = SKULL_CENTRE + direction * radius[..., None]
    rows = [crown]
    if kind == "brim":
        rim, outward = crown[-1], unit(np.stack([np.sin(turns), 0 * turns, np.cos(turns)], 1))
        rows.append(
            np.stack(
                [rim + outward * w + np.array([0, -0.25 * w * w - 0.02, 0]) for w in (0.18, 0.36)]
            )
        )
    grid = np.concatenate(rows)
    k, t = (
        g.ravel() for g in np.meshgrid(np.arange(len(grid) - 1), np.arange(_TURNS), indexing="ij")
    )
    a, b, c, d = (
        k * _TURNS + t,
        k * _TURNS + (t + 1) % _TURNS,
        (k + 1) * _TURNS + t,
        (k + 1) * _TURNS + (t + 1) % _TURNS,
    )
    triangles = np.concatenate([np.stack([a, c, b], 1), np.stack([b, c, d], 1)])
    vertices = grid.reshape(-1, 3)
    # Paint coordinates: azimuth, share of the way to the edge (over 1 on brim or visor), unused.
    paint = np.stack(
        np.broadcast_arrays(
            turns[None],
            np.concatenate([share, 1.0 + np.arange(1, len(grid) - _ROWS + 1)])[:, None],
            0.0,
        ),
        -1,
    ).reshape(-1, 3)
    if kind == "cap":
        visor = np.linspace(-0.98, 0.98, 24)
        rim = np.stack([np.interp(visor, turns, crown[-1][:, c]) for c in range(3)], 1)
        reach = 0.62 * np.cos(visor * 1.55) ** 0.6
        sheets = [
            rim
            + np.stack(
                [
                    0.10 * np.sin(visor) * w,
                    (-0.20 * w * w - 0.06 * w + 0.10 * w * (np.cos(visor) - 0.6)),
                    reach * w,
                ],
                1,
            )
            for w in (0.0, 0.35, 0.7, 1.0)
        ]
        k, t = (g.ravel() for g in np.meshgrid(np.arange(3), np.arange(23), indexing="ij"))
        base, a = len(vertices), k * 24 + t
        triangles = np.concatenate(
            [
                triangles,
                base + np.stack([a, a + 24, a + 1], 1),
                base + np.stack([a + 1, a + 24, a + 25], 1),
            ]
        )
        vertices = np.concatenate([vertices, *sheets])
        paint = np.concatenate([paint, *[np.stack([visor, 0 * visor + 1.5, 0 * visor], 1)] * 4])
    map_turns = (np.arange(skull.shape[0]) + 0.5) / skull.shape[0] * 2 * np.pi - np.pi
    map_polars = (np.arange(skull.shape[1]) + 0.5) / skull.shape[1] * np.pi
    below = map_polars[None] / _edge_angle(kind, map_turns)[:, None]
    nearest = (
        np.clip(below * (_ROWS - 1), 0, _ROWS - 1).astype(int),
        (((map_turns + np.pi) / (2 * np.pi) * _TURNS).astype(int) % _TURNS)[:, None],
    )
    # The least of the cells around: a strand is straight between its points, and the hat has
    # facets.
    least = cv2.erode(np.concatenate([radius] * 3, 1), np.ones((3, 3)))[:, _TURNS : 2 * _TURNS]
    room = np.where(below < 1.02, least[nearest] - 0.035, np.inf)
    return Mesh(vertices, triangles.astype(np.int32), paint), room


@kernel
def press(points, room, centre, flare):
    """Strands (n, k, 3) pressed under a hat: no point farther from ``centre`` than ``room`` (96,
    64) allows, and just below the edge no farther than ``flare`` times what the hat above allows."""
    turns, polars = room.shape
    out = points.copy()
    for s in range(points.shape[0]):
        for k in range(points.shape[1]):
            x, y, z = (
                points[s, k, 0] - centre[0],
                points[s, k, 1] - centre[1],
                points[s, k, 2] - centre[2],
            )
            r = sqrt(x * x + y * y + z * z) + 1e-9
            i = int((atan2(x, z) + pi) / (2 * pi) * turns) % turns
            j = min(int(acos(max(min(y / r, 1.0), -1.0)) / pi * polars), polars - 1)
            allowed = room[i, j]
            if allowed > 1e6:  # just below the edge: hair may swell out again only gradually
                for up in range(1, 9):
                    if j - up >= 0 and room[i, j - up] < 1e6:
                        allowed = room[i, j - up] * (flare + (1 - cos(up / 9 * pi)) * 0.25)
                        break
            if r > allowed:
                f = allowed / r
                out[s, k, 0], out[s, k, 1], out[s, k, 2] = (
                    centre[0] + x * f,
                    centre[1] + y * f,
                    centre[2] + z * f,
                )
    return out
