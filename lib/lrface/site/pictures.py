"""Pictures as a page takes them."""

from __future__ import annotations

import base64
import io
from pathlib import Path

from PIL import Image
from torch import Tensor


def save(face: Tensor, file: Path | io.BytesIO) -> None:
    """Save uint8 (3, H, W) as PNG."""
    Image.fromarray(face.permute(1, 2, 0).numpy()).save(file, "PNG", optimize=True)


def as_uri(face: Tensor) -> str:
    """Uint8 (3, H, W) as an address that holds the picture.

    Examples
    --------
    >>> import torch
    >>> as_uri(torch.zeros(3, 4, 4, dtype=torch.uint8))[:22]
    'data:image/png;base64,'
    """
    file = io.BytesIO()
    save(face, file)
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
