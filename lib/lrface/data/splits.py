"""Identity-disjoint splits that depend on nothing but the identity, with a hashed manifest and a
leakage check."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import pandas as pd

from lrface.errors import LrfaceError

FRACTIONS = {"train": 0.85, "val": 0.05, "test": 0.10}


def unit_hash(text: str) -> float:
    """A number in [0, 1) that depends on the text alone: the same on every machine, in any order,
    for any subset."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") / 2**64


def by_identity(
    identity: pd.Series, seed: int = 0, fractions: Mapping[str, float] = FRACTIONS
) -> pd.Series:
    """``train``, ``val`` or ``test`` for each row; all images of an identity fall together (85, 5
    and 10 % of identities)."""

    def assign(name: str) -> str:
        u = unit_hash(f"split:{seed}:{name}")
        for split, fraction in fractions.items():
            u -= fraction
            if u < 0:
                return split
        return "test"

    return identity.map({name: assign(name) for name in identity.unique()})


def manifest(table: pd.DataFrame, rule: str) -> dict:
    """Counts and a sha256 over every (split, identity, key): two tables with one hash hold the same
    images in the same splits."""
    rows = sorted(
        f"{r.split}\t{r.identity}\t{r.key}"
        for r in table[["split", "identity", "key"]].itertuples()
    )
    counts = table.groupby("split", observed=True).agg(
        images=("key", "size"), identities=("identity", "nunique")
    )
    return {
        "rule": rule,
        "sha256": hashlib.sha256("\n".join(rows).encode()).hexdigest(),
        "counts": counts.to_dict("index"),
    }


def check_leakage(train: pd.DataFrame, test: pd.DataFrame, what: str = "training and test") -> None:
    """Raise if an identity, an image or its exact pixels are on both sides. Runs before every
    training."""
    for column, thing in (
        ("identity", "identities"),
        ("key", "images"),
        ("digest", "images with the same pixels"),
    ):
        if column not in train or column not in test:
            continue
        shared = sorted(set(train[column]) & set(test[column]))
        if shared:
            raise LrfaceError(
                f"the {what} images share {len(shared)} {thing} (for example {shared[0]}): "
                "numbers measured on them would be flattered; split by identity, or load both with the same seed"
            )
