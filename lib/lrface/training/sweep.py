"""The networks of a whole notebook: what is not there yet is trained side by side, on the cores of
this machine or as jobs of a cluster."""

from __future__ import annotations

import contextlib
import io
import os
import pickle
import threading
import time
from collections.abc import Hashable, Iterator, Mapping
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
from lrface.training.runs import Config, Run

Name = TypeVar("Name", bound=Hashable)
ROOM = 3 << 30
"""Bytes of free memory for each training at a time; the hungriest small network takes 2 GB."""


def fit(wanted: Mapping[Name, tuple[Config, FaceSet]]) -> tuple[dict[Name, Run], dict[Name, str]]:
    """The run of every wanted config on its faces, as :func:`lrface.training.runs.fit` gives it;
    and a sentence for each that was given up.

    A training whose loss is no longer a number is given up, the others go on. A small network
    leaves half of two cores idle, so on a CPU small networks are trained in one process a core,
    with one thread whatever the machine; paper-size networks, and all on a GPU, one after another.
    Interrupted or killed, the same call goes on.

    That is LRFACE_JOBS=local. With ``here`` nothing is trained side by side. With ``slurm`` (see
    :mod:`lrface.training.slurm`) each network is a job of an array: one that is lost is submitted
    once more; if it is lost again, :class:`LrfaceError` says so once all others have ended, and the
    same call goes on.
    """
    where = slurm.chosen()
    keys = {name: runs.key_for(config, faces) for name, (config, faces) in wanted.items()}
    results: dict[str, Run | LrfaceError | None] = {
        key: runs.kept(key) for key in dict.fromkeys(keys.values())
    }
    missing = {key: wanted[name] for name, key in keys.items() if results[key] is None}
    with progress("networks", len(missing)) as advance:
        for starts in (
            True,
            False,
            # first what others start from, so that nobody waits for a start that is still in training
        ):
            wave = {key: one for key, one in missing.items() if bool(one[0].before) != starts}
            for key, run, said in _trained(wave, where):
                print(said, end="")
                results[key] = run
                advance()
    failed = [
        error
        for error in results.values()
        if isinstance(error, LrfaceError) and not isinstance(error, Diverged)
    ]
    if failed:
        raise LrfaceError(
            f"{len(failed)} of {len(missing)} networks to train failed, the others are kept: {failed[0]}"
        )
    given_up = {
        name: str(results[key]) for name, key in keys.items() if isinstance(results[key], Diverged)
    }
    return {name: results[key] for name, key in keys.items() if name not in given_up}, given_up


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
    return min(len(wave), os.cpu_count() or 1, max(1, psutil.virtual_memory().available // ROOM))


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
    standing = [one.config for one in (config.init, config.front) if isinstance(one, runs.Trained)]
    return [models.find(c.method) for c in (config, *config.before, *standing)]


def _take_over(settings: dict[str, str], methods: list[models.Method]) -> None:
    adopt(settings)
    for method in methods:
        (models.RECOGNISERS if method.name in models.RECOGNISERS else models.METHODS)[
            method.name
        ] = method


def _in_a_worker(
    key: str,
    config: Config,
    faces: FaceSet,
    methods: list[models.Method],
    settings: dict[str, str],
    parent: int,
):
    _take_over(
        settings | {"LRFACE_PROGRESS": f"{settings['LRFACE_PROGRESS']}.{os.getpid()}"}, methods
    )
    threading.Thread(target=leave_with, args=(parent,), daemon=True).start()
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
        _take_over(self.settings, self.methods)
        with contextlib.redirect_stdout(io.StringIO()) as said:
            try:
                ((_, run, _),) = _in_turn(
                    {"": (self.config, pickle.loads(self.faces.read_bytes()))}
                )
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
            files[id(faces)] = write_atomic(
                file, lambda path, faces=faces: path.write_bytes(pickle.dumps(faces))
            )
        calls[key] = _Training(config, files[id(faces)], _methods(config), settings)
    for key, result in slurm.array("training", calls, where.settings):
        run, said = (result, "") if isinstance(result, LrfaceError) else result
        if isinstance(run, LrfaceError):
            label = wave[key][0].label
            yield key, run if str(run).startswith(label) else type(run)(f"{label}, {run}"), said
        elif runs.kept(key) is None:  # a job is believed only by what it left
            why = f"its job ended, and no run {key} is in {cache_dir('runs')}: put LRFACE_CACHE where all nodes see it"
            yield key, LrfaceError(f"{wave[key][0].label}: {why}"), said
        else:
            yield key, replace(runs.kept(key), source=run.source), said


def _in_turn(wave: Wave) -> Iterator[tuple[str, Run | Diverged, str]]:
    for key, (config, faces) in wave.items():
        before = torch.get_num_threads()
        if _on_cpu(config):
            torch.set_num_threads(
                1
            )  # as side by side: the weights are the same however many are trained together
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


def leave_with(parent: int) -> None:
    """A killed parent takes its trainings along: their checkpoints are then free for the next call."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)
