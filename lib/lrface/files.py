"""Where things lie, and how they are written: to a temporary name first, then renamed, so nothing
is ever half there."""

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
from typing import Literal

import platformdirs

from lrface import settings
from lrface.errors import LrfaceError


def project_root() -> Path:
    """The repository: LRFACE_ROOT if set, else the checkout this package lives in, else the current
    folder."""
    if named := settings.current().root:
        return named
    for folder in Path(__file__).resolve().parents:
        if (folder / "notebooks").is_dir() and (folder / "pyproject.toml").is_file():
            return folder
    return Path.cwd()


def cache_dir(*parts: str) -> Path:
    """A folder for what can be computed again (scans, runs, features): LRFACE_CACHE, else the
    user's cache folder."""
    base = settings.current().cache
    if base is None:
        base = platformdirs.user_cache_path("lrface", appauthor=False)
    folder = base.joinpath(*parts)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LrfaceError(
            f"cannot make the cache folder {folder} ({error.strerror}): set LRFACE_CACHE to a folder you can write"
        ) from None
    return folder


def output_root() -> Path:
    """Where ``results/`` and ``figures/`` lie: LRFACE_OUT if set, else the repository."""
    return settings.current().out or project_root()


def slug(data: str) -> str:
    """A data set's name as a folder name; ``folder:/some/Where`` becomes ``folder-Where-`` and six
    digits to tell namesakes apart."""
    kind, colon, place = data.partition(":")
    if colon:
        path = Path(place).resolve()
        data = f"{kind}-{path.name}-{hashlib.sha256(str(path).encode()).hexdigest()[:6]}"
    return re.sub(r"[^\w.-]+", "-", data)


def places(data: str, preset: str, study: str) -> tuple[Path, Path]:
    """The results folder and the figures folder of one study on one set at one preset."""
    return tuple(
        output_root() / kind / slug(data) / preset / study for kind in ("results", "figures")
    )


def noting() -> bool:
    """Whether this process is a notebook's, run by the command line, which wants to be told what
    the notebook uses and writes."""
    return settings.current().notes is not None


def note(kind: str, name: str, value: str = "") -> None:
    """Tell the command line, if it runs this notebook, of something used or written; see
    :func:`noting`."""
    if notes := settings.current().notes:
        with open(notes, "a", encoding="utf-8") as file:
            file.write(json.dumps([kind, name, value]) + "\n")


def sha256(path: Path) -> str:
    """The hash of a file's contents, in hex."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def stores(released: str, cached: str) -> Iterator[tuple[Path, Literal["released", "cached"]]]:
    """Where work that need not be done again may lie: ``results/*/*/<released>`` (not under
    LRFACE_RETRAIN), then the cache."""
    if not settings.current().retrain:
        for folder in sorted(project_root().glob(f"results/*/*/{released}")):
            yield folder, "released"
    yield cache_dir(cached), "cached"


def write_atomic(path: Path, write: Callable[[Path], object]) -> Path:
    """Call ``write`` with a temporary path beside ``path``, flush it to disk, then rename. On
    failure nothing is left behind."""
    temporary = path.with_name(
        f".{path.stem}.{os.getpid()}-{threading.get_ident()}.part{path.suffix}"
    )
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
                f"cannot write {path}: {error.strerror}; free or choose another place, then run the same command again"
            ) from error
        raise
    return path


def write_text(path: Path, text: str) -> Path:
    """Write a text file atomically."""
    return write_atomic(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def clock(seconds: float) -> str:
    """``m:ss`` or ``h:mm:ss``."""
    minutes, seconds = divmod(int(seconds), 60)
    return (
        f"{minutes // 60}:{minutes % 60:02d}:{seconds:02d}"
        if minutes >= 60
        else f"{minutes}:{seconds:02d}"
    )


@contextmanager
def progress(label: str, total: int) -> Iterator[Callable[..., None]]:
    """One line: label, done/total, elapsed, remaining. Yields ``advance(n=1, note="")``.

    A terminal sees one line rewritten every second, a log a plain line a minute; work shorter than
    that shows nothing. Inside a notebook run by the command line the line goes to the file named by
    LRFACE_PROGRESS, which the runner shows, so that the saved notebook holds results and no
    progress.
    """
    relay = settings.current().progress
    live = sys.stderr.isatty() or bool(relay)
    began = shown = time.monotonic()
    done, first, printed = 0, None, False

    def advance(n: int = 1, note: str = "") -> None:
        nonlocal done, shown, printed, first
        done += n
        now = time.monotonic()
        if first is None:  # work found already done (a resumed run) says nothing about speed
            first = (now, done)
        if now - shown < (1.0 if live else 60.0):
            return
        shown, printed = now, True
        rate = (done - first[1]) / max(now - first[0], 1e-9)
        remaining = clock((total - done) / rate) if rate > 0 else "?"
        _show(
            f"{label}: {done}/{total}, {clock(now - began)} elapsed, {remaining} remaining{note and ', ' + note}",
            relay,
        )

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
    """Show, while the block runs, what :func:`progress` says in the processes it starts (see
    there).

    Yields ``say(text)``, which sets what stands between the label and their lines. A terminal sees
    one line rewritten every second; a log a plain line when the text has changed, ten seconds after
    the last at the earliest, and one a minute if it has not.
    """
    folder = tempfile.mkdtemp(prefix="lrface-")
    file, stop = Path(folder, "progress"), threading.Event()
    began, said, live = time.monotonic(), "", sys.stderr.isatty()

    def say(text: str) -> None:
        nonlocal said
        said = text

    def watch() -> None:
        shown, before = began, ""
        while not stop.wait(1.0):
            now = time.monotonic()
            if not live and now - shown < (10.0 if said != before else 60.0):
                continue
            shown, before = now, said
            inner = filter(None, (f.read_text() for f in sorted(file.parent.glob("progress*"))))
            _show(
                " | ".join([f"{label}: {said and said + ', '}{clock(now - began)} elapsed", *inner])
            )

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
