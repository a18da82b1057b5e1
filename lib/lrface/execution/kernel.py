"""A kernel's life around papermill: one at a time on a GPU, gone before the next, and its end told
apart."""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import re
import signal
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import nbformat
import psutil
from filelock import FileLock

from lrface.errors import LrfaceError
from lrface.files import clock, project_root, relayed, write_atomic
from lrface.settings import current

Kind = Literal[
    "exception",
    "kernel killed",
    "out of memory",
    "time-out",
    "interrupted",
    "missing output",
    "disk full",
]
GRACE = 10.0
"""Seconds that the processes of a notebook that has ended may take to be gone, before they are
killed."""
START = 300
"""Seconds that a kernel may take to start: a busy machine may need a minute."""


@dataclass(frozen=True)
class Failure:
    """Why a notebook has no results: the kind, and a sentence."""

    kind: Kind
    sentence: str


@dataclass
class Life:
    """What is known of a kernel from outside."""

    pids: Path
    """File that says which process it is, for whoever comes after a runner that was killed."""
    say: Callable[[str], None]
    total: int
    expected: float | None
    pid: int | None = None
    cell: int = 0
    """The code cell it is at, as the notebook counts them."""
    executed: int = 0
    """The same as the kernel counts them: with the cell that sets the parameters."""
    ended: int | None = None
    """Its exit status, if it ended by itself: minus the signal, if one killed it."""
    kills: int = field(default_factory=lambda: _oom_kills())

    def began(self, pid: int) -> None:
        self.pid = pid
        self.pids.write_text(json.dumps([pid, psutil.Process(pid).create_time()]))

    def at(self, injected: bool) -> None:
        self.cell += not injected
        self.executed += 1
        self.say(
            f"cell {self.cell}/{self.total}"
            + (f", about {clock(self.expected)} expected" if self.expected else "")
        )


def execute(
    path: Path,
    out: Path,
    values: dict[str, Any],
    settings: dict[str, str],
    pids: Path,
    expected: float | None = None,
    cell_timeout: float | None = None,
) -> Failure | None:
    """Execute the notebook at ``path`` into ``out``; None if every cell succeeded.

    ``values`` are its parameters, ``settings`` environment variables for its kernel alone,
    ``expected`` the seconds it took last time and ``cell_timeout`` the seconds that one cell may
    take. When this returns or raises, the kernel and all that it started are gone.
    """
    import papermill
    from nbclient.exceptions import CellTimeoutError, DeadKernelError
    from papermill.exceptions import PapermillExecutionError
    from traitlets.config import Config

    engine = _engine()
    logging.getLogger("papermill").setLevel(logging.ERROR)
    logging.getLogger("asyncio").setLevel(
        logging.CRITICAL
    )  # of a cell that was interrupted it prints the whole traceback
    total = sum(c.cell_type == "code" for c in nbformat.read(path, 4).cells)
    life = None
    try:
        with _gpu(), _sockets() as ip, warnings.catch_warnings(), relayed(path.stem) as say:
            warnings.simplefilter("ignore")
            life = Life(pids, say, total, expected)
            try:
                papermill.execute_notebook(
                    str(path),
                    str(out),
                    parameters=values,
                    engine_name=engine,
                    kernel_name="python3",
                    language="python",
                    cwd=str(project_root()),
                    progress_bar=False,
                    start_timeout=START,
                    execution_timeout=cell_timeout,
                    extra_arguments=["--log-level=50"],
                    # Files instead of TCP ports: it works where there is no network at all, not
                    # even loopback, and nobody else can listen.
                    config=Config({"KernelManager": {"transport": "ipc", "ip": ip}}),
                    life=life,
                    env={**os.environ, **settings},
                )
            finally:
                if life.pid is not None:
                    gone(life.pid)
    except PapermillExecutionError as error:
        return _raised(error.exec_count, error.ename, error.evalue)
    except CellTimeoutError:
        return Failure(
            "time-out",
            f"cell {life.executed} took longer than the {cell_timeout:g} s that a cell may take",
        )
    except DeadKernelError:
        return _died(life)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            return Failure(
                "disk full",
                f"{error.strerror} ({error.filename or out.parent}): free some, or set LRFACE_OUT and LRFACE_CACHE",
            )
        return Failure("exception", f"{type(error).__name__}: {error}")
    except Exception as error:  # whatever it is, the other studies still run
        first = (str(error).strip() or "no message").splitlines()[0]
        if life is not None and "Kernel died" in first:
            return _died(life)
        if "Kernel didn't respond" in first:
            return Failure("time-out", f"the kernel did not start within {START} s")
        return Failure("exception", f"{type(error).__name__}: {first}")
    return None


def _raised(cell: int | None, name: str, said: str) -> Failure:
    first = (said.strip() or "no message").splitlines()[0]
    where = f"cell {cell}: {name}: {first}"
    if name in ("MemoryError", "OutOfMemoryError") or "out of memory" in said.lower():
        share = fits(said)
        return Failure(
            "out of memory",
            where + (f" (about {share:.0%} of the batch would fit)" if share else ""),
        )
    if os.strerror(errno.ENOSPC) in said or os.strerror(errno.EDQUOT) in said:
        return Failure("disk full", where)
    return Failure("interrupted" if name == "KeyboardInterrupt" else "exception", where)


def fits(said: str) -> float | None:
    """The share of a batch that would have fitted, from what CUDA says when memory ran out; None if
    it does not say enough.

    Counts all that the process holds as the batch's, so it errs on the small side where the weights
    are large.
    """
    unit = {"KiB": 2**-20, "MiB": 2**-10, "GiB": 1.0}
    patterns = (
        r"allocate ([\d.]+) (\wiB)",
        r"of which ([\d.]+) (\wiB) is free",
        r"process has ([\d.]+) (\wiB) memory in use",
    )
    found = [re.search(pattern, said) for pattern in patterns]
    if not all(found):
        return None
    wanted, free, held = (float(match[1]) * unit.get(match[2], 0.0) for match in found)
    return (held + free) / (held + wanted) if wanted > free else None


def _died(life: Life) -> Failure:
    name = "before it said why" if life.ended is None else f"exit status {life.ended}"
    with contextlib.suppress(ValueError, TypeError):
        name = signal.Signals(-life.ended).name
    where = f"the kernel ended in cell {life.executed} ({name})"
    if life.ended == -signal.SIGKILL and _oom_kills() > life.kills:
        return Failure(
            "out of memory",
            f"{where}: the system had no memory left; close other programs or choose a smaller preset",
        )
    return Failure("kernel killed", where)


def _oom_kills(root: Path = Path("/")) -> int:
    """How many processes the system has killed for memory so far: in this one's control group, else
    on this machine."""
    with contextlib.suppress(OSError, ValueError, TypeError):
        group = re.search(r"^0::/(.*)$", (root / "proc/self/cgroup").read_text(), re.M)[1]
        return int(
            re.search(
                r"^oom_kill (\d+)$",
                (root / "sys/fs/cgroup" / group / "memory.events").read_text(),
                re.M,
            )[1]
        )
    with contextlib.suppress(OSError, ValueError, TypeError):
        return int(re.search(r"^oom_kill (\d+)$", (root / "proc/vmstat").read_text(), re.M)[1])
    return 0


def _engine() -> str:
    """Papermill's own engine, made to tell which process the kernel is, which cell it is at, and
    how it ended."""
    from nbclient.exceptions import DeadKernelError
    from papermill.clientwrap import PapermillNotebookClient
    from papermill.engines import NBClientEngine, papermill_engines

    class Client(PapermillNotebookClient):
        life: Life

        def start_new_kernel(self, **kwargs):
            super().start_new_kernel(**kwargs, env=self.env)
            self.life.began(self.km.provisioner.pid)

        def execute_cell(self, cell, index, **kwargs):
            if cell.cell_type == "code":
                self.life.at("injected-parameters" in cell.metadata.get("tags", []))
            try:
                return super().execute_cell(cell, index, **kwargs)
            except DeadKernelError:
                process = self.km.provisioner.process
                self.life.ended = process.poll() if process else None
                raise

    class Engine(NBClientEngine):
        @classmethod
        def execute_managed_notebook(
            cls, nb_man, kernel_name, life, env, start_timeout, execution_timeout=None, **kwargs
        ):
            settings = {k: kwargs[k] for k in ("config", "extra_arguments")}
            client = Client(
                nb_man,
                timeout=execution_timeout,
                startup_timeout=start_timeout,
                kernel_name=kernel_name,
                **settings,
            )
            client.life, client.env = life, env
            return client.execute()

    papermill_engines.register("lrface", Engine)
    return "lrface"


def gone(group: int, grace: float = GRACE) -> None:
    """Return when no process of a process group is left: after ``grace`` seconds they are killed."""
    until = time.monotonic() + grace
    while _members(group):
        if time.monotonic() >= until:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(group, signal.SIGKILL)
        time.sleep(0.05)


def _members(group: int) -> list[int]:
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(OSError, psutil.Error):
            if os.getpgid(process.pid) == group and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process.pid)
    return found


def end_orphan(pids: Path) -> None:
    """End the kernel that ``pids`` names if it has outlived the runner that started it: it sees so
    itself within a second or two."""
    with contextlib.suppress(OSError, ValueError, psutil.Error):
        pid, born = json.loads(pids.read_text())
        if psutil.Process(pid).create_time() == born:
            gone(pid, grace=5.0)


@contextlib.contextmanager
def _gpu() -> Iterator[None]:
    """Held by one notebook at a time on each GPU of this machine, whoever's it is; nothing on a
    CPU."""
    if current().device == "cpu":
        yield
        return
    import torch

    if not torch.cuda.is_available():
        yield
        return
    name = re.sub(r"\W", "-", str(getattr(torch.cuda.get_device_properties(0), "uuid", "0")))
    with FileLock(Path(tempfile.gettempdir(), f"lrface-gpu-{name}.lock"), mode=0o666):
        yield


@contextlib.contextmanager
def _sockets() -> Iterator[str]:
    """Where one kernel's sockets begin: jupyter's own choice is one name in the working folder,
    which two kernels at once would share."""
    roomy = len(tempfile.gettempdir()) < 80  # a socket's path has 107 characters at most
    with tempfile.TemporaryDirectory(prefix="lrface-", dir=None if roomy else "/tmp") as folder:
        yield str(Path(folder, "kernel"))


def require_gpu(preset: str) -> None:
    """Raise one sentence if the preset needs a GPU and there is none."""
    if preset not in ("gpu", "paper") or current().device == "cpu":
        return
    import torch

    if not torch.cuda.is_available():
        raise LrfaceError(
            f"preset {preset} needs a GPU and PyTorch sees none: choose preset quick, or set LRFACE_DEVICE=cpu and be patient"
        )


def tidy(source: Path, target: Path) -> None:
    """Save an executed notebook as ``target``, without progress bars and papermill's own marks,
    which lie after a kernel was killed."""
    notebook = nbformat.read(source, 4)
    notebook.metadata.pop("papermill", None)
    for cell in notebook.cells:
        cell.metadata.pop("papermill", None)
        if cell.cell_type == "code":
            cell.outputs = _without_progress(cell.outputs)
    write_atomic(target, lambda path: nbformat.write(notebook, path))


def _without_progress(outputs: list) -> list:
    kept: list = []
    for output in outputs:
        if (
            output.output_type == "stream"
            and kept
            and kept[-1].output_type == "stream"
            and kept[-1].name == output.name
        ):
            kept[-1].text += output.text  # a bar may come in many pieces
        else:
            kept.append(output)
    for output in kept:
        if (
            output.output_type == "stream"
        ):  # a line that a carriage return has written over was progress
            lines = re.split(r"(?<=\n)", output.text.replace("\r\n", "\n"))
            output.text = "".join(line for line in lines if "\r" not in line)
    return [output for output in kept if output.output_type != "stream" or output.text]
