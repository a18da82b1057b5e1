"""The first page: every finding, what was published, what was measured, and the verdict."""

from __future__ import annotations

import math
import re
from html import escape
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from lrface.errors import LrfaceError
from lrface.report import ledger, needs, register
from lrface.report.page import MARKS, TRIVIAL, WORKS, shown
from lrface.site.prose import anchor


class Study(NamedTuple):
    """What the first page says of a notebook."""

    title: str
    shown: set[str]
    """The findings that a table of it shows: those have an anchor on its page."""


TRIVIAL_WORD = "trivial"
MEANING = {
    "supported": "the interval lies on the sentence's side of zero",
    "not supported": "the interval lies on the other side, or within the margin",
    "inconclusive": "the interval holds both, or the face sets disagree",
    TRIVIAL_WORD: "supported, but a null model passes the same test",
    "not tested": "the test lacks something that it needs",
}
"""The verdicts in the order in which a reader wants them."""


def read(root: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The findings and the contrasts behind them.

    Parameters
    ----------
    root : Path
        The folder that ``results/`` lies in.

    Raises
    ------
    LrfaceError
        They have not been published.
    """
    files = [root / "results" / f"{name}.csv" for name in ledger.NAMES]
    for file in files:
        if not file.is_file():
            raise LrfaceError(f"{file} is missing: `make notebooks` publishes the findings")
    findings, contrasts = map(ledger.read, files)
    return findings, contrasts


def of(findings: pd.DataFrame, study: str) -> pd.DataFrame:
    """The rows over all sets of the findings of a study."""
    return findings[(findings["data"] == ledger.EVERY_SET) & (findings["study"] == study)]


def verdict(row: pd.Series) -> str:
    """The verdict of a row, or ``trivial`` if it is supported and a null model passes too."""
    if row["trivial"] and row["verdict"] == "supported":
        return TRIVIAL_WORD
    return row["verdict"]


def chip(row: pd.Series) -> str:
    """The verdict as a coloured word; the mark says it without the colour."""
    word = verdict(row)
    mark = TRIVIAL if word == TRIVIAL_WORD else MARKS[word]
    return (
        f'<span class="lr-verdict lr-{anchor(word)}"><span aria-hidden="true">{mark}</span>'
        f" {word}</span>"
    )


def _lacks(row: pd.Series) -> str:
    """What the test of a finding needs and has not; pointed at, the words say what they mean."""
    words = [word for word in row["lacks"].split(", ") if word]
    if not words:
        return ""
    meant = "; ".join(needs.NEEDS[word].meaning for word in words if word in needs.NEEDS)
    said = ", ".join(words)
    return f'<span class="lr-lacks" title="needed: {escape(meant)}">lacks: {said}</span>'


def interval(row: pd.Series) -> str:
    """A measured contrast with its interval.

    Examples
    --------
    >>> interval(pd.Series({"effect": 0.1, "low": 0.05, "high": 0.2, "unit": "dB"}))
    '+0.10 dB [+0.05, +0.20]'
    """
    if math.isnan(row["effect"]):
        return ""
    value = shown(row["effect"], row["unit"])
    if math.isnan(row["low"]):
        return value
    low, high = (shown(row[end], row["unit"]).split(" ")[0] for end in ("low", "high"))
    return f"{value} [{low}, {high}]"


def page(findings: pd.DataFrame, root: Path, studies: dict[str, Study]) -> str:
    """The first page.

    Parameters
    ----------
    findings : DataFrame
        As :func:`read` gives them.
    root : Path
        The folder of ``results/`` and ``figures/``.
    studies : dict of Study
        By the name of their notebooks.
    """
    every = findings[findings["data"] == ledger.EVERY_SET]
    words = [verdict(row) for _, row in every.iterrows()]
    counts = {word: words.count(word) for word in MEANING}
    parts = [
        "# What came out when five works on low-resolution faces were run again",
        f"**{len(every)} findings** that the papers print, each put to the test on faces that "
        "anybody can have, with an interval over people and trainings, and with what a null model "
        "gets. Every number below leads to the cell that computed it, its figure, its file and "
        "the command that makes it again.",
        "[Findings](#findings) · [studies](#studies) · [try it on a face](play.html) · "
        "[run it yourself](use.html)",
        _raw(_map(every, counts)),
        "## In ten sentences",
        _sentences(root),
        "## Studies",
        _raw(_studies(every, studies)),
        "## Findings",
        _raw(_table(findings, root, studies)),
        "```{toctree}\n:hidden:\n:caption: Start\n"
        "Answers <self>\nPlay <play>\nuse\nAdapt it <adapt/index>\n```",
        "```{toctree}\n:hidden:\n:caption: Studies\n"
        + "\n".join(f"notebooks/{name}" for name in studies)
        + "\n```",
        "```{toctree}\n:hidden:\n:caption: Behind the answers\n"
        "evidence\nfiles\nnetworks\nfaces\ndatasheet\ncontributing\nchangelog\n```",
    ]
    return "\n\n".join(parts) + "\n"


def _in_order(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows with a column ``word``, those that are decided first."""
    words = [verdict(row) for _, row in rows.iterrows()]
    order = pd.Series(words, rows.index, dtype=object).map(list(MEANING).index)
    return rows.assign(word=words).loc[order.sort_values(kind="stable").index]


def _raw(html: str) -> str:
    return "\n".join(["```{raw} html", html, "```"])


def _map(every: pd.DataFrame, counts: dict[str, int]) -> str:
    """A tile a finding, a row a work: the one picture of the page."""
    legend = "".join(
        f'<li><span class="lr-tile lr-{anchor(word)}" aria-hidden="true">{_mark(word)}</span> '
        f"<span><b>{n} {word}</b>: {MEANING[word]}</span></li>"
        for word, n in counts.items()
        if n
    )
    rows = []
    for paper, name in WORKS.items():
        here = _in_order(every[every["paper"] == paper])
        if here.empty:
            continue
        tiles = "".join(
            f'<a class="lr-tile lr-{anchor(row["word"])}" href="#{row["id"]}" '
            f'title="{escape(row["sentence"])}"><span class="lr-hidden">{row["word"]}: '
            f'{escape(row["sentence"])}</span><span aria-hidden="true">{_mark(row["word"])}</span>'
            "</a>"
            for _, row in here.iterrows()
        )
        rows.append(f'<div class="lr-work"><span>{escape(name)}</span><div>{tiles}</div></div>')
    return (
        '<figure class="lr-map"><figcaption>A tile is a finding; choose one to read it.'
        f'</figcaption>{"".join(rows)}<ul class="lr-legend">{legend}</ul></figure>'
    )


def _mark(word: str) -> str:
    return TRIVIAL if word == TRIVIAL_WORD else MARKS[word]


def _sentences(root: Path) -> str:
    """The numbered summary of ``results/README.md``, so that there is one wording."""
    file = root / "results" / "README.md"
    text = file.read_text(encoding="utf-8") if file.is_file() else ""
    lines = re.findall(r"^\d+\. .*$", text, re.M)
    if not lines:
        raise LrfaceError(f"{file} has no summary: `make notebooks` writes it")
    return "\n".join(lines)


def _table(findings: pd.DataFrame, root: Path, studies: dict[str, Study]) -> str:
    entered = register.registered().set_index("id")
    rows = []
    every = findings[findings["data"] == ledger.EVERY_SET]
    for _, over in _in_order(every).iterrows():
        name = over["id"]
        sets = findings[(findings["id"] == name) & (findings["data"] != ledger.EVERY_SET)]
        details = _details(name, entered.loc[name], sets, root, studies)
        rows.append(_row(name, entered.loc[name], over, sets, details))
    chosen = "".join(
        f'<option value="{escape(name)}">{escape(name)}</option>'
        for paper, name in WORKS.items()
        if (every["paper"] == paper).any()
    )
    words = "".join(f'<option value="{word}">{word}</option>' for word in MEANING)
    filters = (
        '<div class="lr-filters"><label>verdict <select data-column="0"><option value="">all'
        f"</option>{words}</select></label>"
        '<label>work <select data-column="1"><option value="">all</option>'
        f"{chosen}</select></label></div>"
    )
    heads = ("verdict", "finding", "published", "measured")
    head = "".join(f'<th scope="col">{one}</th>' for one in heads)
    return (
        f'<div class="lr-findings" data-filters>{filters}'
        '<table class="lr-table lr-cards" data-table="findings"><caption class="lr-hidden">'
        "Findings with published and measured values</caption>"
        f"<thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def _row(name: str, about: pd.Series, over: pd.Series, sets: pd.DataFrame, details: str) -> str:
    printed = shown(about["published"], about["unit"])
    if about["quoted"]:
        printed = f"“{escape(about['quoted'])}”"
    measured = "".join(
        f"<li><b>{escape(row['data'])}</b> {interval(row)}</li>"
        for _, row in sets.iterrows()
        if interval(row)
    )
    order = list(MEANING).index(verdict(over))
    work = escape(WORKS[about["paper"]])
    table = f", Table {escape(about['table'])}" if about["table"] else ""
    effect = sets["effect"].dropna()
    cells = [
        f'<td data-label="verdict" data-order="{order}" '
        f'data-search="{verdict(over)}">{chip(over)}{_lacks(over)}</td>',
        f'<th scope="row" data-label="finding"><span class="lr-sentence">'
        f"{escape(about['sentence'])}</span> "
        f'<span class="lr-source">{work}{table} · <a href="#{name}"><code>{name}</code></a></span>'
        f"{details}</th>",
        f'<td data-label="published">{printed}</td>',
        f'<td data-label="measured" data-order="{effect.iloc[0] if len(effect) else ""}">'
        f"{f'<ul>{measured}</ul>' if measured else 'not measured'}</td>",
    ]
    return f'<tr id="{name}">{"".join(cells)}</tr>'


def _details(
    name: str, about: pd.Series, sets: pd.DataFrame, root: Path, studies: dict[str, Study]
) -> str:
    """Reasons, set by set, and where everything is."""
    items = []
    for _, row in sets.iterrows():
        rests = [f"{row[what]:.0f} {what}" for what in ("people", "trainings") if row[what] > 0]
        if not math.isnan(row["null"]):
            rests.append(f"null model {shown(row['null'], row['unit'])}")
        said = [row["contrast"], interval(row), ", ".join(rests), row["reason"]]
        place = f"{row['data']}/{row['preset']}/{row['study']}"
        links = [(f"results/{place}/findings.csv", "CSV"), (f"files.html#{anchor(place)}", "made")]
        if row["data"] == "synthetic":
            here = row["study"] in studies and name in studies[row["study"]].shown
            cell = f"notebooks/{row['study']}.html#{name if here else ''}"
            links.insert(0, (cell, "notebook"))
        if row["figure"] and (root / f"figures/{place}/{row['figure']}.png").is_file():
            links.insert(1, (f"figures/{place}/{row['figure']}.png", "figure"))
        led = " · ".join(
            f'<a href="{target}" aria-label="{label} of {name} on {row["data"]}">{label}</a>'
            for target, label in links
            if "#" in target or (root / target).is_file()
        )
        text = "; ".join(escape(one) for one in said if one)
        items.append(f"<li><b>{escape(row['data'])}</b> {chip(row)} {text}<br>{led}</li>")
    note = f"<p>{escape(about['note'])}</p>" if about["note"] else ""
    return (
        f"<details><summary>why, and where it is computed</summary><ul>{''.join(items)}</ul>{note}"
        f"<p>{escape(about['where'])}. "
        f'<a href="evidence.html?q={name}">All contrasts behind it</a>. '
        f"On a machine with the companion: <code>lrface why {name}</code></p></details>"
    )


def _studies(every: pd.DataFrame, studies: dict[str, Study]) -> str:
    cards = []
    for name, study in studies.items():
        said = [verdict(row) for _, row in every[every["study"] == name].iterrows()]
        counts = ", ".join(f"{said.count(word)} {word}" for word in MEANING if word in said)
        cards.append(
            f'<li><a href="notebooks/{name}.html">{escape(study.title)}</a>'
            f"<span>{counts or 'no finding of its own'}</span></li>"
        )
    return f'<ul class="lr-studies">{"".join(cards)}</ul>'


def of_study(rows: pd.DataFrame) -> str:
    """The findings of a study with their verdicts, for the top of its page."""
    items = "".join(
        f'<li>{chip(row)} <a href="../index.html#{row["id"]}">{escape(row["sentence"])}</a></li>'
        for _, row in _in_order(rows).iterrows()
    )
    return _raw(
        '<div class="lr-strip"><p class="lr-label">What the paper says, and the verdict here</p>'
        f"<ul>{items}</ul></div>"
    )


def evidence(contrasts: pd.DataFrame) -> str:
    """The page of all contrasts, those of findings and those that answer questions of ours."""
    rows = []
    for _, row in contrasts.iterrows():
        name = row["finding"]
        led = f'<a href="index.html#{name}">{name}</a>' if name else "a question of ours"
        cells = [
            f'<th scope="row">{led}</th>',
            *(f"<td>{escape(str(row[one]))}</td>" for one in ("sentence", "setting", "method")),
            f"<td>{escape(row['contrast'])}</td>",
            f"<td>{shown(row['published'], row['unit'])}</td>",
            f"<td>{interval(row)}</td><td>{chip(row)}</td><td>{escape(row['data'])}</td>",
        ]
        rows.append(f"<tr>{''.join(cells)}</tr>")
    heads = ("finding", "sentence", "setting", "method", "contrast", "published", "measured")
    head = "".join(f'<th scope="col">{one}</th>' for one in (*heads, "verdict", "data"))
    return "\n\n".join(
        [
            "# Evidence",
            f"All {len(contrasts)} contrasts that were computed, by method, setting and judge. "
            "A finding's verdict is about its sentence as printed; these are the parts it rests "
            "on. The same table is [contrasts.csv](results/contrasts.csv).",
            _raw(
                '<table class="lr-table" data-table="evidence"><caption class="lr-hidden">'
                f"Contrasts</caption><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}"
                "</tbody></table>"
            ),
        ]
    )
