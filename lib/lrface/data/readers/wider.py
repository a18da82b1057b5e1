"""WIDER FACE (Yang et al. 2016): faces as small as the camera saw them, cut out of whole
photographs in the official layout.

There is no high-resolution truth and no identity here, so this is no :class:`lrface.data.FaceSet`:
only pictures and what the official list says of them.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch import Tensor

from lrface.data.images import BadImage, read_rgb
from lrface.errors import LrfaceError

LAYOUT = "wider/WIDER_val/images/EVENT/*.jpg with wider/wider_face_split/wider_face_val_bbx_gt.txt"
MARGIN = 1.45
"""Side of the cut over the height of the official box, which hugs the face: the framing of the
other sets' crops."""
FACTS = ["x", "y", "w", "h", "blur", "expression", "illumination", "invalid", "occlusion", "pose"]


def boxes(root: Path) -> pd.DataFrame:
    """Every face of the validation list: ``image`` and the official ``x, y, w, h, blur, ...,
    pose``; a row a face.

    Raises :class:`LrfaceError` if the list is missing or not in the official form.
    """
    file = root / "wider" / "wider_face_split" / "wider_face_val_bbx_gt.txt"
    try:
        lines = file.read_text().splitlines()
    except OSError:
        raise LrfaceError(f"WIDER: {file} is missing; the official layout is {LAYOUT}") from None
    rows, at = [], 0
    try:
        while at < len(lines):
            image, count = lines[at].strip(), int(lines[at + 1])
            # a photograph with no face has one line of zeros all the same
            found = [
                [int(n) for n in line.split()] for line in lines[at + 2 : at + 2 + max(count, 1)]
            ]
            if len(found) < max(count, 1) or any(len(numbers) != len(FACTS) for numbers in found):
                raise ValueError
            rows += [[image, *numbers] for numbers in found[:count]]
            at += 2 + max(count, 1)
    except (ValueError, IndexError):
        raise LrfaceError(
            f"WIDER: {file} is not in the official form near line {at + 1}; fetch it again"
        ) from None
    return pd.DataFrame(rows, columns=["image", *FACTS])


def native(
    root: Path, size: int, least: int, most: int, limit: int | None = None
) -> tuple[Tensor, pd.DataFrame]:
    """Faces whose cut is ``least`` to ``most`` pixels wide, brought to ``size``: uint8 (N, 3, size,
    size), and their rows of the list.

    Only upright, unoccluded faces that are marked valid and lie wholly inside their photograph;
    ``side`` is the native width. ``limit`` draws evenly by a hash. Photographs of the list that are
    not at hand are passed over; none at all raises :class:`LrfaceError`.
    """
    table = boxes(root)
    table["side"] = (MARGIN * table["h"]).round().astype(int)
    table = table[
        table["side"].between(least, most)
        & (table[["invalid", "occlusion", "pose"]] == 0).all(axis=1)
    ]
    draw = [
        hashlib.sha256(f"{r.image} {r.x} {r.y}".encode()).hexdigest() for r in table.itertuples()
    ]
    table = table.iloc[np.argsort(draw, kind="stable")]
    faces, kept = [], []
    for row in table.itertuples():
        if limit is not None and len(kept) == limit:
            break
        try:
            photograph = read_rgb(root / "wider" / "WIDER_val" / "images" / row.image)
        except BadImage:
            continue
        left, top = (
            round(start + length / 2 - row.side / 2)
            for start, length in ((row.x, row.w), (row.y, row.h))
        )
        piece = photograph[max(top, 0) : top + row.side, max(left, 0) : left + row.side]
        if piece.shape[:2] == (row.side, row.side):
            faces.append(
                np.asarray(Image.fromarray(piece).resize((size, size), Image.Resampling.BICUBIC))
            )
            kept.append(row.Index)
    if not faces:
        raise LrfaceError(
            f"WIDER: no face of {least} to {most} pixels in {root / 'wider' / 'WIDER_val'}; the official layout is {LAYOUT}"
        )
    return torch.from_numpy(np.stack(faces)).permute(0, 3, 1, 2).contiguous(), table.loc[
        kept
    ].reset_index(drop=True)
