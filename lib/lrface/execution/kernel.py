"""Execute a notebook in a kernel of its own through papermill, and say how the kernel ended.

One kernel at a time uses a GPU. When :func:`execute` returns, the kernel and all processes that it
started have ended, and a failure has been classified: a killed kernel, lack of memory, a full
disk, a time-out, an exception in a cell.
"""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import re
import signal
import subprocess
import sys
import sysconfig
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import nbformat
import psutil
from filelock import FileLock

from lrface.files import cache_dir, clock, project_root, relayed, write_atomic
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
GRACE_SECONDS = 10.0
"""How long the processes of an ended notebook may take to exit before they are killed."""
START_SECONDS = 300
"""How long a kernel may take to start: a busy machine may need a minute."""


MATPLOTLIBRC = Path(__file__).with_name("matplotlibrc")
"""Of kernels: matplotlib's defaults. A user's own may ask for LaTeX, or another backend."""


@dataclass(frozen=True)
class Failure:
    """Why a notebook has no results: the kind, and a sentence."""

    kind: Kind
    sentence: str


@dataclass
class KernelState:
    """What is known of a running kernel from outside."""

    pid_file: Path
    """Names the kernel's process for the next runner, should this one be killed."""
    say: Callable[[str], None]
    total: int
    expected: float | None
    pid: int | None = None
    cell: int = 0
    """The current code cell, as the notebook counts them."""
    executed: int = 0
    """The same as the kernel counts them, with the injected parameters."""
    exit_status: int | None = None
    """If the kernel ended by itself; minus the signal, if one killed it."""
    oom_kills: int = field(default_factory=lambda: _oom_kills())

    def started(self, pid: int) -> None:
        self.pid = pid
        self.pid_file.write_text(json.dumps([pid, psutil.Process(pid).create_time()]))

    def next_cell(self, injected: bool) -> None:
        self.cell += not injected
        self.executed += 1
        expected = f", about {clock(self.expected)} expected" if self.expected else ""
        self.say(f"cell {self.cell}/{self.total}{expected}")


def execute(
    path: Path,
    out: Path,
    values: dict[str, Any],
    environment: dict[str, str],
    pid_file: Path,
    expected: float | None = None,
    cell_timeout: float | None = None,
) -> Failure | None:
    """Execute a notebook; None if every cell succeeded.

    When this returns or raises, the kernel and all processes that it started have ended.

    Parameters
    ----------
    path : the notebook.
    out : where the executed notebook is written.
    values : its parameters.
    environment : variables for its kernel, beside those of this process.
    pid_file : names the kernel's process while it runs (:func:`end_orphan`).
    expected : seconds that it took last time, for the progress line.
    cell_timeout : seconds that one cell may take.
    """
    import papermill
    from nbclient.exceptions import CellTimeoutError, DeadKernelError
    from papermill.exceptions import PapermillExecutionError
    from traitlets.config import Config

    engine = _engine()
    logging.getLogger("papermill").setLevel(logging.ERROR)
    # of an interrupted cell asyncio prints the whole traceback
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    total = sum(c.cell_type == "code" for c in nbformat.read(path, 4).cells)
    state = None
    try:
        with _gpu(), _sockets() as ip, warnings.catch_warnings(), relayed(path.stem) as say:
            warnings.simplefilter("ignore")
            state = KernelState(pid_file, say, total, expected)
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
                    start_timeout=START_SECONDS,
                    execution_timeout=cell_timeout,
                    extra_arguments=["--log-level=50"],
                    # Files instead of TCP ports: it works where there is no network at all, not
                    # even loopback, and nobody else can listen.
                    config=Config({"KernelManager": {"transport": "ipc", "ip": ip}}),
                    state=state,
                    env=_environment() | environment,
                )
            finally:
                if state.pid is not None:
                    end_group(state.pid)
    except PapermillExecutionError as error:
        return _cell_failure(error.exec_count, error.ename, error.evalue)
    except CellTimeoutError:
        limit = f"the {cell_timeout:g} s that a cell may take"
        return Failure("time-out", f"cell {state.executed} took longer than {limit}")
    except DeadKernelError:
        return _kernel_failure(state)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            place = error.filename or out.parent
            hint = "free some, or set LRFACE_OUT and LRFACE_CACHE"
            return Failure("disk full", f"{error.strerror} ({place}): {hint}")
        return Failure("exception", f"{type(error).__name__}: {error}")
    except Exception as error:  # whatever it is, the other studies still run
        first = _first_line(str(error))
        if state is not None and "Kernel died" in first:
            return _kernel_failure(state)
        if "Kernel didn't respond" in first:
            return Failure("time-out", f"the kernel did not start within {START_SECONDS} s")
        return Failure("exception", f"{type(error).__name__}: {first}")
    return None


def _environment() -> dict[str, str]:
    """This process's variables, without the user's own settings of figures.

    Packages that compile with Numba (umap) keep the result beside their files, else in HOME, and
    fail where neither can be written: kernels then get a folder in the cache.
    """
    given = {name: value for name, value in os.environ.items() if name != "MPLBACKEND"}
    given["MATPLOTLIBRC"] = str(MATPLOTLIBRC)
    homes = sysconfig.get_paths()["purelib"], os.path.expanduser("~")
    if not any(os.access(place, os.W_OK) for place in homes):
        given.setdefault("NUMBA_CACHE_DIR", str(cache_dir("numba")))
    return given


def _first_line(message: str) -> str:
    return (message.strip() or "no message").splitlines()[0]


def _cell_failure(cell: int | None, name: str, message: str) -> Failure:
    """Classify an exception that a cell raised."""
    sentence = f"cell {cell}: {name}: {_first_line(message)}"
    kind: Kind = "exception"
    if name in ("MemoryError", "OutOfMemoryError") or "out of memory" in message.lower():
        kind = "out of memory"
    elif os.strerror(errno.ENOSPC) in message or os.strerror(errno.EDQUOT) in message:
        kind = "disk full"
    elif name == "KeyboardInterrupt":
        kind = "interrupted"
    return Failure(kind, sentence)


def _kernel_failure(state: KernelState) -> Failure:
    """Classify the end of a kernel that did not end a cell."""
    status = state.exit_status
    how = "for an unknown reason" if status is None else f"exit status {status}"
    with contextlib.suppress(ValueError, TypeError):
        how = signal.Signals(-status).name
    sentence = f"the kernel ended in cell {state.executed} ({how})"
    if status == -signal.SIGKILL and _oom_kills() > state.oom_kills:
        hint = "close other programs or choose a smaller preset"
        return Failure("out of memory", f"{sentence}: the system had no memory left; {hint}")
    return Failure("kernel killed", sentence)


def _oom_kills(root: Path = Path("/")) -> int:
    """How many processes Linux has killed for memory: in our control group, else everywhere."""
    with contextlib.suppress(OSError, ValueError, TypeError):
        group = re.search(r"^0::/(.*)$", (root / "proc/self/cgroup").read_text(), re.M)[1]
        events = (root / "sys/fs/cgroup" / group / "memory.events").read_text()
        return int(re.search(r"^oom_kill (\d+)$", events, re.M)[1])
    with contextlib.suppress(OSError, ValueError, TypeError):
        return int(re.search(r"^oom_kill (\d+)$", (root / "proc/vmstat").read_text(), re.M)[1])
    return 0


def _engine() -> str:
    """Register papermill's engine with a client that keeps a :class:`KernelState` up to date."""
    from jupyter_client.kernelspec import KernelSpec
    from nbclient.exceptions import DeadKernelError
    from papermill.clientwrap import PapermillNotebookClient
    from papermill.engines import NBClientEngine, papermill_engines

    class Client(PapermillNotebookClient):
        state: KernelState

        def create_kernel_manager(self):
            # a kernelspec named python3 of the user's may start another environment's Python
            manager = super().create_kernel_manager()
            manager._kernel_spec = KernelSpec(
                argv=[sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"],
                display_name="this Python",
                language="python",
            )
            return manager

        def start_new_kernel(self, **kwargs):
            super().start_new_kernel(**kwargs, env=self.env)
            self.state.started(self.km.provisioner.pid)

        def execute_cell(self, cell, index, **kwargs):
            if cell.cell_type == "code":
                self.state.next_cell("injected-parameters" in cell.metadata.get("tags", []))
            try:
                return super().execute_cell(cell, index, **kwargs)
            except DeadKernelError:
                process = self.km.provisioner.process
                self.state.exit_status = process.poll() if process else None
                raise

    class Engine(NBClientEngine):
        @classmethod
        def execute_managed_notebook(
            cls, nb_man, kernel_name, state, env, start_timeout, execution_timeout=None, **kwargs
        ):
            client = Client(
                nb_man,
                timeout=execution_timeout,
                startup_timeout=start_timeout,
                kernel_name=kernel_name,
                config=kwargs["config"],
                extra_arguments=kwargs["extra_arguments"],
            )
            client.state, client.env = state, env
            return client.execute()

    papermill_engines.register("lrface", Engine)
    return "lrface"


def end_group(group: int, grace: float = GRACE_SECONDS) -> None:
    """Wait until no process of a process group is left; kill them after ``grace`` seconds."""
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


def end_orphan(pid_file: Path) -> None:
    """End the kernel that ``pid_file`` names, if it has outlived its runner.

    A kernel notices by itself, within a second or two, that its parent is gone.
    """
    with contextlib.suppress(OSError, ValueError, psutil.Error):
        pid, created = json.loads(pid_file.read_text())
        if psutil.Process(pid).create_time() == created:
            end_group(pid, grace=5.0)


@contextlib.contextmanager
def _gpu() -> Iterator[None]:
    """Hold this machine's first GPU, which one notebook uses at a time; a no-op on a CPU."""
    if current().device == "cpu":
        yield
        return
    import torch

    if not torch.cuda.device_count():
        yield
        return
    from lrface import numerics

    name = re.sub(r"\W", "-", numerics.gpu().get("uuid", "0"))
    with FileLock(Path(tempfile.gettempdir(), f"lrface-gpu-{name}.lock"), mode=0o666):
        yield


@contextlib.contextmanager
def _sockets() -> Iterator[str]:
    """The path prefix of one kernel's sockets.

    Jupyter's default is one name in the working folder, which two kernels at once would share.
    """
    roomy = len(tempfile.gettempdir()) < 80  # a socket's path has 107 characters at most
    with tempfile.TemporaryDirectory(prefix="lrface-", dir=None if roomy else "/tmp") as folder:
        yield str(Path(folder, "kernel"))


def check_gpu(preset: str) -> None:
    """Raise one sentence if a GPU is needed and none can be used; say one if the CPU must do.

    Jobs of a cluster have GPUs that the machine which sends them has not.
    """
    if current().device != "cpu" and not current().jobs.startswith("slurm"):
        from lrface import numerics

        needed = f"preset {preset}" if preset in ("gpu", "paper") else ""
        numerics.accelerator(current().device, needed, _gpu_problem)


def gpu_record() -> dict[str, Any]:
    """What a study's record states of the GPU that its kernel used."""
    if current().device == "cpu":
        return {}
    from lrface import numerics

    used = numerics.accelerator(current().device, "", _gpu_problem) == "cuda"
    return numerics.record() if used else {}


@lru_cache
def _gpu_problem() -> str | None:
    """:func:`lrface.numerics.gpu_problem` as another process finds it: the GPU is the kernel's."""
    import torch

    if not torch.cuda.device_count():
        return None
    code = "import json; from lrface import numerics; print(json.dumps(numerics.gpu_problem()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    if done.returncode:
        return (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
    return json.loads(done.stdout.splitlines()[-1])


def save_clean(source: Path, target: Path) -> None:
    """Save an executed notebook without progress bars and without papermill's metadata.

    Papermill's metadata would state wrong times and states after a kernel was killed.
    """
    notebook = nbformat.read(source, 4)
    notebook.metadata.pop("papermill", None)
    for cell in notebook.cells:
        cell.metadata.pop("papermill", None)
        if cell.cell_type == "code":
            cell.outputs = without_progress(cell.outputs)
    write_atomic(target, lambda path: nbformat.write(notebook, path))


def without_progress(outputs: list) -> list:
    """A cell's outputs without lines that a carriage return overwrote."""
    merged: list = []
    for output in outputs:
        last = merged[-1] if merged else None
        stream = output.output_type == "stream"
        if stream and last and last.output_type == "stream" and last.name == output.name:
            last.text += output.text  # a progress bar may come in many pieces
        else:
            merged.append(output)
    for output in merged:
        if output.output_type == "stream":
            lines = re.split(r"(?<=\n)", output.text.replace("\r\n", "\n"))
            output.text = "".join(line for line in lines if "\r" not in line)
    return [output for output in merged if output.output_type != "stream" or output.text]
