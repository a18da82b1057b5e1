"""Random streams by name: one for each (seed, identity, view, purpose), independent of all others.

So a picture is the same whatever was rendered before it, on any number of workers, and a further
random number for one purpose changes nothing else. The streams are blocks of the counter of Philox
(Salmon et al. 2011).
"""

from __future__ import annotations

from numpy.random import Generator, Philox

# fmt: off
PURPOSES = (
    "identity", "shape", "skin", "hair", "strands", "brows", "beard", "style", "pose", "expression",
    "light", "framing", "wear", "clothes", "backdrop", "camera", "sensor", "clip", "pairs", "noise",
    "moles", "eyes", "glasses", "hat", "boxes", "pigment", "lens", "rest", "grain",
)
# fmt: on
"""Append only: the position of a name is part of every picture that uses it."""

IDENTITY = 0
"""The view number of streams that belong to the person and not to a picture."""


def stream(seed: int, identity: int, view: int, purpose: str) -> Generator:
    """The generator of one (seed, identity, view, purpose): a Philox block of 2**64 numbers.

    ``view`` is 0 (``IDENTITY``) for the identity itself, else the picture's number, from 1.
    """
    counter = [0, PURPOSES.index(purpose), view, 0]
    return Generator(Philox(key=[seed & (2**64 - 1), identity], counter=counter))
