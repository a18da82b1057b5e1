"""The networks of a whole study: those that are not there yet are trained, several at once on the
cores of this machine or as jobs of a cluster, parents before those that start from them."""

from __future__ import annotations

import contextlib
import io
import os
import pickle
import threading
import time
from collections.abc import Collection, Hashable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import psutil
import torch
from joblib import Parallel, delayed, parallel_config

from lrface import models
from lrface.data import FaceSet
from lrface.errors import Diverged, LrfaceError
from lrface.files import cache_dir, progress, relayed, write_atomic
from lrface.settings import adopt, current, variables
from lrface.training import runs, slurm
from lrface.training.runs import Config, Run, RunRef

Name = TypeVar("Name", bound=Hashable)
MEMORY = 3 << 30
"""Bytes of free memory for each training at a time; the hungriest small network takes 2 GB."""


def fit(
    wanted: Mapping[Name, tuple[Config, FaceSet]], only: Collection[Name] | None = None
) -> tuple[dict[Name, Run], dict[Name, str]]:
    """The runs of a study, trained where they are not there yet (:func:`lrface.runs.fit`).

    A network that another starts from, or that stands before it, is trained before it. A training
    whose loss is not finite is given up, with those that start from it; the others go on.
    Interrupted or killed, the same call goes on.

    Parameters
    ----------
    wanted : of each network its config and its training faces, in any order.
    only : names of the networks that are needed. Of the others those are trained that a needed and
        absent one starts from or stands behind. Default: all are needed.

    Returns
    -------
    The runs by name, and for each training that diverged a sentence.

    Raises
    ------
    LrfaceError : a training failed otherwise, said when all others have ended.

    Notes
    -----
    LRFACE_JOBS says where: ``local`` (default: small networks on a CPU in one process a core, with
    one thread whatever the machine; paper-size networks, and all on a GPU, one after another),
    ``here`` (one after another), or ``slurm`` (:mod:`lrface.training.slurm`: each network a job of
    an array; one that is lost is submitted once more, then reported).
    """
    where = slurm.chosen()
    keys = {name: runs.key_for(config, faces) for name, (config, faces) in wanted.items()}
    by_key = {keys[name]: one for name, one in wanted.items()}
    found: dict[str, Run | LrfaceError] = {}
    waiting: dict[str, tuple[Config, FaceSet]] = {}
    ask = [keys[name] for name in wanted if only is None or name in only]
    while ask:
        key = ask.pop(0)
        if key in found or key in waiting:
            continue
        if run := runs.load_run(key):
            found[key] = run
        else:
            waiting[key] = by_key[key]
            ask += [parent for parent in _parents(*by_key[key]) if parent in by_key]
    missing = len(waiting)
    with progress("networks", missing) as advance:
        while waiting:
            for key in [k for k in waiting if _failed_parent(waiting[k], found)]:
                found[key] = _failed_parent(waiting.pop(key), found)
                advance()
            parents = {
                key: [p for p in _parents(*one) if p in waiting] for key, one in waiting.items()
            }
            wave = {key: waiting[key] for key in waiting if not parents[key]}
            for key, run, said in _trained(wave, where):
                print(said, end="")
                found[key] = run
                del waiting[key]
                advance()
    errors = [error for error in found.values() if isinstance(error, LrfaceError)]
    failed = [error for error in errors if not isinstance(error, Diverged)]
    if failed:
        what = f"{len(failed)} of {missing} networks to train failed, the others are kept"
        raise LrfaceError(f"{what}: {failed[0]}")
    there = {name: found[key] for name, key in keys.items() if key in found}
    diverged = {name: str(one) for name, one in there.items() if isinstance(one, Diverged)}
    return {name: run for name, run in there.items() if name not in diverged}, diverged


def _parents(config: Config, faces: FaceSet) -> list[str]:
    """The keys of the runs that one starts from or stands behind."""
    found = []
    for one in config.parents:
        found.append(one.key if isinstance(one, RunRef) else runs.key_for(one, faces))
    return found


def _failed_parent(
    one: tuple[Config, FaceSet], found: Mapping[str, Run | LrfaceError]
) -> LrfaceError | None:
    for parent in _parents(*one):
        if isinstance(error := found.get(parent), LrfaceError):
            return type(error)(f"{one[0].label}: not trained, for its parent failed: {error}")
    return None


def _on_cpu(config: Config) -> bool:
    return config.size == "small" and runs.device().type == "cpu"


Wave = dict[str, tuple[Config, FaceSet]]


def _trained(wave: Wave, where: slurm.Jobs) -> Iterator[tuple[str, Run | LrfaceError, str]]:
    if where.kind == "slurm" and wave:
        return _as_jobs(wave, where)
    return _side_by_side(wave) if where.kind == "local" and _workers(wave) > 1 else _in_turn(wave)


def _workers(wave: Wave) -> int:
    if not all(_on_cpu(config) for config, _ in wave.values()):
        return 1
    return min(len(wave), os.cpu_count() or 1, max(1, psutil.virtual_memory().available // MEMORY))


def _side_by_side(wave: Wave) -> Iterator[tuple[str, Run | Diverged, str]]:
    with contextlib.ExitStack() as stack:
        if current().progress is None:
            stack.enter_context(relayed("training"))
        settings = variables()
        calls = [
            delayed(_in_a_worker)(key, config, faces, _methods(config), settings, os.getpid())
            for key, (config, faces) in wave.items()
        ]
        stack.enter_context(parallel_config("loky", inner_max_num_threads=1))
        yield from Parallel(_workers(wave), return_as="generator_unordered", batch_size=1)(calls)


def _methods(config: Config) -> list[models.Method]:
    """A method that was registered in a notebook is known to no other process, so it travels with
    its config."""
    parents = [one.config if isinstance(one, RunRef) else one for one in config.parents]
    return [models.find(one.method) for one in (config, *parents)]


def _set_up_worker(settings: dict[str, str], methods: list[models.Method]) -> None:
    adopt(settings)
    for method in methods:
        kind = models.RECOGNISERS if method.name in models.RECOGNISERS else models.METHODS
        kind[method.name] = method


def _in_a_worker(
    key: str,
    config: Config,
    faces: FaceSet,
    methods: list[models.Method],
    settings: dict[str, str],
    parent: int,
):
    own = {"LRFACE_PROGRESS": f"{settings['LRFACE_PROGRESS']}.{os.getpid()}"}
    _set_up_worker(settings | own, methods)
    threading.Thread(target=exit_with_parent, args=(parent,), daemon=True).start()
    with contextlib.redirect_stdout(io.StringIO()) as said:
        run = _fit(config, faces)
    return key, run, said.getvalue()


@dataclass(frozen=True)
class _Training:
    """One network as a job. Its faces are a file that all jobs share: a table of a million rows
    need not be stored once a network."""

    config: Config
    faces: Path
    methods: list[models.Method]
    settings: dict[str, str]

    def __call__(self) -> tuple[Run | LrfaceError, str]:
        _set_up_worker(self.settings, self.methods)
        faces = pickle.loads(self.faces.read_bytes())
        with contextlib.redirect_stdout(io.StringIO()) as said:
            try:
                ((_, run, _),) = _in_turn({"": (self.config, faces)})
            except LrfaceError as error:
                run = error
        print(said.getvalue(), end="")
        return run, said.getvalue()


def _as_jobs(wave: Wave, where: slurm.Jobs) -> Iterator[tuple[str, Run | LrfaceError, str]]:
    settings = {name: value for name, value in variables().items() if name != "LRFACE_PROGRESS"}
    files, calls = {}, {}
    for key, (config, faces) in wave.items():
        file = cache_dir("jobs") / f"faces-{faces.attributes_fingerprint}.pkl"
        if id(faces) not in files:
            pickled = pickle.dumps(faces)
            files[id(faces)] = write_atomic(file, lambda path, p=pickled: path.write_bytes(p))
        calls[key] = _Training(config, files[id(faces)], _methods(config), settings)
    for key, result in slurm.array("training", calls, where.settings):
        run, said = (result, "") if isinstance(result, LrfaceError) else result
        if isinstance(run, LrfaceError):
            label = wave[key][0].label
            yield key, run if str(run).startswith(label) else type(run)(f"{label}, {run}"), said
        elif runs.load_run(key) is None:  # what counts is what a job left
            why = f"its job ended, and no run {key} is in {cache_dir('runs')}"
            why += ": put LRFACE_CACHE where all nodes see it"
            yield key, LrfaceError(f"{wave[key][0].label}: {why}"), said
        else:
            yield key, replace(runs.load_run(key), source=run.source), said


def _in_turn(wave: Wave) -> Iterator[tuple[str, Run | Diverged, str]]:
    for key, (config, faces) in wave.items():
        before = torch.get_num_threads()
        if _on_cpu(config):
            # as side by side: the weights are the same however many are trained at once
            torch.set_num_threads(1)
        try:
            yield key, _fit(config, faces), ""
        finally:
            torch.set_num_threads(before)


def _fit(config: Config, faces: FaceSet) -> Run | Diverged:
    try:
        return runs.fit(config, faces)
    except Diverged as error:
        print(error)
        return error


def exit_with_parent(parent: int) -> None:
    """Exit when the parent process is gone: its checkpoints are then free for the next call."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)
