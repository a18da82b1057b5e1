"""PSNR and SSIM, with the choices that change the number as arguments: colour space and border."""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from lrface.errors import UsageError

Space = Literal["rgb", "y"]
BLOCK = 24
"""Outputs of the SSIM window's filter that are computed by one matrix product."""


def luma(x: Tensor) -> Tensor:
    """Luminance as MATLAB's ``rgb2ycbcr`` computes it.

    OpenCV's Y has the full range instead, which lowers PSNR by 1.32 dB on the same pair.

    Parameters
    ----------
    x : float (N, 3, H, W)
        In [0, 1].

    Returns
    -------
    (N, 1, H, W) tensor
        In [16/255, 235/255].
    """
    weights = torch.tensor([65.481, 128.553, 24.966], dtype=x.dtype, device=x.device)
    return ((x * weights.view(1, 3, 1, 1)).sum(1, keepdim=True) + 16) / 255


def _prepare(sr: Tensor, hr: Tensor, space: Space, border: int) -> tuple[Tensor, Tensor]:
    if sr.shape != hr.shape or sr.ndim != 4 or sr.shape[1] != 3:
        raise UsageError(
            "PSNR and SSIM compare two batches (N, 3, H, W) of one shape, "
            f"got {tuple(sr.shape)} and {tuple(hr.shape)}"
        )
    if space not in ("rgb", "y"):
        raise UsageError(f"unknown colour space {space!r}: choose 'rgb' or 'y'")
    if not 0 <= border < min(hr.shape[2:]) / 2:
        raise UsageError(
            f"a border of {border} pixels leaves nothing of a {hr.shape[3]}x{hr.shape[2]} image"
        )
    pair = (sr, hr.to(sr.device))
    pair = [x.double() / 255 if x.dtype == torch.uint8 else x.double() for x in pair]
    if border:
        pair = [x[..., border:-border, border:-border] for x in pair]
    return tuple(luma(x) for x in pair) if space == "y" else tuple(pair)


def psnr(
    sr: Tensor, hr: Tensor, space: Space = "rgb", border: int = 0, mask: Tensor | None = None
) -> Tensor:
    """Peak signal-to-noise ratio of each image, in dB.

    The squared error is averaged over all channels of one image, never over a batch.

    Parameters
    ----------
    sr, hr : (N, 3, H, W) tensor
        uint8, or float in [0, 1].
    space : {"rgb", "y"}
        Colour space; ``y`` is :func:`luma`.
    border : int
        Pixels that are cut from every side first, at least 0.
    mask : bool (N, H, W) tensor, optional
        The pixels that count: the face alone, for instance.

    Returns
    -------
    float64 (N,) tensor
        On the device of ``sr``; infinite for identical images, NaN where no pixel counts.

    Raises
    ------
    UsageError
        Other shapes or colour spaces, or a border that leaves nothing, or both border and mask.

    Source
    ------
    EDFace-Celeb-1M, section 4.2, computes its metrics in RGB and states no border; the
    super-resolution literature uses ``space="y", border=scale``.

    Examples
    --------
    >>> hr = torch.zeros(1, 3, 16, 16)
    >>> psnr(hr + 0.1, hr)
    tensor([20.0000], dtype=torch.float64)
    """
    a, b = _prepare(sr, hr, space, border)
    if mask is None:
        return -10 * (a - b).square().mean((1, 2, 3)).log10()
    wrong = (a - b).square().mean(1)
    if border or mask.shape != wrong.shape:
        want = f"no border and a mask of shape {tuple(wrong.shape)}"
        raise UsageError(f"want {want}, got border {border} and shape {tuple(mask.shape)}")
    return -10 * ((wrong * mask).sum((1, 2)) / mask.sum((1, 2))).log10()


@lru_cache(maxsize=1)
def _window(size: int = 11, sigma: float = 1.5) -> Tensor:
    """The 'valid' Gaussian filter for BLOCK outputs as a matrix (BLOCK, BLOCK + size - 1)."""
    taps = np.exp(-((np.arange(size) - size // 2) ** 2) / (2 * sigma**2))
    taps /= taps.sum()
    matrix = np.zeros((BLOCK, BLOCK + size - 1))
    for row in range(BLOCK):
        matrix[row, row : row + size] = taps
    return torch.from_numpy(matrix)


def _smooth(x: Tensor) -> Tensor:
    """Filter float64 (..., H, W) to (..., H - 10, W - 10).

    Block by block, because the filter's matrix is zero far from the diagonal.
    """
    window = _window().to(x.device)
    for _ in range(2):  # columns, then rows
        n = x.shape[-1] - 10
        pieces = ((i, min(BLOCK, n - i)) for i in range(0, n, BLOCK))
        blocks = [x[..., i : i + m + 10] @ window[:m, : m + 10].T for i, m in pieces]
        x = torch.cat(blocks, -1).transpose(-1, -2)
    return x


def ssim(sr: Tensor, hr: Tensor, space: Space = "rgb", border: int = 0) -> Tensor:
    """Structural similarity of each image.

    Gaussian window of 11x11 pixels with sigma 1.5, only where it fits ('valid'); K1 0.01, K2 0.03;
    population covariance; mean over channels. Equal to scikit-image with
    ``gaussian_weights=True, sigma=1.5, use_sample_covariance=False``.

    Parameters
    ----------
    sr, hr : (N, 3, H, W) tensor
        uint8, or float in [0, 1]; at least 11 pixels wide and high inside the border.
    space : {"rgb", "y"}
        Colour space; ``y`` is :func:`luma`.
    border : int
        Pixels that are cut from every side first, at least 0.

    Returns
    -------
    float64 (N,) tensor
        On the device of ``sr``; 1 for identical images.

    Raises
    ------
    UsageError
        Other shapes or colour spaces, or an image smaller than the window.

    Source
    ------
    Wang, Bovik, Sheikh and Simoncelli, *Image quality assessment: from error visibility to
    structural similarity* (2004).

    Examples
    --------
    >>> hr = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    >>> ssim(hr, hr)
    tensor([1., 1.], dtype=torch.float64)
    >>> bool((ssim(1 - hr, hr) < 0).all())
    True
    """
    a, b = _prepare(sr, hr, space, border)
    if min(a.shape[2:]) < 11:
        raise UsageError(
            f"SSIM's window has 11 pixels, the compared area only {a.shape[3]}x{a.shape[2]}"
        )
    c1, c2 = 0.01**2, 0.03**2
    ma, mb = _smooth(a), _smooth(b)
    va, vb, cov = _smooth(a * a) - ma * ma, _smooth(b * b) - mb * mb, _smooth(a * b) - ma * mb
    value = (2 * ma * mb + c1) * (2 * cov + c2) / ((ma * ma + mb * mb + c1) * (va + vb + c2))
    return value.mean((1, 2, 3))
