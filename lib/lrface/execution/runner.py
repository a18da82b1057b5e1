"""Run a notebook as a function: reuse what still stands, say why the rest is computed, and believe
nothing but a whole result."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from filelock import Timeout

from lrface import data
from lrface.errors import LrfaceError
from lrface.execution import kernel, notebooks, provenance
from lrface.execution.kernel import Failure
from lrface.execution.staging import Stage
from lrface.files import cache_dir, output_root, places, sha256

FREE_MB = {"smoke": 200, "quick": 500, "gpu": 2000, "paper": 20000}
"""Disk space a run of a preset may need for checkpoints, figures and tables; asked for before a
kernel starts."""


@dataclass
class Outcome:
    """What became of one notebook."""

    study: str
    status: Literal["computed", "reused", "failed"]
    seconds: float
    results: Path
    figures: Path
    why: str = ""
    """Why it was computed, or why it failed."""
    outputs: list[str] = field(default_factory=list)
    kind: kernel.Kind | None = None
    """Of a failure."""


def check_names(path: Path, values: dict[str, Any]) -> None:
    """Raise one sentence if the data set is not at hand or a method is unknown. Writes nothing."""
    data.check_name(values["data"])
    # a notebook may bring methods of its own
    if values.get("methods") and not any(
        "models.register(" in source for source, _ in notebooks.cells(path)
    ):
        from lrface import models

        for name in values["methods"]:
            models.method(name)


def check(path: Path, values: dict[str, Any]) -> None:
    """Everything that can be known to be wrong before a kernel starts: data set, methods, device,
    folders, disk."""
    check_names(path, values)
    kernel.require_gpu(values["preset"])
    results, figures = places(values["data"], values["preset"], path.stem)
    for place in (results, figures, cache_dir("runs"), output_root() / ".lrface"):
        _check_place(place, FREE_MB[values["preset"]])


def _check_place(place: Path, megabytes: int) -> None:
    """Raise unless ``place`` can be written and has room: asked before a kernel starts, not after
    an hour."""
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
        raise LrfaceError(
            f"{place} has {free} MB free, this preset may need {megabytes} MB: free some, or set LRFACE_OUT and LRFACE_CACHE"
        )


def standing(path: Path, values: dict[str, Any]) -> Outcome | None:
    """The results of an earlier run, if they are whole and nothing they stand on has changed.
    Reads, and neither waits nor repairs."""
    began = time.monotonic()
    stage = Stage(values["data"], values["preset"], path.stem)
    if (stage.folder / "record.json").exists():  # a complete run waits to be put in place
        return None
    record = stage.record()
    return None if _why(record, path, values)[0] else _reused(stage, record, began)


def _reused(stage: Stage, record: dict[str, Any], began: float) -> Outcome:
    return Outcome(
        stage.study,
        "reused",
        time.monotonic() - began,
        *stage.results,
        outputs=list(record["outputs"]),
    )


def _why(record: dict[str, Any], path: Path, values: dict[str, Any]) -> tuple[str, dict[str, str]]:
    """Why the results of a record do not stand (empty if they do), and what results stand on now."""
    then = record.get("provenance")
    then = then if isinstance(then, dict) else {}
    now = provenance.parts(
        path, values, provenance.named(then, "data"), provenance.named(then, "notebook")
    )
    if not record:
        return "there is no record of a complete run", now
    if not then:
        return "its record does not say what it stands on", now
    if changed := provenance.difference(now, then):
        return changed, now
    for name, digest in record["outputs"].items():
        file = output_root() / name
        if not file.is_file():
            return f"{file.name} is missing", now
        if sha256(file) != digest:
            return f"{file.name} is not as it was written", now
    return "", now


def run(
    path: Path, values: dict[str, Any], force: bool = False, cell_timeout: float | None = None
) -> Outcome:
    """Execute a notebook with checked parameters, or reuse its last complete execution if nothing
    it stands on has changed.

    The executed notebook, its tables and figures lie in the study's results folder with
    ``record.json``. They replace the earlier ones only when the kernel has ended well and every
    output that the notebook declares is there and can be read; a run that fails leaves
    ``failed.ipynb`` beside the earlier results, and nothing else. Two runs of one study wait for
    one another.
    """
    began = time.monotonic()
    stage = Stage(values["data"], values["preset"], path.stem)
    try:
        with _locked(stage):
            kernel.end_orphan(stage.folder / "kernel.json")
            stage.finish()
            provenance.standing.cache_clear()
            record = stage.record()
            why, now = _why(record, path, values)
            if not why and not force:
                return _reused(stage, record, began)
            failure = _compute(stage, path, values, now, record.get("seconds"), cell_timeout)
            outputs = list(stage.record()["outputs"]) if failure is None else []
    except (OSError, LrfaceError) as error:
        cause = error if isinstance(error, OSError) else error.__cause__
        full = isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT)
        failure = Failure("disk full" if full else "exception", str(error))
    seconds = time.monotonic() - began
    if failure is not None:
        return Outcome(
            path.stem, "failed", seconds, *stage.results, failure.sentence, kind=failure.kind
        )
    return Outcome(path.stem, "computed", seconds, *stage.results, why or "asked for", outputs)


@contextlib.contextmanager
def _locked(stage: Stage):
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


def _compute(
    stage: Stage,
    path: Path,
    values: dict[str, Any],
    now: dict[str, str],
    expected: float | None,
    cell_timeout: float | None,
) -> Failure | None:
    began = time.monotonic()
    stage.prepare()
    partial, left = stage.folder / "notebook.ipynb", stage.results[0] / "failed.ipynb"
    left.unlink(missing_ok=True)
    settings = {"LRFACE_OUT": str(stage.folder), "LRFACE_NOTES": str(stage.notes)}
    failure = Failure("interrupted", "")
    try:
        failure = kernel.execute(
            path, partial, values, settings, stage.folder / "kernel.json", expected, cell_timeout
        )
        if failure is None:
            kernel.tidy(partial, stage.places[0] / "notebook.ipynb")
            if missing := stage.missing(path):
                failure = Failure(
                    "missing output", f"it finished, and left no readable {', '.join(missing)}"
                )
            elif not any(name.endswith(".csv") for name in stage.outputs()):
                failure = Failure("missing output", "it finished, and left no table")
    finally:
        if failure is not None:
            if partial.exists():
                _leave(partial, left)
            stage.discard()
    if failure is not None:
        return Failure(failure.kind, failure.sentence + (f" (see {left})" if left.exists() else ""))
    from lrface.training.runs import environment

    # Sets that were first heard of in this run stand as they were when the notebook asked for them.
    sets = stage.told("data")
    parts = provenance.parts(path, values, sets, stage.told("notebook"))
    parts |= {f"data {name}": state for name, state in sets.items()}
    parts |= {name: state for name, state in now.items() if name in parts}
    record = {
        "study": path.stem,
        "source": provenance.key(parts),
        "parameters": values,
        "seconds": round(time.monotonic() - began, 1),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        **environment(),
        "outputs": stage.outputs(),
        "provenance": parts,
    }
    stage.complete(record)
    return (
        None
        if stage.finish()
        else Failure("missing output", "its outputs changed while they were put in their place")
    )


def _leave(partial: Path, target: Path) -> None:
    """Keep what a failed run came to; on a full disk at least as it is."""
    with contextlib.suppress(OSError):
        try:
            kernel.tidy(partial, target)
        except (LrfaceError, ValueError):
            os.replace(partial, target)
