"""``lrface report DATA``: everything that was measured on one face set, as one HTML file.

Beside each number of the user's stand the one that the paper prints and those that are committed of
other sets. Figures lie in the file; it loads nothing and runs no script. A template with automatic
escaping (``own_report.html``) makes it.
"""

from __future__ import annotations

import base64
import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markdown_it import MarkdownIt
from markupsafe import Markup
from PIL import Image

from lrface.checks.compare import identifying, indexed, number, read
from lrface.errors import LrfaceError, UsageError
from lrface.files import clock, output_folder, project_root, slug, write_text
from lrface.report import ledger
from lrface.report.page import shown
from lrface.report.tables import DIGITS
from lrface.site.answers import interval, verdict

NUMBERS = {"method", "setting", "metric", "value"}
"""Columns of a table that has a number a row; others are shown as they are."""
LISTED = ("findings", "contrasts", "scores")
"""Tables that are not shown as such: findings stand at the top, the others name files."""
ROWS = 400
"""Rows of a table that the page shows."""


@dataclass(frozen=True)
class Measured:
    """What one study left behind on one set at one preset."""

    results: Path
    figures: Path

    @property
    def preset(self) -> str:
        return self.results.parent.name

    @property
    def study(self) -> str:
        """The notebook's name, without the digits of a run with other parameters."""
        return self.results.name.partition("@")[0]

    @property
    def title(self) -> str:
        own = self.results.name.partition("@")[2]
        words = self.study.replace("_", " ")
        return f"{words}, {self.preset}" + (f", other parameters ({own})" if own else "")

    def record(self) -> dict[str, Any]:
        """Its ``record.json``; empty if that is missing or damaged."""
        try:
            return dict(json.loads((self.results / "record.json").read_text(encoding="utf-8")))
        except (OSError, ValueError):
            return {}


def write(data: str, target: Path | None = None) -> Path:
    """Write the report on a face set.

    Parameters
    ----------
    data : str
        The set, as ``reproduce --data`` takes it, or the name of its folder in the results.
    target : Path, optional
        Default: ``report.html`` beside the set's results.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    UsageError
        Nothing was measured on this set yet.
    LrfaceError
        The file cannot be written.

    Examples
    --------
    >>> write("folder:nobody")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    lrface.errors.UsageError: nothing was measured on folder:nobody yet: run `lrface reproduce ...
    """
    name = slug(data)
    target = target or output_folder("results") / name / "report.html"
    return write_text(target, page(data, measured(data)))


def measured(data: str) -> list[Measured]:
    """What the studies measured on a set, large presets first; raises as :func:`write` does."""
    results, figures = (output_folder(kind) for kind in ("results", "figures"))
    found = [
        Measured(folder, figures / folder.relative_to(results))
        for folder in sorted(results.glob(f"{slug(data)}/*/[0-9][0-9]_*"))
        if any(folder.glob("*.csv"))
    ]
    if not found:
        others = sorted({folder.parts[-3] for folder in results.glob("*/*/[0-9][0-9]_*")})
        there = f"; there is something on {', '.join(others)}" if others else ""
        raise UsageError(
            f"nothing was measured on {data} yet: run `lrface reproduce --data "
            f"{shlex.quote(data)}` first ({results} holds nothing on it{there})"
        )
    order = {preset: place for place, preset in enumerate(reversed(ledger.PRESETS))}
    return sorted(found, key=lambda one: (order.get(one.preset, 0), one.results.name))


def page(data: str, found: list[Measured]) -> str:
    """The report as HTML.

    Parameters
    ----------
    data : str
        The set's name, as the user gave it.
    found : list of Measured
        From :func:`measured`.
    """
    smoke = [one.title for one in found if one.preset == "smoke"]
    studies = [_study(one) for one in found]
    return rendered(data, studies, _findings(found), _committed_sets(), smoke)


def rendered(
    data: str,
    studies: list[dict[str, Any]],
    findings: list[dict[str, Any]],
    sets: list[str],
    smoke: list[str],
) -> str:
    """The template, filled in; every text in it is escaped."""
    template = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
    ).get_template("own_report.html")
    shown = {"studies": studies, "findings": findings, "sets": sets, "smoke": smoke}
    return template.render(data=data, **shown)


def _study(one: Measured) -> dict[str, Any]:
    """What the template shows of a study."""
    numbers, rest = [], []
    for file in sorted(one.results.glob("*.csv")):
        if file.stem in LISTED:
            continue
        frame = _read(file)
        if set(frame) >= NUMBERS:
            numbers.append(_beside(file, frame, one))
        else:
            rest.append(_plain(file, frame))
    summary = one.results / "summary.md"
    text = summary.read_text(encoding="utf-8") if summary.is_file() else ""
    return {
        "id": re.sub(r"\W+", "-", f"{one.preset}-{one.results.name}"),
        "title": one.title,
        "summary": Markup(MarkdownIt("commonmark", {"html": False}).render(text)),
        "numbers": numbers,
        "rest": rest,
        "figures": list(_figures(one)),
        "record": _record(one, text),
        "failed": (one.results / "failed.ipynb").is_file(),
    }


def _read(file: Path) -> pd.DataFrame:
    try:
        return read(file)
    except (OSError, ValueError) as error:  # pandas' parsing errors are ValueErrors
        raise LrfaceError(f"{file} is no table ({error}): run its study again") from None


def _committed(one: Measured, name: str) -> Iterator[tuple[str, pd.DataFrame]]:
    """The tables of this name that are committed of the study: set (and preset) -> table."""
    root = project_root() / "results"
    for folder in sorted({file.parents[2] for file in root.glob(f"*/*/{one.study}/{name}")}):
        at_hand = [preset.name for preset in folder.iterdir() if (preset / one.study).is_dir()]
        preset = one.preset if one.preset in at_hand else max(at_hand, key=_rank)
        file = folder / preset / one.study / name
        if file.is_file() and file.parent != one.results:
            yield f"{folder.name}{'' if preset == one.preset else f' ({preset})'}", _read(file)


def _rank(preset: str) -> int:
    return ledger.PRESETS.index(preset) if preset in ledger.PRESETS else -1


def _beside(file: Path, own: pd.DataFrame, one: Measured) -> dict[str, Any]:
    """A table of numbers with the published and the committed ones beside the user's."""
    words = identifying(own)
    varied = [c for c in words if own[c].nunique() > 1 or c in ("method", "setting", "metric")]
    columns = {name: own[name].tolist() for name in varied}
    if "published" in own and (own["published"] != "").any():
        columns["published"] = _numbers(own["published"], own["metric"])
    for label, committed in _committed(one, file.name):
        if not set(committed) >= NUMBERS:
            continue
        by = [name for name in words if name in committed]
        values = indexed(committed, by)["value"].reindex(indexed(own, by).index).fillna("")
        if (values != "").any():
            columns[label] = _numbers(values, own["metric"])
    columns["yours"] = [_interval(row) for _, row in own.iterrows()]
    if "n" in own:
        columns["n"] = [_number(text, "parameters") for text in own["n"]]
    return _shown(file, pd.DataFrame(columns), mine="yours")


def _plain(file: Path, frame: pd.DataFrame) -> dict[str, Any]:
    return _shown(file, frame, mine="")


def _shown(file: Path, frame: pd.DataFrame, mine: str) -> dict[str, Any]:
    return {
        "name": file.stem.replace("_", " "),
        "file": file.name,
        "columns": list(frame),
        "rows": frame.head(ROWS).to_numpy().tolist(),
        "more": max(0, len(frame) - ROWS),
        "mine": mine,
    }


def _number(text: str, metric: str) -> str:
    """A number of a CSV in the digits of its metric; words as they are."""
    value = number(text)
    return text if value is None else f"{value:,.{DIGITS.get(metric, 4)}f}"


def _numbers(values: pd.Series, metrics: pd.Series) -> list[str]:
    return [_number(*pair) for pair in zip(values, metrics, strict=True)]


def _interval(row: pd.Series) -> str:
    low, high = (_number(row.get(end, ""), row["metric"]) for end in ("low", "high"))
    value = _number(row["value"], row["metric"]) or "–"
    return f"{value} [{low}, {high}]" if low and high else value


def _figures(one: Measured) -> Iterator[dict[str, str]]:
    """The figures of a study as data addresses, with the words that say what they show."""
    for file in sorted(one.figures.glob("*.png")):
        try:
            with Image.open(file) as picture:
                picture.load()  # text behind the pixels
                alt, (width, height) = getattr(picture, "text", {}).get("Description"), picture.size
        except (OSError, SyntaxError) as error:
            raise LrfaceError(f"{file} is no picture ({error}): run its study again") from None
        content = base64.b64encode(file.read_bytes()).decode()
        yield {
            "name": file.stem.replace("_", " "),
            "alt": alt or f"Figure: {file.stem.replace('_', ' ')}",
            "source": f"data:image/png;base64,{content}",
            "width": str(width),
            "height": str(height),
        }


def _record(one: Measured, summary: str) -> dict[str, str]:
    """Label -> text: what made the results of a study, as far as its record says."""
    record = one.record()
    if not record:
        return {"record": "none: this study was not run to its end by `lrface reproduce`"}
    parameters = record.get("parameters", {})
    given = [f"-p {name}={_value(value)}" for name, value in parameters.items()]
    usual = [word for word in given if not word.startswith(("-p data=", "-p preset="))]
    command = ["lrface reproduce", f"--study {one.study[:2]}"]
    command += [
        f"--{n} {shlex.quote(str(parameters[n]))}" for n in ("data", "preset") if n in parameters
    ]
    versions = [f"{package} {at}" for package, at in record.get("versions", {}).items()]
    fingerprint = re.search(r"fingerprint ([0-9a-f]{16})", summary)
    commit = str(record.get("commit") or "unknown")
    seconds = record.get("seconds")
    found = {
        "made by": " ".join(command),
        "parameters": ", ".join(word.removeprefix("-p ") for word in usual),
        "faces": fingerprint[1] if fingerprint else "",
        "finished": str(record.get("finished", "")),
        "took": clock(seconds) if isinstance(seconds, int | float) else "",
        "commit": commit + (", with changes that are not committed" if record.get("dirty") else ""),
        "versions": ", ".join(versions),
        "machine": f"{record.get('platform', '')} {record.get('cpu_capability', '')}".strip(),
    }
    return {label: text for label, text in found.items() if text}


def _value(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def _committed_findings() -> pd.DataFrame | None:
    file = project_root() / "results" / "findings.csv"
    return ledger.read(file).query("data != @ledger.EVERY_SET") if file.is_file() else None


def _committed_sets() -> list[str]:
    found = _committed_findings()
    return [] if found is None else list(dict.fromkeys(found["data"]))


def _findings(found: list[Measured]) -> list[dict[str, Any]]:
    """A row a finding: the sentence, what is published, what is committed, and the user's."""
    committed, rows = _committed_findings(), []
    for one in found:
        file = one.results / "findings.csv"
        for _, row in ledger.read(file).iterrows() if file.is_file() else ():
            beside = {} if committed is None else committed[committed["id"] == row["id"]]
            said = {r["data"]: _said(r) for _, r in beside.iterrows()} if len(beside) else {}
            rows.append(
                {
                    "id": row["id"],
                    "sentence": row["sentence"],
                    "published": shown(row["published"], row["unit"]),
                    "committed": said,
                    "yours": _said(row),
                    "why": row["reason"],
                    "where": one.title,
                }
            )
    return rows


def _said(row: pd.Series) -> dict[str, str]:
    lacks = f"lacks: {row['lacks']}" if row["lacks"] else ""
    return {"value": interval(row), "verdict": verdict(row), "lacks": lacks}
