"""The networks of a whole notebook: what is not there yet is trained side by side, as many at a time as there are cores."""

from __future__ import annotations

import contextlib
import io
import os
import threading
import time
from collections.abc import Hashable, Iterator, Mapping
from typing import TypeVar

import psutil
import torch
from joblib import Parallel, delayed, parallel_config

from lrface import models, runs
from lrface.data import FaceSet
from lrface.errors import Diverged
from lrface.files import progress, relayed
from lrface.runs import Config, Run

Name = TypeVar("Name", bound=Hashable)
ROOM = 3 << 30
"""Bytes of free memory for each training at a time; the hungriest small network takes 2 GB."""


def fit(wanted: Mapping[Name, tuple[Config, FaceSet]]) -> tuple[dict[Name, Run], dict[Name, str]]:
    """The run of every wanted config on its faces, as :func:`lrface.runs.fit` gives it; and a sentence for each that was given up.

    A training whose loss is no longer a number is given up, the others go on. A small network leaves half of two cores idle, so on a CPU
    small networks are trained in one process a core, with one thread whatever the machine; paper-size networks, and all on a GPU, one
    after another. Interrupted or killed, the same call goes on.
    """
    keys = {name: runs.key_for(config, faces) for name, (config, faces) in wanted.items()}
    results: dict[str, Run | Diverged | None] = {key: runs.kept(key) for key in dict.fromkeys(keys.values())}
    missing = {key: wanted[name] for name, key in keys.items() if results[key] is None}
    with progress("networks", len(missing)) as advance:
        for starts in (True, False):  # first what others start from, so that nobody waits for a start that is still in training
            wave = {key: one for key, one in missing.items() if bool(one[0].before) != starts}
            for key, run, said in _side_by_side(wave) if _workers(wave) > 1 else _in_turn(wave):
                print(said, end="")
                results[key] = run
                advance()
    given_up = {name: str(results[key]) for name, key in keys.items() if isinstance(results[key], Diverged)}
    return {name: results[key] for name, key in keys.items() if name not in given_up}, given_up


def _on_cpu(config: Config) -> bool:
    return config.size == "small" and runs.device().type == "cpu"


Wave = dict[str, tuple[Config, FaceSet]]


def _workers(wave: Wave) -> int:
    if not all(_on_cpu(config) for config, _ in wave.values()):
        return 1
    return min(len(wave), os.cpu_count() or 1, max(1, psutil.virtual_memory().available // ROOM))


def _side_by_side(wave: Wave) -> Iterator[tuple[str, Run | Diverged, str]]:
    with contextlib.ExitStack() as stack:
        if "LRFACE_PROGRESS" not in os.environ:
            stack.enter_context(relayed("training"))
        settings = {name: value for name, value in os.environ.items() if name.startswith("LRFACE_")}
        jobs = []
        for key, (config, faces) in wave.items():
            # a method that was registered in a notebook is known to no other process, so it travels with its config
            standing = [one.config for one in (config.init, config.front) if isinstance(one, runs.Trained)]
            methods = [models.known(c.method) for c in (config, *config.before, *standing)]
            jobs.append(delayed(_in_a_worker)(key, config, faces, methods, settings, os.getpid()))
        stack.enter_context(parallel_config("loky", inner_max_num_threads=1))
        yield from Parallel(_workers(wave), return_as="generator_unordered", batch_size=1)(jobs)


def _in_a_worker(key: str, config: Config, faces: FaceSet, methods: list[models.Method], settings: dict[str, str], parent: int):
    for name in [n for n in os.environ if n.startswith("LRFACE_")]:
        del os.environ[name]  # of an earlier call: workers are used again
    os.environ.update(settings, LRFACE_PROGRESS=f"{settings['LRFACE_PROGRESS']}.{os.getpid()}")
    threading.Thread(target=_leave_with, args=(parent,), daemon=True).start()
    for method in methods:
        (models.RECOGNISERS if method.name in models.RECOGNISERS else models.METHODS)[method.name] = method
    with contextlib.redirect_stdout(io.StringIO()) as said:
        run = _fit(config, faces)
    return key, run, said.getvalue()


def _in_turn(wave: Wave) -> Iterator[tuple[str, Run | Diverged, str]]:
    for key, (config, faces) in wave.items():
        before = torch.get_num_threads()
        if _on_cpu(config):
            torch.set_num_threads(1)  # as side by side: the weights are the same however many are trained together
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


def _leave_with(parent: int) -> None:
    """A killed parent takes its trainings along: their checkpoints are then free for the next call."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)
