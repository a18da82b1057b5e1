"""Second sources: what else in the repository states a committed number, and whether it states the
same one.

A table stands in its CSV, in the Markdown beside it and in the executed notebook; a figure's
numbers in its CSV and often in a table; a claim's verdict follows from its own interval; a
network's facts stand in its record; a published value in ``published.csv``.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import math
import re
import subprocess
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from PIL import Image

from lrface.checks.compare import Drift, compare, keyed, names, number, read, row_name
from lrface.metrics.intervals import Estimate
from lrface.report import published, verdict

CELL = re.compile(
    r"(?P<value>\S+?)(?: \[(?P<low>\S+), (?P<high>\S+)\])?(?: \((?P<published>\S+)\))?"
)
LIKE = 4.0
"""How far two drawings of one figure may be apart (grey levels of 256, mean over a coarse grid).
Those of one run are below 2.2."""


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def in_history(root: Path, name: str, digest: str) -> bytes | None:
    """The content of the file ``name`` with this sha256 from the repository's history, newest
    first; None if git or it is not at hand."""

    def git(*words: str) -> bytes:
        return subprocess.run(
            ["git", "-C", str(root), *words], capture_output=True, check=True
        ).stdout

    try:
        for commit in git("log", "-n", "50", "--format=%H", "--", name).decode().split():
            content = subprocess.run(
                ["git", "-C", str(root), "show", f"{commit}:./{name}"], capture_output=True
            ).stdout
            if hashlib.sha256(content).hexdigest() == digest:
                return content
    except (OSError, subprocess.CalledProcessError):
        pass
    return None


def against_history(root: Path, name: str, digest: str) -> Iterator[Drift]:
    """How a CSV differs from the one that the record names, if the history still has that."""
    original = in_history(root, name, digest) if name.endswith(".csv") else None
    if original is not None:
        yield from compare(name, read(io.BytesIO(original)), read(root / name), exact=True)


def score_files(results: Path, name: str, stated: dict[str, str]) -> Iterator[Drift]:
    """Score files of a study that are not those of its record.

    ``results`` is the study's folder, ``name`` that folder below the root, ``stated`` the record's
    ``scores``: key and sha256. Every key that ``scores.csv`` lists is to be stated, and to have its
    file with that hash in the preset's ``scores`` folder.
    """
    if not (results / "scores.csv").is_file():
        return
    listed = dict.fromkeys(read(results / "scores.csv")["key"].astype(str))
    folder = f"{Path(name).parent.as_posix()}/scores"
    for key in dict.fromkeys([*listed, *stated]):
        file = results.parent / "scores" / f"{key}.parquet"
        if key not in stated:
            yield Drift(f"{name}/scores.csv", "its record states no hash of these scores", key)
        elif key not in listed:
            yield Drift(f"{name}/record.json", "scores.csv does not list these scores", key)
        elif not file.is_file():
            yield Drift(f"{folder}/{key}.parquet", "the record names it, and it is missing")
        elif sha256(file) != stated[key]:
            yield Drift(f"{folder}/{key}.parquet", "not the scores of the record (sha256)")


def unnamed_scores(root: Path) -> Iterator[Drift]:
    """Score files that no record of their preset names."""
    for folder in sorted(root.glob("results/*/*/scores")):
        stated: set[str] = set()
        for record in folder.parent.glob("*/record.json"):
            stated |= set(json.loads(record.read_text()).get("scores", {}))
        for file in sorted(folder.glob("*.parquet")):
            if file.stem not in stated:
                yield Drift(file.relative_to(root).as_posix(), "no record names it")


def _cells(markdown: str, by: int) -> pd.DataFrame:
    """A Markdown table as texts, named by its first ``by`` columns; bold is dropped."""
    lines = [line for line in markdown.splitlines() if line.startswith("|")]
    rows = [
        [cell.strip().replace("**", "") for cell in line.strip("|").split("|")] for line in lines
    ]
    return (
        pd.DataFrame(rows[2:], columns=rows[0]).set_index(rows[0][:by])
        if len(rows) > 2
        else pd.DataFrame()
    )


def _states(text: str | None, exact: str) -> bool:
    """Whether a rounded number for people states the number a CSV holds (to six digits, hence the
    second half digit)."""
    value, shown = number(exact), None if text is None else number(text)
    if value is None or shown is None:
        return value is None and shown is None
    digits = len(text.partition(".")[2])
    return abs(shown - value) <= 0.5 * 10.0**-digits + abs(value) * 5e-6 + 1e-12


def markdown(table: Path, file: str) -> Iterator[Drift]:
    """What the Markdown beside a long table states otherwise than its CSV."""
    frame = read(table)
    try:
        shown = _cells(table.with_suffix(".md").read_text(), 2)
    except (OSError, ValueError, IndexError, KeyError):
        yield Drift(f"{file.removesuffix('.csv')}.md", "it holds no table")
        return
    rows = frame.set_index(["setting", "metric", "method"], drop=False)
    for key, row in rows.iterrows():
        setting, metric, method = key
        named = ", ".join([method, setting, metric])
        if metric not in shown.index.get_level_values(1):
            continue  # a table shows people the metrics it is about
        if (setting, metric) not in shown.index or method not in shown:
            yield Drift(file, "this row is not in the Markdown beside it", named)
            continue
        found = CELL.fullmatch(shown.loc[(setting, metric), method])
        for column in ("value", "low", "high", "published"):
            text = found and found[column]
            if not _states(text, row[column]):
                yield Drift(
                    file,
                    "committed: the Markdown beside it",
                    named,
                    column,
                    text or "",
                    row[column],
                )
        if row["n"] and row["n"].removesuffix(".0") not in (
            counts := shown.loc[(setting, metric), "n"]
        ).split("/"):
            yield Drift(file, "committed: the Markdown beside it", named, "n", counts, row["n"])
    known = set(rows.index)
    for setting, metric in shown.index:
        for method in shown.columns.drop("n"):
            if (
                shown.loc[(setting, metric), method] != "–"
                and (setting, metric, method) not in known
            ):
                yield Drift(
                    file,
                    "this row of the Markdown beside it is missing",
                    ", ".join([method, setting, metric]),
                )


class Executed(NamedTuple):
    """What an executed notebook shows: its Markdown outputs, and its pictures (PNG or JPEG) by
    their figure's name."""

    name: str
    texts: list[str]
    pictures: dict[str, bytes]


def executed(candidates: list[Path], data: str, preset: str) -> Executed | None:
    """The first of these notebooks that shows tables of this data and preset (their footers say
    so)."""
    for path in candidates:
        found = Executed(path.name, [], {})
        try:
            cells = json.loads(path.read_text())["cells"]
        except (OSError, ValueError, KeyError):
            continue
        for output in (output for cell in cells for output in cell.get("outputs", [])):
            shown, mark = output.get("data", {}), output.get("metadata", {}).get("lrface", {})
            if "text/markdown" in shown:
                found.texts.append("".join(shown["text/markdown"]))
            if mark and (picture := shown.get("image/png") or shown.get("image/jpeg")):
                found.pictures[mark["figure"]] = base64.b64decode("".join(picture))
        if any(f"{data} / {preset}, " in text for text in found.texts):
            return found
    return None


def notebook_tables(notebook: Executed, results: Path, folder: str) -> Iterator[Drift]:
    """What the executed notebook shows otherwise than the Markdown tables and the claims of the
    study."""
    texts = notebook.texts
    shown = {text.rstrip("\n") for text in texts}
    for file in sorted(results.glob("*.md")):
        text = file.read_text().rstrip("\n")
        if text in shown:
            continue
        ours = _cells(text, 2)
        apart = []
        for theirs in (_cells(t, 2) for t in texts if t.startswith("| setting")):
            if (
                list(theirs) == list(ours)
                and theirs.index.is_unique
                and set(theirs.index) == set(ours.index)
            ):
                for key, column in ((key, column) for key in ours.index for column in ours):
                    now, seen = ours.loc[key, column], theirs.loc[key, column]
                    if now != seen:
                        apart.append(
                            Drift(
                                f"{folder}/{file.name}",
                                f"committed: {notebook.name}",
                                ", ".join(key),
                                column,
                                seen,
                                now,
                            )
                        )
        yield from apart or [Drift(f"{folder}/{file.name}", f"{notebook.name} shows no such table")]
    file = results / "claims.csv"
    tables = [_cells(text, 1) for text in texts if text.startswith("| id ")]
    if not file.exists() or not tables:
        return
    ours, theirs = read(file).set_index("id"), tables[-1]
    for claim in ours.index.symmetric_difference(theirs.index, sort=False):
        yield Drift(
            f"{folder}/claims.csv",
            f"{notebook.name} and the table of claims do not both have it",
            claim,
        )
    for claim in ours.index.intersection(theirs.index, sort=False):
        for column in ("effect", "low", "high", "n", "verdict"):
            kept, seen = ours.loc[claim, column], theirs.loc[claim, column]
            if kept != seen and not _near(kept, seen):
                yield Drift(
                    f"{folder}/claims.csv", f"committed: {notebook.name}", claim, column, seen, kept
                )


def _near(exact: str, shown: str) -> bool:
    """Whether ``shown`` is ``exact`` to four significant digits."""
    value, seen = number(exact), number(shown)
    if value is None or seen is None:
        return value is None and seen is None and {exact, shown} <= {"", "nan"}
    return value == seen or abs(value - seen) <= 0.51 * 10.0 ** (
        math.floor(math.log10(abs(value or 1))) - 3
    )


def pictures(figures: Path, folder: str, notebook: Executed | None) -> Iterator[Drift]:
    """Figures without their CSV, PNGs that do not open, and PNGs that the executed notebook draws
    otherwise."""
    shown = {
        name: _grey(picture) for name, picture in (notebook.pictures if notebook else {}).items()
    }
    for file in sorted(figures.glob("*.png")):
        name = f"{folder}/{file.name}"
        if not file.with_suffix(".csv").is_file():
            yield Drift(name, "the CSV it was drawn from is missing")
        try:
            with Image.open(file) as picture:
                picture.load()
        except (OSError, SyntaxError, ValueError):
            yield Drift(name, "the PNG does not open")
            continue
        if file.stem in shown:
            # Drawn in fewer dots there. A swapped figure may look much like its own (two grids of
            # faces): then another is nearer.
            apart = {other: _apart(file, seen) for other, seen in shown.items()}
            nearest = min(apart, key=apart.__getitem__)
            if apart[nearest] > LIKE:
                yield Drift(
                    name, f"{notebook.name} shows another picture, and nothing like this one"
                )
            elif nearest != file.stem:
                yield Drift(
                    name, f"{notebook.name} shows another picture: this one is its {nearest}"
                )


def _grey(picture: bytes) -> Image.Image:
    return Image.open(io.BytesIO(picture)).convert("L")


def _apart(file: Path, seen: Image.Image) -> float:
    with Image.open(file) as picture:
        if (
            abs(picture.height * seen.width / picture.width - seen.height) > 1.5
        ):  # pixels: another shape
            return math.inf
        return float(np.abs(_coarse(picture) - _coarse(seen)).mean())


def _coarse(picture: Image.Image) -> np.ndarray:
    size = (64, max(1, 64 * picture.height // picture.width))
    return np.asarray(picture.convert("L").resize(size, Image.Resampling.BOX), np.float64)


def drawn(figures: Path, results: Path, folder: str) -> Iterator[Drift]:
    """What a figure's CSV states otherwise than the long table that has the same rows."""
    tables = {file.name: read(file) for file in sorted(results.glob("*.csv"))}
    for file in sorted(figures.glob("*.csv")):
        figure = read(file)
        if not {"method", "setting", "metric", "value"} <= {*figure}:
            continue
        by = [column for column in names(figure) if column not in ("study", "table")]
        ours = keyed(figure, by)
        for table, frame in tables.items():
            same_table = (
                "table" in figure
                and "table" in frame
                and set(figure["table"]) & set(frame["table"])
            )
            if not {*by} <= {*frame} or not (same_table or table == file.name):
                continue
            theirs = keyed(frame, by)
            for key in ours.index.intersection(theirs.index, sort=False):
                for column in ("value", "low", "high", "n"):
                    kept, seen = theirs.loc[key, column], ours.loc[key, column]
                    if kept != seen:
                        yield Drift(
                            f"{folder}/{file.name}",
                            f"committed: {table} of the same study",
                            row_name(by, key),
                            column,
                            kept,
                            seen,
                        )


@lru_cache(maxsize=1)
def _printed() -> dict[tuple[str, str, str], set[float]]:
    values: dict[tuple[str, str, str], set[float]] = {}
    for row in published().itertuples():
        values.setdefault((row.method, row.setting, row.metric), set()).add(row.value)
    return values


def papers(file: str, frame: pd.DataFrame) -> Iterator[Drift]:
    """Published values that ``published.csv`` does not hold for their method, setting and metric."""
    if not {"method", "setting", "metric", "published"} <= {*frame}:
        return
    for row in frame[frame["published"] != ""].itertuples():
        known = _printed().get((row.method, row.setting, row.metric), set())
        if known and not any(
            abs(number(row.published) - value) <= 5e-6 * abs(value) for value in known
        ):
            printed = " or ".join(f"{value:g}" for value in sorted(known))
            yield Drift(
                file,
                "committed: published.csv",
                f"{row.method}, {row.setting}, {row.metric}",
                "published",
                printed,
                row.published,
            )


def networks(file: str, frame: pd.DataFrame, checkpoints: Path) -> Iterator[Drift]:
    """What a list of trained networks states otherwise than the released networks' own records, and
    weights that are not their record's."""
    for row in frame.itertuples():
        place, named = checkpoints / row.key, f"{row.method}, {row.setting}, {row.key}"
        if (
            not place.is_dir()
        ):  # a network of real faces, or one computed in seconds, is not released
            continue
        try:
            record = json.loads((place / "record.json").read_text())
            facts = {name: record[name] for name in ("sha256", "parameters", "val_psnr")} | {
                "n_train": record["data"]["n"]
            }
            if sha256(place / "model.safetensors") != record["sha256"]:
                yield Drift(file, "the released weights are not those of their record", named)
        except (OSError, ValueError, KeyError, TypeError):
            yield Drift(file, "the released network or its record is missing or damaged", named)
            continue
        for column, fact in facts.items():
            kept = (
                ""
                if fact is None or fact != fact
                else f"{fact:.6g}"
                if isinstance(fact, float)
                else str(fact)
            )
            if kept != getattr(row, column):
                yield Drift(
                    file,
                    "committed: the network's record",
                    named,
                    column,
                    kept,
                    getattr(row, column),
                )


def verdicts(file: str, claims: pd.DataFrame) -> Iterator[Drift]:
    """Claims whose verdict does not follow from their own interval and margin."""
    for row in claims.itertuples():
        numbers = [
            math.nan if (value := number(text)) is None else value
            for text in (row.effect, row.low, row.high)
        ]
        says = verdict(Estimate(*numbers, 0), number(row.margin))
        if says != row.verdict:
            yield Drift(
                file,
                f"{says} is what its interval says: {row.low} to {row.high}",
                row.id,
                "verdict",
                says,
                row.verdict,
            )
        low, high = numbers[1:]
        if not math.isnan(low) and not math.isnan(high) and low > high:
            yield Drift(
                file, "its interval ends before it begins", row.id, "low", row.high, row.low
            )
