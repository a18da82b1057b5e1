"""The good camera of the second generation: the ordinary ones that photographs of faces come from.

No two photographs of a web collection are equally sharp. A :class:`Lens` blurs by defocus or by
enlargement, adds the sensor's noise and smooths it away again, balances white imperfectly, has a
contrast and a saturation, sharpens, halves the chroma and compresses, in this order. The ranges
are our own choices, checked by the spectrum of what comes out (``benchmarks/realism.py``).
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from lrface.data.synthetic.kernel import srgb

_BORDER = cv2.BORDER_REFLECT_101


@dataclass(frozen=True)
class Lens:
    """One good camera; lengths are in pixels of the picture, strengths of 0 switch a stage off."""

    blur: float = 0.3
    """Standard deviation of the Gaussian point spread function."""
    enlarged: float = 1.0
    """The picture was taken with so many times fewer pixels along each side, and enlarged."""
    full_well: float = 8000.0
    """Electrons at white, whose count has Poisson noise; 0: no noise."""
    smooth: float = 0.6
    """Standard deviation of the blur by which noise is reduced."""
    white: tuple[float, float, float] = (1.0, 1.0, 1.0)
    """Factors on linear red, green and blue: white that is balanced imperfectly."""
    contrast: float = 0.38
    """How much steeper than sRGB the middle of the tone curve is."""
    shoulder: float = 0.30
    """How much the highlights are compressed."""
    saturation: float = 1.0
    vignette: float = 0.0
    """How much darker the corners are."""
    sharpen: float = 0.2
    """Strength of an unsharp mask of one pixel, after the tone curve."""
    chroma_420: bool = True
    jpeg: int = 92
    """Quality from 1 to 100; 0: not compressed."""
    jpeg_x: int = 0
    """Offset of the picture in the grid of 8 x 8 blocks, 0 to 7."""
    jpeg_y: int = 0


def sample_lens(rng: np.random.Generator) -> Lens:
    """A random good camera: most are sharp, some out of focus, enlarged, noisy or compressed."""
    u, n = rng.random(10), rng.normal(size=8)
    soft = u[0] < 0.10
    white = np.exp(np.array([0.07, 0.0, -0.09]) * n[1] + np.array([0.02, -0.03, 0.02]) * n[2])
    return Lens(
        blur=float(np.clip(0.20 * np.exp(0.4 * n[0]) + 0.6 * soft, 0.05, 1.3)),
        enlarged=float(1.0 + 0.6 * u[1] if u[2] < 0.18 else 1.0),
        full_well=float(np.exp(np.log(2500) + u[3] * np.log(16))),
        smooth=float(0.35 + 0.5 * u[4]),
        white=tuple(white.tolist()),
        contrast=float(np.clip(0.36 + 0.16 * n[3], 0.0, 0.8)),
        shoulder=float(np.clip(0.30 + 0.12 * n[4], 0.05, 0.7)),
        saturation=float(np.clip(np.exp(0.16 * n[5]), 0.6, 1.5) if u[5] > 0.03 else 0.0),
        vignette=float(0.25 * u[6] ** 2),
        sharpen=float(0.9 * u[7] ** 1.5),
        chroma_420=bool(u[8] < 0.75),
        jpeg=int(np.clip(99 - 26 * u[9] ** 1.8, 60, 99)),
        jpeg_x=int(8 * rng.random()),
        jpeg_y=int(8 * rng.random()),
    )


def halve_chroma(picture: np.ndarray) -> np.ndarray:
    """4:2:0: the colour differences at half the resolution, and enlarged again."""
    ycc = cv2.cvtColor(picture, cv2.COLOR_RGB2YCrCb)
    h, w = picture.shape[:2]
    small = cv2.resize(ycc[..., 1:], ((w + 1) // 2, (h + 1) // 2), interpolation=cv2.INTER_AREA)
    ycc[..., 1:] = cv2.resize(small, (w, h), interpolation=cv2.INTER_LINEAR)
    return cv2.cvtColor(ycc, cv2.COLOR_YCrCb2RGB)


def compress(picture: np.ndarray, quality: int, x: int, y: int) -> np.ndarray:
    """JPEG and back; (x, y) is the picture's place in the grid of blocks, as of a larger one."""
    h, w = picture.shape[:2]
    right, below = -(w + x) % 8, -(h + y) % 8
    mode = cv2.BORDER_REFLECT if h > 8 else cv2.BORDER_REPLICATE
    padded = cv2.copyMakeBorder(picture, y, below, x, right, mode)
    # 4:4:4, since halving the chroma is a stage of its own
    options = [
        cv2.IMWRITE_JPEG_QUALITY,
        quality,
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR,
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
    ]
    stored = cv2.imencode(".jpg", padded[..., ::-1], options)[1]
    decoded = cv2.imdecode(stored, cv2.IMREAD_COLOR)[..., ::-1]
    return np.ascontiguousarray(decoded[y : y + h, x : x + w])


def take(light: np.ndarray, size: int, lens: Lens, rng: np.random.Generator) -> np.ndarray:
    """The picture, uint8 (size, size, 3), of linear light (H, H, 3); ``rng`` is for the noise."""
    scale = light.shape[0] / size
    if lens.blur > 0:
        sigma = lens.blur * scale
        light = cv2.GaussianBlur(light, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE)
    native = max(round(size / lens.enlarged), 16)
    small = cv2.resize(light, (native, native), interpolation=cv2.INTER_AREA).astype(np.float64)
    small *= np.array(lens.white)
    if lens.vignette > 0:
        at = np.linspace(-1, 1, native)
        small *= (1 - lens.vignette * 0.5 * (at[:, None] ** 2 + at[None] ** 2))[..., None]
    if lens.full_well > 0:
        noise = rng.normal(size=small.shape) * np.sqrt(np.maximum(small, 0.002) / lens.full_well)
        if lens.smooth > 0:
            noise = cv2.GaussianBlur(noise, (0, 0), lens.smooth)
        small = np.maximum(small + noise, 0)
    x = small * (1 + lens.shoulder * small * 0.4) / (1 + lens.shoulder * small * 1.6)
    x = srgb(x)
    x = x + 4 * lens.contrast * (x - 0.5) * x * (1 - x)
    grey = (x * np.array([0.299, 0.587, 0.114])).sum(-1, keepdims=True)
    x = grey + lens.saturation * (x - grey)
    if native != size:
        x = cv2.resize(x, (size, size), interpolation=cv2.INTER_CUBIC)
    if lens.sharpen > 0:
        x = x + lens.sharpen * (x - cv2.GaussianBlur(x, (0, 0), 1.0, borderType=_BORDER))
    picture = np.floor(np.clip(x, 0, 1) * 255 + 0.5).astype(np.uint8)
    if lens.chroma_420:
        picture = halve_chroma(picture)
    return compress(picture, lens.jpeg, lens.jpeg_x, lens.jpeg_y) if lens.jpeg else picture
