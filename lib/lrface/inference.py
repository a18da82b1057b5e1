"""A user's own photos through a restorer, in tiles, so that the size of a photo does not decide
whether it fits in memory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from lrface.data.images import SUFFIXES, BadImage, read_rgb
from lrface.errors import LrfaceError, UsageError
from lrface.files import write_atomic

TILE, MARGIN = 192, 16


@torch.no_grad()
def restore(net: nn.Module, image: Tensor) -> Tensor:
    """uint8 (3, h, w) to uint8 (3, h * scale, w * scale). Beyond 192 pixels a side it works in
    tiles that overlap by 2 x 16 pixels."""
    _, h, w = image.shape
    s = net.scale
    out = torch.empty(3, h * s, w * s, dtype=torch.uint8)
    step = TILE - 2 * MARGIN
    tops, lefts = (range(0, side if side > TILE else 1, step) for side in (h, w))
    for top in tops:
        for left in lefts:
            bottom, right = (
                (min(h, top + step) if h > TILE else h),
                (min(w, left + step) if w > TILE else w),
            )
            t, c = max(0, top - MARGIN), max(0, left - MARGIN)
            piece = (
                image[None, :, t : min(h, bottom + MARGIN), c : min(w, right + MARGIN)].float()
                / 255
            )
            sr = net(piece)[0].clamp(0, 1).mul(255).add(0.5).floor().byte()
            inner = sr[:, (top - t) * s : (bottom - t) * s, (left - c) * s : (right - c) * s]
            out[:, top * s : bottom * s, left * s : right * s] = inner
    return out


def images_in(source: Path) -> list[Path]:
    """The image itself, or the images directly in a folder, sorted."""
    if source.is_file():
        return [source]
    if not source.is_dir():
        raise UsageError(f"{source} does not exist: give an image or a folder of images")
    found = sorted(
        p
        for p in source.iterdir()
        if p.is_file() and p.suffix.lower() in SUFFIXES and not p.name.startswith(".")
    )
    if not found:
        raise UsageError(f"{source} holds no image ({', '.join(sorted(SUFFIXES))})")
    return found


def apply(
    source: Path, target: Path, transform: Callable[[Tensor, int], Tensor], suffix: str = ".png"
) -> tuple[list[Path], dict[str, str]]:
    """Put every image of ``source`` through ``transform`` and save it in ``target``; an input is
    never overwritten.

    ``transform`` gets uint8 (3, H, W) and the image's position, and returns uint8 (3, H', W'). One
    image goes to ``target`` itself if that has an image suffix. Returns what was written and, by
    file name, what could not be.
    """
    files = images_in(source)
    single = source.is_file() and target.suffix.lower() in SUFFIXES
    if not single:
        try:
            target.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise LrfaceError(
                f"cannot make the folder {target} ({error.strerror}): choose another"
            ) from None
    names = [target if single else target / f"{f.stem}{suffix}" for f in files]
    names = [
        n if names.count(n) == 1 else n.with_name(f"{f.name}{suffix}")
        for n, f in zip(names, files, strict=True)
    ]
    if clash := {n.resolve() for n in names} & {f.resolve() for f in files}:
        raise UsageError(
            f"{sorted(clash)[0]} would be overwritten by its own result: choose another target"
        )
    written, failed = [], {}
    for position, (file, name) in enumerate(zip(files, names, strict=True)):
        try:
            image = torch.from_numpy(read_rgb(file).copy()).permute(2, 0, 1)
            result = Image.fromarray(
                np.ascontiguousarray(transform(image, position).permute(1, 2, 0).numpy())
            )
            written.append(write_atomic(name, result.save))
        except (BadImage, LrfaceError) as problem:
            failed[file.name] = str(problem)
        # a result that its file format cannot hold, such as a WebP of over 16,383 pixels
        except ValueError as problem:
            failed[file.name] = f"cannot be saved as {name.suffix} ({problem})"
    return written, failed
