"""WIDER FACE (Yang et al. 2016): native low-resolution faces, cut out of whole photographs.

The set has neither HR images nor identities, so it is no :class:`lrface.data.FaceSet`: this module
gives images and their rows of the official list.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from PIL import Image

from lrface.data.entries import contents, text
from lrface.data.images import BadImage, read_rgb
from lrface.errors import LrfaceError

if TYPE_CHECKING:  # torch is imported where tensors are made: the renderer's workers never need it
    from torch import Tensor

LAYOUT = "wider/WIDER_val/images/EVENT/*.jpg with wider/wider_face_split/wider_face_val_bbx_gt.txt"
MARGIN = 1.45
"""Side of the cut over the height of the official box, which is tight: as the other sets' crops."""
COLUMNS = ["x", "y", "w", "h", "blur", "expression", "illumination", "invalid", "occlusion", "pose"]
"""The numbers of a face in the official list."""


def boxes(root: Path, split: str = "val") -> pd.DataFrame:
    """Every face of the official list: ``image`` and ``COLUMNS``, one row a face.

    ``attrs["images"]`` of the table lists all photographs, also those without a face.

    Raises :class:`LrfaceError` if the list is missing or not in the official form.
    """
    file = root / "wider" / "wider_face_split" / f"wider_face_{split}_bbx_gt.txt"
    try:
        lines = text(file).splitlines()
    except OSError:
        raise LrfaceError(
            f"WIDER: {file} is missing ({contents(file.parent, True)}); the official layout is "
            f"{LAYOUT}"
        ) from None
    rows, images, at = [], [], 0
    try:
        while at < len(lines):
            image, count = lines[at].strip(), int(lines[at + 1])
            listed = max(count, 1)  # a photograph without a face has one line of zeros
            found = [[int(n) for n in line.split()] for line in lines[at + 2 : at + 2 + listed]]
            if len(found) < listed or any(len(numbers) != len(COLUMNS) for numbers in found):
                raise ValueError
            images.append(image)
            rows += [[image, *numbers] for numbers in found[:count]]
            at += 2 + listed
    except (ValueError, IndexError):
        raise LrfaceError(
            f"WIDER: {file} is not in the official form near line {at + 1}; fetch it again"
        ) from None
    table = pd.DataFrame(rows, columns=["image", *COLUMNS])
    table.attrs["images"] = images
    return table


def native(
    root: Path, size: int, least: int, most: int, limit: int | None = None
) -> tuple[Tensor, pd.DataFrame]:
    """Faces of ``least`` to ``most`` pixels, resized to ``size``, and their rows of the list.

    Only faces that are valid, not occluded, of typical pose, and wholly inside their photograph.
    Photographs that are not at hand are skipped.

    Parameters
    ----------
    root : Path
        The data root.
    size : int
        Width and height of the images, by bicubic interpolation.
    least, most : int
        Limits of the native width in pixels, which is ``MARGIN`` times the height of the box.
    limit : int, optional
        At most this many faces, a sample by a hash.

    Returns
    -------
    faces : Tensor
        uint8 (N, 3, size, size).
    table : DataFrame
        Their rows of :func:`boxes`, and ``side``, the native width.

    Raises
    ------
    LrfaceError
        There is no such face.
    """
    table = boxes(root)
    table["side"] = (MARGIN * table["h"]).round().astype(int)
    table = table[
        table["side"].between(least, most)
        & (table[["invalid", "occlusion", "pose"]] == 0).all(axis=1)
    ]
    marks = [f"{row.image} {row.x} {row.y}" for row in table.itertuples()]
    order = [hashlib.sha256(mark.encode()).hexdigest() for mark in marks]
    table = table.iloc[np.argsort(order, kind="stable")]
    faces, used = [], []
    for row in table.itertuples():
        if limit is not None and len(used) == limit:
            break
        try:
            photograph = read_rgb(root / "wider" / "WIDER_val" / "images" / row.image)
        except BadImage:
            continue
        left = round(row.x + row.w / 2 - row.side / 2)
        top = round(row.y + row.h / 2 - row.side / 2)
        piece = photograph[max(top, 0) : top + row.side, max(left, 0) : left + row.side]
        if piece.shape[:2] == (row.side, row.side):
            resized = Image.fromarray(piece).resize((size, size), Image.Resampling.BICUBIC)
            faces.append(np.asarray(resized))
            used.append(row.Index)
    if not faces:
        raise LrfaceError(
            f"WIDER: no face of {least} to {most} pixels in {root / 'wider' / 'WIDER_val'}; "
            f"the official layout is {LAYOUT}"
        )
    import torch

    images = torch.from_numpy(np.stack(faces)).permute(0, 3, 1, 2).contiguous()
    return images, table.loc[used].reset_index(drop=True)
