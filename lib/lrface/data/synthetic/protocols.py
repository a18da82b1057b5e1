"""The protocols of a rendered set: splits, verification pairs, and the lists of a 1:N search."""

from __future__ import annotations

import hashlib

import numpy as np
import pandas as pd

from lrface.data import splits
from lrface.data.synthetic.streams import stream
from lrface.errors import UsageError

PAIRS, FOLDS = 6000, 10
FRACTIONS = {"train": 0.7, "val": 0.05, "test": 0.25}
"""Shares of the identities; a quarter of the people is enough for 6,000 test pairs."""
RULE = "70/5/25 % of identities by sha256 of 'split:SEED:IDENTITY'"


def split_of(identity: str, seed: int) -> str:
    """``train``, ``val`` or ``test``, by name and seed alone, whatever the size of the set."""
    return str(splits.by_identity(pd.Series([identity]), seed, FRACTIONS).iloc[0])


def _draw_same(
    rng: np.random.Generator, rows: dict[str, np.ndarray], count: int
) -> set[tuple[int, int]]:
    """``count`` different genuine pairs as row numbers, of all people in turn."""
    room = sum(len(images) * (len(images) - 1) // 2 for images in rows.values())
    if room < count:
        raise UsageError(
            f"{len(rows)} identities hold {room} pairs of the same person, a fold needs {count}: "
            "ask for fewer pairs or a larger set"
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
    """``count`` different impostor pairs as row numbers, each of two people of the same cell.

    A cell holds the images of people who may be compared with one another.
    """
    sizes = np.array([[len(images) for images in people] for people in cells], dtype=object)
    room = np.array([(sum(s) ** 2 - sum(n * n for n in s)) // 2 for s in sizes], float)
    if room.sum() < count:
        raise UsageError(
            f"a fold has only {int(room.sum())} pairs of different people to compare, it needs "
            f"{count}: ask for fewer pairs or a larger set"
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
    """LFW-like pairs: half genuine, half impostor; folds share no identity.

    Parameters
    ----------
    table : DataFrame
        One row an image: ``key, identity, group, gender``.
    seed, pairs, folds : int
    hard : bool
        The two people of an impostor pair have the same group and gender.

    Returns
    -------
    DataFrame
        ``first, second`` (keys), ``same``, ``fold`` (from 0).

    Raises
    ------
    UsageError
        The set is too small for that many different pairs, or they do not divide into the folds.
    """
    if pairs % (2 * folds):
        raise UsageError(
            f"{pairs} pairs do not divide into {folds} folds of as many same as different pairs"
        )
    rng = stream(seed, int(hard), 0, "pairs")
    people = table.drop_duplicates("identity").sort_values("identity")
    # Every fold gets people of each group and gender, in turn. For hard pairs a fold gets people of
    # as few groups and genders as possible, or there would be too few of each to compare.
    shuffled = people.iloc[rng.permutation(len(people))]
    shuffled = shuffled.sort_values(["group", "gender"], kind="stable")
    order = np.arange(len(shuffled))
    number = order * folds // len(order) if hard else order % folds
    fold_of = dict(zip(shuffled["identity"], number, strict=True))
    keys, per_fold = table["key"].to_numpy(), pairs // folds
    parts = []
    for fold in range(folds):
        inside = table.reset_index(drop=True)
        inside = inside[inside["identity"].map(fold_of) == fold]
        by_identity = inside.groupby("identity", sort=True)
        rows = {name: group.index.to_numpy() for name, group in by_identity}
        if hard:
            cells = [
                [rows[name] for name in sorted(cell["identity"].unique())]
                for _, cell in inside.groupby(["group", "gender"], sort=True)
            ]
        else:
            cells = [list(rows.values())]
        cells = [cell for cell in cells if len(cell) > 1]
        genuine = _draw_same(rng, rows, per_fold // 2)
        impostors = _draw_different(rng, cells, per_fold // 2)
        for same, drawn in ((True, genuine), (False, impostors)):
            for a, b in sorted(drawn):
                parts.append((keys[a], keys[b], same, fold))
    found = pd.DataFrame(parts, columns=["first", "second", "same", "fold"])
    return found.astype({"same": bool, "fold": "int16"})


def identification_lists(
    table: pd.DataFrame, seed: int = 0, test: str = "test", others: tuple[str, ...] = ("val",)
) -> pd.DataFrame:
    """The lists of a 1:N search: ``key, identity, role``, one row an image.

    ``gallery``: the most frontal picture of each test identity. ``probe``: its other pictures.
    ``distractor``: all pictures of the identities of the splits ``others``, who are no probes;
    training identities are not used, since networks are trained on them.
    """
    at_hand = table[table["split"].isin([test, *others])].copy()
    if not (at_hand["split"] == test).any():
        raise UsageError(
            f"the set has no identity in its {test} split: "
            "make more identities, or use another seed"
        )
    at_hand["off"] = at_hand["yaw"].abs() + at_hand["pitch"].abs()
    first = at_hand.sort_values(["identity", "off", "key"]).drop_duplicates("identity")["key"]
    role = np.where(at_hand["key"].isin(first), "gallery", "probe")
    role = np.where(at_hand["split"] != test, "distractor", role)
    lists = at_hand.assign(role=role)[["key", "identity", "role"]]
    return lists.sort_values(["role", "key"]).reset_index(drop=True)


def table_hash(table: pd.DataFrame) -> str:
    """sha256 over the rows as tab-separated text, whatever file holds them."""
    digest = hashlib.sha256("\t".join(table.columns).encode())
    for row in table.itertuples(index=False, name=None):
        digest.update(("\n" + "\t".join(map(str, row))).encode())
    return digest.hexdigest()
