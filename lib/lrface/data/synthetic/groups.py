"""The four groups of EDFace-Celeb-1M, as distributions over the body model's parameters.

A group fixes a mixture of the model's three race macros and distributions of skin depth, hair and
eye colour. The numbers are our own, chosen to look plausible: a construction for balanced
experiments, not a measurement of people or of photographs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lrface.data.synthetic.kernel import linear

RACES = ("african", "asian", "caucasian")
HAIR_COLOURS = ("black", "darkbrown", "brown", "lightbrown", "blond", "red")
EYE_COLOURS = ("dark", "brown", "hazel", "green", "blue", "grey")

# fmt: off
HAIR = {
    "black": (21, 18, 18), "darkbrown": (58, 38, 26), "brown": (88, 58, 38),
    "lightbrown": (122, 88, 58), "blond": (176, 148, 112), "red": (122, 66, 42),
    "grey": (148, 145, 142), "white": (208, 205, 202),
}
"""sRGB of hair; ``grey`` and ``white`` come with age."""
EYES = {
    "dark": (46, 28, 18), "brown": (92, 56, 30), "hazel": (96, 78, 50), "green": (82, 92, 70),
    "blue": (84, 100, 116), "grey": (98, 106, 110),
}
"""sRGB of irises."""
_SKIN = linear([
    (240, 212, 198), (230, 190, 169), (218, 172, 148), (197, 150, 124), (165, 121, 97),
    (126, 91, 71), (93, 67, 53), (64, 48, 40),
])
"""Skin at depth 0 (palest), 1/7, ... 1 (deepest): the sRGB of unshaded skin, as linear RGB."""
# fmt: on


@dataclass(frozen=True)
class Group:
    """The distributions of one group."""

    races: tuple[float, float, float]
    """Mean mixture of the model's african, asian and caucasian macros."""
    mixing: float
    """Concentration of the Dirichlet distribution around ``races``; smaller is more varied."""
    depth: tuple[float, float]
    """Mean and standard deviation of skin depth, 0 palest to 1 deepest."""
    undertone: tuple[float, float, float]
    """Factors on linear red, green and blue."""
    hair: tuple[float, ...]
    """Probabilities of HAIR_COLOURS."""
    eyes: tuple[float, ...]
    """Probabilities of EYE_COLOURS."""
    coily: float
    """Probability of coily hair; the rest is straight or wavy."""
    pale: float
    """Share of Pale_Skin, unless a prevalence is set."""


GROUPS = {
    "White": Group(
        races=(0.02, 0.04, 0.94),
        mixing=11.0,
        depth=(0.17, 0.08),
        undertone=(1.02, 0.985, 0.985),
        coily=0.01,
        pale=0.14,
        hair=(0.08, 0.24, 0.26, 0.16, 0.19, 0.07),
        eyes=(0.08, 0.26, 0.15, 0.14, 0.29, 0.08),
    ),
    "Black": Group(
        races=(0.86, 0.02, 0.12),
        mixing=9.0,
        depth=(0.70, 0.13),
        undertone=(1.0, 1.0, 1.0),
        coily=0.78,
        pale=0.0,
        hair=(0.80, 0.17, 0.03, 0, 0, 0),
        eyes=(0.74, 0.24, 0.02, 0, 0, 0),
    ),
    "Asian": Group(
        races=(0.02, 0.94, 0.04),
        mixing=11.0,
        depth=(0.25, 0.09),
        undertone=(1.0, 1.01, 0.95),
        coily=0.0,
        pale=0.06,
        hair=(0.72, 0.23, 0.05, 0, 0, 0),
        eyes=(0.62, 0.36, 0.02, 0, 0, 0),
    ),
    "Latino": Group(
        races=(0.14, 0.36, 0.50),
        mixing=4.0,
        depth=(0.42, 0.10),
        undertone=(1.01, 1.0, 0.97),
        coily=0.06,
        pale=0.0,
        hair=(0.48, 0.34, 0.13, 0.03, 0.02, 0),
        eyes=(0.36, 0.44, 0.12, 0.04, 0.03, 0.01),
    ),
}
NAMES = tuple(GROUPS)
"""An identity's group is ``NAMES[number % 4]``: any four consecutive identities have all four."""


def skin_colour(depth: float, undertone: tuple[float, float, float]) -> np.ndarray:
    """Linear RGB albedo (3,) of skin at a depth in [0, 1], interpolated in the logarithm."""
    position = np.clip(depth, 0, 1) * (len(_SKIN) - 1)
    low = min(int(position), len(_SKIN) - 2)
    share = position - low
    return np.exp(np.log(_SKIN[low]) * (1 - share) + np.log(_SKIN[low + 1]) * share) * undertone
