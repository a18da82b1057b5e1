"""The low-quality camera: a native low-resolution capture of a moment, by few pixels.

A surveillance image is not a down-sampled portrait. This models, in order: misframing, motion blur,
the lens's point spread, exposure, shot and read noise of the sensor, its Bayer mosaic, sharpening,
4:2:0 chroma and JPEG. Each stage can be switched off (:meth:`Camera.without`); with all of them off
the result is the high-quality camera's picture with fewer pixels.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace

import cv2
import numpy as np

from lrface.data.synthetic.lens import compress, halve_chroma
from lrface.data.synthetic.render import Frame, develop
from lrface.errors import UsageError

_BORDER = cv2.BORDER_REFLECT_101
HEIGHTS = (6, 50)
"""Smallest and largest native height in pixels: the range of faces in TinyFace."""


@dataclass(frozen=True)
class Camera:
    """The parameters of one capture; a stage with strength 0 or False is off.

    Lengths are in pixels of the native image. Raises :class:`UsageError` for impossible values.

    Examples
    --------
    >>> Camera(16, psf=0.5, jpeg=40).without("compression").jpeg
    0
    """

    height: int
    """Rows and columns of the capture."""
    psf: float = 0.0
    """Standard deviation of the lens's Gaussian point spread function."""
    motion: float = 0.0
    """Length of a linear motion during the exposure."""
    motion_angle: float = 0.0
    """Its direction, degrees."""
    shift_x: float = 0.0
    """Misframing, as a share of the image's side."""
    shift_y: float = 0.0
    zoom: float = 1.0
    """Above 1 the face is cropped too tightly."""
    exposure: float = 1.0
    """Factor on the light."""
    full_well: float = 0.0
    """Electrons at white, whose count has Poisson noise; 0: neither shot nor read noise."""
    read_noise: float = 0.0
    """Standard deviation in electrons."""
    bayer: bool = False
    """Sample red, green and blue in an RGGB mosaic, and interpolate linearly."""
    sharpen: float = 0.0
    """Strength of unsharp masking, after the tone curve."""
    chroma_420: bool = False
    """Halve the resolution of the colour differences, as in video."""
    jpeg: int = 0
    """Quality from 1 to 100; 0: not compressed."""
    jpeg_x: int = 0
    """Offset of the image in the grid of 8 x 8 blocks, 0 to 7."""
    jpeg_y: int = 0

    def __post_init__(self) -> None:
        strengths = (self.psf, self.motion, self.full_well, self.read_noise, self.sharpen)
        in_range = self.height >= 2 and self.zoom > 0 and 0 <= self.jpeg <= 100
        if not in_range or min(strengths) < 0:
            raise UsageError(f"this camera cannot exist: {asdict(self)}")

    def without(self, *stages: str) -> Camera:
        """The same camera with some of ``STAGES`` switched off."""
        off = {}
        for stage in stages:
            if stage not in STAGES:
                raise UsageError(f"unknown camera stage {stage!r}: choose from {', '.join(STAGES)}")
            off |= {name: _OFF[name] for name in STAGES[stage]}
        return replace(self, **off)


STAGES = {
    "framing": ("shift_x", "shift_y", "zoom"),
    "motion": ("motion",),
    "optics": ("psf",),
    "exposure": ("exposure",),
    "noise": ("full_well", "read_noise"),
    "mosaic": ("bayer",),
    "sharpening": ("sharpen",),
    "chroma": ("chroma_420",),
    "compression": ("jpeg",),
}
"""The stages in the order in which light passes them, with the fields that switch each off."""
_OFF = {f.name: f.default for f in fields(Camera)}


def sample_camera(rng: np.random.Generator, height: int | None = None) -> Camera:
    """A random low-quality camera, such as a surveillance camera.

    ``height`` is log-uniform in ``HEIGHTS`` if not given. All ranges are our own choices.
    """
    u, n = rng.random(10), rng.normal(size=4)
    low, high = HEIGHTS
    random_height = int(round(np.exp(np.log(low) + u[0] * np.log(high / low))))
    return Camera(
        height=random_height if height is None else height,
        psf=float(0.35 + 0.45 * u[1]),
        motion=float(2.2 * u[2] ** 2) if u[3] < 0.5 else 0.0,
        motion_angle=float(180 * u[4]),
        shift_x=float(0.035 * n[0]),
        shift_y=float(0.035 * n[1]),
        zoom=float(np.exp(0.05 * n[2])),
        exposure=float(np.exp(0.22 * n[3])),
        full_well=float(np.exp(np.log(300) + u[5] * np.log(20))),
        read_noise=float(2 + 8 * u[6]),
        bayer=True,
        sharpen=float(1.2 * u[7]),
        chroma_420=True,
        jpeg=int(35 + 55 * u[8]),
        jpeg_x=int(8 * u[9]),
        jpeg_y=int(64 * u[9]) % 8,
    )


def _gather(light: np.ndarray, camera: Camera) -> np.ndarray:
    """Framing, motion and lens: the light (h, h, 3) on each of the native pixels."""
    side, h = light.shape[0], camera.height
    if camera.shift_x or camera.shift_y or camera.zoom != 1:
        centre, k = (side - 1) / 2, 1 / camera.zoom
        left = centre * (1 - k) + camera.shift_x * side
        top = centre * (1 - k) + camera.shift_y * side
        warp = np.array([[k, 0, left], [0, k, top]])
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        light = cv2.warpAffine(light, warp, (side, side), flags=flags, borderMode=_BORDER)
    if camera.motion > 0:
        kernel = _motion_kernel(camera.motion * side / h, np.radians(camera.motion_angle))
        light = cv2.filter2D(light, -1, kernel, borderType=_BORDER)
    if camera.psf > 0:
        light = cv2.GaussianBlur(light, (0, 0), camera.psf * side / h, borderType=_BORDER)
    return cv2.resize(light, (h, h), interpolation=cv2.INTER_AREA)


def _motion_kernel(length: float, angle: float) -> np.ndarray:
    """A straight line of ``length`` pixels at ``angle`` (radians) as a convolution kernel."""
    steps = max(int(np.ceil(length)), 1) | 1
    reach = int(np.ceil(length / 2)) + 1
    path = np.zeros((2 * reach + 1, 2 * reach + 1))
    for t in np.linspace(-0.5, 0.5, 4 * steps + 1) * length:
        x, y = reach + t * np.cos(angle), reach + t * np.sin(angle)
        i, j = int(np.floor(y)), int(np.floor(x))
        fy, fx = y - i, x - j
        for di, dj, weight in (  # bilinear
            (0, 0, (1 - fy) * (1 - fx)),
            (0, 1, (1 - fy) * fx),
            (1, 0, fy * (1 - fx)),
            (1, 1, fy * fx),
        ):
            path[min(i + di, 2 * reach), min(j + dj, 2 * reach)] += weight
    return path / path.sum()


def _mosaic(height: int, width: int) -> np.ndarray:
    """The channel that each pixel of an RGGB mosaic samples, int (height, width)."""
    rows, columns = np.mgrid[0:height, 0:width]
    return np.where((rows + columns) % 2 == 1, 1, np.where(rows % 2 == 0, 0, 2))


def _demosaic(raw: np.ndarray) -> np.ndarray:
    """Linear interpolation of an RGGB mosaic (h, w) to (h, w, 3)."""
    h, w = raw.shape
    channel = _mosaic(h, w)
    kernel = np.array([[1, 2, 1], [2, 4, 2], [1, 2, 1]]) / 4
    out = np.empty((h, w, 3))
    for c in range(3):
        sampled = (channel == c).astype(np.float64)
        # divided by the weights of what was sampled, so borders and odd sizes are no special case
        weight = cv2.filter2D(sampled, -1, kernel, borderType=_BORDER)
        total = cv2.filter2D(raw * sampled, -1, kernel, borderType=_BORDER)
        out[..., c] = total / np.maximum(weight, 1e-9)
        out[..., c][channel == c] = raw[channel == c]
    return out


def capture(frame: Frame, camera: Camera, rng: np.random.Generator | None = None) -> np.ndarray:
    """The image that a camera takes of a moment, uint8 (height, height, 3).

    ``rng`` is for the sensor's noise; without noise it may be None. Raises :class:`UsageError` if
    it is needed and missing.
    """
    light = _gather(frame.light, camera).astype(np.float64) * camera.exposure
    raw = light
    if camera.bayer:
        channel = _mosaic(camera.height, camera.height)
        raw = np.take_along_axis(light, channel[..., None], 2)[..., 0]
    if camera.full_well > 0:
        if rng is None:
            raise UsageError("a camera with noise needs a random generator")
        electrons = rng.poisson(np.maximum(raw, 0) * camera.full_well)
        raw = (electrons + camera.read_noise * rng.normal(size=raw.shape)) / camera.full_well
    light = _demosaic(raw) if camera.bayer else raw
    picture = develop(light)
    if camera.sharpen > 0:
        soft = cv2.GaussianBlur(picture, (0, 0), 1.0).astype(np.float64)
        sharp = np.floor(picture + camera.sharpen * (picture - soft) + 0.5)
        picture = np.clip(sharp, 0, 255).astype(np.uint8)
    if camera.chroma_420:
        picture = halve_chroma(picture)
    return compress(picture, camera.jpeg, camera.jpeg_x, camera.jpeg_y) if camera.jpeg else picture


def landmarks_in(camera: Camera, points: np.ndarray, size: int) -> np.ndarray:
    """Landmarks (..., 2) of the HR picture of ``size`` pixels, in pixels of the capture."""
    centre = (size - 1) / 2
    shift = np.array([camera.shift_x, camera.shift_y]) * size
    placed = (points - centre - shift) * camera.zoom + centre
    return (placed + 0.5) * (camera.height / size) - 0.5
