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

import hashlib
import io
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from lrface.behaviour import behaviour
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
    kernel: Literal["bicubic", "gaussian", "gaussian+bicubic", "own"] = "bicubic"
    """``gaussian``: blurred, then sampled at the centres of the LR pixels; ``gaussian+bicubic``:
    blurred, then resized as ``bicubic`` does; ``own``: :func:`with_kernel`."""
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
    values: tuple[tuple[float, ...], ...] | None = None
    """Of a kernel of your own: its rows (:func:`with_kernel`)."""
    jpeg: int | None = None
    """Quality, 1 to 100, of a JPEG file as which the small image is saved at last."""
    code: ClassVar[str | None] = None
    """Of a subclass: 16 hex digits of what it does to a random face."""

    def __post_init__(self) -> None:
        # Fields that came later, and the code of a subclass, stand in ``vars`` (which keys of
        # scores are made of) only where they are used.
        for name in ("eye_distance", "window", "values", "jpeg"):
            if getattr(self, name) is None:
                object.__delattr__(self, name)
        known = self.kernel in (*BUILDERS, "own") and self.rounding in ("uint8", "none")
        if self.scale < 1 or self.noise < 0 or not known:
            raise UsageError(f"degradation {self.name!r} is not valid: {vars(self)}")
        if (self.eye_distance is None) != (self.window is None):
            raise UsageError(f"degradation {self.name!r} wants eye_distance and window together")
        if (self.kernel == "own") != (self.values is not None):
            raise UsageError(f"degradation {self.name!r}: a kernel 'own' has values, no other has")
        if self.jpeg is not None and not (1 <= self.jpeg <= 100 and self.rounding == "uint8"):
            raise UsageError(
                f"degradation {self.name!r}: JPEG has a quality from 1 to 100 and uint8"
            )
        gaussian = self.kernel.startswith("gaussian")
        if gaussian and (self.kernel_size < 1 or self.sigma <= 0):
            raise UsageError(
                f"degradation {self.name!r} blurs with a Gaussian but has "
                f"kernel_size {self.kernel_size}, sigma {self.sigma}"
            )
        if self.kernel == "gaussian+bicubic" and self.kernel_size % 2 == 0:
            raise UsageError(
                f"degradation {self.name!r} resizes after a Gaussian of {self.kernel_size} taps: "
                "an even number would shift the picture by half a pixel, give an odd kernel_size"
            )
        if type(self) is not Degradation:
            self.__dict__["code"] = behaviour(self._random_face)

    def _random_face(self, dtype: torch.dtype) -> list[Tensor]:
        side = 128 // self.scale * self.scale
        face = torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(1))
        return [self(face.to(dtype))]

    def matrix(self, n: int) -> np.ndarray:
        """The float64 matrix (n / scale, n) applied along an axis of n pixels.

        Raises
        ------
        UsageError
            The kernel is your own, which need not be separable.
        """
        if self.kernel == "own":
            raise UsageError(f"{self.name} has a kernel of its own, which is no matrix")
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
        lr = self._small(hr)
        if self.rounding == "uint8":
            lr = round_uint8(lr)
        if self.noise:
            index = range(len(lr)) if index is None else index.tolist()
            lr = lr + (self.noise / 255) * self._noise(index, lr.shape[1:]).to(lr.device, lr.dtype)
            if self.rounding == "uint8":
                lr = round_uint8(lr)
        return lr if self.jpeg is None else _as_jpeg(lr, self.jpeg)

    def _small(self, hr: Tensor) -> Tensor:
        """Blurred and down-sampled."""
        arguments = [self._arguments(side) for side in hr.shape[-2:]]
        if self.kernel == "own":
            return _filtered(hr, self.scale, np.array(self.values))
        rows, columns = (_bands(self._builder, a, hr.device, hr.dtype) for a in arguments)
        return _sandwich(hr, rows, columns)

    def _noise(self, index, shape) -> Tensor:
        # One counter-based stream an image: the same noise on any device, in any batch, and when a
        # training is resumed.
        streams = (np.random.Generator(np.random.Philox(key=[self.seed, i])) for i in index)
        draws = [stream.standard_normal(shape, np.float32) for stream in streams]
        return torch.from_numpy(np.stack(draws))


def _filtered(hr: Tensor, scale: int, kernel: np.ndarray) -> Tensor:
    """Correlated with a kernel, the border replicated, and sampled as :func:`blur_matrix` does."""
    weights = torch.tensor(kernel, device=hr.device, dtype=hr.dtype)[None, None]
    before = [(size - 1) // 2 - (scale - 1) // 2 for size in kernel.shape]
    sides = [side // scale for side in hr.shape[-2:]]
    # what the last sample's taps need beyond the image
    after = [
        (n - 1) * scale + size - b - side
        for n, size, b, side in zip(sides, kernel.shape, before, hr.shape[-2:], strict=True)
    ]
    n, channels = hr.shape[:2]
    planes = hr.reshape(n * channels, 1, *hr.shape[-2:])
    taps = [
        torch.arange(-b, side + a, device=hr.device).clamp(0, side - 1)
        for b, a, side in zip(before, after, hr.shape[-2:], strict=True)
    ]
    planes = planes[:, :, taps[0]][:, :, :, taps[1]]
    with ieee_float32(hr.device):
        return F.conv2d(planes, weights, stride=scale).view(n, channels, *sides)


def _as_jpeg(lr: Tensor, quality: int) -> Tensor:
    """Saved as JPEG (chroma at half resolution, as files mostly are) and read again."""
    pictures = []
    for picture in lr.detach().mul(255).round().byte().cpu().permute(0, 2, 3, 1).numpy():
        file = io.BytesIO()
        Image.fromarray(picture).save(file, "JPEG", quality=quality, subsampling="4:2:0")
        pictures.append(np.array(Image.open(file)))
    stacked = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2)
    return stacked.to(lr.device, lr.dtype).div(255)


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


CBN_SETTINGS: dict[str, Degradation] = {
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
    name : str
        ``2x``, ``4x``, ``4x_BD``, ``4x_DN`` or ``8x``. BD: blurred by a Gaussian, then sampled; DN:
        bicubic with noise; else bicubic. Noise of another sigma is written ``4x_DN10``, and files
        saved as JPEG of a quality ``4x_JPEG60``, ``8x_DN10_JPEG60``, ``4x_BD_JPEG60``. Of CBN:
        ``3x``, and ``3px``, ``5px``, ``8px``, ``10px`` for faces of one size (``eye_distance`` of
        :class:`Degradation`).
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
    parts = re.fullmatch(r"(\d+x(?:_BD)?)(?:_DN(\d+(?:\.\d+)?))?(?:_JPEG(\d+))?", name)
    known = SETTINGS | CBN_SETTINGS
    base = name if name in known else parts and parts[1]
    if base not in known:
        raise UsageError(
            f"unknown degradation setting {name!r}: choose one of {', '.join(known)}, with your "
            "own noise or JPEG quality if you like (4x_DN10, 4x_JPEG60, 8x_DN10_JPEG60), or make a "
            "Degradation of your own"
        )
    if base == name:
        return replace(known[name], **changes)
    own = {"name": name, "noise": float(parts[2] or 0), "jpeg": parts[3] and int(parts[3])}
    return replace(known[base], **own | changes)


def with_kernel(
    kernel: np.ndarray | str | Path, scale: int, name: str = "", **changes
) -> Degradation:
    """A degradation with a blur kernel of your own.

    Parameters
    ----------
    kernel : array (rows, columns), or a file
        At most 64 taps a side, correlated with the image (as MATLAB's ``imfilter`` does), every
        ``scale``-th result taken, at the centres of the small pixels: an even side is anchored
        right of its middle. It is divided by its sum. Files: ``.npy``, numbers as text (``.txt``,
        ``.csv``), or a greyscale image.
    scale : int
    name : str
        Default: ``SCALEx_own`` and a hash of the kernel.
    **changes
        Other fields of :class:`Degradation`: ``noise``, ``jpeg``, ``seed``, ...

    Raises
    ------
    UsageError
        The file cannot be read, or holds no kernel: two dimensions, finite, a sum above 0.

    Examples
    --------
    >>> import numpy as np
    >>> import torch
    >>> box = with_kernel(np.ones((4, 4)), scale=4, name="4x_box", rounding="none")
    >>> hr = torch.rand(1, 3, 8, 8, dtype=torch.float64)
    >>> bool(torch.allclose(box(hr), torch.nn.functional.avg_pool2d(hr, 4)))
    True
    """
    values = _read_kernel(Path(kernel)) if isinstance(kernel, str | Path) else np.asarray(kernel)
    if (
        values.ndim != 2
        or not values.size
        or max(values.shape) > 64
        or values.dtype.kind not in "iuf"
    ):
        got = f"{values.dtype} of shape {values.shape}"
        raise UsageError(f"a kernel is an array of numbers (rows, columns) up to 64, got {got}")
    total = float(values.sum())
    if not (np.isfinite(values).all() and total > 0):
        raise UsageError(f"a kernel is finite, with a sum above 0; this one's is {total:g}")
    rows = tuple(map(tuple, (values / total).tolist()))
    name = name or f"{scale}x_own{hash_of(rows)}"
    return Degradation(name, scale, kernel="own", values=rows, **changes)


def hash_of(rows: tuple[tuple[float, ...], ...]) -> str:
    """Six hex digits of a kernel's values."""
    return hashlib.sha256(repr(rows).encode()).hexdigest()[:6]


def _read_kernel(file: Path) -> np.ndarray:
    try:
        if file.suffix.lower() == ".npy":
            return np.load(file, allow_pickle=False)
        if file.suffix.lower() in (".txt", ".csv"):
            lines = file.read_text(encoding="utf-8-sig").replace(",", " ").splitlines()
            return np.loadtxt(lines, ndmin=2)
        with Image.open(file) as image:
            return np.asarray(image.convert("F"), np.float64)
    except (OSError, ValueError, EOFError, SyntaxError) as error:
        first = (str(error).splitlines() or ["unreadable"])[0]
        raise UsageError(
            f"{file} holds no kernel ({first}): give .npy, .txt, .csv or an image"
        ) from None


def to_uint8(images: Tensor) -> Tensor:
    """Float images in [0, 1] to uint8, clipped and rounded (halves up), as files store them.

    Examples
    --------
    >>> to_uint8(torch.tensor([[[[-0.1, 0.5, 2.0]]]])).tolist()
    [[[[0, 128, 255]]]]
    """
    return round_uint8(images).mul(255).round().byte()
