"""What folders and lists hold, whoever filled them: links, other cases, byte order marks."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path


def text(file: Path) -> str:
    """The text of a list, without a byte order mark; bytes that are no UTF-8 are replaced."""
    return file.read_text(encoding="utf-8-sig", errors="replace")


def files_below(folder: Path, suffixes: Collection[str]) -> list[str]:
    """The files of these suffixes (in lower case) in a folder and all below it, sorted.

    Links to folders are followed, once each; hidden files and folders are left out. Paths are
    relative to ``folder``, with ``/``.
    """
    found, seen = [], set()
    for place, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(place)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if name[0] != ".")
        below = Path(place).relative_to(folder)
        found += [
            (below / name).as_posix()
            for name in files
            if name[0] != "." and os.path.splitext(name)[1].lower() in suffixes
        ]
    return sorted(found)


def contents(folder: Path, named: bool = False, most: int = 4) -> str:
    """What a folder holds, for a sentence that says where something was looked for.

    ``named``: the phrase begins with the folder's name.

    Examples
    --------
    >>> contents(Path("/nowhere"))
    'it does not exist'
    """
    it = f"{folder.name}/" if named else "it"
    if not folder.is_dir():
        return f"{it} is a file" if folder.exists() else f"{it} does not exist"
    try:
        names = sorted(name for name in os.listdir(folder) if name[0] != ".")
    except OSError as error:
        return f"{it} cannot be read: {error.strerror}"
    if not names:
        return f"{it} is empty"
    more = f" and {len(names) - most} more" if len(names) > most else ""
    shown = [f"{name}/" if (folder / name).is_dir() else name for name in names[:most]]
    return f"{it} has {', '.join(shown)}{more}"
