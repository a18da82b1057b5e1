"""The shape of a face: random weights of the local morph targets, shifted by the attributes.

Weights are Gaussian with standard deviations found by eye: enough to tell people apart, without
caricatures. :mod:`.proportions` then bounds what their sum does.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from lrface.data.synthetic.assets import head
from lrface.data.synthetic.prevalence import NORMAL, SCORED

SPREAD = {"default": 0.32, "wide": 0.42, "asymmetry": 0.14, "outline": 0.24}
"""Standard deviations of the weights; ``outline``: of the seven face forms (oval, round, ...)."""

# fmt: off
_NARROW = {
    "chin-bones": 0.08, "chin-height": 0.15, "chin-jaw-drop": 0.12, "chin-triangle": 0.1,
    "scale-vert": 0.15, "neck-trans": 0.0, "neck-double": 0.0, "measure": 0.0, "head-trans": 0.0,
    "head-age": 0.0, "head-fat": 0.0, "eye-push": 0.0, "mouth-angles": 0.12,
    "mouth-scale-depth": 0.12, "head-angle": 0.15, "neck": 0.15, "lowerlip-ext": 0.15,
    "upperlip-ext": 0.15, "eye-bag": 0.15, "nose-trans": 0.18, "nose-scale-depth": 0.22,
    "cheek-inner": 0.18, "mouth-trans": 0.20, "eye-trans": 0.20, "head-back": 0.20,
    "nose-greek": 0.20, "chin-prognathism": 0.20, "nose-septum": 0.20, "eyebrows-trans": 0.22,
    "eyebrows-angle": 0.12, "nose-hump": 0.22, "nose-curve": 0.22, "chin-prominent": 0.22,
    "forehead": 0.22, "nose-base": 0.22, "nose-nostrils-angle": 0.22, "eye-eyefold": 0.22,
    "eye-height": 0.24, "ear-wing": 0.18, "ear-scale": 0.18,
}
"""Smaller deviations, by part of a target's name (the first that fits counts): targets that soon
make a caricature, or move the whole head."""
_WIDE = (
    "nose-scale-horiz", "nose-width", "mouth-scale-horiz", "eye-scale", "chin-width",
    "head-scale-horiz", "eye-corner", "nose-scale-vert", "nose-volume", "mouth-scale-vert",
    "cheek-bones", "nose-point-width",
)
"""Targets with a larger deviation: they tell people apart without making a caricature."""
# fmt: on
_BY_ATTRIBUTE = {
    "Big_Nose": {
        "nose/nose-scale-horiz": 0.28,
        "nose/nose-volume": 0.24,
        "nose/nose-width3": 0.26,
        "nose/nose-scale-depth": 0.10,
        "nose/nose-flaring": 0.15,
    },
    "Pointy_Nose": {"nose/nose-point-width": -0.35, "nose/nose-scale-depth": 0.14},
    "Big_Lips": {
        "mouth/mouth-lowerlip-volume": 0.32,
        "mouth/mouth-upperlip-volume": 0.32,
        "mouth/mouth-upperlip-height": 0.24,
        "mouth/mouth-lowerlip-height": 0.24,
    },
    "Narrow_Eyes": {
        "eyes/l-eye-height1": -0.28,
        "eyes/l-eye-height2": -0.36,
        "eyes/l-eye-height3": -0.28,
    },
    "High_Cheekbones": {"cheek/l-cheek-bones": 0.36, "cheek/l-cheek-trans": 0.16},
    "Bags_Under_Eyes": {"eyes/l-eye-bag": 0.30},
    "Chubby": {"head/head-fat": 0.36, "cheek/l-cheek-volume": 0.24},
    "Double_Chin": {"neck/neck-double": 0.34},
}
"""What one standard deviation of an attribute's score adds to the weights of targets."""
_SIDEWAYS = ("mouth/mouth-trans", "nose/nose-trans")
"""Pairs of which ``in`` and ``out`` move a part to the side of the face."""
_BIAS = {"eyes/l-eye-scale": 0.22, "eyes/l-eye-height2": 0.05}
"""Added to every face: the mesh's eyes are smaller than those of photographs."""
_NEGATIVE = ("decr", "down", "in", "backward", "compress", "concave")
_POSITIVE = ("incr", "up", "out", "forward", "uncompress", "convex")


def draw_shape(
    rng: np.random.Generator, scores: Mapping[str, float], male: bool, generation: int = 1
) -> tuple[tuple[str, float], ...]:
    """Names and weights in (0, 1] of the local morph targets of a face.

    Gaussian, the right side close to the left, shifted by the attributes' ``scores``. Targets come
    in pairs of opposite ends (``-incr`` and ``-decr``, ...); of a pair only one has a weight.
    """
    template, weights = head(), {}
    shift: dict[str, float] = {}
    for attribute, slopes in _BY_ATTRIBUTE.items():
        for base, slope in slopes.items():
            shift[base] = shift.get(base, 0.0) + slope * scores[attribute]

    def add(base: str, low: str, high: str, weight: float) -> None:
        weight = float(np.clip(weight, -1, 1))
        if weight:
            weights[f"{base}-{high if weight > 0 else low}"] = abs(weight)

    for name in template.targets:
        base, _, end = name.rpartition("-")
        if end not in _NEGATIVE or name.startswith(("asym", "fu/")) or "/r-" in name:
            continue
        high = _POSITIVE[_NEGATIVE.index(end)]
        if f"{base}-{high}" not in template.targets:
            continue
        usual = SPREAD["wide" if any(part in base for part in _WIDE) else "default"]
        spread = next((narrow for part, narrow in _NARROW.items() if part in base), usual)
        if generation > 1 and base in _SIDEWAYS and end == "in":
            spread = 0.04
        own = float(np.clip(rng.normal() * spread, -1.8 * spread, 1.8 * spread))
        weight = own + shift.get(base, 0.0) + _BIAS.get(base, 0.0)
        add(base, end, high, weight)
        tilt = rng.normal() * 0.03
        if "/l-" in base:
            add(base.replace("/l-", "/r-"), end, high, weight + tilt * (weight != 0))
    # the mesh's default neck is as strong as an athlete's
    slim = 0.25 * male + 0.7 * (1 - male) - 0.15 * scores["Chubby"]
    weights["neck/measure-neck-circ-decr"] = float(np.clip(slim, 0, 1))
    weights.pop("neck/measure-neck-circ-incr", None)
    oval = scores["Oval_Face"]
    weights["head/head-oval"] = float(np.clip(0.25 + 0.28 * oval, 0, 0.9))
    forms = ("round", "rectangular", "square", "triangular", "invertedtriangular", "diamond")
    u = rng.random((1 + len(forms), 2))[1:]
    for form, (chance, amount) in zip(forms, u, strict=True):
        if chance < 0.35 and oval < NORMAL.inv_cdf(1 - SCORED["Oval_Face"]):
            weights[f"head/head-{form}"] = SPREAD["outline"] * float(amount)
    for name in template.targets:
        if name.startswith("asym/"):
            chance, amount = rng.random(2)
            if chance < 0.25:
                most = SPREAD["asymmetry"] * float(amount)
                weights[name] = most * (0.4 if "mouth" in name or "eye" in name else 1.0)
    return tuple(sorted(weights.items()))
