"""Backgrounds out of focus: rooms, streets, trees, people, drawn at 160 pixels and blurred.

Sizes in the functions that draw a scene are in its pixels, colours in sRGB on the 0-255 scale.
"""

from __future__ import annotations

import cv2
import numpy as np

from lrface.data.synthetic.kernel import linear

SCENES = {
    "studio": 0.20,
    "wall": 0.22,
    "lights": 0.05,
    "room": 0.19,
    "foliage": 0.18,
    "street": 0.07,
    "people": 0.07,
    "banner": 0.02,
}
"""Scenes and their shares."""
DETAILED = {
    "studio": 0.22,
    "wall": 0.19,
    "lights": 0.04,
    "room": 0.17,
    "foliage": 0.13,
    "street": 0.08,
    "people": 0.07,
    "banner": 0.03,
    "clutter": 0.07,
}
"""The same in the second generation, whose scenes have texture and are seldom far out of focus."""
SIZE = 160
"""Width and height of a scene in pixels."""

# fmt: off
_WALLS = [
    (196, 190, 180), (168, 160, 148), (120, 124, 128), (206, 204, 200), (84, 88, 96),
    (150, 134, 116), (104, 112, 104), (176, 164, 160), (60, 62, 70),
]
_FURNITURE = [
    (92, 70, 54), (140, 116, 92), (182, 172, 156), (66, 72, 84), (112, 96, 84), (206, 200, 190),
    (78, 62, 58), (148, 154, 160),
]
_BOOKS = [
    (122, 60, 52), (70, 92, 84), (190, 164, 120), (60, 66, 92), (206, 198, 184), (44, 42, 44),
    (150, 104, 64), (108, 116, 124),
]
_LEAF = [(44, 58, 34), (70, 86, 48), (104, 116, 66), (34, 42, 28), (138, 142, 96), (92, 78, 54)]
_FACADE = [
    (150, 140, 128), (118, 112, 108), (176, 166, 152), (132, 104, 88), (96, 94, 96),
    (190, 184, 176),
]
_COATS = [
    (40, 42, 50), (170, 166, 162), (110, 60, 58), (62, 82, 112), (220, 216, 210), (96, 70, 54),
    (72, 84, 70),
]
_SKINS = [(198, 152, 126), (150, 106, 80), (214, 172, 148)]
_HAIR = [(50, 38, 32), (30, 26, 26), (120, 92, 62)]
_BANNERS = [
    ((228, 228, 230), (150, 40, 44)), ((36, 44, 72), (206, 206, 210)),
    ((18, 18, 20), (190, 160, 96)), ((216, 222, 230), (52, 82, 134)),
    ((128, 30, 36), (232, 222, 210)),
]
# fmt: on


def _cloud(rng: np.random.Generator, octaves: int = 5) -> np.ndarray:
    """A smooth random field, float32 (SIZE, SIZE) in [0, 1]."""
    field = np.zeros((SIZE, SIZE), np.float32)
    for k in range(octaves):
        grid = rng.random((2 ** (k + 1) + 1,) * 2).astype(np.float32)
        field += 0.62**k * cv2.resize(grid, (SIZE, SIZE), interpolation=cv2.INTER_CUBIC)
    return (field - field.min()) / (np.ptp(field) + 1e-6)


def _colour(rng: np.random.Generator, palette, spread: float = 0.15) -> tuple[float, ...]:
    """A colour of a palette, brighter or darker by ``spread`` (a standard deviation of the log)."""
    chosen = np.array(palette[rng.integers(len(palette))])
    return tuple((chosen * np.exp(rng.normal(0, spread))).clip(0, 255).tolist())


def _box(image: np.ndarray, left: float, top: float, right: float, bottom: float, colour) -> None:
    cv2.rectangle(image, (int(left), int(top)), (int(right), int(bottom)), colour, -1)


def _wall(rng, image) -> None:
    image[:] = _colour(rng, _WALLS)
    image *= (0.86 + 0.28 * _cloud(rng, 6))[..., None]
    if rng.random() < 0.4:  # a picture frame
        left, top = rng.integers(-20, 120), rng.integers(-10, 50)
        w, h = rng.integers(30, 70), rng.integers(30, 60)
        _box(image, left, top, left + w, top + h, _colour(rng, _FURNITURE))
        _box(image, left + 4, top + 4, left + w - 4, top + h - 4, _colour(rng, _BOOKS, 0.3))
    if rng.random() < 0.25:  # bricks
        rows, tint = int(rng.integers(14, 30)), rng.uniform(0.6, 0.9)
        for r in range(rows):
            y = r * SIZE / rows
            image[int(y)] *= tint
            for x in np.arange((r % 2) * 0.5, rows / 2 + 1) * 2 * SIZE / rows:
                image[int(y) : int(y + SIZE / rows), min(int(x), SIZE - 1)] *= tint


def _room(rng, image) -> None:
    image[:] = _colour(rng, _WALLS)
    image *= np.linspace(*rng.uniform(0.7, 1.2, 2), SIZE, dtype=np.float32)[None, :, None]
    left = rng.integers(-30, 120)
    if rng.random() < 0.5:  # a bright window or a doorway
        light = rng.random() < 0.6
        right, top = left + rng.integers(35, 80), rng.integers(-20, 30)
        bottom = top + rng.integers(70, 170)
        colours = [(226, 232, 238), (212, 222, 226)] if light else _FURNITURE
        _box(image, left, top, right, bottom, _colour(rng, colours))
        if light:
            middle = (left + right) / 2
            _box(image, middle - 2, top, middle + 1, top + 150, _colour(rng, _WALLS))
    if rng.random() < 0.65:  # shelves
        left, wide = rng.integers(-40, 100), rng.integers(50, 130)
        back, pitch = _colour(rng, _FURNITURE), rng.integers(24, 40)
        for top in range(int(rng.integers(-20, 10)), SIZE, int(pitch)):
            _box(image, left, top, left + wide, top + pitch, tuple(0.6 * c for c in back))
            x = left + 2
            while x < left + wide - 6:
                w, h = rng.integers(3, 9), rng.uniform(0.5, 0.85) * pitch
                if rng.random() < 0.85:
                    board, book = top + pitch - 3, _colour(rng, _BOOKS, 0.25)
                    _box(image, x, board - h, x + w - 1, board, book)
                x += w
            _box(image, left, top + pitch - 3, left + wide, top + pitch, back)
    for _ in range(int(rng.integers(0, 4))):
        x, y = rng.integers(-10, SIZE), rng.integers(60, SIZE)
        _box(image, x, y, x + rng.integers(20, 60), SIZE, _colour(rng, _FURNITURE + _BOOKS))


def _street(rng, image) -> None:
    image[:] = _colour(rng, [(198, 208, 220), (214, 216, 218), (166, 182, 204)], 0.1)
    x = -rng.integers(0, 40)
    while x < SIZE:
        w, top, facade = rng.integers(30, 90), rng.integers(-60, 50), _colour(rng, _FACADE)
        _box(image, x, top, x + w, SIZE, facade)
        glass = _colour(rng, [(60, 66, 76), (90, 100, 112), (84, 80, 78), (150, 160, 168)])
        px, py = rng.integers(8, 15), rng.integers(10, 20)
        for wx in range(int(x) + 4, int(x + w) - 6, int(px)):
            for wy in range(int(top) + 6, SIZE, int(py)):
                lamp = rng.uniform(0.75, 1.2)
                _box(image, wx, wy, wx + px * 0.55, wy + py * 0.55, tuple(c * lamp for c in glass))
        x += w
    image *= (0.85 + 0.3 * _cloud(rng, 6))[..., None]


def _foliage(rng, image) -> None:
    y = (np.arange(SIZE, dtype=np.float32) / SIZE)[:, None]
    a, b, c = (np.array(_LEAF[i], np.float32) for i in rng.choice(len(_LEAF), 3, replace=False))
    f, g = _cloud(rng, 7)[..., None], _cloud(rng, 6)[..., None]
    image[:] = (a * f + b * (1 - f)) * g + c * (1 - g)
    image *= (0.6 + 0.8 * _cloud(rng, 7))[..., None]
    sky = np.clip((rng.uniform(0.0, 0.5) - y) * 4 + 0.9 * (_cloud(rng, 6) - 0.5), 0, 1)[..., None]
    image[:] = image * (1 - sky) + np.array([198, 210, 222], np.float32) * sky
    image *= np.exp(rng.normal(0.1, 0.2))


def _lights(rng, image) -> None:
    image[:] = np.array([24, 24, 30], np.float32) + 50 * _cloud(rng)[..., None]
    lamps = [(250, 214, 160), (220, 226, 240), (240, 170, 120), (180, 204, 220)]
    for _ in range(int(rng.integers(10, 36))):
        colour = _colour(rng, lamps, 0.4)
        centre = tuple(int(v) for v in rng.integers(0, SIZE, 2))
        cv2.circle(image, centre, int(rng.integers(3, 12)), colour, -1)


def _people(rng, image) -> None:
    _street(rng, image) if rng.random() < 0.5 else _wall(rng, image)
    for x in rng.permutation(np.arange(-10, SIZE + 10, int(rng.integers(24, 44)))):
        x, y, r = int(x + rng.integers(-8, 8)), int(rng.integers(20, 80)), int(rng.integers(9, 17))
        body, coat = (int(2.1 * r), int(3.6 * r)), _colour(rng, _COATS, 0.25)
        cv2.ellipse(image, (x, y + int(4.6 * r)), body, 0, 0, 360, coat, -1)
        skin = _colour(rng, _SKINS, 0.2)
        cv2.ellipse(image, (x, y), (r, int(1.25 * r)), 0, 0, 360, skin, -1)
        hair = _colour(rng, _HAIR, 0.3)
        cv2.ellipse(image, (x, y - r // 3), (int(1.1 * r), r), 0, 180, 360, hair, -1)


def _banner(rng, image) -> None:
    """A sponsors' wall: rows of the same few marks."""
    ground, ink = _BANNERS[rng.integers(len(_BANNERS))]
    image[:] = np.array(ground, np.float32)
    px, py, tall = int(rng.integers(34, 60)), int(rng.integers(20, 34)), int(rng.integers(5, 11))
    marks = [(float(w), float(h)) for w, h in rng.uniform((1.5, 0.5), (5, 1), (7, 2))]
    for row, y in enumerate(range(-py, SIZE, py)):
        for x in range(-px + (row % 2) * px // 2, SIZE + px, px):
            at = x
            for w, h in marks:
                _box(image, at, y + tall * (1 - h), at + w, y + tall, ink)
                at += w + 1.5
    image *= (0.85 + 0.25 * _cloud(rng, 4))[..., None]


def _leaves(rng, image, colours, count: int, smallest: float, largest: float) -> None:
    """Opaque shapes over one another, of sizes with density 1 / size**3.

    Such "dead leaves" have the power spectrum of natural scenes and their sharp edges (Lee, Mumford
    and Huang 2001).
    """
    u = rng.random(count)
    size = smallest / np.sqrt(1 - u * (1 - (smallest / largest) ** 2))
    at, turn = rng.uniform(-10, SIZE + 10, (count, 2)), rng.uniform(0, 180, count)
    flat, light = rng.uniform(0.35, 1, count), np.exp(rng.normal(0, 0.25, count))
    box = rng.random(count) < 0.45
    for i in range(count):
        colour = tuple((np.array(colours[i % len(colours)]) * light[i]).clip(0, 255).tolist())
        centre, axes = at[i].tolist(), (2 * float(size[i]), 2 * float(size[i] * flat[i]))
        if box[i]:
            corners = cv2.boxPoints((centre, axes, float(turn[i])))
            cv2.fillConvexPoly(image, np.round(corners * 16).astype(np.int32), colour, shift=4)
        else:
            cv2.ellipse(image, (centre, axes, float(turn[i])), colour, -1)


def _clutter(rng, image) -> None:
    palettes = (_FURNITURE, _BOOKS, _COATS, _FACADE, _LEAF, _WALLS)
    chosen = [palettes[i] for i in rng.choice(len(palettes), 2, replace=False)]
    colours = [_colour(rng, palette, 0.3) for palette in chosen for _ in range(5)]
    image[:] = colours[0]
    _leaves(rng, image, [colours[i] for i in rng.permutation(len(colours))], 420, 4.0, 110.0)
    image *= (0.7 + 0.6 * _cloud(rng, 4))[..., None]


def _texture(rng, image) -> None:
    """Grain with the spectrum of natural scenes over a scene, in place; in some strong."""
    strength = 0.015 + 0.10 * rng.random() ** 3
    grain = np.zeros((SIZE, SIZE), np.float32)
    for k in range(3, 8):
        grid = rng.normal(size=(min(2**k, SIZE),) * 2).astype(np.float32)
        grain += 0.75**k * 3 * cv2.resize(grid, (SIZE, SIZE), interpolation=cv2.INTER_CUBIC)
    image *= np.exp(strength * grain)[..., None]


_DRAW = {
    "clutter": _clutter,
    "wall": _wall,
    "room": _room,
    "street": _street,
    "foliage": _foliage,
    "lights": _lights,
    "people": _people,
    "banner": _banner,
}


def sample_background(rng: np.random.Generator, detailed: bool = False) -> tuple[str, np.ndarray]:
    """The name of a random scene and its linear light, float32 (SIZE, SIZE, 3).

    ``detailed`` scenes have texture and are nearer to focus (second generation).
    """
    shares = DETAILED if detailed else SCENES
    edges = np.cumsum(list(shares.values()))
    scene = list(shares)[int(np.searchsorted(edges, rng.random() * 0.9999))]
    image = np.empty((SIZE, SIZE, 3), np.float32)
    blur = 0.9 + 3.0 * rng.random() ** 1.5
    if detailed:
        blur = 0.35 + 3.2 * rng.random() ** 1.6
    if scene == "studio":
        y, x = np.mgrid[0:SIZE, 0:SIZE].astype(np.float32) / SIZE
        image[:] = _colour(rng, _WALLS)
        cx, cy = rng.uniform(0.3, 0.7, 2)
        image *= (1.15 - 0.9 * np.sqrt((x - cx) ** 2 + (y - cy) ** 2) * rng.random())[..., None]
    else:
        _DRAW[scene](rng, image)
    if detailed:
        _texture(rng, image)
    elif scene in ("people", "street"):
        blur += 1.0
    image = cv2.GaussianBlur(image, (0, 0), blur)
    # more contrast, less colour: as backgrounds are in portraits
    mean = image.mean((0, 1))
    image = mean + 1.05 * (image - mean)
    image += 0.28 * (image.mean(2, keepdims=True) - image)
    light = linear(np.clip(image, 0, 255)).astype(np.float32)
    return scene, light * np.float32(np.exp(rng.normal(-0.1, 0.3)))
