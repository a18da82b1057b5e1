"""A person as the renderer needs them: mesh, hair and skin, computed once for all pictures."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lrface.data.synthetic.accessories import Glasses, glasses_of
from lrface.data.synthetic.assets import Head, head
from lrface.data.synthetic.eyes import eye_numbers
from lrface.data.synthetic.facial_hair import Beard, Brows, grow_beard, grow_brows
from lrface.data.synthetic.geometry import neutral
from lrface.data.synthetic.hair import Strands, grow_hair
from lrface.data.synthetic.identities import Identity
from lrface.data.synthetic.skin import moles, skin_numbers
from lrface.data.synthetic.skin_maps import NO_MAP, skin_map


@dataclass(frozen=True)
class Person:
    """An identity with its mesh, hair and skin; about 10 MB."""

    identity: Identity
    template: Head
    vertices: np.ndarray
    """float64 (n, 3): the neutral face, decimetres."""
    skull: np.ndarray
    """float64 (96, 64): the skull map (:meth:`.assets.Head.skull_radius`)."""
    skin: np.ndarray
    """float64 (32,): :func:`.skin.skin_numbers`."""
    moles: np.ndarray
    """float64 (k, 5): :func:`.skin.moles`."""
    iris: np.ndarray
    """float64 (6,), and ``teeth`` (3,): :func:`.eyes.eye_numbers`."""
    teeth: np.ndarray
    hair: Strands | None
    brows: Brows
    beard: Beard | None
    glasses: Glasses
    pigment: np.ndarray
    """float32 (h, w, 3): :func:`.skin_maps.skin_map`; (1, 1, 3) in the first generation."""


def person(identity: Identity) -> Person:
    """Build a person from an identity; takes a fifth of a second."""
    template = head()
    vertices, skin = neutral(identity), skin_numbers(identity)
    iris, teeth = eye_numbers(identity)
    return Person(
        identity=identity,
        template=template,
        vertices=vertices,
        skull=template.skull_radius(vertices),
        skin=skin,
        moles=moles(identity, template),
        iris=iris,
        teeth=teeth,
        hair=grow_hair(identity, template, vertices, skin),
        brows=grow_brows(identity, template, vertices),
        beard=grow_beard(identity, template),
        glasses=glasses_of(identity),
        pigment=skin_map(identity) if identity.generation > 1 else NO_MAP,
    )
