"""TinyFace (Cheng, Zhu and Gong 2018): native low-resolution faces and the lists of a 1:N search.

The faces are 20 pixels high on average.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from lrface.data.entries import contents, files_below
from lrface.data.images import Crop
from lrface.errors import LrfaceError

LAYOUT = (
    "tinyface/Training_Set/ID/*.jpg and "
    "tinyface/Testing_Set/{Probe,Gallery_Match,Gallery_Distractor}/*.jpg "
    "with probe_img_ID_pairs.mat and gallery_match_img_ID_pairs.mat in Testing_Set"
)
# The images are a detector's boxes, which are tight around the face: the whole image is used.
CROP = Crop(pad=True, face=(0.0, 0.0, 1.0, 1.0))
ROLES = ("gallery", "probe", "distractor")
NOBODY = "-100"
"""The identity that the set gives every distractor."""


def read(root: Path) -> pd.DataFrame:
    """The table of ``root/tinyface``: ``key, identity, path, official``, ``role`` and ``native``.

    ``key`` is the path in ``tinyface``, ``official`` is ``train`` or ``test``, ``native`` is True
    for all. ``role`` is ``train``, or in the search ``probe``, ``gallery`` (the probes' mates) or
    ``distractor`` (paper, Table 2). The distractors' identities are unknown: each counts as an
    identity of its own, ``-100/`` and its file name. Raises :class:`LrfaceError` if a part is
    missing, or a list names a file that is not there.
    """
    train = _images(root, "Training_Set", "its 7,804 pictures, a folder an identity")
    identities = [key.split("/")[-2] for key in train]
    parts = [pd.DataFrame({"key": train, "identity": identities, "role": "train"})]
    for role, folder, which, count in (
        ("probe", "Probe", "probe", "3,728"),
        ("gallery", "Gallery_Match", "gallery", "4,443"),
    ):
        there = _images(root, f"Testing_Set/{folder}", f"its {count} pictures")
        names, ids = _list(root, folder, which)
        keys = f"Testing_Set/{folder}/" + names
        if absent := sorted(set(keys) - set(there)):
            raise LrfaceError(
                f"TinyFace: the list of {folder} names {len(keys)} pictures and {len(absent)} of "
                f"them are not there, {root / 'tinyface' / absent[0]} the first: "
                f"fetch Testing_Set/{folder} again"
            )
        parts.append(pd.DataFrame({"key": keys, "identity": ids, "role": role}))
    distractors = "Testing_Set/Gallery_Distractor"
    others = _images(root, distractors, "its 153,428 pictures")
    identities = [f"{NOBODY}/{key.removeprefix(f'{distractors}/')}" for key in others]
    parts.append(pd.DataFrame({"key": others, "identity": identities, "role": "distractor"}))
    table = pd.concat(parts, ignore_index=True)
    return table.assign(
        path="tinyface/" + table["key"],
        official=np.where(table["role"] == "train", "train", "test"),
        native=True,
    ).sort_values("key", ignore_index=True)


def identification_lists(root: Path) -> pd.DataFrame:
    """The official 1:N search: ``key, identity, role`` of every image of the test set."""
    table = read(root)
    return table.loc[table["role"].isin(ROLES), ["key", "identity", "role"]].sort_values(
        ["role", "key"], ignore_index=True
    )


def _images(root: Path, folder: str, what: str) -> list[str]:
    """The keys of all images in a folder of the set, sub-folders included."""
    place = root / "tinyface"
    found = files_below(place / folder, {".jpg"})
    if not found:
        raise LrfaceError(
            f"TinyFace: {place / folder} holds no *.jpg: fetch {what}, from the official archive "
            f"({contents(place / folder)}); the layout is {LAYOUT}"
        )
    return [f"{folder}/{name}" for name in found]


def _list(root: Path, folder: str, which: str) -> tuple[np.ndarray, np.ndarray]:
    """File names and identities of one of the two lists, as strings."""
    from scipy.io import loadmat  # slow to import: only this set needs it

    prefix = "probe" if which == "probe" else "gallery_match"
    file = root / "tinyface" / "Testing_Set" / f"{prefix}_img_ID_pairs.mat"
    if not file.is_file():
        raise LrfaceError(
            f"TinyFace: {file} is missing: fetch it, the list of {folder}, from the official "
            f"archive ({contents(file.parent, True)})"
        )
    try:
        lists = loadmat(file, squeeze_me=True, variable_names=[f"{which}_set", f"{which}_ids"])
        names, ids = (np.atleast_1d(lists[f"{which}_{column}"]) for column in ("set", "ids"))
        names, ids = np.array([str(name).strip() for name in names]), ids.astype(int).astype(str)
    except NotImplementedError:
        raise LrfaceError(
            f"TinyFace: {file} is in MATLAB's v7.3 format, which is HDF5: "
            "save it again with `save -v7`"
        ) from None
    except Exception:  # scipy raises a dozen kinds for a damaged file
        raise LrfaceError(
            f"TinyFace: {file} is not in the official form ({which}_set and {which}_ids): "
            "fetch it again"
        ) from None
    if not len(names) or len(names) != len(ids) or len(set(names)) < len(names):
        raise LrfaceError(
            f"TinyFace: {file} is not whole: want each picture once, with one identity; "
            "fetch it again"
        )
    return names, ids
