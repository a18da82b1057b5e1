"""Backgrounds as a portrait lens shows them: out of focus, mostly muted, drawn small and enlarged."""

from __future__ import annotations

import cv2
import numpy as np

from lrface.data.synthetic.kernel import linear

SCENES = ("studio", "wall", "lights", "room", "foliage", "street", "crowd")
SIZE = 160

_WALLS = [(196, 190, 180), (168, 160, 148), (120, 124, 128), (206, 204, 200), (84, 88, 96), (150, 134, 116), (104, 112, 104), (176, 164, 160), (60, 62, 70)]
_ROOM = [(92, 70, 54), (140, 116, 92), (182, 172, 156), (66, 72, 84), (112, 96, 84), (206, 200, 190), (78, 62, 58), (148, 154, 160), (122, 60, 52), (70, 92, 84), (190, 164, 120)]
_LEAF = [(44, 58, 34), (70, 86, 48), (104, 116, 66), (34, 42, 28), (138, 142, 96), (92, 78, 54)]
_STREET = [(150, 156, 164), (110, 112, 116), (186, 190, 196), (84, 80, 78), (132, 112, 98), (164, 150, 136), (62, 66, 74)]
_CLOTH = [(40, 42, 50), (170, 166, 162), (110, 60, 58), (62, 82, 112), (190, 150, 120), (220, 216, 210), (96, 70, 54), (150, 110, 88)]


def _cloud(rng: np.random.Generator, octaves: int = 5) -> np.ndarray:
    """Soft random field (SIZE, SIZE) in [0, 1]."""
    field = np.zeros((SIZE, SIZE), np.float32)
    for k in range(octaves):
        field += 0.62**k * cv2.resize(rng.random((2 ** (k + 1) + 1,) * 2).astype(np.float32), (SIZE, SIZE), interpolation=cv2.INTER_CUBIC)
    return (field - field.min()) / (np.ptp(field) + 1e-6)


def _patches(rng: np.random.Generator, image: np.ndarray, palette, count: int, tall: float, size: tuple[int, int]) -> None:
    for _ in range(count):
        colour = (np.array(palette[rng.integers(len(palette))]) * np.exp(rng.normal(0, 0.18))).clip(0, 255).tolist()
        corner = rng.integers(-20, SIZE, 2)
        extent = rng.integers(*size, 2) * np.array([1, tall])
        cv2.rectangle(image, tuple(int(v) for v in corner), tuple(int(v) for v in corner + extent), colour, -1)


def sample_background(rng: np.random.Generator) -> tuple[str, np.ndarray]:
    """A scene's name and its linear light, float32 (SIZE, SIZE, 3)."""
    scene = SCENES[int(np.searchsorted(np.cumsum([0.12, 0.18, 0.10, 0.22, 0.13, 0.15]), rng.random()))]
    image = np.empty((SIZE, SIZE, 3), np.float32)
    y, x = np.mgrid[0:SIZE, 0:SIZE].astype(np.float32) / SIZE
    blur = 1.0 + 4.0 * rng.random() ** 1.5
    if scene in ("studio", "wall"):
        image[:] = np.array(_WALLS[rng.integers(len(_WALLS))], np.float32) * np.exp(rng.normal(0, 0.15))
        if scene == "studio":
            centre = rng.uniform(0.3, 0.7, 2)
            image *= (1.15 - 0.9 * np.hypot(x - centre[0], y - centre[1]) * rng.random())[..., None]
        else:
            image *= (0.86 + 0.28 * _cloud(rng, 6))[..., None] * (1 + rng.normal(0, 0.25) * (x - 0.5))[..., None]
            _patches(rng, image, _ROOM, int(rng.integers(0, 4)), 1.6, (30, 90))
    elif scene == "lights":
        image[:] = np.array([24, 24, 30], np.float32) + 50 * _cloud(rng)[..., None]
        for _ in range(int(rng.integers(10, 36))):
            colour = (np.array([(250, 214, 160), (220, 226, 240), (240, 160, 110), (170, 200, 220)][rng.integers(4)]) * rng.uniform(0.35, 1)).tolist()
            cv2.circle(image, tuple(int(v) for v in rng.integers(0, SIZE, 2)), int(rng.integers(3, 13)), colour, -1)
        blur = 1.0 + rng.random()
    elif scene == "foliage":
        a, b, c = (np.array(_LEAF[i], np.float32) for i in rng.choice(len(_LEAF), 3, replace=False))
        f, g = _cloud(rng, 7)[..., None], _cloud(rng, 6)[..., None]
        image[:] = (a * f + b * (1 - f)) * g + c * (1 - g)
        sky = np.clip((rng.uniform(0.0, 0.5) - y) * 4 + 0.7 * (_cloud(rng) - 0.5), 0, 1)[..., None]
        image[:] = image * (1 - sky) + np.array([198, 210, 222], np.float32) * sky
        image *= np.exp(rng.normal(0.1, 0.2))
    else:
        palette = {"room": _ROOM, "street": _STREET, "crowd": _CLOTH}[scene]
        image[:] = palette[rng.integers(len(palette))]
        _patches(rng, image, palette, int(rng.integers(14, 40)), {"room": 1.2, "street": 2.4, "crowd": 1.4}[scene], (8, 56))
        if scene == "street" and rng.random() < 0.6:
            top = np.clip((rng.uniform(0.05, 0.35) - y) * 12, 0, 1)[..., None]
            image[:] = image * (1 - top) + np.array([206, 214, 224], np.float32) * top
        if scene == "crowd":
            for _ in range(int(rng.integers(2, 6))):
                px, py, r = rng.integers(0, SIZE), rng.integers(20, SIZE), int(rng.integers(10, 24))
                cv2.circle(image, (int(px), int(py)), r, (np.array([178, 132, 106]) * rng.uniform(0.5, 1.15)).tolist(), -1)
                cv2.ellipse(image, (int(px), int(py) - r // 2), (r, r * 2 // 3), 0, 180, 360, (np.array([50, 40, 34]) * rng.uniform(0.5, 2)).tolist(), -1)
            blur += 1
    image = cv2.GaussianBlur(image, (0, 0), blur)
    light = linear(np.clip(image, 0, 255)).astype(np.float32)
    return scene, light * np.float32(np.exp(rng.normal(-0.1, 0.3)))
