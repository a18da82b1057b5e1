"""Where files lie and how they are written: under a temporary name first, then renamed."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import platformdirs

from lrface import settings
from lrface.errors import LrfaceError

TICK_SECONDS = 1.0
"""How often a terminal's progress line is rewritten."""
CHANGED_SECONDS, UNCHANGED_SECONDS = 10.0, 60.0
"""The least time between two lines of a log: if the text has changed, and if not."""


def project_root() -> Path:
    """The repository: LRFACE_ROOT, else this package's checkout, else the current folder."""
    if named := settings.current().root:
        return named
    for folder in Path(__file__).resolve().parents:
        if (folder / "notebooks").is_dir() and (folder / "pyproject.toml").is_file():
            return folder
    return Path.cwd()


def cache_dir(*parts: str) -> Path:
    """A folder, made if absent, for what can be computed again: scans, runs, scores.

    It lies in LRFACE_CACHE, else in the user's cache folder.
    """
    base = settings.current().cache
    if base is None:
        base = platformdirs.user_cache_path("lrface", appauthor=False)
    folder = base.joinpath(*parts)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LrfaceError(
            f"cannot make the cache folder {folder} ({error.strerror}): "
            "set LRFACE_CACHE to a folder you can write"
        ) from None
    return folder


KINDS = ("results", "figures")
"""The two folders that studies write to."""
LOCAL = "local"
"""What lies under this name in them is a user's own; beside it lies the committed reference."""


def output_root() -> Path:
    """The folder of ``results/`` and ``figures/``: LRFACE_OUT, else the repository."""
    return settings.current().out or project_root()


def notebooks_folder() -> Path:
    """The folder of the studies' notebooks: the repository's, else those that a wheel brings."""
    here = project_root() / "notebooks"
    return here if here.is_dir() else Path(__file__).parent / "notebooks"


def output_folder(kind: str) -> Path:
    """Where runs write their results or figures: under LRFACE_OUT, if that is set.

    Else ``results/local`` or ``figures/local`` of the repository, whatever starts the run: the
    reference beside it is changed by ``lrface publish`` alone, which sets LRFACE_OUT.
    """
    if out := settings.current().out:
        return out / kind
    return project_root() / kind / LOCAL


def slug(data: str) -> str:
    """A data set's name as a folder name.

    Parameters
    ----------
    data : str
        A name such as ``"celeba"`` or ``"folder:PATH"``.

    Returns
    -------
    str
        The name itself where it can be a folder name; of a path its last part and six hex digits
        of a hash of the whole, so that two folders of one name differ.

    Examples
    --------
    >>> slug("celeba")
    'celeba'
    >>> slug("folder:/photos/me")
    'folder-me-58d255'
    """
    kind, colon, place = data.partition(":")
    if colon:
        path = Path(place).resolve()
        data = f"{kind}-{path.name}-{hashlib.sha256(str(path).encode()).hexdigest()[:6]}"
    return re.sub(r"[^\w.-]+", "-", data)


def variant(own: dict[str, Any]) -> str:
    """Six hex digits that name a run's own parameters; empty if it has none.

    Examples
    --------
    >>> variant({}), variant({"n_test": 40})
    ('', '8ba205')
    """
    text = json.dumps(own, sort_keys=True).encode()
    return hashlib.sha256(text).hexdigest()[:6] if own else ""


def study_folders(data: str, preset: str, study: str) -> tuple[Path, Path]:
    """The results folder and the figures folder of one study on one set at one preset."""
    inside = Path(slug(data), preset, study)
    return output_folder("results") / inside, output_folder("figures") / inside


def noting() -> bool:
    """Whether this is the kernel of a notebook that the runner executes; see :func:`note`."""
    return settings.current().notes is not None


def note(kind: str, name: str, value: str = "") -> None:
    """In a kernel, tell the runner of something read or written; a no-op elsewhere."""
    if notes := settings.current().notes:
        with open(notes, "a", encoding="utf-8") as file:
            file.write(json.dumps([kind, name, value]) + "\n")


def sha256(path: Path) -> str:
    """The hash of a file's contents, in hex."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def stores(released: str, cached: str) -> Iterator[tuple[Path, Literal["released", "cached"]]]:
    """The folders in which networks or scores may lie that need not be computed again.

    First ``results/*/*/<released>`` (not under LRFACE_RETRAIN), then ``<cached>`` in the cache.
    """
    if not settings.current().retrain:
        for folder in sorted(project_root().glob(f"results/*/*/{released}")):
            yield folder, "released"
    yield cache_dir(cached), "cached"


def write_atomic(path: Path, write: Callable[[Path], object]) -> Path:
    """Write a file completely or not at all.

    ``write`` is called with a temporary path beside ``path``; the file is flushed to disk and
    renamed. On failure nothing is left behind; a full disk is one sentence
    (:class:`LrfaceError`).
    """
    writer = f"{os.getpid()}-{threading.get_ident()}"
    temporary = path.with_name(f".{path.stem}.{writer}.part{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(temporary)
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno is not None:
            raise LrfaceError(
                f"cannot write {path}: {error.strerror}; free or choose another place, "
                "then run the same command again"
            ) from error
        raise
    return path


def write_text(path: Path, text: str) -> Path:
    """Write a text file atomically."""
    return write_atomic(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def clock(seconds: float) -> str:
    """A duration as ``m:ss`` or ``h:mm:ss``.

    Examples
    --------
    >>> clock(75), clock(3675)
    ('1:15', '1:01:15')
    """
    minutes, seconds = divmod(int(seconds), 60)
    if minutes < 60:
        return f"{minutes}:{seconds:02d}"
    return f"{minutes // 60}:{minutes % 60:02d}:{seconds:02d}"


@contextmanager
def progress(label: str, total: int) -> Iterator[Callable[..., None]]:
    """Show one progress line: label, done/total, elapsed and remaining time.

    A terminal shows one line, rewritten every second; a log gets a plain line a minute; shorter
    work shows nothing. In a kernel that the runner executes the line goes to the file
    LRFACE_PROGRESS, which the runner shows, so the saved notebook holds no progress.

    Parameters
    ----------
    label : str
        What is being done.
    total : int
        Number of steps.

    Yields
    ------
    callable
        ``advance(n=1, note="")``: ``n`` more steps are done; ``note`` is shown after the times.

    Examples
    --------
    >>> with progress("faces", total=2) as advance:
    ...     for face in "ab":
    ...         advance(note=face)
    """
    relay = settings.current().progress
    live = sys.stderr.isatty() or relay is not None
    began = shown = time.monotonic()
    done, first, printed = 0, None, False

    def advance(n: int = 1, note: str = "") -> None:
        nonlocal done, shown, printed, first
        done += n
        now = time.monotonic()
        if first is None:  # steps done before (by a resumed run) say nothing about the speed
            first = (now, done)
        if now - shown < (TICK_SECONDS if live else UNCHANGED_SECONDS):
            return
        shown, printed = now, True
        rate = (done - first[1]) / max(now - first[0], 1e-9)
        remaining = clock((total - done) / rate) if rate > 0 else "?"
        times = f"{clock(now - began)} elapsed, {remaining} remaining"
        _show(f"{label}: {done}/{total}, {times}{note and ', ' + note}", relay)

    try:
        yield advance
    finally:
        if printed and live:
            _show("", relay)


def _show(line: str, relay: Path | None = None) -> None:
    if relay:
        with contextlib.suppress(OSError):
            relay.write_text(line)
    elif sys.stderr.isatty():
        sys.stderr.write(f"\r\033[K{line[: shutil.get_terminal_size().columns - 1]}")
        sys.stderr.flush()
    elif line:
        print(line, file=sys.stderr, flush=True)


@contextmanager
def relayed(label: str) -> Iterator[Callable[[str], None]]:
    """Show, while the block runs, the :func:`progress` lines of the processes that it starts.

    A terminal shows one line, rewritten every second. A log gets a plain line when the text has
    changed, at most every ten seconds, and one a minute if it has not.

    Yields
    ------
    callable
        ``say(text)`` sets the text between the label and the processes' lines.
    """
    folder = tempfile.mkdtemp(prefix="lrface-")
    file, stop = Path(folder, "progress"), threading.Event()
    began, live = time.monotonic(), sys.stderr.isatty()
    text = ""

    def say(new: str) -> None:
        nonlocal text
        text = new

    def watch() -> None:
        shown, last = began, ""
        while not stop.wait(TICK_SECONDS):
            now = time.monotonic()
            pause = CHANGED_SECONDS if text != last else UNCHANGED_SECONDS
            if not live and now - shown < pause:
                continue
            shown, last = now, text
            inner = filter(None, (f.read_text() for f in sorted(file.parent.glob("progress*"))))
            own = f"{label}: {text and text + ', '}{clock(now - began)} elapsed"
            _show(" | ".join([own, *inner]))

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        with settings.override(progress=file):
            yield say
    finally:
        stop.set()
        thread.join()
        shutil.rmtree(folder, ignore_errors=True)
        if live:
            _show("")
