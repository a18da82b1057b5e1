"""What made a table or a figure: command, notebook, parameters, commit, faces, machine."""

from __future__ import annotations

import ast
import difflib
import json
import re
import shlex
from pathlib import Path
from typing import Any

import pandas as pd

from lrface.checks import study_results
from lrface.checks.study_results import StudyResults
from lrface.errors import UsageError
from lrface.files import clock, output_root, project_root, sha256
from lrface.report import ledger, page, register


def outputs(root: Path) -> dict[str, StudyResults]:
    """Every table and figure that a record under ``root`` names, without suffix, and its study."""
    found = {}
    for one in study_results.find(root):
        record = one.record() or {"outputs": {}}
        names = [name for name in record["outputs"] if not name.endswith(".ipynb")]
        found |= {name.rpartition(".")[0]: one for name in names}
    return found


def find(text: str) -> dict[str, StudyResults]:
    """The tables and figures that a text may mean; of several sets those of the rendered faces.

    Parameters
    ----------
    text : str
        A path, or folders and a file: ``01/table2``, ``celeba/table2_fidelity``. The file is its
        name or, if no file has that name, what its name begins with; a study's number is enough.

    Raises
    ------
    UsageError
        There is none; the sentence says the nearest names.
    """
    root = output_root()
    known = outputs(root)
    path, base = Path(text), root.resolve()
    if path.exists() and path.resolve().is_relative_to(base):
        path = path.resolve().relative_to(base)
    parts = path.parts
    stem = re.sub(r"\.(csv|md|png|pdf)$", "", parts[-1]) if parts else ""

    def inside(name: str) -> bool:
        folders = name.split("/")[:-1]
        return all(any(part in (folder, folder[:2]) for folder in folders) for part in parts[:-1])

    here = {name: one for name, one in known.items() if inside(name)}
    file = {name: name.rpartition("/")[2] for name in known}
    found = {name: one for name, one in here.items() if file[name] == stem}
    if not found and stem:
        found = {name: one for name, one in here.items() if file[name].startswith(f"{stem}_")}
    if len(found) > 1:  # of several sets the rendered faces are meant
        default = {name: one for name, one in found.items() if one.data == "synthetic"}
        found = default if len(default) == 1 else found
    if not found:
        names = sorted(set(file.values()))
        close = difflib.get_close_matches(stem, names, 3, 0.4)
        hint = f"did you mean {' or '.join(close)}?" if close else f"it has {', '.join(names)}"
        raise UsageError(f"no table or figure {text!r} under {root}: {hint}")
    return found


def finding(name: str) -> dict[str, str] | None:
    """What is known of a finding: label -> text; None if the register has none of that name.

    Parameters
    ----------
    name : str
        Its id, or ``<data>/<id>``: then what made the results on this set is said; by default of
        the rendered faces.
    """
    data, _, short = name.rpartition("/")
    entered = register.registered().set_index("id")
    if short not in entered.index:
        return None
    about, file = entered.loc[short], output_root() / "results" / "findings.csv"
    where = f"{about['paper']}, {about['where']}"
    found = {"sentence": about["sentence"], "source": where}
    printed = f"“{about['quoted']}”" if about["quoted"] else ""
    found["published"] = printed or page.shown(about["published"], about["unit"])
    found |= {"note": about["note"]} if about["note"] else {}
    rows = ledger.read(file).query("id == @short") if file.is_file() else None
    if rows is None or rows.empty:
        return found | {"measured": "not yet: execute its study"}
    for _, row in rows.iterrows():
        found[row["data"]] = page.of_one(row)
    some = rows[rows["data"] != ledger.EVERY_SET]
    chosen = some[some["data"] == (data or "synthetic")]
    row = (some if chosen.empty else chosen).iloc[0]
    made = [
        one
        for one in study_results.find(output_root())
        if (one.data, one.preset, one.study) == (row["data"], row["preset"], row["study"])
    ]
    if made:
        folder = f"results/{made[0].name}"
        found |= explain(f"{folder}/findings", made[0])
    return found


def explain(name: str, one: StudyResults) -> dict[str, str]:
    """What made the table or figure ``name`` of a study (:func:`find`): label -> text."""
    record = one.record() or {}
    versions = [f"{package} {number}" for package, number in record.get("versions", {}).items()]
    parameters = record.get("parameters", {})
    state = "with changes not committed" if record.get("dirty") else "clean"
    machine = [record.get("platform", "?"), record.get("cpu_capability", "?")]
    return {
        "files": "; ".join(_files(name, one, record)),
        "command": command(one, parameters),
        "notebook": f"notebooks/{one.study}.ipynb",
        "parameters": ", ".join(f"{key}={value!r}" for key, value in parameters.items()),
        "commit": f"{record.get('commit') or 'unknown'}, {state}",
        "data": _faces(one, name),
        "environment": ", ".join([*machine, *versions]),
        "made": f"{record.get('finished', '?')}, in {clock(record.get('seconds', 0))}",
    }


def _files(name: str, one: StudyResults, record: dict[str, Any]) -> list[str]:
    """Its files, each with its state."""
    states = []
    for output, digest in record["outputs"].items():
        if output.rpartition(".")[0] == name:
            file, state = one.root / output, "CHANGED since it was made"
            if not file.is_file():
                state = "not here"
            elif sha256(file) == digest:
                state = "unchanged"
            states.append(f"{output} ({state})")
    return states


def command(one: StudyResults, parameters: dict[str, Any]) -> str:
    """The command line that makes the study again.

    It names every parameter that is not the notebook's default.
    """
    default = defaults(project_root() / "notebooks" / f"{one.study}.ipynb")
    words = ["lrface", "reproduce", "--study", one.study[:2]]
    words += ["--data", str(parameters.get("data", one.data)), "--preset", one.preset]
    for name, value in parameters.items():
        if name not in ("data", "preset") and (name not in default or default[name] != value):
            words += ["-p", f"{name}={value if isinstance(value, str) else json.dumps(value)}"]
    return shlex.join(words)


def defaults(notebook: Path) -> dict[str, Any]:
    """A notebook's parameters that have plain values; empty if it cannot be read."""
    try:
        cells = json.loads(notebook.read_text())["cells"]
        tagged = (c for c in cells if "parameters" in c["metadata"].get("tags", []))
        body = ast.parse("".join(next(tagged)["source"])).body
        pairs = [(n.target.id, n.value) for n in body if isinstance(n, ast.AnnAssign) and n.value]
        return {name: ast.literal_eval(value) for name, value in pairs}
    except (OSError, ValueError, KeyError, SyntaxError, StopIteration):
        return {}


def _faces(one: StudyResults, name: str) -> str:
    """The fingerprints of the faces.

    Those that were tested stand in the footers of the tables, those of training in the list of
    networks.
    """
    own = one.root / f"{name}.md"
    files = [own] if own.is_file() else sorted(one.results.glob("*.md"))
    footers = [re.findall(r"fingerprint ([0-9a-f]+)\.", file.read_text()) for file in files]
    tested = sorted({fingerprint for found in footers for fingerprint in found})
    parts = [one.data, *(f"tested on {fingerprint}" for fingerprint in tested)]
    if (one.results / "runs.csv").is_file():
        trained = pd.read_csv(one.results / "runs.csv", dtype=str)
        sets = dict(zip(trained["train_fingerprint"], trained["n_train"], strict=True))
        parts += [f"networks trained on {found} ({n} faces)" for found, n in sets.items()]
    return ", ".join(parts)
