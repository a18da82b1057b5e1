"""TinyFace (Cheng, Zhu and Gong 2018): native low-resolution faces, 20 pixels high on average, and
a 1:N search with its lists."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from lrface.data.images import Crop
from lrface.errors import LrfaceError

LAYOUT = (
    "tinyface/Training_Set/ID/*.jpg and tinyface/Testing_Set/{Probe,Gallery_Match,Gallery_Distractor}/*.jpg "
    "with probe_img_ID_pairs.mat and gallery_match_img_ID_pairs.mat in Testing_Set"
)
# The detector's boxes hug the face; nothing was cut from them, so nothing is cut here.
CROP = Crop(pad=True, face=(0.0, 0.0, 1.0, 1.0))
ROLES = ("gallery", "probe", "distractor")
NOBODY = "-100"


def read(root: Path) -> pd.DataFrame:
    """The table of ``root/tinyface``: ``key, identity, path, official`` (train or test), ``role``
    and ``native``, True for all.

    ``role`` is ``train``, or in the search ``probe``, ``gallery`` (its mates) or ``distractor``
    (paper, Table 2). ``key`` is the path in ``tinyface``. Nobody knows who the distractors are:
    each is an identity of its own, ``-100/`` and its name. A part that is missing, and a list that
    names a file which is not there, raise :class:`LrfaceError`.
    """
    train = _pictures(root, "Training_Set", "its 7,804 pictures, a folder an identity")
    parts = [
        pd.DataFrame(
            {"key": train, "identity": [key.split("/")[-2] for key in train], "role": "train"}
        )
    ]
    for role, folder, which, count in (
        ("probe", "Probe", "probe", "3,728"),
        ("gallery", "Gallery_Match", "gallery", "4,443"),
    ):
        there = _pictures(root, f"Testing_Set/{folder}", f"its {count} pictures")
        names, ids = _list(root, folder, which)
        keys = f"Testing_Set/{folder}/" + names
        if absent := sorted(set(keys) - set(there)):
            raise LrfaceError(
                f"TinyFace: the list of {folder} names {len(keys)} pictures and {len(absent)} of them are not there, "
                f"{root / 'tinyface' / absent[0]} the first: fetch Testing_Set/{folder} again"
            )
        parts.append(pd.DataFrame({"key": keys, "identity": ids, "role": role}))
    others = _pictures(root, "Testing_Set/Gallery_Distractor", "its 153,428 pictures")
    nobody = [f"{NOBODY}/{key.removeprefix('Testing_Set/Gallery_Distractor/')}" for key in others]
    parts.append(pd.DataFrame({"key": others, "identity": nobody, "role": "distractor"}))
    table = pd.concat(parts, ignore_index=True)
    return table.assign(
        path="tinyface/" + table["key"],
        official=np.where(table["role"] == "train", "train", "test"),
        native=True,
    ).sort_values("key", ignore_index=True)


def identification_lists(root: Path) -> pd.DataFrame:
    """The official 1:N search: ``key, identity, role`` of every picture of the test set, mates'
    identities being equal."""
    table = read(root)
    return table.loc[table["role"].isin(ROLES), ["key", "identity", "role"]].sort_values(
        ["role", "key"], ignore_index=True
    )


def _pictures(root: Path, folder: str, what: str) -> list[str]:
    """The keys of all pictures in a folder of the set and below it."""
    place = root / "tinyface"
    found = sorted(
        p.relative_to(place).as_posix()
        for p in (place / folder).rglob("*.jpg")
        if not p.name.startswith(".")
    )
    if not found:
        raise LrfaceError(
            f"TinyFace: {place / folder} holds no *.jpg: fetch {what}, from the official archive; the layout is {LAYOUT}"
        )
    return found


def _list(root: Path, folder: str, which: str) -> tuple[np.ndarray, np.ndarray]:
    """File names and identities of one of the two lists, as strings."""
    from scipy.io import loadmat  # only those who hold this set wait for it

    file = (
        root
        / "tinyface"
        / "Testing_Set"
        / f"{'probe' if which == 'probe' else 'gallery_match'}_img_ID_pairs.mat"
    )
    if not file.is_file():
        raise LrfaceError(
            f"TinyFace: {file} is missing: fetch it, the list of {folder}, from the official archive"
        )
    try:
        told = loadmat(file, squeeze_me=True, variable_names=[f"{which}_set", f"{which}_ids"])
        names, ids = (np.atleast_1d(told[f"{which}_{column}"]) for column in ("set", "ids"))
        names, ids = np.array([str(name).strip() for name in names]), ids.astype(int).astype(str)
    except NotImplementedError:
        raise LrfaceError(
            f"TinyFace: {file} is in MATLAB's v7.3 format, which is HDF5: save it again with `save -v7`"
        ) from None
    except Exception:  # a damaged file ends in any of a dozen
        raise LrfaceError(
            f"TinyFace: {file} is not in the official form ({which}_set and {which}_ids): fetch it again"
        ) from None
    if not len(names) or len(names) != len(ids) or len(set(names)) < len(names):
        raise LrfaceError(
            f"TinyFace: {file} is not whole: want each picture once, with one identity; fetch it again"
        )
    return names, ids
