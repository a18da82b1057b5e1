"""What an executed notebook shows, and which files its code writes."""

from __future__ import annotations

import ast
import base64
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from lrface.checks.compare import Drift
from lrface.checks.study_results import StudyResults
from lrface.execution import notebooks

WRITERS = {"table": ("csv", "md"), "listing": ("csv",), "figure": ("csv", "pdf", "png")}
"""The methods of a report.Study that write files, with the suffixes of these."""
ALWAYS_KNOWN = (
    *("record.json", "manifest.json", "summary.md", "findings.csv", "contrasts.csv"),
    "claims.csv",  # of studies that were executed before there were findings
)
"""Files of a study that no call with a name writes."""


class ExecutedNotebook(NamedTuple):
    """What an executed notebook shows."""

    name: str
    texts: list[str]
    """Its Markdown outputs."""
    images: dict[str, bytes]
    """Its figures, PNG or JPEG, by name."""


def executed_notebook(candidates: list[Path], data: str, preset: str) -> ExecutedNotebook | None:
    """The first of these notebooks whose tables are of this data and preset, by their footers."""
    for path in candidates:
        found = ExecutedNotebook(path.name, [], {})
        try:
            cells = json.loads(path.read_text())["cells"]
        except (OSError, ValueError, KeyError):
            continue
        for output in (output for cell in cells for output in cell.get("outputs", [])):
            shown, mark = output.get("data", {}), output.get("metadata", {}).get("lrface", {})
            if "text/markdown" in shown:
                found.texts.append("".join(shown["text/markdown"]))
            if mark and (image := shown.get("image/png") or shown.get("image/jpeg")):
                found.images[mark["figure"]] = base64.b64decode("".join(image))
        if any(f"{data} / {preset}, " in text for text in found.texts):
            return found
    return None


def tables_without_file(notebook: ExecutedNotebook, one: StudyResults) -> Iterator[Drift]:
    """Tables and figures that an executed notebook shows, and that have no file any more."""
    stored = {file.read_text(encoding="utf-8").rstrip("\n") for file in one.results.glob("*.md")}
    first_lines = {text.partition("\n")[0] for text in stored}
    for text in notebook.texts:
        ours = f"{one.data} / {one.preset}, fingerprint" in text
        if ours and text.startswith("|") and text.partition("\n")[0] not in first_lines:
            what = text.splitlines()[2].strip("| ") if text.count("\n") > 2 else text[:60]
            name = f"results/{one.name}"
            yield Drift(name, f"{notebook.name} shows a table that no file holds: {what[:60]}")
    if one.figures.is_dir():
        for figure in notebook.images:
            if not (one.figures / f"{figure}.png").is_file():
                name = f"figures/{one.name}/{figure}.png"
                yield Drift(name, f"missing, and {notebook.name} shows it")


class Written(NamedTuple):
    """What a notebook's code may write."""

    names: re.Pattern[str]
    """Of every file that it may write, without suffix."""
    always: dict[str, str]
    """Name -> method, of the calls that are made whatever the data are."""
    elsewhere: bool
    """Whether some name is not written out in the notebook, so that any file may be its."""


def written(path: Path) -> Written:
    """What the cells of a notebook write, by its calls of ``study.table("name", ...)`` and others.

    Also counted are names that a function of the notebook's own passes on: the first argument of
    every call in the notebook that is a text.
    """
    patterns, always, elsewhere = [], {}, False
    for source, _ in notebooks.cells(path):
        try:
            tree = ast.parse(source)
        except SyntaxError:  # a magic command
            continue
        passed_on = False
        for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
            if not call.args:
                continue
            pattern = _pattern(call.args[0])
            if _writer(call):
                passed_on |= pattern is None
            if pattern is not None:
                patterns.append(pattern)
        for statement in tree.body:
            for call in _unconditional(statement):
                if _writer(call) and call.args and isinstance(call.args[0], ast.Constant):
                    always[call.args[0].value] = call.func.attr
        elsewhere |= passed_on and not any("def " in line for line in source.splitlines())
    return Written(re.compile("|".join(patterns) or "(?!)"), always, elsewhere)


def _writer(call: ast.Call) -> bool:
    func = call.func
    is_method = isinstance(func, ast.Attribute) and isinstance(func.value, ast.Name)
    return is_method and func.value.id == "study" and func.attr in WRITERS


def _pattern(node: ast.expr) -> str | None:
    """A pattern for the text that an expression gives; None if it is not written out."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return re.escape(node.value)
    if isinstance(node, ast.JoinedStr):
        parts = [".+" if isinstance(v, ast.FormattedValue) else _pattern(v) for v in node.values]
        return "".join(part for part in parts if part)
    return None


def _unconditional(statement: ast.stmt) -> Iterator[ast.Call]:
    """The calls of a top-level statement that are made in any case."""
    if isinstance(statement, ast.Expr | ast.Assign):
        plain = not any(isinstance(n, ast.IfExp | ast.Lambda) for n in ast.walk(statement))
        yield from (n for n in ast.walk(statement) if plain and isinstance(n, ast.Call))


def outputs(path: Path, one: StudyResults) -> Iterator[Drift]:
    """Files of a study that its notebook does not write, and those that it always writes."""
    by_code = written(path)
    places = {"results": one.results, "figures": one.figures}
    for kind, folder in places.items():
        for file in sorted(folder.glob("[!.]*")):
            known = file.name in ALWAYS_KNOWN or by_code.names.fullmatch(file.stem)
            if file.suffix != ".ipynb" and not known and not by_code.elsewhere:
                yield Drift(f"{kind}/{one.name}/{file.name}", f"no cell of {path.name} writes it")
    for name, method in by_code.always.items():
        kind = "figures" if method == "figure" else "results"
        for suffix in WRITERS[method]:
            file = places[kind] / f"{name}.{suffix}"
            if places[kind].is_dir() and not file.is_file():
                why = f"missing: {path.name} writes it in any case"
                yield Drift(f"{kind}/{one.name}/{file.name}", why)
