"""EDFace-Celeb-1M (Zhang et al. 2021): the benchmark's own faces, 128x128, and its small ones.

Only the part FH128 is read, whose settings are those of the paper's Table 2. Identities do not come
with the set: each image counts as a person of its own, so that intervals are over images.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from lrface.data.entries import contents, files_below
from lrface.data.images import BadImage, Crop, read_rgb
from lrface.errors import LrfaceError

if TYPE_CHECKING:
    from lrface.data.faceset import FaceSet

FOLDER = "EDFace-Celeb-1M"
LAYOUT = (
    "EDFace-Celeb-1M/train/HR and EDFace-Celeb-1M/test/HR with 128x128 pictures, and beside HR, "
    "under the same names, X2, X4, X4_BD, X4_DN and X8"
)
CROP = Crop(source=(128, 128), box=(0, 0, 128, 128))
PARTS = ("train", "test")
SMALL = {"2x": "X2", "4x": "X4", "4x_BD": "X4_BD", "4x_DN": "X4_DN", "8x": "X8"}
"""The folder of the provided small faces of each setting."""
SUFFIXES = {".png", ".jpg"}


def read(root: Path) -> pd.DataFrame:
    """The table of ``root/EDFace-Celeb-1M``: ``key, path, identity, official``.

    ``key`` is the path in the set, ``train/HR/NAME``; ``official`` is ``train`` or ``test``;
    ``identity`` is ``?/`` and the key, for people are not known. Raises :class:`LrfaceError` if
    there is no picture.
    """
    folder, parts = root / FOLDER, []
    for part in PARTS:
        names = files_below(folder / part / "HR", SUFFIXES)
        keys = [f"{part}/HR/{name}" for name in names]
        parts.append(pd.DataFrame({"key": keys, "official": part}, dtype=object))
    table = pd.concat(parts, ignore_index=True)
    if table.empty:
        raise LrfaceError(
            f"EDFace-Celeb-1M: no picture in {folder}/train/HR or test/HR "
            f"({contents(folder, True)}); the layout is {LAYOUT}"
        )
    return table.assign(path=f"{FOLDER}/" + table["key"], identity="?/" + table["key"])


def small(faces: FaceSet, row: int, setting: str) -> np.ndarray:
    """The small face that comes with the set, uint8 (128 / scale, 128 / scale, 3).

    Parameters
    ----------
    faces : FaceSet
        Of this set.
    row : int
    setting : str
        A name of EDFace's settings, such as ``"4x_BD"``.

    Raises
    ------
    LrfaceError
        It is not there, or has another size.
    """
    part, _, name = faces.table["key"].iat[row].split("/", 2)
    folder = faces.root / FOLDER / part / SMALL[setting]
    file = next((f for s in SUFFIXES if (f := (folder / name).with_suffix(s)).is_file()), None)
    try:
        image = read_rgb(file or folder / name)
    except BadImage as problem:
        raise LrfaceError(
            f"EDFace-Celeb-1M: {folder / name}: {problem} ({contents(folder, True)}); the layout "
            f"is {LAYOUT}"
        ) from None
    side = CROP.size // int(setting[0])
    if image.shape != (side, side, 3):
        raise LrfaceError(
            f"EDFace-Celeb-1M: {folder / name} has {image.shape[1]}x{image.shape[0]} pixels, and "
            f"the setting {setting} has {side}x{side}"
        )
    return image
