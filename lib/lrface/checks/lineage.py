"""What made a table or a figure: the command, the notebook, the parameters, the commit, the faces,
the machine."""

from __future__ import annotations

import ast
import difflib
import json
import re
import shlex
from pathlib import Path
from typing import Any

import pandas as pd

from lrface.checks import cross_checks
from lrface.checks.verify import Place, committed
from lrface.errors import UsageError
from lrface.files import clock, output_root, project_root


def outputs(root: Path) -> dict[str, Place]:
    """Every table and figure that a record under ``root`` names, without its suffix, and the study
    it is of."""
    found = {}
    for place in committed(root):
        record = place.record() or {"outputs": {}}
        found |= {
            name.rpartition(".")[0]: place
            for name in record["outputs"]
            if not name.endswith(".ipynb")
        }
    return found


def find(wanted: str) -> dict[str, Place]:
    """The tables and figures a name may mean: a path, or ``01/table2``, ``figure6_strangers``,
    ``celeba/table2_fidelity``.

    The last part is a file's name, whole if there is such a file, else the beginning of one; parts
    before it are folders, a study's number too. Raises :class:`UsageError` with the nearest name if
    there is none.
    """
    root = output_root()
    known = outputs(root)
    path, base = Path(wanted), root.resolve()
    if path.exists() and path.resolve().is_relative_to(base):
        path = path.resolve().relative_to(base)
    parts = path.parts
    stem = re.sub(r"\.(csv|md|png|pdf)$", "", parts[-1]) if parts else ""

    def inside(name: str) -> bool:
        folders = name.split("/")[:-1]
        return all(any(part in (folder, folder[:2]) for folder in folders) for part in parts[:-1])

    here = {name: place for name, place in known.items() if inside(name)}
    whole = {name: place for name, place in here.items() if name.rpartition("/")[2] == stem}
    found = whole or {
        name: place
        for name, place in here.items()
        if stem and name.rpartition("/")[2].startswith(f"{stem}_")
    }
    if not found:
        names = sorted({name.rpartition("/")[2] for name in known})
        close = difflib.get_close_matches(stem, names, 3, 0.4)
        hint = f"did you mean {' or '.join(close)}?" if close else f"it has {', '.join(names)}"
        raise UsageError(f"no table or figure {wanted!r} under {root}: {hint}")
    return found


def _defaults(notebook: Path) -> dict[str, Any]:
    """The parameters a notebook has of its own, as far as they are plain values; empty if it cannot
    be read."""
    try:
        cells = json.loads(notebook.read_text())["cells"]
        source = next(
            "".join(c["source"]) for c in cells if "parameters" in c["metadata"].get("tags", [])
        )
        pairs = [
            (n.target.id, n.value)
            for n in ast.parse(source).body
            if isinstance(n, ast.AnnAssign) and n.value
        ]
        return {name: ast.literal_eval(value) for name, value in pairs}
    except (OSError, ValueError, KeyError, SyntaxError, StopIteration):
        return {}


def command(place: Place, parameters: dict[str, Any]) -> str:
    """The command line that makes the study again: its number, its set and preset, and every
    parameter that is not the notebook's own."""
    own = _defaults(project_root() / "notebooks" / f"{place.study}.ipynb")
    words = [
        "lrface",
        "reproduce",
        "--study",
        place.study[:2],
        "--data",
        str(parameters.get("data", place.data)),
        "--preset",
        place.preset,
    ]
    for name, value in parameters.items():
        if name not in ("data", "preset") and (name not in own or own[name] != value):
            words += ["-p", f"{name}={value if isinstance(value, str) else json.dumps(value)}"]
    return shlex.join(words)


def _faces(place: Place, name: str) -> str:
    """The fingerprints of the faces: of those tested, from the tables' footers, and of those
    trained on, from the list of networks."""
    own = place.root / f"{name}.md"
    files = [own] if own.is_file() else sorted(place.results.glob("*.md"))
    tested = {
        found
        for file in files
        for found in re.findall(r"fingerprint ([0-9a-f]+)\.", file.read_text())
    }
    parts = [place.data, *(f"tested on {found}" for found in sorted(tested))]
    if (place.results / "runs.csv").is_file():
        trained = pd.read_csv(place.results / "runs.csv", dtype=str)
        sets = dict(zip(trained["train_fingerprint"], trained["n_train"], strict=True))
        parts += [f"networks trained on {found} ({n} faces)" for found, n in sets.items()]
    return ", ".join(parts)


def explain(name: str, place: Place) -> dict[str, str]:
    """What made the table or figure ``name`` (see :func:`find`), a phrase each: files, command,
    notebook, parameters, commit, ..."""
    record = place.record() or {}
    states = []
    for output, digest in record["outputs"].items():
        if output.rpartition(".")[0] == name:
            file = place.root / output
            state = (
                "not here"
                if not file.is_file()
                else "unchanged"
                if cross_checks.sha256(file) == digest
                else "CHANGED since it was made"
            )
            states.append(f"{output} ({state})")
    versions = ", ".join(
        f"{package} {number}" for package, number in record.get("versions", {}).items()
    )
    parameters = record.get("parameters", {})
    return {
        "files": "; ".join(states),
        "command": command(place, parameters),
        "notebook": f"notebooks/{place.study}.ipynb",
        "parameters": ", ".join(f"{key}={value!r}" for key, value in parameters.items()),
        "commit": f"{record.get('commit') or 'unknown'}{', with changes not committed' if record.get('dirty') else ', clean'}",
        "data": _faces(place, name),
        "environment": f"{record.get('platform', '?')}, {record.get('cpu_capability', '?')}, {versions}",
        "made": f"{record.get('finished', '?')}, in {clock(record.get('seconds', 0))}",
    }
