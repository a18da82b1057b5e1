"""IJB-C (Maze et al. 2018): frames of the videos of 3,531 people, as clips."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from lrface.data.entries import contents
from lrface.data.images import Crop, address
from lrface.data.readers.ytf import BOX, squares_around
from lrface.errors import LrfaceError

FOLDER = "IJB-C"
LISTS = ("ijbc_metadata.csv", "ijbc_metadata_with_age.csv")
LAYOUT = (
    "IJB-C/images/frames/*.png and IJB-C/protocols/ijbc_metadata.csv (or "
    "ijbc_metadata_with_age.csv) with the columns SUBJECT_ID, FILENAME, SIGHTING_ID, FACE_X, "
    "FACE_Y, FACE_WIDTH, FACE_HEIGHT and FRAME_NUM"
)
CROP = Crop()
SHORTEST = 4
"""Clips of fewer frames are left out, as in the paper on VidFace."""
BOXES = ["FACE_X", "FACE_Y", "FACE_WIDTH", "FACE_HEIGHT"]
NAMES = ["SUBJECT_ID", "FILENAME", "SIGHTING_ID"]


def read(root: Path) -> pd.DataFrame:
    """The table of ``root/IJB-C``: ``key, path, identity, clip, frame, side``.

    A clip is the frames of one sighting of a person, ``clip`` is SUBJECT_ID/SIGHTING_ID, ``key``
    that and the name of the frame. Stills are left out, and so are clips of fewer than four frames.
    A frame's square is 1.2 times its box; where a person has two different boxes in one frame, or
    none, ``side`` is 0 and it cannot be used. There is no official partition into splits.

    Raises :class:`LrfaceError` if the list is missing or not in its form, or names no clip.
    """
    folder = root / FOLDER
    listed = _listed(folder / "protocols")
    listed = listed[listed["FILENAME"].str.startswith("frames/")]
    table = pd.DataFrame({"identity": listed["SUBJECT_ID"], "file": listed["FILENAME"]})
    table["clip"] = listed["SUBJECT_ID"] + "/" + listed["SIGHTING_ID"]
    table["key"] = table["clip"] + "/" + listed["FILENAME"].str.removeprefix("frames/")
    number = listed["FILENAME"].str.extract(r"(\d+)\.\w+$")[0].astype(float)
    table["frame"] = listed["FRAME_NUM"].fillna(number).fillna(0).astype(int)
    boxes = listed[BOXES].set_index(table["key"])
    table = table.drop_duplicates("key")
    frames = table.groupby("clip")["key"].transform("size")
    table = table[frames >= SHORTEST].reset_index(drop=True)
    if table.empty:
        raise LrfaceError(
            f"IJB-C: the list in {folder / 'protocols'} names no clip of {SHORTEST} frames or more "
            f"in images/frames; the official layout is {LAYOUT}"
        )
    square = _squares(boxes).reindex(table["key"], fill_value=0)
    files = f"{FOLDER}/images/" + table.pop("file")
    places = square.itertuples(index=False, name=None)
    table["path"] = [address(file, place) for file, place in zip(files, places, strict=True)]
    return table.assign(side=square["side"].to_numpy())


def _listed(protocols: Path) -> pd.DataFrame:
    """The rows of the list of all pictures."""
    file = next((protocols / name for name in LISTS if (protocols / name).is_file()), None)
    if file is None:
        raise LrfaceError(
            f"IJB-C: {protocols / LISTS[0]} is missing: fetch it, the list of all pictures, from "
            f"the official archive ({contents(protocols, True)}); the layout is {LAYOUT}"
        )
    try:
        columns = [*NAMES, *BOXES, "FRAME_NUM"]
        types = dict.fromkeys(NAMES, str) | dict.fromkeys([*BOXES, "FRAME_NUM"], float)
        table = pd.read_csv(file, usecols=columns, dtype=types)
    except (ValueError, pd.errors.ParserError):
        raise LrfaceError(
            f"IJB-C: {file} is not in the official form, with the columns {', '.join(columns)}; "
            "fetch it again"
        ) from None
    return table.dropna(subset=NAMES)


def _squares(boxes: pd.DataFrame) -> pd.DataFrame:
    """Squares by frame, of those with one finite box."""
    boxes = boxes[np.isfinite(boxes).all(axis=1)].reset_index().drop_duplicates()
    boxes = boxes[~boxes["key"].duplicated(keep=False)].set_index("key")
    x, y, width, height = (boxes[column] for column in BOXES)
    side = BOX * np.maximum(width, height)
    return squares_around(boxes.index, x + width / 2, y + height / 2, side, 0.5)
