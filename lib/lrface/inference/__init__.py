"""Restore a user's own photos, large ones in tiles, so that a photo of any size fits in memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from lrface.data.images import SUFFIXES, BadImage, read_rgb
from lrface.errors import LrfaceError, UsageError
from lrface.files import write_atomic

TILE, MARGIN = 192, 16
"""Side of a tile, and how many pixels of it on each side are context only (LR pixels)."""


@torch.no_grad()
def restore(net: nn.Module, image: Tensor) -> Tensor:
    """Enlarge one image with a restorer.

    An image of more than 192 pixels a side is restored in tiles that overlap by 2 x 16 pixels.

    Parameters
    ----------
    net : nn.Module
        A restorer in evaluation mode: float (N, 3, h, w) in [0, 1] to (N, 3, h * s, w * s), with
        ``net.scale`` = s.
    image : Tensor
        uint8 (3, h, w).

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
    s = net.scale
    where = device_of(net, image)
    out = torch.empty(3, h * s, w * s, dtype=torch.uint8)
    for top, bottom in _tiles(h):
        for left, right in _tiles(w):
            y, x = max(0, top - MARGIN), max(0, left - MARGIN)
            tile = image[None, :, y : min(h, bottom + MARGIN), x : min(w, right + MARGIN)]
            sr = net(tile.to(where).float() / 255)[0].clamp(0, 1).mul(255).add(0.5).floor().byte()
            inner = sr.cpu()[:, (top - y) * s : (bottom - y) * s, (left - x) * s : (right - x) * s]
            out[:, top * s : bottom * s, left * s : right * s] = inner
    return out


def device_of(net: nn.Module, images: Tensor) -> torch.device:
    """The device of a network's weights; of one without weights, that of what it is given."""
    weight = next(chain(net.parameters(), net.buffers()), images)
    return weight.device


def _tiles(side: int) -> list[tuple[int, int]]:
    """The begin and end of each tile along one side, without margins."""
    if side <= TILE:
        return [(0, side)]
    step = TILE - 2 * MARGIN
    return [(begin, min(side, begin + step)) for begin in range(0, side, step)]


def images_in(source: Path) -> list[Path]:
    """The image itself, or the images directly in a folder, sorted.

    Raises one sentence (:class:`UsageError`) if there is none.
    """
    if source.is_file():
        return [source]
    if not source.is_dir():
        raise UsageError(f"{source} does not exist: give an image or a folder of images")
    found = sorted(
        path
        for path in source.iterdir()
        if path.is_file() and path.suffix.lower() in SUFFIXES and not path.name.startswith(".")
    )
    if not found:
        raise UsageError(f"{source} holds no image ({', '.join(sorted(SUFFIXES))})")
    return found


def apply(
    source: Path, target: Path, transform: Callable[[Tensor, int], Tensor], suffix: str = ".png"
) -> tuple[list[Path], dict[str, str]]:
    """Transform every image of ``source`` and save it in ``target``; inputs are never overwritten.

    Parameters
    ----------
    source : Path
        An image, or a folder of images.
    target : Path
        A folder, made if absent; or for one image a file name with an image suffix.
    transform : callable
        ``transform(image, position)``: uint8 (3, H, W) and the image's position in the sorted
        folder give uint8 (3, H', W').
    suffix : str
        File format of the results in a folder.

    Returns
    -------
    written : list of Path
        The files written.
    failed : dict
        File name of each image that failed, and why.

    Raises
    ------
    UsageError
        No image, or a result would overwrite an image of ``source``.
    LrfaceError
        The folder cannot be made.
    """
    files = images_in(source)
    names = _target_names(files, source, target, suffix)
    if clash := {name.resolve() for name in names} & {file.resolve() for file in files}:
        raise UsageError(
            f"{sorted(clash)[0]} would be overwritten by its own result: choose another target"
        )
    written, failed = [], {}
    for position, (file, name) in enumerate(zip(files, names, strict=True)):
        try:
            image = torch.from_numpy(read_rgb(file).copy()).permute(2, 0, 1)
            pixels = transform(image, position).permute(1, 2, 0).numpy()
            result = Image.fromarray(np.ascontiguousarray(pixels))
            written.append(write_atomic(name, result.save))
        except (BadImage, LrfaceError) as problem:
            failed[file.name] = str(problem)
        # a result that its file format cannot hold, such as a WebP of over 16,383 pixels
        except ValueError as problem:
            failed[file.name] = f"cannot be saved as {name.suffix} ({problem})"
    return written, failed


def _target_names(files: list[Path], source: Path, target: Path, suffix: str) -> list[Path]:
    """The result's file of each image; the suffix stays in the name where stems collide."""
    if source.is_file() and target.suffix.lower() in SUFFIXES:
        return [target]
    try:
        target.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LrfaceError(
            f"cannot make the folder {target} ({error.strerror}): choose another"
        ) from None
    stems = Counter(file.stem for file in files)
    return [
        target / f"{file.stem if stems[file.stem] == 1 else file.name}{suffix}" for file in files
    ]
