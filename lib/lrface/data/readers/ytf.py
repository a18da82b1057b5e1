"""YouTube Faces (Wolf, Hassner and Maoz 2011): frames of 3,425 video clips of 1,595 people."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd

from lrface.data.entries import contents, text
from lrface.data.images import Crop, address
from lrface.errors import LrfaceError

LAYOUT = (
    "ytf/frame_images_DB/Name/clip/clip.k.jpg, with Name.labeled_faces.txt beside the folders "
    "and ytf/splits.txt"
)
CROP = Crop(face=(0.13, 0.20, 0.83, 0.91))
# Frames are cut half-way between CelebA's crop and LFW's, since networks trained on either are
# tested on them. dlib's 68 landmarks span (the larger of width and height) 0.70 of CelebA's crop
# and 0.77 of LFW's, and their mean is 0.62 and 0.58 of the way down it (medians of 120 faces each).
# Around the official Viola-Jones box this is a square of 1.2 boxes: LFW's images are 2.2 boxes
# wide, so its crop is 128 / 250 * 2.2 = 1.13 boxes, and would be 1.18 at a span of 0.73 instead of
# 0.77; OpenCV's Viola-Jones detector gives 1.21 on 150 frames with landmarks, and the same centre.
SPAN, DOWN, BOX = 0.73, 0.60, 1.2
XY = [f"{axis}{k}" for k in range(68) for axis in "xy"]


def _listed(file: Path, columns: list[str], **options) -> pd.DataFrame:
    """Numbers by frame, without frames that lack one or have two rows that differ."""
    try:
        table = pd.read_csv(file, dtype={"path": str} | dict.fromkeys(columns, float), **options)[
            ["path", *columns]
        ]
        table["path"] = table["path"].str.replace("\\", "/")
    except (ValueError, KeyError):
        raise LrfaceError(f"YTF: {file} is not in the official form; fetch it again") from None
    table = table[np.isfinite(table[columns]).all(axis=1)].drop_duplicates()
    return table[~table["path"].duplicated(keep=False)].set_index("path")


def squares_around(
    frames: pd.Index, x: np.ndarray, y: np.ndarray, side: np.ndarray, down: float
) -> pd.DataFrame:
    """Squares around (x, y), half-way across and ``down`` of their height, in whole pixels.

    Whole pixels, so that a square of 128 is not resampled.
    """
    square = {"left": x - side / 2, "top": y - side * down, "side": np.maximum(side, 0)}
    return pd.DataFrame(square, index=frames).clip(-1e6, 1e6).round().astype(int)


def read(root: Path) -> pd.DataFrame:
    """The table of ``root/ytf``: ``key, path, identity, clip`` (Name/clip), ``frame``, ``side``.

    ``frame`` is the number in the file's name. A frame's square comes from the official list of
    boxes, else from its landmarks in ``ytf/keypoints68.csv`` (``path, x0, y0, ..., y67``); without
    either its ``side`` is 0 and it cannot be used. If the landmarks of any frame are known there is
    a column ``landmarks``: float32 (68, 2) in pixels of the crop, NaN where unknown. Raises
    :class:`LrfaceError` if there is no frame, or a list is not in its form.
    """
    folder, marks = root / "ytf" / "frame_images_DB", root / "ytf" / "keypoints68.csv"
    files = (path.relative_to(folder).as_posix() for path in folder.glob("*/*/*.jpg"))
    keys = sorted(file for file in files if re.search(r"/\d+\.\d+\.jpg$", file))
    if not keys:
        raise LrfaceError(
            f"YTF: {folder} holds no Name/clip/clip.k.jpg ({contents(folder)}); the official "
            f"layout is {LAYOUT}"
        )
    known = _listed(marks, XY) if marks.is_file() else pd.DataFrame(columns=XY, dtype=float)
    listed = pd.concat([*_from_boxes(folder), _from_landmarks(known)])
    square = listed[~listed.index.duplicated()].reindex(keys, fill_value=0)
    table = pd.DataFrame(
        {
            "key": keys,
            "identity": [key.split("/")[0] for key in keys],
            "clip": [key.rpartition("/")[0] for key in keys],
            "frame": [int(key.split(".")[-2]) for key in keys],
            "side": square["side"].to_numpy(),
        }
    )
    squares = square.itertuples(index=False, name=None)
    table["path"] = [
        address(f"ytf/frame_images_DB/{key}", one) for key, one in zip(keys, squares, strict=True)
    ]
    if len(known):
        corner = square[["left", "top"]].to_numpy()[:, None]
        scale = CROP.size / square["side"].where(square["side"] > 0).to_numpy()[:, None, None]
        points = known.reindex(keys).to_numpy().reshape(-1, 68, 2) + 0.5
        table["landmarks"] = list(((points - corner) * scale - 0.5).astype(np.float32))
    return table


def _from_boxes(folder: Path) -> list[pd.DataFrame]:
    """Squares by frame, of each of the official lists of boxes."""
    squares = []
    for file in sorted(folder.glob("*.labeled_faces.txt")):
        names = ["path", "-", *"xywh"]
        box = _listed(file, list("xywh"), header=None, names=names, usecols=range(6))
        side = BOX * box[["w", "h"]].max(axis=1)
        squares.append(squares_around(box.index, box["x"], box["y"], side, 0.5))
    return squares


def _from_landmarks(known: pd.DataFrame) -> pd.DataFrame:
    """Squares by frame, from the mean and the span of the landmarks."""
    points = known.to_numpy().reshape(-1, 68, 2)
    x, y = points.mean(axis=1).T + 0.5
    side = np.ptp(points, axis=1).max(axis=1) / SPAN
    return squares_around(known.index, x, y, side, DOWN)


def pairs(root: Path) -> pd.DataFrame | None:
    """The official 5,000 pairs of clips, or None if their list is not there.

    ``first, second`` (values of ``clip``), ``same`` and ``fold`` (from 0), from the lines ``split,
    number, first, second, same`` of ``ytf/splits.txt``, or from the indices in
    ``ytf/meta_data/meta_and_splits.mat``. Raises :class:`LrfaceError` if the list is incomplete.
    """
    files = [root / "ytf" / "splits.txt", root / "ytf" / "meta_data" / "meta_and_splits.mat"]
    if not (file := next(filter(Path.is_file, files), None)):
        return None
    try:
        if file.suffix == ".mat":
            from scipy.io import loadmat  # slow to import: only this file needs it

            lists = loadmat(file, squeeze_me=True, variable_names=["video_names", "Splits"])
            names, splits = lists["video_names"].tolist(), lists["Splits"].astype(int)
            rows = [
                (names[a - 1], names[b - 1], same, k)
                for k in range(splits.shape[2])
                for a, b, same in splits[:, :, k].tolist()
            ]
        else:
            lines = filter(str.strip, text(file).splitlines())
            cells = [re.split(r"\s*,\s*", line.strip()) for line in lines]
            rows = [
                (first, second, int(same), int(k) - 1)
                for k, _, first, second, same in cells
                if k.isdecimal()
            ]
        table = pd.DataFrame(rows, columns=["first", "second", "same", "fold"])
        balanced = (table.groupby("fold")["same"].mean() == 0.5).all()
        if table.empty or not table["same"].isin([0, 1]).all() or not balanced:
            raise ValueError
    except (ValueError, KeyError, IndexError, TypeError, NotImplementedError):
        raise LrfaceError(
            f"YTF: {file} is not whole: want folds of as many pairs of one person as of two; "
            "fetch it again"
        ) from None
    return table.astype({"same": bool})
