"""Windows that the part networks of Faceness learn from: faces with their attributes, background.

Faceness (Yang, Luo, Loy and Tang, ICCV 2015) learns from whole, uncropped photographs whose faces
have known attributes. Which attributes stand for which part is :data:`PARTS`. Ours:

- A **face** is one of a rendered face set (good pictures, all attributes in balance) or one of the
  rendered crowds (small, noisy, before busy backgrounds), reduced to a height of 20 to 40 pixels.
- A **background** window holds no face, and at most a corner of one that is far too large for it:
  a mouth that fills the window is no mouth at this scale. It stands in for the ImageNet categories
  from which the paper's networks start.
- A face that is covered to 60 % or more teaches nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from lrface.data.faceset import FaceSet
from lrface.data.scenes import BOX, SceneSet
from lrface.data.synthetic.truth import face_box
from lrface.data.windows import LABELS, STRIDE, Range, targets, usable

VERSION = 1
"""To be raised when the same pictures give other windows."""
FACES = "synthetic-2"
"""The face set whose faces are shown beside those of the scenes."""
PARTS = {
    "hair": (
        *("Black_Hair", "Blond_Hair", "Brown_Hair", "Gray_Hair", "Bald"),
        *("Wavy_Hair", "Straight_Hair", "Receding_Hairline", "Bangs"),
    ),
    "eye": ("Bushy_Eyebrows", "Arched_Eyebrows", "Narrow_Eyes", "Bags_Under_Eyes", "Eyeglasses"),
    "nose": ("Big_Nose", "Pointy_Nose"),
    "mouth": ("Big_Lips", "Mouth_Slightly_Open", "Smiling", "Wearing_Lipstick"),
    "beard": ("No_Beard", "Goatee", "5_o_Clock_Shadow", "Mustache", "Sideburns"),
}
"""CelebA's attributes by the facial part that shows them, 25 of 40. The slides name the parts hair,
eye, nose and mouth; beard and the attributes of each part are the paper's as we remember it."""
ATTRIBUTES = tuple(name for names in PARTS.values() for name in names)
COLUMNS = ("face", *ATTRIBUTES, *LABELS[-4:])
"""Columns of a window's labels: ``face`` and the attributes 1 or 0, of a background window 0; then
the box as :data:`lrface.data.windows.LABELS` has it, NaN in a background window."""
RANGE = Range("parts", 56, 1, (20, 25, 32, 40), (1, 2, 4, 8))
"""Heights of the faces, and the window. The paper's is not stated."""


@dataclass(frozen=True)
class Pictures:
    """Scenes and the pictures of a face set, read by one number: scenes come first."""

    scenes: SceneSet
    faces: FaceSet

    def read(self, row: int) -> np.ndarray:
        """One picture, uint8 (H, W, 3)."""
        if row < len(self.scenes):
            return self.scenes.read(row)
        return self.faces.read(row - len(self.scenes))


def sampled(
    opened: Callable[[], SceneSet], faces: FaceSet, count: int, seed: int
) -> tuple[Pictures, pd.DataFrame]:
    """Windows with a face of a face set, with one of the scenes, and without any: ``count`` each.

    Parameters
    ----------
    opened : callable
        Gives the scenes, whose boxes must have the columns :data:`ATTRIBUTES`.
    faces : FaceSet
        With landmarks and the same attributes.
    count, seed : int

    Returns
    -------
    pictures : Pictures
    windows : DataFrame
        ``scene, left, top, side`` and the columns :data:`COLUMNS`.

    """
    from lrface.data.landmarks import landmarks  # needs torch, which rendering does not

    scenes = opened()
    random = np.random.Generator(np.random.Philox(key=[seed, RANGE.window]))
    boxes = scenes.boxes
    place = boxes["image"].map(pd.Series(scenes.images.index, scenes.images["key"])).to_numpy()
    truth, low = boxes[BOX].to_numpy(float), RANGE.edges[0]
    large = np.flatnonzero(usable(boxes) & (truth[:, 3] >= low))
    size = faces.read(0).shape[0]
    corners = np.array([face_box(marks, size) for marks in landmarks(faces)])
    own = np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], 1)
    parts = []
    for where, box, table, first, kept in (
        (place, truth, boxes, 0, large),
        (np.arange(len(faces)), own, faces.table, len(scenes), np.arange(len(faces))),
    ):
        chosen = np.resize(random.permutation(kept), count if len(kept) else 0).astype(int)
        squares = _around(box[chosen], random)
        values = np.concatenate(
            [
                np.ones((len(chosen), 1)),
                table[list(ATTRIBUTES)].to_numpy(float)[chosen],
                targets(squares, box[chosen]),
            ],
            1,
        )
        parts.append(_rows(first + where[chosen], squares, values))
    parts.append(_background(scenes, truth, place, count, random))
    return Pictures(scenes, faces), pd.concat(parts, ignore_index=True)


def _around(boxes: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Squares around faces, off by at most half the networks' stride: left, top, side (N, 3)."""
    low, high = RANGE.edges[0], RANGE.edges[-1]
    wanted = np.exp(random.uniform(np.log(low), np.log(high), len(boxes)))
    ratio = boxes[:, 3] / np.minimum(wanted, boxes[:, 3])
    side = np.rint(RANGE.window * ratio)
    moved = random.uniform(-0.5, 0.5, (len(boxes), 2)) * STRIDE * ratio[:, None]
    corner = np.rint(boxes[:, :2] + boxes[:, 2:] / 2 + moved - side[:, None] / 2)
    return np.concatenate([corner, side[:, None]], 1)


def _background(
    scenes: SceneSet,
    truth: np.ndarray,
    place: np.ndarray,
    count: int,
    random: np.random.Generator,
) -> pd.DataFrame:
    squares, rows = [], []
    for _ in np.arange(count):
        row = int(random.integers(len(scenes)))
        height, width = scenes.sizes[row]
        faces = truth[place == row]
        fits = [n for n in RANGE.levels if n == 1 or n * RANGE.window < height]
        for _ in np.arange(20):  # a scene full of faces may have no such window
            side = RANGE.window * int(random.choice(fits))
            corner = random.uniform(0, (width, height)) - side / 2
            low = np.maximum(faces[:, :2], corner)
            high = np.minimum(faces[:, :2] + faces[:, 2:], corner + side)
            shown = np.maximum(high - low, 0).prod(1) / np.maximum(faces[:, 2:].prod(1), 1e-9)
            # a face far too small for this window is background, too
            if not ((shown > 0.1) & (faces[:, 3] > side / 10)).any():
                squares.append([*np.rint(corner), side])
                rows.append(row)
                break
    squares = np.array(squares).reshape(-1, 3)
    values = np.zeros((len(squares), len(COLUMNS)))
    values[:, -4:] = np.nan
    return _rows(np.array(rows), squares, values)


def _rows(scene: np.ndarray, squares: np.ndarray, values: np.ndarray) -> pd.DataFrame:
    table = pd.DataFrame(squares.astype(int), columns=["left", "top", "side"])
    table.insert(0, "scene", scene.astype(int))
    return pd.concat([table, pd.DataFrame(values, columns=list(COLUMNS))], axis=1)
