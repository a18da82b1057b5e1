"""The five EDFace degradation settings, and your own: separable linear maps plus noise.

A setting is two small matrices: ``lr = A @ hr @ B.T``. They implement MATLAB's ``imresize(...,
'bicubic')`` with its mirrored border, or the Gaussian blur of the RDN/RCAN preparation scripts,
followed by direct sampling at the centres of the LR pixels or by ``imresize``.

EDFace-Celeb-1M (section 3.4) names the settings ``2x, 4x, 4x_BD, 4x_DN, 8x`` but prints no kernel
size, sigma or noise level. The values here are those of the scripts that most works share
(yulunzhang/RDN and RCAN, ``Prepare_TestData_HR_LR.m``): a 12x12 Gaussian of sigma 1.6 for BD at
even scales, noise of sigma 30 (of 255) for DN. :mod:`lrface.metrics.calibration` compares what a
setting costs with what it cost in the paper. Whether MATLAB rounds a uint8 image between its two
passes is not documented; here it is rounded once, at the end.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from lrface.errors import UsageError
from lrface.numerics import ieee_float32


def _cubic(x: np.ndarray) -> np.ndarray:
    """Keys' cubic convolution kernel with a = -0.5, as in MATLAB (OpenCV and torch use -0.75)."""
    x = np.abs(x)
    near = 1.5 * x**3 - 2.5 * x**2 + 1
    far = -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return np.where(x <= 1, near, np.where(x <= 2, far, 0.0))


@lru_cache(maxsize=256)
def resize_matrix(n_in: int, n_out: int) -> np.ndarray:
    """MATLAB's bicubic ``imresize`` along one axis, as a read-only float64 matrix (n_out, n_in).

    Down-sampling widens the kernel by n_in / n_out (antialiasing). Beyond the border the image is
    mirrored, the edge pixel repeated.
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
    """Gaussian blur and every ``scale``-th pixel, as a read-only float64 (n_in / scale, n_in).

    The kernel is MATLAB's ``fspecial('gaussian', size, sigma)``, which is separable; the border is
    replicated. MATLAB anchors an even kernel right of its middle, so that sampling at 1-based
    ``scale/2 : scale : end`` is exactly at the centres of the LR pixels (RDN's script, even scale).
    """
    radius = (size - 1) / 2
    kernel = np.exp(-((np.arange(size) - radius) ** 2) / (2 * sigma**2))
    kernel /= kernel.sum()
    offsets = np.arange(size) - (size - 1) // 2
    n_out = n_in // scale
    samples = np.arange(n_out) * scale + (scale - 1) // 2
    taps = np.clip(samples[:, None] + offsets[None], 0, n_in - 1)
    matrix = np.zeros((n_out, n_in))
    np.add.at(matrix, (np.arange(n_out)[:, None], taps), np.broadcast_to(kernel, taps.shape))
    matrix.setflags(write=False)
    return matrix


@lru_cache(maxsize=64)
def blur_resize_matrix(n_in: int, scale: int, size: int, sigma: float) -> np.ndarray:
    """Gaussian blur, then MATLAB's bicubic ``imresize``, as a read-only float64 matrix (n_in /
    scale, n_in); kernel and border of the blur as in :func:`blur_matrix`."""
    matrix = resize_matrix(n_in, n_in // scale) @ blur_matrix(n_in, 1, size, sigma)
    matrix.setflags(write=False)
    return matrix


Bands = tuple[tuple[int, int, Tensor], ...]
"""A matrix as bands of rows: first column, last column + 1, and the values between."""


@lru_cache(maxsize=256)
def _bands(
    build: Callable[..., np.ndarray], args: tuple, device: torch.device, dtype: torch.dtype
) -> Bands:
    """The matrix in four bands of rows, each with the columns it uses: half the products."""
    bands = []
    for rows in np.array_split(build(*args), 4):
        used = np.flatnonzero(rows.any(0)) if len(rows) else []
        if len(used):
            first, last = int(used[0]), int(used[-1]) + 1
            with torch.inference_mode(False):  # cached for later calls, which may need gradients
                band = torch.tensor(rows[:, first:last], device=device, dtype=dtype)
            bands.append((first, last, band))
    return tuple(bands)


def _sandwich(x: Tensor, rows: Bands, columns: Bands) -> Tensor:
    """rows @ x @ columns.T over the last two axes, in the input's dtype."""
    with ieee_float32(x.device):
        x = torch.cat([torch.matmul(band, x[..., first:last, :]) for first, last, band in rows], -2)
        return torch.cat(
            [torch.matmul(x[..., first:last], band.T) for first, last, band in columns], -1
        )


def resize(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize as MATLAB's bicubic ``imresize`` does, without clipping or rounding.

    Parameters
    ----------
    x : Tensor
        Floating point (..., H, W).
    size : tuple of int
        Height and width of the result.

    Returns
    -------
    Tensor
        (..., *size), of the same dtype and device.

    Examples
    --------
    >>> import torch
    >>> from lrface import degrade
    >>> degrade.resize(torch.zeros(2, 3, 32, 32), (128, 96)).shape
    torch.Size([2, 3, 128, 96])
    """
    h, w = x.shape[-2:]
    rows = _bands(resize_matrix, (h, size[0]), x.device, x.dtype)
    return _sandwich(x, rows, _bands(resize_matrix, (w, size[1]), x.device, x.dtype))


def round_uint8(x: Tensor) -> Tensor:
    """Clip to [0, 1] and round to the 256 levels of an 8-bit file.

    Parameters
    ----------
    x : Tensor
        Floating point, any shape.

    Returns
    -------
    Tensor
        Multiples of 1 / 255 in [0, 1]; halves are rounded up, as in MATLAB.

    Examples
    --------
    >>> import torch
    >>> from lrface import degrade
    >>> (degrade.round_uint8(torch.tensor([-0.1, 0.5, 2.0])) * 255).tolist()
    [0.0, 128.0, 255.0]
    """
    return x.clamp(0, 1).mul_(255).add_(0.5).floor_().div_(255)


BUILDERS: dict[str, Callable[..., np.ndarray]] = {
    "bicubic": resize_matrix,
    "gaussian": blur_matrix,
    "gaussian+bicubic": blur_resize_matrix,
}


@dataclass(frozen=True)
class Degradation:
    """How an LR face is made from an HR one: blur, down-sampling, noise and rounding.

    Calling it maps float (N, 3, H, W) in [0, 1] to (N, 3, H/scale, W/scale), on any device and in
    the input's dtype. All fields are stored with every score.

    Raises
    ------
    UsageError
        A field is out of its range; or, when called, the images are not float (N, 3, H, W) or
        ``scale`` does not divide their sides.

    Examples
    --------
    >>> import torch
    >>> from lrface import degrade
    >>> strong = degrade.Degradation("8x_blur", 8, kernel="gaussian", kernel_size=24, sigma=3.2)
    >>> strong(torch.rand(2, 3, 64, 64)).shape
    torch.Size([2, 3, 8, 8])
    """

    name: str
    scale: int
    kernel: Literal["bicubic", "gaussian", "gaussian+bicubic"] = "bicubic"
    """``gaussian``: blurred, then sampled at the centres of the LR pixels; ``gaussian+bicubic``:
    blurred, then resized as ``bicubic`` does."""
    kernel_size: int = 0
    """Taps of the Gaussian along one axis (0 for bicubic); odd for ``gaussian+bicubic``."""
    sigma: float = 0.0
    """Standard deviation of the Gaussian in HR pixels."""
    noise: float = 0.0
    """Standard deviation of additive Gaussian noise on the 0-255 scale."""
    rounding: Literal["uint8", "none"] = "uint8"
    """``uint8``: rounded to what a PNG holds, before and after noise; ``none``: not clipped."""
    seed: int = 0
    """Seed of the noise: image i of a call has the stream (seed, index[i]), whatever its batch."""
    eye_distance: float | None = None
    """For faces that were brought to one size (:func:`lrface.data.at_eye_distance`): the distance
    between the eye centres in HR pixels. None: faces as they are cropped."""
    window: int | None = None
    """The side in pixels of the HR window that then holds the face."""

    def __post_init__(self) -> None:
        # These came later, and settings are stored by their vars(): without a value they are no
        # part of it, and what was stored before stays valid.
        for name in ("eye_distance", "window"):
            if getattr(self, name) is None:
                object.__delattr__(self, name)
        known = self.kernel in BUILDERS and self.rounding in ("uint8", "none")
        if self.scale < 1 or self.noise < 0 or not known:
            raise UsageError(f"degradation {self.name!r} is not valid: {vars(self)}")
        if (self.eye_distance is None) != (self.window is None):
            raise UsageError(f"degradation {self.name!r} wants eye_distance and window together")
        if self.kernel != "bicubic" and (self.kernel_size < 1 or self.sigma <= 0):
            raise UsageError(
                f"degradation {self.name!r} blurs with a Gaussian but has "
                f"kernel_size {self.kernel_size}, sigma {self.sigma}"
            )
        if self.kernel == "gaussian+bicubic" and self.kernel_size % 2 == 0:
            raise UsageError(
                f"degradation {self.name!r} resizes after a Gaussian of {self.kernel_size} taps: "
                "an even number would shift the picture by half a pixel, give an odd kernel_size"
            )

    def matrix(self, n: int) -> np.ndarray:
        """The float64 matrix (n / scale, n) applied along an axis of n pixels."""
        return self._builder(*self._arguments(n))

    @property
    def _builder(self) -> Callable[..., np.ndarray]:
        return BUILDERS[self.kernel]

    def _arguments(self, n: int) -> tuple:
        if n % self.scale:
            raise UsageError(
                f"{self.name} divides by {self.scale}, but an image side is {n} pixels: "
                "crop it to a multiple first"
            )
        if self.kernel == "bicubic":
            return n, n // self.scale
        return n, self.scale, self.kernel_size, self.sigma

    def __call__(self, hr: Tensor, index: Tensor | None = None) -> Tensor:
        """Degrade ``hr``; ``index`` (N,) numbers the images' noise streams, by default 0..N-1."""
        if hr.ndim != 4 or not hr.is_floating_point():
            got = f"{hr.dtype} of shape {tuple(hr.shape)}"
            raise UsageError(f"{self.name} wants float (N, 3, H, W) in [0, 1], got {got}")
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
        # One counter-based stream an image: the same noise on any device, in any batch, and when a
        # training is resumed.
        streams = (np.random.Generator(np.random.Philox(key=[self.seed, i])) for i in index)
        draws = [stream.standard_normal(shape, np.float32) for stream in streams]
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


OTHERS: dict[str, Degradation] = {
    d.name: d
    for d in (
        Degradation("3x", 3),
        Degradation("3px", 8, eye_distance=24.0, window=80),
        Degradation("5px", 8, eye_distance=40.0, window=128),
        Degradation("8px", 4, eye_distance=32.0, window=128),
        Degradation("10px", 4, eye_distance=40.0, window=128),
    )
}
"""Settings of CBN (slides): 3x, and faces of so many LR pixels between the eye centres."""


HR = Degradation("HR", 1)
"""No degradation: the setting of recognition networks that are trained on HR faces."""


def setting(name: str, **changes) -> Degradation:
    """A named setting, with other values of some fields if given.

    Parameters
    ----------
    name : {"2x", "4x", "4x_BD", "4x_DN", "8x", "3x", "3px", "5px", "8px", "10px"}
        BD: blurred by a Gaussian, then sampled; DN: bicubic with noise; else bicubic. ``5px`` and
        the like are for faces of one size, see ``eye_distance`` of :class:`Degradation`.
    **changes
        Fields of :class:`Degradation` to replace, such as ``seed=1`` or ``rounding="none"``.

    Returns
    -------
    Degradation

    Raises
    ------
    UsageError
        Unknown name, or a value out of its range.

    Source
    ------
    EDFace-Celeb-1M, section 3.4; kernel and noise: the module's docstring. From ``3x`` on: CBN's
    slides.

    Examples
    --------
    >>> import torch
    >>> from lrface import degrade
    >>> lr = degrade.setting("4x_BD")(torch.rand(2, 3, 128, 128))
    >>> lr.shape
    torch.Size([2, 3, 32, 32])
    >>> degrade.setting("4x_DN", seed=1).noise
    30.0
    """
    known = SETTINGS | OTHERS
    if name not in known:
        raise UsageError(
            f"unknown degradation setting {name!r}: choose one of {', '.join(known)}, "
            "or make a Degradation of your own"
        )
    return replace(known[name], **changes)


def to_uint8(images: Tensor) -> Tensor:
    """Float images in [0, 1] to uint8, clipped and rounded (halves up), as files store them.

    Examples
    --------
    >>> to_uint8(torch.tensor([[[[-0.1, 0.5, 2.0]]]])).tolist()
    [[[[0, 128, 255]]]]
    """
    return round_uint8(images).mul(255).round().byte()
