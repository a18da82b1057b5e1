"""Clips: one person for a second or so, with smooth change of pose, expression, gaze and light."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np

from lrface.data.synthetic.person import Person
from lrface.data.synthetic.prevalence import Prevalence
from lrface.data.synthetic.render import LENS_BLUR, Frame, develop, render, shrink
from lrface.data.synthetic.streams import stream
from lrface.data.synthetic.truth import landmarks
from lrface.data.synthetic.views import MAX_PITCH, MAX_YAW, View, view

FIRST_CLIP_VIEW = 1_000_000
"""Clips use view numbers from here on, so they share no picture with the stills."""
FRAMES = 7
"""Frames of a clip in VidFace's setting."""
_EYES = (0.36, 0.64, 0.46)
"""Where an aligned frame has the eyes: x of the image's left and right eye, y of both, as shares of
the side."""


@dataclass(frozen=True)
class ClipFrame:
    """One frame: the picture, its truth, the view it was rendered from and the light for any
    camera."""

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
) -> list[View]:
    """The views of clip ``number`` (from 0): from one drawn view towards another, with a sway on
    top.

    ``span`` scales how much changes. What is worn, the place and the light's colour stay.
    """
    identity, first = person.identity, FIRST_CLIP_VIEW + 2 * number
    begin, end = view(identity, first, prevalence), view(identity, first + 1, prevalence)
    rng = stream(identity.seed, identity.number, first, "clip")
    phase, rate, size = (
        rng.uniform(0, 2 * np.pi, 3),
        rng.uniform(0.5, 1.2, 3),
        rng.uniform(0.3, 1.0, 3) * (2.5, 1.5, 1.2),
    )
    t = np.linspace(0, 1, frames) if frames > 1 else np.zeros(1)
    share = span * _ease(t)
    units = sorted({*begin.expression, *end.expression})
    angles = []
    for k in range(frames):
        sway = size * np.sin(phase + 2 * np.pi * rate * t[k])
        start = np.array([begin.yaw, begin.pitch, begin.roll])
        # Most of a second of talking is a small turn; a full swing from one random pose to another
        # is not.
        goal = np.clip(np.array([end.yaw, end.pitch, end.roll]) - start, -28, 28)
        angles.append(
            np.clip(
                start + share[k] * goal + span * sway,
                (-MAX_YAW, -MAX_PITCH, -25),
                (MAX_YAW, MAX_PITCH, 25),
            )
        )
    views, trailing = [], angles[0]
    for k in range(frames):
        trailing = 0.45 * trailing + 0.55 * angles[k]  # loose hair comes after the head
        mix = lambda a, b, s=share[k]: float(a + s * (b - a))  # noqa: E731
        light = replace(
            begin.light,
            azimuth=mix(
                begin.light.azimuth,
                np.clip(end.light.azimuth, begin.light.azimuth - 20, begin.light.azimuth + 20),
            ),
            exposure=begin.light.exposure * float(np.exp(0.03 * np.sin(phase[0] + 3 * t[k]))),
        )
        framing = replace(
            begin.framing,
            x=mix(begin.framing.x, end.framing.x),
            y=mix(begin.framing.y, end.framing.y),
        )
        views.append(
            replace(
                begin,
                number=first * 100 + k,
                yaw=float(angles[k][0]),
                pitch=float(angles[k][1]),
                roll=float(angles[k][2]),
                expression={
                    u: round(mix(begin.expression.get(u, 0.0), end.expression.get(u, 0.0)), 4)
                    for u in units
                },
                gaze=(mix(begin.gaze[0], end.gaze[0]), mix(begin.gaze[1], end.gaze[1])),
                light=light,
                framing=framing,
                smiling=begin.smiling if share[k] < 0.5 else end.smiling,
                mouth_open=begin.mouth_open if share[k] < 0.5 else end.mouth_open,
                hair_pose=tuple(float(a) for a in trailing),
                scenery=first,
            )
        )
    return views


def _align(frame: Frame, points: np.ndarray) -> tuple[Frame, np.ndarray]:
    """The moment turned, scaled and moved so that the eyes lie where an aligned set has them."""
    size, side = frame.size, frame.light.shape[0]
    eyes = np.stack([points[36:42].mean(0), points[42:48].mean(0)]).astype(np.float64)
    goal = np.array([[_EYES[0], _EYES[2]], [_EYES[1], _EYES[2]]]) * size - 0.5
    a, b = eyes[1] - eyes[0], goal[1] - goal[0]
    ratio = complex(*b) / complex(*a)
    # The scale of a profile's narrow eyes would enlarge it absurdly, so it is bounded.
    ratio *= min(max(abs(ratio), 0.8), 1.35) / abs(ratio)
    matrix = np.array([[ratio.real, -ratio.imag], [ratio.imag, ratio.real]])
    shift = goal.mean(0) - matrix @ eyes.mean(0)
    k = side / size
    # The same motion in buffer pixels, X = k (x + 1/2) - 1/2.
    moved = k * (shift + 0.5) - 0.5 - matrix @ np.full(2, k * 0.5 - 0.5)
    warp = np.concatenate([matrix, moved[:, None]], 1)
    light = cv2.warpAffine(
        frame.light, warp, (side, side), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101
    )
    placed = points.astype(np.float64) @ matrix.T + shift
    return replace(frame, light=light), placed.astype(np.float32)


def clip(
    person: Person,
    number: int,
    size: int = 128,
    frames: int = FRAMES,
    aligned: bool = True,
    prevalence: Prevalence | None = None,
) -> list[ClipFrame]:
    """Clip ``number`` of a person. ``aligned``: each frame is warped to fixed eyes, as VidFace's
    are; else the camera stands still."""
    out = []
    for one in clip_views(person, number, frames, prevalence):
        frame = render(person, one, size)
        points, visible = landmarks(person, frame)
        if aligned:
            frame, points = _align(frame, points)
        out.append(
            ClipFrame(develop(shrink(frame.light, size, LENS_BLUR)), points, visible, one, frame)
        )
    return out
