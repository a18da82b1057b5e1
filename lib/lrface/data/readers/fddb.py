"""FDDB (Jain and Learned-Miller 2010): 2,845 photographs whose 5,171 faces are ellipses."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd

from lrface.data.entries import contents, files_below, text
from lrface.errors import LrfaceError

FOLDER = "fddb"
LAYOUT = (
    "fddb/FDDB-folds/FDDB-fold-XX-ellipseList.txt and fddb/originalPics/YYYY/MM/DD/big/img_N.jpg"
)
ELLIPSE = ["major", "minor", "angle", "cx", "cy"]
"""The numbers of a face in the official lists: half axes in pixels, angle in radians, centre."""


def read(root: Path, split: str | None) -> tuple[pd.DataFrame, pd.DataFrame, str]:
    """The images and faces of ``root/fddb``; FDDB has no lists of easy faces, so no rule.

    Parameters
    ----------
    root : Path
        The data root.
    split : {"test"} or None
        FDDB is a test set.

    Returns
    -------
    images : DataFrame
        ``key`` (as in the lists), ``path``, ``split`` (test) and ``fold`` (1 to 10).
    boxes : DataFrame
        ``image`` (its key), ``x, y, w, h``, the upright box around the ellipse, and the ellipse
        itself: ``major, minor, angle, cx, cy``.
    rule : str
        Empty.

    Raises
    ------
    LrfaceError
        The lists are missing or damaged, or another split.
    """
    if split not in (None, "test"):
        raise LrfaceError(f"fddb has no {split} split: it is a test set")
    folder = root / FOLDER
    below = (folder / name for name in files_below(folder, {".txt"}))
    files = [file for file in below if file.match("FDDB-fold-*-ellipseList.txt")]
    if not files:
        raise LrfaceError(
            f"fddb: no ellipse list in {folder} ({contents(folder)}); the official layout is "
            f"{LAYOUT}"
        )
    images, faces = [], []
    for file in files:
        fold = int(re.search(r"fold-(\d+)", file.name)[1])
        for key, rows in _listed(file):
            images.append((key, f"{FOLDER}/originalPics/{key}.jpg", "test", fold))
            faces += [(key, *row) for row in rows]
    table = pd.DataFrame(faces, columns=["image", *ELLIPSE])
    table[ELLIPSE] = table[ELLIPSE].astype(float)
    cos, sin = np.cos(table["angle"]), np.sin(table["angle"])
    half_w = np.hypot(table["major"] * cos, table["minor"] * sin)
    half_h = np.hypot(table["major"] * sin, table["minor"] * cos)
    sides = {
        "x": table["cx"] - half_w,
        "y": table["cy"] - half_h,
        "w": 2 * half_w,
        "h": 2 * half_h,
    }
    table = pd.concat([table[["image"]], pd.DataFrame(sides), table[ELLIPSE]], axis=1)
    return pd.DataFrame(images, columns=["key", "path", "split", "fold"]), table, ""


def _listed(file: Path):
    """Each image of a list, and its ellipses."""
    lines, at = text(file).splitlines(), 0
    try:
        while at < len(lines) and lines[at].strip():
            key, count = lines[at].strip(), int(lines[at + 1])
            found = [[float(n) for n in line.split()] for line in lines[at + 2 : at + 2 + count]]
            if count < 0 or len(found) < count or any(len(row) not in (5, 6) for row in found):
                raise ValueError
            yield key, [row[:5] for row in found]
            at += 2 + count
    except (ValueError, IndexError):
        raise LrfaceError(
            f"fddb: {file} is not in the official form near line {at + 1}; fetch it again"
        ) from None
