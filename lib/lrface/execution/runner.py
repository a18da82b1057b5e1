"""Run a notebook as a function: reuse current results, or execute it and accept only a whole run.

:func:`run` decides by the record of the last complete run whether its results are still current
(:mod:`lrface.execution.provenance`). If not, it executes the notebook into a stage
(:mod:`lrface.execution.kernel`, :mod:`lrface.execution.staging`) and promotes the stage only if
the kernel succeeded and every output can be read.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import pandas as pd
from filelock import Timeout

from lrface import data, settings
from lrface.errors import LrfaceError
from lrface.execution import fitness, kernel, notebooks, provenance
from lrface.execution.kernel import Failure
from lrface.execution.staging import Stage
from lrface.files import cache_dir, output_root, sha256, variant

FREE_MB = {"smoke": 200, "quick": 500, "gpu": 2000, "paper": 20000}
"""Disk space that a run at a preset may need for checkpoints, figures and tables."""


@dataclass
class Outcome:
    """What came of running one notebook."""

    study: str
    status: Literal["computed", "reused", "failed"]
    seconds: float
    results: Path
    figures: Path
    reason: str = ""
    """Why it was computed, or why it failed."""
    outputs: list[str] = field(default_factory=list)
    kind: kernel.Kind | None = None
    """The kind of failure."""


def check_names(path: Path, values: dict[str, Any]) -> None:
    """Raise one sentence if the data set is not at hand, or not fit for the study, or a method is
    unknown. Writes nothing but the scan of a user's own faces."""
    data.check_name(values["data"])
    fitness.check(path.stem, values)
    # a notebook may register methods of its own
    adds = ("models.register(", "models.foreign(")
    registers = any(word in source for source, _ in notebooks.cells(path) for word in adds)
    if values.get("methods") and not registers:
        from lrface import models

        for name in values["methods"]:
            models.method(name)


def check(path: Path, values: dict[str, Any]) -> None:
    """Raise one sentence for whatever can be found wrong before a kernel starts.

    Data set, methods, device, folders and disk space are checked.
    """
    check_names(path, values)
    kernel.check_gpu(values["preset"])
    for folder in (*stage_of(path, values).final, cache_dir("runs"), output_root() / ".lrface"):
        _check_folder(folder, FREE_MB[values["preset"]])


def stage_of(path: Path, values: dict[str, Any]) -> Stage:
    """The stage of a run. In ``results/local`` one with other parameters has a folder apart."""
    where = values["data"], values["preset"], path.stem
    if settings.current().out is not None:
        return Stage(*where)
    usual = notebooks.contract(path).model_fields
    own = {k: v for k, v in values.items() if k not in ("data", "preset") and v != usual[k].default}
    return Stage(*where, variant(own))


def _check_folder(folder: Path, megabytes: int) -> None:
    """Raise one sentence unless ``folder`` can be written to and has that much space."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".probe-{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise LrfaceError(
            f"cannot write to {folder} ({error.strerror}): make it writable, or set LRFACE_OUT "
            "(results) or LRFACE_CACHE to another folder"
        ) from None
    free = shutil.disk_usage(folder).free >> 20
    if free < megabytes:
        raise LrfaceError(
            f"{folder} has {free} MB free, this preset may need {megabytes} MB: free some, or set "
            "LRFACE_OUT and LRFACE_CACHE"
        )


def reusable(path: Path, values: dict[str, Any]) -> Outcome | None:
    """The results of an earlier run if they are whole and current, else None. Only reads."""
    began = time.monotonic()
    stage = stage_of(path, values)
    if (stage.folder / "record.json").exists():  # a complete run waits to be promoted
        return None
    record = stage.record()
    reason, _ = _outdated(stage, record, path, values)
    return None if reason else _reused(stage, record, began)


def _reused(stage: Stage, record: dict[str, Any], began: float) -> Outcome:
    seconds, outputs = time.monotonic() - began, list(record["outputs"])
    return Outcome(stage.study, "reused", seconds, *stage.final, outputs=outputs)


def _outdated(
    stage: Stage, record: dict[str, Any], path: Path, values: dict[str, Any]
) -> tuple[str, dict[str, str]]:
    """Why the results of a record are out of date (empty if they are not), and the parts now."""
    then = record.get("provenance")
    then = then if isinstance(then, dict) else {}
    now = provenance.parts(path, values, provenance.sets(then))
    if not record:
        return "there is no record of a complete run", now
    if not then:
        return "its record does not say what it was computed from", now
    if changed := provenance.difference(now, then):
        return changed, now
    for name, digest in record["outputs"].items():
        file = stage.place(name)
        if not file.is_file():
            return f"{file.name} is missing", now
        if sha256(file) != digest:
            return f"{file.name} is not as it was written", now
    return "", now


def run(
    path: Path, values: dict[str, Any], force: bool = False, cell_timeout: float | None = None
) -> Outcome:
    """Execute a notebook, or reuse its last complete run if nothing that it depends on changed.

    The executed notebook, its tables and figures and ``record.json`` replace the earlier results
    only when the kernel succeeded and every output can be read. A failed run leaves
    ``failed.ipynb`` beside the earlier results and nothing else. Two runs of one study wait for
    one another.

    Parameters
    ----------
    path : the notebook.
    values : its parameters, checked (:func:`notebooks.parameters`).
    force : execute even if the results are current.
    cell_timeout : seconds that one cell may take.

    Returns
    -------
    Outcome
        Failures included: nothing is raised for them.
    """
    began = time.monotonic()
    stage = stage_of(path, values)
    reason, outputs = "", []
    try:
        with _locked(stage):
            kernel.end_orphan(stage.folder / "kernel.json")
            stage.promote()
            provenance.data_state.cache_clear()
            record = stage.record()
            reason, now = _outdated(stage, record, path, values)
            if not reason and not force:
                return _reused(stage, record, began)
            failure = _execute(stage, path, values, now, record.get("seconds"), cell_timeout)
            if failure is None:
                outputs = list(stage.record()["outputs"])
    except (OSError, LrfaceError) as error:
        cause = error if isinstance(error, OSError) else error.__cause__
        full = isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT)
        failure = Failure("disk full" if full else "exception", str(error))
    ended = (time.monotonic() - began, *stage.final)
    if failure is not None:
        return Outcome(path.stem, "failed", *ended, failure.sentence, kind=failure.kind)
    return Outcome(path.stem, "computed", *ended, reason or "asked for", outputs)


@contextlib.contextmanager
def _locked(stage: Stage) -> Iterator[None]:
    lock = stage.lock()
    try:
        lock.acquire(timeout=0)
    except Timeout:
        print(f"{stage.study}: waiting for another run of it", flush=True)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _execute(
    stage: Stage,
    path: Path,
    values: dict[str, Any],
    now: dict[str, str],
    expected: float | None,
    cell_timeout: float | None,
) -> Failure | None:
    """Execute into the stage and promote it; None if that succeeded."""
    began = time.monotonic()
    stage.prepare()
    partial, trace = stage.folder / "notebook.ipynb", stage.final[0] / "failed.ipynb"
    trace.unlink(missing_ok=True)
    environment = {"LRFACE_OUT": str(stage.folder), "LRFACE_NOTES": str(stage.notes)}
    pids = stage.folder / "kernel.json"
    failure, scores = Failure("interrupted", ""), {}
    try:
        failure = kernel.execute(path, partial, values, environment, pids, expected, cell_timeout)
        if failure is None:
            kernel.save_clean(partial, stage.staged[0] / "notebook.ipynb")
            failure, scores = _check_outputs(stage)
    finally:
        if failure is not None:
            if partial.exists():
                _save_trace(partial, trace)
            stage.discard()
    if failure is not None:
        see = f" (see {trace})" if trace.exists() else ""
        return Failure(failure.kind, failure.sentence + see)
    seconds = round(time.monotonic() - began, 1)
    stage.mark_complete(_record(stage, path, values, now, seconds, scores))
    if stage.promote():
        return None
    return Failure("missing output", "its outputs changed while they were moved to their place")


def _check_outputs(stage: Stage) -> tuple[Failure | None, dict[str, str]]:
    """What is missing of a finished run, if anything, and the hashes of its score files."""
    if missing := stage.missing():
        sentence = f"it finished, and left no readable {', '.join(missing)}"
        return Failure("missing output", sentence), {}
    if not any(name.endswith(".csv") for name in stage.outputs()):
        return Failure("missing output", "it finished, and left no table"), {}
    try:
        return None, score_hashes(stage.staged[0] / "scores.csv")
    except LrfaceError as error:
        return Failure("missing output", str(error)), {}


def score_hashes(listing: Path) -> dict[str, str]:
    """The sha256 of the score file of every key in a study's ``scores.csv``; none without one.

    Raises one sentence (:class:`LrfaceError`) if a key has no score file.
    """
    if not listing.is_file():
        return {}
    from lrface.metrics import score_cache

    keys = pd.read_csv(listing, dtype={"key": str})["key"].drop_duplicates()
    files = {key: score_cache.stored_file(key) for key in keys}
    if absent := [key for key, file in files.items() if file is None]:
        more = f" and {len(absent) - 1} more" if len(absent) > 1 else ""
        raise LrfaceError(
            f"its scores.csv lists {absent[0]}{more}, and there is no such score file: "
            "list only keys of score_cache.compute"
        )
    return {key: sha256(file) for key, file in files.items()}


def _record(
    stage: Stage,
    path: Path,
    values: dict[str, Any],
    now: dict[str, str],
    seconds: float,
    scores: dict[str, str],
) -> dict[str, Any]:
    from lrface.training.runs import environment

    # a set first loaded in this run has the state that it had when the notebook loaded it
    sets = stage.noted("data")
    parts = provenance.parts(path, values, sets)
    parts |= {f"data {name}": state for name, state in sets.items()}
    parts |= {name: state for name, state in now.items() if name in parts}
    return {
        "study": path.stem,
        "source": provenance.key(parts),
        "parameters": values,
        "seconds": seconds,
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        **environment(),
        **kernel.gpu_record(),
        "outputs": stage.outputs(),
        "provenance": parts,
        **({"scores": scores} if scores else {}),
    }


def _save_trace(partial: Path, target: Path) -> None:
    """Save the notebook of a failed run; on a full disk at least move it as it is."""
    with contextlib.suppress(OSError):
        try:
            kernel.save_clean(partial, target)
        except (LrfaceError, ValueError):
            os.replace(partial, target)
