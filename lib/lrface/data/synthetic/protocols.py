"""The tests that come with a synthetic set: splits, verification pairs in folds, open-set lists for
1:N search, and their hash."""

from __future__ import annotations

import hashlib

import numpy as np
import pandas as pd

from lrface.data import splits
from lrface.data.synthetic.streams import stream
from lrface.errors import UsageError

PAIRS, FOLDS = 6000, 10
FRACTIONS = {"train": 0.7, "val": 0.05, "test": 0.25}
"""Rendered faces cost nothing to collect, so a quarter of the people is kept for testing: enough
for 6,000 pairs among them."""
RULE = "70/5/25 % of identities by sha256 of 'split:SEED:IDENTITY'"


def split_of(identity: str, seed: int) -> str:
    """``train``, ``val`` or ``test``: depends on the name and the seed alone, so a larger set keeps
    every assignment of a smaller."""
    return str(splits.by_identity(pd.Series([identity]), seed, FRACTIONS).iloc[0])


def _draw_same(
    rng: np.random.Generator, rows: dict[str, np.ndarray], count: int
) -> set[tuple[int, int]]:
    """``count`` different pairs of images of one person, people in turn."""
    room = sum(len(images) * (len(images) - 1) // 2 for images in rows.values())
    if room < count:
        raise UsageError(
            f"{len(rows)} identities hold {room} pairs of the same person, a fold needs {count}: ask for fewer pairs or a larger set"
        )
    pairs: set[tuple[int, int]] = set()
    people = [images for images in rows.values() if len(images) > 1]
    while len(pairs) < count:
        for k in rng.permutation(len(people)):
            if len(pairs) < count:
                a, b = sorted(rng.choice(people[k], 2, replace=False).tolist())
                pairs.add((a, b))
    return pairs


def _draw_different(
    rng: np.random.Generator, cells: list[list[np.ndarray]], count: int
) -> set[tuple[int, int]]:
    """``count`` different pairs of images of two people from one cell (a cell: the people who may
    be compared)."""
    sizes = np.array([[len(images) for images in people] for people in cells], dtype=object)
    room = np.array([(sum(s) ** 2 - sum(n * n for n in s)) // 2 for s in sizes], float)
    if room.sum() < count:
        raise UsageError(
            f"a fold has only {int(room.sum())} pairs of different people to compare, it needs {count}: ask for fewer pairs or a larger set"
        )
    pairs: set[tuple[int, int]] = set()
    while len(pairs) < count:
        people = cells[rng.choice(len(cells), p=room / room.sum())]
        i, j = rng.choice(len(people), 2, replace=False)
        pairs.add(tuple(sorted((int(rng.choice(people[i])), int(rng.choice(people[j]))))))
    return pairs


def verification_pairs(
    table: pd.DataFrame, seed: int = 0, pairs: int = PAIRS, folds: int = FOLDS, hard: bool = False
) -> pd.DataFrame:
    """LFW-like pairs: ``first, second`` (keys), ``same``, ``fold``; half are of one person, folds
    share no identity.

    ``table`` has a row an image with ``key, identity, group, gender``. ``hard``: the different
    people of a pair are of one group and one gender, so what tells them apart is the face. Raises
    :class:`UsageError` if the set is too small for so many different pairs.
    """
    if pairs % (2 * folds):
        raise UsageError(
            f"{pairs} pairs do not divide into {folds} folds of as many same as different pairs"
        )
    rng = stream(seed, int(hard), 0, "pairs")
    people = table.drop_duplicates("identity").sort_values("identity")
    # Deal the people of each group and gender in turn, so every fold holds all of them; but where
    # only people of one group and gender are compared, keep them together, or a fold would hold too
    # few of each.
    shuffled = people.iloc[rng.permutation(len(people))].sort_values(
        ["group", "gender"], kind="stable"
    )
    order = np.arange(len(shuffled))
    fold_of = dict(
        zip(
            shuffled["identity"],
            order * folds // len(order) if hard else order % folds,
            strict=True,
        )
    )
    keys, per_fold = table["key"].to_numpy(), pairs // folds
    parts = []
    for fold in range(folds):
        inside = table.reset_index(drop=True)
        inside = inside[inside["identity"].map(fold_of) == fold]
        rows = {
            name: group.index.to_numpy() for name, group in inside.groupby("identity", sort=True)
        }
        if hard:
            cells = [
                [rows[name] for name in sorted(cell["identity"].unique())]
                for _, cell in inside.groupby(["group", "gender"], sort=True)
            ]
        else:
            cells = [list(rows.values())]
        cells = [cell for cell in cells if len(cell) > 1]
        for same, drawn in (
            (True, _draw_same(rng, rows, per_fold // 2)),
            (False, _draw_different(rng, cells, per_fold // 2)),
        ):
            for a, b in sorted(drawn):
                parts.append((keys[a], keys[b], same, fold))
    return pd.DataFrame(parts, columns=["first", "second", "same", "fold"]).astype(
        {"same": bool, "fold": "int16"}
    )


def identification_lists(
    table: pd.DataFrame, seed: int = 0, test: str = "test", others: tuple[str, ...] = ("val",)
) -> pd.DataFrame:
    """1:N search: ``key, identity, role`` with a row an image.

    ``gallery``: of each test identity the picture nearest to frontal. ``probe``: its other
    pictures. ``distractor``: all pictures of the identities of ``others``, which no probe shows;
    training identities are left out, since a model has seen them.
    """
    at_hand = table[table["split"].isin([test, *others])].copy()
    if not (at_hand["split"] == test).any():
        raise UsageError(
            f"the set has no identity in its {test} split: make more identities, or use another seed"
        )
    at_hand["off"] = at_hand["yaw"].abs() + at_hand["pitch"].abs()
    first = at_hand.sort_values(["identity", "off", "key"]).drop_duplicates("identity")["key"]
    role = np.where(
        at_hand["split"] != test,
        "distractor",
        np.where(at_hand["key"].isin(first), "gallery", "probe"),
    )
    return (
        at_hand.assign(role=role)[["key", "identity", "role"]]
        .sort_values(["role", "key"])
        .reset_index(drop=True)
    )


def table_hash(table: pd.DataFrame) -> str:
    """sha256 over the rows as tab-separated text: the same for the same content, whatever file
    holds it."""
    digest = hashlib.sha256("\t".join(table.columns).encode())
    for row in table.itertuples(index=False, name=None):
        digest.update(("\n" + "\t".join(map(str, row))).encode())
    return digest.hexdigest()
