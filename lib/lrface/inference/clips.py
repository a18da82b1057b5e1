"""Restore a user's own videos, GIFs and folders of frames: every frame from its neighbours."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from lrface import degrade
from lrface.data import video_files
from lrface.data.clips import FRAMES, HEIGHT, WIDTH
from lrface.data.images import SUFFIXES, BadImage, Square, read_rgb
from lrface.errors import LrfaceError, UsageError
from lrface.files import progress, write_atomic
from lrface.inference import (
    Done,
    device_of,
    frames_of,
    images_in,
    passed_over,
    restore,
    result_names,
)

SCALE = 8
TINY = 40
"""Frames of at most so many rows are taken whole: they are small faces already."""
BATCH = 8
"""Windows restored at once."""
RESULTS = {".mp4", ".gif"}


@torch.no_grad()
def restore_clip(net: nn.Module, faces: Tensor, of_clips: bool) -> Iterator[Tensor]:
    """Enlarge the faces of a clip, one after the other.

    Parameters
    ----------
    net : nn.Module
        A restorer in evaluation mode, with ``net.scale`` = s. One of clips maps float (N, 7, 3, h,
        w) in [0, 1] to all frames, (N, 7, 3, h * s, w * s), or to the middle one.
    faces : Tensor
        uint8 (T, 3, h, w).
    of_clips : bool
        Whether ``net`` restores clips: each frame is then restored from the seven around it, with
        the first and the last frame repeated beyond the ends.

    Yields
    ------
    Tensor
        uint8 (3, h * s, w * s), on the CPU, for each frame.

    Examples
    --------
    >>> from lrface import models
    >>> net = models.restorer("bicubic", scale=8)
    >>> restored = restore_clip(net, torch.zeros(2, 3, 16, 12, dtype=torch.uint8), of_clips=False)
    >>> [frame.shape for frame in restored]
    [torch.Size([3, 128, 96]), torch.Size([3, 128, 96])]
    """
    if not of_clips:
        yield from (restore(net, face) for face in faces)
        return
    middle, where = FRAMES // 2, device_of(net, faces)
    around = torch.arange(len(faces))[:, None] + torch.arange(FRAMES) - middle
    for rows in around.clamp(0, len(faces) - 1).split(BATCH):
        restored = net(faces[rows].to(where).float() / 255)
        if restored.ndim == 5:
            restored = restored[:, middle]
        yield from restored.clamp(0, 1).mul(255).add(0.5).floor().byte().cpu()


def apply(source: Path, target: Path, net: nn.Module, of_clips: bool) -> Done:
    """Restore the face in every frame of a video, a GIF, or a folder of frames.

    The face is found in each frame (:func:`lrface.data.video_files.faces`), and its place is the
    median of the places in the frames around (:func:`steady`). What is restored is 16x12 pixels:
    the middle three quarters of the square around the face, or the whole of a frame with at most
    40 rows.

    Parameters
    ----------
    source : Path
        A video, a GIF, or a folder of images, which are frames in the order of their names.
    target : Path
        A folder; or for a video a file name with the suffix .mp4 or .gif.
    net : nn.Module
        A restorer by 8, as for :func:`restore_clip`.
    of_clips : bool
        Whether it restores clips.

    Returns
    -------
    Done
        ``written``: the video of 128x96 pixels at the frame rate of the source, or the PNGs of a
        folder. ``failed``: the frames of a folder that could not be read, and why.

    Raises
    ------
    UsageError
        The source holds no frame, a result would overwrite it, or the network's scale is not 8.
    LrfaceError
        A video cannot be read, has fewer than two frames, or shows no face.

    Examples
    --------
    >>> from tempfile import mkdtemp
    >>> from lrface import models
    >>> folder = Path(mkdtemp())
    >>> for name in ("1.png", "2.png"):
    ...     Image.new("RGB", (12, 16)).save(folder / name)
    >>> done = apply(folder, folder / "out", models.restorer("bicubic", 8), False)
    >>> [file.name for file in done.written], Image.open(done.written[0]).size
    (['1.png', '2.png'], (96, 128))
    """
    if net.scale != SCALE:
        raise UsageError(f"clips are enlarged {SCALE}x, and this network enlarges {net.scale}x")
    if source.is_dir():
        return _folder(source, target, net, of_clips)
    if not source.exists():
        raise UsageError(f"{source} does not exist: give a video, a GIF or a folder of frames")
    name = _target_name(source, target)
    try:
        rate = video_files.properties(source).rate
        faces = _small_faces(lambda: video_files.frames(source), source)
    except video_files.BadVideo as reason:
        raise LrfaceError(f"{source}: {reason}; give a whole video or GIF") from None
    if len(faces) < 2:
        raise LrfaceError(f"{source} has a single frame: give a video, or save it as an image")
    return Done([_written(name, restore_clip(net, faces, of_clips), len(faces), rate)], {}, {})


def is_video(source: Path) -> bool:
    """Whether a file's name is that of a video, or it is a GIF that moves."""
    kind = source.suffix.lower()
    if kind not in video_files.SUFFIXES or source.is_dir():
        return False
    return kind not in SUFFIXES or frames_of(source) > 1


def _target_name(source: Path, target: Path) -> Path:
    kind = target.suffix.lower()
    if kind in video_files.SUFFIXES - RESULTS:
        raise UsageError(f"videos are written as .mp4 or .gif, not {kind}: choose another target")
    name = target
    if kind not in RESULTS or target.is_dir():
        name = target / f"{source.stem}{'.gif' if source.suffix.lower() == '.gif' else '.mp4'}"
    if name.resolve() == source.resolve():
        raise UsageError(f"{name} would be overwritten by its own result: choose another target")
    return name


def _written(name: Path, restored: Iterator[Tensor], count: int, rate: Fraction) -> Path:
    with progress(f"restoring {name.name}", count) as advance:

        def shown() -> Iterator[np.ndarray]:
            for frame in restored:
                yield np.ascontiguousarray(frame.permute(1, 2, 0).numpy())
                advance()

        return video_files.write(name, shown(), rate)


def _folder(source: Path, target: Path, net: nn.Module, of_clips: bool) -> Done:
    files, failed = [], {}
    for file in images_in(source):
        try:
            read_rgb(file)
            files.append(file)
        except BadImage as problem:
            failed[file.name] = str(problem)
    if not files:
        file, problem = next(iter(failed.items()))
        raise LrfaceError(f"{source} holds no image that can be read ({file}: {problem})")
    names = [target / name for name in result_names(files, ".png")]
    if clash := {name.resolve() for name in names} & {file.resolve() for file in files}:
        raise UsageError(
            f"{sorted(clash)[0]} would be overwritten by its own result: choose another target"
        )
    faces = _small_faces(lambda: map(read_rgb, files), source)
    with progress(f"restoring {source.name}", len(files)) as advance:
        for name, frame in zip(names, restore_clip(net, faces, of_clips), strict=True):
            image = Image.fromarray(np.ascontiguousarray(frame.permute(1, 2, 0).numpy()))
            write_atomic(name, image.save)
            advance()
    return Done(names, failed, passed_over(source))


def _small_faces(frames: Callable[[], Iterable[np.ndarray]], source: Path) -> Tensor:
    """The face of every frame, uint8 (T, 3, 16, 12); the frames are read twice."""
    whole: list[bool] = []

    def seen() -> Iterator[np.ndarray]:
        for image in frames():
            whole.append(len(image) <= TINY)
            yield image

    with progress(f"faces in {source.name}", _count(source)) as advance:
        squares = video_files.faces(seen(), advance)
    known = [k for k, square in enumerate(squares) if square and not whole[k]]
    if not known and not all(whole):
        raise LrfaceError(
            f"{source} shows no face in any of its {len(whole)} frames: give one with a face, "
            f"or frames of at most {TINY} rows, which are taken whole"
        )
    small = []
    for k, image in enumerate(frames()):
        if not whole[k]:
            image = _portrait(video_files.cut(image, steady(squares, known, k)))
        small.append(_resized(image))
    return torch.stack(small)


def steady(squares: Sequence[Square | None], known: Sequence[int], frame: int) -> Square:
    """The square to cut out of a frame: the median of those found up to three frames away.

    dlib's boxes come in steps of a fifth of their size, and the face would jump in its frame. Where
    none was found so near, it is the nearest frame's.

    Parameters
    ----------
    squares : sequence of (left, top, side) or None
        Of each frame.
    known : sequence of int
        The frames that have one.
    frame : int

    Examples
    --------
    >>> squares = [(10, 10, 50), (11, 10, 60), (12, 10, 50), None, None, None, None, None]
    >>> steady(squares, [0, 1, 2], 1), steady(squares, [0, 1, 2], 7)
    ((11, 10, 50), (12, 10, 50))
    """
    near = [k for k in known if abs(k - frame) <= FRAMES // 2]
    near = near or [min(known, key=lambda k: abs(k - frame))]
    left, top, side = np.median([squares[k] for k in near], axis=0).round().astype(int).tolist()
    return left, top, side


def _count(source: Path) -> int:
    return len(images_in(source)) if source.is_dir() else video_files.properties(source).frames


def _portrait(square: np.ndarray) -> np.ndarray:
    """The middle three quarters of the columns, as a ClipSet takes them."""
    width = round(len(square) * WIDTH / HEIGHT)
    left = (len(square) - width) // 2
    return square[:, left : left + width]


def _resized(image: np.ndarray) -> Tensor:
    pixels = torch.from_numpy(image.copy()).permute(2, 0, 1).float() / 255
    small = degrade.resize(pixels, (HEIGHT // SCALE, WIDTH // SCALE))
    return degrade.round_uint8(small).mul(255).round().byte()
