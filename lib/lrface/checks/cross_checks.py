"""Second sources: where else the repository states a stored number, and whether it is the same.

A table is stored as CSV, as Markdown and in the executed notebook; the numbers of a figure as its
CSV, and often in a table; a finding's verdict follows from its interval; facts of a network are in
its record; published values are in ``published.csv``.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import subprocess
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import pandas as pd

from lrface.checks.compare import Drift, compare, identifying, indexed, number, read, row_name
from lrface.checks.executed import ExecutedNotebook
from lrface.checks.manifest import published_file
from lrface.files import sha256
from lrface.report import findings, ledger, page

CELL = re.compile(
    r"(?P<value>\S+?)(?: \[(?P<low>\S+), (?P<high>\S+)\])?(?: \((?P<published>\S+)\))?"
)


def against_history(root: Path, name: str, digest: str) -> Iterator[Drift]:
    """How a CSV differs from the one that its record names, if git's history still has that."""
    original = _in_history(root, name, digest) if name.endswith(".csv") else None
    if original is not None:
        yield from compare(name, read(io.BytesIO(original)), read(root / name), exact=True)


def _in_history(root: Path, name: str, digest: str) -> bytes | None:
    """The latest content of a file with this sha256 in git's history; None if there is none."""
    git = ["git", "-C", str(root)]
    log = [*git, "log", "-n", "50", "--format=%H", "--", name]
    try:
        commits = subprocess.run(log, capture_output=True, check=True).stdout.decode().split()
    except (OSError, subprocess.CalledProcessError):
        return None
    for commit in commits:
        show = [*git, "show", f"{commit}:./{name}"]
        content = subprocess.run(show, capture_output=True).stdout
        if hashlib.sha256(content).hexdigest() == digest:
            return content
    return None


def _markdown_table(markdown: str, by: int) -> pd.DataFrame:
    """A Markdown table as text, indexed by its first ``by`` columns, without bold."""
    lines = [line.strip("|") for line in markdown.splitlines() if line.startswith("|")]
    rows = [[cell.strip().replace("**", "") for cell in line.split("|")] for line in lines]
    if len(rows) <= 2:
        return pd.DataFrame()
    return pd.DataFrame(rows[2:], columns=rows[0]).set_index(rows[0][:by])


def _rounds_to(exact: str, shown: str | None) -> bool:
    """Whether a number of a CSV (six digits, hence the second term) rounds to the one shown."""
    value, seen = number(exact), None if shown is None else number(shown)
    if value is None or seen is None:
        return value is None and seen is None
    digits = len(shown.partition(".")[2])
    return abs(seen - value) <= 0.5 * 10.0**-digits + abs(value) * 5e-6 + 1e-12


def markdown_tables(table: Path, file: str) -> Iterator[Drift]:
    """Differences between a long table and the Markdown beside it."""
    frame = read(table)
    try:
        shown = _markdown_table(table.with_suffix(".md").read_text(), 2)
    except (OSError, ValueError, IndexError, KeyError):
        yield Drift(f"{file.removesuffix('.csv')}.md", "it holds no table")
        return
    cells = shown.to_dict("index")
    metrics = {metric for _, metric in cells}
    known = set()
    for row in frame.to_dict("records"):
        setting, metric, method = row["setting"], row["metric"], row["method"]
        named = ", ".join([method, setting, metric])
        known.add((setting, metric, method))
        if metric not in metrics:
            continue  # the Markdown shows only the metrics that the table is about
        texts = cells.get((setting, metric), {})
        if method not in texts:
            yield Drift(file, "this row is not in the Markdown beside it", named)
            continue
        why = "committed: the Markdown beside it"
        cell = CELL.fullmatch(texts[method])
        for column in ("value", "low", "high", "published"):
            text = cell and cell[column]
            if not _rounds_to(row[column], text):
                yield Drift(file, why, named, column, text or "", row[column])
        if row["n"] and row["n"].removesuffix(".0") not in texts["n"].split("/"):
            yield Drift(file, why, named, "n", texts["n"], row["n"])
    for (setting, metric), texts in cells.items():
        for method, text in texts.items():
            if method != "n" and text != "–" and (setting, metric, method) not in known:
                named = ", ".join([method, setting, metric])
                yield Drift(file, "this row of the Markdown beside it is missing", named)


def notebook_tables(notebook: ExecutedNotebook, results: Path, folder: str) -> Iterator[Drift]:
    """Differences between the executed notebook and the study's Markdown files and findings."""
    shown = {text.rstrip("\n") for text in notebook.texts}
    for file in sorted(results.glob("*.md")):
        text, name = file.read_text().rstrip("\n"), f"{folder}/{file.name}"
        if text not in shown:
            other = list(_other_cells(notebook, name, _markdown_table(text, 2)))
            what = "text" if file.stem == "summary" else "table"
            yield from other or [Drift(name, f"{notebook.name} shows no such {what}")]
    if (results / "findings.csv").exists():
        yield from _notebook_findings(notebook, results, f"{folder}/findings.csv")


def _other_cells(notebook: ExecutedNotebook, name: str, stored: pd.DataFrame) -> Iterator[Drift]:
    """Cells in which a stored table differs from a table of the notebook with the same rows."""
    for text in notebook.texts:
        shown = _markdown_table(text, 2) if text.startswith("| setting") else pd.DataFrame()
        if list(shown) != list(stored) or not shown.index.is_unique:
            continue
        if set(shown.index) != set(stored.index):
            continue
        for key in stored.index:
            for column in stored:
                before, now = shown.loc[key, column], stored.loc[key, column]
                if now != before:
                    why = f"committed: {notebook.name}"
                    yield Drift(name, why, ", ".join(key), column, before, now)


def _notebook_findings(notebook: ExecutedNotebook, results: Path, name: str) -> Iterator[Drift]:
    expected = page.of_study(ledger.read(results / "findings.csv"))
    tables = [_markdown_table(text, 1) for text in notebook.texts if text.startswith("| id ")]
    if not tables:
        return
    stored, shown = _markdown_table(expected, 1), tables[-1]
    for one in stored.index.symmetric_difference(shown.index, sort=False):
        yield Drift(name, f"{notebook.name} and the table of findings do not both have it", one)
    for one in stored.index.intersection(shown.index, sort=False):
        for column in shown:
            now, before = stored.loc[one, column], shown.loc[one, column]
            if now != before:
                yield Drift(name, f"committed: {notebook.name}", one, column, before, now)


def figure_tables(figures: Path, results: Path, folder: str) -> Iterator[Drift]:
    """Differences between a figure's CSV and the study's long tables that have the same rows."""
    tables = {file.name: read(file) for file in sorted(results.glob("*.csv"))}
    for file in sorted(figures.glob("*.csv")):
        figure = read(file)
        if not {"method", "setting", "metric", "value"} <= {*figure}:
            continue
        by = [column for column in identifying(figure) if column not in ("study", "table")]
        drawn = indexed(figure, by).to_dict("index")
        for name, frame in tables.items():
            both = "table" in figure and "table" in frame
            same_table = both and set(figure["table"]) & set(frame["table"])
            if not {*by} <= {*frame} or not (same_table or name == file.name):
                continue
            table, why = indexed(frame, by).to_dict("index"), f"committed: {name} of the same study"
            for key in [key for key in drawn if key in table]:
                for column in ("value", "low", "high", "n"):
                    before, now = table[key][column], drawn[key][column]
                    if before != now:
                        row = row_name(by, key)
                        yield Drift(f"{folder}/{file.name}", why, row, column, before, now)


@lru_cache(maxsize=4)
def _published(file: Path, changed: int) -> dict[tuple[str, str, str], set[float]]:
    """The published values of a file; ``changed`` is there for the cache."""
    values: dict[tuple[str, str, str], set[float]] = {}
    for row in pd.read_csv(file).itertuples():
        setting = "" if pd.isna(row.setting) else row.setting
        values.setdefault((row.method, setting, row.metric), set()).add(row.value)
    return values


def published_values(file: str, frame: pd.DataFrame) -> Iterator[Drift]:
    """Published values that ``published.csv`` states otherwise for the method and setting.

    What stands as published beside a contrast is a difference of such values.
    """
    if not {"method", "setting", "metric", "published"} <= {*frame} or "contrast" in frame:
        return
    file_of_all = published_file()
    values = _published(file_of_all, file_of_all.stat().st_mtime_ns)
    for row in frame[frame["published"] != ""].itertuples():
        known = values.get((row.method, row.setting, row.metric), set())
        near = [v for v in known if abs(number(row.published) - v) <= 5e-6 * abs(v)]
        if known and not near:
            why, named = "committed: published.csv", f"{row.method}, {row.setting}, {row.metric}"
            printed = " or ".join(f"{value:g}" for value in sorted(known))
            yield Drift(file, why, named, "published", printed, row.published)


def released_networks(file: str, frame: pd.DataFrame, checkpoints: Path) -> Iterator[Drift]:
    """Differences between a list of networks and their records, and between those and weights."""
    for row in frame.itertuples():
        place, named = checkpoints / row.key, f"{row.method}, {row.setting}, {row.key}"
        if not place.is_dir():  # trained on real faces, or fitted in seconds: not released
            continue
        try:
            record = json.loads((place / "record.json").read_text())
            facts = {name: record[name] for name in ("sha256", "parameters", "val_psnr")}
            facts["n_train"] = record["data"]["n"]
            if sha256(place / "model.safetensors") != record["sha256"]:
                yield Drift(file, "the released weights are not those of their record", named)
        except (OSError, ValueError, KeyError, TypeError):
            yield Drift(file, "the released network or its record is missing or damaged", named)
            continue
        for column, fact in facts.items():
            stated, listed = _as_csv(fact), getattr(row, column)
            if stated != listed:
                yield Drift(file, "committed: the network's record", named, column, stated, listed)


def _as_csv(fact: float | int | str | None) -> str:
    if fact is None or fact != fact:
        return ""
    return f"{fact:.6g}" if isinstance(fact, float) else str(fact)


def verdicts(file: str, rows: pd.DataFrame) -> Iterator[Drift]:
    """Findings or contrasts whose verdict does not follow from their own numbers and reasons."""
    for row in rows.to_dict("records"):
        name = row.get("id") or row["contrast"]
        low, high = (number(row[end]) for end in ("low", "high"))
        allowed = findings.allowed(low, high, number(row["margin"]), bool(row["lacks"]))
        if row["verdict"] not in allowed:
            why = f"{' or '.join(allowed)} is what its interval says: {row['low']} to {row['high']}"
            yield Drift(file, why, name, "verdict", allowed[0], row["verdict"])
        if low is not None and high is not None and low > high:
            why = "its interval ends before it begins"
            yield Drift(file, why, name, "low", row["high"], row["low"])
