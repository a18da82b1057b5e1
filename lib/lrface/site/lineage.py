"""What made each table and figure, for the page that lists them all."""

from __future__ import annotations

from html import escape
from typing import NamedTuple

from lrface.checks import lineage
from lrface.checks.study_results import StudyResults
from lrface.files import clock, project_root
from lrface.site.prose import anchor


class Made(NamedTuple):
    """A study on one face set: its results and what made them."""

    results: StudyResults
    said: dict[str, str]
    """As ``lrface why`` says it."""
    outputs: list[str]
    """Paths of its tables and figures, without suffix."""

    @property
    def command(self) -> str:
        """The command line that makes it again."""
        return self.said["command"]

    @property
    def seconds(self) -> float:
        """How long it took."""
        return (self.results.record() or {}).get("seconds", 0.0)


def of_everything() -> list[Made]:
    """Every study on every set, in the order of their names; smoke runs are left out."""
    by_study: dict[StudyResults, list[str]] = {}
    for name, one in lineage.outputs(project_root()).items():
        if one.preset != "smoke" and one.data != "local":
            by_study.setdefault(one, []).append(name)
    studies = sorted(by_study, key=lambda one: (one.study, one.data != "synthetic", one.name))
    return [
        Made(one, lineage.explain(f"results/{one.name}/findings", one), sorted(by_study[one]))
        for one in studies
    ]


def page(made: list[Made]) -> str:
    """The page ``files``: every table and figure, and the command that makes it again."""
    parts = [
        "# Tables and figures",
        "Everything that the studies wrote, as they wrote it, and what made it. On a machine with "
        "the companion, `lrface why NAME` says the same of a single table, figure or finding, and "
        "whether its file was changed since.",
    ]
    for study in dict.fromkeys(one.results.study for one in made):
        parts.append(f"## {study[:2]} · {study[3:].replace('_', ' ')}")
        parts += ["\n".join(["```{raw} html", _block(one), "```"]) for one in made_of(made, study)]
    return "\n\n".join(parts) + "\n"


def made_of(made: list[Made], study: str) -> list[Made]:
    """Those of one study."""
    return [one for one in made if one.results.study == study]


def _block(one: Made) -> str:
    results, said = one.results, one.said
    record = results.record() or {"outputs": {}}
    lists = {"figures": "", "results": ""}
    for name in one.outputs:
        suffixes = [n.rpartition(".")[2] for n in record["outputs"] if n.rpartition(".")[0] == name]
        there = [s for s in suffixes if s != "pdf" and (results.root / f"{name}.{s}").is_file()]
        links = " ".join(f'<a href="{name}.{s}">{s}</a>' for s in sorted(there))
        if links:
            short = escape(name.rpartition("/")[2])
            lists[name.partition("/")[0]] += f"<li><code>{short}</code> {links}</li>"
    facts = [
        ("made again by", f"<code>{escape(one.command)}</code>"),
        ("took", f"{clock(one.seconds)}"),
        ("data", escape(said["data"])),
        ("commit", escape(said["commit"])),
        ("environment", escape(said["environment"])),
    ]
    listed = "".join(f"<dt>{label}</dt><dd>{value}</dd>" for label, value in facts)
    titles = {"results": "Tables", "figures": "Figures"}
    outputs = "".join(
        f"<h4>{title}</h4><ul>{lists[kind]}</ul>" for kind, title in titles.items() if lists[kind]
    )
    return (
        f'<section class="lr-made" id="{anchor(results.name)}">'
        f"<h3>{results.data}, {results.preset}</h3><dl>{listed}</dl>{outputs}</section>"
    )
