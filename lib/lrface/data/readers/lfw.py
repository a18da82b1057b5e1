"""Labeled Faces in the Wild, deep-funneled (Huang et al. 2007, 2012): 250x250 pixels."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from lrface.data.entries import contents, text
from lrface.data.images import Crop
from lrface.errors import LrfaceError

LAYOUT = "lfw/lfw-deepfunneled/Name/Name_0001.jpg"
# Cut without resampling: the funnelled face, with the margin that a recogniser's alignment needs,
# and without the black borders.
CROP = Crop(source=(250, 250), box=(61, 65, 189, 193), face=(0.13, 0.13, 0.87, 0.87))


PICTURES = ("lfw/lfw-deepfunneled", "lfw/lfw-deepfunneled/lfw-deepfunneled")
"""Where the pictures may lie: archives are unpacked in more than one way."""


def read(root: Path) -> pd.DataFrame:
    """The table of ``root/lfw``: ``key, path, identity``, and ``gender`` from the gender lists.

    ``key`` is Name_0001.jpg, as the lists name an image, whatever its suffix. ``gender`` is missing
    for images that no list names. Raises :class:`LrfaceError` if there is no image.
    """
    folder = root / PICTURES[0]
    if not folder.is_dir():
        raise LrfaceError(
            f"LFW: {folder} is missing ({contents(root / 'lfw', True)}); the official layout is "
            f"{LAYOUT}, and other alignments of the set are other pictures"
        )
    found = (p for place in PICTURES for p in sorted((root / place).glob("*/*")))
    paths = [p for p in found if p.suffix.lower() in (".jpg", ".png") and p.name[0] != "."]
    if not paths:
        raise LrfaceError(
            f"LFW: {folder} holds no */*.jpg ({contents(folder)}); the official layout is {LAYOUT}"
        )
    keys, identities = [f"{p.stem}.jpg" for p in paths], [p.parent.name for p in paths]
    table = pd.DataFrame({"key": keys, "identity": identities})
    table["path"] = [p.relative_to(root).as_posix() for p in paths]
    gender: dict[str, str] = {}
    for name in ("male", "female"):
        file = root / "lfw" / f"{name}_names.txt"
        if file.exists():
            gender |= dict.fromkeys(text(file).split(), name)
    if gender:
        table["gender"] = table["key"].map(gender)
    return table


def pairs(root: Path) -> pd.DataFrame:
    """The pairs of ``root/lfw/pairs.txt``: ``first, second`` (keys), ``same``, ``fold`` (from 0).

    In the order of the file. The official one has 10 folds of 300 same and then 300 different
    pairs. Raises :class:`LrfaceError` if it is missing or incomplete.
    """
    file = root / "lfw" / "pairs.txt"
    if not file.is_file():
        raise LrfaceError(
            f"LFW: {file} is missing; it is the list of pairs that comes with the set "
            f"({contents(file.parent, True)})"
        )
    try:
        header, *lines = [line.split() for line in text(file).splitlines() if line.strip()]
        folds, half = (int(number) for number in header)
        # "Name a b" is a pair of one person, "Name a Other b" one of two people
        first = [f"{line[0]}_{int(line[1]):04d}.jpg" for line in lines]
        second = [
            f"{line[-2] if len(line) == 4 else line[0]}_{int(line[-1]):04d}.jpg" for line in lines
        ]
        fold = [i // (2 * half) for i in range(len(lines))]
        in_order = all(len(line) == 3 + (i // half) % 2 for i, line in enumerate(lines))
        if len(lines) != folds * 2 * half or not in_order:
            raise ValueError
    except (ValueError, IndexError, ZeroDivisionError):
        raise LrfaceError(
            f"LFW: {file} is not whole: want a line 'folds n', then n same and n different pairs "
            "a fold"
        ) from None
    same = [len(line) == 3 for line in lines]
    return pd.DataFrame({"first": first, "second": second, "same": same, "fold": fold})
