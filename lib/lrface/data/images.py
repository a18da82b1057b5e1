"""From a file a stranger made to an RGB array, or one clear reason why not."""

from __future__ import annotations

import contextlib
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".ppm", ".pgm"}


class BadImage(Exception):
    """Why one file cannot be used; it is skipped, counted and named, and the others go on."""


def read_rgb(source: str | Path | bytes) -> np.ndarray:
    """Read any common image, a file or its content, as uint8 (H, W, 3).

    Greyscale, palette and CMYK files are converted; 16-bit greyscale keeps its high byte; transparency is dropped; the EXIF
    orientation is applied. A file that is empty, truncated, corrupt or no image raises :class:`BadImage` with the reason.
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
            with contextlib.suppress(Exception):  # a damaged EXIF block says nothing about the pixels
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
        raise BadImage(f"truncated or corrupt ({str(error).splitlines()[0] if str(error) else type(error).__name__})") from None


@dataclass(frozen=True)
class Crop:
    """The rule that turns one image of a set into its square face crop; stated once a set, stored with every number.

    With ``box`` (left, top, right, bottom) the source must have ``source`` (width, height) pixels and the box is cut out with no
    resampling. Without, the largest centred square is taken and resized to ``size`` by antialiased (Lanczos) filtering; smaller
    squares are refused, since enlarging would invent the high-resolution truth.
    """

    size: int = 128
    source: tuple[int, int] | None = None
    box: tuple[int, int, int, int] | None = None
    face: tuple[float, float, float, float] = (0.1, 0.15, 0.9, 0.95)
    """Where the face lies in the crop (left, top, right, bottom as fractions): the fallback when a detector finds none."""

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """uint8 (H, W, 3) to uint8 (size, size, 3); raises :class:`BadImage` when the rule does not fit the image."""
        h, w = image.shape[:2]
        if self.box:
            if (w, h) != self.source:
                raise BadImage(f"{w}x{h} pixels, this set's images have {self.source[0]}x{self.source[1]}")
            left, top, right, bottom = self.box
            return image[top:bottom, left:right]
        side = min(h, w)
        if side < self.size:
            raise BadImage(f"{w}x{h} pixels, smaller than the {self.size}x{self.size} ground truth needs")
        top, left = (h - side) // 2, (w - side) // 2
        square = image[top : top + side, left : left + side]
        if side == self.size:
            return square
        return np.asarray(Image.fromarray(square).resize((self.size, self.size), Image.Resampling.LANCZOS))
