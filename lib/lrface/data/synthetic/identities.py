"""Who a synthetic person is: everything that stays the same from picture to picture, drawn from
(seed, number) alone."""

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
COLOUR_LABEL = {"black": "Black_Hair", "darkbrown": "Brown_Hair", "brown": "Brown_Hair", "lightbrown": "Brown_Hair", "blond": "Blond_Hair",
                "red": None, "grey": "Gray_Hair", "white": "Gray_Hair"}
# fmt: on
HAIRSTYLES = {
    ("male", "straight"): {
        "buzz": 0.12,
        "short": 0.34,
        "sidepart": 0.26,
        "back": 0.14,
        "long": 0.05,
        "bun": 0.02,
    },
    ("female", "straight"): {
        "short": 0.06,
        "sidepart": 0.12,
        "long": 0.40,
        "bob": 0.18,
        "bun": 0.18,
    },
    ("male", "coily"): {"buzz": 0.50, "coils": 0.34, "afro": 0.10},
    ("female", "coily"): {"buzz": 0.12, "coils": 0.24, "afro": 0.28, "bun": 0.26, "ringlets": 0.18},
}
"""Shares of the styles without bangs; ``wavy`` hair takes those of ``straight``."""
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
    """0 female to 1 male, the weight between the gender macros."""
    weight: float
    """-1 lean to 1 heavy."""
    shape: tuple[tuple[str, float], ...]
    """Morph targets and their weights."""
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
    """One of the styles of :mod:`hair`, or ``bald``."""
    receding: float
    """0 none to 1."""
    beard: tuple[str, ...]
    """Any of ``stubble``, ``mustache``, ``goatee``, ``full``."""
    attributes: dict[str, bool]
    """The attributes of a person (not of a picture)."""


def _pick(u: float, shares: Mapping[str, float] | dict) -> str:
    total, edge = sum(shares.values()), 0.0
    for name, share in shares.items():
        edge += share / total
        if u < edge:
            return name
    return name


def _hair_colour(
    u: float, v: float, group: groups.Group, age: float, prevalence: Prevalence
) -> str:
    """One draw over colours: labels with a given share keep it, the others share the rest as nature
    has it."""
    grey = grey_share(age)
    natural = {name: p * (1 - grey) for name, p in zip(HAIR_COLOURS, group.hair, strict=True)}
    natural |= {"grey": grey * 0.62, "white": grey * 0.38}
    by_label: dict[str | None, dict[str, float]] = {}
    for name, p in natural.items():
        by_label.setdefault(COLOUR_LABEL[name], {})[name] = p + 1e-6
    given = {label: prevalence[label] for label in COLOURS if label in prevalence.given}
    free = sum(sum(shades.values()) for label, shades in by_label.items() if label not in given)
    rest = 1 - sum(given.values())
    shares = {
        label: given.get(label, sum(shades.values()) / free * rest)
        for label, shades in by_label.items()
    }
    return _pick(v, by_label[_pick(u, shares)])


def _beard(rng: np.random.Generator, male: bool, prevalence: Prevalence) -> tuple[str, ...]:
    u = rng.random(4)
    if not male:
        return ()
    men = max(prevalence.male, 1e-9)
    named = [
        prevalence.given[n] / men
        for n in ("Mustache", "Goatee", "Sideburns")
        if n in prevalence.given
    ]
    any_beard = min(
        (1 - prevalence["No_Beard"]) / men
        if "No_Beard" in prevalence.given
        else max([0.46, *named]),
        1.0,
    )
    if u[0] >= any_beard:
        return ()
    natural = {"Mustache": 0.52, "Goatee": 0.30, "Sideburns": 0.30}
    share = {
        n: min(prevalence.given[n] / men / any_beard, 1.0) if n in prevalence.given else p
        for n, p in natural.items()
    }
    kinds = [
        kind
        for kind, n, draw in zip(("mustache", "goatee", "full"), share, u[1:], strict=True)
        if draw < share[n]
    ]
    return tuple(kinds) or ("stubble",)


def identity(seed: int, number: int, prevalence: Prevalence | None = None) -> Identity:
    """The person with this number (from 0): the same for the same seed and prevalence, whoever else
    is drawn."""
    prevalence = prevalence or Prevalence()
    rng = stream(seed, number, IDENTITY, "identity")
    group_name = groups.NAMES[number % len(groups.NAMES)]
    group = GROUPS[group_name]
    # Exactly half of any eight consecutive identities are men unless a share is given.
    male = (
        bool(rng.random() < prevalence.male)
        if "Male" in prevalence.given
        else bool(number // len(groups.NAMES) % 2)
    )
    young = bool(rng.random() < prevalence.get("Young", YOUNG))
    u = rng.random()
    age = age_at(YOUNG * u if young else YOUNG + (1 - YOUNG) * u)
    mixture = rng.dirichlet(group.mixing * np.array(group.races) + 0.05)
    scores, labels = {}, {"Male": male, "Young": young}
    for name, natural in SCORED.items():
        labels[name] = bool(rng.random() < prevalence.get(name, natural))
        scores[name] = score(labels[name], natural, rng.random())

    share = (
        min(prevalence["Pale_Skin"] / 0.5, 1.0) if "Pale_Skin" in prevalence.given else group.pale
    )
    labels["Pale_Skin"] = bool(rng.random() < share * (group.pale > 0))
    u = rng.random()
    if group.pale:
        depth = group.depth[0] - group.depth[1] * score(labels["Pale_Skin"], group.pale, u)
    else:
        depth = group.depth[0] + group.depth[1] * NORMAL.inv_cdf(min(max(u, 0.01), 0.99))
    tone = skin_colour(max(depth, 0.0), group.undertone) * np.exp(rng.normal(0, [0.03, 0.03, 0.05]))
    tone = tone * np.exp(rng.normal() * np.array([0.02, 0.015, -0.07]))  # golden or pink

    eye_colour = _pick(rng.random(), dict(zip(EYE_COLOURS, group.eyes, strict=True)))
    colour = _hair_colour(rng.random(), rng.random(), group, age, prevalence)
    u = rng.random(8)
    men = max(prevalence.male, 1e-9)
    bald = male and bool(
        u[0] < (prevalence["Bald"] / men if "Bald" in prevalence.given else bald_share(age))
    )
    if "Receding_Hairline" in prevalence.given:
        receding_chance = prevalence["Receding_Hairline"] / max(
            men - prevalence.mean_over_age("Bald"), 1e-9
        )
    else:
        receding_chance = receding_share(age)
    receding = male and not bald and bool(u[1] < receding_chance)
    haired = max(1 - prevalence.mean_over_age("Bald"), 1e-9)
    bangs = not bald and bool(
        u[2]
        < (
            prevalence["Bangs"] / haired
            if "Bangs" in prevalence.given
            else (0.12 if male else 0.24)
        )
    )
    wavy_chance = (
        prevalence["Wavy_Hair"] / haired
        if "Wavy_Hair" in prevalence.given
        else 0.35 * (1 - group.coily)
    )
    wavy = not bald and bool(u[3] < wavy_chance)
    coily = not wavy and bool(u[4] < min(group.coily / max(1 - wavy_chance, 1e-9), 1))
    texture = "wavy" if wavy else "coily" if coily else "straight"
    gender = "male" if male else "female"
    catalogue = BANGS if bangs else HAIRSTYLES
    style = "bald" if bald else _pick(u[5], catalogue[gender, "coily" if coily else "straight"])
    beard = _beard(rng, male, prevalence)

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
    return Identity(
        seed=seed,
        number=number,
        group=group_name,
        gender=gender,
        age=float(age),
        races=tuple(float(x) for x in mixture),
        masculinity=float(np.clip((0.88 if male else 0.10) + rng.normal() * 0.12, 0, 1)),
        weight=float(np.clip(rng.normal() * 0.28 + 0.28 * max(scores["Chubby"], 0) - 0.12, -1, 1)),
        shape=draw_shape(stream(seed, number, IDENTITY, "shape"), scores, male),
        scores=scores,
        depth=float(max(depth, 0.0)),
        tone=tuple(tone.tolist()),
        eye_colour=eye_colour,
        iris=tuple((linear(EYES[eye_colour]) * np.exp(rng.normal(0, 0.12, 3))).tolist()),
        hair_colour=colour,
        hair=tuple(
            (
                linear(HAIR[colour]) * np.exp(rng.normal(0, 0.14)) * np.exp(rng.normal(0, 0.03, 3))
            ).tolist()
        ),
        texture=texture,
        hairstyle=style,
        receding=float(
            receding * (0.35 + 0.65 * u[6])
            + (not receding) * male * 0.12 * u[7] * smoothstep(25, 60, age)
        ),
        beard=beard,
        attributes=labels,
    )
