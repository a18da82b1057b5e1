"""The identity of a person: all that is the same in each picture, drawn from (seed, number) alone.

The group and the gender follow from the number, so that they are balanced; everything else is drawn
from the distributions of :mod:`.groups` and :mod:`.prevalence`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from lrface.data.synthetic import groups
from lrface.data.synthetic.groups import EYE_COLOURS, EYES, GROUPS, HAIR, HAIR_COLOURS, skin_colour
from lrface.data.synthetic.kernel import linear, smoothstep
from lrface.data.synthetic.prevalence import (
    COLOURS,
    NORMAL,
    SCORED,
    YOUNG,
    Prevalence,
    age_at,
    bald_share,
    grey_share,
    receding_share,
    score,
)
from lrface.data.synthetic.shapes import draw_shape
from lrface.data.synthetic.streams import IDENTITY, stream

# fmt: off
COLOUR_LABEL = {
    "black": "Black_Hair", "darkbrown": "Brown_Hair", "brown": "Brown_Hair",
    "lightbrown": "Brown_Hair", "blond": "Blond_Hair", "red": None, "grey": "Gray_Hair",
    "white": "Gray_Hair",
}
HAIRSTYLES = {
    ("male", "straight"): {
        "buzz": 0.12, "short": 0.34, "sidepart": 0.26, "back": 0.14, "long": 0.05, "bun": 0.02,
    },
    ("female", "straight"): {
        "short": 0.06, "sidepart": 0.12, "long": 0.40, "bob": 0.18, "bun": 0.18,
    },
    ("male", "coily"): {"buzz": 0.50, "coils": 0.34, "afro": 0.10},
    ("female", "coily"): {"buzz": 0.12, "coils": 0.24, "afro": 0.28, "bun": 0.26, "ringlets": 0.18},
}
# fmt: on
"""Relative shares of the styles without bangs; ``wavy`` hair has those of ``straight``."""
BANGS = {
    ("male", "straight"): {"fringe": 1.0},
    ("female", "straight"): {"bangs": 0.7, "bobbangs": 0.3},
    ("male", "coily"): {"coilfringe": 1.0},
    ("female", "coily"): {"coilfringe": 1.0},
}


@dataclass(frozen=True)
class Identity:
    """One synthetic person."""

    seed: int
    number: int
    group: str
    gender: str
    """``female`` or ``male``."""
    age: float
    """Years, 18-80."""
    races: tuple[float, float, float]
    """Weights of the model's african, asian and caucasian macros, summing to 1."""
    masculinity: float
    """Weight between the gender macros, 0 female to 1 male."""
    weight: float
    """Weight between the weight macros, -1 lean to 1 heavy."""
    shape: tuple[tuple[str, float], ...]
    """Local morph targets and their weights in [0, 1] (:mod:`.shapes`)."""
    scores: dict[str, float]
    """The standard normal score behind each attribute of ``SCORED``."""
    depth: float
    """Skin depth, 0 palest to 1 deepest."""
    tone: tuple[float, float, float]
    """Linear RGB albedo of the skin."""
    eye_colour: str
    iris: tuple[float, float, float]
    """Linear RGB."""
    hair_colour: str
    hair: tuple[float, float, float]
    """Linear RGB."""
    texture: str
    """``straight``, ``wavy`` or ``coily``."""
    hairstyle: str
    """One of the styles of :mod:`.hair`; ``bald`` may have a wreath."""
    receding: float
    """How far the hairline recedes at the temples, 0 to 1."""
    beard: tuple[str, ...]
    """Any of ``stubble``, ``mustache``, ``goatee``, ``full``."""
    attributes: dict[str, bool]
    """The attributes of a person, without those of a picture."""
    generation: int = 1
    """1: as the embedded set is rendered; 2: skin from maps, a camera like ordinary ones, ..."""


def _pick(u: float, shares: Mapping[str, float] | dict) -> str:
    """The name at quantile ``u`` in [0, 1) of relative shares."""
    total, edge = sum(shares.values()), 0.0
    for name, share in shares.items():
        edge += share / total
        if u < edge:
            return name
    return name


def _hair_colour(
    u: float, v: float, group: groups.Group, age: float, prevalence: Prevalence
) -> str:
    """A hair colour from two uniform numbers: of the label (Black_Hair, ...) and of the shade.

    Labels with a set share have it; the others divide the rest in their natural proportions.
    """
    grey = grey_share(age)
    natural = {name: p * (1 - grey) for name, p in zip(HAIR_COLOURS, group.hair, strict=True)}
    natural |= {"grey": grey * 0.62, "white": grey * 0.38}
    by_label: dict[str | None, dict[str, float]] = {}
    for name, p in natural.items():
        by_label.setdefault(COLOUR_LABEL[name], {})[name] = p + 1e-6
    given = {label: prevalence.given[label] for label in COLOURS if label in prevalence.given}
    free = sum(sum(shades.values()) for label, shades in by_label.items() if label not in given)
    rest = 1 - sum(given.values())
    shares = {
        label: given.get(label, sum(shades.values()) / free * rest)
        for label, shades in by_label.items()
    }
    return _pick(v, by_label[_pick(u, shares)])


def _beard(rng: np.random.Generator, male: bool, prevalence: Prevalence) -> tuple[str, ...]:
    """The kinds of a man's beard: none, stubble, or any of mustache, goatee and full."""
    u = rng.random(4)
    if not male:
        return ()
    given, men = prevalence.given, max(prevalence.male, 1e-9)
    natural = {"Mustache": 0.52, "Goatee": 0.30, "Sideburns": 0.30}  # among men with a beard
    if "No_Beard" in given:
        any_beard = (1 - given["No_Beard"]) / men
    else:  # naturally 46 % of men, or as many as a set share of one kind needs
        any_beard = max([0.46, *(given[name] / men for name in natural if name in given)])
    any_beard = min(any_beard, 1.0)
    if u[0] >= any_beard:
        return ()
    share = {
        name: min(given[name] / men / any_beard, 1.0) if name in given else p
        for name, p in natural.items()
    }
    kinds = zip(("mustache", "goatee", "full"), share.values(), u[1:], strict=True)
    return tuple(kind for kind, p, draw in kinds if draw < p) or ("stubble",)


GENERATIONS = (1, 2)


def identity(
    seed: int, number: int, prevalence: Prevalence | None = None, generation: int = 1
) -> Identity:
    """The person with this number, from 0; depends on seed, number and prevalence alone.

    Parameters
    ----------
    seed, number : int
        Both at least 0.
    prevalence : Prevalence, optional
        By default the natural shares. The set share of one attribute changes that attribute and no
        other random choice.
    generation : {1, 2}
        Which renderer draws the person; who it is (age, group, hair, ...) is the same in both.

    Examples
    --------
    >>> from lrface.data.synthetic import identity
    >>> [identity(0, number).group for number in range(5)]
    ['White', 'Black', 'Asian', 'Latino', 'White']
    """
    prevalence = prevalence or Prevalence()
    given = prevalence.given
    rng = stream(seed, number, IDENTITY, "identity")
    group_name = groups.NAMES[number % len(groups.NAMES)]
    group = GROUPS[group_name]
    # Exactly half of any eight consecutive identities are men, unless a share is set.
    if "Male" in given:
        male = bool(rng.random() < prevalence.male)
    else:
        male = bool(number // len(groups.NAMES) % 2)
    young = bool(rng.random() < prevalence.get("Young", YOUNG))
    u = rng.random()
    age = age_at(YOUNG * u if young else YOUNG + (1 - YOUNG) * u)
    mixture = rng.dirichlet(group.mixing * np.array(group.races) + 0.05)
    scores, labels = {}, {"Male": male, "Young": young}
    for name, natural in SCORED.items():
        labels[name] = bool(rng.random() < prevalence.get(name, natural))
        scores[name] = score(labels[name], natural, rng.random())

    # two of the four groups can have Pale_Skin
    share = min(given["Pale_Skin"] / 0.5, 1.0) if "Pale_Skin" in given else group.pale
    labels["Pale_Skin"] = bool(rng.random() < share * (group.pale > 0))
    u = rng.random()
    if group.pale:
        depth = group.depth[0] - group.depth[1] * score(labels["Pale_Skin"], group.pale, u)
    else:
        depth = group.depth[0] + group.depth[1] * NORMAL.inv_cdf(min(max(u, 0.01), 0.99))
    tone = skin_colour(max(depth, 0.0), group.undertone) * np.exp(rng.normal(0, [0.03, 0.03, 0.05]))
    tone = tone * np.exp(rng.normal() * np.array([0.02, 0.015, -0.07]))  # from golden to pink

    eye_colour = _pick(rng.random(), dict(zip(EYE_COLOURS, group.eyes, strict=True)))
    colour = _hair_colour(rng.random(), rng.random(), group, age, prevalence)
    u = rng.random(8)
    men = max(prevalence.male, 1e-9)
    bald_chance = given["Bald"] / men if "Bald" in given else bald_share(age)
    bald = male and bool(u[0] < bald_chance)
    receding_chance = receding_share(age)
    if "Receding_Hairline" in given:
        receding_chance = given["Receding_Hairline"] / max(men - prevalence.bald, 1e-9)
    receding = male and not bald and bool(u[1] < receding_chance)
    haired = max(1 - prevalence.bald, 1e-9)
    bangs_chance = 0.12 if male else 0.24
    if "Bangs" in given:
        bangs_chance = given["Bangs"] / haired
    bangs = not bald and bool(u[2] < bangs_chance)
    wavy_chance = 0.35 * (1 - group.coily)
    if "Wavy_Hair" in given:
        wavy_chance = given["Wavy_Hair"] / haired
    wavy = not bald and bool(u[3] < wavy_chance)
    coily = not wavy and bool(u[4] < min(group.coily / max(1 - wavy_chance, 1e-9), 1))
    texture = "wavy" if wavy else "coily" if coily else "straight"
    gender = "male" if male else "female"
    catalogue = BANGS if bangs else HAIRSTYLES
    style = "bald" if bald else _pick(u[5], catalogue[gender, "coily" if coily else "straight"])
    beard = _beard(rng, male, prevalence)
    # hairlines of men recede a little with age even where that is not labelled
    unlabelled = (not receding) * male * 0.12 * u[7] * smoothstep(25, 60, age)
    recession = receding * (0.35 + 0.65 * u[6]) + unlabelled

    for label in COLOURS:
        labels[label] = COLOUR_LABEL[colour] == label and not bald
    labels |= {
        "Bald": bald,
        "Receding_Hairline": receding,
        "Bangs": bangs,
        "Wavy_Hair": wavy,
        "Straight_Hair": texture == "straight" and not bald,
    }
    labels |= {
        "No_Beard": not beard,
        "Mustache": "mustache" in beard,
        "Goatee": "goatee" in beard,
        "Sideburns": "full" in beard,
        "5_o_Clock_Shadow": "stubble" in beard,
    }
    masculinity = (0.88 if male else 0.10) + rng.normal() * 0.12
    weight = rng.normal() * 0.28 + 0.28 * max(scores["Chubby"], 0) - 0.12
    iris = linear(EYES[eye_colour]) * np.exp(rng.normal(0, 0.12, 3))
    brightness = np.exp(rng.normal(0, 0.14))
    hair = linear(HAIR[colour]) * brightness * np.exp(rng.normal(0, 0.03, 3))
    return Identity(
        seed=seed,
        number=number,
        group=group_name,
        gender=gender,
        age=float(age),
        races=tuple(float(x) for x in mixture),
        masculinity=float(np.clip(masculinity, 0, 1)),
        weight=float(np.clip(weight, -1, 1)),
        shape=draw_shape(stream(seed, number, IDENTITY, "shape"), scores, male, generation),
        scores=scores,
        depth=float(max(depth, 0.0)),
        tone=tuple(tone.tolist()),
        eye_colour=eye_colour,
        iris=tuple(iris.tolist()),
        hair_colour=colour,
        hair=tuple(hair.tolist()),
        texture=texture,
        hairstyle=style,
        receding=float(recession),
        beard=beard,
        attributes=labels,
        generation=generation,
    )
