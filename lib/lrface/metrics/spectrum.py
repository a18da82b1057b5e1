"""The radially averaged power spectrum: how much detail pictures hold at each spatial frequency."""

from __future__ import annotations

import torch
from torch import Tensor

from lrface.errors import UsageError

LUMA = (0.299, 0.587, 0.114)


def power_spectrum(images: Tensor) -> tuple[Tensor, Tensor]:
    """Frequencies (K,) in cycles a pixel and mean power (N, K) of float images (N, 3, S, S) in [0,
    1].

    Luma (BT.601) less its mean, Hann window, squared magnitude over the window's energy, averaged
    over rings one frequency step wide, up to 0.5 cycles a pixel. White noise of variance v has
    power v at every frequency.
    """
    if images.ndim != 4 or images.shape[2] != images.shape[3]:
        raise UsageError(
            f"power_spectrum wants square images (N, 3, S, S), got {tuple(images.shape)}"
        )
    side = images.shape[2]
    luma = torch.einsum("nchw,c->nhw", images.double(), torch.tensor(LUMA, dtype=torch.float64))
    window = torch.hann_window(side, dtype=torch.float64)
    window = window[:, None] * window
    # the mean under the window, or what is left of it leaks into the first ring
    luma = luma - (luma * window).sum((1, 2), keepdim=True) / window.sum()
    power = torch.fft.fft2(luma * window).abs().square() / window.square().sum()
    f = torch.fft.fftfreq(side, dtype=torch.float64)
    ring = (torch.hypot(f[:, None], f) * side).round().long()
    rings = torch.arange(1, side // 2 + 1)
    mean = torch.stack([power[:, ring == r].mean(1) for r in rings], 1)
    return rings.double() / side, mean
