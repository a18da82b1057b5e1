"""Your own faces: ``folder:PATH``, one sub-folder an identity, images of any common format."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from lrface.data.images import SUFFIXES, Crop
from lrface.errors import LrfaceError

LAYOUT = (
    "PATH/identity/image.jpg (or .png, .webp, .bmp, .tif), faces cropped, at least 128x128 pixels"
)
CROP = Crop()


def read(root: Path) -> pd.DataFrame:
    """The table of a folder: ``key`` and ``path`` (identity/image), ``identity``.

    Hidden files and folders are ignored. Raises :class:`LrfaceError` if there is no image.
    """
    if not root.is_dir():
        raise LrfaceError(f"folder {root} does not exist; give folder:PATH, laid out as {LAYOUT}")
    files = sorted(
        p
        for p in root.glob("*/*")
        if p.is_file() and not p.name.startswith(".") and not p.parent.name.startswith(".")
    )
    files = [p for p in files if p.suffix.lower() in SUFFIXES]
    if not files:
        raise LrfaceError(f"folder {root} holds no image one level down; lay it out as {LAYOUT}")
    keys = [p.relative_to(root).as_posix() for p in files]
    return pd.DataFrame({"key": keys, "path": keys, "identity": [p.parent.name for p in files]})
