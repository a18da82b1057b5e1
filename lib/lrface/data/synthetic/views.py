"""A view: all of a picture that is not the person, drawn from (seed, identity, view) alone.

Pose, expression, gaze, light, framing, clothes, glasses, hat and make-up.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from lrface.data.synthetic.accessories import HATS
from lrface.data.synthetic.clothes import Clothes, sample_clothes
from lrface.data.synthetic.geometry import PIVOT
from lrface.data.synthetic.identities import Identity
from lrface.data.synthetic.kernel import rotation
from lrface.data.synthetic.lens import Lens, sample_lens
from lrface.data.synthetic.light import Light, sample_light, sample_varied_light
from lrface.data.synthetic.prevalence import PICTURE_SHARES, Prevalence
from lrface.data.synthetic.streams import IDENTITY, stream

MAX_YAW, MAX_PITCH, MAX_ROLL = 50.0, 22.0, 20.0
"""Degrees."""
_FRAMES = {
    1: (np.array([0.0, 7.215, 1.05]), 52.0, 0.045, 0.035),
    2: (np.array([0.0, 7.09, 1.05]), 60.5, 0.06, 0.04),
}
"""By generation: the point of the unturned head that the picture is framed around, a little below
the eyes; the size of the face, its spread, and that of its place. In the second, faces are as large
and as high in the picture as in the crops of CelebA and LFW, the eyes 40 pixels of 128 apart."""

# fmt: off
_PAIRED = (
    "browDown", "browOuterUp", "cheekSquint", "eyeBlink", "eyeSquint", "eyeWide", "mouthFrown",
    "mouthLowerDown", "mouthPress", "mouthSmile", "mouthStretch", "mouthUpperUp",
)
# fmt: on
FACE_UNITS = (
    *(f"{unit}{side}" for unit in _PAIRED for side in ("Left", "Right")),
    *("browInnerUp", "jawOpen", "mouthFunnel", "mouthPucker"),
)
"""The face units that expressions are made of, by their ARKit names."""


@dataclass(frozen=True)
class Framing:
    """The camera of the HR picture; lengths in decimetres."""

    scale: float = 52.0
    """Pixels a decimetre at the face in a picture of 128 pixels; others in proportion."""
    x: float = 0.0
    """The point on the plane of the face that is at the picture's centre, as is ``y``."""
    y: float = 7.13
    distance: float = 14.0
    """From the lens to the neck; a small one makes the nose larger."""


@dataclass(frozen=True)
class View:
    """All of one picture that is not the person; angles in degrees."""

    number: int
    """From 1."""
    yaw: float = 0.0
    """Positive turns towards the image's right."""
    pitch: float = 0.0
    """Positive turns downwards."""
    roll: float = 0.0
    """Positive tilts the top of the head towards the image's left."""
    expression: dict[str, float] = field(default_factory=dict)
    """Weights of face units, 0 to 1."""
    gaze: tuple[float, float] = (0.0, 0.0)
    """Yaw and pitch of the line of sight relative to the head."""
    light: Light = field(default_factory=Light)
    framing: Framing = field(default_factory=Framing)
    clothes: Clothes = field(default_factory=Clothes)
    glasses: str = "none"
    """``none``, ``clear`` or ``sun``."""
    hat: str = "none"
    """``none``, ``cap``, ``beanie`` or ``brim``."""
    hat_colour: tuple[float, float, float] = (0.1, 0.1, 0.12)
    lipstick: bool = False
    makeup: bool = False
    smiling: bool = False
    mouth_open: bool = False
    hair_pose: tuple[float, float, float] | None = None
    """Yaw, pitch and roll that hanging hair follows (delayed in clips); None: the head's."""
    lens: Lens | None = None
    """The good camera; None in the first generation, whose good camera is always the same."""
    scenery: int = 0
    """Number of the view whose background and make-up this one shares; 0: its own."""


def sample_expression(
    rng: np.random.Generator, smiling: bool, mouth_open: bool
) -> dict[str, float]:
    """Random weights of face units: a smile or none, lips parted or not, small changes of the rest.

    The ranges were found by eye.
    """
    u, w = rng.random(16), {}

    def both(name: str, weight: float, tilt: float = 0.0) -> None:
        w[f"{name}Left"], w[f"{name}Right"] = max(weight + tilt, 0), max(weight - tilt, 0)

    if smiling:
        a = 0.42 + 0.38 * u[0]
        both("mouthSmile", a, 0.02 * (u[1] - 0.5))
        both("cheekSquint", 0.25 * a)
        both("eyeSquint", 0.15 * a)
        if mouth_open:  # a smile for the camera: upper teeth visible, the jaw hardly dropped
            w["jawOpen"] = 0.06 + 0.07 * u[2] ** 1.5
            both("mouthUpperUp", 0.18 + 0.22 * u[3])
            both("mouthLowerDown", 0.12 + 0.20 * u[4])
            both("mouthStretch", 0.12 * u[12])
    elif mouth_open:  # speech, or lips just parted
        w["jawOpen"] = 0.07 + 0.16 * u[0] ** 2
        both("mouthLowerDown", 0.12 * u[3])
        both("mouthSmile", 0.14 * u[1])
    elif u[0] < 0.06:
        both("mouthFrown", 0.08 + 0.16 * u[1])
    elif u[0] < 0.10:
        both("mouthPress", 0.12 + 0.22 * u[1])
    else:
        both("mouthSmile", 0.04 + 0.20 * u[1], 0.015 * (u[2] - 0.5))
    # the mesh's neutral brow looks stern, so it is always raised a little in the middle
    if u[5] < 0.08:
        w["browInnerUp"] = 0.20 + 0.25 * u[6]
        both("browOuterUp", 0.15 + 0.25 * u[7])
    elif u[5] < 0.11 and not smiling:
        both("browDown", 0.06 + 0.14 * u[6])
    else:
        w["browInnerUp"] = 0.03 + 0.07 * u[6]
        both("browOuterUp", 0.12 + 0.13 * u[7], 0.01 * (u[8] - 0.5))
    if u[9] < 0.012:
        both("eyeBlink", 0.9 + 0.1 * u[10])
    elif u[9] < 0.04:
        both("eyeWide", 0.06 + 0.12 * u[10])
    elif u[9] < 0.40:
        both("eyeSquint", w.get("eyeSquintLeft", 0) + 0.12 * u[10])
    else:
        both("eyeWide", 0.05 + 0.12 * u[10])
    return {name: round(float(weight), 4) for name, weight in w.items() if weight > 0}


def sample_varied_expression(
    rng: np.random.Generator, smiling: bool, mouth_open: bool, habit: np.ndarray
) -> dict[str, float]:
    """Random weights of face units (second generation): wider, and with a person's own habits.

    ``habit`` (6,) are standard normal numbers of the person: corners of the mouth, brows, how open
    the eyes are, how tight the lips, and the tilts of mouth and brows.
    """
    u, n, w = rng.random(14), rng.normal(size=6), {}

    def both(name: str, weight: float, tilt: float = 0.0) -> None:
        for side, one in (("Left", weight + tilt), ("Right", weight - tilt)):
            if weight > 0 and one > 0:
                w[f"{name}{side}"] = min(w.get(f"{name}{side}", 0.0) + one, 1.0)

    tilt = 0.015 * habit[4] + 0.015 * n[0]
    squint = 0.0
    if smiling:
        a = 0.28 + 0.52 * u[0]
        squint = (0.10 + 0.5 * u[1]) * a
        both("mouthSmile", a, tilt)
        both("cheekSquint", (0.2 + 0.6 * u[1]) * a)
        if mouth_open:  # from upper teeth that just show to a laugh
            w["jawOpen"] = 0.06 + 0.18 * u[2] ** 2
            both("mouthUpperUp", 0.16 + 0.40 * u[3], tilt)
            both("mouthLowerDown", 0.10 + 0.35 * u[4])
            both("mouthStretch", 0.25 * u[5] ** 2)
        else:
            both("mouthPress", 0.20 * u[2] ** 2)
    elif mouth_open:  # speech, surprise, or lips just parted
        w["jawOpen"] = 0.05 + 0.26 * u[0] ** 1.6
        both("mouthLowerDown", 0.25 * u[1], tilt)
        both("mouthUpperUp", 0.20 * u[2] ** 2)
        both("mouthSmile", 0.10 + 0.05 * habit[0] + 0.10 * n[1], tilt)
        if u[3] < 0.25:
            w["mouthFunnel"] = 0.1 + 0.4 * u[4]
        elif u[3] < 0.45:
            both("mouthStretch", 0.1 + 0.3 * u[4])
    else:
        corners = 0.10 + 0.06 * habit[0] + 0.07 * n[1]
        both("mouthSmile", corners, tilt)
        both("mouthFrown", -corners, tilt)
        both("mouthPress", 0.04 * habit[3] + 0.12 * n[2])
        if u[3] < 0.06:
            w["mouthPucker"] = 0.08 + 0.25 * u[4]
    raised = 0.08 + 0.07 * habit[1] + 0.10 * n[3] + (0.25 if u[6] < 0.06 else 0.0)
    both("browOuterUp", 0.8 * raised, 0.015 * habit[5] + 0.015 * n[4])
    if raised > 0:  # as a whole: an outer end that rises alone looks angry
        w["browInnerUp"] = min(0.8 * raised, 1.0)
    both("browDown", -0.45 * raised + (0.20 if u[7] < 0.05 and not smiling else 0.0))
    opened = 0.17 + 0.07 * habit[2] + 0.08 * n[5] - 0.7 * squint
    both("eyeWide", opened)
    both("eyeSquint", -opened)
    if u[8] < 0.015:
        both("eyeBlink", 0.9 + 0.1 * u[9])
    elif u[8] < 0.14:
        both("eyeBlink", 0.08 + 0.22 * u[9])
    return {name: round(float(weight), 4) for name, weight in w.items()}


def view(identity: Identity, number: int, prevalence: Prevalence | None = None) -> View:
    """View ``number`` (from 1) of a person; depends on these and the prevalence alone.

    A set share of one attribute changes that attribute and no other random choice. Raises
    :class:`ValueError` for a number below 1.
    """
    if number < 1:
        raise ValueError("pictures are numbered from 1: 0 stands for the person")
    prevalence, male = prevalence or Prevalence(), identity.gender == "male"
    key = (identity.seed, identity.number, number)
    pose, wear = stream(*key, "pose"), stream(*key, "wear")
    yaw, pitch, roll = pose.normal(size=3) * (16.0, 6.0, 4.0) + (0, 1.0, 0)
    # most look into the camera, as far as eyes turn without strain; a few look elsewhere
    away = 3.0 if pose.random() < 0.15 else 1.0
    towards_camera = (0.75 * np.clip(yaw, -22, 22), 0.7 * pitch)
    gaze = pose.normal(size=2) * (2.5 * away, 1.3 * away) - towards_camera

    u = wear.random(12)
    smile, parted = _share(prevalence, "Smiling"), _share(prevalence, "Mouth_Slightly_Open")
    smiling = bool(u[0] < smile)
    # Lips part more often in a smile (in two of three) than at rest, as far as the shares allow.
    least, most = (parted - 1 + smile) / max(smile, 1e-9), parted / max(smile, 1e-9)
    in_smile = min(max(1.75 * parted, least), 1.0, most)
    at_rest = (parted - smile * in_smile) / max(1 - smile, 1e-9)
    mouth_open = bool(u[1] < (in_smile if smiling else at_rest))
    given, women = prevalence.given, max(1 - prevalence.male, 1e-9)
    lipstick_chance = PICTURE_SHARES["Wearing_Lipstick"]
    if "Wearing_Lipstick" in given:
        lipstick_chance = given["Wearing_Lipstick"] / women
    lipstick = not male and bool(u[2] < lipstick_chance)
    makeup_chance = PICTURE_SHARES["Heavy_Makeup"] / 0.5
    if "Heavy_Makeup" in given:
        lips = prevalence.get("Wearing_Lipstick", women * PICTURE_SHARES["Wearing_Lipstick"])
        makeup_chance = given["Heavy_Makeup"] / max(lips, 1e-9)
    makeup = lipstick and bool(u[3] < makeup_chance)
    tie_chance = 2 * PICTURE_SHARES["Wearing_Necktie"]
    if "Wearing_Necktie" in given:
        tie_chance = given["Wearing_Necktie"] / max(prevalence.male, 1e-9)
    glasses = "none"
    if u[4] < _glasses_share(identity, _share(prevalence, "Eyeglasses")):
        glasses = "sun" if u[5] < 0.10 else "clear"
    hat = HATS[int(u[7] * len(HATS))] if u[6] < _share(prevalence, "Wearing_Hat") else "none"
    cloth = sample_clothes(stream(*key, "clothes"), male and bool(u[8] < tie_chance), male)
    hat_colour = sample_clothes(stream(*key, "hat"), False, male)
    frame = stream(*key, "framing")
    n = frame.normal(size=3)
    limits = (MAX_YAW, MAX_PITCH, MAX_ROLL)
    angles = zip((yaw, pitch, roll), limits, strict=True)
    turn = tuple(float(np.clip(angle, -limit, limit)) for angle, limit in angles)
    face = stream(*key, "expression")
    if identity.generation > 1:
        habit = stream(identity.seed, identity.number, IDENTITY, "rest").normal(size=6)
        expression = sample_varied_expression(face, smiling, mouth_open, habit)
    else:
        expression = sample_expression(face, smiling, mouth_open)
    light = sample_varied_light if identity.generation > 1 else sample_light
    return View(
        number=number,
        yaw=turn[0],
        pitch=turn[1],
        roll=turn[2],
        expression=expression,
        gaze=(float(np.clip(gaze[0], -22, 22)), float(np.clip(gaze[1], -12, 12))),
        light=light(stream(*key, "light"), sum(identity.tone) / 3),
        framing=_frame(turn, n, float(10 + 10 * frame.random()), identity.generation),
        clothes=replace(cloth, textured=identity.generation > 1),
        glasses=glasses,
        hat=hat,
        hat_colour=hat_colour.colour,
        lipstick=lipstick,
        makeup=makeup,
        smiling=smiling,
        mouth_open=mouth_open,
        lens=sample_lens(stream(*key, "lens")) if identity.generation > 1 else None,
    )


def _frame(
    turn: tuple[float, float, float], n: np.ndarray, distance: float, generation: int
) -> Framing:
    """A frame around a turned face, the eyes a little above the middle as in aligned portraits.

    ``n`` (3,) are standard normal numbers for the scale and the position.
    """
    middle, size, size_spread, spread = _FRAMES[generation]
    face = rotation(*turn) @ (middle - PIVOT) + PIVOT
    return Framing(
        float(size * np.exp(size_spread * n[0])),
        float(0.85 * face[0] + spread * n[1]),
        float(face[1] + spread * n[2]),
        distance,
    )


def _share(prevalence: Prevalence, name: str) -> float:
    return prevalence.get(name, PICTURE_SHARES[name])


def _glasses_share(identity: Identity, share: float) -> float:
    """How often this person wears glasses, if over all people it is in ``share`` of the pictures.

    Wearers do in three of four pictures at least, others seldom.
    """
    wearer = stream(identity.seed, identity.number, 0, "wear").random() < share
    habit = max(0.75, share)
    return habit if wearer else share * (1 - habit) / max(1 - share, 1e-9)
