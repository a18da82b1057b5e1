"""Two makings of the same table side by side: which numbers differ, by how much, and how much they
may on another machine."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NamedTuple

import pandas as pd


class Tolerance(NamedTuple):
    """How far a number may be off before it is drift: ``amount`` in its own unit, or ``share`` of
    its interval's width, if that is more."""

    amount: float
    reason: str
    share: float = 0.0


EXACT = Tolerance(0.0, "counts are exact")
OTHER = "no metric of its own: one per cent, and what is counted in whole numbers exactly"
TOLERANCE = {
    "psnr": Tolerance(0.02, "dB; another processor's last bits round a pixel up here and there"),
    "val_psnr": Tolerance(0.02, "dB, as psnr"),
    "ssim": Tolerance(5e-4, "as psnr"),
    "consistency": Tolerance(0.05, "dB between small pictures, where a rounded pixel weighs more"),
    "dB per decade": Tolerance(0.05, "a slope through values that may each be 0.02 dB off"),
    "tau": Tolerance(0.15, "ranks: two methods 0.02 dB apart may change places, once among six"),
    "alignment": Tolerance(
        2e-3,
        "of the distance between the eyes; at the edge of being found, a face comes or goes",
        0.2,
    ),
    "landmark_error": Tolerance(2e-3, "as alignment", 0.2),
    "lost": Tolerance(0.01, "share of faces whose landmarks were not found, as alignment", 0.2),
    "detected": Tolerance(0.01, "share of faces found, as alignment"),
    "identity": Tolerance(2e-3, "cosine of the pretrained judge's vectors"),
    "identity_frnet": Tolerance(5e-3, "cosine of a small network's vectors, which differ more"),
    "strangers' median": Tolerance(5e-3, "cosine, as identity"),
    "median cosine of strangers": Tolerance(5e-3, "cosine, as identity"),
    "same": Tolerance(5e-3, "cosine, as identity"),
    "different": Tolerance(5e-3, "cosine, as identity"),
    "stability": Tolerance(5e-3, "cosine, as identity"),
    "blur": Tolerance(5e-3, "share of a spectrum; follows psnr"),
    "accuracy": Tolerance(5e-3, "share of pairs or faces: 30 of 6,000", 0.1),
    "balanced accuracy": Tolerance(
        0.015, "one face of a class of 48, halved, and the clusters that decide it", 0.1
    ),
    "balanced_accuracy": Tolerance(
        0.015, "one face of a class of 48, halved, and the clusters that decide it", 0.1
    ),
    "slope": Tolerance(5e-4, "balanced accuracy per point of imbalance", 0.2),
    "gain": Tolerance(0.03, "the difference of two balanced accuracies", 0.1),
    "tpr": Tolerance(0.02, "share; the threshold is set by a few of thousands of pairs", 0.2),
    "half_width": Tolerance(0.02, "as tpr"),
    "density": Tolerance(0.25, "a histogram's bar; a cosine steps over its edge"),
    "stderr": Tolerance(5e-3, "as accuracy"),
    "better": Tolerance(30, "pairs, as accuracy"),
    "worse": Tolerance(30, "pairs, as accuracy"),
    "rank": Tolerance(0.01, "share of probes; the gallery's order changes among near equals", 0.1),
    "mAP": Tolerance(0.01, "as rank", 0.1),
    "parameters": EXACT,
    "macs": EXACT,
}
"""By metric: the longest key that a metric's name (or a claim's contrast, or a column of its own)
begins with. Interval ends may be off by twice as much, single faces (a column ``face``) by five
times."""

NOT_COMPARED = {
    "ms": "a time",
    "seconds": "a time",
    "images_per_second": "a throughput",
    "peak": "memory",
    "device": "a machine",
    "finished": "a date",
    "p (": "a p-value moves by decades with a few pairs; the claim it decides has a verdict, which is compared",
    "x": "UMAP's coordinates mean nothing but who is near",
    "y": "as x",
    "cluster": "k-means numbers clusters as it likes",
    "sha256": "weights trained on another machine differ in their bits; the scores that they give are compared",
}
LISTS_NOT_COMPARED = {"scores.csv": "it names kept scores by keys that stand on the weights' bits"}

NAMES_A_ROW = {
    *("key", "train_fingerprint", "table", "method", "setting", "metric", "size", "seed"),
    *("step", "k", "frequency", "from", "to", "cosine", "fpr", "margin"),
}
"""Columns that name a row even where they hold numbers, beside every column of words."""
MEASURED_WORDS = {
    "verdict",
    "highest",
    "lowest",
    "few",
    "spec",
    "degradation",
    "device",
    "sha256",
    "list",
    "fingerprint",
}
"""Words that were measured, and name no row."""


@dataclass(frozen=True)
class Drift:
    """One thing that is not as it was committed. ``row`` and ``column`` are empty where the whole
    file is meant."""

    file: str
    why: str
    row: str = ""
    column: str = ""
    committed: str = ""
    now: str = ""
    off: float | None = None
    tolerance: float | None = None

    def __str__(self) -> str:
        where = ": ".join(filter(None, [self.file, self.row]))
        if not self.column:
            return f"{where}: {self.why}"
        text = f"{where}: {self.column} {self.committed or 'nothing'} committed, {self.now or 'nothing'} now"
        if self.off is not None:
            text += f", off by {self.off:.3g}, tolerance {self.tolerance:.3g}"
        return f"{text} ({self.why})"


def read(path: Path | BinaryIO) -> pd.DataFrame:
    """A CSV as the texts it holds: str everywhere, ``""`` for nothing."""
    return pd.read_csv(path, dtype=str, keep_default_na=False)


def number(text: str) -> float | None:
    """The number a text holds, else None (words, nothing, NaN)."""
    try:
        value = float(text.replace(",", ""))
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def tolerance(metric: str) -> Tolerance | None:
    """The entry of ``TOLERANCE`` for a metric, a contrast or a column; None where ``OTHER`` holds."""
    named = [key for key in TOLERANCE if metric.startswith(key)]
    return TOLERANCE[max(named, key=len)] if named else None


def _skipped(name: str) -> bool:
    return any(name == key or (len(key) > 2 and name.startswith(key)) for key in NOT_COMPARED)


def names(frame: pd.DataFrame) -> list[str]:
    """The columns of a table of texts (see :func:`read`) that name its rows."""
    chosen = []
    for column in frame:
        words = (
            not any(number(text) is not None for text in frame[column])
            and (frame[column] != "").any()
        )
        numbers = column in NAMES_A_ROW and not (column == "margin" and "id" in frame)
        if (words or numbers) and column not in MEASURED_WORDS:
            chosen.append(column)
    return chosen


def keyed(frame: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """The table by its rows' names; rows of one name are counted in their order."""
    count = frame.groupby(by, sort=False).cumcount() if by else pd.Series(range(len(frame)))
    return frame.assign(**{" ": count}).set_index([*by, " "], drop=False)


def row_name(by: list[str], key: tuple) -> str:
    """A row's name for people: ``EDSR, 4x, psnr``, or a claim's ``id``."""
    if "id" in by:
        return key[by.index("id")]
    plain = [
        text
        for column, text in zip(by, key, strict=False)
        if text and column not in ("study", "table", "paper", "sentence", "preset")
    ]
    return ", ".join(plain) + (f" (number {key[-1] + 1})" if key[-1] or not plain else "")


def _allowed(row: pd.Series, column: str) -> tuple[float, str] | None:
    """How far off ``row``'s number in ``column`` may be, and why; None if it is not compared."""
    metric = "tau" if row.get("method") == "tau" else row.get("metric") or row.get("contrast") or ""
    if _skipped(column) or (metric and _skipped(metric)):
        return None
    value = number(row[column])
    if column == "published":
        return 0.0, "printed in the paper"
    of_faces = metric.startswith(("alignment", "landmark_error", "lost"))
    if column == "n" and of_faces:
        return max(2.0, 0.02 * (value or 0)), "faces whose landmarks were found"
    measured = (
        column in ("value", "effect", "low", "high", "seed_sd", "chance", "value_all", "difference")
        and metric
    )
    entry = tolerance(metric) if measured else tolerance(column)
    if entry is None:
        exact = value is not None and value == int(value) and "." not in row[column]
        return (0.0, EXACT.reason) if exact else (0.01 * abs(value or 0), OTHER)
    low, high = number(row.get("low", "")), number(row.get("high", ""))
    amount = (
        max(entry.amount, entry.share * (high - low))
        if low is not None and high is not None
        else entry.amount
    )
    amount *= 2 if column in ("low", "high", "chance") else 5 if "face" in row else 1
    return amount, entry.reason


def compare(
    file: str, committed: pd.DataFrame, now: pd.DataFrame, exact: bool = False
) -> list[Drift]:
    """What is not the same in two tables of texts (see :func:`read`): rows, columns, words, numbers
    by more than their tolerance.

    ``exact``: every number that differs is drift, times too: they are two states of one file, not
    two runs.
    """
    if not exact and Path(file).name in LISTS_NOT_COMPARED:
        return []
    found = [
        Drift(file, f"the column {column!r} is missing now")
        for column in committed
        if column not in now
    ]
    found += [
        Drift(file, f"the column {column!r} was added") for column in now if column not in committed
    ]
    both = [column for column in committed if column in now]
    by = [column for column in names(committed) if column in both]
    before, after = keyed(committed[both], by), keyed(now[both], by)
    for key in before.index.difference(after.index, sort=False):
        found.append(Drift(file, "this row is missing now", row_name(by, key)))
    for key in after.index.difference(before.index, sort=False):
        found.append(Drift(file, "this row was added", row_name(by, key)))
    shared = before.index.intersection(after.index, sort=False)
    before, after = before.loc[shared], after.loc[shared]
    for column in both:
        differ = (before[column] != after[column]).to_numpy()
        for at in differ.nonzero()[0]:
            if drift := _differs(
                file, before.iloc[at], after.iloc[at], column, row_name(by, shared[at]), exact
            ):
                found.append(drift)
    return found


def _differs(
    file: str, before: pd.Series, after: pd.Series, column: str, row: str, exact: bool
) -> Drift | None:
    texts, values = (before[column], after[column]), (number(before[column]), number(after[column]))
    allowed = (
        (0.0, "committed: the file that its record names") if exact else _allowed(before, column)
    )
    if allowed is None:
        return None
    if None in values:
        return Drift(file, "words and gaps are exact", row, column, *texts)
    off = abs(values[0] - values[1])
    # a number is kept to six digits, and a difference that is exactly the tolerance is none
    return (
        Drift(file, allowed[1], row, column, *texts, off, allowed[0])
        if off > allowed[0] * (1 + 1e-9)
        else None
    )
