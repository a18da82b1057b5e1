"""Clips: one person for about a second, with smooth changes of pose, expression, gaze and light."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np

from lrface.data.synthetic.person import Person
from lrface.data.synthetic.prevalence import Prevalence
from lrface.data.synthetic.render import Frame, render
from lrface.data.synthetic.streams import stream
from lrface.data.synthetic.truth import landmarks
from lrface.data.synthetic.views import MAX_PITCH, MAX_YAW, View, view

FIRST_CLIP_VIEW = 1_000_000
"""Clips have view numbers from here on, so that they share nothing with the stills."""
FRAMES = 7
"""Frames a clip, as in VidFace."""
_EYES = (0.36, 0.64, 0.46)
"""The eyes in an aligned frame: x of the image's left and right eye and y of both, as shares of the
side."""


@dataclass(frozen=True)
class ClipFrame:
    """One frame: the picture, its ground truth, and what other cameras need to capture it."""

    picture: np.ndarray
    """uint8 (size, size, 3)."""
    landmarks: np.ndarray
    """float32 (68, 2), pixels of ``picture``."""
    visible: np.ndarray
    """bool (68,)."""
    view: View
    frame: Frame


def _ease(t: np.ndarray) -> np.ndarray:
    return t * t * (3 - 2 * t)


def clip_views(
    person: Person,
    number: int,
    frames: int = FRAMES,
    prevalence: Prevalence | None = None,
    span: float = 1.0,
    jitter: float = 0.0,
) -> list[View]:
    """The views of clip ``number`` (from 0): a smooth path between two random views, with a sway.

    ``span`` scales the changes. Clothes, glasses, place and colour of the light stay the same.
    ``jitter`` is the standard deviation of the framing of each frame, as a share of the side for
    its position and 1.5 times that for its logarithmic size: what the boxes of a face detector,
    which looks at every frame alone, differ by.
    """
    identity, first = person.identity, FIRST_CLIP_VIEW + 2 * number
    begin, end = view(identity, first, prevalence), view(identity, first + 1, prevalence)
    rng = stream(identity.seed, identity.number, first, "clip")
    phase, rate = rng.uniform(0, 2 * np.pi, 3), rng.uniform(0.5, 1.2, 3)
    size = rng.uniform(0.3, 1.0, 3) * (2.5, 1.5, 1.2)
    boxes = stream(identity.seed, identity.number, first, "boxes").normal(size=(frames, 3))
    t = np.linspace(0, 1, frames) if frames > 1 else np.zeros(1)
    share = span * _ease(t)
    units = sorted({*begin.expression, *end.expression})
    angles = []
    for k in range(frames):
        sway = size * np.sin(phase + 2 * np.pi * rate * t[k])
        start = np.array([begin.yaw, begin.pitch, begin.roll])
        # in a second of talking heads turn less than from one random pose to another
        goal = np.clip(np.array([end.yaw, end.pitch, end.roll]) - start, -28, 28)
        most = np.array((MAX_YAW, MAX_PITCH, 25))
        angles.append(np.clip(start + share[k] * goal + span * sway, -most, most))
    azimuth = begin.light.azimuth
    last_azimuth = np.clip(end.light.azimuth, azimuth - 20, azimuth + 20)
    views, trailing = [], angles[0]
    for k in range(frames):
        trailing = 0.45 * trailing + 0.55 * angles[k]  # loose hair follows the head with a delay

        def mix(a, b, s=share[k]) -> float:
            return float(a + s * (b - a))

        flicker = float(np.exp(0.03 * np.sin(phase[0] + 3 * t[k])))
        exposure = begin.light.exposure * flicker
        light = replace(begin.light, azimuth=mix(azimuth, last_azimuth), exposure=exposure)
        off = jitter * boxes[k]
        side = 128 / begin.framing.scale  # decimetres
        x = mix(begin.framing.x, end.framing.x) + side * float(off[0])
        y = mix(begin.framing.y, end.framing.y) + side * float(off[1])
        scale = begin.framing.scale * float(np.exp(1.5 * off[2]))
        expression = {
            unit: round(mix(begin.expression.get(unit, 0.0), end.expression.get(unit, 0.0)), 4)
            for unit in units
        }
        nearest = begin if share[k] < 0.5 else end
        views.append(
            replace(
                begin,
                number=first * 100 + k,
                yaw=float(angles[k][0]),
                pitch=float(angles[k][1]),
                roll=float(angles[k][2]),
                expression=expression,
                gaze=(mix(begin.gaze[0], end.gaze[0]), mix(begin.gaze[1], end.gaze[1])),
                light=light,
                framing=replace(begin.framing, x=x, y=y, scale=scale),
                smiling=nearest.smiling,
                mouth_open=nearest.mouth_open,
                hair_pose=tuple(float(a) for a in trailing),
                scenery=first,
            )
        )
    return views


def _align(frame: Frame, points: np.ndarray) -> tuple[Frame, np.ndarray]:
    """A frame and its landmarks, rotated, scaled and moved so that the eyes are at ``_EYES``."""
    size, side = frame.size, frame.light.shape[0]
    eyes = np.stack([points[36:42].mean(0), points[42:48].mean(0)]).astype(np.float64)
    goal = np.array([[_EYES[0], _EYES[2]], [_EYES[1], _EYES[2]]]) * size - 0.5
    a, b = eyes[1] - eyes[0], goal[1] - goal[0]
    ratio = complex(*b) / complex(*a)
    # bounded, since the eyes of a profile are close together
    ratio *= min(max(abs(ratio), 0.8), 1.35) / abs(ratio)
    matrix = np.array([[ratio.real, -ratio.imag], [ratio.imag, ratio.real]])
    shift = goal.mean(0) - matrix @ eyes.mean(0)
    k = side / size
    # the same motion in the pixels of the oversampled buffer: X = k (x + 1/2) - 1/2
    moved = k * (shift + 0.5) - 0.5 - matrix @ np.full(2, k * 0.5 - 0.5)
    warp = np.concatenate([matrix, moved[:, None]], 1)
    border = cv2.BORDER_REFLECT_101
    light = cv2.warpAffine(
        frame.light, warp, (side, side), flags=cv2.INTER_LINEAR, borderMode=border
    )
    moved_points = points.astype(np.float64) @ matrix.T + shift
    return replace(frame, light=light), moved_points.astype(np.float32)


def clip(
    person: Person,
    number: int,
    size: int = 128,
    frames: int = FRAMES,
    aligned: bool = True,
    prevalence: Prevalence | None = None,
    jitter: float = 0.0,
) -> list[ClipFrame]:
    """Render clip ``number`` (from 0) of a person.

    Parameters
    ----------
    person : Person
    number : int
    size : int
        Width and height of the frames.
    frames : int
    aligned : bool
        Warp each frame so that the eyes are at fixed places, as VidFace does; else the camera is
        still.
    prevalence : Prevalence, optional
    jitter : float
        See :func:`clip_views`.

    Returns
    -------
    list of ClipFrame
    """
    out = []
    for one in clip_views(person, number, frames, prevalence, jitter=jitter):
        frame = render(person, one, size)
        points, visible = landmarks(person, frame)
        if aligned:
            frame, points = _align(frame, points)
        out.append(ClipFrame(frame.picture(), points, visible, one, frame))
    return out
