"""Radially averaged power spectrum: how much detail images have at each spatial frequency."""

from __future__ import annotations

import torch
from torch import Tensor

from lrface.errors import UsageError

LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue (BT.601)."""


def power_spectrum(images: Tensor) -> tuple[Tensor, Tensor]:
    """Mean power of images over rings of equal spatial frequency.

    Luma (BT.601) less its mean, Hann window, squared magnitude of the Fourier transform over the
    window's energy, averaged over rings one frequency step wide. White noise of variance v has
    power v at every frequency.

    Parameters
    ----------
    images : float (N, 3, S, S)
        In [0, 1].

    Returns
    -------
    frequencies : float64 (S // 2,)
        In cycles per pixel, up to 0.5.
    power : float64 (N, S // 2)
        Both on the device of ``images``.

    Raises
    ------
    UsageError
        Images that are not square.

    Examples
    --------
    >>> wave = torch.cos(2 * torch.pi * torch.arange(32) / 4).expand(1, 3, 32, 32)
    >>> frequencies, power = power_spectrum(wave)
    >>> frequencies[power[0].argmax()]  # a period of 4 pixels
    tensor(0.2500, dtype=torch.float64)
    """
    if images.ndim != 4 or images.shape[2] != images.shape[3]:
        raise UsageError(
            f"power_spectrum wants square images (N, 3, S, S), got {tuple(images.shape)}"
        )
    side = images.shape[2]
    how = {"dtype": torch.float64, "device": images.device}
    luma = torch.einsum("nchw,c->nhw", images.double(), torch.tensor(LUMA, **how))
    window = torch.hann_window(side, **how)
    window = window[:, None] * window
    # Without the mean under the window, which would leak into the first ring.
    luma = luma - (luma * window).sum((1, 2), keepdim=True) / window.sum()
    power = torch.fft.fft2(luma * window).abs().square() / window.square().sum()
    f = torch.fft.fftfreq(side, **how)
    ring = (torch.hypot(f[:, None], f) * side).round().long()
    rings = torch.arange(1, side // 2 + 1, device=images.device)
    mean = torch.stack([power[:, ring == r].mean(1) for r in rings], 1)
    return rings.double() / side, mean
