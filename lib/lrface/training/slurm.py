"""The Slurm launcher: trainings and whole studies as job arrays, through submitit.

The environment variable ``LRFACE_JOBS`` says where trainings run: ``here`` (in this process),
``local`` (the default: in several processes of this machine) or ``slurm``, with settings if wanted:
``slurm:partition=gpu,time=600,gpus=1``. The results are the same. All nodes must see the cache.
"""

from __future__ import annotations

import os
import pickle
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

import submitit
from submitit.core.utils import FailedJobError
from submitit.helpers import as_completed
from submitit.slurm.slurm import SlurmInfoWatcher

from lrface.errors import LrfaceError, UsageError
from lrface.files import cache_dir, write_atomic
from lrface.settings import current

Result = TypeVar("Result")
Kind = Literal["here", "local", "slurm"]
SETTINGS = {
    "account": ("account", str),
    "partition": ("partition", str),
    "time": ("time", int),
    "gpus": ("gpus_per_node", int),
    "cpus": ("cpus_per_task", int),
    "memory": ("mem", int),
}
"""Settings of a Slurm job by the name they have in ``LRFACE_JOBS``: submitit's name and the type.
``time`` is in minutes, ``memory`` in GB."""
DEFAULTS = {"time": 24 * 60, "cpus": 2}
POLL_SECONDS = 30
"""Least time between two calls of squeue."""


@dataclass(frozen=True)
class Launcher:
    """Where trainings run."""

    kind: Kind
    settings: Mapping[str, str | int] = field(default_factory=dict)
    """Of a Slurm job, by the names of :data:`SETTINGS`."""


def launcher() -> Launcher:
    """What ``LRFACE_JOBS`` says.

    Raises
    ------
    UsageError
        If it cannot be read, or says ``slurm`` where sbatch or squeue is missing.
    """
    text = current().jobs
    kind, _, rest = text.partition(":")
    settings: dict[str, str | int] = {}
    for pair in filter(None, rest.split(",")):
        name, _, value = pair.partition("=")
        is_whole = name in SETTINGS and SETTINGS[name][1] is int
        if name not in SETTINGS or not value or (is_whole and not value.isdecimal()):
            kinds = {int: "a whole number", str: "a name"}
            known = ", ".join(f"{name} ({kinds[kind]})" for name, (_, kind) in SETTINGS.items())
            advice = f"settings are {known}, written name=value with commas"
            raise UsageError(f"LRFACE_JOBS={text}: cannot read {pair!r}: {advice}")
        settings[name] = SETTINGS[name][1](value)
    if kind == "slurm" and not (shutil.which("sbatch") and shutil.which("squeue")):
        what = "Slurm's sbatch and squeue are not on this machine"
        raise UsageError(f"LRFACE_JOBS={text}: {what}: choose here or local")
    return Launcher(kind, settings)


class _QueueWatcher(SlurmInfoWatcher):
    """Asks squeue for the state of all jobs at once.

    submitit asks sacct, which fails on a cluster without accounting: it would then wait for a
    cancelled job for ever.
    """

    def _make_command(self) -> list[str] | None:
        running = self._registered - self._finished
        return (
            ["squeue", "--me", "--array", "--states=all", "--noheader", "--format=%i|%T"]
            if running
            else None
        )

    def read_info(self, string: str | bytes) -> dict[str, dict[str, str]]:
        lines = (string if isinstance(string, str) else string.decode()).splitlines()
        states = dict(line.strip().split("|") for line in lines)
        return {job: {"JobID": job, "State": states.get(job, "GONE")} for job in self._registered}

    def update_if_long_enough(self, mode: str) -> None:
        due = time.time() - self._last_status_check > POLL_SECONDS
        if mode == "force" or (mode == "standard" and due):
            self.update()


def _executor(folder: Path, label: str, settings: Mapping[str, str | int]) -> submitit.Executor:
    submitit.SlurmJob.watcher = _QueueWatcher()
    parameters = {
        SETTINGS[name][0]: f"{value}GB" if name == "memory" else value
        for name, value in {**DEFAULTS, **settings}.items()
    }
    executor = submitit.SlurmExecutor(folder=folder)
    # since Slurm 22.05 srun does not inherit sbatch's --cpus-per-task
    parameters["srun_args"] = [f"--cpus-per-task={parameters['cpus_per_task']}"]
    name = f"lrface-{label}"
    executor.update_parameters(job_name=name, stderr_to_stdout=True, **parameters)
    return executor


def job_array(
    label: str,
    calls: Mapping[str, Callable[[], Result]],
    settings: Mapping[str, str | int],
    reattach: bool = True,
) -> Iterator[tuple[str, Result | LrfaceError]]:
    """Run calls as one Slurm job array.

    A job that ends without a result (cancelled, killed, out of time, an exception) is submitted
    once more, together with the others of its kind, and then reported. Ctrl-C leaves the jobs
    running and says so.

    Parameters
    ----------
    label : str
        Part of the job's name in Slurm.
    calls : mapping of str to callable
        Named by what they compute, in letters and digits.
    settings : mapping
        Of the jobs, by the names of :data:`SETTINGS`.
    reattach : bool
        Wait for a job of the same name that is still queued or running, instead of submitting it
        again.

    Yields
    ------
    (name, result)
        As the jobs end; a :class:`LrfaceError` for one without a result.
    """
    folder = cache_dir("jobs")
    executor, waiting = _executor(folder, label, settings), dict(calls)
    for last_try in (False, True):
        names = _submit(executor, folder, waiting, reattach and not last_try, label)
        waiting = {}
        try:
            for job in as_completed(list(names), poll_frequency=1):
                name, error = names[job], job.exception()
                (folder / f"{name}.job").unlink(missing_ok=True)
                if error is None:
                    yield name, job.result()
                    job.paths.submitted_pickle.unlink(missing_ok=True)
                    job.paths.result_pickle.unlink(missing_ok=True)
                elif last_try:
                    what = "its job ended twice without a result, the last time with"
                    yield name, LrfaceError(f"{name}: {what}: {_reason(job, error)}")
                else:
                    waiting[name] = calls[name]
        except KeyboardInterrupt:
            ids = ", ".join(sorted({job.job_id.split("_")[0] for job in names}))
            advice = "let it end before the same command"
            if reattach:
                advice = "and the same command waits for it again"
            what = f"interrupted; job {ids} goes on (scancel ends it)"
            print(f"{label}: {what}, {advice}", file=sys.stderr)
            raise
        if not waiting:
            return


def _submit(
    executor: submitit.Executor,
    folder: Path,
    calls: Mapping[str, Callable[[], Any]],
    reattach: bool,
    label: str,
) -> dict[submitit.Job, str]:
    """Names by job: of the jobs that still run, and of those that are submitted for the others."""
    earlier = {}
    for name in calls if reattach else ():
        with suppress(
            Exception
        ):  # a damaged file, or another version's, raises errors of many kinds
            earlier[pickle.loads((folder / f"{name}.job").read_bytes())] = name
    names = {
        job: name for job, name in earlier.items() if not job.done() and job.state != "UNKNOWN"
    }
    new = [name for name in calls if name not in names.values()]
    try:
        jobs = executor.submit_array([calls[name] for name in new]) if new else []
    except FailedJobError as error:
        lines = (line for line in str(error).splitlines() if "error" in line.lower())
        reason = next(lines, "no reason given").strip()
        advice = "change the settings after slurm: in LRFACE_JOBS"
        raise LrfaceError(f"{label}: Slurm refuses the jobs ({reason}): {advice}") from error
    for name, job in zip(new, jobs, strict=True):
        names[job] = name
        pickled = pickle.dumps(job)
        write_atomic(folder / f"{name}.job", lambda path, p=pickled: path.write_bytes(p))
    return names


def _reason(job: submitit.Job, error: Exception) -> str:
    """The last line of a job's own traceback, else the state that Slurm gives it; and its log."""
    trace = []
    if isinstance(error, FailedJobError):
        # submitit quotes the traceback between lines of dashes
        quoted = str(error).split("-" * 22)[1:2]
        trace = [line for text in quoted for line in text.splitlines() if line]
    return f"{trace[-1].strip() if trace else job.state} (see {job.paths.stdout})"


@dataclass(frozen=True)
class _Command:
    words: tuple[str, ...]

    def __call__(self) -> tuple[int, str]:
        # Not as jobs: a study would hold a node while its networks wait for one.
        environment = os.environ | {"LRFACE_JOBS": "local"}
        done = subprocess.run(
            [sys.executable, *self.words],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        print(done.stdout)
        return done.returncode, done.stdout


def run_studies(words: Mapping[str, list[str]]) -> Iterator[tuple[str, int, str]]:
    """Run whole studies as one job array; the networks of a study are trained within its job.

    Parameters
    ----------
    words : mapping of str to list of str
        Of each study the command line after ``lrface``.

    Yields
    ------
    (study, exit code, output)
        As they end. A job that was lost twice has exit code 1, and its output is a sentence.
    """
    start = ("-c", "from lrface.cli import main; main()")
    calls = {study: _Command((*start, *given)) for study, given in words.items()}
    for study, result in job_array("studies", calls, launcher().settings, reattach=False):
        code, output = (1, f"{result}\n") if isinstance(result, LrfaceError) else result
        yield study, code, output
