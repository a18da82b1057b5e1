"""From a file a stranger made to an RGB array, or one clear reason why not."""

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
"""``left, top, side`` of a face in a larger picture, in its pixels; ``side`` 0 where nobody says."""


class BadImage(Exception):
    """Why one file cannot be used; it is skipped, counted and named, and the others go on."""


def read_rgb(source: str | Path | bytes) -> np.ndarray:
    """Read any common image, a file or its content, as uint8 (H, W, 3).

    Greyscale, palette and CMYK files are converted; 16-bit greyscale keeps its high byte;
    transparency is dropped; the EXIF orientation is applied. A file that is empty, truncated,
    corrupt or no image raises :class:`BadImage` with the reason.
    """
    try:
        if (len(source) if isinstance(source, bytes) else Path(source).stat().st_size) == 0:
            raise BadImage("the file is empty")
        with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as image:
            if Image.MAX_IMAGE_PIXELS and image.width * image.height > Image.MAX_IMAGE_PIXELS:
                raise BadImage("more pixels than any face photo has")
            image.load()
            if image.mode.startswith("I;16") or image.mode == "I":
                grey = np.asarray(image)
                if grey.max(initial=0) > 255:
                    grey = grey >> 8
                image = Image.fromarray(grey.astype(np.uint8))
            with contextlib.suppress(
                Exception
            ):  # a damaged EXIF block says nothing about the pixels
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
        raise BadImage(
            f"truncated or corrupt ({str(error).splitlines()[0] if str(error) else type(error).__name__})"
        ) from None


def address(file: str, square: Square) -> str:
    """How a table's ``path`` column names a face that is one square of a larger picture: what is
    read depends on nothing else."""
    return f"{file}#{square[0]},{square[1]},{square[2]}"


def located(path: str) -> tuple[str, Square | None]:
    """File and square of an :func:`address`; any other path is a file whose place of the face is
    the set's rule alone."""
    found = re.fullmatch(r"(.+)#(-?\d+),(-?\d+),(\d+)", path, re.DOTALL)
    return (found[1], (int(found[2]), int(found[3]), int(found[4]))) if found else (path, None)


@dataclass(frozen=True)
class Crop:
    """The rule that turns one image of a set into its square face crop; stated once a set, stored
    with every number.

    With ``box`` (left, top, right, bottom) the source must have ``source`` (width, height) pixels
    and the box is cut out with no resampling. Without, the largest centred square is taken and
    resized to ``size`` by antialiased (Lanczos) filtering; smaller squares are refused, since
    enlarging would invent the high-resolution truth.

    Where each image brings a ``square`` of its own, as video frames do, that is cut out, the
    frame's edge repeated where it reaches outside, and resized by the same filter: enlarged too,
    since the faces of a clip are as small as they are. With ``pad`` that square is the whole
    picture's, its shorter side made as long as the other by repeating the edges: for faces that
    came cut out and small.
    """

    size: int = 128
    source: tuple[int, int] | None = None
    box: tuple[int, int, int, int] | None = None
    face: tuple[float, float, float, float] = (0.1, 0.15, 0.9, 0.95)
    """Where the face lies in the crop (left, top, right, bottom as fractions): the fallback when a
    detector finds none."""
    pad: bool = field(
        default=False, repr=False
    )  # the fingerprints of sets that do not pad are of a text without it

    def __call__(self, image: np.ndarray, square: Square | None = None) -> np.ndarray:
        """uint8 (H, W, 3) to uint8 (size, size, 3); raises :class:`BadImage` when the rule does not
        fit the image."""
        piece = self.cut(image, square)
        if not (square or self.box or self.pad) and len(piece) < self.size:
            raise BadImage(
                f"{image.shape[1]}x{image.shape[0]} pixels, smaller than the {self.size}x{self.size} ground truth needs"
            )
        if len(piece) == self.size:
            return piece
        return np.asarray(
            Image.fromarray(piece).resize((self.size, self.size), Image.Resampling.LANCZOS)
        )

    def cut(self, image: np.ndarray, square: Square | None = None) -> np.ndarray:
        """The square piece of uint8 (H, W, 3) that the rule takes, not resized."""
        h, w = image.shape[:2]
        if self.pad:
            side = max(h, w)
            square = ((w - side) // 2, (h - side) // 2, side)
        if square:
            left, top, side = square
            if side < 1:
                raise BadImage("no list says where its face is, or one says it twice")
            if not (
                0 <= left + side / 2 <= w and 0 <= top + side / 2 <= h and side <= 2 * max(w, h)
            ):
                raise BadImage(
                    f"its face, {side} pixels at ({left}, {top}), is not in the {w}x{h} frame"
                )
            return image[
                np.arange(top, top + side).clip(0, h - 1)[:, None],
                np.arange(left, left + side).clip(0, w - 1),
            ]
        if self.box:
            if (w, h) != self.source:
                raise BadImage(
                    f"{w}x{h} pixels, this set's images have {self.source[0]}x{self.source[1]}"
                )
            left, top, right, bottom = self.box
            return image[top:bottom, left:right]
        side = min(h, w)
        top, left = (h - side) // 2, (w - side) // 2
        return image[top : top + side, left : left + side]
