"""The mesh of a head: identity, expression and pose, by morph targets and a bend of the neck."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

import numpy as np

from lrface.data.synthetic.assets import LOWER_TEETH, MOUTH, TONGUE, UPPER_TEETH, Head, head
from lrface.data.synthetic.groups import RACES
from lrface.data.synthetic.identities import Identity
from lrface.data.synthetic.kernel import kernel, smoothstep
from lrface.data.synthetic.proportions import conform

PIVOT = np.array([0.0, 6.6, 0.45])
"""The point the head turns about, in decimetres."""
LINING_BACK = 0.07
"""How far the inside of the mouth is moved back in the second generation, decimetres."""


UPPER_EDGE = np.array([0.0, -0.040, -0.080])
"""Where the edge of the upper teeth is from the middle of the line between the lips, decimetres."""
BEHIND_UPPER = np.array([0.0, 0.02, -0.06])
"""How far the lower teeth are moved further than the upper ones, decimetres."""


def _macros(identity: Identity) -> dict[str, float]:
    """Weights of MakeHuman's macro targets: race x gender x age, and gender x age x body weight."""
    old = float(np.clip((identity.age - 25) / 65, 0, 1))
    child = float(np.clip((24 - identity.age) / 30, 0, 0.2))
    heavy, lean = max(identity.weight, 0.0), max(-identity.weight, 0.0)
    macros = {}
    for gender, share in (("female", 1 - identity.masculinity), ("male", identity.masculinity)):
        for age, part in (("child", child), ("young", 1 - old - child), ("old", old)):
            for race, mixed in zip(RACES, identity.races, strict=True):
                macros[f"race/{race}-{gender}-{age}"] = share * part * mixed
            for load, amount in (
                ("minweight", lean),
                ("averageweight", 1 - lean - heavy),
                ("maxweight", heavy),
            ):
                macros[f"uni/{gender}-{age}-{load}"] = share * part * amount
    return macros


@lru_cache(maxsize=1)
def _lining() -> np.ndarray:
    """Vertices of the inside of the mouth that no skin outside it shares."""
    template = head()
    within = template.skin_masks[MOUTH] > 0.9
    return np.setdiff1d(template.skin[within], template.skin[~within])


def neutral(identity: Identity) -> np.ndarray:
    """A person's mesh (n, 3) without expression, float64 in decimetres.

    The midpoint of the eyes is where the template has it.
    """
    template = head()
    vertices = template.vertices.copy()
    for name, weight in (*_macros(identity).items(), *identity.shape):
        if weight > 0:
            template.morph(vertices, name, weight)
    conform(vertices)
    if identity.generation > 1:
        # It is so near behind the lower lip that in some faces it came through the chin as a dot.
        vertices[_lining(), 2] -= LINING_BACK
        _set_teeth(vertices, template)
    eyes = np.stack([vertices[rows].mean(0) for rows in template.eyes])
    own = np.stack([template.vertices[rows].mean(0) for rows in template.eyes])
    # Scaled towards the template's distance between the eyes, but not all the way: people differ.
    scale = (np.abs(own[0, 0] - own[1, 0]) / np.abs(eyes[0, 0] - eyes[1, 0])) ** 0.6
    return (vertices - eyes.mean(0)) * scale + own.mean(0)


def _set_teeth(vertices: np.ndarray, template: Head) -> None:
    """Move teeth and tongue of the second generation behind a person's own lips, in place.

    The edge of the upper teeth is a little below the line between the lips, as in most people.
    """
    upper, lower, tongue = (
        np.unique(template.triangles[template.part == part])
        for part in (UPPER_TEETH, LOWER_TEETH, TONGUE)
    )
    lips = vertices[template.landmarks[60:68]].mean(0)
    edge = upper[np.argmin(template.vertices[upper, 1] + 0.5 * np.abs(template.vertices[upper, 0]))]
    move = lips + UPPER_EDGE - vertices[edge]
    move[0] = lips[0] - vertices[upper, 0].mean()
    vertices[upper] += move
    vertices[upper, 0] = lips[0] + 0.92 * (vertices[upper, 0] - lips[0])
    vertices[np.concatenate([lower, tongue])] += move + BEHIND_UPPER


def express(vertices: np.ndarray, expression: Mapping[str, float]) -> np.ndarray:
    """The mesh (n, 3) with an expression: weights in [0, 1] by face unit, ``{"jawOpen": 0.3}``."""
    moved, template = vertices.copy(), head()
    for face_unit, weight in expression.items():
        template.morph(moved, f"fu/{face_unit}", weight)
    return moved


@lru_cache(maxsize=1)
def neck_weights() -> np.ndarray:
    """How far each vertex (n,) follows the head's rotation: 0 at the shoulders, 1 on the head."""
    template: Head = head()
    y, z = template.vertices[:, 1], template.vertices[:, 2]
    weights = smoothstep(5.7, 6.3, y + 0.25 * (z - 0.4))
    weights[template.rigid] = 1.0
    return weights


@kernel
def bend(points, weights, matrix, pivot):
    """Points (n, 3) rotated about ``pivot`` by ``matrix``, as far as ``weights`` (n,) say."""
    out = np.empty(points.shape)
    for i in range(points.shape[0]):
        x, y, z = points[i, 0] - pivot[0], points[i, 1] - pivot[1], points[i, 2] - pivot[2]
        for d in range(3):
            turned = pivot[d] + matrix[d, 0] * x + matrix[d, 1] * y + matrix[d, 2] * z
            out[i, d] = points[i, d] + weights[i] * (turned - points[i, d])
    return out
