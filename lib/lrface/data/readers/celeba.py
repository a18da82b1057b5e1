"""CelebA (Liu et al. 2015), aligned images: 178x218 pixels, 40 attributes, official partition."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pandas as pd

from lrface.data.entries import contents, text
from lrface.data.images import Crop
from lrface.errors import LrfaceError

LAYOUT = (
    "celeba/img_align_celeba/*.jpg with identity_CelebA.txt, list_attr_celeba.txt and "
    "list_eval_partition.txt beside the folder"
)
# Cut without resampling: rows 57-184 hold the aligned face from brows to chin, with the margin that
# a recogniser's alignment needs.
CROP = Crop(source=(178, 218), box=(25, 57, 153, 185), face=(0.16, 0.22, 0.84, 0.90))
PARTITION = {0: "train", 1: "val", 2: "test"}


PICTURES = ("img_align_celeba", "img_align_celeba/img_align_celeba", "img_align_celeba_png")
"""Where the pictures may lie: archives are unpacked in more than one way."""
LISTS = (".", "Anno", "Eval")
"""Where the lists may lie."""


def _read(folder: Path, name: str, **options) -> pd.DataFrame:
    places = [folder / place / name for place in LISTS]
    path = next((path for path in places if path.is_file()), None)
    if path is None:
        raise LrfaceError(
            f"CelebA: {folder / name} is missing ({contents(folder, True)}), and copies of the set "
            f"without it cannot be used; the official layout is {LAYOUT}"
        )
    try:
        lines = text(path).splitlines()
        if options.pop("titled", False):  # its first line may be the number of pictures
            lines = lines[1:] if lines and lines[0].strip().isdecimal() else lines
        return pd.read_csv(io.StringIO("\n".join(lines)), sep=r"\s+", **options)
    except (ValueError, pd.errors.ParserError) as error:
        first = str(error).strip().splitlines()[0]
        raise LrfaceError(
            f"CelebA: {path} is not in the official form ({first}); fetch it again"
        ) from None


def read(root: Path) -> pd.DataFrame:
    """The table of ``root/celeba``: ``key, path, identity, official, gender``, 40 bool attributes.

    ``official`` is ``train``, ``val`` or ``test`` of the official partition. Pictures may be PNG;
    ``key`` is the name in the lists. Raises :class:`LrfaceError` if a list or all pictures are
    missing, or a list is not in the official form.
    """
    folder = root / "celeba"
    identity = _read(
        folder, "identity_CelebA.txt", header=None, names=["key", "identity"], dtype=str
    ).dropna()
    names = dict(header=None, names=["key", "part"])
    partition = _read(folder, "list_eval_partition.txt", **names)
    attributes = _read(folder, "list_attr_celeba.txt", titled=True)
    attributes = (attributes > 0).rename_axis("key").reset_index()
    table = (
        identity.merge(partition, on="key")
        .merge(attributes, on="key")
        .sort_values("key", ignore_index=True)
    )
    if table.empty:
        raise LrfaceError(
            f"CelebA: the three lists in {folder} name no image in common; fetch them again"
        )
    table["official"] = table.pop("part").map(PARTITION)
    table["path"] = _paths(folder, table["key"])
    if "Male" in table:
        table["gender"] = table["Male"].map({True: "male", False: "female"})
    return table


def _paths(folder: Path, keys: pd.Series) -> pd.Series:
    """The file of each picture under the data root."""
    first = f"celeba/{PICTURES[0]}/"
    if (folder / PICTURES[0] / keys.iat[0]).is_file():
        return first + keys
    for place in PICTURES:
        if (folder / place).is_dir():
            images = (name for name in os.listdir(folder / place) if name[0] != ".")
            there = {Path(name).stem.lower(): f"celeba/{place}/{name}" for name in images}
            found = keys.map(lambda key, there=there: there.get(Path(key).stem.lower()))
            if found.notna().any():
                return found.fillna(first + keys)
    raise LrfaceError(
        f"CelebA: {folder / PICTURES[0]} holds none of the pictures that the lists name "
        f"({contents(folder / PICTURES[0])}); the official layout is {LAYOUT}"
    )


def attributes(table: pd.DataFrame) -> tuple[str, ...]:
    """The names of the attribute columns, in the official order."""
    return tuple(c for c in table.columns if table[c].dtype == bool)
