"""TUFS-145K (Gan et al. 2021, VidFace): 145,402 clips of seven face crops, from VoxCeleb2."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd

from lrface.data.entries import contents, text
from lrface.data.images import Crop
from lrface.errors import LrfaceError

LAYOUT = (
    "tufs/GT/id/clip/im1.png ... im7.png (128 rows, 96 columns), with tufs_train.txt, tufs_val.txt "
    "and tufs_test.txt beside GT (lines `id/clip 7 (16, 12, 3)`), and if you have them landmarks "
    "as tufs/landmarks.json ({id/clip/im1.png: [x1, y1, ..., x5, y5]}, in fractions of the frame)"
)
# 96 columns become 128 by repeating the edges, and a ClipSet takes the middle 96 of them again.
CROP = Crop(pad=True, face=(0.125, 0.0, 0.875, 1.0))
PARTS = ("train", "test", "val")
"""The lists, in the order in which they claim a person: two people are in two lists."""
FRAMES = range(1, 8)
ROWS, COLUMNS = 128, 96
PLACES = (range(36, 42), range(42, 48), (30,), (48,), (54,))
"""Which of 68 landmarks stand for each of the five: eye, eye, nose tip, mouth corner, corner."""


def read(root: Path) -> pd.DataFrame:
    """The table of ``root/tufs``: ``key`` (id/clip/imN.png), ``path, identity, clip, frame``.

    ``clip`` is id/clip, as in the official lists; ``official`` comes from those that are there, and
    without any the clips are those in the folder. The lists of train and val, and of test and val,
    share one person each: val loses these clips, so that the splits share nobody. With
    ``landmarks.json`` there is a column ``landmarks``, float32 (68, 2) in pixels of the crop: the
    five at the places that stand for them, NaN elsewhere and where a frame has none.

    Raises :class:`LrfaceError` if there is no clip, or a list is not in its form.
    """
    folder = root / "tufs"
    lists = [(part, folder / f"tufs_{part}.txt") for part in PARTS]
    clips = [(clip, part) for part, file in lists if file.is_file() for clip in _clips(file)]
    if not clips:
        found = sorted(folder.glob("GT/*/*/im1.png"))
        clips = [(file.parent.relative_to(folder / "GT").as_posix(), "") for file in found]
    if not clips:
        raise LrfaceError(
            f"TUFS-145K: {folder} holds no GT/id/clip/im1.png ({contents(folder)}); the official "
            f"layout is {LAYOUT}"
        )
    table = pd.DataFrame(clips, columns=["clip", "official"]).drop_duplicates("clip")
    table["identity"] = table["clip"].str.split("/").str[0]
    first = table.drop_duplicates("identity").set_index("identity")["official"]
    table = table[table["official"] == table["identity"].map(first)]
    names = [f"{clip}/im{k}.png" for clip, k in product(table["clip"], FRAMES)]
    table = table.loc[table.index.repeat(len(FRAMES))].reset_index(drop=True)
    table = table.assign(frame=list(FRAMES) * (len(table) // len(FRAMES)), key=names)
    table["path"] = "tufs/GT/" + table["key"]
    if not table["official"].any():
        del table["official"]
    if (marks := folder / "landmarks.json").is_file():
        table["landmarks"] = _landmarks(marks, names)
    return table


def _clips(file: Path) -> list[str]:
    """The names ``id/clip`` in one of the lists."""
    lines = text(file).splitlines()
    names = [line.split()[0] for line in lines if line.strip()]
    if bad := [name for name in names if not all(_plain(part) for part in _halves(name))]:
        raise LrfaceError(
            f"TUFS-145K: {file} is not in the official form (`id/clip 7 (16, 12, 3)`, "
            f"but one line begins with {bad[0]!r}); fetch it again"
        )
    return names


def _halves(name: str) -> list[str]:
    parts = name.split("/")
    return parts if len(parts) == 2 else [""]


def _plain(part: str) -> bool:
    """Whether it can be a folder's name, and leads nowhere else."""
    return part not in ("", ".", "..")


def _landmarks(file: Path, names: list[str]) -> list[np.ndarray]:
    """68 landmarks of each frame, of which those that stand for its five are known."""
    try:
        known = json.loads(file.read_text(encoding="utf-8"))
        named = known.keys() & set(names)
        points = {name: np.float32(known[name]).reshape(5, 2) for name in named}
    except (ValueError, TypeError, AttributeError):
        raise LrfaceError(
            f"TUFS-145K: {file} is not the JSON of ten numbers a frame "
            '({"id/clip/im1.png": [x1, y1, ..., x5, y5]}); write it again'
        ) from None
    unknown = np.full((68, 2), np.nan, np.float32)
    found = dict.fromkeys(names, unknown)
    for name, five in points.items():
        found[name] = unknown.copy()
        for place, point in zip(PLACES, five, strict=True):
            found[name][list(place)] = point * (COLUMNS, ROWS) + ((ROWS - COLUMNS) // 2, 0)
    return [found[name] for name in names]
