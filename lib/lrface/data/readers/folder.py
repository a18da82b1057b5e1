"""Your own faces: ``folder:PATH``, one sub-folder an identity, images of any common format."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from lrface.data.entries import contents
from lrface.data.images import SUFFIXES, UNREAD, Crop, unread
from lrface.errors import LrfaceError

LAYOUT = (
    "PATH/identity/image.jpg (or .png, .webp, .bmp, .tif), faces cropped, at least 128x128 pixels"
)
CROP = Crop()


def read(root: Path) -> pd.DataFrame:
    """The table of a folder: ``key`` and ``path`` (identity/image), ``identity``, ``problem``.

    ``problem`` says why an image is passed over: it lies elsewhere, or is of a kind that cannot be
    read. Hidden files and folders, and files that are no images, are ignored; links are followed.
    Raises :class:`LrfaceError` if there is no image.
    """
    if not root.is_dir():
        raise LrfaceError(f"folder {root} does not exist; give folder:PATH, laid out as {LAYOUT}")
    rows = [
        (path.relative_to(root).as_posix(), _problem(path, len(path.relative_to(root).parts)))
        for path in [*root.glob("*"), *root.glob("*/*"), *root.glob("*/*/*")]
        if not any(part[0] == "." for part in path.relative_to(root).parts)
    ]
    table = pd.DataFrame(sorted(rows), columns=["key", "problem"]).dropna()
    if not (table["problem"] == "").any():
        raise LrfaceError(
            f"folder {root} holds no image one level down ({contents(root)}); lay it out as "
            f"{LAYOUT}"
        )
    identity = table["key"].str.partition("/")[0]
    return table.assign(path=table["key"], identity=identity).reset_index(drop=True)


def _problem(path: Path, depth: int) -> str | None:
    """Why an entry is not used: empty if it is an image in its place, None if it is no image."""
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES | UNREAD or path.is_dir():
        return None
    if depth != 2:
        return "it is not in PATH/identity, but " + ("above" if depth == 1 else "below")
    return "" if suffix in SUFFIXES else unread(suffix)
