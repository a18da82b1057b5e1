"""What is true of a picture, exactly: landmarks and which of them are seen, the face's box,
attributes."""

from __future__ import annotations

import numpy as np

from lrface.data.synthetic.assets import place
from lrface.data.synthetic.person import Person
from lrface.data.synthetic.prevalence import ATTRIBUTES
from lrface.data.synthetic.render import Frame
from lrface.data.synthetic.views import View

HIDDEN_BEHIND = 0.07
"""A landmark is hidden if something lies this far in front of it, decimetres."""


def landmarks(person: Person, frame: Frame) -> tuple[np.ndarray, np.ndarray]:
    """The 68 iBUG points, float32 (68, 2) in pixels with the centre of pixel i at i, and which are
    seen, bool (68,).

    The brows' points lie on the brows as drawn, all others on a vertex of the mesh. A point counts
    as seen if it lies in the picture and more than half of the z-buffer around it, a pixel wide,
    shows nothing in front of it: hair, hat, the head itself. Brows, beard and clear lenses hide
    nothing; dark lenses do.
    """
    points = frame.points[person.template.landmarks]
    points[17:27] = place(frame.points, *person.brows.anchors)
    step = frame.depth.shape[0] / frame.size
    around = np.arange(-(step // 2), step // 2 + 1)
    columns = np.floor((points[:, 0, None] + 0.5) * step + around[None]).astype(int)
    rows = np.floor((points[:, 1, None] + 0.5) * step + around[None]).astype(int)
    last = frame.depth.shape[0] - 1
    inside = ((points[:, :2] >= -0.5) & (points[:, :2] <= frame.size - 0.5)).all(1)
    patch = np.clip(rows, 0, last)[:, :, None], np.clip(columns, 0, last)[:, None, :]
    clear = (points[:, 2, None, None] < frame.depth[patch] + HIDDEN_BEHIND) & ~frame.lens_cover[
        patch
    ]
    return points[:, :2].astype(np.float32), inside & (clear.mean((1, 2)) > 0.5)


def face_box(points: np.ndarray, size: int) -> tuple[float, float, float, float]:
    """Left, top, right, bottom in pixels: the landmarks' box, raised by a third of its height for
    the forehead, cut to the picture."""
    (left, top), (right, bottom) = points.min(0), points.max(0)
    top -= (bottom - top) / 3
    return tuple(float(np.clip(v, -0.5, size - 0.5)) for v in (left, top, right, bottom))


def attributes(person: Person, view: View) -> dict[str, bool]:
    """The picture's attributes under CelebA's names, in alphabetical order; hair a hat covers keeps
    its label."""
    labels = person.identity.attributes | {
        "Eyeglasses": view.glasses != "none",
        "Wearing_Hat": view.hat != "none",
        "Smiling": view.smiling,
        "Mouth_Slightly_Open": view.mouth_open,
        "Heavy_Makeup": view.makeup,
        "Wearing_Lipstick": view.lipstick,
        "Wearing_Necktie": view.clothes.necktie,
    }
    return {name: labels[name] for name in ATTRIBUTES}
