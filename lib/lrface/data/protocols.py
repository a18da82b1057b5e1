"""Verification pairs for a set that comes with none: made from the names alone, and marked so."""

from __future__ import annotations

import sys

import pandas as pd

from lrface.data.splits import unit_hash
from lrface.errors import LrfaceError

FOLDS, HALF = 10, 250
"""At most ten folds of 250 same and 250 different pairs, as YouTube Faces has (Wolf, Hassner and
Maoz 2011)."""


def made(name: str, table: pd.DataFrame, of_everyone: bool = False) -> pd.DataFrame:
    """LFW-like pairs of clips where the set has clips, else of images: ``first, second, same,
    fold`` (from 0), and ``protocol``, "made".

    ``table`` has a row an image: ``key, identity, split`` and perhaps ``clip``; first and second
    are values of ``clip`` or ``key``. Folds share no identity and hold as many pairs of one person
    as of two. Only people of the test split are used, since a network may have been trained on the
    others: all people where ``of_everyone``, or where the test split holds too few. Which pairs are
    drawn depends on the names and nothing else; what was made is said on stderr. Too few people for
    two folds raise :class:`LrfaceError`.
    """
    unit = "clip" if "clip" in table else "key"
    items = table.drop_duplicates(unit).sort_values(unit)
    tested = items if of_everyone else items[items["split"] == "test"]
    about = "all its people" if of_everyone else "the people of its test split"
    if _folds(tested) < 2:
        tested, about = (
            items,
            "all its people, for its test split has too few: judge nothing by them that was trained on this set",
        )
    if (folds := _folds(tested)) < 2:
        raise LrfaceError(
            f"{name} has {(items.groupby('identity').size() > 1).sum()} people with two {unit.replace('key', 'image')}s or more, "
            "and pairs in two folds that share nobody need four: add some, or use another set"
        )
    people = sorted(
        tested.groupby("identity")[unit].agg(list).items(),
        key=lambda one: (-len(one[1]), unit_hash(f"pairs:{one[0]}")),
    )
    dealt = [[own for _, own in people[fold::folds]] for fold in range(folds)]
    half = min(HALF, *(room for fold in dealt for room in _room(fold)))
    rows = [
        (*pair, same, fold)
        for fold, faces in enumerate(dealt)
        for same in (True, False)
        for pair in _draw(faces, same, half, f"pairs:{fold}:{same}")
    ]
    print(
        f"{name}: pairs made here, not the set's own: {folds} folds of {half} same and {half} different, of {about}",
        file=sys.stderr,
    )
    return pd.DataFrame(rows, columns=["first", "second", "same", "fold"]).assign(protocol="made")


def _folds(items: pd.DataFrame) -> int:
    """How many folds can hold two people with two items each: only so is no fold a single person's."""
    return min(FOLDS, (items.groupby("identity").size() > 1).sum() // 2)


def _room(people: list[list]) -> tuple[int, int]:
    """How many pairs of one person, and of two, there are among these people's items."""
    everything, same = sum(map(len, people)), sum(len(own) * (len(own) - 1) // 2 for own in people)
    return same, everything * (everything - 1) // 2 - same


def _draw(people: list[list], same: bool, number: int, salt: str) -> list[tuple]:
    """``number`` different pairs, of each person in turn, by a hash; there must be as many."""
    able = [own for own in people if len(own) > 1] if same else people
    drawn: dict[tuple, None] = {}
    turn = 0
    while len(drawn) < number:
        one = two = turn % len(able)
        if not same:
            two = (one + 1 + int(unit_hash(f"{salt}:{turn}:who") * (len(able) - 1))) % len(able)
        first, second = (
            able[who][int(unit_hash(f"{salt}:{turn}:{side}") * len(able[who]))]
            for side, who in enumerate((one, two))
        )
        if first != second:
            drawn[min(first, second), max(first, second)] = None
        turn += 1
    return list(drawn)
