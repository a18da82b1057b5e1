"""WIDER FACE (Yang et al. 2016) as scenes: whole photographs, all boxes, and the official lists of
easy, medium and hard faces."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from scipy.io import loadmat

from lrface.data.readers.wider import boxes
from lrface.errors import LrfaceError

FOLDER = "wider"
LAYOUT = (
    "wider/WIDER_val/images/EVENT/*.jpg with wider/wider_face_split/wider_face_val_bbx_gt.txt, and "
    "optionally the lists wider_{easy,medium,hard}_val.mat in the same folder or in "
    "wider/eval_tools/ground_truth (WIDER_train likewise)"
)
LISTS = {"easy": 50, "medium": 30, "hard": 10}
"""The official lists, and the height in pixels that the faces of each exceed."""
SPLITS = ("train", "val")
PLACES = ("wider_face_split", "eval_tools/ground_truth", "ground_truth", ".")


def read(root: Path, split: str | None) -> tuple[pd.DataFrame, pd.DataFrame, str]:
    """The images and boxes of ``root/wider``, and the rule of the lists.

    Parameters
    ----------
    root : Path
        The data root.
    split : {"train", "val"} or None
        None: all whose list is there.

    Returns
    -------
    images : DataFrame
        ``key`` (EVENT/name.jpg), ``path``, ``split`` and ``event``, also of photographs without a
        face.
    boxes : DataFrame
        ``image`` (its key), ``x, y, w, h`` in pixels, the six attributes, ``event``, and bool
        ``easy, medium, hard``. Boxes of size 0 stay: the official code counts them.
    rule : str
        Where the three lists come from: ``official``, or ``height`` for what they follow nearly:
        faces over 50, 30 and 10 pixels high. (The official lists of the validation set hold 84, 236
        and 810 faces more.) Of the training set there are no official lists.

    Raises
    ------
    LrfaceError
        A list is missing or damaged, or the split is ``test``, whose boxes are not public.
    """
    folder = root / FOLDER
    if split == "test":
        raise LrfaceError("wider has no boxes of its test split, which are not public: use val")
    there = [part for part in SPLITS if _list(folder, part).is_file()]
    images, found, rules = [], [], set()
    for part in [split] if split else there or ["val"]:
        table = boxes(root, part)
        keys = table.attrs["images"]
        event = [key.split("/")[0].split("--")[-1] for key in keys]
        path = [f"{FOLDER}/WIDER_{part}/images/{key}" for key in keys]
        images.append(pd.DataFrame({"key": keys, "path": path, "split": part, "event": event}))
        table["event"] = table["image"].str.split("/").str[0].str.split("--").str[-1]
        lists = _official(folder, table) if part == "val" else None
        rules.add("height" if lists is None else "official")
        for name, height in LISTS.items():
            table[name] = table["h"] > height if lists is None else lists[name]
        found.append(table)
    tables = (pd.concat(parts, ignore_index=True) for parts in (images, found))
    return *tables, "official" if rules == {"official"} else "height"


def _list(folder: Path, split: str) -> Path:
    return folder / "wider_face_split" / f"wider_face_{split}_bbx_gt.txt"


def _official(folder: Path, table: pd.DataFrame) -> dict[str, np.ndarray] | None:
    """Which boxes the official lists hold, bool arrays in the order of ``table``."""
    for place in PLACES:
        files = {name: folder / place / f"wider_{name}_val.mat" for name in LISTS}
        if all(file.is_file() for file in files.values()):
            return {name: _from_mat(file, table) for name, file in files.items()}
    file = folder / "official_lists_150.csv"
    if not file.is_file():
        return None
    return _from_csv(file, table)


def _from_mat(file: Path, table: pd.DataFrame) -> np.ndarray:
    """A list in its official form: cells of events, of images, and of numbers of boxes from 1."""
    try:
        content = loadmat(file)
        if "file_list" not in content:
            content |= loadmat(file.parent / "wider_face_val.mat")
        events = [str(cell[0]) for cell in content["event_list"].ravel()]
        rows = [
            (f"{event}/{name[0]}.jpg", kept.astype(int).ravel())
            for event, names, lists in zip(
                events, content["file_list"].ravel(), content["gt_list"].ravel(), strict=True
            )
            for name, kept in zip(names.ravel(), lists.ravel(), strict=True)
        ]
    except Exception as error:  # scipy raises many kinds for a damaged file
        raise LrfaceError(
            f"wider: {file} is not in the official form ({type(error).__name__}); fetch it again"
        ) from None
    number = [(key, n) for key, kept in rows for n in kept]
    return _flags(file, table, number, {key for key, _ in rows})


def _from_csv(file: Path, table: pd.DataFrame) -> dict[str, np.ndarray] | None:
    """The lists as text: a row a box with its number in its image from 1, and three flags.

    None if it does not cover the images of ``table``.
    """
    columns = ["image", "face_index_1based", *LISTS]
    try:
        listed = pd.read_csv(file, usecols=columns)
        numbers = listed["face_index_1based"].astype(int)
        flags = listed[list(LISTS)].astype(int)
    except (ValueError, OSError, pd.errors.ParserError):
        raise LrfaceError(
            f"wider: {file} wants the columns {', '.join(columns)}; fetch it again"
        ) from None
    there = set(listed["image"])
    if not set(table["image"]) <= there:
        return None
    found = {}
    for name in LISTS:
        on = flags[name] == 1
        pairs = list(zip(listed["image"][on], numbers[on], strict=True))
        found[name] = _flags(file, table, pairs, there)
    return found


def _flags(file: Path, table: pd.DataFrame, listed: list, images: set[str]) -> np.ndarray:
    number = table.groupby("image").cumcount() + 1
    rows = pd.MultiIndex.from_arrays([table["image"], number])
    here = set(table["image"])
    wanted = pd.MultiIndex.from_tuples(
        [pair for pair in listed if pair[0] in here], names=["image", None]
    )
    missing = here - images
    if missing or not wanted.isin(rows).all():
        raise LrfaceError(
            f"wider: {file} does not belong to the list of boxes: "
            + (f"it lacks {min(missing)}" if missing else "it names boxes that are not there")
            + "; fetch both again"
        )
    return rows.isin(wanted)
