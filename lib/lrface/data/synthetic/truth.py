"""The ground truth of a picture: landmarks and their visibility, the face box, attributes."""

from __future__ import annotations

import numpy as np

from lrface.data.synthetic.assets import place
from lrface.data.synthetic.person import Person
from lrface.data.synthetic.prevalence import ATTRIBUTES
from lrface.data.synthetic.render import Frame
from lrface.data.synthetic.views import View

HIDDEN_BEHIND = 0.07
"""A landmark is hidden if something is this far in front of it, decimetres."""


def landmarks(person: Person, frame: Frame) -> tuple[np.ndarray, np.ndarray]:
    """The 68 landmarks (iBUG 300-W order) and their visibility.

    The points of the brows are on the rendered brows, all others on vertices of the mesh. A point
    is visible if it is inside the picture and nothing is in front of it (hair, hat, the head
    itself) in more than half of the z-buffer's pixels around it, in a square of one pixel of the
    picture. Brows, beard and clear lenses hide nothing; dark lenses do.

    Returns
    -------
    points : float32 (68, 2)
        x and y in pixels, the centre of pixel i at i.
    visible : bool (68,)
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
    in_front = points[:, 2, None, None] < frame.depth[patch] + HIDDEN_BEHIND
    clear = (in_front & ~frame.lens_cover[patch]).mean((1, 2)) > 0.5
    return points[:, :2].astype(np.float32), inside & clear


def face_box(points: np.ndarray, size: int) -> tuple[float, float, float, float]:
    """Left, top, right and bottom of the face in pixels.

    The bounding box of the landmarks, extended upwards by a third of its height for the forehead,
    and clipped to the picture.
    """
    (left, top), (right, bottom) = points.min(0), points.max(0)
    top -= (bottom - top) / 3
    return tuple(float(np.clip(v, -0.5, size - 0.5)) for v in (left, top, right, bottom))


def attributes(person: Person, view: View) -> dict[str, bool]:
    """The attributes of a picture by CelebA's names, in alphabetical order.

    Hair has its labels even under a hat.
    """
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
