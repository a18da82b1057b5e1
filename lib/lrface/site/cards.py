"""The cards of the released networks, from the records of their trainings and the studies' tables.

The page ``networks`` has a row a network; a page a method, below ``networks/``, has a card each:
what it is, what it learnt from, what that took, how it scores on each face set that a study tested
it on, and what it is not for.
"""

from __future__ import annotations

import math
from collections import defaultdict
from html import escape
from typing import NamedTuple

import pandas as pd

from lrface import models
from lrface.checks import study_results
from lrface.checks.study_results import StudyResults
from lrface.files import clock, project_root
from lrface.report import needs
from lrface.report.figures import axis_title
from lrface.report.tables import COLUMNS, DIGITS
from lrface.site.networks import Exported
from lrface.site.prose import anchor
from lrface.training.run_store import Run, load_run

HEADS = (
    *("method", "setting", "learnt from", "loss", "steps", "took", "parameters", "validation"),
    *("used in", "in the browser", "key"),
)
MEANT = (
    "These are the weights that come with the repository. They make every study run on a laptop, "
    "and show what a method does. How large each is, what it learnt from and for how long, stands "
    "below; the people of the embedded sets do not exist. A method's name leads to the cards of "
    "its networks, with their scores."
)
NOT_MEANT = (
    "**Not for** telling who somebody is, nor for evidence of any kind: what a restorer adds to a "
    "face is what it has learnt to expect. Not for statements about groups of people, nor about "
    "a paper's network at its own size, nor for photographs where anything depends on the result: "
    "what they lose there, the studies measure."
)
NOT_SCORED = (
    "No table has a number of this network alone: where a study trains a method several times, "
    "or in several sizes, its tables hold means over these."
)


class Score(NamedTuple):
    """A number of a study's table that rests on one network alone."""

    data: str
    study: str
    metric: str
    value: float
    low: float
    high: float
    n: float


def page(exported: list[Exported]) -> str:
    """The page ``networks``.

    Parameters
    ----------
    exported : list of Exported
        The networks that run in the browser, with their differences from PyTorch.
    """
    differences = {one.run.record["key"]: one.difference for one in exported}
    used = _used()
    runs = _released()
    runs.sort(key=lambda run: (used[run.record["key"]], run.config.method, run.config.label))
    head = "".join(f'<th scope="col">{one}</th>' for one in HEADS)
    rows = "".join(_row(run, used[run.record["key"]], differences) for run in runs)
    names = "\n".join(f"networks/{name}" for name in sorted({_name(run) for run in runs}))
    return "\n\n".join(
        [
            "# Released networks",
            MEANT,
            NOT_MEANT,
            f"{len(runs)} networks. *Validation* is the PSNR of faces held out from training, or "
            "none for a recogniser; *in the browser* is the largest difference, of 1, between a "
            "face by its ONNX file and by PyTorch. The faces have [cards](faces.html), too.",
            '```{raw} html\n<table class="lr-table" data-table="networks">'
            '<caption class="lr-hidden">Released networks</caption>'
            f"<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>\n```",
            f"```{{toctree}}\n:hidden:\n{names}\n```",
        ]
    )


def of_methods() -> dict[str, str]:
    """The pages of cards: name of the page below ``networks/`` -> its Markdown."""
    used, scored = _used(), _scores()
    by_method = defaultdict(list)
    for run in _released():
        by_method[_name(run)].append(run)
    return {
        name: _of_method(sorted(runs, key=lambda run: run.config.label), used, scored)
        for name, runs in by_method.items()
    }


def card(run: Run, used: str, scores: list[Score]) -> str:
    """The card of one network, as Markdown.

    Parameters
    ----------
    run : Run
    used : str
        The numbers of the studies that list it.
    scores : list of Score
        From their tables.
    """
    config, record = run.config, run.record
    key, about = record["key"], record["data"]
    taken = f"{about['n']:,} of `{about['name']}`, fingerprint `{about['fingerprint']}`"
    device = record.get("device", "unknown")
    facts = {
        "weights": f"{record['parameters']:,} numbers, released in 8 or 16 bits; key `{key}`, "
        f"sha256 `{record['sha256']}`",
        "learnt from": f"{taken}; {_small(config.degradation)}",
        "training": f"{config.steps:,} steps of {config.batch}, "
        f"{f'patches of {config.patch} pixels' if config.patch else 'whole faces'}, "
        f"loss `{config.loss}`, rate {config.lr:g} ({config.schedule}), seed {config.seed}",
        "cost": f"{clock(record['seconds'])} on {device}, "
        f"{_memory(record.get('peak_memory_mb'))}{record.get('platform', '')}",
        "code": f"commit `{record['commit'][:12]}`" if record.get("commit") else "",
        "used in": f"study {used}" if used else "no table of a study",
        "load it": f'`runs.load_run("{key}").model()`',
    }
    rows = [f"| {label} | {text} |" for label, text in facts.items() if text]
    limits = [f"- {text}." for text in _limits(run)]
    return "\n\n".join(
        [
            f'<a id="{key}"></a>\n\n## {config.degradation.name}, {config.size}, {key[:6]}',
            "\n".join(["| | |", "|---|---|", *rows]),
            _table(scores) if scores else NOT_SCORED,
            "**Mind:**\n\n" + "\n".join(limits),
        ]
    )


def _of_method(runs: list[Run], used: dict[str, str], scored: dict[str, list[Score]]) -> str:
    method = models.find(runs[0].config.method)
    what = "restores faces" if method.restores else f"learns {method.labels} of faces"
    cards = [card(run, used[run.record["key"]], scored[run.record["key"]]) for run in runs]
    count = "one network" if len(runs) == 1 else f"{len(runs)} networks"
    intro = f"{method.source}. It {what}; {count} of it come with the repository."
    return "\n\n".join([f"# {method.name}", intro, NOT_MEANT, *cards]) + "\n"


def _small(degradation) -> str:
    """How its faces were made small."""
    if degradation.scale == 1:
        return "as they are"
    noise = f", noise of sigma {degradation.noise:g} of 255" if degradation.noise else ""
    return f"{degradation.scale} times smaller, {degradation.kernel}{noise}"


def _memory(megabytes: float | None) -> str:
    return f"{megabytes / 1000:.1f} GB at most, " if megabytes else ""


def _limits(run: Run) -> list[str]:
    """What this network in particular is not, from its config and its learning curve."""
    config, found = run.config, []
    if said := needs.depth(config.size):
        found.append(f"It is not its paper's network: {said}")
    elif config.size != "paper":
        found.append(f"`{config.size}` has a fraction of its paper's width")
    if why := needs.unsettled(run.log, run.record.get("classes")):
        found.append(f"Its training had not converged: {why}")
    if config.data.startswith("synthetic"):
        found.append("It has seen rendered people only; photographs are foreign to it")
    if models.find(config.method).restores and config.degradation.scale > 1:
        name = config.degradation.name
        found.append(f"It knows faces made small as `{name}` does; of others it restores less")
    return found


def _table(scores: list[Score]) -> str:
    lines = ["| face set | study | metric | score | n |", "|---|---|---|---|---|"]
    for one in scores:
        digits = DIGITS.get(one.metric, 4)
        value, low, high = (f"{x:.{digits}f}" for x in one[3:6])
        title = " ".join(axis_title(one.metric).split()).replace("|", "\\|")
        number = f"[{one.study[:2]}](../notebooks/{one.study}.html)"
        lines.append(
            f"| {one.data} | {number} | {title} | {value} [{low}, {high}] | {one.n:,.0f} |"
        )
    return "\n".join(lines)


def _scores() -> defaultdict[str, list[Score]]:
    """Run -> the numbers with an interval that rest on it alone, of every study and face set."""
    found = defaultdict(list)
    for one in study_results.find(project_root()):
        for key, method, setting in _alone(one):
            for file in sorted(one.results.glob("*.csv")):
                found[key] += _of_table(one, file, method, setting)
    return found


def _alone(one: StudyResults) -> list[tuple[str, str, str]]:
    """Key, method and setting of the networks of a study that are the only one of these two.

    Only those count that learnt from the faces most of its networks learnt from: a study may train
    others on a part of them, for a question of its own.
    """
    file = one.results / "runs.csv"
    if not file.is_file():
        return []
    runs = pd.read_csv(file, dtype=str)
    if runs.empty:
        return []
    usual = runs[runs["train_fingerprint"] == runs["train_fingerprint"].mode().iloc[0]]
    single = usual[~usual.duplicated(["method", "setting"], keep=False)]
    return list(single[["key", "method", "setting"]].itertuples(index=False, name=None))


def _of_table(one: StudyResults, file, method: str, setting: str) -> list[Score]:
    frame = pd.read_csv(file, dtype={"method": str, "setting": str, "metric": str})
    if not set(frame) >= set(COLUMNS):
        return []
    rows = frame[(frame["method"] == method) & (frame["setting"] == setting)]
    rows = rows[rows["low"].notna() & ~rows.duplicated("metric", keep=False)]
    return [
        Score(one.data, one.study, r.metric, r.value, r.low, r.high, r.n) for r in rows.itertuples()
    ]


def _released() -> list[Run]:
    return [run for run in map(load_run, _keys()) if run]


def _name(run: Run) -> str:
    return anchor(run.config.method.replace("+", " plus"))


def _keys() -> list[str]:
    folders = project_root().glob("results/*/*/checkpoints/*/config.json")
    return sorted(folder.parent.name for folder in folders)


def _used() -> defaultdict[str, str]:
    """Run -> the numbers of the studies whose tables rest on it."""
    studies = defaultdict(set)
    for one in study_results.find(project_root()):
        file = one.results / "runs.csv"
        if file.is_file():
            for key in pd.read_csv(file, dtype=str, usecols=["key"])["key"]:
                studies[key].add(one.study[:2])
    return defaultdict(str, {key: ", ".join(sorted(found)) for key, found in studies.items()})


def _row(run: Run, used: str, differences: dict[str, float]) -> str:
    config, record = run.config, run.record
    key, psnr = record["key"], record["val_psnr"]
    about = record["data"]
    cells = [
        f'<a href="networks/{_name(run)}.html#{key}">{escape(config.method)}, {config.size}</a>'
        f'<span class="lr-source">{escape(models.find(config.method).source)}</span>',
        config.degradation.name,
        f"{about['name']}, {about['n']:,} faces"
        f'<span class="lr-source">{about["fingerprint"]}</span>',
        config.loss,
        f"{config.steps:,}",
        clock(record["seconds"]),
        f"{record['parameters']:,}",
        "–" if psnr is None or math.isnan(psnr) else f"{psnr:.2f} dB",
        used or "–",
        f"{differences[key]:.0e}" if key in differences else "–",
        f'<code title="sha256 {record["sha256"]}">{key}</code>',
    ]
    first, *rest = cells
    return (
        f'<tr id="{key}"><th scope="row">{first}</th>'
        + "".join(f"<td>{cell}</td>" for cell in rest)
        + "</tr>"
    )
