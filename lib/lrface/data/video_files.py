"""Videos and GIFs: their frames, the faces in them, and writing them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from pathlib import Path

import numpy as np
from PIL import Image

from lrface.data.images import Crop, Square
from lrface.errors import LrfaceError
from lrface.files import write_atomic

SUFFIXES = {".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".wmv", ".gif"}
BOX, UP = 1.4, 0.09
"""Side of a face's square, and how far its centre is above that of dlib's box, in boxes.

Medians of 150 frames of the rendered clips; the crops of YouTube Faces are 1.41 boxes and 0.08 up.
"""
SEARCHED = 640
"""Larger frames are searched for faces at this many pixels."""
BATCH = 16
WHOLE = Crop()


class BadVideo(Exception):
    """A file cannot be used, with the reason; callers skip and count it, or stop."""


@dataclass(frozen=True)
class Properties:
    """What a video's header says."""

    rate: Fraction
    """Frames a second."""
    frames: int
    """As the header says, else counted without decoding them."""


def properties(file: Path) -> Properties:
    """The frame rate and the number of frames; raises :class:`BadVideo` if it is no video."""
    import av

    with _opened(file) as container:
        stream = container.streams.video[0]
        rate = stream.average_rate or stream.guessed_rate or Fraction(25)
        count = stream.frames
        if not count:
            with suppress(av.FFmpegError):  # a damaged file is named when it is decoded
                for packet in container.demux(stream):
                    count += packet.size > 0
        return Properties(Fraction(rate).limit_denominator(1001), count)


def frames(file: Path) -> Iterator[np.ndarray]:
    """The frames of a video or GIF in order, uint8 (H, W, 3), upright.

    Raises :class:`BadVideo` if the file is missing, empty, truncated or no video.
    """
    import av

    found = 0
    with _opened(file) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        declared = stream.frames
        try:
            for frame in container.decode(stream):
                found += 1
                image = frame.to_ndarray(format="rgb24")
                yield np.rot90(image, round(frame.rotation / 90)) if frame.rotation else image
        except av.FFmpegError as error:
            raise BadVideo(
                f"truncated or damaged after {found} frames ({_reason(error)})"
            ) from None
    # Headers may count a few frames that are never shown.
    if not found or found < declared - max(2, declared // 50):
        whole = f" of {declared}" if declared else ""
        raise BadVideo(f"truncated: {found}{whole} frames can be read")


def _opened(file: Path):
    import av  # slow to import: only videos need it

    try:
        if not file.stat().st_size:
            raise BadVideo("the file is empty")
        container = av.open(str(file))
    except av.FFmpegError as error:
        raise BadVideo(f"not a video, or truncated ({_reason(error)})") from None
    except OSError as error:
        raise BadVideo(f"cannot be read ({error.strerror})") from None
    if not container.streams.video:
        container.close()
        raise BadVideo("it holds no video")
    return container


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or type(error).__name__


def faces(
    images: Iterable[np.ndarray], advance: Callable[[int], None] = lambda n: None
) -> list[Square | None]:
    """The square around the most confident face of each frame, in whole pixels; None without one.

    Parameters
    ----------
    images : iterable of ndarray
        uint8 (H, W, 3); read in batches, so that a video of any length fits in memory.
    advance : callable
        Called with the number of frames of each batch.

    Returns
    -------
    list
        ``left, top, side``; the square may reach outside the frame.

    Examples
    --------
    >>> from lrface import data
    >>> picture = data.load("synthetic", "val", 1).read(0)
    >>> square, nothing = faces([np.pad(picture, [(50, 50), (50, 50), (0, 0)]), 0 * picture])
    >>> len(square), nothing is None
    (3, True)
    """
    import torch

    from lrface.data.landmarks import Landmarker

    detector, squares, images = Landmarker(), [], iter(images)
    while batch := list(islice(images, BATCH)):
        for group in _of_one_size(batch):
            scale = min(1, SEARCHED / max(group[0].shape[:2]))
            small = np.stack([_shrunk(image, scale) for image in group])
            boxes = detector.detect(torch.from_numpy(small).permute(0, 3, 1, 2)) / scale
            squares += [_square(box) for box in boxes]
        advance(len(batch))
    return squares


def _of_one_size(images: Iterable[np.ndarray]) -> Iterator[list[np.ndarray]]:
    """Neighbours of one size together: the pictures of a folder may differ."""
    group: list[np.ndarray] = []
    for image in images:
        if group and image.shape != group[0].shape:
            yield group
            group = []
        group.append(image)
    yield group


def _shrunk(image: np.ndarray, scale: float) -> np.ndarray:
    if scale == 1:
        return image
    height, width = (max(1, round(side * scale)) for side in image.shape[:2])
    resized = Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(resized)


def _square(box: np.ndarray) -> Square | None:
    if not np.isfinite(box).all():
        return None
    left, top, right, bottom = box.tolist()
    size = max(right - left, bottom - top) + 1
    x, y = (left + right + 1) / 2, (top + bottom + 1) / 2 - UP * size
    return round(x - BOX * size / 2), round(y - BOX * size / 2), round(BOX * size)


def cut(image: np.ndarray, square: Square) -> np.ndarray:
    """A square of a frame, not resized; the edge is repeated where it reaches outside."""
    return WHOLE.cut(image, square)


def write(file: Path, images: Iterable[np.ndarray], rate: Fraction) -> Path:
    """Write frames uint8 (H, W, 3) as an MP4 (H.264, else MPEG-4), or a GIF if that is its suffix.

    Under a temporary name first: an interrupted run leaves nothing behind. H and W are even.
    """
    save = _save_gif if file.suffix.lower() == ".gif" else _save_mp4
    return write_atomic(file, lambda temporary: save(temporary, images, rate))


def _save_gif(file: Path, images: Iterable[np.ndarray], rate: Fraction) -> None:
    first, *others = [Image.fromarray(image) for image in images]
    first.save(file, save_all=True, append_images=others, duration=float(1000 / rate), loop=0)


def _save_mp4(file: Path, images: Iterable[np.ndarray], rate: Fraction) -> None:
    import av

    known = "libx264" in av.codecs_available
    codec, options = ("libx264", {"crf": "12"}) if known else ("mpeg4", {"qscale": "2"})
    try:
        with av.open(str(file), "w", format="mp4") as container:
            stream = container.add_stream(codec, rate=rate, options=options)
            stream.pix_fmt = "yuv420p"
            for image in images:
                if not stream.codec_context.is_open:
                    stream.height, stream.width = image.shape[:2]
                container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
            container.mux(stream.encode())
    except av.FFmpegError as error:
        raise LrfaceError(
            f"cannot write {file.parent} as a video ({_reason(error)}): choose another place"
        ) from None
