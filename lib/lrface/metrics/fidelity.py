"""PSNR and SSIM, with the specification that changes the number kept beside it: colour space,
border, range, window."""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from lrface.errors import UsageError

Space = Literal["rgb", "y"]


def luma(x: Tensor) -> Tensor:
    """MATLAB's ``rgb2ycbcr`` luminance: float (N, 3, H, W) in [0, 1] to (N, 1, H, W) in [16/255,
    235/255].

    OpenCV's Y spans the full range instead, which lowers PSNR by 1.32 dB on the same pair.
    """
    weights = torch.tensor([65.481, 128.553, 24.966], dtype=x.dtype, device=x.device).view(
        1, 3, 1, 1
    )
    return ((x * weights).sum(1, keepdim=True) + 16) / 255


def _prepare(sr: Tensor, hr: Tensor, space: Space, border: int) -> tuple[Tensor, Tensor]:
    if sr.shape != hr.shape or sr.ndim != 4 or sr.shape[1] != 3:
        raise UsageError(
            f"PSNR and SSIM compare two batches (N, 3, H, W) of one shape, got {tuple(sr.shape)} and {tuple(hr.shape)}"
        )
    if space not in ("rgb", "y"):
        raise UsageError(f"unknown colour space {space!r}: choose 'rgb' or 'y'")
    if not 0 <= border < min(hr.shape[2:]) / 2:
        raise UsageError(
            f"a border of {border} pixels leaves nothing of a {hr.shape[3]}x{hr.shape[2]} image"
        )
    pair = [x.double() / 255 if x.dtype == torch.uint8 else x.double() for x in (sr, hr)]
    if border:
        pair = [x[..., border:-border, border:-border] for x in pair]
    return tuple(luma(x) for x in pair) if space == "y" else tuple(pair)


def psnr(sr: Tensor, hr: Tensor, space: Space = "rgb", border: int = 0) -> Tensor:
    """Peak signal-to-noise ratio of each image, in dB: float64 (N,); infinite for identical images.

    ``sr, hr``: uint8, or float in [0, 1], (N, 3, H, W). The squared error is averaged over all
    channels of one image, never over a batch. ``border`` pixels are cut from every side first.
    EDFace (section 4.2) computes its metrics in RGB and names no border; the super-resolution
    literature uses ``space="y", border=scale``.
    """
    a, b = _prepare(sr, hr, space, border)
    return -10 * (a - b).square().mean((1, 2, 3)).log10()


BLOCK = 24


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
    """Filter float64 (..., H, W) to (..., H - 10, W - 10), block by block: far from the diagonal
    the filter's matrix is zero."""
    window = _window().to(x.device)
    for _ in range(2):  # columns, then rows
        n = x.shape[-1] - 10
        pieces = ((i, min(BLOCK, n - i)) for i in range(0, n, BLOCK))
        x = torch.cat(
            [x[..., i : i + m + 10] @ window[:m, : m + 10].T for i, m in pieces], -1
        ).transpose(-1, -2)
    return x


def ssim(sr: Tensor, hr: Tensor, space: Space = "rgb", border: int = 0) -> Tensor:
    """Structural similarity of each image (Wang et al. 2004): float64 (N,).

    11x11 Gaussian window of sigma 1.5, only where it fits ('valid'), K1 0.01, K2 0.03, population
    covariance, mean over channels: scikit-image with ``gaussian_weights=True, sigma=1.5,
    use_sample_covariance=False``. Arguments as :func:`psnr`.
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
