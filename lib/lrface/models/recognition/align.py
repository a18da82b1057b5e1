"""Crops for the recognition networks trained here, aligned by landmarks or not aligned."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from lrface.degrade import resize
from lrface.errors import UsageError
from lrface.numerics import ieee_float32

SIZE = (124, 108)
"""Rows and columns of FRNET's input (joint model, section 4.1)."""
# The template that CentreFace's code publishes for 112x96 (caffe-face), stretched to FRNET's input,
# whose own the paper does not print: centres of the eyes, tip of the nose, corners of the mouth.
TEMPLATE = torch.tensor(
    [
        [30.2946, 51.6963],
        [65.5318, 51.5014],
        [48.0252, 71.7366],
        [33.5493, 92.3655],
        [62.7299, 92.2041],
    ],
    dtype=torch.float64,
) * torch.tensor([SIZE[1] / 96, SIZE[0] / 112], dtype=torch.float64)


def five_points(points: Tensor) -> Tensor:
    """68 landmarks (N, 68, 2) to the five of ``TEMPLATE`` (N, 5, 2), those on the image's left
    first."""
    eyes = points[:, 36:42].mean(1), points[:, 42:48].mean(1)
    return torch.stack([*eyes, points[:, 30], points[:, 48], points[:, 54]], 1)


def align(images: Tensor, points: Tensor, size: tuple[int, int] = SIZE) -> Tensor:
    """Faces turned upright by their landmarks; differentiable with respect to the images.

    The least-squares similarity transform of five points (centres of the eyes, tip of the nose,
    corners of the mouth) to a fixed template (Umeyama 1991), sampled bilinearly. Outside the image
    its border is repeated.

    Parameters
    ----------
    images : (N, 3, H, W) float tensor
    points : (N, 68, 2) tensor
        Landmarks x, y in pixels, in iBUG 300-W order. A face with a NaN among them is not aligned:
        its whole image is stretched to ``size``.
    size : (rows, columns)
        Of the result; the template is scaled to it.

    Returns
    -------
    (N, 3, rows, columns) tensor
        In the images' dtype.

    Raises
    ------
    UsageError
        For other shapes.

    Source
    ------
    Joint model (Wu et al. 2016), section 4.1, and caffe-face for the template.

    Examples
    --------
    >>> faces = torch.rand(2, 3, 128, 128)
    >>> align(faces, torch.full((2, 68, 2), torch.nan)).shape
    torch.Size([2, 3, 124, 108])
    """
    if images.ndim != 4 or points.shape != (len(images), 68, 2):
        raise UsageError(
            "align wants images (N, 3, H, W) and landmarks (N, 68, 2), "
            f"got {tuple(images.shape)}, {tuple(points.shape)}"
        )
    h, w = images.shape[2:]
    points = points.to(images.device)
    stretch = torch.tensor([size[1] / SIZE[1], size[0] / SIZE[0]], dtype=torch.float64)
    template = (TEMPLATE * stretch).to(points.device)
    found = points.isfinite().all(2).all(1)
    five = torch.where(found[:, None, None], five_points(points.double().nan_to_num()), template)
    # in the complex plane a similarity transform is z -> scale * z + offset
    z, v = torch.complex(*template.unbind(-1)), torch.complex(*five.unbind(-1))
    scale = ((z - z.mean()).conj() * (v - v.mean(1, keepdim=True))).sum(1) / (
        z - z.mean()
    ).abs().square().sum()
    offset = v.mean(1) - scale * z.mean()
    x, y = torch.arange(size[1], device=points.device), torch.arange(size[0], device=points.device)
    pixels = torch.complex(x[None].double(), y[:, None].double())
    sources = scale[:, None, None] * pixels + offset[:, None, None]
    aligned = torch.stack([sources.real * 2 / (w - 1) - 1, sources.imag * 2 / (h - 1) - 1], -1)
    rows, columns = (torch.linspace(-1, 1, n) for n in size)
    stretched = torch.stack(torch.meshgrid(rows, columns, indexing="ij")[::-1], -1)
    grid = torch.where(found[:, None, None, None], aligned, stretched.to(aligned)).to(images.dtype)
    with ieee_float32(images.device):
        return F.grid_sample(
            images, grid, mode="bilinear", padding_mode="border", align_corners=True
        )


def unaligned_crop(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Square face crops resized without alignment; differentiable.

    The central part that has the aspect ratio of ``size`` (to half a pixel, where it cannot be
    exactly central), resized as MATLAB's bicubic ``imresize`` does. Not clipped: values may leave
    [0, 1] slightly.

    Parameters
    ----------
    images : (N, 3, S, S) float tensor
    size : (rows, columns)
        Of the result.

    Returns
    -------
    (N, 3, rows, columns) tensor

    Raises
    ------
    UsageError
        For crops that are not square.

    Source
    ------
    TinyFace's official protocol, in which a face is what the detector's square cuts out.

    Examples
    --------
    >>> unaligned_crop(torch.rand(1, 3, 128, 128), (112, 96)).shape
    torch.Size([1, 3, 112, 96])
    """
    if images.ndim != 4 or images.shape[2] != images.shape[3]:
        raise UsageError(
            f"unaligned_crop wants square crops (N, 3, S, S), got {tuple(images.shape)}: "
            "crop them first"
        )
    side = max(size)
    top, left = ((side - n) // 2 for n in size)
    # resized before it is cut: the part may end between two pixels of the crop
    return resize(images, (side, side))[:, :, top : top + size[0], left : left + size[1]]
