"""Restore a user's own photos, large ones in tiles, so that a photo of any size fits in memory.

:func:`restore` enlarges one picture, :func:`apply` transforms a folder of them. The faces in
photographs are found and restored by :mod:`lrface.inference.photos`, videos by
:mod:`lrface.inference.clips`.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, features
from torch import Tensor, nn

from lrface.data.images import LOSSLESS, LOSSY, SUFFIXES, UNREAD, BadImage, read_rgb, unread
from lrface.errors import LrfaceError, UsageError
from lrface.files import write_atomic

TILE, MARGIN = 192, 16
"""Side of a tile, and how many pixels of it on each side are context only (LR pixels)."""


@torch.no_grad()
def restore(net: nn.Module, image: Tensor, tiles: bool = True) -> Tensor:
    """Enlarge one image with a restorer, on the device of its weights.

    An image of more than 192 pixels a side is restored in tiles that overlap by 2 x 16 pixels.

    Parameters
    ----------
    net : nn.Module
        A restorer in evaluation mode: float (N, 3, h, w) in [0, 1] to (N, 3, h * s, w * s), with
        ``net.scale`` = s.
    image : Tensor
        uint8 (3, h, w).
    tiles : bool
        False: the image is restored as a whole, whatever its size. A network that looks at the
        whole image (:attr:`lrface.models.Method.tiles`) shows seams between tiles.

    Returns
    -------
    Tensor
        uint8 (3, h * s, w * s), on the CPU, wherever the network is.

    Examples
    --------
    >>> import torch
    >>> from lrface import models
    >>> net = models.restorer("bicubic", scale=2)
    >>> restore(net, torch.zeros(3, 4, 5, dtype=torch.uint8)).shape
    torch.Size([3, 8, 10])
    """
    _, h, w = image.shape
    s, where = net.scale, device_of(net, image)
    out = torch.empty(3, h * s, w * s, dtype=torch.uint8)
    for top, bottom in _tiles(h) if tiles else [(0, h)]:
        for left, right in _tiles(w) if tiles else [(0, w)]:
            y, x = max(0, top - MARGIN), max(0, left - MARGIN)
            tile = image[None, :, y : min(h, bottom + MARGIN), x : min(w, right + MARGIN)]
            sr = net(tile.to(where).float() / 255)[0].clamp(0, 1).mul(255).add(0.5).floor().byte()
            inner = sr.cpu()[:, (top - y) * s : (bottom - y) * s, (left - x) * s : (right - x) * s]
            out[:, top * s : bottom * s, left * s : right * s] = inner
    return out


def device_of(net: nn.Module, images: Tensor) -> torch.device:
    """The device of a network's weights; of one without weights, that of what it is given."""
    weight = next(itertools.chain(net.parameters(), net.buffers()), images)
    return weight.device


def _tiles(side: int) -> list[tuple[int, int]]:
    """The begin and end of each tile along one side, without margins."""
    if side <= TILE:
        return [(0, side)]
    step = TILE - 2 * MARGIN
    return [(begin, min(side, begin + step)) for begin in range(0, side, step)]


def result_names(files: list[Path], suffix: str) -> list[str]:
    """The name of each file's result: its stem where that tells it from all others, else its name.

    Examples
    --------
    >>> result_names([Path("a.png"), Path("a.jpg"), Path("b.jpg"), Path("a.jpg.png")], ".png")
    ['a.png.png', 'a.jpg.png', 'b.png', 'a.jpg.png.png']
    """
    whole: set[Path] = set()
    while True:
        names = [f"{file.name if file in whole else file.stem}{suffix}" for file in files]
        alike = [name.casefold() for name in names]  # some file systems tell no case apart
        count = Counter(alike)
        twice = {file for file, name in zip(files, alike, strict=True) if count[name] > 1}
        if twice <= whole:
            return names
        whole |= twice


def images_in(source: Path) -> list[Path]:
    """The image itself, or the images directly in a folder, sorted.

    Raises one sentence (:class:`UsageError`) if there is none.
    """
    if source.is_file():
        return [source]
    if not source.is_dir():
        raise UsageError(f"{source} does not exist: give an image or a folder of images")
    found = [path for path in _shown(source) if _is_image(path)]
    if not found:
        others = "; ".join(
            f"{name} is {why}" for name, why in list(passed_over(source).items())[:3]
        )
        has = f" ({others})" if others else ""
        raise UsageError(f"{source} holds no image ({', '.join(sorted(SUFFIXES))}){has}")
    return found


def passed_over(source: Path) -> dict[str, str]:
    """The entries of a folder that are no images, hidden ones aside, and what they are."""
    if not source.is_dir():
        return {}
    others = [path for path in _shown(source) if not _is_image(path)]
    return {path.name: f"passed over: {_what(path)}" for path in others}


def _shown(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))


def _is_image(path: Path) -> bool:
    # a link to nowhere counts: it fails when it is read, and is named
    return path.suffix.lower() in SUFFIXES and not path.is_dir()


def _what(path: Path) -> str:
    if path.is_dir():
        return "a folder"
    suffix = path.suffix.lower()
    return unread(suffix) if suffix in UNREAD else "no image by its name"


class Done(NamedTuple):
    """What became of the images that a command was given."""

    written: list[Path]
    failed: dict[str, str]
    """File name of each image that failed, and why."""
    remarks: dict[str, str]
    """What else there is to say: entries that were passed over, frames left out, lossy results."""


def apply(
    source: Path,
    target: Path,
    transform: Callable[[Tensor, int], Tensor],
    suffix: str = ".png",
    lossless: bool = False,
    preview: Callable[[Tensor, Tensor], Tensor] | None = None,
) -> Done:
    """Transform every image of ``source`` and save it in ``target``; inputs are never overwritten.

    Every entry of a folder is written, failed, or named in the remarks.

    Parameters
    ----------
    source : Path
        An image, or a folder of images.
    target : Path
        A folder, made if absent; or for one image a file name with an image suffix.
    transform : callable
        ``transform(image, position)``: uint8 (3, H, W) and the image's position in the sorted
        folder give uint8 (3, H', W'). It may raise :class:`LrfaceError` for an image.
    suffix : str
        File format of the results in a folder.
    lossless : bool
        Refuse a target whose format changes pixels.
    preview : callable, optional
        ``preview(image, result)`` gives a picture that is saved beside each result, as
        NAME.preview.png.

    Returns
    -------
    Done

    Raises
    ------
    UsageError
        No image, a target that cannot hold the results, or a result that would overwrite an image
        of ``source``.
    LrfaceError
        The folder cannot be made.
    """
    files = images_in(source)
    names = _target_names(files, source, target, suffix, lossless)
    if clash := {name.resolve() for name in names} & {file.resolve() for file in files}:
        raise UsageError(
            f"{sorted(clash)[0]} would be overwritten by its own result: choose another target"
        )
    written, failed, remarks = [], {}, passed_over(source)
    for position, (file, name) in enumerate(zip(files, names, strict=True)):
        try:
            image = torch.from_numpy(read_rgb(file).copy()).permute(2, 0, 1)
            result = transform(image, position)
            save(result, name)
            written.append(name)
            if preview:
                save(preview(image, result), name.with_name(f"{name.stem}.preview.png"))
        except (BadImage, LrfaceError) as problem:
            failed[file.name] = str(problem)
            continue
        # a result that its file format cannot hold, such as a WebP of over 16,383 pixels
        except ValueError as problem:
            failed[file.name] = f"cannot be saved as {name.suffix} ({problem})"
            continue
        except (MemoryError, RuntimeError) as problem:
            if isinstance(problem, RuntimeError) and not _of_memory(problem):
                raise
            height, width = image.shape[1:]
            failed[file.name] = f"{width}x{height} pixels need more memory than there is"
            continue
        if (frames := frames_of(file)) > 1:
            remarks[file.name] = f"the first of its {frames} frames"
        if name.suffix.lower() in LOSSY:
            remarks[name.name] = f"{name.suffix} changes pixels a little; .png keeps them"
    return Done(written, failed, remarks)


def _of_memory(problem: RuntimeError) -> bool:
    text = str(problem).lower()
    return "out of memory" in text or "alloc" in text or "not enough memory" in text


def frames_of(file: Path) -> int:
    """How many frames or pages an image file has."""
    try:
        with Image.open(file) as image:
            return getattr(image, "n_frames", 1)
    except (OSError, SyntaxError, ValueError):
        return 1


def save(picture: Tensor, name: Path) -> None:
    """Save uint8 (3, H, W) in the format that the suffix names, without loss where that can be."""
    result = Image.fromarray(np.ascontiguousarray(picture.permute(1, 2, 0).numpy()))
    options = (LOSSLESS | LOSSY)[name.suffix.lower()]
    write_atomic(name, lambda temporary: result.save(temporary, **options))


def _target_names(
    files: list[Path], source: Path, target: Path, suffix: str, lossless: bool
) -> list[Path]:
    """The result's file of each image."""
    kind = target.suffix.lower()
    if kind in SUFFIXES | UNREAD and not target.is_dir():
        if source.is_dir():
            raise UsageError(
                f"{source} is a folder, and its results need one: {target} is the name of an image"
            )
        _check_target(target, lossless)
        return [target]
    try:
        target.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LrfaceError(
            f"cannot make the folder {target} ({error.strerror}): choose another"
        ) from None
    return [target / name for name in result_names(files, suffix)]


def _check_target(target: Path, lossless: bool) -> None:
    """Raise one sentence unless results can be saved under this name."""
    kind = target.suffix.lower()
    possible = [*LOSSLESS] if lossless else [*LOSSLESS, *LOSSY]
    if kind in possible and (kind != ".avif" or features.check("avif")):
        return
    why = "would change the pixels" if kind in LOSSY else "cannot be written here"
    raise UsageError(f"{kind} {why}: choose a target that is {', '.join(possible)}, or a folder")
