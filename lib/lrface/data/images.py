"""Reading image files of any origin as RGB arrays, and cutting the square face crop out of them."""

from __future__ import annotations

import contextlib
import io
import re
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

SUFFIXES = {
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".tif", ".tiff", ".ppm", ".pgm"),
    *(".gif", ".avif", ".jp2"),
}
"""Of images that are read."""
UNREAD = {
    *(".heic", ".heif", ".jxl", ".svg", ".psd", ".exr", ".hdr"),
    *(".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".rw2", ".raf", ".raw"),
}
"""Of images that need another program."""
LOSSLESS = {
    **dict.fromkeys([".png", ".bmp", ".tif", ".tiff", ".ppm"], {}),
    ".webp": {"lossless": True, "exact": True},
}
"""Suffixes under which every pixel is kept, and what Pillow must be told for it."""
LOSSY = {
    **dict.fromkeys([".jpg", ".jpeg", ".jpe", ".jfif"], {"quality": 95, "subsampling": 0}),
    ".avif": {"quality": 95},
    ".jp2": {},
    ".gif": {},
}
"""Other suffixes under which results can be saved."""
MAGIC = {
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"8BPS": "Photoshop",
    b"\xff\x0a": "JPEG XL",
    b"\0\0\0\x0cJXL": "JPEG XL",
    b"%PDF": "PDF",
}
"""How files begin that are pictures of a kind that may not be readable here."""
READ = (b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"BM")
"""How files begin that are of a kind that is read, and of which too little is left."""
Square = tuple[int, int, int]
"""``left, top, side`` of a face in a larger image, in its pixels; ``side`` 0 if unknown."""


class BadImage(Exception):
    """A file cannot be used, with the reason; callers skip and count it."""


def read_rgb(source: str | Path | bytes) -> np.ndarray:
    """Read an image of any common format, a file or its content, as uint8 (H, W, 3), in sRGB.

    Greyscale, palette, CMYK and LAB images are converted, and colours by the colour profile that
    comes with them. Of 16-bit greyscale the high byte is used, of 32-bit integers above 65,535 the
    highest eight bits below the sign; floating-point greyscale is in [0, 1] or [0, 255].
    Transparency is dropped; of an animation the first frame is taken; the EXIF orientation is
    applied. Raises :class:`BadImage` if the file is empty, truncated, corrupt, or no image.
    """
    packed = isinstance(source, bytes)
    try:
        if (len(source) if packed else Path(source).stat().st_size) == 0:
            raise BadImage("the file is empty")
        with Image.open(io.BytesIO(source) if packed else source) as image:
            if Image.MAX_IMAGE_PIXELS and image.width * image.height > Image.MAX_IMAGE_PIXELS:
                raise BadImage("more pixels than any face photo has")
            image.load()
            profile = image.info.get("icc_profile")
            if image.mode.startswith("I") or image.mode == "F":
                image = Image.fromarray(_eight_bits(np.asarray(image)))
            with contextlib.suppress(Exception):  # the pixels are good if the EXIF block is not
                image = ImageOps.exif_transpose(image)
            return np.asarray(_srgb(image, profile))
    except BadImage:
        raise
    except FileNotFoundError:
        raise BadImage("the file is missing") from None
    except IsADirectoryError:
        raise BadImage("it is a folder") from None
    except UnidentifiedImageError:
        raise BadImage(_unidentified(source if packed else Path(source))) from None
    except Image.DecompressionBombError:
        raise BadImage("more pixels than any face photo has") from None
    except (OSError, SyntaxError, ValueError, EOFError, TypeError) as error:
        if isinstance(error, OSError) and error.errno is not None:  # permission, device, ...
            raise BadImage(f"it cannot be read ({error.strerror})") from None
        first_line = (str(error).splitlines() or [type(error).__name__])[0]
        raise BadImage(f"truncated or corrupt ({first_line})") from None


def _eight_bits(grey: np.ndarray) -> np.ndarray:
    """Greyscale of more than eight bits as uint8."""
    if not grey.size:
        raise BadImage("it has no pixels")
    low, high = grey.min(), grey.max()
    if grey.dtype.kind == "f":
        if not (low >= 0 and high <= 255):  # NaN, too
            raise BadImage(
                f"its pixels are numbers from {low:g} to {high:g}: save it in [0, 1] or [0, 255]"
            )
        return np.floor(grey * (255.0 if high <= 1 else 1.0) + 0.5).astype(np.uint8)
    if low < 0:
        raise BadImage(
            f"its pixels are numbers from {low} to {high}: save it without negative ones"
        )
    shift = 0 if high <= 255 else 8 if high <= 65535 else 23
    return (grey >> shift).astype(np.uint8)


def _srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """The image in RGB, its colours by its profile if it has a usable one."""
    if image.mode in ("P", "PA"):
        image = image.convert("RGB")
    elif image.mode in ("RGBA", "RGBX", "RGBa"):
        image = image.convert("RGBA").convert("RGB")
    elif image.mode in ("LA", "La"):
        image = image.convert("LA").convert("L")
    if profile or image.mode == "LAB":
        with contextlib.suppress(ImageCms.PyCMSError, OSError, ValueError, TypeError):
            if transform := _to_srgb(profile if image.mode != "LAB" else None, image.mode):
                return ImageCms.applyTransform(image, transform)
    return image.convert("RGB")


@lru_cache(maxsize=16)
def _to_srgb(profile: bytes | None, mode: str) -> ImageCms.ImageCmsTransform | None:
    """The transform from a profile to sRGB; None if the profile is sRGB itself."""
    srgb = ImageCms.createProfile("sRGB")
    if profile is None:
        return ImageCms.buildTransform(ImageCms.createProfile("LAB"), srgb, "LAB", "RGB")
    own = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    if "srgb" in ImageCms.getProfileDescription(own).lower():
        return None
    intent = ImageCms.Intent.RELATIVE_COLORIMETRIC
    flags = ImageCms.Flags.BLACKPOINTCOMPENSATION
    return ImageCms.buildTransform(own, srgb, mode, "RGB", intent, flags)


def _unidentified(source: bytes | Path) -> str:
    """Why Pillow does not know a file: a kind of picture that it cannot read, or no picture."""
    start = source[:16] if isinstance(source, bytes) else _start(source)
    if start.startswith(READ):
        return "truncated or corrupt"
    kind = next((name for begin, name in MAGIC.items() if start.startswith(begin)), None)
    if start[4:8] == b"ftyp":
        brand = start[8:12]
        kind = "HEIC" if brand[:3] in (b"hei", b"hev", b"mif", b"msf") else None
        kind = "AVIF" if brand[:3] == b"avi" else kind
    return unread(kind) if kind else "not an image"


def unread(kind: str) -> str:
    """That images of a kind (a name or suffix) need another program, as a phrase."""
    return f"{kind.removeprefix('.').upper()} cannot be read here: save it as PNG"


def _start(file: Path) -> bytes:
    with open(file, "rb") as content:
        return content.read(16)


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
