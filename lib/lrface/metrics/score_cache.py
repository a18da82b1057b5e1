"""The score cache: scores of every face (row) of every cell of a study are stored, so that scoring
can be interrupted and goes on, and a new method costs no old one's time.

One rule says which stored scores are used, in every study:

a. A released score file has the sha256 that a committed record states for it.
b. Of every stored cell whose network is at hand a few rows, drawn anew each time, are computed
   again and must agree with the stored ones.
c. A stored cell whose network is not at hand (only the first training's networks are released)
   rests on (a) alone.

What fails is said in one sentence, and the cell is computed again.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack
from dataclasses import dataclass
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
from lrface.files import cache_dir, progress, sha256, stores, write_atomic

Cell = Hashable
Score = Callable[[Cell, np.ndarray], pd.DataFrame]
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
the tolerance of its first word: ``vector 0``, ``vector 1``, ... that of ``vector``."""


def key(**facts) -> str:
    """16 hex digits over everything that scores depend on but the scoring's own code: weights,
    degradation, faces, judges. ``facts`` are JSON values.

    Examples
    --------
    >>> key(weights="a", faces="b") == key(faces="b", weights="a") != key(weights="a", faces="c")
    True
    """
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True, eq=False)
class Scores(Mapping):
    """The scores of each cell (float64, a row a face, a column a metric), and the key of each."""

    frames: Mapping[Cell, pd.DataFrame]
    keys_of: Mapping[Cell, str]

    def __getitem__(self, cell: Cell) -> pd.DataFrame:
        return self.frames[cell]

    def __iter__(self) -> Iterator[Cell]:
        return iter(self.frames)

    def __len__(self) -> int:
        return len(self.frames)

    def listing(self, *columns: str) -> pd.DataFrame:
        """A row a cell: its parts under these names, and ``key``. What ``scores.csv`` lists."""
        rows = [(*_parts(cell), self.keys_of[cell]) for cell in self.frames]
        return pd.DataFrame(rows, columns=[*columns, "key"])


def _parts(cell: Cell) -> tuple:
    return cell if isinstance(cell, tuple) else (cell,)


def missing(keys: Mapping[Cell, str]) -> list[Cell]:
    """The cells that have no score file, or one that rule (a) refuses."""
    return [cell for cell, name in keys.items() if _load(name) is None]


def compute(
    cells: Iterable[Cell],
    *,
    key: Mapping[Cell, str] | Callable[[Cell], str],
    score: Score,
    rows: int | Callable[[Cell], int],
    check: int | Callable[[Cell, pd.DataFrame], str | None] = 32,
    agree: Callable[[Cell, pd.DataFrame, pd.DataFrame], str | None] | None = None,
    at_hand: Callable[[Cell], bool] = lambda cell: True,
    workers: Literal["threads", "processes", "serial"] = "threads",
    label: str = "scores",
) -> Scores:
    """The scores of every cell: stored ones where the module's rule allows, else computed.

    Each cell is stored as soon as it is computed, so an interrupted call goes on where it stopped.

    Parameters
    ----------
    cells : what is scored, for example ``(method, setting)``.
    key : the key of each cell (:func:`key`). Cells of one key are computed once.
    score : ``score(cell, rows)`` gives the scores of these rows (int array): a row each, a column a
        metric. It must not depend on which other rows are asked for.
    rows : number of rows of a cell.
    check : how many rows of a stored cell are computed again; or a function of a cell and its
        stored scores, for cells whose rows cannot be computed one by one: None, or a phrase that
        says what is wrong.
    agree : ``agree(cell, stored, computed)`` compares these rows: None, or a phrase. Default: the
        mean absolute difference of each column lies within :data:`TOLERANCE`.
    at_hand : whether what scores a cell (its network) is there. If not, a stored cell rests on its
        hash alone, and a missing one is left out of the result.
    workers : ``threads`` (one a core, each with one thread for torch and NumPy), ``processes`` (the
        same, for scoring in Python) or ``serial``.
    label : of the progress line.

    Raises
    ------
    UsageError : a column without a tolerance.

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> def score(cell, rows):
    ...     return pd.DataFrame({"psnr": 20.0 + rows})
    >>> found = compute([("bicubic", "4x")], key=lambda c: key(doc=c), score=score, rows=4)
    ... # doctest: +ELLIPSIS
    1 cell: ...
    >>> found["bicubic", "4x"]["psnr"].tolist()
    [20.0, 21.0, 22.0, 23.0]
    """
    cells = list(dict.fromkeys(cells))
    keys = {cell: key[cell] if isinstance(key, Mapping) else key(cell) for cell in cells}
    first: dict[str, Cell] = {}
    for cell in cells:
        first.setdefault(keys[cell], cell)
    job = _Job(score, rows, check, agree, at_hand)
    found: dict[str, pd.DataFrame | None] = {}
    counts = dict.fromkeys(("computed", "checked", "hash", "absent"), 0)
    with ExitStack() as stack:
        advance = stack.enter_context(progress(label, len(first)))
        for name, (frame, how, said) in _run(job, first, workers):
            for sentence in said:
                print(sentence)
            found[name] = frame
            counts[how] += 1
            advance()
    print(_summary(len(first), counts, check))
    frames = {cell: found[keys[cell]] for cell in cells if found[keys[cell]] is not None}
    return Scores(frames, {cell: keys[cell] for cell in frames})


Result = tuple[pd.DataFrame | None, Literal["computed", "checked", "hash", "absent"], list[str]]


@dataclass(frozen=True)
class _Job:
    score: Score
    rows: int | Callable[[Cell], int]
    check: int | Callable[[Cell, pd.DataFrame], str | None]
    agree: Callable[[Cell, pd.DataFrame, pd.DataFrame], str | None] | None
    at_hand: Callable[[Cell], bool]

    def __call__(self, name: str, cell: Cell) -> tuple[str, Result]:
        """The scores of one cell, stored or computed, and what is to be said of it."""
        said: list[str] = []
        stored, n = _load(name, said), self.rows(cell) if callable(self.rows) else self.rows
        if stored is not None and len(stored) != n:
            said.append(f"{_label(cell)}: stored scores have {len(stored)} rows and not {n}")
            stored = None
        if not self.at_hand(cell):
            return name, (stored, "absent" if stored is None else "hash", said)
        if stored is not None:
            if (problem := self._checked(cell, stored)) is None:
                return name, (stored, "checked", said)
            said.append(f"{_label(cell)}: stored scores are not used ({problem}); computed again")
        frame = self.score(cell, np.arange(n)).astype(np.float32)
        write_atomic(cache_dir("scores") / f"{name}.parquet", frame.to_parquet)
        return name, (frame.astype(np.float64), "computed", said)

    def _checked(self, cell: Cell, stored: pd.DataFrame) -> str | None:
        if callable(self.check):
            return self.check(cell, stored)
        some = np.random.default_rng().permutation(len(stored))[: self.check]
        kept, fresh = stored.iloc[some].reset_index(drop=True), self.score(cell, some)
        return self.agree(cell, kept, fresh) if self.agree else difference(kept, fresh)


def _run(job: _Job, first: Mapping[str, Cell], workers: str) -> Iterator[tuple[str, Result]]:
    count = min(len(first), os.cpu_count() or 1)
    if workers == "serial" or count < 2:
        for name, cell in first.items():
            yield job(name, cell)
    elif workers == "processes":
        with parallel_config("loky", inner_max_num_threads=1):
            given = settings.variables()
            calls = [delayed(_one_thread)(given, job, name, cell) for name, cell in first.items()]
            yield from Parallel(count, return_as="generator_unordered", batch_size=1)(calls)
    else:
        set_threads = dict(initializer=torch.set_num_threads, initargs=(1,))
        with threadpool_limits(1), ThreadPoolExecutor(count, **set_threads) as pool:
            pending = [pool.submit(job, name, cell) for name, cell in first.items()]
            try:
                for one in as_completed(pending):
                    yield one.result()
            except BaseException:
                pool.shutdown(wait=True, cancel_futures=True)
                raise


def _one_thread(given: dict[str, str], job: _Job, name: str, cell: Cell) -> tuple[str, Result]:
    settings.adopt(given)
    torch.set_num_threads(1)
    return job(name, cell)


def _label(cell: Cell) -> str:
    return " ".join(map(str, _parts(cell)))


def _summary(n: int, counts: Mapping[str, int], check) -> str:
    how = "checked" if callable(check) else f"{check} rows of each computed again"
    parts = [f"{counts['computed']} computed"]
    parts += [f"{counts['checked']} stored and {how}"] if counts["checked"] else []
    if counts["hash"]:
        parts.append(f"{counts['hash']} stored whose networks are not at hand (sha256 only)")
    parts += [f"{counts['absent']} left out, without a network"] if counts["absent"] else []
    return f"{n} cell{'s' if n != 1 else ''}: {', '.join(parts)}"


def difference(stored: pd.DataFrame, computed: pd.DataFrame) -> str | None:
    """None if the same rows, computed again, agree with the stored ones; else a phrase that names
    the column and by how much. Raises :class:`UsageError` for a column without a tolerance."""
    if list(stored) != list(computed) or len(stored) != len(computed):
        return f"columns or rows are others: {', '.join(computed)}"
    for metric in computed:
        name = str(metric).split()[0]
        if name not in TOLERANCE:
            known = ", ".join(TOLERANCE)
            raise UsageError(
                f"no tolerance for {metric!r}: pass agree=, or name it as one of {known}"
            )
        apart = np.abs(stored[metric].to_numpy() - computed[metric].to_numpy())
        known = apart[np.isfinite(apart)]
        if len(known) and known.mean() > TOLERANCE[name]:
            return f"{metric} is off by {known.mean():.2g} on average over {len(computed)} rows"
    return None


def _load(name: str, said: list[str] | None = None) -> pd.DataFrame | None:
    """The stored scores of a key, released or cached, or None; sentences about refused files."""
    for place, kind in stores("scores", "scores"):
        file = place / f"{name}.parquet"
        if not file.is_file():
            continue
        if kind == "released" and (problem := refusal(file)):
            if said is not None:
                said.append(f"{file.name}: {problem}; it is not used")
            continue
        try:
            return pd.read_parquet(file).astype(np.float64)
        except (OSError, ValueError, pyarrow.ArrowException):  # damaged
            if said is not None:
                said.append(f"{file.name} cannot be read; it is not used")
    return None


def refusal(file: Path) -> str | None:
    """Why a released score file may not be used: None, or a phrase (rule a)."""
    stated = recorded_hashes(file.parents[1])
    if stated is None:  # records of an older form state no hashes
        return None
    if file.stem not in stated:
        return "no record of its studies names it"
    if sha256(file) not in stated[file.stem]:
        return "its sha256 is not the one that the study's record states"
    return None


def recorded_hashes(preset: Path) -> dict[str, set[str]] | None:
    """Every key that the records of a preset (``results/<data>/<preset>/*/record.json``) name under
    ``scores``, with its sha256; None if no record has the field."""
    records = sorted(preset.glob("*/record.json"))
    return _recorded(tuple((file, file.stat().st_mtime_ns) for file in records))


@lru_cache(maxsize=8)
def _recorded(records: tuple[tuple[Path, int], ...]) -> dict[str, set[str]] | None:
    found: dict[str, set[str]] | None = None
    for file, _ in records:
        try:
            stated = json.loads(file.read_text()).get("scores")
        except (OSError, ValueError, AttributeError):  # a damaged record states nothing
            continue
        if stated is not None:
            found = found or {}
            for name, value in stated.items():
                found.setdefault(name, set()).add(value)
    return found


def stored_file(name: str) -> Path | None:
    """The score file of a key, released or cached: the one that :func:`compute` uses, or None."""
    for place, kind in stores("scores", "scores"):
        file = place / f"{name}.parquet"
        if file.is_file() and not (kind == "released" and refusal(file)):
            return file
    return None


def release(keys: Iterable[str], folder: Path) -> None:
    """Copy score files from the cache into ``folder`` (a ``scores`` folder under ``results/``),
    also over one that was refused and computed again since."""
    for name in keys:
        target, source = folder / f"{name}.parquet", cache_dir("scores") / f"{name}.parquet"
        if source.exists() and not (
            target.exists() and target.stat().st_mtime_ns >= source.stat().st_mtime_ns
        ):
            write_atomic(target, lambda path, source=source: path.write_bytes(source.read_bytes()))


def find(key: str) -> pd.DataFrame | None:
    """Superseded by :func:`compute`."""
    return _load(key)


def checked(key: str, n: int, score) -> pd.DataFrame | None:
    """Superseded by :func:`compute`."""
    if (kept := find(key)) is None or len(kept) != n:
        return None
    some = np.random.default_rng().permutation(n)[:32]
    if problem := difference(kept.iloc[some], score(some)):
        print(f"{key}: kept scores are left aside, {problem}")
        return None
    return kept


def keep(key: str, scores: pd.DataFrame) -> pd.DataFrame:
    """Superseded by :func:`compute`."""
    write_atomic(cache_dir("scores") / f"{key}.parquet", scores.astype(np.float32).to_parquet)
    return scores.astype(np.float32).astype(np.float64)
