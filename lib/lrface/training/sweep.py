"""The networks of a study: the missing ones are trained, parents first, several at once."""

from __future__ import annotations

import contextlib
import io
import itertools
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
from lrface.data import FaceSet, TrainingSet
from lrface.errors import Diverged, LrfaceError
from lrface.files import cache_dir, progress, relayed, write_atomic
from lrface.settings import adopt, current, variables
from lrface.training import cost_model, runs, slurm
from lrface.training.runs import Config, Run, RunRef

Name = TypeVar("Name", bound=Hashable)
MEMORY = 3 << 30
"""Bytes of free memory for each training at a time; the hungriest small network takes 2 GB."""
SMALL = 100_000
"""Fewer weights than this are trained on one core also at a paper's size (SRCNN has 69,000)."""
PER_GPU = 4
"""Most small networks that train on one GPU at once."""
GPU_CONTEXT = 800 << 20
"""Bytes of a GPU that each process takes before its first tensor."""


def fit(
    wanted: Mapping[Name, tuple[Config, TrainingSet]], only: Collection[Name] | None = None
) -> tuple[dict[Name, Run], dict[Name, str]]:
    """The runs of a study, trained where they are not at hand (:func:`lrface.runs.fit`).

    A network that another is initialised from, or that is its preprocessor, is trained before it. A
    training whose loss is not finite ends, and those that need it are not trained; the others go
    on. Interrupted or killed, the same call goes on.

    Parameters
    ----------
    wanted : mapping of name to (Config, FaceSet, ClipSet or WindowSet)
        Each network's config and training faces, clips or windows, in any order.
    only : collection of names, optional
        The networks that are needed. Of the others those are trained that a needed network that is
        not at hand is initialised from or has as its preprocessor. By default all are needed.

    Returns
    -------
    runs : dict of name to Run
        Those that are needed, and those that were trained for them.
    diverged : dict of name to str
        A sentence for each training that diverged, or whose parent did.

    Raises
    ------
    LrfaceError
        If a training failed otherwise; raised when all others have ended.
    UsageError
        If ``LRFACE_JOBS`` cannot be read, or names Slurm where there is none.

    Notes
    -----
    ``LRFACE_JOBS`` says where trainings run. ``local`` (the default): small networks on a CPU in
    one process a core, each with one thread, so that the weights do not depend on the machine's
    cores, and then the large ones one after another; on a GPU as many at once as it has room for.
    ``here``: one after another in this process. ``slurm``: each as a job of an array
    (:mod:`lrface.training.slurm`); a job that is lost is submitted once more, then reported.

    Examples
    --------
    >>> from lrface import data, degrade
    >>> from lrface.training import recipes
    >>> faces, setting = data.load("synthetic", "train"), degrade.setting("4x")
    >>> wanted = {
    ...     method: (recipes.config(method, setting, "synthetic", "quick"), faces)
    ...     for method in ("SRCNN", "DICGAN")
    ... }
    >>> found, diverged = fit(wanted)
    >>> list(found), diverged
    (['SRCNN', 'DICGAN'], {})
    """
    where = slurm.launcher()
    keys = {name: runs.key_for(config, faces) for name, (config, faces) in wanted.items()}
    needed = [keys[name] for name in wanted if only is None or name in only]
    found, waiting = _found_and_waiting(needed, {keys[name]: one for name, one in wanted.items()})
    missing = len(waiting)
    with progress("networks", missing) as advance:
        while waiting:
            for key, one in list(waiting.items()):
                if error := _failed_parent(*one, found):
                    found[key] = error
                    del waiting[key]
                    advance()
            parents = {key: _parents(*one) for key, one in waiting.items()}
            ready = [key for key in waiting if not waiting.keys() & parents[key].keys()]
            for key, run, printed in _train({key: waiting[key] for key in ready}, where):
                print(printed, end="")
                found[key] = run
                del waiting[key]
                advance()
    errors = [error for error in found.values() if isinstance(error, LrfaceError)]
    failed = [error for error in errors if not isinstance(error, Diverged)]
    if failed:
        what = f"{len(failed)} of {missing} networks to train failed, the others are kept"
        raise LrfaceError(f"{what}: {failed[0]}")
    ended = {name: found[key] for name, key in keys.items() if key in found}
    diverged = {name: str(one) for name, one in ended.items() if isinstance(one, Diverged)}
    return {name: run for name, run in ended.items() if name not in diverged}, diverged


Trainings = dict[str, tuple[Config, TrainingSet]]
"""Config and training faces by key."""


def missing(needed: list[str], known: Trainings) -> Trainings:
    """The trainings that :func:`fit` would do: of needed keys not at hand, and their parents."""
    return _found_and_waiting(needed, known)[1]


def _found_and_waiting(
    needed: list[str], known: Trainings
) -> tuple[dict[str, Run | LrfaceError], Trainings]:
    """By key the needed runs that are at hand, and the missing ones with their missing parents."""
    found, waiting, ask = {}, {}, list(needed)
    for key in ask:  # it grows meanwhile
        if key in found or key in waiting:
            continue
        if run := runs.load_run(key):
            found[key] = run
        else:
            config, faces = waiting[key] = known[key]
            parents = _parents(config, faces)
            # a config's faces are the child's; those of a reference only ``wanted`` can tell
            own = {k: (p, faces) for k, p in parents.items() if isinstance(p, Config)}
            known = own | known
            ask += [parent for parent in parents if parent in known]
    return found, waiting


def _parents(config: Config, faces: TrainingSet) -> dict[str, Config | RunRef]:
    """By key what a network is initialised from or has as its preprocessor."""
    return {
        parent.key if isinstance(parent, RunRef) else runs.key_for(parent, faces): parent
        for parent in config.parents
    }


def _failed_parent(
    config: Config, faces: TrainingSet, found: Mapping[str, Run | LrfaceError]
) -> LrfaceError | None:
    for parent in _parents(config, faces):
        if isinstance(error := found.get(parent), LrfaceError):
            return type(error)(f"{config.label}: not trained, for its parent failed: {error}")
    return None


def _on_one_core(config: Config) -> bool:
    """Whether a training has one thread: of a small network, on a CPU."""
    if runs.device().type != "cpu":
        return False
    if config.size != "paper":
        return True
    if config.method not in models.METHODS:
        return False
    with torch.device("meta"):
        return sum(w.numel() for w in config.build().parameters()) < SMALL


Trained = Iterator[tuple[str, Run | LrfaceError, str]]
"""Key, run or error, and what the training printed, in the order in which they end."""


def _train(trainings: Trainings, where: slurm.Launcher) -> Trained:
    if where.kind == "slurm" and trainings:
        return _as_jobs(trainings, where)
    if where.kind != "local" or runs.device().type == "cuda":
        workers = _workers(trainings) if where.kind == "local" else 1
        return _in_processes(trainings, workers) if workers > 1 else _in_turn(trainings)
    side_by_side = {key: one for key, one in trainings.items() if _on_one_core(one[0])}
    large = {key: one for key, one in trainings.items() if key not in side_by_side}
    workers = _workers(side_by_side)
    first = _in_processes(side_by_side, workers) if workers > 1 else _in_turn(side_by_side)
    return itertools.chain(first, _in_turn(large))


def _workers(trainings: Trainings) -> int:
    if trainings and runs.device().type == "cuda":
        return _sharing_a_gpu(trainings)
    room = psutil.virtual_memory().available // MEMORY
    return min(len(trainings), os.cpu_count() or 1, max(1, room))


def _sharing_a_gpu(trainings: Trainings) -> int:
    """How many networks train on one GPU at once, each in a process of its own.

    One small network leaves it idle while the CPU sends the next kernels; a large one does not.
    """
    if any(config.size == "paper" for config, _ in trainings.values()):
        return 1
    largest = 0
    for config, faces in trainings.values():
        people = faces.table["identity"].nunique()
        step = cost_model.cost(config, people, len(faces.attributes)).memory
        largest = max(largest, GPU_CONTEXT + 2 * step)
    room = torch.cuda.mem_get_info()[0] // largest
    room = min(room, psutil.virtual_memory().available // MEMORY)
    return max(1, min(PER_GPU, len(trainings), (os.cpu_count() or 1) // 2, room))


def _in_processes(trainings: Trainings, workers: int) -> Trained:
    with contextlib.ExitStack() as stack:
        if current().progress is None:
            stack.enter_context(relayed("training"))
        settings = variables()
        calls = [
            delayed(_in_a_worker)(key, config, faces, _methods(config), settings, os.getpid())
            for key, (config, faces) in trainings.items()
        ]
        stack.enter_context(parallel_config("loky", inner_max_num_threads=1))
        pool = Parallel(workers, return_as="generator_unordered", batch_size=1)
        yield from pool(calls)


def _methods(config: Config) -> list[models.Method]:
    """The methods of a config and of all that it descends from.

    A method that was registered in a notebook is known to no other process, so it travels with the
    config.
    """
    found = [models.find(config.method)]
    for parent in config.parents:
        found += _methods(parent.config if isinstance(parent, RunRef) else parent)
    return found


def _set_up_worker(settings: dict[str, str], methods: list[models.Method]) -> None:
    adopt(settings)
    for method in methods:
        kinds = (models.RECOGNISERS, models.DETECTORS)
        kind = next((k for k in kinds if method.name in k), models.METHODS)
        kind[method.name] = method


def _in_a_worker(
    key: str,
    config: Config,
    faces: TrainingSet,
    methods: list[models.Method],
    settings: dict[str, str],
    parent: int,
) -> tuple[str, Run | Diverged, str]:
    own = {"LRFACE_PROGRESS": f"{settings['LRFACE_PROGRESS']}.{os.getpid()}"}
    _set_up_worker(settings | own, methods)
    threading.Thread(target=exit_with_parent, args=(parent,), daemon=True).start()
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        run = _fit(config, faces)
    return key, run, printed.getvalue()


@dataclass(frozen=True)
class _Job:
    """One training as a job.

    Its faces are a file that all jobs share: a table of a million rows need not be stored once a
    network.
    """

    config: Config
    faces: Path
    methods: list[models.Method]
    settings: dict[str, str]

    def __call__(self) -> tuple[Run | LrfaceError, str]:
        _set_up_worker(self.settings, self.methods)
        faces = pickle.loads(self.faces.read_bytes())
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            try:
                ((_, run, _),) = _in_turn({"": (self.config, faces)})
            except LrfaceError as error:
                run = error
        print(printed.getvalue(), end="")
        return run, printed.getvalue()


def _as_jobs(trainings: Trainings, where: slurm.Launcher) -> Trained:
    settings = {name: value for name, value in variables().items() if name != "LRFACE_PROGRESS"}
    files, jobs = {}, {}
    for key, (config, faces) in trainings.items():
        labelled = isinstance(faces, FaceSet)
        mark = faces.attributes_fingerprint if labelled else faces.fingerprint
        file = cache_dir("jobs") / f"faces-{mark}.pkl"
        if id(faces) not in files:
            pickled = pickle.dumps(faces)
            files[id(faces)] = write_atomic(file, lambda path, p=pickled: path.write_bytes(p))
        jobs[key] = _Job(config, files[id(faces)], _methods(config), settings)
    for key, result in slurm.job_array("training", jobs, where.settings):
        run, printed = (result, "") if isinstance(result, LrfaceError) else result
        label = trainings[key][0].label
        if isinstance(run, LrfaceError):
            yield key, run if str(run).startswith(label) else type(run)(f"{label}, {run}"), printed
        elif (stored := runs.load_run(key)) is None:
            missing = f"no run {key} is in {cache_dir('runs')}"
            advice = "put LRFACE_CACHE where all nodes see it"
            yield key, LrfaceError(f"{label}: its job ended, and {missing}: {advice}"), printed
        else:
            yield key, replace(stored, source=run.source), printed


def _in_turn(trainings: Trainings) -> Trained:
    for key, (config, faces) in trainings.items():
        before = torch.get_num_threads()
        if _on_one_core(config):
            torch.set_num_threads(1)  # the weights are then those of training in processes
        try:
            yield key, _fit(config, faces), ""
        finally:
            torch.set_num_threads(before)


def _fit(config: Config, faces: TrainingSet) -> Run | Diverged:
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
