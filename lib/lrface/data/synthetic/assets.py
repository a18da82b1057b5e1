"""The template head: MakeHuman's CC0 mesh and morph targets, and maps to find a place on its skin.

The file is made by :mod:`.build_assets`. Coordinates are those of the body model: decimetres, x to
the person's left, y up, z forward, feet at y = 0 and eyes at y = 7.284. "On the template" means at
a point of this head before any morph: skin, hair and clothes are defined there, once for all.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from lrface.data.synthetic.kernel import add_sparse
from lrface.data.synthetic.raster import buffers, rasterise

FILE = Path(__file__).parent / "assets" / "head.npz"

BODY, LEFT_EYE, RIGHT_EYE, UPPER_TEETH, LOWER_TEETH, TONGUE = 0, 1, 2, 7, 8, 9
"""Parts of the mesh; left is the person's own left, at positive x."""
LIPS, EYELIDS, EARS, MOUTH = range(4)
"""Masks, in the order of ``Head.masks``; MOUTH is its inside."""

SKULL_CENTRE = np.array([0.0, 7.55, 0.45])
SKULL_GRID = (96, 64)
"""Azimuths by polar angles of the skull map, which holds the distance from ``SKULL_CENTRE`` to the
surface of the head in each direction."""
FRONT_SCALE, FRONT_LEFT, FRONT_TOP = 300, -1.0, 8.6
"""The frontal map of the template: cells a decimetre, and x and y of its top left corner."""


@dataclass(frozen=True)
class Head:
    """The template head; see the module for its coordinates."""

    vertices: np.ndarray
    """float64 (n, 3)."""
    triangles: np.ndarray
    """int32 (m, 3)."""
    part: np.ndarray
    """int8 (m,), BODY .. TONGUE."""
    uv: np.ndarray
    """float32 (m, 3, 2) in [0, 1], origin at the bottom left of the masks."""
    masks: np.ndarray
    """uint8 (4, 1024, 1024)."""
    lashes: np.ndarray
    """int32 (q, 4): root, root, tip and tip vertices of the upper lashes' quads."""
    landmarks: np.ndarray
    """Vertices (68,) of the iBUG landmarks: 0-16 jaw from the image's left, 17-26 brows, 27-35
    nose, 36-47 eyes, 48-67 mouth."""
    occlusion: np.ndarray
    """float64 (n,): ambient visibility, the cosine-weighted share of the sky over a vertex."""
    skull_corners: np.ndarray
    """int32 (96 * 64, 3): corners of the skin triangle in each direction of the skull map."""
    skull_weights: np.ndarray
    """float64 (96 * 64, 3): its barycentric weights, 0 where there is no skin."""
    targets: dict[str, tuple[np.ndarray, np.ndarray]]
    """Morph targets: name -> vertices (k,) and their offsets, float64 (k, 3)."""
    skin: np.ndarray
    """int32 (k, 3): the triangles of BODY."""
    centres: np.ndarray
    """float64 (k, 3): their centres."""
    areas: np.ndarray
    """float64 (k,): their areas."""
    skin_masks: np.ndarray
    """float64 (4, k): the masks at those centres, in [0, 1]."""
    eyes: tuple[np.ndarray, np.ndarray]
    """Vertices of the left and the right eyeball."""
    rigid: np.ndarray
    """Vertices of eyes, teeth and tongue, which follow the head without bending."""
    front: tuple[np.ndarray, np.ndarray]
    """Skin triangle and barycentric weights at each cell of the frontal map; see :meth:`behind`."""

    def morph(self, vertices: np.ndarray, name: str, weight: float) -> None:
        """Apply a morph target to ``vertices`` (n, 3), in place."""
        rows, offsets = self.targets[name]
        add_sparse(vertices, rows, offsets, weight)

    def behind(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The skin behind points (x, y) of the template's frontal view.

        Corner vertices (..., 3), barycentric weights (..., 3), and whether there is skin (...).
        """
        face, bary = self.front
        row = np.clip(((FRONT_TOP - y) * FRONT_SCALE).astype(int), 0, face.shape[0] - 1)
        column = np.clip(((x - FRONT_LEFT) * FRONT_SCALE).astype(int), 0, face.shape[1] - 1)
        hit, b = face[row, column], bary[row, column]
        weights = np.stack([1 - b.sum(-1), b[..., 0], b[..., 1]], -1)
        return self.skin[np.maximum(hit, 0)], weights, hit >= 0

    def skull_radius(self, vertices: np.ndarray) -> np.ndarray:
        """The skull map (96, 64) of a head of this shape: distance from the centre to the skin."""
        found = self.skull_weights.any(1)
        points = (vertices[self.skull_corners] * self.skull_weights[:, :, None]).sum(1)
        radius = np.where(found, np.sqrt(((points - SKULL_CENTRE) ** 2).sum(1)), 0.8)
        return radius.reshape(SKULL_GRID)


@lru_cache(maxsize=1)
def head() -> Head:
    """The template head, read from the package once a process; 30 MB."""
    with np.load(FILE) as file:
        data = {name: file[name] for name in file.files}
    vertices = data["vertices"].astype(np.float64)
    triangles, part = data["triangles"].astype(np.int32), data["part"]
    uv, masks = (data["uv"] / 65535).astype(np.float32), data["masks"]
    offsets, starts = data["target_offsets"].astype(np.float64), data["target_starts"]
    rows = data["target_rows"].astype(np.int32)
    targets = {
        str(name): (rows[a:b], offsets[a:b])
        for name, a, b in zip(data["target_names"], starts[:-1], starts[1:], strict=True)
    }
    skin = triangles[part == BODY]
    corners = vertices[skin]
    middle = uv[part == BODY].mean(1)
    pixel = np.stack([(1 - middle[:, 1]) * masks.shape[1], middle[:, 0] * masks.shape[2]])
    at = np.clip(pixel, 0, masks.shape[1] - 1).astype(int)
    front = buffers(int(2.6 * FRONT_SCALE), int(2.0 * FRONT_SCALE))
    x, y, z = vertices.T
    screen = np.stack([(x - FRONT_LEFT) * FRONT_SCALE, (FRONT_TOP - y) * FRONT_SCALE, -z], 1)
    rasterise(screen, skin, *front)
    edges = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    return Head(
        vertices=vertices,
        triangles=triangles,
        part=part,
        uv=uv,
        masks=masks,
        lashes=data["lashes"].astype(np.int32),
        landmarks=data["landmarks"].astype(np.int32),
        occlusion=data["occlusion"] / 255,
        skull_corners=data["skull_corners"].astype(np.int32),
        skull_weights=data["skull_weights"].astype(np.float64),
        targets=targets,
        skin=skin,
        centres=corners.mean(1),
        areas=0.5 * np.sqrt((np.cross(*edges) ** 2).sum(1)),
        skin_masks=masks[:, at[0], at[1]] / 255.0,
        eyes=tuple(np.unique(triangles[part == eye]) for eye in (LEFT_EYE, RIGHT_EYE)),
        rigid=np.unique(triangles[part != BODY]),
        front=front[1:],
    )


def scatter(
    rng: np.random.Generator, template: Head, weight: np.ndarray, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """Random places on the skin, with density ``weight`` (k,) by triangle.

    Corner vertices (count, 3) and barycentric weights (count, 3).
    """
    share = weight * template.areas
    picked = rng.choice(len(share), count, p=share / share.sum())
    r = rng.random((count, 2))
    r = np.where(r.sum(1, keepdims=True) > 1, 1 - r, r)
    return template.skin[picked], np.stack([1 - r.sum(1), r[:, 0], r[:, 1]], 1)


def place(values: np.ndarray, corners: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Vertex values (n, 3), such as positions or normals, interpolated at places on the skin."""
    return (values[corners] * weights[..., None]).sum(-2)
