"""Run a notebook as a function: typed parameters checked first, papermill for the cells, a record only after everything is there."""

from __future__ import annotations

import contextlib
import copy
import difflib
import hashlib
import io
import json
import logging
import os
import shutil
import tempfile
import time
import warnings
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import nbformat
import pandas as pd
import papermill
import yaml
from papermill.exceptions import PapermillExecutionError
from pydantic import BaseModel, ConfigDict, ValidationError, create_model
from traitlets.config import Config

from lrface import data, models, report, runs, scorebook
from lrface.data import FaceSet
from lrface.errors import LrfaceError, UsageError
from lrface.files import cache_dir, project_root, relayed, write_atomic, write_text
from lrface.runs import environment

FREE_MB = {"smoke": 200, "quick": 500, "gpu": 2000, "paper": 20000}
"""Disk space a run of a preset may need for checkpoints, figures and tables; asked for before a kernel starts."""


def folder() -> Path:
    return project_root() / "notebooks"


def find(study: str) -> Path:
    """The notebook of a study, by its number (``1``, ``01``) or its whole name."""
    known = sorted(folder().glob("[0-9][0-9]_*.ipynb"))
    for path in known:
        if study in (path.stem, path.stem[:2]) or study.zfill(2) == path.stem[:2]:
            return path
    raise UsageError(f"no study {study!r}: this version has {', '.join(p.stem for p in known) or 'none'}")


def _code(notebook: nbformat.NotebookNode, tag: str | None = None) -> list[str]:
    return [c.source for c in notebook.cells if c.cell_type == "code" and (tag is None or tag in c.metadata.get("tags", []))]


def contract(path: Path) -> type[BaseModel]:
    """The notebook's parameters as a strict pydantic model, read from the annotations of its one cell tagged ``parameters``."""
    cells = _code(nbformat.read(path, 4), "parameters")
    if len(cells) != 1:
        raise LrfaceError(f"{path.name} has {len(cells)} cells tagged 'parameters': a notebook needs exactly one")
    space: dict[str, Any] = {}
    exec(compile(cells[0], f"{path.name}, parameters", "exec", dont_inherit=True), space)
    fields = {name: (kind, space[name]) for name, kind in space.get("__annotations__", {}).items()}
    return create_model(path.stem, __config__=ConfigDict(extra="forbid", strict=True), **fields)


def planned(path: Path, values: dict[str, Any]) -> tuple[dict[Any, runs.Config], FaceSet | dict[str, FaceSet]] | None:
    """What the notebook would train: its ``configs`` and its ``train`` faces (or a dict of them, by a config's ``data``); None if it has no
    cell tagged ``plan``.

    The code cells down to the tagged one run in this process, with ``values`` (checked) in place of the defaults. What they show is
    dropped, what they save goes to a temporary folder. Raises one sentence (:class:`LrfaceError`) if a cell fails or the names are missing.
    """
    cells = [(c.source, c.metadata.get("tags", [])) for c in nbformat.read(path, 4).cells if c.cell_type == "code"]
    tagged = [number for number, (_, tags) in enumerate(cells, 1) if "plan" in tags]
    if not tagged:
        return None
    if len(tagged) > 1:
        raise LrfaceError(f"{path.name} has {len(tagged)} cells tagged 'plan': a notebook that trains has exactly one")
    space: dict[str, Any] = {}
    out = os.environ.get("LRFACE_OUT")
    with tempfile.TemporaryDirectory() as elsewhere, contextlib.chdir(project_root()), contextlib.redirect_stdout(io.StringIO()):
        os.environ["LRFACE_OUT"] = elsewhere
        try:
            for number, (source, tags) in enumerate(cells[: tagged[0]], 1):
                exec(compile(source, f"{path.name}, cell {number}", "exec", dont_inherit=True), space)
                if "parameters" in tags:
                    space |= copy.deepcopy(values)
        except LrfaceError:
            raise
        except Exception as error:
            first = (str(error).strip() or "no message").splitlines()[0]
            raise LrfaceError(f"{path.name}, code cell {number}: {type(error).__name__}: {first}") from error
        finally:
            os.environ.pop("LRFACE_OUT") if out is None else os.environ.update(LRFACE_OUT=out)
    configs, train = space.get("configs"), space.get("train")
    sets = train.values() if isinstance(train, dict) else [train]
    several = isinstance(configs, dict) and all(isinstance(c, runs.Config) for c in configs.values())
    if not several or not all(isinstance(faces, FaceSet) for faces in sets):
        raise LrfaceError(f"{path.name}: its cell tagged 'plan' must leave configs (a dict of runs.Config) and train (a FaceSet, or more)")
    return configs, train


def _plain(kind: Any) -> bool:
    """Whether a value given in the shell is this parameter's text as it stands (no number, list or flag to be read from it)."""
    return kind is str or (get_origin(kind) is Literal and all(isinstance(v, str) for v in get_args(kind)))


def _listed(kind: Any) -> bool:
    """Whether a parameter may be a list: ``list[str]``, with limits or None beside it."""
    return get_origin(kind) is list or any(_listed(part) for part in get_args(kind))


def parameters(path: Path, given: dict[str, str]) -> dict[str, Any]:
    """Check ``name=value`` texts against the notebook's contract: every value as a Python object, defaults filled in.

    Texts are read by the declared type: a ``str`` is taken as it is, lists may be written ``a,b`` or ``[a, b]``, the rest is YAML.
    Raises one sentence (:class:`UsageError`) for an unknown name, a wrong type or a value out of range.
    """
    model = contract(path)
    values: dict[str, Any] = {}
    for name, text in given.items():
        if name not in model.model_fields:
            close = difflib.get_close_matches(name, model.model_fields, 1)
            hint = f"did you mean {close[0]!r}? " if close else ""
            raise UsageError(f"{path.stem} has no parameter {name!r}: {hint}it has {', '.join(model.model_fields)}")
        kind = model.model_fields[name].annotation
        if _plain(kind):
            values[name] = text
        elif _listed(kind) and text != "null" and not text.lstrip().startswith("["):
            values[name] = [part.strip() for part in text.split(",") if part.strip()]
        else:
            try:
                values[name] = yaml.safe_load(text)
            except yaml.YAMLError:
                values[name] = text
    try:
        return model(**values).model_dump()
    except ValidationError as error:
        first = error.errors()[0]
        name = first["loc"][0]
        raise UsageError(f"parameter {name} of {path.stem}: {first['msg'].lower()}, got {given.get(name)!r}") from None


def _source_hash(path: Path, values: dict[str, Any]) -> str:
    """A hash over everything an executed notebook depends on: its code, its parameters, lrface, the locked versions, the files."""
    digest = hashlib.sha256(json.dumps(values, sort_keys=True).encode())
    for cell in _code(nbformat.read(path, 4)):
        digest.update(cell.encode() + b"\0")
    package = Path(__file__).parent
    for file in sorted([*package.rglob("*.py"), *package.rglob("*.csv")]):
        digest.update(file.relative_to(package).as_posix().encode() + file.read_bytes())
    lock = project_root() / "requirements.lock"
    digest.update(lock.read_bytes() if lock.exists() else b"")
    digest.update(data.state(values["data"]).encode())
    return digest.hexdigest()


def _check_place(place: Path, megabytes: int) -> None:
    """Raise unless ``place`` can be written and has room: asked before a kernel starts, not after an hour."""
    try:
        place.mkdir(parents=True, exist_ok=True)
        probe = place / f".probe-{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise LrfaceError(
            f"cannot write to {place} ({error.strerror}): make it writable, or set LRFACE_OUT (results) or LRFACE_CACHE to another folder"
        ) from None
    free = shutil.disk_usage(place).free >> 20
    if free < megabytes:
        raise LrfaceError(f"{place} has {free} MB free, this preset may need {megabytes} MB: free some, or set LRFACE_OUT and LRFACE_CACHE")


def _hashes(folders: tuple[Path, ...]) -> dict[str, str]:
    root = report.output_root()
    files = (
        f for place in folders for f in sorted(place.glob("*")) if f.is_file() and not f.name.startswith(".") and f.name != "record.json"
    )
    return {f.relative_to(root).as_posix(): hashlib.sha256(f.read_bytes()).hexdigest() for f in files}


@dataclass
class Outcome:
    """What became of one notebook."""

    study: str
    status: Literal["computed", "reused", "failed"]
    seconds: float
    results: Path
    figures: Path
    why: str = ""
    outputs: list[str] = field(default_factory=list)


def check_names(path: Path, values: dict[str, Any]) -> None:
    """Raise one sentence if the data set is not at hand or a method is unknown. Writes nothing."""
    data.check_name(values["data"])
    if "models.register(" not in "".join(_code(nbformat.read(path, 4))):  # a notebook may bring methods of its own
        for name in values.get("methods", []):
            models.method(name)


def check(path: Path, values: dict[str, Any]) -> None:
    """Everything that can be known to be wrong before a kernel starts: data set, methods, folders, disk."""
    check_names(path, values)
    results, figures = report.places(values["data"], values["preset"], path.stem)
    for place in (results, figures, cache_dir("runs")):
        _check_place(place, FREE_MB[values["preset"]])


def run(path: Path, values: dict[str, Any], force: bool = False) -> Outcome:
    """Execute a notebook with checked parameters, or reuse its last complete execution if nothing it depends on has changed.

    The executed notebook, its tables and figures lie in the study's results folder with ``record.json``, which is written last and only
    if the execution succeeded and left at least one table: papermill's own metadata cannot be trusted for that.
    """
    began = time.monotonic()
    results, figures = report.places(values["data"], values["preset"], path.stem)
    record_file = results / "record.json"
    source = _source_hash(path, values)
    if not force and record_file.exists():
        with contextlib.suppress(OSError, ValueError, KeyError):
            record = json.loads(record_file.read_text())
            if record["source"] == source and record["outputs"] == _hashes((results, figures)):
                return Outcome(path.stem, "reused", time.monotonic() - began, results, figures, outputs=list(record["outputs"]))
    results.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(OSError, ValueError, KeyError):
        # What the last run wrote must not pass for this one's: with fewer settings, say, it may write fewer files.
        for name in json.loads(record_file.read_text())["outputs"]:
            (report.output_root() / name).unlink(missing_ok=True)
    record_file.unlink(missing_ok=True)
    executed = results / "notebook.ipynb"
    partial = results / ".notebook.part.ipynb"
    try:
        _execute(path, partial, values)
        os.replace(partial, executed)
    except PapermillExecutionError as error:
        partial.replace(results / "failed.ipynb") if partial.exists() else None
        why = f"cell {error.exec_count}: {error.ename}: {error.evalue.splitlines()[0] if error.evalue else ''}"
        return Outcome(path.stem, "failed", time.monotonic() - began, results, figures, f"{why} (see {results / 'failed.ipynb'})")
    except Exception as error:  # a dead kernel, a full disk: whatever it is, the other studies still run
        partial.unlink(missing_ok=True)
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        return Outcome(path.stem, "failed", time.monotonic() - began, results, figures, f"{type(error).__name__}: {first}")
    (results / "failed.ipynb").unlink(missing_ok=True)
    outputs = _hashes((results, figures))
    if not any(name.endswith(".csv") for name in outputs):
        return Outcome(path.stem, "failed", time.monotonic() - began, results, figures, "it finished but left no table")
    seconds = time.monotonic() - began
    record = {
        "study": path.stem,
        "source": source,
        "parameters": values,
        "seconds": round(seconds, 1),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        **environment(),
        "outputs": outputs,
    }
    write_text(record_file, json.dumps(record, indent=1))
    return Outcome(path.stem, "computed", seconds, results, figures, outputs=list(outputs))


def _execute(path: Path, out: Path, values: dict[str, Any]) -> None:
    logging.getLogger("papermill").setLevel(logging.ERROR)
    with warnings.catch_warnings(), relayed(path.stem):
        warnings.simplefilter("ignore")
        papermill.execute_notebook(
            str(path),
            str(out),
            parameters=values,
            kernel_name="python3",
            cwd=str(project_root()),
            progress_bar=False,
            extra_arguments=["--log-level=50"],
            # Files instead of TCP ports: it works where there is no network at all, not even loopback, and nobody else can listen.
            config=Config({"KernelManager": {"transport": "ipc"}}),
        )


def release(outcome: Outcome) -> int:
    """Put the networks a study of rendered faces was computed with, and its faces' scores, beside its results.

    Returns the number of networks not there before: the study's tables are to be made again with what was released. A network that is
    computed in seconds rather than trained (Eigenface) is left out: it is far larger than the time it saves. What no study of the preset
    lists any more is removed.
    """
    preset = outcome.results.parent
    if not preset.parent.name.startswith("synthetic"):
        return 0
    listed = {
        kind: [pd.read_csv(f, dtype={"key": str})["key"] for f in sorted(preset.glob(f"*/{kind}.csv"))] for kind in ("runs", "scores")
    }
    networks, scored = (list(dict.fromkeys(pd.concat(keys))) if keys else [] for keys in listed.values())
    new = 0
    for key in networks:
        run = runs.kept(key)
        if run is not None and run.source == "cached" and models.known(run.config.method).solve is None:
            runs.release(run, preset / "checkpoints")
            new += 1
    scorebook.release(scored, preset / "scores")
    for old in [*preset.glob("checkpoints/*"), *preset.glob("scores/*")]:
        if old.stem not in {*networks, *scored}:
            shutil.rmtree(old) if old.is_dir() else old.unlink()
    return new


def publish(path: Path, outcome: Outcome) -> None:
    """Make the executed notebook the committed one: the defaults as its parameters, and no picture of a real person in it."""
    notebook = nbformat.read(outcome.results / "notebook.ipynb", 4)
    notebook.cells = [c for c in notebook.cells if "injected-parameters" not in c.metadata.get("tags", [])]
    for number, cell in enumerate((c for c in notebook.cells if c.cell_type == "code"), 1):
        cell.execution_count = number
        cell.metadata.pop("papermill", None)
        cell.metadata.pop("execution", None)
        for output in cell.outputs:
            if output.output_type == "execute_result":
                output.execution_count = number
            mark = output.get("metadata", {}).get("lrface", {})
            if mark.get("photos"):
                where = outcome.figures.relative_to(report.output_root()) / f"{mark['figure']}.png"
                output.data = {"text/plain": f"{where}: real people's faces, drawn on your machine and not published"}
    notebook.cells = [
        c for c in notebook.cells if c.cell_type != "markdown" or "papermill-error-cell-tag" not in c.metadata.get("tags", [])
    ]
    for cell in notebook.cells:
        cell.metadata.pop("papermill", None)
    notebook.metadata.pop("papermill", None)
    notebook.metadata.kernelspec = {"display_name": "Python 3", "language": "python", "name": "python3"}
    write_atomic(path, lambda temporary: nbformat.write(notebook, temporary))
