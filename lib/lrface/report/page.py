"""``results/README.md``, a row a finding, and the first lines of the project's README.

Both are written from ``results/findings.csv`` alone; nothing in them is typed.
"""

from __future__ import annotations

import math
import os
import textwrap
from pathlib import Path

import pandas as pd

from lrface.files import LOCAL
from lrface.report import needs, register

MARKS = {"supported": "✓", "not supported": "✗", "inconclusive": "≈", "not tested": "–"}
TRIVIAL = "○"
WORKS = {
    "edface": "EDFace-Celeb-1M (Zhang et al. 2021)",
    "joint": "Deep Joint Face Hallucination and Recognition (Wu et al. 2016)",
    "slides": "Deep Learning in Face Analysis (slides)",
    "csri": "Low-Resolution Face Recognition (Cheng et al. 2018)",
    "vidface": "VidFace",
}
BEGIN, END = "<!-- findings: written by lrface publish -->", "<!-- end of findings -->"
FRONT_LINES = 10
LONGEST_REASON = 160
"""Characters of a reason that a notebook shows; ``findings.csv`` has it whole."""
ANCHOR = "What-the-paper-found"
"""Of the heading in a notebook under which its findings stand."""


def shown(value: float, unit: str, sign: str = "+") -> str:
    """A contrast as people read it; fractions in points of a hundred.

    Examples
    --------
    >>> shown(0.127, "fraction"), shown(-0.006, "dB"), shown(float("nan"), "dB")
    ('+12.7 %', '−0.01 dB', '–')
    """
    if math.isnan(value):
        return "–"
    scale, digits, word = {
        "fraction": (100, 1, " %"),
        "dB": (1, 2, " dB"),
        "cosine": (1, 3, ""),
        "SSIM": (1, 3, ""),
        "NRMSE": (1, 4, ""),
    }.get(unit, (1, 2, f" {unit}" if unit not in ("flag", "ratio") else ""))
    return f"{scale * value:{sign}.{digits}f}{word}".replace("-", "−")


def _interval(row: pd.Series) -> str:
    if math.isnan(row["effect"]):
        return ""
    low, high = (shown(row[end], row["unit"]).split(" ")[0] for end in ("low", "high"))
    value = shown(row["effect"], row["unit"])
    return f"{value} [{low}, {high}]" if not math.isnan(row["low"]) else value


def _word(row: pd.Series) -> str:
    """The verdict with its mark; of what was not tested, what it lacks."""
    said = row["verdict"]
    if row["trivial"] and said == "supported":
        return f"{TRIVIAL} trivial"
    return f"{MARKS[said]} {said}"


def of_one(row: pd.Series) -> str:
    """A row of ``findings.csv`` in words."""
    null = "" if math.isnan(row["null"]) else f"null model {shown(row['null'], row['unit'])}"
    people = "" if not row["people"] > 0 else f"{row['people']:.0f} people"
    trainings = "" if not row["trainings"] > 0 else f"{row['trainings']:.0f} trainings"
    parts = [_word(row), row["contrast"], _interval(row), null, people, trainings, row["reason"]]
    return "; ".join(filter(None, parts))


def _cell(row: pd.Series | None) -> str:
    if row is None:
        return ""
    lacks = f"<br>*lacks: {row['lacks']}*" if row["lacks"] else ""
    parts = [_interval(row), _word(row) + lacks]
    if row["trivial"] and not math.isnan(row["null"]):
        parts.append(f"*null model: {shown(row['null'], row['unit'])}*")
    return "<br>".join(filter(None, parts))


def page(findings: pd.DataFrame, contrasts: pd.DataFrame, results: Path, figures: Path) -> str:
    """``results/README.md``.

    Parameters
    ----------
    findings, contrasts : DataFrame
        As :func:`lrface.report.ledger.collect` gives them.
    results, figures : Path
        The folder that the page will lie in, and that of the figures it leads to.
    """
    sets = [name for name in dict.fromkeys(findings["data"]) if name != "all"]
    parts = ["# What the companion found", _written(), *_summary(findings, contrasts), _legend()]
    entered = register.registered().set_index("id")
    for paper, title in WORKS.items():
        here = findings[findings["paper"] == paper]
        rows = []
        for name in [i for i in entered.index if i in set(here["id"])]:
            about, mine = entered.loc[name], here[here["id"] == name]
            by_set = {row["data"]: row for _, row in mine.iterrows()}
            note = f" <br><sub>{about['note']}</sub>" if about["note"] else ""
            sentence = f"{about['sentence']}{note} <br><sub>`{name}`</sub>"
            printed = shown(about["published"], about["unit"])
            if about["quoted"]:
                printed = f"“{about['quoted']}”"
            line = {"finding": sentence, "published": printed}
            line |= {one: _cell(by_set.get(one)) for one in sets}
            line |= {
                "over all sets": f"**{_word(by_set['all'])}**",
                "see": _links(mine, results, figures),
            }
            rows.append(line)
        if rows:
            table = pd.DataFrame(rows).map(lambda text: text.replace("|", "\\|"))
            parts += [f"## {title}", table.to_markdown(index=False, disable_numparse=True)]
    return "\n\n".join(parts) + "\n"


def of_study(findings: pd.DataFrame) -> str:
    """The findings of one study, as its notebook shows them."""
    if findings.empty:
        return "No finding of the register is this study's."
    lines = []
    for _, row in findings.iterrows():
        lines.append(
            {
                "id": row["id"],
                "sentence": row["sentence"],
                "contrast": row["contrast"] or "–",
                "published": shown(row["published"], row["unit"]),
                "measured": _interval(row) or "–",
                "verdict": _word(row),
                "reason": textwrap.shorten(row["reason"], LONGEST_REASON, placeholder=" …"),
            }
        )
    frame = pd.DataFrame(lines).map(lambda text: text.replace("|", "\\|"))
    return frame.to_markdown(index=False, disable_numparse=True)


def _written() -> str:
    return (
        "<!-- Written by lrface from results/findings.csv; edits are lost. -->\n"
        "Each sentence is the paper's; *published* is its contrast in its own numbers, and the "
        "columns after it are the same contrast measured on a face set, with its 95 % interval "
        "over people and trainings. Positive numbers favour the sentence."
    )


def _legend() -> str:
    return (
        f"{MARKS['supported']} supported · {MARKS['not supported']} not supported · "
        f"{MARKS['inconclusive']} inconclusive · {TRIVIAL} trivial: a null model passes, too · "
        f"{MARKS['not tested']} not tested: it lacks something that the test needs. "
        "`lrface why NAME` gives reasons in full; the contrasts by method, setting and judge are "
        "in [contrasts.csv](contrasts.csv)."
    )


def _links(rows: pd.DataFrame, results: Path, figures: Path) -> str:
    links, up = [], "../../" if results.name == LOCAL else "../"
    for _, row in rows[rows["data"] != "all"].iterrows():
        notebook = f"{up}notebooks/{row['study']}.ipynb#{ANCHOR}"
        if not links:
            links.append(f"[notebook]({notebook})")
        figure = figures / f"{row['data']}/{row['preset']}/{row['study']}/{row['figure']}.png"
        if row["figure"] and figure.is_file():
            links.append(f"[figure]({Path(os.path.relpath(figure, results)).as_posix()})")
    return " ".join(dict.fromkeys(links))


def _summary(findings: pd.DataFrame, contrasts: pd.DataFrame) -> list[str]:
    """Ten lines: what was found, and what cannot be said."""
    every, single = findings[findings["data"] == "all"], findings[findings["data"] != "all"]
    by = {v: every[(every["verdict"] == v) & ~every["trivial"]] for v in MARKS}
    trivial = every[every["trivial"] & (every["verdict"] == "supported")]
    sets = ", ".join(f"`{name}`" for name in dict.fromkeys(single["data"]))
    decided = single[single["verdict"].isin(["supported", "not supported"])]
    torn = decided.groupby("id")["verdict"].nunique()
    torn = every[every["id"].isin(torn.index[torn > 1])]
    tested = every[every["verdict"] != "not tested"]
    one = single[(single["verdict"] == "inconclusive") & single["reason"].str.contains("training")]
    also = single[single["trivial"] & (single["verdict"] == "not tested")]["id"].nunique()
    lines = [
        f"**{len(every)} findings of the five works** are put to the test, on {sets}; "
        f"{len(tested)} could be tested on at least one set.",
        f"**Supported: {len(by['supported'])}.** {_named(by['supported'])}",
        f"**Not supported: {len(by['not supported'])}.** {_named(by['not supported'])}",
        f"**Trivial: {len(trivial)}**, supported, but a null model passes too; so it would in "
        f"{also} of those that are not tested. {_named(trivial)}",
        f"**Inconclusive: {len(every[every['verdict'] == 'inconclusive'])}.** "
        f"{_named(every[every['verdict'] == 'inconclusive'])}",
        f"**The sets contradict each other in {len(torn)}.** {_named(torn)}",
        f"**Cannot be said: {len(every) - len(tested)}.** What the tests lack, by finding and set: "
        f"{_lacking(single)}.",
        "One training decides little alone: findings left open because trainings differ by as "
        f"much, or because nobody measured how far they do: {one['id'].nunique()}.",
        "Sizes of effects do not carry over: other faces, smaller networks, shorter trainings. "
        "On rendered faces nothing is said about groups of people.",
        f"{int((contrasts['finding'] != '').sum())} contrasts are the evidence; "
        f"{int((contrasts['finding'] == '').sum())} more answer questions of ours, and count for "
        "no finding.",
    ]
    return ["\n".join(f"{i}. {line}" for i, line in enumerate(lines, 1))]


def _named(rows: pd.DataFrame, most: int = 6) -> str:
    """The sentences of a few findings."""
    if rows.empty:
        return ""
    named = "; ".join(rows["sentence"].head(most))
    more = f"; and {len(rows) - most} more" if len(rows) > most else ""
    return f"{named}{more}."


def _lacking(single: pd.DataFrame) -> str:
    lacks = single.loc[single["verdict"] == "not tested", "lacks"].str.split(", ").explode()
    counts = lacks[lacks != ""].value_counts()
    words = {name: need.meaning for name, need in needs.NEEDS.items()} | {"not run": "it was run"}
    return "; ".join(f"{words[name]} ({n})" for name, n in counts.items())


def front(findings: pd.DataFrame, root: Path) -> str:
    """The findings at the top of the project's README: those that are decided, then the trivial,
    then those that were tested and are open."""
    every = findings[findings["data"] == "all"].set_index("id")
    order = {"supported": 0, "not supported": 1, "inconclusive": 4}
    decided = every[every["verdict"].isin(order)]
    rank = decided["verdict"].map(order).astype(int) + 2 * decided["trivial"].astype(int)
    chosen = decided.loc[rank.sort_values(kind="stable").index[:FRONT_LINES]]
    counts = every["verdict"].value_counts()
    trivial = int((every["trivial"] & (every["verdict"] == "supported")).sum())
    lines, picture = [], ""
    for name, row in chosen.iterrows():
        rows = findings[(findings["id"] == name) & (findings["data"] != "all")]
        measured = [f"{r['data']} {_interval(r)}" for _, r in rows.iterrows() if _interval(r)]
        printed = shown(rows["published"].iloc[0], rows["unit"].iloc[0])
        printed = "no number printed" if printed == "–" else f"published {printed}"
        said = _word(row)
        lines.append(f"- {said}: {row['sentence']} ({printed}; {', '.join(measured)})")
        for _, r in rows.iterrows():
            figure = f"figures/{r['data']}/{r['preset']}/{r['study']}/{r['figure']}.png"
            if not picture and r["figure"] and (root / figure).is_file():
                picture = f"![{row['sentence']}]({figure})"
    head = (
        f"Of {len(every)} findings of the five works, {counts.get('supported', 0) - trivial} are "
        f"supported here, {counts.get('not supported', 0)} are not, {trivial} are trivial (a null "
        f"model passes too), {counts.get('inconclusive', 0)} are inconclusive, and "
        f"{counts.get('not tested', 0)} cannot be tested at this size. "
        "[All of them, with reasons](results/README.md)."
    )
    return "\n\n".join(filter(None, [head, "\n".join(lines), picture]))


def filled(text: str, section: str) -> str:
    """A README with the section between its markers.

    Raises
    ------
    ValueError
        It has no markers.

    Examples
    --------
    >>> filled(f"a {BEGIN} old {END} b", "new").split()[0::9][0]
    'a'
    """
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError("the README has no markers for the findings")
    return f"{before}{BEGIN}\n\n{section}\n\n{END}{after}"
