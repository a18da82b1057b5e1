"""CelebA (Liu et al. 2015), aligned images: 178x218 pixels, 40 attributes, official partition."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

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


def _read(path: Path, **options) -> pd.DataFrame:
    try:
        return pd.read_csv(path, sep=r"\s+", **options)
    except FileNotFoundError:
        raise LrfaceError(f"CelebA: {path} is missing; the official layout is {LAYOUT}") from None
    except (ValueError, pd.errors.ParserError) as error:
        raise LrfaceError(
            f"CelebA: {path} is not in the official form ({error}); fetch it again"
        ) from None


def read(root: Path) -> pd.DataFrame:
    """The table of ``root/celeba``: ``key, path, identity, official, gender``, 40 bool attributes.

    ``official`` is ``train``, ``val`` or ``test`` of the official partition. Raises
    :class:`LrfaceError` if a list is missing or not in the official form.
    """
    folder = root / "celeba"
    identity = _read(
        folder / "identity_CelebA.txt", header=None, names=["key", "identity"], dtype=str
    )
    partition = _read(folder / "list_eval_partition.txt", header=None, names=["key", "part"])
    attributes = _read(folder / "list_attr_celeba.txt", skiprows=1)
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
    table["path"] = "celeba/img_align_celeba/" + table["key"]
    if "Male" in table:
        table["gender"] = table["Male"].map({True: "male", False: "female"})
    return table


def attributes(table: pd.DataFrame) -> tuple[str, ...]:
    """The names of the attribute columns, in the official order."""
    return tuple(c for c in table.columns if table[c].dtype == bool)
