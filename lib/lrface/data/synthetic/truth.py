"""The ground truth of a picture: landmarks and their visibility, the face box, attributes."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from lrface.data.synthetic.assets import EARS, Head, head, place
from lrface.data.synthetic.person import Person
from lrface.data.synthetic.prevalence import ATTRIBUTES
from lrface.data.synthetic.render import Frame
from lrface.data.synthetic.views import View

BAND = 0.15
"""How far from the jaw's landmarks on the template the outline is looked for, decimetres."""
HIDDEN_BEHIND = 0.07
"""A landmark is hidden if something is this far in front of it, decimetres."""


@lru_cache(maxsize=1)
def _rim() -> np.ndarray:
    """Vertices near the jaw's line, without ears and the underside of the chin."""
    template = head()
    jaw = template.vertices[template.landmarks[:17]]
    far = np.sqrt(((template.vertices[:, None] - jaw[None]) ** 2).sum(-1)).min(1)
    ears = np.unique(template.skin[template.skin_masks[EARS] > 0.3])
    near = (far < BAND) & (template.vertices[:, 1] > jaw[:, 1].min() - 0.01)
    near[ears] = near[template.rigid] = False
    return np.flatnonzero(near)


def outline(template: Head, points: np.ndarray) -> np.ndarray:
    """The 17 points of the jaw as people mark them in photographs (300-W): on the visible outline.

    A vertex of the jaw is hidden or inside the face when the head turns. The outline is the
    farthest vertex near the jaw in each direction from the middle of the face; the points are
    spaced evenly along it between ear and chin.

    Parameters
    ----------
    template : Head
    points : float64 (n, 3)
        The head's vertices in the picture, and their depth.

    Returns
    -------
    float64 (17, 3)
    """
    fixed = points[template.landmarks]
    middle, rim = fixed[27:68, :2].mean(0), points[_rim()]
    down = fixed[8, :2] - middle
    turn = np.arctan2(down[0], down[1])

    def angle(xy):  # from the chin, positive towards the image's right
        x, y = (xy - middle).T
        return np.mod(np.arctan2(x, y) - turn + np.pi, 2 * np.pi) - np.pi

    angles, radii = angle(rim[:, :2]), np.sqrt(((rim[:, :2] - middle) ** 2).sum(1))
    found = np.empty((17, 3))
    for ear, order in ((0, range(8, -1, -1)), (16, range(8, 17))):
        last = float(angle(fixed[ear : ear + 1, :2])[0])
        steps = np.linspace(0.0, last, 33)[1:]
        near = np.abs(angles[None] - steps[:, None]) < abs(last) / 32
        farthest = np.where(near, radii[None], -1.0).argmax(1)[near.any(1)]
        curve = np.concatenate([fixed[8:9], rim[farthest]])
        length = np.concatenate([[0], np.cumsum(np.hypot(*np.diff(curve[:, :2], axis=0).T))])
        at = np.linspace(0, length[-1], 9)
        for k, place_on in zip(order, at, strict=True):
            found[k] = [np.interp(place_on, length, curve[:, d]) for d in range(3)]
    return found


def landmarks(person: Person, frame: Frame) -> tuple[np.ndarray, np.ndarray]:
    """The 68 landmarks (iBUG 300-W order) and their visibility.

    The points of the brows are on the rendered brows, those of the jaw in the second generation on
    the face's outline as it is seen (:func:`outline`), all others on vertices of the mesh. A point
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
    if person.identity.generation > 1:
        points[:17] = outline(person.template, frame.points)
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
