"""Your own clips: ``data.load_clips("folder:PATH")``, a folder an identity, in it one a clip."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
from PIL import Image

from lrface.data.images import SUFFIXES, Crop, address
from lrface.errors import LrfaceError

LAYOUT = (
    "PATH/identity/clip/frame.jpg (or .png, .webp, .bmp, .tif), face crops of one size within a "
    "clip, in the order of their names; a portrait frame is used whole, of a landscape one the "
    "central square"
)
CROP = Crop()
ORIENTATION, TURNED = 274, (5, 6, 7, 8)
"""The EXIF tag, and its values that exchange rows and columns."""


def holds_clips(root: Path) -> bool:
    """Whether a folder has the layout of clips and not that of pictures (``identity/image``)."""
    return not _images(root, "*/*") and bool(_images(root, "*/*/*"))


def read(root: Path) -> pd.DataFrame:
    """The table of a folder: ``key`` (identity/clip/frame.jpg), ``path, identity, clip, frame``.

    ``clip`` is identity/clip. ``frame`` counts from 0, in the order of the files' names, where 10
    comes after 9. ``size`` is the frame's, as ``96x128``; empty for a file that is no image. Raises
    :class:`LrfaceError` if there is no image three levels down.
    """
    files = _images(root, "*/*/*")
    if not files:
        raise LrfaceError(
            f"folder {root} holds no image in folders of folders; lay clips out as {LAYOUT}"
        )
    table = pd.DataFrame({"key": [file.relative_to(root).as_posix() for file in files]})
    table["clip"] = table["key"].str.rpartition("/")[0]
    table["identity"] = table["clip"].str.partition("/")[0]
    table["frame"] = table.groupby("clip").cumcount()
    sizes = [_size(file) for file in files]
    table["size"] = [f"{w}x{h}" if h else "" for w, h in sizes]
    # As high as the frame: the central square, or the whole frame between repeated edges.
    squares = [((w - h) // 2, 0, h) if h else None for w, h in sizes]
    table["path"] = [
        address(key, square) if square else key
        for key, square in zip(table["key"], squares, strict=True)
    ]
    return table


def _images(root: Path, pattern: str) -> list[Path]:
    """The images at a depth, by folder and number; hidden files and folders are ignored."""
    found = (path for path in root.glob(pattern) if path.suffix.lower() in SUFFIXES)
    shown = (p for p in found if not any(x[0] == "." for x in p.relative_to(root).parts))
    return sorted((path for path in shown if path.is_file()), key=_order)


def _order(file: Path) -> tuple:
    """Names in order, their numbers as numbers; the name itself between equal ones."""
    numbers = [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", file.name)]
    return file.parent, numbers, file.name


def _size(file: Path) -> tuple[int, int]:
    """Width and height as it is shown; 0 if it is no image."""
    try:
        with Image.open(file) as image:
            width, height = image.size
            turned = image.getexif().get(ORIENTATION) in TURNED
    except Exception:  # Pillow raises a dozen kinds for a damaged file; it is named when it is read
        return 0, 0
    return (height, width) if turned else (width, height)
