"""Splits that share no identity and depend on the identity alone, and the leakage check."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import pandas as pd

from lrface.errors import LrfaceError

FRACTIONS = {"train": 0.85, "val": 0.05, "test": 0.10}


def unit_hash(text: str) -> float:
    """A number in [0, 1) from the sha256 of a text: the same on every machine, in any order."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") / 2**64


def by_identity(
    identity: pd.Series, seed: int = 0, fractions: Mapping[str, float] = FRACTIONS
) -> pd.Series:
    """``train``, ``val`` or ``test`` for each row; all images of an identity get the same.

    ``fractions`` are of the identities: 85, 5 and 10 % by default. An identity's split does not
    depend on which other identities there are.
    """

    def assign(name: str) -> str:
        u = unit_hash(f"split:{seed}:{name}")
        for split, fraction in fractions.items():
            u -= fraction
            if u < 0:
                return split
        return "test"

    return identity.map({name: assign(name) for name in identity.unique()})


def manifest(table: pd.DataFrame, rule: str) -> dict:
    """The rule of a split, its counts, and the sha256 over every (split, identity, key).

    Two tables with the same hash hold the same images in the same splits.
    """
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
    """Check that two tables share no identity, no image and no pixels; runs before every training.

    Parameters
    ----------
    train, test : DataFrame
        Tables of face sets; of the columns ``identity``, ``key`` and ``digest``, those that both
        have are compared.
    what : str
        Names the two in the error message.

    Raises
    ------
    LrfaceError
        They share an identity, a key or a digest.

    Examples
    --------
    >>> from lrface import data
    >>> train, test = (data.load("synthetic", split, 20) for split in ("train", "test"))
    >>> data.check_leakage(train.table, test.table)
    >>> data.check_leakage(train.table, train.table.head(1))  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    lrface.errors.LrfaceError: the training and test images share 1 identities ...
    """
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
                "numbers measured on them would be flattered; split by identity, or load both "
                "with the same seed"
            )
