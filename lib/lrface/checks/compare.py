"""Compare two runs of one table: which numbers differ, and whether by more than they may."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import pandas as pd


class Tolerance(NamedTuple):
    """How far a number may be off on another machine.

    ``amount`` is in its own unit; ``share`` is of the width of its interval. The larger one holds.
    """

    amount: float
    reason: str
    share: float = 0.0


EXACT = Tolerance(0.0, "counts are exact")
OTHER = "metrics without an entry: 1 %, whole numbers exactly"
TOLERANCE = {
    "psnr": Tolerance(0.02, "dB; another processor rounds single pixels the other way"),
    "val_psnr": Tolerance(0.02, "dB, as psnr"),
    "ssim": Tolerance(5e-4, "as psnr"),
    "consistency": Tolerance(0.05, "dB between small images, in which a rounded pixel weighs more"),
    "dB per decade": Tolerance(0.05, "a slope through values that may each be 0.02 dB off"),
    "tau": Tolerance(0.15, "of six methods, two that are 0.02 dB apart change places once"),
    "alignment": Tolerance(2e-3, "of the eyes' distance; a face more or less is detected", 0.2),
    "landmark_error": Tolerance(2e-3, "as alignment", 0.2),
    "lost": Tolerance(0.01, "share of faces whose landmarks were not found; as alignment", 0.2),
    "detected": Tolerance(0.01, "share of faces found; as alignment"),
    "identity": Tolerance(2e-3, "cosine between vectors of the pretrained network"),
    "identity_frnet": Tolerance(5e-3, "as identity; a small network's vectors differ more"),
    "strangers' median": Tolerance(5e-3, "cosine, as identity"),
    "median cosine of strangers": Tolerance(5e-3, "cosine, as identity"),
    "same": Tolerance(5e-3, "cosine, as identity"),
    "different": Tolerance(5e-3, "cosine, as identity"),
    "stability": Tolerance(5e-3, "cosine, as identity"),
    "blur": Tolerance(5e-3, "share of a spectrum; follows psnr"),
    "accuracy": Tolerance(5e-3, "share of pairs or faces: 30 of 6,000", 0.1),
    "balanced accuracy": Tolerance(0.015, "half a face in a class of 48, and the clusters", 0.1),
    "balanced_accuracy": Tolerance(0.015, "half a face in a class of 48, and the clusters", 0.1),
    "slope": Tolerance(5e-4, "balanced accuracy per point of imbalance", 0.2),
    "gain": Tolerance(0.03, "the difference of two balanced accuracies", 0.1),
    "tpr": Tolerance(0.02, "share; a few of thousands of pairs set the threshold", 0.2),
    "half_width": Tolerance(0.02, "as tpr"),
    "density": Tolerance(0.25, "a bar of a histogram: a cosine may fall into the next one"),
    "stderr": Tolerance(5e-3, "as accuracy"),
    "better": Tolerance(30, "pairs, as accuracy"),
    "worse": Tolerance(30, "pairs, as accuracy"),
    "rank": Tolerance(0.01, "share of probes; near equals in the gallery change places", 0.1),
    "mAP": Tolerance(0.01, "as rank", 0.1),
    "parameters": EXACT,
    "macs": EXACT,
}
"""By metric: the entry of the longest key that begins the metric's name (or
the name of a column of its own). Ends of intervals may be off by twice as much, numbers of a
single face (tables with a column ``face``) by five times."""

NOT_COMPARED = {
    "ms": "a time",
    "seconds": "a time",
    "speed_ratio": "a ratio of times",
    "images_per_second": "a throughput",
    "peak": "memory",
    "device": "a machine",
    "finished": "a date",
    "p (": "a few pairs change a p-value tenfold; the verdict that it decides is compared",
    "x": "coordinates of UMAP have no meaning, only neighbourhoods have",
    "y": "as x",
    "cluster": "k-means numbers its clusters arbitrarily",
    "reason": "words with measured numbers; the verdict that they explain is compared",
    "sha256": "weights trained on another machine differ in their bits; their scores are compared",
}
"""Columns and metrics (or their beginnings) that may differ by any amount."""
LISTS_NOT_COMPARED = {"scores.csv": "the keys of score files depend on the bits of the weights"}

NAMES_A_ROW = {
    *("key", "train_fingerprint", "table", "method", "setting", "metric", "size", "seed"),
    *("step", "k", "frequency", "from", "to", "cosine", "fpr", "margin"),
}
"""Columns that identify a row even where they hold numbers; columns of words do so anyway."""
MEASURED_WORDS = {
    *("verdict", "highest", "lowest", "few", "spec", "degradation", "device", "sha256", "list"),
    *("fingerprint", "lacks", "trivial"),
}
"""Columns of words that are results, and identify no row."""


@dataclass(frozen=True)
class Drift:
    """One difference from what was committed; of a whole file if it has no row and no column."""

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
        before, after = self.committed or "nothing", self.now or "nothing"
        text = f"{where}: {self.column} {before} committed, {after} now"
        if self.off is not None:
            text += f", off by {self.off:.3g}, tolerance {self.tolerance:.3g}"
        return f"{text} ({self.why})"


def read(path: Path | BinaryIO) -> pd.DataFrame:
    """A CSV as text: every cell is a str, an empty one ``""``."""
    return pd.read_csv(path, dtype=str, keep_default_na=False)


def number(text: str) -> float | None:
    """The number in a cell; None if it holds words, nothing, or NaN."""
    try:
        value = float(text.replace(",", ""))
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def tolerance(metric: str) -> Tolerance | None:
    """The entry of ``TOLERANCE`` for a metric, contrast or column; None if :data:`OTHER` holds."""
    keys = [key for key in TOLERANCE if metric.startswith(key)]
    return TOLERANCE[max(keys, key=len)] if keys else None


def _not_compared(name: str) -> bool:
    return any(name == key or (len(key) > 2 and name.startswith(key)) for key in NOT_COMPARED)


def identifying(frame: pd.DataFrame) -> list[str]:
    """The columns of a table (:func:`read`) that identify its rows."""
    chosen = []
    for column in frame:
        filled = (frame[column] != "").any()
        words = filled and not any(number(text) is not None for text in frame[column])
        judged = column == "margin" and "verdict" in frame
        if (words or (column in NAMES_A_ROW and not judged)) and column not in MEASURED_WORDS:
            chosen.append(column)
    return chosen


def indexed(frame: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """The table with its rows' identity as index; rows of one identity are numbered."""
    count = frame.groupby(by, sort=False).cumcount() if by else pd.Series(range(len(frame)))
    # with a second level a row's key is a tuple even where no column identifies it
    numbered = frame.assign(**{"  ": "", " ": count})
    return numbered.set_index([*by, "  ", " "], drop=False)


def row_name(by: list[str], key: tuple) -> str:
    """The identity of a row for people: ``EDSR, 4x, psnr``, or the ``id`` of a finding."""
    if "id" in by:
        return key[by.index("id")]
    context = ("study", "table", "paper", "sentence", "preset")
    named = zip(by, key, strict=False)
    shown = [text for column, text in named if text and column not in context]
    if key[-1] or not shown:
        shown[-1:] = [" ".join([*shown[-1:], f"(number {key[-1] + 1})"])]
    return ", ".join(shown)


RESULT_COLUMNS = (
    *("value", "effect", "low", "high", "seed_sd", "chance", "value_all", "difference"),
    *("null", "null_low", "null_high"),
)
"""Columns that hold a result of the row's metric."""


def _allowed(row: pd.Series, column: str) -> tuple[float, str] | None:
    """How far the number in a column may be off, and why; None if it is not compared."""
    metric = row.get("metric") or row.get("contrast") or ""
    metric = "tau" if row.get("method") == "tau" else metric
    if _not_compared(column) or (metric and _not_compared(metric)):
        return None
    value = number(row[column])
    if column == "published":
        return 0.0, "printed in the paper"
    if column == "n" and metric.startswith(("alignment", "landmark_error", "lost")):
        return max(2.0, 0.02 * (value or 0)), "faces whose landmarks were found"
    entry = tolerance(metric if metric and column in RESULT_COLUMNS else column)
    if entry is None:
        whole = value is not None and value == int(value) and "." not in row[column]
        return (0.0, EXACT.reason) if whole else (0.01 * abs(value or 0), OTHER)
    amount = entry.amount
    low, high = number(row.get("low", "")), number(row.get("high", ""))
    if low is not None and high is not None:
        amount = max(amount, entry.share * (high - low))
    factor = 2 if column in ("low", "high", "chance") else 5 if "face" in row else 1
    return factor * amount, entry.reason


def compare(
    file: str, committed: pd.DataFrame, now: pd.DataFrame, exact: bool = False
) -> list[Drift]:
    """The differences between two tables: rows, columns, words, and numbers beyond tolerance.

    Parameters
    ----------
    file : str
        The name under which they are reported.
    committed, now : DataFrame
        As :func:`read` gives them. The order of rows means nothing.
    exact : bool
        Two states of one file rather than two runs: every number must be the same, times too.
    """
    if not exact and Path(file).name in LISTS_NOT_COMPARED:
        return []
    gone = [column for column in committed if column not in now]
    added = [column for column in now if column not in committed]
    found = [Drift(file, f"the column {column!r} is missing now") for column in gone]
    found += [Drift(file, f"the column {column!r} was added") for column in added]
    both = [column for column in committed if column in now]
    by = [column for column in identifying(committed) if column in both]
    before, after = indexed(committed[both], by), indexed(now[both], by)
    for key in before.index.difference(after.index, sort=False):
        found.append(Drift(file, "this row is missing now", row_name(by, key)))
    for key in after.index.difference(before.index, sort=False):
        found.append(Drift(file, "this row was added", row_name(by, key)))
    shared = before.index.intersection(after.index, sort=False)
    before, after = before.loc[shared], after.loc[shared]
    for column in both:
        for at in (before[column] != after[column]).to_numpy().nonzero()[0]:
            row = row_name(by, shared[at])
            found += _difference(file, row, column, before.iloc[at], after.iloc[at], exact)
    return found


def _difference(
    file: str, row: str, column: str, before: pd.Series, after: pd.Series, exact: bool
) -> list[Drift]:
    """What is wrong with two unequal cells: at most one difference."""
    texts = before[column], after[column]
    values = number(texts[0]), number(texts[1])
    same_file = (0.0, "committed: the file that its record names")
    allowed = same_file if exact else _allowed(before, column)
    if allowed is None:
        return []
    if None in values:
        return [Drift(file, "words and gaps are exact", row, column, *texts)]
    off = abs(values[0] - values[1])
    if off <= allowed[0] * (1 + 1e-9):  # six digits are stored: exactly the tolerance is within it
        return []
    return [Drift(file, allowed[1], row, column, *texts, off, allowed[0])]


class Compared(NamedTuple):
    """Two numbers of one cell, how far apart they are, and how far they may be."""

    row: str
    column: str
    off: float
    allowed: float


def numbers(committed: pd.DataFrame, now: pd.DataFrame) -> Iterator[Compared]:
    """Every number of one table that is compared with another's (:func:`compare`).

    Rows and columns that only one of them has are left out.
    """
    both = [column for column in committed if column in now]
    by = [column for column in identifying(committed) if column in both]
    before, after = indexed(committed[both], by), indexed(now[both], by)
    shared = before.index.intersection(after.index, sort=False)
    before, after = before.loc[shared], after.loc[shared]
    for at, key in enumerate(shared):
        row = before.iloc[at]
        for column in both:
            value = number(row[column])
            allowed = None if value is None else _allowed(row, column)
            if allowed is not None and (other := number(after.iloc[at][column])) is not None:
                yield Compared(row_name(by, key), column, abs(value - other), allowed[0])


def without_sets(sets: Sequence[str], table: pd.DataFrame) -> tuple[pd.DataFrame, int]:
    """The table without the rows that name one of the sets, and the number of those."""
    named = rf"\b(?:{'|'.join(map(re.escape, sets))})\b"
    rows = table.apply(lambda column: column.str.contains(named)).any(axis=1)
    return table[~rows].reset_index(drop=True), int(rows.sum())


def absent_sets(first: dict[str, Any] | None, second: dict[str, Any] | None) -> list[str]:
    """The face sets that the first run had beside its own, and the second had not, by records."""
    before, after = ((made or {}).get("provenance", {}) for made in (first, second))
    states = {name: state for name, state in before.items() if name.startswith("data ")}
    had = [name for name, state in states.items() if state != "absent"]
    return [n.removeprefix("data ") for n in had if after.get(n, "absent") == "absent"]
