"""Light on a face: a key light with shadows, a soft fill light, and ambient light; the tone curve.

The ambient light is a gradient from the sky (above) to the floor (below).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lrface.data.synthetic.kernel import srgb


@dataclass(frozen=True)
class Light:
    """The light of one picture: angles in degrees, strengths in units of linear light."""

    azimuth: float = 25.0
    """Of the key light: 0 is the camera's direction, positive towards the image's right."""
    elevation: float = 30.0
    """Of the key light above the horizon."""
    key: float = 1.1
    """Strength of the key light."""
    ambient: float = 0.55
    """Strength of the ambient light."""
    warmth: float = 0.0
    """Colour of the key light, about -1 (blue) to 1 (yellow); ambient light has the opposite."""
    slope: float = 0.0
    """Sideways gradient of the ambient light."""
    fill: float = 0.2
    """Strength of the fill light over that of the ambient light."""
    fill_azimuth: float = -60.0
    exposure: float = 0.8
    """Factor on all light before the camera's tone curve."""
    softness: float = 1.5
    """Half the width of a shadow's edge, in pixels of the key light's depth map."""

    @property
    def direction(self) -> np.ndarray:
        """Unit vector (3,) towards the key light."""
        return _direction(self.azimuth, self.elevation)

    def packed(self) -> np.ndarray:
        """The numbers that kernels take, float64 (6, 3).

        Direction and colour of the key light, direction and colour of the fill light, colours of
        sky and floor.
        """
        key = self.key * np.array([1 + 0.10 * self.warmth, 1.0, 1 - 0.15 * self.warmth])
        sky = self.ambient * np.array([1 - 0.05 * self.warmth, 1.0, 1 + 0.07 * self.warmth])
        floor = sky * np.array([0.66, 0.62, 0.58])
        fill_direction = _direction(self.fill_azimuth, 10.0)
        return np.stack([self.direction, key, fill_direction, self.fill * sky, sky * 1.12, floor])


def _direction(azimuth: float, elevation: float) -> np.ndarray:
    """Unit vector (3,) from angles in degrees."""
    a, e = np.radians(azimuth), np.radians(elevation)
    return np.array([np.sin(a) * np.cos(e), np.sin(e), np.cos(a) * np.cos(e)])


def sample_light(rng: np.random.Generator, albedo: float = 0.35) -> Light:
    """Random light as in portraits: mostly from the front and above, sometimes hard.

    ``albedo`` is the mean of the skin's (0 to 1). The exposure follows the light on a face that
    looks at the camera, and is longer for darker skin, though not enough to make all equal; it errs
    by 13 %, about a sixth of a stop.
    """
    azimuth = float(np.clip(rng.normal() * 38, -85, 85))
    elevation = float(12 + 40 * rng.beta(2, 2))
    key = float(np.exp(rng.normal(0.05, 0.32)))
    ambient = float(0.38 + 0.42 * rng.random())
    fill = float(0.15 + 0.55 * rng.random())
    incident = key * max(np.cos(np.radians(azimuth)), 0.15) * np.cos(np.radians(elevation))
    incident += ambient * (0.9 + 0.4 * fill)
    warmth, slope = rng.normal() * 0.7, rng.normal() * 0.22
    fill_azimuth = -np.sign(azimuth) * rng.uniform(25, 80)
    for_skin = (0.42 / albedo) ** (0.34 if albedo < 0.42 else 0.6)
    return Light(
        azimuth=azimuth,
        elevation=elevation,
        key=key,
        ambient=ambient,
        warmth=float(warmth),
        slope=float(slope),
        fill=fill,
        fill_azimuth=float(fill_azimuth),
        exposure=float(0.83 / incident * for_skin * np.exp(rng.normal(0, 0.13))),
    )


KINDS = {"studio": 0.34, "window": 0.18, "overcast": 0.13, "sun": 0.12, "flash": 0.12, "lamp": 0.11}
"""Kinds of light in the second generation and their shares."""


def sample_varied_light(rng: np.random.Generator, albedo: float = 0.35) -> Light:
    """Random light as in photographs of all kinds: one of ``KINDS``; otherwise as `sample_light`.

    The exposure errs by a third of a stop. The ranges are our own choices.
    """
    kind = list(KINDS)[int(np.searchsorted(np.cumsum(list(KINDS.values())), rng.random() * 0.9999))]
    u, n = rng.random(8), rng.normal(size=5)
    side = 1.0 if u[0] < 0.5 else -1.0
    azimuth, elevation, softness = 38 * n[0], 12 + 40 * u[1], 1.2 + 1.6 * u[2]
    key, ambient, fill, warmth = np.exp(0.05 + 0.3 * n[1]), 0.38 + 0.42 * u[3], u[4], 0.6 * n[2]
    if kind == "window":
        azimuth, elevation, softness = side * (30 + 50 * u[1]), 4 + 30 * u[2], 2.5 + 1.5 * u[5]
        ambient, fill, warmth = 0.22 + 0.3 * u[3], 0.5 * u[4], 0.7 * n[2] - 0.3
    elif kind == "overcast":
        elevation, softness, key = 45 + 30 * u[1], 4.0, 0.2 + 0.4 * u[2]
        ambient, warmth = 0.75 + 0.3 * u[3], 0.4 * n[2] - 0.5
    elif kind == "sun":
        azimuth, elevation, softness = 150 * (u[1] - 0.5), 22 + 45 * u[2], 0.6 + 0.3 * u[5]
        key, ambient, warmth = 1.5 + 1.0 * u[3], 0.28 + 0.25 * u[4], 0.6 + 0.4 * n[2]
    elif kind == "flash":
        azimuth, elevation, softness = 7 * n[0], 2 + 9 * u[1], 0.7
        key, ambient, fill, warmth = 1.3, 0.10 + 0.22 * u[3], 0.15 * u[4], 0.3 * n[2] - 0.2
    elif kind == "lamp":
        elevation, softness, key = 48 + 28 * u[1], 1.5 + 1.5 * u[2], 0.7 + 0.5 * u[5]
        ambient, warmth = 0.3 + 0.3 * u[3], 0.8 + 0.5 * n[2]
    azimuth = float(np.clip(azimuth, -85, 85))
    fill = 0.1 + 0.55 * fill
    incident = key * max(np.cos(np.radians(azimuth)), 0.15) * np.cos(np.radians(elevation))
    incident += ambient * (0.9 + 0.4 * fill)
    for_skin = (0.42 / albedo) ** (0.34 if albedo < 0.42 else 0.6)
    return Light(
        azimuth=azimuth,
        elevation=float(elevation),
        key=float(key),
        ambient=float(ambient),
        warmth=float(np.clip(warmth, -2, 2.2)),
        slope=float(0.25 * n[3]),
        fill=float(fill),
        fill_azimuth=float(-np.sign(azimuth) * (25 + 55 * u[6])),
        exposure=float(0.83 / incident * for_skin * np.exp(0.22 * n[4])),
        softness=float(softness),
    )


@dataclass(frozen=True)
class ToneCurve:
    """A camera's tone curve: compressed highlights, the sRGB curve, and an S-curve of contrast."""

    shoulder: float = 0.30
    """How much the highlights are compressed."""
    contrast: float = 0.38
    """How much steeper than sRGB the middle is."""

    def __call__(self, light: np.ndarray) -> np.ndarray:
        """Linear light of any shape, at least 0, to display values in [0, 1]."""
        x = np.maximum(light, 0)
        x = srgb(x * (1 + self.shoulder * x * 0.4) / (1 + self.shoulder * x * 1.6))
        return x + 4 * self.contrast * (x - 0.5) * x * (1 - x)


TONE = ToneCurve()
