"""Crops for recognition networks trained here: turned upright by five landmarks and a fixed
template, or the face as it is, whole."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from lrface.degrade import full_precision, resize
from lrface.errors import UsageError

SIZE = (124, 108)
"""Rows and columns of FRNET's input (joint model, section 4.1)."""
# CentreFace's published template for 112x96 (caffe-face), stretched to FRNET's frame, whose own is
# not printed: the eyes' centres, the tip of the nose, the corners of the mouth.
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


def five_of_68(points: Tensor) -> Tensor:
    """68 landmarks (N, 68, 2) to five (N, 5, 2): eye, eye, nose tip, mouth corner, mouth corner,
    those on the image's left first."""
    return torch.stack(
        [
            points[:, 36:42].mean(1),
            points[:, 42:48].mean(1),
            points[:, 30],
            points[:, 48],
            points[:, 54],
        ],
        1,
    )


def align(images: Tensor, points: Tensor, size: tuple[int, int] = SIZE) -> Tensor:
    """Faces turned upright: float (N, 3, H, W) and their 68 landmarks (N, 68, 2) in pixels to (N,
    3, *size); differentiable.

    The least-squares similarity of the five points to the template (Umeyama 1991), sampled
    bilinearly; what lies outside the image repeats its border. A face whose landmarks are not known
    (NaN) is taken whole. Source: joint model, section 4.1.
    """
    if images.ndim != 4 or points.shape != (len(images), 68, 2):
        raise UsageError(
            f"align wants images (N, 3, H, W) and landmarks (N, 68, 2), got {tuple(images.shape)}, {tuple(points.shape)}"
        )
    h, w = images.shape[2:]
    stretch = torch.tensor([size[1] / SIZE[1], size[0] / SIZE[0]], dtype=torch.float64)
    goal = (TEMPLATE * stretch).to(points.device)
    known = points.isfinite().all(2).all(1)
    five = torch.where(known[:, None, None], five_of_68(points.double().nan_to_num()), goal)
    z, v = torch.complex(*goal.unbind(-1)), torch.complex(*five.unbind(-1))
    scale = ((z - z.mean()).conj() * (v - v.mean(1, keepdim=True))).sum(1) / (
        z - z.mean()
    ).abs().square().sum()
    offset = v.mean(1) - scale * z.mean()
    x, y = torch.arange(size[1], device=points.device), torch.arange(size[0], device=points.device)
    grid = (
        scale[:, None, None] * torch.complex(x[None].double(), y[:, None].double())
        + offset[:, None, None]
    )
    whole = torch.stack(
        torch.meshgrid(
            torch.linspace(-1, 1, size[0]), torch.linspace(-1, 1, size[1]), indexing="ij"
        )[::-1],
        -1,
    )
    places = torch.stack([grid.real * 2 / (w - 1) - 1, grid.imag * 2 / (h - 1) - 1], -1)
    places = torch.where(known[:, None, None, None], places, whole.to(places)).to(images.dtype)
    with full_precision(images.device):
        return F.grid_sample(
            images, places, mode="bilinear", padding_mode="border", align_corners=True
        )


def whole(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Square face crops without alignment: float (N, 3, S, S) to (N, 3, *size); differentiable.

    The centred part that has the aspect of ``size`` (centred to half a pixel where it cannot be
    exact), resized as MATLAB's bicubic ``imresize`` does; not clipped, so values may leave [0, 1]
    slightly. Raises :class:`UsageError` for crops that are not square. Source: TinyFace's official
    protocol, in which a face is what the detector's square cuts out.
    """
    if images.ndim != 4 or images.shape[2] != images.shape[3]:
        raise UsageError(
            f"whole wants square crops (N, 3, S, S), got {tuple(images.shape)}: crop them first"
        )
    side = max(size)
    top, left = ((side - n) // 2 for n in size)
    # resized before it is cut: the part may end between two pixels of the crop
    return resize(images, (side, side))[:, :, top : top + size[0], left : left + size[1]]
