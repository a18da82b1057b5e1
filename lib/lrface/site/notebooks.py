"""The executed notebooks as pages: what came out first, code folded, links that lead somewhere."""

from __future__ import annotations

import json
import re
from html import escape
from pathlib import Path
from typing import Any

import pandas as pd

from lrface.files import clock
from lrface.site import answers, lineage, prose

AROUND = re.compile(r"^\[(Previous|Next|next)\b[^\n]*(\n[^\n]+)*", re.M)
"""The paragraph that leads to the notebooks before and after, which the site has of its own."""
CHECKED = "# NBVAL_CHECK_OUTPUT\n"
FIRST = re.compile(r"^\| ([a-z0-9-]+) (?=\s*\|)", re.M)
"""A first cell of a Markdown row that may be the name of a finding."""
COMPARED = "the same faces, every method"
"""In the heading under which the pictures of study 01 can be compared."""
HEADING = re.compile(r"^#{1,6} +(.*)$", re.M)


COMPARISON = """```{raw} html
<div id="lr-compared" class="lr-strip">
<p class="lr-label">Compare them yourself</p>
<p class="lr-choice">
<label>setting <select></select></label> <label>face <select></select></label>
</p>
<div></div>
<p>Three other test faces, restored by the released networks when this site was built.
<a href="../play.html">Try a face of yours</a>.</p>
</div>
<script src="../_static/play/compare.js"></script>
<script src="../_static/compare.js"></script>
```"""


def study(notebook: Path) -> answers.Study:
    """The title of a notebook, and the findings that it shows."""
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    outputs = [output for cell in cells for output in cell.get("outputs", [])]
    names = {name for output in outputs for name in FIRST.findall(_said(output))}
    return answers.Study(_title(cells), names)


def _title(cells: list[dict[str, Any]]) -> str:
    return HEADING.search("".join(cells[0]["source"]))[1]


def staged(notebook: Path, made: list[lineage.Made], findings: pd.DataFrame) -> dict[str, Any]:
    """A notebook for Sphinx, not executed again.

    Parameters
    ----------
    notebook : Path
        Executed. It begins with a cell of text that has the title, and one that says what came out.
    made : list of Made
        What made the committed results.
    findings : DataFrame
        The rows of ``findings.csv`` that are this study's.
    """
    read = json.loads(notebook.read_text(encoding="utf-8"))
    first, summary, *rest = read["cells"]
    read["metadata"].pop("widgets", None)
    page = f"notebooks/{notebook.stem}.html"
    heading, _, intro = "".join(first["source"]).partition("\n")
    intro = _relinked(AROUND.sub("", intro), page)
    about = lineage.made_of(made, notebook.stem)
    summary = _code(summary, "What came out")
    summary["metadata"]["tags"] = ["remove-input"]
    top = [_text(heading), summary]
    if not findings.empty:
        top.append(_text(answers.of_study(findings)))
    top += [_text(_run_box(notebook, about)), _text(intro)]
    cells, section = [], _title(read["cells"])
    known = set(findings["id"])
    for cell in rest:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            section = ([section] + HEADING.findall(source))[-1]
            cells.append(_text(_relinked(source, page)))
            if COMPARED in section:
                cells.append(_text(COMPARISON))
        else:
            cells.append(_code(cell, section, known))
    for i, cell in enumerate([*top, *cells]):
        cell["id"] = f"cell-{i}"
    return read | {"cells": top + cells, "nbformat_minor": 5}


def _relinked(text: str, page: str) -> str:
    return prose.relinked(text, "notebooks", page)[0]


def _text(source: str) -> dict[str, Any]:
    return {"cell_type": "markdown", "metadata": {}, "source": source}


def _code(cell: dict[str, Any], section: str, known: set[str] = frozenset()) -> dict[str, Any]:
    """A code cell that is folded, with its pictures described and its findings linked."""
    tags = [*cell["metadata"].get("tags", []), "hide-input"]
    plain = re.sub(r"[`*]", "", section)
    metadata = {"tags": tags, "mystnb": {"image": {"alt": f"Figure: {plain}"}}}
    outputs = [_linked(output, known) for output in cell["outputs"]]
    source = "".join(cell["source"]).replace(CHECKED, "")
    return cell | {"metadata": metadata, "outputs": outputs, "source": source}


def _said(output: dict[str, Any]) -> str:
    """Its Markdown."""
    return "".join(output.get("data", {}).get("text/markdown", ""))


def _linked(output: dict[str, Any], known: set[str]) -> dict[str, Any]:
    """The table of a study's findings, with an anchor a finding that leads to the first page."""
    text = _said(output)

    def row(match: re.Match) -> str:
        name = match[1]
        if name not in known:
            return match[0]
        return f'| <a id="{name}" href="../index.html#{name}">{name}</a> '

    if not text or not known:
        return output
    return output | {"data": output["data"] | {"text/markdown": FIRST.sub(row, text)}}


def _run_box(notebook: Path, about: list[lineage.Made]) -> str:
    """How to run a study, what that costs, and on which faces it was run here."""
    study = notebook.stem[:2]
    sets = [f"<code>{escape(one.results.data)}</code>" for one in about]
    here = next((one for one in about if one.results.data == "synthetic"), None)
    facts = []
    if here:
        facts.append(
            f"On the embedded faces it took {clock(here.seconds)} (min:s) on two cores without a "
            "GPU, from the released networks."
        )
    facts.append(f"Its committed results are on {', '.join(sets) or 'no face set yet'}.")
    target = f"../{prose.url(f'results/{here.results.name}')}" if here else "../files.html"
    return "\n".join(
        [
            "```{raw} html",
            '<aside class="lr-run" aria-label="Run this yourself">',
            '<p class="lr-label">Run this yourself</p>',
            f"<pre><code>make reproduce STUDY={study}</code></pre>",
            f"<p>{' '.join(facts)} Nothing has to be fetched; with <code>DATA=celeba</code> and "
            "others it runs on photographs you have. "
            f'<a href="{target}">Tables, figures and what made them</a> · '
            '<a href="../use.html">set up</a></p>',
            "</aside>",
            "```",
        ]
    )
