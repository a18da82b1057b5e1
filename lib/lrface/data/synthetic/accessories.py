"""Glasses and hats: small meshes fitted to a person's head, and hair pressed under a hat."""

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
"""Parts of the mesh, in addition to those of the head (:mod:`.assets`)."""
FRAMES = linear(
    [(22, 20, 20), (62, 40, 26), (140, 124, 92), (118, 118, 122), (84, 26, 28), (34, 42, 74)]
)
HATS = ("cap", "beanie", "brim")


@dataclass(frozen=True)
class Mesh:
    """A small mesh in the coordinates of the unposed head."""

    vertices: np.ndarray
    """float64 (n, 3)."""
    triangles: np.ndarray
    """int32 (m, 3)."""
    paint: np.ndarray
    """float64 (n, 3): the points at which its colours are computed."""


@dataclass(frozen=True)
class Glasses:
    """A person's glasses, the same in all pictures; decimetres."""

    half_width: float
    """Of one lens, as is the height."""
    half_height: float
    squareness: float
    """Exponent of the superellipse that is a lens's outline: 2 is an ellipse, larger is squarer."""
    rim: float
    """Radius of the rim's tube."""
    colour: tuple[float, float, float]


def glasses_of(identity: Identity) -> Glasses:
    """The glasses of a person, worn or not."""
    u = stream(identity.seed, identity.number, IDENTITY, "glasses").random(6)
    return Glasses(
        half_width=0.235 + 0.05 * u[0],
        half_height=0.155 + 0.07 * u[1],
        squareness=2 + 2.5 * u[2],
        rim=0.009 + 0.018 * u[3] ** 2,
        colour=tuple(FRAMES[int(u[4] * len(FRAMES))].tolist()),
    )


def grid_triangles(rows: int, columns: int) -> np.ndarray:
    """Triangles (m, 3) of a sheet of ``rows`` x ``columns`` vertices, numbered row by row."""
    down, across = np.arange(rows - 1), np.arange(columns - 1)
    k, t = (g.ravel() for g in np.meshgrid(down, across, indexing="ij"))
    a = k * columns + t
    lower, upper = [a, a + columns, a + 1], [a + 1, a + columns, a + columns + 1]
    return np.concatenate([np.stack(lower, 1), np.stack(upper, 1)])


def _tube(
    path: np.ndarray, radius: float, closed: bool = False, sides: int = 6
) -> tuple[np.ndarray, np.ndarray]:
    """Vertices and triangles of a tube around a polyline (n, 3), which may be a closed ring."""
    tangent = np.roll(path, -1, 0) - np.roll(path, 1, 0)
    if not closed:
        tangent[0], tangent[-1] = path[1] - path[0], path[-1] - path[-2]
    tangent = unit(tangent)
    u = unit(np.cross(tangent, np.array([0.13, 0.97, 0.2])))
    v, a = np.cross(tangent, u), np.arange(sides) / sides * 2 * np.pi
    ring = radius * (np.cos(a)[None, :, None] * u[:, None] + np.sin(a)[None, :, None] * v[:, None])
    along, around = np.arange(len(path) - (not closed)), np.arange(sides)
    i, j = (g.ravel() for g in np.meshgrid(along, around, indexing="ij"))
    following, beside = (i + 1) % len(path), (j + 1) % sides
    a0, a1 = i * sides + j, i * sides + beside
    b0, b1 = following * sides + j, following * sides + beside
    triangles = np.concatenate([np.stack([a0, b0, a1], 1), np.stack([a1, b0, b1], 1)])
    return (path[:, None] + ring).reshape(-1, 3), triangles


def fit_glasses(glasses: Glasses, template: Head, vertices: np.ndarray) -> tuple[Mesh, list[Mesh]]:
    """The frame of the glasses and the two lenses, on a head's mesh (n, 3)."""
    parts: list[tuple[np.ndarray, np.ndarray]] = []
    eyes = [vertices[rows] for rows in template.eyes]
    centres = [eye.mean(0) for eye in eyes]
    middle, front = (centres[0] + centres[1]) / 2, max(eye[:, 2].max() for eye in eyes) + 0.095
    temple = np.abs(template.vertices[:, 1] - 7.4) + np.abs(template.vertices[:, 2] - 0.75) < 0.16
    reach = np.abs(vertices[temple, 0]).max() + 0.03
    t = np.linspace(0, 2 * np.pi, 28, endpoint=False)
    power = 2 / glasses.squareness
    outline_x = np.sign(np.cos(t)) * np.abs(np.cos(t)) ** power
    outline_y = np.sign(np.sin(t)) * np.abs(np.sin(t)) ** power
    lenses, inner = [], []
    for centre in centres:
        side = np.sign(centre[0] - middle[0])
        cx, cy = centre[0] + side * 0.03, middle[1] - 0.03
        x, y = cx + glasses.half_width * outline_x, cy + glasses.half_height * outline_y
        ring = np.stack([x, y, front - 0.35 * (x - middle[0]) ** 2 - 0.06 * (y - cy)], 1)
        parts.append(_tube(ring, glasses.rim, closed=True))
        k = np.arange(len(t))
        fan = np.stack([np.zeros_like(k), 1 + k, 1 + (k + 1) % len(t)], 1)
        lens = np.concatenate([ring.mean(0, keepdims=True), ring])
        lenses.append(Mesh(lens, fan.astype(np.int32), lens))
        outer = cx + side * glasses.half_width
        depth = front - 0.35 * (side * (cx - middle[0]) + glasses.half_width) ** 2
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
    depth = front + 0.02 - 0.35 * (x - middle[0]) ** 2
    bridge = np.stack([x, middle[1] + 0.03 + 0.03 * bow, depth], 1)
    parts.append(_tube(bridge, glasses.rim))
    shift = np.cumsum([0, *(len(v) for v, _ in parts)])
    points = np.concatenate([v for v, _ in parts])
    triangles = np.concatenate([f + s for (_, f), s in zip(parts, shift, strict=False)])
    return Mesh(points, triangles.astype(np.int32), points), lenses


_EDGE = {"cap": (71.0, 98.0), "beanie": (69.0, 102.0), "brim": (71.0, 95.0)}
"""Polar angle of the hat's lower edge in front and behind, degrees from straight up."""
_TURNS, _ROWS = 72, 22
"""Vertices of a hat around the head, and from the crown to the edge."""


def _edge_angle(kind: str, turn):
    """Polar angle of the lower edge at an azimuth, radians."""
    front, back = _EDGE[kind]
    return np.radians((front + back) / 2 - (back - front) / 2 * np.cos(turn))


def _crown(kind: str, fit: np.ndarray, lift: float, share: np.ndarray, polar: np.ndarray):
    """Radius of a hat (``_ROWS``, ``_TURNS``) around a head of radius ``fit``."""
    if kind == "beanie":  # thicker on top, with a turned-up rim
        top = 0.07 * smoothstep(0.8, 0.1, share)[:, None]
        return fit + 0.035 + lift + top + 0.022 * smoothstep(0.70, 0.74, share)[:, None]
    if kind == "cap":
        return fit + 0.04 + lift + 0.09 * np.sin(np.pi * share)[:, None] ** 1.5
    flat = np.minimum(fit + 0.04 + lift, 0.98 / np.maximum(np.cos(polar), 0.2))
    return flat + 0.03 * np.sin(np.pi * share)[:, None]


def _visor(crown: np.ndarray, turns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A cap's visor (4 * 24, 3), attached to the crown's edge, and its paint coordinates."""
    visor = np.linspace(-0.98, 0.98, 24)
    rim = np.stack([np.interp(visor, turns, crown[-1][:, c]) for c in range(3)], 1)
    reach = 0.62 * np.cos(visor * 1.55) ** 0.6
    sheets = []
    for w in (0.0, 0.35, 0.7, 1.0):
        drop = -0.20 * w * w - 0.06 * w + 0.10 * w * (np.cos(visor) - 0.6)
        sheets.append(rim + np.stack([0.10 * np.sin(visor) * w, drop, reach * w], 1))
    paint = np.stack([visor, 0 * visor + 1.5, 0 * visor], 1)
    return np.concatenate(sheets), np.concatenate([paint] * 4)


def fit_hat(kind: str, skull: np.ndarray, lift: float) -> tuple[Mesh, np.ndarray]:
    """A hat on a skull map (96, 64), ``lift`` decimetres above it, and the room under it for hair.

    The room is a radius (96, 64) around the skull's centre, infinite where the hat does not cover.
    The paint coordinates of a hat are its azimuth and the share of the way from the crown to the
    edge (over 1 on brim or visor); the third is unused.
    """
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
    radius = _crown(kind, fit, lift, share, polar)
    x, z = np.sin(turns)[None] * np.sin(polar), np.cos(turns)[None] * np.sin(polar)
    crown = SKULL_CENTRE + np.stack([x, np.cos(polar), z], -1) * radius[..., None]
    rows = [crown]
    if kind == "brim":
        rim, outward = crown[-1], unit(np.stack([np.sin(turns), 0 * turns, np.cos(turns)], 1))
        drops = [np.array([0, -0.25 * w * w - 0.02, 0]) for w in (0.18, 0.36)]
        sheets = [rim + outward * w + d for w, d in zip((0.18, 0.36), drops, strict=True)]
        rows.append(np.stack(sheets))
    grid = np.concatenate(rows)
    downwards, around = np.arange(len(grid) - 1), np.arange(_TURNS)
    k, t = (g.ravel() for g in np.meshgrid(downwards, around, indexing="ij"))
    a, b = k * _TURNS + t, k * _TURNS + (t + 1) % _TURNS
    c, d = (k + 1) * _TURNS + t, (k + 1) * _TURNS + (t + 1) % _TURNS
    triangles = np.concatenate([np.stack([a, c, b], 1), np.stack([b, c, d], 1)])
    vertices = grid.reshape(-1, 3)
    down = np.concatenate([share, 1.0 + np.arange(1, len(grid) - _ROWS + 1)])[:, None]
    paint = np.stack(np.broadcast_arrays(turns[None], down, 0.0), -1).reshape(-1, 3)
    if kind == "cap":
        visor, visor_paint = _visor(crown, turns)
        triangles = np.concatenate([triangles, len(vertices) + grid_triangles(4, 24)])
        vertices, paint = np.concatenate([vertices, visor]), np.concatenate([paint, visor_paint])
    map_turns = (np.arange(skull.shape[0]) + 0.5) / skull.shape[0] * 2 * np.pi - np.pi
    map_polars = (np.arange(skull.shape[1]) + 0.5) / skull.shape[1] * np.pi
    below = map_polars[None] / _edge_angle(kind, map_turns)[:, None]
    row = np.clip(below * (_ROWS - 1), 0, _ROWS - 1).astype(int)
    column = (((map_turns + np.pi) / (2 * np.pi) * _TURNS).astype(int) % _TURNS)[:, None]
    # the smallest of the cells around: strands are straight between points, and the hat has facets
    least = cv2.erode(np.concatenate([radius] * 3, 1), np.ones((3, 3)))[:, _TURNS : 2 * _TURNS]
    room = np.where(below < 1.02, least[row, column] - 0.035, np.inf)
    return Mesh(vertices, triangles.astype(np.int32), paint), room


@kernel
def press(points, room, centre, flare):
    """Strands (n, k, 3) pressed under a hat.

    No point is farther from ``centre`` than ``room`` (96, 64) in its direction; just below the
    hat's edge no farther than ``flare`` times the room above, which grows downwards.
    """
    turns, polars = room.shape
    out = points.copy()
    for s in range(points.shape[0]):
        for k in range(points.shape[1]):
            x, y = points[s, k, 0] - centre[0], points[s, k, 1] - centre[1]
            z = points[s, k, 2] - centre[2]
            r = sqrt(x * x + y * y + z * z) + 1e-9
            i = int((atan2(x, z) + pi) / (2 * pi) * turns) % turns
            j = min(int(acos(max(min(y / r, 1.0), -1.0)) / pi * polars), polars - 1)
            allowed = room[i, j]
            if allowed > 1e6:  # not under the hat: is it just below the edge?
                for up in range(1, 9):
                    if j - up >= 0 and room[i, j - up] < 1e6:
                        allowed = room[i, j - up] * (flare + (1 - cos(up / 9 * pi)) * 0.25)
                        break
            if r > allowed:
                f = allowed / r
                out[s, k, 0], out[s, k, 1] = centre[0] + x * f, centre[1] + y * f
                out[s, k, 2] = centre[2] + z * f
    return out
