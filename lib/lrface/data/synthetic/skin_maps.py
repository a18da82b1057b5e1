"""How the colour of skin varies over a face: a mixture of maps of skin, one for each person.

The asset (made by :mod:`.build_skin`) holds the mean of twenty maps, the directions in which they
differ, and each map's place among these, with its group, gender and age. A person's map is a
mixture of those that are like the person, pushed away from their mean and shifted at random, so
that there are as many as there are people. It is a factor on the tone of the skin; what is finer
than a texel (a seventieth of the width of a face) is procedural (:mod:`.skin`).
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np

from lrface.data.synthetic.identities import Identity
from lrface.data.synthetic.kernel import inline
from lrface.data.synthetic.streams import IDENTITY, stream

FILE = Path(__file__).parent / "assets" / "skin.npz"
SIDE = 512
"""Width and height of the whole map in texels, of which the asset is a part."""
TOP, LEFT, HEIGHT, WIDTH = 144, 326, 241, 184
"""The part with the head, in texels; the middle row is that of the face."""
FINER = 2
"""The map is enlarged so many times, by cubic interpolation, before it is looked up."""
NO_MAP = np.zeros((1, 1, 3), np.float32)
"""In place of a map: skin of the first generation has none."""


@lru_cache(maxsize=1)
def _basis() -> dict[str, np.ndarray]:
    with np.load(FILE) as file:
        data = {name: file[name] for name in file.files}
    low, high = (data[name][:, None, None, None] for name in ("low", "high"))
    data["maps"] = (low + data["maps"] / np.float32(255) * (high - low)).astype(np.float32)
    return data


def mixture(identity: Identity) -> np.ndarray:
    """A person's place (k,) among the directions in which the maps differ."""
    rng, basis = stream(identity.seed, identity.number, IDENTITY, "pigment"), _basis()
    male, age = identity.gender == "male", identity.age
    like = np.array(identity.races)[basis["group"]] + 0.02
    like = like * np.where(basis["male"] == male, 1.0, 0.25)
    like = like * (0.08 + np.exp(-(((basis["age"] - age) / 18) ** 2)))
    share = rng.dirichlet(2.2 * like / like.sum() + 0.02)
    chance = rng.normal(size=basis["weights"].shape[1])
    return 1.25 * (share @ basis["weights"]) + 0.45 * chance


def skin_map(identity: Identity) -> np.ndarray:
    """A person's map, float32 (FINER * HEIGHT, FINER * WIDTH, 3): factors around 1."""
    maps, where = _basis()["maps"], mixture(identity).astype(np.float32)
    log = maps[0] + np.tensordot(where, maps[1:], 1)
    size = (FINER * WIDTH, FINER * HEIGHT)
    return np.exp(cv2.resize(log, size, interpolation=cv2.INTER_CUBIC)).astype(np.float32)


@inline
def factor(pigment, u, v, channel):
    """A person's map at texture place (u, v), bilinear; 1 outside the head's part."""
    x = (u * SIDE - LEFT) * FINER - 0.5
    y = ((1 - v) * SIDE - TOP) * FINER - 0.5
    i, j = int(x), int(y)
    if x < 0 or y < 0 or i + 1 >= pigment.shape[1] or j + 1 >= pigment.shape[0]:
        return 1.0
    fx, fy = x - i, y - j
    upper = pigment[j, i, channel] * (1 - fx) + pigment[j, i + 1, channel] * fx
    lower = pigment[j + 1, i, channel] * (1 - fx) + pigment[j + 1, i + 1, channel] * fx
    return upper * (1 - fy) + lower * fy
