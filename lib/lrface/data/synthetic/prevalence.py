"""The attributes of people and pictures and their prevalence: natural shares, or those you set.

The names are CelebA's where the meaning agrees. A share is over all identities (or pictures) of the
set. Where only some can have an attribute (beards: men), the share among those is raised to match,
and a share that they cannot reach is refused. The natural shares are our own choices.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import NormalDist

from lrface.data.synthetic.groups import GROUPS
from lrface.data.synthetic.kernel import smoothstep
from lrface.errors import UsageError

NORMAL = NormalDist()

# fmt: off
AGES = (
    (0.0, 18.0), (0.10, 22.0), (0.25, 27.0), (0.50, 35.0), (0.62, 40.0), (0.75, 47.0), (0.90, 60.0),
    (0.97, 70.0), (1.0, 80.0),
)
"""The natural distribution of age: (quantile, years), linear between."""
YOUNG_UNTIL = 40.0

SCORED = {
    "Big_Nose": 0.20, "Pointy_Nose": 0.22, "Big_Lips": 0.22, "Narrow_Eyes": 0.14,
    "Bushy_Eyebrows": 0.16, "Arched_Eyebrows": 0.22, "High_Cheekbones": 0.30,
    "Bags_Under_Eyes": 0.18, "Chubby": 0.10, "Double_Chin": 0.07, "Oval_Face": 0.26,
    "Rosy_Cheeks": 0.08,
}
"""Attributes that are thresholds of a continuous score, with their natural share."""
COLOURS = ("Black_Hair", "Brown_Hair", "Blond_Hair", "Gray_Hair")
PERSON = (
    "Male", "Young", "Pale_Skin", *COLOURS, "Bald", "Receding_Hairline", "Bangs", "Straight_Hair",
    "Wavy_Hair", "No_Beard", "Mustache", "Goatee", "Sideburns", "5_o_Clock_Shadow", *SCORED,
)
"""Attributes of a person."""
PICTURE_SHARES = {
    "Eyeglasses": 0.08, "Wearing_Hat": 0.05, "Smiling": 0.45, "Mouth_Slightly_Open": 0.38,
    "Wearing_Necktie": 0.09, "Heavy_Makeup": 0.30, "Wearing_Lipstick": 0.42,
}
# fmt: on
"""Attributes of a picture and the natural shares that :func:`.views.view` starts from."""
ATTRIBUTES = tuple(sorted((*PERSON, *PICTURE_SHARES)))
"""Every attribute that an image is labelled with; column names in the table."""
DERIVED = ("5_o_Clock_Shadow", "Straight_Hair")
"""Attributes that follow from others and cannot be set: a beard of none of the named shapes, and
hair that is neither wavy, coily nor absent."""
SETTABLE = tuple(name for name in ATTRIBUTES if name not in DERIVED)


def age_at(quantile: float) -> float:
    """The age in years at a quantile in [0, 1] of the natural distribution."""
    for (q0, a0), (q1, a1) in zip(AGES[:-1], AGES[1:], strict=True):
        if quantile <= q1:
            return a0 + (a1 - a0) * (quantile - q0) / (q1 - q0)
    return AGES[-1][1]


YOUNG = next(q for q, age in AGES if age == YOUNG_UNTIL)
"""The natural share of young people."""


def bald_share(age: float) -> float:
    """Natural share of bald men at an age in years."""
    return 0.03 + 0.24 * float(smoothstep(28, 72, age))


def receding_share(age: float) -> float:
    """Natural share of a receding hairline at an age, among men with hair."""
    return 0.06 + 0.42 * float(smoothstep(28, 62, age))


def grey_share(age: float) -> float:
    """Natural share of grey or white hair at an age in years."""
    return float(smoothstep(40, 74, age))


@dataclass(frozen=True)
class Prevalence:
    """The natural shares, some of them replaced: ``Prevalence({"Eyeglasses": 0.5})``.

    Raises :class:`UsageError` for an unknown name and for a share that cannot be reached.
    """

    given: Mapping[str, float] = field(default_factory=dict)
    """Attribute -> share in [0, 1], for those that are set."""

    def __post_init__(self) -> None:
        for name, share in self.given.items():
            if name in DERIVED:
                raise UsageError(
                    f"{name} follows from other attributes and cannot be set: "
                    f"set one of {', '.join(SETTABLE)}"
                )
            if name not in SETTABLE:
                raise UsageError(f"unknown attribute {name!r}: choose one of {', '.join(SETTABLE)}")
            if not 0 <= share <= 1:
                raise UsageError(f"the prevalence of {name} must lie between 0 and 1, not {share}")
        if sum(self.given.get(name, 0) for name in COLOURS) > 1 + 1e-9:
            raise UsageError(
                f"the prevalences of {', '.join(COLOURS)} add up to more than 1: "
                "a person has one hair colour"
            )
        for name, most in self._limits().items():
            if self.given.get(name, 0) > most + 1e-9:
                raise UsageError(
                    f"{name} cannot reach {self.given[name]}: "
                    f"at most {most:.3f} of the identities can have it"
                )

    def _limits(self) -> dict[str, float]:
        """The largest possible share of an attribute, where that is less than 1."""
        men, bald = self.male, self.bald
        bearded = men if "No_Beard" not in self.given else 1 - self.given["No_Beard"]
        pale = sum(group.pale > 0 for group in GROUPS.values()) / len(GROUPS)
        return {
            "Bald": men,
            "Receding_Hairline": men - bald,
            "Bangs": 1 - bald,
            "Wavy_Hair": 1 - bald,
            "Mustache": bearded,
            "Goatee": bearded,
            "Sideburns": bearded,
            "Pale_Skin": pale,
            "Wearing_Lipstick": 1 - men,
            "Heavy_Makeup": self.given.get("Wearing_Lipstick", 1 - men),
            "Wearing_Necktie": men,
        }

    def get(self, name: str, natural: float) -> float:
        """The share set for ``name``, else ``natural``."""
        return self.given.get(name, natural)

    @property
    def male(self) -> float:
        """The share of men."""
        return self.given.get("Male", 0.5)

    @property
    def bald(self) -> float:
        """The share of bald people over all identities: set, or the mean over men's ages."""
        if "Bald" in self.given:
            return self.given["Bald"]
        young = self.given.get("Young", YOUNG)
        grid = [(i + 0.5) / 64 for i in range(64)]
        mean = young * sum(bald_share(age_at(YOUNG * u)) for u in grid) / 64
        older = sum(bald_share(age_at(YOUNG + (1 - YOUNG) * u)) for u in grid)
        return self.male * (mean + (1 - young) * older / 64)


def score(label: bool, natural: float, u: float) -> float:
    """A standard normal score, above its ``1 - natural`` quantile if ``label``, else below.

    ``u`` is uniform in (0, 1). With labels at their natural share the score is standard normal, so
    a set prevalence changes how many people have an attribute, not what it looks like.
    """
    low, high = (1 - natural, 1.0) if label else (0.0, 1 - natural)
    return NORMAL.inv_cdf(min(max(low + (high - low) * u, 0.004), 0.996))
