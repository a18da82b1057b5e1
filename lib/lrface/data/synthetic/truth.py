"""The ground truth of a picture: landmarks and their visibility, the face box, attributes."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from lrface.data.synthetic.assets import EARS, Head, head, place
from lrface.data.synthetic.person import Person
from lrface.data.synthetic.prevalence import ATTRIBUTES
from lrface.data.synthetic.render import Frame
from lrface.data.synthetic.views import View

BAND, WIDE_BAND = 0.15, 0.20
"""How far from the jaw's landmarks on the template the outline is looked for, decimetres: below and
above the mouth."""
CHIN = np.array([0.0, 6.235, 1.46])
"""What people mark as the chin is below this point of the template, not under the jaw."""
START, START_ASIDE = 0.018, 0.19
"""How far below the eye's outer corner the outline begins: over the distance of the chin from the
middle of the face, and what a turned head adds, over the sideways distance of the nose's root from
between the ears. With the outline's end there, dlib's agrees with it on average."""
HIDDEN_BEHIND = 0.07
"""A landmark is hidden if something is this far in front of it, decimetres."""


@lru_cache(maxsize=1)
def _rim() -> tuple[np.ndarray, np.ndarray, int]:
    """Vertices of either side where the outline of a face may be, and the one at ``CHIN``.

    They are near the jaw's line or in front of the cheeks, without ears and the chin's underside.
    """
    template = head()
    x, y, z = template.vertices.T
    jaw = template.vertices[template.landmarks[:17]]
    far = np.sqrt(((template.vertices[:, None] - jaw[None]) ** 2).sum(-1)).min(1)
    ears = np.unique(template.skin[template.skin_masks[EARS] > 0.7])
    before_ears = (far < WIDE_BAND) & (y > 6.8)
    front = (z > 0.85) & (y < 7.6) & (np.abs(x) > 0.3)
    underside = (y < 6.172) | ((np.abs(x) < 0.4) & (y < 6.5) & (z < 1.2))
    near = ((far < BAND) | before_ears | front) & ~underside
    near[ears] = near[template.rigid] = False
    chin = int(np.argmin(((template.vertices - CHIN) ** 2).sum(1)))
    return np.flatnonzero(near & (x < 0.02)), np.flatnonzero(near & (x > -0.02)), chin


def outline(template: Head, points: np.ndarray) -> np.ndarray:
    """The 17 points of the jaw as people mark them in photographs (300-W): on the visible outline.

    A vertex of the jaw is hidden or inside the face when the head turns. The outline is the
    farthest vertex of either side in each direction from the middle of the face, up to the height
    of the eye's outer corner; the points are spaced evenly along it from there to the chin.

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
    *sides, front = _rim()
    up = fixed[27, :2] - fixed[8, :2]
    up /= np.hypot(*up)
    right, middle = np.array([-up[1], up[0]]), fixed[27:68, :2].mean(0)
    down = points[front, :2] - middle
    turn = np.arctan2(down[0], down[1])

    def angle(xy):  # from the chin, positive towards the image's right
        x, y = (xy - middle).T
        return np.mod(np.arctan2(x, y) - turn + np.pi, 2 * np.pi) - np.pi

    found = np.empty((17, 3))
    for eye, sign, rim, order in (
        (36, -1, points[sides[0]], range(8, -1, -1)),
        (45, 1, points[sides[1]], range(8, 17)),
    ):
        # the outermost point a little below the eye's corner, wherever the ear is
        aside = abs(float((fixed[27, :2] - fixed[[0, 16], :2].mean(0)) @ right))
        below = START * np.hypot(*down) + START_ASIDE * aside
        height = (rim[:, :2] - fixed[eye, :2]) @ up + below
        outward = sign * ((rim[:, :2] - middle) @ right)
        level = np.abs(height) < 0.04 * np.hypot(*down)
        last = float(angle(rim[[np.where(level, outward, -np.inf).argmax()], :2])[0])
        angles, radii = angle(rim[:, :2]), np.hypot(*(rim[:, :2] - middle).T)
        steps = np.linspace(0.0, last, 33)
        near = np.abs(angles[None] - steps[:, None]) < abs(last) / 32
        farthest = np.where(near, radii[None], -1.0).argmax(1)[near.any(1)]
        curve = rim[farthest]
        length = np.concatenate([[0], np.cumsum(np.hypot(*np.diff(curve[:, :2], axis=0).T))])
        at = np.linspace(0, length[-1], 9)
        for k, place_on in zip(order, at, strict=True):
            found[k] = [np.interp(place_on, length, curve[:, d]) for d in range(3)]
    return found


def _along(points: np.ndarray, rows: list[int], shares: list[float]) -> None:
    """Move landmarks, all of ``rows`` but the first and the last, along the line through them.

    ``shares`` are their places as shares of its length; ``points`` (68, 3) is changed in place.
    """
    line = points[rows]
    length = np.concatenate([[0], np.cumsum(np.sqrt((np.diff(line, axis=0)[:, :2] ** 2).sum(1)))])
    for row, share in zip(rows[1:-1], shares, strict=True):
        points[row] = [np.interp(share * length[-1], length, line[:, d]) for d in range(3)]


def _spaced(points: np.ndarray) -> None:
    """Place landmarks (68, 3) of nose, eyes and lips as on photographs, in place.

    Evenly on the bridge of the nose, which begins a little above its vertex. On lips and eyes the
    places are those at which dlib's predictor, which learnt from marks that people set (300-W),
    finds the points of these faces on average.
    """
    points[27] += 0.085 * (points[21:23].mean(0) - points[27])
    _along(points, [27, 28, 29, 30], [1 / 3, 2 / 3])
    for corner, above, below in ((36, 37, 41), (45, 44, 46)):
        points[corner] += 0.15 * (points[[above, below]].mean(0) - points[corner])
    for corner, near, peak in ((48, 49, 50), (54, 53, 52)):
        _along(points, [corner, near, peak, 51], [0.38, 0.74])
    for corner, near, next_one in ((54, 55, 56), (48, 59, 58)):
        _along(points, [corner, near, next_one], [0.53])
    for corner, near, middle in ((60, 61, 62), (64, 63, 62), (64, 65, 66), (60, 67, 66)):
        _along(points, [corner, near, middle], [0.67])


def landmarks(person: Person, frame: Frame) -> tuple[np.ndarray, np.ndarray]:
    """The 68 landmarks (iBUG 300-W order) and their visibility.

    The points of the brows are on the rendered brows, all others on vertices of the mesh; in the
    second generation those of the jaw are on the face's outline as it is seen (:func:`outline`),
    and others are between vertices where people would mark them. A point
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
        _spaced(points)
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
