"""Crowds: several rendered people in one picture, with exact boxes, for face detection.

People are rendered one by one and put into a background from the smallest to the largest, so that
nearer ones cover those behind them; then one camera takes the whole picture. Sizes, numbers and
cameras are our own choices, and a crowd is flat: nobody stands in another's shadow.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
import pandas as pd

from lrface.data.synthetic.background import sample_background
from lrface.data.synthetic.camera import Camera, capture, sample_camera
from lrface.data.synthetic.identities import identity
from lrface.data.synthetic.person import person
from lrface.data.synthetic.prevalence import ATTRIBUTES
from lrface.data.synthetic.render import Frame, render
from lrface.data.synthetic.truth import attributes, face_box, landmarks
from lrface.data.synthetic.views import view
from lrface.errors import UsageError

HEIGHTS = (6.0, 300.0)
"""Smallest and largest height of a face in pixels."""
FIRST = 1_000_000
"""Number of the first person: no person of another rendered set."""
MOST = 64
"""Most people of a scene."""
ROOM = 0.6
"""By how much a person is drawn smaller in a frame of their own than a portrait is: hair, ears and
shoulders are then within the frame."""
FINE, COARSE = 208, 104
"""Pixels of that frame for large and for small faces: a face has as many as in a portrait."""
FEATHER = 0.06
"""Share of a person's frame over which it fades out at its left, right and lower edges."""
PARTIAL = (0.01, 0.3)
"""Covered shares of a face from which it is partially and heavily occluded, as in WIDER FACE."""
_NEAR = 1e8
"""A depth below this is a person's; the empty background's is above."""


@dataclass(frozen=True)
class Crowd:
    """A picture and the faces in it."""

    image: np.ndarray
    """uint8 (size, size, 3)."""
    boxes: pd.DataFrame
    """A row a face, from the smallest: ``x, y, w, h`` in pixels, ``occlusion`` (0: under 1 %
    covered, 1: to 30 %, 2: more), ``covered`` (the share), ``pose`` (1: roll or pitch over 30
    degrees), ``person`` (its number), ``yaw`` in degrees, and a column an attribute."""
    landmarks: np.ndarray
    """float32 (G, 68, 2): their landmarks in pixels of the picture, the centre of pixel i at i."""


def crowd(
    seed: int,
    number: int,
    size: int = 512,
    people: tuple[int, int] = (3, 10),
    heights: tuple[float, float] = HEIGHTS,
    camera: Camera | None = None,
    generation: int = 1,
) -> Crowd:
    """Render one crowd; the same for the same arguments.

    Parameters
    ----------
    seed, number : int
        Scene ``number``, from 0, of a set. Scenes of one seed share no person.
    size : int
        Width and height of the picture in pixels.
    people : (int, int)
        Least and largest number of people, 0 to 64; uniform.
    heights : (float, float)
        Least and largest height of a face in pixels; log-uniform. The upper bound is cut to six
        tenths of the picture.
    camera : Camera, optional
        What takes the picture: its ``height`` is replaced, and its framing is not used. By default
        a random low-quality camera (:func:`.camera.sample_camera`); ``Camera(2)`` is a perfect one.
    generation : {1, 2}
        Which renderer draws people and background.

    Returns
    -------
    Crowd
        The box of a face holds its landmarks, and a third of their height above them for the
        forehead (:func:`.truth.face_box`). Boxes lie wholly inside the picture.

    Raises
    ------
    UsageError
        Numbers or sizes that are not possible.

    Examples
    --------
    >>> scene = crowd(0, 1, size=96, people=(1, 1), heights=(30, 40))
    >>> scene.image.shape, scene.boxes["h"].between(30, 40).tolist()
    ((96, 96, 3), [True])
    """
    low, high = heights[0], min(heights[1], 0.6 * size)
    if not (0 <= people[0] <= people[1] <= MOST and 1 <= low <= high) or min(number, size - 16) < 0:
        raise UsageError(
            f"want 0 to {MOST} people with faces from 1 pixel to six tenths of a picture of at "
            f"least 16 pixels, got {people}, {heights}, size {size} and scene {number}"
        )
    random = np.random.Generator(np.random.Philox(key=[seed, FIRST + number]))
    backdrop = sample_background(random, detailed=generation > 1)[1]
    light = np.maximum(cv2.resize(backdrop, (size, size), interpolation=cv2.INTER_CUBIC), 0)
    count = int(random.integers(people[0], people[1] + 1))
    wanted = np.sort(np.exp(random.uniform(np.log(low), np.log(high), count)))
    # group and gender follow from a person's number, and must not follow from the face's height
    numbers = FIRST + number * MOST + random.permutation(MOST)[:count]
    owner = np.full((size, size), -1)
    rows, areas, points, facts = [], [], [], []
    for i, height in enumerate(wanted):
        who = person(identity(seed, int(numbers[i]), generation=generation))
        seen = view(who.identity, 1)
        framing = replace(seen.framing, scale=ROOM * seen.framing.scale)
        seen = replace(seen, framing=framing)
        # small faces need no fine picture
        frame = render(who, seen, FINE if height > 60 else COARSE, 3 if height > 150 else 2)
        marks = landmarks(who, frame)[0]
        left, top, right, bottom = face_box(marks, frame.size)
        scale = height / (bottom - top)  # pixels of the scene a pixel of the frame
        w = (right - left) * scale
        x, y = (random.uniform(0, size - side) for side in (w, height))
        corner = x - (left + 0.5) * scale, y - (top + 0.5) * scale
        points.append((marks + 0.5) * scale + corner - 0.5)
        facts.append(attributes(who, seen))
        patch, alpha, x0, y0 = _placed(frame, scale, *corner)
        inside = _part(patch.shape[:2], x0, y0, size)
        if inside is not None:
            here, there = inside
            light[here] += alpha[there][..., None] * (patch[there] - light[here])
            owner[here] = np.where(alpha[there] > 0.5, i, owner[here])
        box = (
            slice(round(y), max(round(y + height), round(y) + 1)),
            slice(round(x), max(round(x + w), round(x) + 1)),
        )
        areas.append((box, int((owner[box] == i).sum())))
        atypical = int(max(abs(seen.roll), abs(seen.pitch)) > 30)
        rows.append((x, y, w, height, atypical, who.identity.number, seen.yaw))
    table = pd.DataFrame(rows, columns=["x", "y", "w", "h", "pose", "person", "yaw"])
    visible = [(owner[box] == i).sum() / max(area, 1) for i, (box, area) in enumerate(areas)]
    table["covered"] = 1 - np.array(visible, np.float64)
    table["occlusion"] = np.digitize(table["covered"], PARTIAL)
    table = pd.concat([table, pd.DataFrame(facts, columns=ATTRIBUTES, dtype=bool)], axis=1)
    points = np.array(points, np.float32).reshape(-1, 68, 2)
    taken = replace(camera or sample_camera(random, size), height=size).without("framing")
    nothing = np.zeros((0, 3))
    whole = Frame(light.astype(np.float32), size, "crowd", nothing, nothing, nothing)
    return Crowd(capture(whole, taken, random), table, points)


def _placed(
    frame: Frame, scale: float, x: float, y: float
) -> tuple[np.ndarray, np.ndarray, int, int]:
    """A person's light and cover at the scene's scale, and the pixel of their corner.

    ``x`` and ``y`` are where the frame's corner falls, in pixels; their fraction is kept.
    """
    side = frame.light.shape[0]
    cover = (frame.depth < _NEAR).astype(np.float32)
    edge = np.linspace(0, 1, side, dtype=np.float32)
    fade = np.minimum(np.minimum(edge, edge[::-1])[None], edge[::-1, None]) / FEATHER
    cover *= np.clip(fade, 0, 1)
    x0, y0 = int(np.floor(x)), int(np.floor(y))
    step = scale * frame.size / side  # pixels of the scene a pixel of the buffer
    out = int(np.ceil(frame.size * scale)) + 1
    both = np.dstack([frame.light * cover[..., None], cover])
    if step < 1:  # an average first, so that nothing is skipped
        small = max(1, round(side * step))
        both = cv2.resize(both, (small, small), interpolation=cv2.INTER_AREA)
        step *= side / small
    shift_x, shift_y = x - x0 + 0.5 * step - 0.5, y - y0 + 0.5 * step - 0.5
    warp = np.array([[step, 0, shift_x], [0, step, shift_y]])
    both = cv2.warpAffine(both, warp, (out, out), flags=cv2.INTER_LINEAR)
    alpha = both[..., 3]
    return both[..., :3] / np.maximum(alpha, 1e-6)[..., None], alpha, x0, y0


def _part(shape: tuple[int, int], x: int, y: int, size: int):
    """The slices of a scene and of a patch at (x, y) where they overlap; None if nowhere."""
    top, left = max(y, 0), max(x, 0)
    bottom, right = min(y + shape[0], size), min(x + shape[1], size)
    if top >= bottom or left >= right:
        return None
    here = slice(top, bottom), slice(left, right)
    return here, (slice(top - y, bottom - y), slice(left - x, right - x))
