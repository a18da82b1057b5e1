"""Verification pairs for a set that comes with none, drawn by a hash of its names."""

from __future__ import annotations

import sys

import pandas as pd

from lrface.data.splits import unit_hash
from lrface.errors import LrfaceError

FOLDS, HALF = 10, 250
"""At most ten folds of 250 genuine, 250 impostor pairs, as YouTube Faces has (Wolf et al. 2011)."""
LEAST = 3
"""Folds at least: curves are drawn with one fold left out, and thresholds chosen on others."""


def made(name: str, table: pd.DataFrame, of_everyone: bool = False) -> pd.DataFrame:
    """LFW-like pairs: of clips where the set has them, else of images.

    Which pairs are drawn depends on the names alone. What was made is printed on stderr.

    Parameters
    ----------
    name : str
        The set's name, for messages.
    table : DataFrame
        One row an image: ``key, identity, split`` and perhaps ``clip``.
    of_everyone : bool
        Use all people. By default only those of the test split, since networks may have been
        trained on the others, unless it holds too few.

    Returns
    -------
    DataFrame
        ``first, second`` (values of ``clip`` or ``key``), ``same``, ``fold`` (from 0) and
        ``protocol``, "made". Folds share no identity and are half genuine, half impostor pairs.
        ``attrs["of_trained"]`` says whether they are of all people for want of people in the test
        split.

    Raises
    ------
    LrfaceError
        Too few people for three folds.
    """
    unit = "clip" if "clip" in table else "key"
    items = table.drop_duplicates(unit).sort_values(unit)
    tested = items if of_everyone else items[items["split"] == "test"]
    about = "all its people" if of_everyone else "the people of its test split"
    if of_trained := not of_everyone and _folds(tested) < LEAST:
        tested = items
        about = (
            "all its people, for its test split has too few: judge nothing by them that was "
            "trained on this set"
        )
    if (folds := _folds(tested)) < LEAST:
        number = (items.groupby("identity").size() > 1).sum()
        what = unit.replace("key", "image")
        raise LrfaceError(
            f"{name} has {number} people with two {what}s or more, and pairs in three folds that "
            "share nobody need six: add some, or use another set"
        )
    # people with many items first, so that dealing them out in turn gives folds of like size
    people = sorted(
        tested.groupby("identity")[unit].agg(list).items(),
        key=lambda one: (-len(one[1]), unit_hash(f"pairs:{one[0]}")),
    )
    by_fold = [[own for _, own in people[fold::folds]] for fold in range(folds)]
    half = min(HALF, *(room for fold in by_fold for room in _room(fold)))
    rows = [
        (*pair, same, fold)
        for fold, members in enumerate(by_fold)
        for same in (True, False)
        for pair in _draw(members, same, half, f"pairs:{fold}:{same}")
    ]
    print(
        f"{name}: pairs made here, not the set's own: {folds} folds of {half} same and {half} "
        f"different, of {about}",
        file=sys.stderr,
    )
    listed = pd.DataFrame(rows, columns=["first", "second", "same", "fold"]).assign(protocol="made")
    listed.attrs["of_trained"] = of_trained
    return listed


def _folds(items: pd.DataFrame) -> int:
    """The largest number of folds that each hold two people with two items."""
    return min(FOLDS, (items.groupby("identity").size() > 1).sum() // 2)


def _room(people: list[list]) -> tuple[int, int]:
    """The number of genuine and of impostor pairs among these people's items."""
    items = sum(map(len, people))
    genuine = sum(len(own) * (len(own) - 1) // 2 for own in people)
    return genuine, items * (items - 1) // 2 - genuine


def _draw(people: list[list], same: bool, number: int, salt: str) -> list[tuple]:
    """``number`` different pairs by a hash, of each person in turn; there must be that many."""
    able = [own for own in people if len(own) > 1] if same else people
    pairs: dict[tuple, None] = {}  # a set that keeps the order
    turn = 0
    while len(pairs) < number:
        one = two = turn % len(able)
        if not same:
            two = (one + 1 + int(unit_hash(f"{salt}:{turn}:who") * (len(able) - 1))) % len(able)
        first, second = (
            able[who][int(unit_hash(f"{salt}:{turn}:{side}") * len(able[who]))]
            for side, who in enumerate((one, two))
        )
        if first != second:
            pairs[min(first, second), max(first, second)] = None
        turn += 1
    return list(pairs)
