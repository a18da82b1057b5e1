"""Random numbers by name: what an image draws depends on (seed, identity, view, purpose) and on
nothing that was drawn before."""

from __future__ import annotations

from numpy.random import Generator, Philox

# fmt: off
PURPOSES = ("identity", "shape", "skin", "hair", "strands", "brows", "beard", "style", "pose", "expression", "light", "framing", "wear",
            "clothes", "backdrop", "camera", "sensor", "clip", "pairs", "noise", "moles", "eyes", "glasses", "hat")
# fmt: on
"""Append only: the position of a name is part of every picture made with it."""

IDENTITY = 0
"""The view number of what belongs to the person and not to one picture."""


def stream(seed: int, identity: int, view: int, purpose: str) -> Generator:
    """The generator of one (seed, identity, view, purpose): a Philox counter block of its own,
    2**64 numbers long.

    ``view`` is 0 for the identity itself, else the picture's number from 1.
    """
    return Generator(
        Philox(key=[seed & (2**64 - 1), identity], counter=[0, PURPOSES.index(purpose), view, 0])
    )
