"""Where trainings and studies run: in this process, in several local ones, or as Slurm job arrays
through submitit.

One field decides, the environment variable LRFACE_JOBS: ``here``, ``local`` (default) or ``slurm``,
with settings if wanted: ``slurm:partition=gpu,time=600,gpus=1``. The results are the same, and so
is the cache, which all nodes must see.
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
"""What may be set for a Slurm job, by our name: Slurm's name and the type. ``time`` in minutes,
``memory`` in GB."""
DEFAULTS = {"time": 24 * 60, "cpus": 2}
ASK_SECONDS = 30
"""The queue is asked for its state no more often than this."""


@dataclass(frozen=True)
class Jobs:
    """What LRFACE_JOBS says."""

    kind: Kind
    settings: Mapping[str, str | int] = field(default_factory=dict)
    """Of a Slurm job, by the names of :data:`SETTINGS`."""


def chosen() -> Jobs:
    """What LRFACE_JOBS says. Raises one sentence (:class:`UsageError`) for what it does not know,
    and for Slurm without its commands."""
    text = current().jobs
    kind, _, rest = text.partition(":")
    settings: dict[str, str | int] = {}
    for pair in filter(None, rest.split(",")):
        name, _, value = pair.partition("=")
        if (
            name not in SETTINGS
            or not value
            or (SETTINGS[name][1] is int and not value.isdecimal())
        ):
            known = ", ".join(
                f"{n} ({'a whole number' if t is int else 'a name'})"
                for n, (_, t) in SETTINGS.items()
            )
            raise UsageError(
                f"LRFACE_JOBS={text}: cannot read {pair!r}: settings are {known}, written name=value with commas"
            )
        settings[name] = SETTINGS[name][1](value)
    if kind == "slurm" and not (shutil.which("sbatch") and shutil.which("squeue")):
        raise UsageError(
            f"LRFACE_JOBS={text}: Slurm's sbatch and squeue are not on this machine: choose here or local"
        )
    return Jobs(kind, settings)


class _Queue(SlurmInfoWatcher):
    """submitit asks sacct, which a cluster without accounting answers with an error: a cancelled
    job would be waited for for ever."""

    def _make_command(self) -> list[str] | None:
        waiting = self._registered - self._finished
        return (
            ["squeue", "--me", "--array", "--states=all", "--noheader", "--format=%i|%T"]
            if waiting
            else None
        )

    def read_info(self, string: str | bytes) -> dict[str, dict[str, str]]:
        lines = (string if isinstance(string, str) else string.decode()).splitlines()
        there = dict(line.strip().split("|") for line in lines)
        return {job: {"JobID": job, "State": there.get(job, "GONE")} for job in self._registered}

    def update_if_long_enough(self, mode: str) -> None:
        if mode == "force" or (
            mode == "standard" and time.time() - self._last_status_check > ASK_SECONDS
        ):
            self.update()


def _executor(folder: Path, label: str, settings: Mapping[str, str | int]) -> submitit.Executor:
    submitit.SlurmJob.watcher = _Queue()
    wanted = {
        SETTINGS[name][0]: f"{value}GB" if name == "memory" else value
        for name, value in {**DEFAULTS, **settings}.items()
    }
    executor = submitit.SlurmExecutor(folder=folder)
    # since 22.05 srun no longer takes the cores over from sbatch
    cores = [f"--cpus-per-task={wanted['cpus_per_task']}"]
    executor.update_parameters(
        job_name=f"lrface-{label}", stderr_to_stdout=True, srun_args=cores, **wanted
    )
    return executor


def array(
    label: str,
    calls: Mapping[str, Callable[[], Result]],
    settings: Mapping[str, str | int],
    take_up: bool = True,
) -> Iterator[tuple[str, Result | LrfaceError]]:
    """Run calls as one Slurm job array; yields (name, result) as they end, with a
    :class:`LrfaceError` for a job without a result.

    ``calls`` are named by what they compute, letters and digits. A job that ends without a result
    (cancelled, killed, out of time, an exception) is submitted once more, together with the others
    of its kind, and then reported. Ctrl-C leaves the jobs running and says so. With ``take_up`` a
    job of this name that is still queued or running is waited for in place of a second one.
    """
    folder = cache_dir("jobs")
    executor, waiting = _executor(folder, label, settings), dict(calls)
    for again in (False, True):
        names = _submit(executor, folder, waiting, take_up and not again, label)
        waiting = {}
        try:
            for job in as_completed(list(names), poll_frequency=1):
                name, error = names[job], job.exception()
                (folder / f"{name}.job").unlink(missing_ok=True)
                if error is None:
                    yield name, job.result()
                    for left in (job.paths.submitted_pickle, job.paths.result_pickle):
                        left.unlink(missing_ok=True)
                elif not again:
                    waiting[name] = calls[name]
                else:
                    yield (
                        name,
                        LrfaceError(
                            f"{name}: its job ended twice without a result, the last time with: {_why(job, error)}"
                        ),
                    )
        except KeyboardInterrupt:
            ids = ", ".join(sorted({job.job_id.split("_")[0] for job in names}))
            then = (
                "and the same command waits for it again"
                if take_up
                else "let it end before the same command"
            )
            print(
                f"{label}: interrupted; job {ids} goes on (scancel ends it), {then}",
                file=sys.stderr,
            )
            raise
        if not waiting:
            return


def _submit(
    executor: submitit.Executor,
    folder: Path,
    calls: Mapping[str, Callable[[], Any]],
    take_up: bool,
    label: str,
) -> dict[submitit.Job, str]:
    found = {}
    for name in calls if take_up else ():
        with suppress(Exception):  # a file of another version, or half of one, says so in many ways
            found[pickle.loads((folder / f"{name}.job").read_bytes())] = name
    names = {job: name for job, name in found.items() if not job.done() and job.state != "UNKNOWN"}
    new = [name for name in calls if name not in names.values()]
    try:
        jobs = executor.submit_array([calls[name] for name in new]) if new else []
    except FailedJobError as error:
        said = next(
            (line for line in str(error).splitlines() if "error" in line.lower()), "no reason given"
        )
        raise LrfaceError(
            f"{label}: Slurm refuses the jobs ({said.strip()}): change the settings after slurm: in LRFACE_JOBS"
        ) from error
    for name, job in zip(new, jobs, strict=True):
        names[job] = name
        write_atomic(
            folder / f"{name}.job", lambda path, job=job: path.write_bytes(pickle.dumps(job))
        )
    return names


def _why(job: submitit.Job, error: Exception) -> str:
    """The last line of a job's own error, or else the state Slurm gives it; and where all it said
    is."""
    trace = [
        line
        for line in str(error).split("-" * 22)[1:2]
        if isinstance(error, FailedJobError)
        for line in line.splitlines()
        if line
    ]
    return f"{trace[-1].strip() if trace else job.state} (see {job.paths.stdout})"


@dataclass(frozen=True)
class _Command:
    words: tuple[str, ...]

    def __call__(self) -> tuple[int, str]:
        # a study waits for its networks: were they jobs too, the studies would keep the nodes from
        # them
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


def studies(words: Mapping[str, list[str]]) -> Iterator[tuple[str, int, str]]:
    """Whole studies as one job array: ``words`` by study are those of the command line after
    ``lrface``.

    Yields (study, exit code, what it said), in the order they end. A job that was lost twice has
    exit code 1 and its sentence. The networks of a study are trained within its job, side by side.
    """
    start = ("-c", "from lrface.cli import main; main()")
    calls = {study: _Command((*start, *given)) for study, given in words.items()}
    for study, result in array("studies", calls, chosen().settings, take_up=False):
        code, said = (1, f"{result}\n") if isinstance(result, LrfaceError) else result
        yield study, code, said
