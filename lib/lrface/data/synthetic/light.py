"""Light: one key light with shadows, a soft fill from elsewhere, and the sky and floor around."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lrface.data.synthetic.kernel import srgb


@dataclass(frozen=True)
class Light:
    """Angles in degrees, strengths relative to a white card facing the key light."""

    azimuth: float = 25.0
    """From straight ahead of the viewer's side, positive towards the image's right."""
    elevation: float = 30.0
    key: float = 1.1
    ambient: float = 0.55
    warmth: float = 0.0
    """-1 bluish to 1 yellowish key light; the ambient light leans the other way."""
    slope: float = 0.0
    """Sideways gradient of the ambient light."""
    fill: float = 0.2
    fill_azimuth: float = -60.0
    exposure: float = 0.8
    """What the camera multiplies light by before its tone curve."""

    @property
    def direction(self) -> np.ndarray:
        """Unit vector (3,) towards the key light."""
        return _direction(self.azimuth, self.elevation)

    def packed(self) -> np.ndarray:
        """float64 (6, 3) for the kernels: key direction and colour, fill direction and colour, sky,
        floor."""
        key = self.key * np.array([1 + 0.10 * self.warmth, 1.0, 1 - 0.15 * self.warmth])
        sky = self.ambient * np.array([1 - 0.05 * self.warmth, 1.0, 1 + 0.07 * self.warmth])
        return np.stack(
            [
                self.direction,
                key,
                _direction(self.fill_azimuth, 10.0),
                self.fill * sky,
                sky * 1.12,
                sky * np.array([0.66, 0.62, 0.58]),
            ]
        )


def _direction(azimuth: float, elevation: float) -> np.ndarray:
    a, e = np.radians(azimuth), np.radians(elevation)
    return np.array([np.sin(a) * np.cos(e), np.sin(e), np.cos(a) * np.cos(e)])


def sample_light(rng: np.random.Generator, albedo: float = 0.35) -> Light:
    """Light as photographers meet it: mostly from the front and above, sometimes harsh, exposure
    never quite right.

    ``albedo`` is the skin's mean: a camera that meters a face opens up for a dark one, if not all
    the way.
    """
    azimuth = float(np.clip(rng.normal() * 38, -85, 85))
    elevation = float(12 + 40 * rng.beta(2, 2))
    key = float(np.exp(rng.normal(0.05, 0.32)))
    ambient = float(0.38 + 0.42 * rng.random())
    fill = float(0.15 + 0.55 * rng.random())
    # A camera meters what falls on a face that looks at it, and errs by a sixth of a stop or so.
    incident = key * max(np.cos(np.radians(azimuth)), 0.15) * np.cos(
        np.radians(elevation)
    ) + ambient * (0.9 + 0.4 * fill)
    return Light(
        azimuth,
        elevation,
        key,
        ambient,
        float(rng.normal() * 0.7),
        float(rng.normal() * 0.22),
        fill,
        float(-np.sign(azimuth) * rng.uniform(25, 80)),
        float(
            0.83
            / incident
            * (0.42 / albedo) ** (0.34 if albedo < 0.42 else 0.6)
            * np.exp(rng.normal(0, 0.13))
        ),
    )


@dataclass(frozen=True)
class ToneCurve:
    """From linear light to a finished picture: a soft shoulder for the highlights, the sRGB curve,
    and an S of contrast on top."""

    shoulder: float = 0.30
    contrast: float = 0.38
    """How much steeper than sRGB the middle is."""

    def __call__(self, light: np.ndarray) -> np.ndarray:
        """Linear light (any shape, 0 up) to display values in [0, 1]."""
        x = np.maximum(light, 0)
        x = srgb(x * (1 + self.shoulder * x * 0.4) / (1 + self.shoulder * x * 1.6))
        return x + 4 * self.contrast * (x - 0.5) * x * (1 - x)


TONE = ToneCurve()
