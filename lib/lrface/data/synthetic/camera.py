"""The poor camera: the same moment, seen natively by few pixels.

A surveillance picture is not a shrunken portrait. Light passes a lens, moves during the exposure,
is counted by a sensor behind a colour mosaic, is sharpened and compressed; each stage here can be
switched off, and with all of them off what remains is the good camera with fewer pixels.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace

import cv2
import numpy as np

from lrface.data.synthetic.render import Frame, develop
from lrface.errors import UsageError

HEIGHTS = (6, 50)
"""Native heights in pixels: the range of faces in TinyFace."""


@dataclass(frozen=True)
class Camera:
    """One capture. Lengths in pixels of the native picture; a stage whose strength is 0, or False,
    is off."""

    height: int
    """Rows and columns of the capture."""
    psf: float = 0.0
    """Standard deviation of the lens's Gaussian point spread."""
    motion: float = 0.0
    """Length of the straight motion during exposure."""
    motion_angle: float = 0.0
    """Its direction, degrees."""
    shift_x: float = 0.0
    """Misframing, as a share of the picture's side."""
    shift_y: float = 0.0
    zoom: float = 1.0
    """Over 1: the face is cropped too tight."""
    exposure: float = 1.0
    """Factor on the light."""
    full_well: float = 0.0
    """Electrons at white; shot noise is the square root of the count. 0: no noise of either kind."""
    read_noise: float = 0.0
    """Standard deviation in electrons."""
    bayer: bool = False
    """Red, green and blue sampled in an RGGB mosaic and interpolated linearly."""
    sharpen: float = 0.0
    """Strength of unsharp masking, on the finished picture."""
    chroma_420: bool = False
    """Colour differences at half the resolution, as video keeps them."""
    jpeg: int = 0
    """Quality 1-100; 0: not compressed."""
    jpeg_x: int = 0
    """Where the picture lies in the grid of 8 x 8 blocks."""
    jpeg_y: int = 0

    def __post_init__(self) -> None:
        if (
            self.height < 2
            or self.zoom <= 0
            or not 0 <= self.jpeg <= 100
            or min(self.psf, self.motion, self.full_well, self.read_noise, self.sharpen) < 0
        ):
            raise UsageError(f"this camera cannot exist: {asdict(self)}")

    def without(self, *stages: str) -> Camera:
        """The same camera with stages off: any of ``STAGES``."""
        off = {}
        for stage in stages:
            if stage not in STAGES:
                raise UsageError(f"unknown camera stage {stage!r}: choose from {', '.join(STAGES)}")
            off |= {name: _OFF[name] for name in STAGES[stage]}
        return replace(self, **off)


# fmt: off
STAGES = {"framing": ("shift_x", "shift_y", "zoom"), "motion": ("motion",), "optics": ("psf",), "exposure": ("exposure",),
          "noise": ("full_well", "read_noise"), "mosaic": ("bayer",), "sharpening": ("sharpen",), "chroma": ("chroma_420",),
          "compression": ("jpeg",)}
# fmt: on
"""The stages in the order light meets them, with the parameters that switch each off."""
_OFF = {f.name: f.default for f in fields(Camera)}


def sample_camera(rng: np.random.Generator, height: int | None = None) -> Camera:
    """A camera as one meets them on walls and in crowds; ``height`` drawn log-uniformly from
    ``HEIGHTS`` if not given."""
    u, n = rng.random(10), rng.normal(size=4)
    low, high = HEIGHTS
    drawn = int(round(np.exp(np.log(low) + u[0] * np.log(high / low))))
    return Camera(
        height=drawn if height is None else height,
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
    """Optics and framing: the light (h, h, 3) on each of the native pixels."""
    side, h = light.shape[0], camera.height
    if camera.shift_x or camera.shift_y or camera.zoom != 1:
        centre, k = (side - 1) / 2, 1 / camera.zoom
        warp = np.array(
            [
                [k, 0, centre * (1 - k) + camera.shift_x * side],
                [0, k, centre * (1 - k) + camera.shift_y * side],
            ]
        )
        light = cv2.warpAffine(
            light,
            warp,
            (side, side),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REFLECT_101,
        )
    if camera.motion > 0:
        length, angle = camera.motion * side / h, np.radians(camera.motion_angle)
        steps = max(int(np.ceil(length)), 1) | 1
        reach = int(np.ceil(length / 2)) + 1
        path = np.zeros((2 * reach + 1, 2 * reach + 1))
        for t in np.linspace(-0.5, 0.5, 4 * steps + 1) * length:
            x, y = reach + t * np.cos(angle), reach + t * np.sin(angle)
            i, j = int(np.floor(y)), int(np.floor(x))
            fy, fx = y - i, x - j
            for di, dj, weight in (
                (0, 0, (1 - fy) * (1 - fx)),
                (0, 1, (1 - fy) * fx),
                (1, 0, fy * (1 - fx)),
                (1, 1, fy * fx),
            ):
                path[min(i + di, 2 * reach), min(j + dj, 2 * reach)] += weight
        light = cv2.filter2D(light, -1, path / path.sum(), borderType=cv2.BORDER_REFLECT_101)
    if camera.psf > 0:
        light = cv2.GaussianBlur(
            light, (0, 0), camera.psf * side / h, borderType=cv2.BORDER_REFLECT_101
        )
    return cv2.resize(light, (h, h), interpolation=cv2.INTER_AREA)


def _demosaic(raw: np.ndarray) -> np.ndarray:
    """Linear interpolation of an RGGB mosaic (h, w) to (h, w, 3)."""
    h, w = raw.shape
    rows, columns = np.mgrid[0:h, 0:w]
    owner = np.where((rows + columns) % 2 == 1, 1, np.where(rows % 2 == 0, 0, 2))
    kernel = np.array([[1, 2, 1], [2, 4, 2], [1, 2, 1]]) / 4
    out = np.empty((h, w, 3))
    for c in range(3):
        mask = (owner == c).astype(np.float64)
        # Normalised by what was really sampled, so borders and mosaics of odd size need no special
        # case.
        weight = cv2.filter2D(mask, -1, kernel, borderType=cv2.BORDER_REFLECT_101)
        out[..., c] = cv2.filter2D(
            raw * mask, -1, kernel, borderType=cv2.BORDER_REFLECT_101
        ) / np.maximum(weight, 1e-9)
        out[..., c][owner == c] = raw[owner == c]
    return out


def _halve_chroma(picture: np.ndarray) -> np.ndarray:
    ycc = cv2.cvtColor(picture, cv2.COLOR_RGB2YCrCb)
    h, w = picture.shape[:2]
    small = cv2.resize(ycc[..., 1:], ((w + 1) // 2, (h + 1) // 2), interpolation=cv2.INTER_AREA)
    ycc[..., 1:] = cv2.resize(small, (w, h), interpolation=cv2.INTER_LINEAR)
    return cv2.cvtColor(ycc, cv2.COLOR_YCrCb2RGB)


def _compress(picture: np.ndarray, camera: Camera) -> np.ndarray:
    h, w = picture.shape[:2]
    right, below = -(w + camera.jpeg_x) % 8, -(h + camera.jpeg_y) % 8
    mode = cv2.BORDER_REFLECT if h > 8 else cv2.BORDER_REPLICATE
    padded = cv2.copyMakeBorder(picture, camera.jpeg_y, below, camera.jpeg_x, right, mode)
    # The stage before has already halved the colour if it was to be halved.
    options = [
        cv2.IMWRITE_JPEG_QUALITY,
        camera.jpeg,
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR,
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
    ]
    stored = cv2.imencode(".jpg", padded[..., ::-1], options)[1]
    decoded = cv2.imdecode(stored, cv2.IMREAD_COLOR)[..., ::-1]
    return np.ascontiguousarray(
        decoded[camera.jpeg_y : camera.jpeg_y + h, camera.jpeg_x : camera.jpeg_x + w]
    )


def capture(frame: Frame, camera: Camera, rng: np.random.Generator | None = None) -> np.ndarray:
    """What ``camera`` makes of a moment: uint8 (height, height, 3). ``rng`` draws the sensor's
    noise and is needed only for that."""
    light = _gather(frame.light, camera).astype(np.float64) * camera.exposure
    raw = light
    if camera.bayer:
        rows, columns = np.mgrid[0 : camera.height, 0 : camera.height]
        owner = np.where((rows + columns) % 2 == 1, 1, np.where(rows % 2 == 0, 0, 2))
        raw = np.take_along_axis(light, owner[..., None], 2)[..., 0]
    if camera.full_well > 0:
        if rng is None:
            raise UsageError("a camera with noise needs a random generator")
        electrons = np.maximum(raw, 0) * camera.full_well
        raw = (
            rng.poisson(electrons) + camera.read_noise * rng.normal(size=raw.shape)
        ) / camera.full_well
    light = _demosaic(raw) if camera.bayer else raw
    picture = develop(light)
    if camera.sharpen > 0:
        soft = cv2.GaussianBlur(picture, (0, 0), 1.0).astype(np.float64)
        picture = np.clip(
            np.floor(picture + camera.sharpen * (picture - soft) + 0.5), 0, 255
        ).astype(np.uint8)
    if camera.chroma_420:
        picture = _halve_chroma(picture)
    return _compress(picture, camera) if camera.jpeg else picture


def landmarks_in(camera: Camera, points: np.ndarray, size: int) -> np.ndarray:
    """Landmarks (..., 2) of the high-resolution picture of ``size`` pixels, moved to where they
    fall in the capture."""
    centre = (size - 1) / 2
    shift = np.array([camera.shift_x, camera.shift_y]) * size
    placed = (points - centre - shift) * camera.zoom + centre
    return (placed + 0.5) * (camera.height / size) - 0.5
