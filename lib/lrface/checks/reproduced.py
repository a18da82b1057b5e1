"""Does a run agree with the committed reference? What ``lrface reproduce`` says at its end."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from lrface.checks.compare import (
    LISTS_NOT_COMPARED,
    Compared,
    Drift,
    absent_sets,
    compare,
    numbers,
    read,
    without_sets,
)
from lrface.files import KINDS, project_root


@dataclass(frozen=True)
class Agreement:
    """How the tables of a study compare with those of the reference."""

    study: str
    count: int
    """Numbers that were compared."""
    largest: Compared | None
    """That which is farthest off, by its tolerance."""
    drifts: list[Drift]
    """What is beyond tolerance, or there on one side only."""
    left_out: str = ""
    """What is not compared: rows on face sets that the reference had, and this run had not."""

    def __str__(self) -> str:
        words = _words(self.largest, self.drifts)
        return f"  {self.study}: {self.count:,} numbers, {words}{self.left_out}"


def study(results: Path, figures: Path) -> Agreement | None:
    """Compare the results of a study, which has just run, with those of the reference.

    Parameters
    ----------
    results, figures : Path
        Its folders, whose last parts are the data set, the preset and the study.

    Returns
    -------
    Agreement or None
        None if the reference has no such results, or these are they.
    """
    count, largest, drifts = 0, None, []
    inside = Path(*results.parts[-3:])
    reference = {kind: project_root() / kind / inside for kind in KINDS}
    record = reference["results"] / "record.json"
    if not record.is_file() or results == reference["results"]:
        return None
    records = (json.loads(f.read_text()) for f in (record, results / "record.json"))
    absent, dropped = absent_sets(*records), 0
    for kind, folder in zip(KINDS, (results, figures), strict=True):
        for file in sorted(reference[kind].glob("*.csv")):
            name = f"{kind}/{inside.as_posix()}/{file.name}"
            if file.name in LISTS_NOT_COMPARED:
                continue
            if not (folder / file.name).is_file():
                if absent and without_sets(absent, read(file))[0].empty:
                    continue
                drifts.append(Drift(name, "this table is missing now"))
                continue
            committed, now = read(file), read(folder / file.name)
            if absent:
                committed, rows = without_sets(absent, committed)
                now, dropped = without_sets(absent, now)[0], dropped + rows
            drifts += compare(name, committed, now)
            for one in numbers(committed, now):
                count += 1
                if largest is None or _share(one) > _share(largest):
                    largest = one
    left_out = f"; {dropped} rows on {', '.join(absent)} left out: not at hand" if dropped else ""
    return Agreement(inside.name, count, largest, drifts, left_out)


def lines(found: Iterable[Agreement | None]) -> list[str]:
    """A line for all studies that have a reference, and one for each."""
    known = [one for one in found if one is not None]
    if not known:
        return []
    several = [one.largest for one in known if one.largest]
    largest = max(several, key=_share, default=None)
    drifts = [drift for one in known for drift in one.drifts]
    whole = f"reproduced: {sum(one.count for one in known):,} numbers, {_words(largest, drifts)}"
    return [whole, *map(str, known), *(f"  {drift}" for drift in drifts[:20])]


def _share(one: Compared) -> float:
    return one.off / one.allowed if one.allowed else (float("inf") if one.off else 0.0)


def _words(largest: Compared | None, drifts: list[Drift]) -> str:
    off = "no difference"
    if largest is not None and largest.off:
        off = f"largest difference {largest.off:.3g} (of {largest.allowed:.3g} that "
        off += f"{largest.row}, {largest.column} may be off)"
    return f"{off}, {len(drifts)} beyond tolerance"
