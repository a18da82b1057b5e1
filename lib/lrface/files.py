"""Where things lie, and how they are written: to a temporary name first, then renamed, so nothing is ever half there."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import platformdirs

from lrface.errors import LrfaceError


def project_root() -> Path:
    """The repository: LRFACE_ROOT if set, else the checkout this package lives in, else the current folder."""
    if named := os.environ.get("LRFACE_ROOT"):
        return Path(named)
    for folder in Path(__file__).resolve().parents:
        if (folder / "notebooks").is_dir() and (folder / "pyproject.toml").is_file():
            return folder
    return Path.cwd()


def cache_dir(*parts: str) -> Path:
    """A folder for what can be computed again (scans, runs, features): LRFACE_CACHE, else the user's cache folder."""
    base = os.environ.get("LRFACE_CACHE") or platformdirs.user_cache_dir("lrface", appauthor=False)
    folder = Path(base, *parts)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LrfaceError(f"cannot make the cache folder {folder} ({error.strerror}): set LRFACE_CACHE to a folder you can write") from None
    return folder


def write_atomic(path: Path, write: Callable[[Path], object]) -> Path:
    """Call ``write`` with a temporary path beside ``path``, flush it to disk, then rename. On failure nothing is left behind."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.part{path.suffix}")
    try:
        write(temporary)
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno is not None:
            raise LrfaceError(f"cannot write {path}: {error.strerror}; free or choose another place, then run the same command again") from error
        raise
    return path


def write_text(path: Path, text: str) -> Path:
    """Write a text file atomically."""
    return write_atomic(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(int(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{seconds:02d}" if minutes >= 60 else f"{minutes}:{seconds:02d}"


@contextmanager
def progress(label: str, total: int, every: float = 1.0) -> Iterator[Callable[..., None]]:
    """One line on stderr: label, done/total, elapsed, remaining. Yields ``advance(n=1, note="")``.

    A terminal sees one line rewritten; a log sees a plain line a minute; work shorter than a second shows nothing.
    """
    stream, live = sys.stderr, sys.stderr.isatty()
    began = shown = time.monotonic()
    done, first, printed = 0, None, False
    interval = every if live else 60.0

    def advance(n: int = 1, note: str = "") -> None:
        nonlocal done, shown, printed, first
        done += n
        now = time.monotonic()
        if first is None:  # work found already done (a resumed run) says nothing about speed
            first = (now, done)
        if now - shown < interval:
            return
        shown, printed = now, True
        rate = (done - first[1]) / max(now - first[0], 1e-9)
        remaining = _clock((total - done) / rate) if rate > 0 else "?"
        line = f"{label}: {done}/{total}, {_clock(now - began)} elapsed, {remaining} remaining{note and ', ' + note}"
        stream.write(f"\r\033[K{line}" if live else line + "\n")
        stream.flush()

    try:
        yield advance
    finally:
        if printed and live:
            stream.write("\r\033[K")
            stream.flush()
