"""Which attributes a person or a picture has, and how often: natural shares, any of them
replaceable by a number of your own.

The names are CelebA's where the meaning agrees. A share is over all identities (or pictures) of the
set. Where only some can have an attribute (beards: men), the share among those is raised to match,
and a share they cannot reach is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import NormalDist

from lrface.data.synthetic.groups import GROUPS
from lrface.data.synthetic.kernel import smoothstep
from lrface.errors import UsageError

NORMAL = NormalDist()

AGES = (
    (0.0, 18.0),
    (0.10, 22.0),
    (0.25, 27.0),
    (0.50, 35.0),
    (0.62, 40.0),
    (0.75, 47.0),
    (0.90, 60.0),
    (0.97, 70.0),
    (1.0, 80.0),
)
"""The natural distribution of age as (quantile, years), straight lines between."""
YOUNG_UNTIL = 40.0

# fmt: off
SCORED = {"Big_Nose": 0.20, "Pointy_Nose": 0.22, "Big_Lips": 0.22, "Narrow_Eyes": 0.14, "Bushy_Eyebrows": 0.16, "Arched_Eyebrows": 0.22,
          "High_Cheekbones": 0.30, "Bags_Under_Eyes": 0.18, "Chubby": 0.10, "Double_Chin": 0.07, "Oval_Face": 0.26, "Rosy_Cheeks": 0.08}
# fmt: on
"""Attributes that mean "more than a threshold of something continuous", with their natural share."""
COLOURS = ("Black_Hair", "Brown_Hair", "Blond_Hair", "Gray_Hair")
# fmt: off
PERSON = ("Male", "Young", "Pale_Skin", *COLOURS, "Bald", "Receding_Hairline", "Bangs", "Straight_Hair", "Wavy_Hair", "No_Beard",
          "Mustache", "Goatee", "Sideburns", "5_o_Clock_Shadow", *SCORED)
# fmt: on
PICTURE = (
    "Eyeglasses",
    "Wearing_Hat",
    "Smiling",
    "Mouth_Slightly_Open",
    "Heavy_Makeup",
    "Wearing_Lipstick",
    "Wearing_Necktie",
)
ATTRIBUTES = tuple(sorted(PERSON + PICTURE))
"""Every attribute an image is labelled with; column names in the table."""
DERIVED = ("5_o_Clock_Shadow", "Straight_Hair")
"""Follow from others (a beard that is none of the named shapes; hair that is not wavy, coily or
absent), so they cannot be set."""
SETTABLE = tuple(name for name in ATTRIBUTES if name not in DERIVED)

# fmt: off
PICTURE_SHARES = {"Eyeglasses": 0.08, "Wearing_Hat": 0.05, "Smiling": 0.45, "Mouth_Slightly_Open": 0.38, "Wearing_Necktie": 0.09,
                  "Heavy_Makeup": 0.30, "Wearing_Lipstick": 0.42}
# fmt: on


def age_at(quantile: float) -> float:
    """The natural age at a quantile in [0, 1]."""
    for (q0, a0), (q1, a1) in zip(AGES[:-1], AGES[1:], strict=True):
        if quantile <= q1:
            return a0 + (a1 - a0) * (quantile - q0) / (q1 - q0)
    return AGES[-1][1]


YOUNG = next(q for q, age in AGES if age == YOUNG_UNTIL)


def bald_share(age: float) -> float:
    """Natural share of bald men at an age."""
    return 0.03 + 0.24 * float(smoothstep(28, 72, age))


def receding_share(age: float) -> float:
    """Natural share of a receding hairline among men with hair."""
    return 0.06 + 0.42 * float(smoothstep(28, 62, age))


def grey_share(age: float) -> float:
    """Natural share of grey or white hair at an age."""
    return float(smoothstep(40, 74, age))


@dataclass(frozen=True)
class Prevalence:
    """Natural shares with yours in their place: ``Prevalence({"Eyeglasses": 0.5, "Mustache":
    0.02})``."""

    given: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, share in self.given.items():
            if name in DERIVED:
                raise UsageError(
                    f"{name} follows from other attributes and cannot be set: set one of {', '.join(SETTABLE)}"
                )
            if name not in SETTABLE:
                raise UsageError(f"unknown attribute {name!r}: choose one of {', '.join(SETTABLE)}")
            if not 0 <= share <= 1:
                raise UsageError(f"the prevalence of {name} must lie between 0 and 1, not {share}")
        if sum(self.given.get(name, 0) for name in COLOURS) > 1 + 1e-9:
            raise UsageError(
                f"the prevalences of {', '.join(COLOURS)} add up to more than 1: a person has one hair colour"
            )
        for name, room in self._room().items():
            if self.given.get(name, 0) > room + 1e-9:
                raise UsageError(
                    f"{name} cannot reach {self.given[name]}: at most {room:.3f} of the identities can have it"
                )

    def _room(self) -> dict[str, float]:
        """The largest share an attribute can have, where that is less than 1."""
        men, bald = self.male, self.mean_over_age("Bald")
        bearded = men if "No_Beard" not in self.given else 1 - self.given["No_Beard"]
        pale = sum(group.pale > 0 for group in GROUPS.values()) / len(GROUPS)
        made_up = {
            "Wearing_Lipstick": 1 - men,
            "Heavy_Makeup": self.given.get("Wearing_Lipstick", 1 - men),
            "Wearing_Necktie": men,
        }
        return {
            "Bald": men,
            "Receding_Hairline": men - bald,
            "Bangs": 1 - bald,
            "Wavy_Hair": 1 - bald,
            "Mustache": bearded,
            "Goatee": bearded,
            "Sideburns": bearded,
            "Pale_Skin": pale,
            **made_up,
        }

    def __getitem__(self, name: str) -> float:
        return self.given[name]

    def get(self, name: str, natural: float) -> float:
        """The share given for ``name``, else ``natural``."""
        return self.given.get(name, natural)

    @property
    def male(self) -> float:
        """Share of men."""
        return self.given.get("Male", 0.5)

    def mean_over_age(self, name: str) -> float:
        """The share over all identities of Bald or Receding_Hairline."""
        if name in self.given:
            return self.given[name]
        young = self.given.get("Young", YOUNG)
        grid = [(i + 0.5) / 64 for i in range(64)]
        mean = young * sum(bald_share(age_at(YOUNG * u)) for u in grid) / 64
        return self.male * (
            mean + (1 - young) * sum(bald_share(age_at(YOUNG + (1 - YOUNG) * u)) for u in grid) / 64
        )


def score(label: bool, natural: float, u: float) -> float:
    """A standard normal score that exceeds its ``1 - natural`` quantile exactly if ``label``; ``u``
    uniform in (0, 1).

    With labels at their natural share the score is plainly normal, so setting a prevalence moves
    how many, not what they look like.
    """
    low, high = (1 - natural, 1.0) if label else (0.0, 1 - natural)
    return NORMAL.inv_cdf(min(max(low + (high - low) * u, 0.004), 0.996))
