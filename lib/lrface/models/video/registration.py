"""Registration and average: what seven frames give without learning, if the landmarks are known.

Every frame is enlarged by bicubic interpolation, moved onto the reference frame by the similarity
that fits its landmarks best (least squares: Umeyama, TPAMI 1991), and all are averaged. It needs
true landmarks, which no method for tiny faces has, and is here as the classical answer.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from lrface.degrade import resize


def similarity(points: Tensor, goal: Tensor) -> Tensor:
    """The similarity that takes ``points`` to ``goal`` with the least squared error.

    Parameters
    ----------
    points, goal : Tensor
        float (..., K, 2), x and y.

    Returns
    -------
    Tensor
        (..., 2, 3): ``goal`` is about ``points @ m[..., :2].mT + m[..., 2]``.

    Examples
    --------
    >>> square = torch.tensor([[0.0, 0], [1, 0], [1, 1], [0, 1]])
    >>> similarity(square, 2 * square + 3)[:, 2].tolist()
    [3.0, 3.0]
    """
    centre, goal_centre = points.mean(-2, keepdim=True), goal.mean(-2, keepdim=True)
    x, y = (points - centre).unbind(-1)
    u, v = (goal - goal_centre).unbind(-1)
    size = (x.square() + y.square()).sum(-1)
    # rotation and scale together are one complex number
    real, imaginary = (x * u + y * v).sum(-1) / size, (x * v - y * u).sum(-1) / size
    turn = torch.stack([real, -imaginary, imaginary, real], -1).unflatten(-1, (2, 2))
    shift = goal_centre - centre @ turn.mT
    return torch.cat([turn, shift.mT], -1)


def registered_mean(clips: Tensor, points: Tensor, scale: int = 8, reference: int = 3) -> Tensor:
    """The mean of all frames, enlarged and registered to one of them.

    Parameters
    ----------
    clips : Tensor
        float (N, T, 3, h, w) in [0, 1].
    points : Tensor
        float (N, T, K, 2): true landmarks of every frame, in pixels of the enlarged frames. Frames
        with an unknown one (NaN) are left out of the mean.
    scale : int
    reference : int
        The frame that is restored; its landmarks must be known.

    Returns
    -------
    Tensor
        float (N, 3, scale * h, scale * w).

    Examples
    --------
    >>> points = torch.rand(1, 1, 68, 2) * 100
    >>> registered_mean(torch.rand(1, 1, 3, 16, 12), points, reference=0).shape
    torch.Size([1, 3, 128, 96])
    """
    n, t, _, h, w = clips.shape
    height, width = h * scale, w * scale
    large = resize(clips, (height, width))
    known = points.isfinite().flatten(2).all(2)
    # where each pixel of the reference frame lies in each other frame
    back = similarity(points[:, reference, None].expand_as(points), points)
    back = torch.where(known[..., None, None], back, torch.eye(2, 3))
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    pixels = torch.stack([columns, rows], -1).float()
    where = torch.einsum("hwi,ntji->nthwj", pixels, back[..., :2]) + back[..., None, None, :, 2]
    grid = (2 * where + 1) / torch.tensor([width, height]) - 1
    moved = F.grid_sample(
        large.flatten(0, 1), grid.flatten(0, 1), "bilinear", "border", align_corners=False
    ).unflatten(0, (n, t))
    # the reference itself is not resampled
    moved[:, reference] = large[:, reference]
    weight = known.float()
    weight[:, reference] = 1
    return torch.einsum("nt,ntchw->nchw", weight, moved) / weight.sum(1)[:, None, None, None]
