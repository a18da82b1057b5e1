"""Score cache: a study's scores, a file per cell, and one rule for which stored ones are used.

A cell is what a study scores at once (a method at a setting, a search by one network); its scores
are a table, a row per face (or pair, or probe) and a column per metric. Storing them makes scoring
interruptible, and a new method does not pay for the old ones again.

The same rule holds in every study:

a. A released score file must have the sha256 that a committed record states for it.
b. Of every stored cell whose network is at hand a few rows, drawn anew each time, are computed
   again and must agree with the stored ones.
c. A stored cell whose network is not at hand rests on (a) alone. (Of most studies only the
   networks of the first training are released.)

A file that fails is named in one sentence, and its cell is computed again.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import closing
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import pyarrow
import torch
from joblib import Parallel, delayed, parallel_config
from threadpoolctl import threadpool_limits

from lrface import settings
from lrface.errors import UsageError
from lrface.files import (
    cache_dir,
    progress,
    project_root,
    sha256,
    stores,
    write_atomic,
)

Cell = Hashable
Score = Callable[[Cell, np.ndarray], pd.DataFrame]
Check = Callable[[Cell, pd.DataFrame], str | None]
Agree = Callable[[Cell, pd.DataFrame, pd.DataFrame], str | None]
Kind = Literal["released", "cached"]

TOLERANCE = {
    "psnr": 0.02,
    "ssim": 5e-4,
    "alignment": 2e-3,
    "lost": 0.1,
    "identity": 2e-3,
    "identity_frnet": 5e-3,
    "vector": 2e-3,
}
"""How far a mean over a few rows may be off on another processor, whose last bits differ: a rounded
pixel here, a landmark there (dB, 1, fraction of the eyes' distance, share, cosine). A column has
the tolerance of its first word: ``vector 0``, ``vector 1``, ... that of ``vector``. A study adds
its own: ``TOLERANCE["rank"] = 0.5``."""
UNKNOWN_ROWS = 0.1
"""The share of rows that may be NaN on one side only: a face found here and not there."""


PIECE = 512
"""Rows that are scored at once: what a score holds in memory does not grow with the faces."""


def key(**facts) -> str:
    """16 hex digits over all that scores depend on, except the code that computes them.

    Parameters
    ----------
    **facts : JSON values
        Weights, degradation, faces, judges.

    Examples
    --------
    >>> key(weights="a", faces="b") == key(faces="b", weights="a") != key(weights="a", faces="c")
    True
    """
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True, eq=False)
class Scores(Mapping):
    """The scores of each cell: float64, a row per face and a column per metric."""

    frames: Mapping[Cell, pd.DataFrame]
    keys_of: Mapping[Cell, str]
    """The key of each cell: the name of its score file."""

    def __getitem__(self, cell: Cell) -> pd.DataFrame:
        return self.frames[cell]

    def __iter__(self) -> Iterator[Cell]:
        return iter(self.frames)

    def __len__(self) -> int:
        return len(self.frames)

    def listing(self, *columns: str) -> pd.DataFrame:
        """A row per cell: its parts under these column names, and its ``key`` (``scores.csv``)."""
        rows = [(*_parts(cell), self.keys_of[cell]) for cell in self.frames]
        return pd.DataFrame(rows, columns=[*columns, "key"])


def missing(keys: Mapping[Cell, str]) -> list[Cell]:
    """The cells without a usable score file: absent, unreadable, or refused by rule (a)."""
    return [cell for cell, name in keys.items() if load(name) is None]


def compute(
    cells: Iterable[Cell],
    *,
    key: Mapping[Cell, str] | Callable[[Cell], str],
    score: Score,
    rows: int | Callable[[Cell], int],
    check: int | Check = 32,
    agree: Agree | None = None,
    at_hand: Callable[[Cell], bool] = lambda cell: True,
    workers: Literal["threads", "processes", "serial"] = "threads",
    label: str = "scores",
) -> Scores:
    """The scores of every cell: stored ones where the module's rule allows, else computed.

    Every cell is stored as soon as it is computed: after an interruption the same call goes on.
    One line says how many cells were computed, checked, or taken by their hash.

    Parameters
    ----------
    cells : iterable of tuples or other hashable values
        What is scored, for example ``(method, setting)``.
    key : mapping or function
        The key of each cell (:func:`key`), asked once. Cells of one key are computed once.
    score : function
        ``score(cell, rows)``, with an int array (n,), gives a data frame of n rows, a column per
        metric. A row must not depend on which others are asked for: it is called with 512 rows at
        most, except for cells that have a ``check`` of their own.
    rows : int or function
        The number of rows of a cell.
    check : int or function
        How many rows of a stored cell are computed again. For cells whose rows cannot be computed
        one by one: ``check(cell, stored)`` gives None, or a phrase that says what is wrong.
    agree : function, optional
        ``agree(cell, stored, computed)`` compares the rows of a check and gives None or a phrase.
        Default: the mean absolute difference of each column is within :data:`TOLERANCE`.
    at_hand : function, optional
        Whether a cell can be computed here (its network is there). If not, a stored cell is taken
        unchecked, and a missing one is left out of the result.
    workers : {"threads", "processes", "serial"}
        ``threads``: one per core, each with one thread for torch and NumPy. ``processes``: the
        same, for scoring in pure Python. ``serial``: one cell after another, with all threads.
    label : str
        Of the progress line.

    Returns
    -------
    Scores
        By cell, in the order of ``cells``. float64 values that are rounded to float32, as stored.

    Raises
    ------
    UsageError
        A column that is compared has no tolerance and ``agree`` is not given, or ``score`` gives
        another number of rows than asked for.

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> def score(cell, rows):
    ...     return pd.DataFrame({"psnr": 20.0 + rows})
    >>> scores = compute([("bicubic", "4x")], key=lambda c: key(doc=c), score=score, rows=4)
    ... # doctest: +ELLIPSIS
    1 cell: ...
    >>> scores["bicubic", "4x"]["psnr"].tolist()
    [20.0, 21.0, 22.0, 23.0]
    >>> list(scores.listing("method", "setting"))
    ['method', 'setting', 'key']
    """
    cells = list(dict.fromkeys(cells))
    keys = {cell: key[cell] if isinstance(key, Mapping) else key(cell) for cell in cells}
    first = {keys[cell]: cell for cell in reversed(cells)}
    jobs = {name: first[name] for name in dict.fromkeys(keys.values())}
    job = _Job(score, rows, check, agree, at_hand, dict(TOLERANCE))
    found: dict[str, _Result] = {}
    with progress(label, len(jobs)) as advance, closing(_run(job, jobs, workers)) as results:
        for name, result in results:
            found[name] = result
            if result.refused:
                print(result.refused)
            advance()
    print(_summary([result.source for result in found.values()], check))
    frames = {cell: found[keys[cell]].frame for cell in cells}
    frames = {cell: frame for cell, frame in frames.items() if frame is not None}
    return Scores(frames, {cell: keys[cell] for cell in frames})


Source = Literal["computed", "checked", "sha256 only", "unchecked", "left out"]


@dataclass(frozen=True)
class _Result:
    frame: pd.DataFrame | None
    source: Source
    refused: str = ""
    """A sentence about stored scores that are not used."""


class _Refused(Exception):
    """Why stored scores are not used, as a phrase."""


@dataclass(frozen=True)
class _Job:
    score: Score
    rows: int | Callable[[Cell], int]
    check: int | Check
    agree: Agree | None
    at_hand: Callable[[Cell], bool]
    tolerance: dict[str, float] = field(default_factory=dict)
    """That of the calling process: a worker process has only the library's."""

    def __call__(self, name: str, cell: Cell) -> tuple[str, _Result]:
        """The key of a cell and its scores, stored or computed."""
        refused, n = [], self.rows(cell) if callable(self.rows) else self.rows
        at_hand = self.at_hand(cell)

        def result(source: Source, frame: pd.DataFrame | None, then: str) -> tuple[str, _Result]:
            said = f"{'; '.join(refused)}: {_label(cell)} {then}" if refused else ""
            return name, _Result(frame, source, said)

        for file, kind in _files(name):
            try:
                frame = _read(file, kind)
                if len(frame) != n:
                    raise _Refused(f"it has {len(frame)} rows and not {n}")
                if at_hand and (problem := self._difference(cell, frame)):
                    raise _Refused(problem)
            except _Refused as why:
                refused.append(f"{_shown(file, kind)} is not used, {why}")
                continue
            hashed = kind == "released" and recorded_hashes(file.parents[1]) is not None
            source = "checked" if at_hand else "sha256 only" if hashed else "unchecked"
            return result(source, frame, f"is taken from {_shown(file, kind)}")
        if not at_hand:
            return result("left out", None, "is left out, for its network is not here")
        frame = self._scored(cell, np.arange(n))
        write_atomic(_cached(name), frame.astype(np.float32).to_parquet)
        return result("computed", frame, "is computed again")

    def _scored(self, cell: Cell, rows: np.ndarray) -> pd.DataFrame:
        """The scores of these rows, rounded as stored ones are."""
        one_by_one = not callable(self.check)
        parts = np.array_split(rows, max(1, -(-len(rows) // PIECE))) if one_by_one else [rows]
        frame = pd.concat([self.score(cell, part) for part in parts], ignore_index=True)
        if len(frame) != len(rows):
            raise UsageError(
                f"the scores of {_label(cell)} have {len(frame)} rows, "
                f"where {len(rows)} are asked for"
            )
        return frame.astype(np.float32).astype(np.float64)

    def _difference(self, cell: Cell, stored: pd.DataFrame) -> str | None:
        if callable(self.check):
            return self.check(cell, stored)
        some = np.random.default_rng().permutation(len(stored))[: self.check]
        stored, computed = stored.iloc[some].reset_index(drop=True), self._scored(cell, some)
        if self.agree:
            return self.agree(cell, stored, computed)
        return difference(stored, computed, self.tolerance)


def _run(job: _Job, jobs: Mapping[str, Cell], workers: str) -> Iterator[tuple[str, _Result]]:
    """Results in any order. If the caller stops, running cells are finished and stored."""
    count = min(len(jobs), os.cpu_count() or 1)
    if workers == "serial" or count < 2:
        for name, cell in jobs.items():
            yield job(name, cell)
    elif workers == "processes":
        given = settings.variables()
        calls = [delayed(_one_thread)(given, job, name, cell) for name, cell in jobs.items()]
        with parallel_config("loky", inner_max_num_threads=1):
            yield from Parallel(count, return_as="generator_unordered", batch_size=1)(calls)
    else:
        set_threads = dict(initializer=torch.set_num_threads, initargs=(1,))
        threads = torch.get_num_threads()
        with threadpool_limits(1), ThreadPoolExecutor(count, **set_threads) as pool:
            pending = [pool.submit(job, name, cell) for name, cell in jobs.items()]
            try:
                for one in as_completed(pending):
                    yield one.result()
            finally:
                pool.shutdown(wait=True, cancel_futures=True)
                torch.set_num_threads(threads)  # threads started later would inherit the one


def _one_thread(given: dict[str, str], job: _Job, name: str, cell: Cell) -> tuple[str, _Result]:
    settings.adopt(given)
    torch.set_num_threads(1)
    return job(name, cell)


def _summary(sources: list[Source], check: int | Check) -> str:
    n = len(sources)
    checked = "checked" if callable(check) else f"{check} rows of each computed again"
    phrases = {
        "checked": f"stored and {checked}",
        "sha256 only": "stored whose networks are not at hand (sha256 only)",
        "unchecked": "stored whose networks are not at hand (no sha256 is stated)",
        "left out": "left out, without a network",
    }
    parts = [f"{sources.count('computed')} computed"]
    parts += [f"{sources.count(s)} {text}" for s, text in phrases.items() if s in sources]
    return f"{n} cell{'s' if n != 1 else ''}: {', '.join(parts)}"


def difference(
    stored: pd.DataFrame, computed: pd.DataFrame, tolerance: Mapping[str, float] | None = None
) -> str | None:
    """How stored rows differ from the same rows computed again: None, or a phrase.

    Raises
    ------
    UsageError
        A column has no tolerance.
    """
    if list(stored) != list(computed):
        return f"its columns are {', '.join(stored)} and not {', '.join(computed)}"
    for column in computed:
        allowed = _tolerance(column, TOLERANCE if tolerance is None else tolerance)
        a, b = stored[column].to_numpy(), computed[column].to_numpy()
        unknown = np.isnan(a) != np.isnan(b)
        if len(a) and unknown.mean() > UNKNOWN_ROWS:
            return f"{column} is NaN in other rows"
        with np.errstate(invalid="ignore"):
            apart = np.where(a == b, 0.0, np.abs(a - b))[~np.isnan(a) & ~np.isnan(b)]
        if len(apart) and apart.mean() > allowed:
            return f"its {column} is off by {apart.mean():.2g} on average over {len(a)} rows"
    return None


def _tolerance(column: str, tolerance: Mapping[str, float]) -> float:
    word = str(column).split()[0]
    if word not in tolerance:
        raise UsageError(
            f"no tolerance is known for the column {column!r}: add "
            f"score_cache.TOLERANCE[{word!r}], or pass agree= or check="
        )
    return tolerance[word]


def _parts(cell: Cell) -> tuple:
    return cell if isinstance(cell, tuple) else (cell,)


def _label(cell: Cell) -> str:
    return " ".join(map(str, _parts(cell)))


def _shown(file: Path, kind: Kind) -> str:
    """A file's name in a sentence, which a notebook may publish: no path of this machine."""
    released = kind == "released" and file.is_relative_to(project_root())
    return str(file.relative_to(project_root())) if released else f"the cache's {file.name}"


def _files(name: str) -> Iterator[tuple[Path, Kind]]:
    """The score files of a key, released before cached."""
    for folder, kind in stores("scores", "scores"):
        file = folder / f"{name}.parquet"
        if file.is_file():
            yield file, kind


def _cached(name: str) -> Path:
    return cache_dir("scores") / f"{name}.parquet"


def _read(file: Path, kind: Kind) -> pd.DataFrame:
    if kind == "released" and (problem := refusal(file)):
        raise _Refused(problem)
    try:
        return pd.read_parquet(file).astype(np.float64)
    except (OSError, ValueError, pyarrow.ArrowException):
        raise _Refused("it cannot be read") from None


def load(name: str) -> pd.DataFrame | None:
    """The stored scores of a key by rule (a) alone."""
    for file, kind in _files(name):
        try:
            return _read(file, kind)
        except _Refused:
            continue
    return None


def refusal(file: Path) -> str | None:
    """Why a released score file may not be used by rule (a): None, or a phrase."""
    stated = recorded_hashes(file.parents[1])
    if stated is None:  # records of an older form state no hashes
        return None
    if file.stem not in stated:
        return "no record beside it names it"
    if sha256(file) not in stated[file.stem]:
        return "its sha256 is not the one that a record beside it states"
    return None


def recorded_hashes(preset: Path) -> dict[str, set[str]] | None:
    """Each key that the records of a preset name, with its sha256 (of each record that names it).

    Read from the field ``scores`` of ``results/<data>/<preset>/*/record.json``; None if no record
    has the field.
    """
    records = sorted(preset.glob("*/record.json"))
    return _recorded(tuple((file, file.stat().st_mtime_ns) for file in records))


@lru_cache(maxsize=8)
def _recorded(records: tuple[tuple[Path, int], ...]) -> dict[str, set[str]] | None:
    found: dict[str, set[str]] | None = None
    for file, _ in records:
        try:
            stated = json.loads(file.read_text(encoding="utf-8")).get("scores")
        except (OSError, ValueError, AttributeError):  # a damaged record states nothing
            continue
        if stated is not None:
            found = found or {}
            for name, value in stated.items():
                found.setdefault(name, set()).add(value)
    return found


def stored_file(name: str) -> Path | None:
    """The score file of a key that a study which has just run used: released or cached, or None.

    A cached file that is younger than the released one was computed because that was refused.
    """
    usable = [f for f, kind in _files(name) if not (kind == "released" and refusal(f))]
    if len(usable) > 1 and _younger(usable[-1], usable[0]):
        return usable[-1]
    return usable[0] if usable else None


def release(keys: Iterable[str], folder: Path) -> None:
    """Copy score files from the cache into ``folder``, a ``scores`` folder under ``results/``.

    A file that lies there already is replaced if it is refused, or older than the cached one.
    """
    for name in keys:
        target, source = folder / f"{name}.parquet", _cached(name)
        if source.exists() and (not target.exists() or refusal(target) or _younger(source, target)):
            write_atomic(target, lambda path, source=source: path.write_bytes(source.read_bytes()))


def forget(keys: Iterable[str], folder: Path) -> None:
    """Remove from the cache the score files that :func:`release` would copy into ``folder``."""
    for name in keys:
        target, source = folder / f"{name}.parquet", _cached(name)
        if source.exists() and (not target.exists() or _younger(source, target)):
            source.unlink()


def _younger(a: Path, b: Path) -> bool:
    return a.stat().st_mtime_ns > b.stat().st_mtime_ns
