"""Is a study's record true? Its commit, parameters, versions and seconds against what is known.

The commit is looked up in git's history, and with it the code of the notebook and of the modules
that the record says it was made by. Parameters stand in the record twice, and those of the
committed notebooks are their defaults; versions stand in it twice, and in the lock of that commit.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from datetime import datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any

import nbformat

from lrface.checks import manifest
from lrface.checks.compare import Drift
from lrface.checks.lineage import defaults
from lrface.checks.study_results import StudyResults
from lrface.errors import LrfaceError
from lrface.execution import provenance
from lrface.files import project_root, slug

SECONDS_A_FILE = 0.2
"""No study writes a table or picture faster; the quickest committed one took four times as long."""
MOST_SECONDS = {"smoke": 600, "quick": 6 * 3600}
"""The budget of a preset, trained from nothing, on two cores."""


def check(one: StudyResults) -> Iterator[Drift]:
    """What is wrong with a study's record; that there is none is reported elsewhere."""
    record = one.record()
    if record is None:
        return
    parts = record.get("provenance")
    parts = parts if isinstance(parts, dict) else {}  # records of an older form have none
    name = f"results/{one.name}/record.json"

    def wrong(what: str, committed: Any, now: Any, why: str) -> Drift:
        return Drift(name, why, column=what, committed=str(committed), now=str(now))

    if parts and provenance.key(parts) != record.get("source"):
        yield wrong("source", provenance.key(parts), record.get("source"), "hash of its provenance")
    yield from (wrong(*found) for found in _parameters(one, record, parts))
    yield from (wrong(*found) for found in _versions(record, parts))
    yield from (wrong(*found) for found in _time(one, record))
    for faces in manifest.embedded_sets(record):
        stated, now = parts[f"data {faces}"], manifest.faces(faces)
        if stated != now:
            yield wrong(f"data {faces}", now, stated, manifest.EMBEDDED[faces])
    notebook = project_root() / "notebooks" / f"{one.study}.ipynb"
    if _as_published(one) and parts and notebook.is_file():
        now = provenance.code(notebook)
        if now != parts.get("notebook"):
            yield wrong("notebook", now, parts.get("notebook"), f"the code of {notebook.name}")
    if not history(project_root()):
        return
    yield from (wrong(*found) for found in _commit(one, record, parts))


def _as_published(one: StudyResults) -> bool:
    """Whether these are the results in the committed notebook, which runs with its defaults."""
    return (one.data, one.preset) == ("synthetic", "quick")


Wrong = tuple[str, Any, Any, str]
"""What, as it must be, as it is, and where that is known from."""


def _parameters(
    one: StudyResults, record: dict[str, Any], parts: dict[str, str]
) -> Iterator[Wrong]:
    given = record.get("parameters", {})
    stated = {name.removeprefix("parameter "): value for name, value in parts.items()}
    for name, value in given.items():
        if parts and stated.get(name) != json.dumps(value, sort_keys=True):
            yield name, stated.get(name), value, "its provenance"
    for name, folder in (("data", one.data), ("preset", one.preset)):
        if name in given and slug(str(given[name])) != folder:
            yield name, folder, given[name], "the folder that it lies in"
    notebook = project_root() / "notebooks" / f"{one.study}.ipynb"
    if _as_published(one):
        for name, value in defaults(notebook).items():
            if name in given and given[name] != value:
                yield name, value, given[name], f"the default of {notebook.name}"


def _versions(record: dict[str, Any], parts: dict[str, str]) -> Iterator[Wrong]:
    for name, number in record.get("versions", {}).items():
        stated = parts.get("python" if name == "python" else f"package {name}")
        if stated not in (None, number):
            yield name, stated, number, "its provenance"


def _time(one: StudyResults, record: dict[str, Any]) -> Iterator[Wrong]:
    seconds, least = record.get("seconds"), SECONDS_A_FILE * len(record["outputs"])
    if not isinstance(seconds, int | float):
        return
    most = MOST_SECONDS.get(one.preset)
    if seconds < least:
        yield "seconds", f"{least:.0f} or more", seconds, f"{len(record['outputs'])} files"
    elif most and seconds > most:
        yield "seconds", f"{most} or fewer", seconds, f"the budget of {one.preset}"


def _commit(one: StudyResults, record: dict[str, Any], parts: dict[str, str]) -> Iterator[Wrong]:
    root, commit = project_root(), str(record.get("commit"))
    if not {"commit", "finished"} <= record.keys():
        return
    if _git(root, "merge-base", "--is-ancestor", commit, "HEAD") is None:
        yield "commit", "a commit of this history", commit, "git knows no such ancestor"
        return
    made = _git(root, "show", "--no-patch", "--format=%cI", commit)
    finished = datetime.fromisoformat(record["finished"])
    if datetime.fromisoformat(made.decode().strip()) > finished + timedelta(minutes=1):
        yield "finished", made.decode().strip(), record["finished"], "its commit is younger"
    notebook = f"notebooks/{one.study}.ipynb"
    state = code_at(root, commit, notebook)
    if state is None or state != parts.get("notebook", state):
        yield "notebook", state, parts.get("notebook"), f"{notebook} in {commit[:8]}"
    for name, number in record.get("versions", {}).items():
        pinned = _locked(root, commit).get(name)
        if pinned not in (None, number):
            yield name, pinned, number, f"requirements.lock in {commit[:8]}"


def history(root: Path) -> bool:
    """Whether git has the whole history of the repository: not in a shallow clone or an archive."""
    return _git(root, "rev-parse", "--is-shallow-repository") == b"false\n"


@lru_cache(maxsize=256)
def code_at(root: Path, commit: str, name: str) -> str | None:
    """The hash of the code that a notebook had in a commit; None if it was not there."""
    text = _git(root, "show", f"{commit}:./{name}")
    if text is None:
        return None
    try:
        cells = nbformat.reads(text.decode(), 4).cells
    except (ValueError, LrfaceError):
        return None
    return provenance.code_hash(cell.source for cell in cells if cell.cell_type == "code")


@lru_cache(maxsize=64)
def _locked(root: Path, commit: str) -> dict[str, str]:
    """Package -> version in the lock of a commit."""
    lock = _git(root, "show", f"{commit}:./requirements.lock") or b""
    return dict(provenance.LOCKED.findall(lock.decode()))


@lru_cache(maxsize=1024)
def _git(root: Path, *words: str) -> bytes | None:
    """What git prints; None if it fails or is not there."""
    try:
        run = subprocess.run(["git", "-C", str(root), *words], capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return run.stdout
