"""YouTube Faces (Wolf, Hassner and Maoz 2011): frames of 3,425 video clips, a folder a person and
in it one a clip."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd

from lrface.data.images import Crop, address
from lrface.errors import LrfaceError

LAYOUT = "ytf/frame_images_DB/Name/clip/clip.k.jpg, with Name.labeled_faces.txt beside the folders and ytf/splits.txt"
CROP = Crop(face=(0.13, 0.20, 0.83, 0.91))
# dlib's 68 landmarks span (the larger of width and height) 0.70 of CelebA's crop and 0.77 of LFW's,
# and their mean lies 0.62 and 0.58 down it, medians of 120 faces each. Frames are cut half-way
# between: networks trained on either set are tested on them. About the official Viola-Jones box
# that is a square of 1.2 boxes. LFW's pictures are 2.2 boxes wide, so its crop is 128 / 250 * 2.2 =
# 1.13, and at 0.73 instead of 0.77 it would be 1.18; OpenCV's Viola-Jones detector on 150 frames
# with landmarks says 1.21, and the same centre.
SPAN, DOWN, BOX = 0.73, 0.60, 1.2
XY = [f"{axis}{k}" for k in range(68) for axis in "xy"]


def _listed(file: Path, columns: list[str], **options) -> pd.DataFrame:
    """Numbers by frame. A frame with one missing, or with two rows that differ (which is its
    picture's?), counts as not listed."""
    try:
        table = pd.read_csv(file, dtype={"path": str} | dict.fromkeys(columns, float), **options)[
            ["path", *columns]
        ]
        table["path"] = table["path"].str.replace("\\", "/")
    except (ValueError, KeyError):
        raise LrfaceError(f"YTF: {file} is not in the official form; fetch it again") from None
    table = table[np.isfinite(table[columns]).all(axis=1)].drop_duplicates()
    return table[~table["path"].duplicated(keep=False)].set_index("path")


def _squares(
    frames: pd.Index, x: np.ndarray, y: np.ndarray, side: np.ndarray, down: float
) -> pd.DataFrame:
    """Squares with (x, y) half-way across and ``down`` their height: whole pixels, so that one of
    128 is not resampled."""
    square = {"left": x - side / 2, "top": y - side * down, "side": np.maximum(side, 0)}
    return pd.DataFrame(square, index=frames).clip(-1e6, 1e6).round().astype(int)


def read(root: Path) -> pd.DataFrame:
    """The table of ``root/ytf``: ``key, path, identity, clip`` (Name/clip), ``frame`` (the file's
    k) and ``side``.

    A frame's square comes from the official list of boxes, else from its landmarks in
    ``ytf/keypoints68.csv`` (``path, x0, y0, ..., y67``), else its ``side`` is 0 and it cannot be
    used. ``landmarks``, if any are known: float32 (68, 2), pixels of the crop, NaN if unknown.
    """
    folder, marks = root / "ytf" / "frame_images_DB", root / "ytf" / "keypoints68.csv"
    keys = sorted(
        key
        for p in folder.glob("*/*/*.jpg")
        if re.search(r"/\d+\.\d+\.jpg$", key := p.relative_to(folder).as_posix())
    )
    if not keys:
        raise LrfaceError(
            f"YTF: {folder} holds no Name/clip/clip.k.jpg; the official layout is {LAYOUT}"
        )
    squares = []
    for file in sorted(folder.glob("*.labeled_faces.txt")):
        box = _listed(
            file, list("xywh"), header=None, names=["path", "-", *"xywh"], usecols=range(6)
        )
        squares.append(
            _squares(box.index, box["x"], box["y"], BOX * box[["w", "h"]].max(axis=1), 0.5)
        )
    known = _listed(marks, XY) if marks.is_file() else pd.DataFrame(columns=XY, dtype=float)
    points = known.to_numpy().reshape(-1, 68, 2)
    squares.append(
        _squares(
            known.index,
            *(points.mean(axis=1).T + 0.5),
            np.ptp(points, axis=1).max(axis=1) / SPAN,
            DOWN,
        )
    )
    square = (
        pd.concat(squares)
        .loc[lambda listed: ~listed.index.duplicated()]
        .reindex(keys, fill_value=0)
    )
    table = pd.DataFrame(
        {
            "key": keys,
            "identity": [k.split("/")[0] for k in keys],
            "clip": [k.rpartition("/")[0] for k in keys],
        }
    )
    table = table.assign(
        frame=[int(k.split(".")[-2]) for k in keys], side=square["side"].to_numpy()
    )
    table["path"] = [
        address(f"ytf/frame_images_DB/{k}", s)
        for k, s in zip(keys, square.itertuples(index=False, name=None), strict=True)
    ]
    if len(known):
        corner, scale = (
            square[["left", "top"]].to_numpy(),
            CROP.size / square["side"].where(square["side"] > 0).to_numpy(),
        )
        points = known.reindex(keys).to_numpy().reshape(-1, 68, 2) + 0.5
        table["landmarks"] = list(
            ((points - corner[:, None]) * scale[:, None, None] - 0.5).astype(np.float32)
        )
    return table


def pairs(root: Path) -> pd.DataFrame | None:
    """The official 5,000 pairs of clips: ``first, second`` (values of ``clip``), ``same``, ``fold``
    (from 0), from the lines ``split, number, first, second, same`` of ``ytf/splits.txt`` or by
    index from ``ytf/meta_data/meta_and_splits.mat``; None if neither is there."""
    files = [root / "ytf" / "splits.txt", root / "ytf" / "meta_data" / "meta_and_splits.mat"]
    if not (file := next(filter(Path.is_file, files), None)):
        return None
    try:
        if file.suffix == ".mat":
            from scipy.io import loadmat  # only those who hold this file wait for it

            told = loadmat(file, squeeze_me=True, variable_names=["video_names", "Splits"])
            names, splits = told["video_names"].tolist(), told["Splits"].astype(int)
            rows = [
                (names[a - 1], names[b - 1], same, k)
                for k in range(splits.shape[2])
                for a, b, same in splits[:, :, k].tolist()
            ]
        else:
            lines = [
                re.split(r"\s*,\s*", line.strip())
                for line in file.read_text(encoding="utf-8").splitlines()
                if line.strip()
            ]
            rows = [
                (first, second, int(same), int(k) - 1)
                for k, _, first, second, same in lines
                if k.isdecimal()
            ]
        table = pd.DataFrame(rows, columns=["first", "second", "same", "fold"])
        if (
            table.empty
            or not table["same"].isin([0, 1]).all()
            or not (table.groupby("fold")["same"].mean() == 0.5).all()
        ):
            raise ValueError
    except (ValueError, KeyError, IndexError, TypeError, NotImplementedError):
        raise LrfaceError(
            f"YTF: {file} is not whole: want folds of as many pairs of one person as of two; fetch it again"
        ) from None
    return table.astype({"same": bool})
