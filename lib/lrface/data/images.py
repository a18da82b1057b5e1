"""Reading image files of any origin as RGB arrays, and cutting the square face crop out of them."""

from __future__ import annotations

import contextlib
import io
import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".ppm", ".pgm"}
Square = tuple[int, int, int]
"""``left, top, side`` of a face in a larger image, in its pixels; ``side`` 0 if unknown."""


class BadImage(Exception):
    """A file cannot be used, with the reason; callers skip and count it."""


def read_rgb(source: str | Path | bytes) -> np.ndarray:
    """Read an image of any common format, a file or its content, as uint8 (H, W, 3).

    Greyscale, palette and CMYK images are converted; of 16-bit greyscale the high byte is used;
    transparency is dropped; the EXIF orientation is applied. Raises :class:`BadImage` if the file
    is empty, truncated, corrupt, or no image.
    """
    packed = isinstance(source, bytes)
    try:
        if (len(source) if packed else Path(source).stat().st_size) == 0:
            raise BadImage("the file is empty")
        with Image.open(io.BytesIO(source) if packed else source) as image:
            if Image.MAX_IMAGE_PIXELS and image.width * image.height > Image.MAX_IMAGE_PIXELS:
                raise BadImage("more pixels than any face photo has")
            image.load()
            if image.mode.startswith("I;16") or image.mode == "I":
                grey = np.asarray(image)
                if grey.max(initial=0) > 255:
                    grey = grey >> 8
                image = Image.fromarray(grey.astype(np.uint8))
            with contextlib.suppress(Exception):  # the pixels are good if the EXIF block is not
                image = ImageOps.exif_transpose(image)
            return np.asarray(image.convert("RGB"))
    except BadImage:
        raise
    except FileNotFoundError:
        raise BadImage("the file is missing") from None
    except UnidentifiedImageError:
        raise BadImage("not an image") from None
    except Image.DecompressionBombError:
        raise BadImage("more pixels than any face photo has") from None
    except (OSError, SyntaxError, ValueError, EOFError, TypeError) as error:
        first_line = (str(error).splitlines() or [type(error).__name__])[0]
        raise BadImage(f"truncated or corrupt ({first_line})") from None


def address(file: str, square: Square) -> str:
    """The entry of a table's ``path`` column for a face that is a square of a larger image."""
    return f"{file}#{square[0]},{square[1]},{square[2]}"


def located(path: str) -> tuple[str, Square | None]:
    """File and square of an :func:`address`; the square is None for the path of a whole file."""
    found = re.fullmatch(r"(.+)#(-?\d+),(-?\d+),(\d+)", path, re.DOTALL)
    return (found[1], (int(found[2]), int(found[3]), int(found[4]))) if found else (path, None)


@dataclass(frozen=True)
class Crop:
    """The rule that cuts the square face crop out of an image of a set; part of its fingerprint.

    - With ``box`` the image must have ``source`` pixels, and the box is cut without resampling.
    - Else the largest centred square is resized to ``size`` (Lanczos, with antialiasing). Smaller
      squares are refused: enlarged, they would not be high-resolution ground truth.
    - An image with a ``square`` of its own, such as a video frame, has that cut out, its edge
      repeated where the square reaches outside, and resized by the same filter. It may be enlarged,
      since the faces of a clip are as small as they are.
    - With ``pad`` the square is the whole image, its shorter side extended by repeating the edges:
      for small faces that come cut out.
    """

    size: int = 128
    """Rows and columns of the crop."""
    source: tuple[int, int] | None = None
    """Width and height of the set's images."""
    box: tuple[int, int, int, int] | None = None
    """Left, top, right and bottom of the crop in them."""
    face: tuple[float, float, float, float] = (0.1, 0.15, 0.9, 0.95)
    """Left, top, right and bottom of the face as fractions of the crop, if no detector finds it."""
    # Not in the repr, which is hashed: fingerprints from before this field existed stay valid.
    pad: bool = field(default=False, repr=False)

    def __call__(self, image: np.ndarray, square: Square | None = None) -> np.ndarray:
        """uint8 (H, W, 3) to uint8 (size, size, 3); raises :class:`BadImage` if it does not fit."""
        piece = self.cut(image, square)
        height, width = image.shape[:2]
        if not (square or self.box or self.pad) and len(piece) < self.size:
            raise BadImage(
                f"{width}x{height} pixels, smaller than the {self.size}x{self.size} "
                "ground truth needs"
            )
        if len(piece) == self.size:
            return piece
        size = (self.size, self.size)
        return np.asarray(Image.fromarray(piece).resize(size, Image.Resampling.LANCZOS))

    def cut(self, image: np.ndarray, square: Square | None = None) -> np.ndarray:
        """The square that the rule cuts out of uint8 (H, W, 3), not resized."""
        h, w = image.shape[:2]
        if self.pad:
            side = max(h, w)
            square = ((w - side) // 2, (h - side) // 2, side)
        if square:
            left, top, side = square
            if side < 1:
                raise BadImage("no list says where its face is, or one says it twice")
            x, y = left + side / 2, top + side / 2
            if not (0 <= x <= w and 0 <= y <= h and side <= 2 * max(w, h)):
                raise BadImage(
                    f"its face, {side} pixels at ({left}, {top}), is not in the {w}x{h} frame"
                )
            rows = np.arange(top, top + side).clip(0, h - 1)
            columns = np.arange(left, left + side).clip(0, w - 1)
            return image[rows[:, None], columns]
        if self.box:
            if (w, h) != self.source:
                width, height = self.source
                raise BadImage(f"{w}x{h} pixels, this set's images have {width}x{height}")
            left, top, right, bottom = self.box
            return image[top:bottom, left:right]
        side = min(h, w)
        top, left = (h - side) // 2, (w - side) // 2
        return image[top : top + side, left : left + side]
