"""The five EDFace degradation settings, and your own, as exact separable linear maps plus noise.

A setting is two small matrices: ``lr = A @ hr @ B.T``. The matrices hold MATLAB's ``imresize(...,
'bicubic')`` with its mirrored border, or the even-sized Gaussian of the RDN/RCAN preparation
scripts followed by direct sampling at the cell centres.

EDFace-Celeb-1M (section 3.4) names the settings ``2x, 4x, 4x_BD, 4x_DN, 8x`` but prints no kernel
size, sigma or noise level. The values here are those of the scripts most works share
(yulunzhang/RDN and RCAN, ``Prepare_TestData_HR_LR.m``): a 12x12 Gaussian of sigma 1.6 for BD at
even scales, noise of sigma 30 (of 255) for DN. Whether MATLAB rounds a uint8 image between its two
passes is not documented; here it is rounded once, at the end.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from lrface.errors import UsageError


def _cubic(x: np.ndarray) -> np.ndarray:
    """Keys' cubic convolution kernel with a = -0.5, the one MATLAB uses (OpenCV and plain torch use
    -0.75)."""
    x = np.abs(x)
    near = 1.5 * x**3 - 2.5 * x**2 + 1
    far = -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return np.where(x <= 1, near, np.where(x <= 2, far, 0.0))


@lru_cache(maxsize=256)
def resize_matrix(n_in: int, n_out: int) -> np.ndarray:
    """MATLAB's bicubic ``imresize`` along one axis, as a float64 matrix of shape (n_out, n_in).

    Shrinking widens the kernel by n_in / n_out (antialiasing); indices beyond the border are
    mirrored with the edge pixel repeated.
    """
    scale = n_out / n_in
    stretch = min(scale, 1.0)
    width = 4.0 / stretch
    centre = (np.arange(n_out) + 0.5) / scale - 0.5
    first = np.floor(centre - width / 2).astype(int)
    taps = first[:, None] + np.arange(int(np.ceil(width)) + 2)[None]
    weights = stretch * _cubic(stretch * (centre[:, None] - taps))
    weights /= weights.sum(1, keepdims=True)
    mirrored = np.mod(taps, 2 * n_in)
    mirrored = np.where(mirrored < n_in, mirrored, 2 * n_in - 1 - mirrored)
    matrix = np.zeros((n_out, n_in))
    np.add.at(matrix, (np.arange(n_out)[:, None], mirrored), weights)
    matrix.setflags(write=False)
    return matrix


@lru_cache(maxsize=64)
def blur_matrix(n_in: int, scale: int, size: int, sigma: float) -> np.ndarray:
    """Gaussian blur with replicated border, then every ``scale``-th pixel: a float64 matrix of
    shape (n_in / scale, n_in).

    The kernel is MATLAB's ``fspecial('gaussian', size, sigma)``, which is separable. MATLAB anchors
    an even kernel right of its middle, so that sampling at 1-based ``scale/2 : scale : end`` lands
    exactly on the cell centres (methods: RDN, even scale).
    """
    radius = (size - 1) / 2
    kernel = np.exp(-((np.arange(size) - radius) ** 2) / (2 * sigma**2))
    kernel /= kernel.sum()
    offsets = np.arange(size) - (size - 1) // 2 if size % 2 == 0 else np.arange(size) - size // 2
    samples = np.arange(n_in // scale) * scale + (
        (scale - 1) // 2 if scale % 2 == 0 else scale // 2
    )
    taps = np.clip(samples[:, None] + offsets[None], 0, n_in - 1)
    matrix = np.zeros((n_in // scale, n_in))
    np.add.at(
        matrix, (np.arange(n_in // scale)[:, None], taps), np.broadcast_to(kernel, taps.shape)
    )
    matrix.setflags(write=False)
    return matrix


Bands = tuple[tuple[int, int, Tensor], ...]


@lru_cache(maxsize=256)
def _bands(
    build: Callable[..., np.ndarray], args: tuple, device: torch.device, dtype: torch.dtype
) -> Bands:
    """The matrix in four bands of rows, each with only the columns it uses (first, last + 1): half
    the work of the whole or less."""
    bands = []
    for rows in np.array_split(build(*args), 4):
        used = np.flatnonzero(rows.any(0)) if len(rows) else []
        if len(used):
            first, last = int(used[0]), int(used[-1]) + 1
            with torch.inference_mode(False):  # kept for later calls, which may need gradients
                bands.append(
                    (first, last, torch.tensor(rows[:, first:last], device=device, dtype=dtype))
                )
    return tuple(bands)


def full_precision(device: torch.device) -> AbstractContextManager:
    """Autocast off; on a device without autocast (``meta``, where steps are planned) nothing, for
    asking it there raises."""
    return (
        torch.autocast(device.type, enabled=False)
        if torch.amp.is_autocast_available(device.type)
        else nullcontext()
    )


def _sandwich(x: Tensor, rows: Bands, columns: Bands) -> Tensor:
    """rows @ x @ columns.T over the last two axes, in the input's own precision."""
    with full_precision(x.device):
        x = torch.cat([torch.matmul(band, x[..., first:last, :]) for first, last, band in rows], -2)
        return torch.cat(
            [torch.matmul(x[..., first:last], band.T) for first, last, band in columns], -1
        )


def resize(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize (..., H, W) to (..., *size) exactly as MATLAB's bicubic ``imresize`` does, without
    clipping or rounding."""
    h, w = x.shape[-2:]
    rows = _bands(resize_matrix, (h, size[0]), x.device, x.dtype)
    return _sandwich(x, rows, _bands(resize_matrix, (w, size[1]), x.device, x.dtype))


def round_uint8(x: Tensor) -> Tensor:
    """Clip to [0, 1] and round to the 256 levels an 8-bit file can hold (halves up, as MATLAB
    does)."""
    return x.clamp(0, 1).mul_(255).add_(0.5).floor_().div_(255)


@dataclass(frozen=True)
class Degradation:
    """How a low-resolution face comes from a high-resolution one; every field belongs beside every
    score it led to.

    Calling it maps float (N, 3, H, W) in [0, 1] to (N, 3, H/scale, W/scale), on any device and in
    the input's dtype.
    """

    name: str
    scale: int
    kernel: Literal["bicubic", "gaussian"] = "bicubic"
    kernel_size: int = 0
    """Taps of the Gaussian along one axis (0 for bicubic)."""
    sigma: float = 0.0
    """Standard deviation of the Gaussian in HR pixels."""
    noise: float = 0.0
    """Standard deviation of additive Gaussian noise on the 0-255 scale."""
    rounding: Literal["uint8", "none"] = "uint8"
    """``uint8``: what a saved PNG would hold, before and after noise; ``none``: real values,
    unclipped."""
    seed: int = 0
    """Seed of the noise; image i of a call gets the stream (seed, index[i]), whatever the batch it
    travels in."""

    def __post_init__(self) -> None:
        if (
            self.scale < 1
            or self.noise < 0
            or self.kernel not in ("bicubic", "gaussian")
            or self.rounding not in ("uint8", "none")
        ):
            raise UsageError(f"degradation {self.name!r} is not valid: {asdict(self)}")
        if self.kernel == "gaussian" and (self.kernel_size < 1 or self.sigma <= 0):
            raise UsageError(
                f"degradation {self.name!r} blurs with a Gaussian but has kernel_size {self.kernel_size}, sigma {self.sigma}"
            )

    def matrix(self, n: int) -> np.ndarray:
        """The float64 matrix (n / scale, n) applied along an axis of n pixels."""
        return self._builder(*self._arguments(n))

    @property
    def _builder(self) -> Callable[..., np.ndarray]:
        return resize_matrix if self.kernel == "bicubic" else blur_matrix

    def _arguments(self, n: int) -> tuple:
        if n % self.scale:
            raise UsageError(
                f"{self.name} divides by {self.scale}, but an image side is {n} pixels: crop it to a multiple first"
            )
        return (
            (n, n // self.scale)
            if self.kernel == "bicubic"
            else (n, self.scale, self.kernel_size, self.sigma)
        )

    def __call__(self, hr: Tensor, index: Tensor | None = None) -> Tensor:
        """Degrade ``hr``. ``index`` (N,) numbers the images for their noise; it defaults to 0..N-1."""
        if hr.ndim != 4 or not hr.is_floating_point():
            raise UsageError(
                f"{self.name} wants float (N, 3, H, W) in [0, 1], got {hr.dtype} of shape {tuple(hr.shape)}"
            )
        h, w = hr.shape[-2:]
        rows = _bands(self._builder, self._arguments(h), hr.device, hr.dtype)
        columns = _bands(self._builder, self._arguments(w), hr.device, hr.dtype)
        lr = _sandwich(hr, rows, columns)
        if self.rounding == "uint8":
            lr = round_uint8(lr)
        if self.noise:
            index = range(len(lr)) if index is None else index.tolist()
            lr = lr + (self.noise / 255) * self._noise(index, lr.shape[1:]).to(lr.device, lr.dtype)
            if self.rounding == "uint8":
                lr = round_uint8(lr)
        return lr

    def _noise(self, index, shape) -> Tensor:
        # One counter-based stream an image: the same noise on any device, in any batch, and after a
        # resumed training.
        draws = [
            np.random.Generator(np.random.Philox(key=[self.seed, i])).standard_normal(
                shape, np.float32
            )
            for i in index
        ]
        return torch.from_numpy(np.stack(draws))


SETTINGS: dict[str, Degradation] = {
    d.name: d
    for d in (
        Degradation("2x", 2),
        Degradation("4x", 4),
        Degradation("4x_BD", 4, kernel="gaussian", kernel_size=12, sigma=1.6),
        Degradation("4x_DN", 4, noise=30.0),
        Degradation("8x", 8),
    )
}
"""The settings of EDFace-Celeb-1M, section 3.4, in the order of its Table 2."""


HR = Degradation("HR", 1)
"""No degradation at all: what a recognition network sees that is trained on the high-resolution
faces."""


def setting(name: str, **changes) -> Degradation:
    """A named setting, with fields changed if asked: ``setting("4x_DN", seed=1)``, ``setting("4x",
    rounding="none")``."""
    if name not in SETTINGS:
        raise UsageError(
            f"unknown degradation setting {name!r}: choose one of {', '.join(SETTINGS)}, or make a Degradation of your own"
        )
    return replace(SETTINGS[name], **changes)


def to_uint8(images: Tensor) -> Tensor:
    """Images as they are stored in files: float (N, 3, H, W) in [0, 1] to uint8, clipped and
    rounded.

    Examples
    --------
    >>> to_uint8(torch.tensor([[[[-0.1, 0.5, 2.0]]]])).tolist()
    [[[[0, 128, 255]]]]
    """
    return round_uint8(images).mul(255).round().byte()
