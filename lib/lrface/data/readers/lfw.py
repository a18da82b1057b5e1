"""Labeled Faces in the Wild, deep-funneled (Huang et al. 2007, 2012): 250x250, one folder an identity."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from lrface.data.images import Crop
from lrface.errors import LrfaceError

LAYOUT = "lfw/lfw-deepfunneled/Name/Name_0001.jpg"
# Cut, never resampled: the funnelled face with the margin the judge's own chip needs, clear of the black borders.
CROP = Crop(source=(250, 250), box=(61, 65, 189, 193), face=(0.13, 0.13, 0.87, 0.87))


def read(root: Path) -> pd.DataFrame:
    """The table of ``root/lfw``: ``key, path, identity`` and ``gender`` where the gender lists name the image."""
    folder = root / "lfw" / "lfw-deepfunneled"
    if not folder.is_dir():
        raise LrfaceError(f"LFW: {folder} is missing; the official layout is {LAYOUT}")
    paths = sorted(folder.glob("*/*.jpg"))
    if not paths:
        raise LrfaceError(f"LFW: {folder} holds no */*.jpg; the official layout is {LAYOUT}")
    table = pd.DataFrame({"key": [p.name for p in paths], "identity": [p.parent.name for p in paths]})
    table["path"] = [p.relative_to(root).as_posix() for p in paths]
    gender: dict[str, str] = {}
    for name in ("male", "female"):
        file = root / "lfw" / f"{name}_names.txt"
        if file.exists():
            gender |= dict.fromkeys(file.read_text().split(), name)
    if gender:
        table["gender"] = table["key"].map(gender)
    return table
