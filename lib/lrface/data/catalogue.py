"""Face sets by name: who reads each, where it lies, its lists, and whether its files changed."""

from __future__ import annotations

import difflib
import hashlib
import os
from pathlib import Path
from types import ModuleType

import pandas as pd

from lrface import settings
from lrface.data import packed, rendered_faces, rendered_scenes, splits
from lrface.data.entries import contents
from lrface.data.images import located
from lrface.data.readers import (
    celeba,
    clip_folder,
    edface,
    fddb,
    folder,
    ijbc,
    lfw,
    rendered,
    tinyface,
    tufs,
    video,
    wider_scenes,
    ytf,
)
from lrface.errors import LrfaceError, UsageError
from lrface.files import note, noting

READERS = {
    "synthetic": rendered,
    "synthetic-clips": rendered,
    "celeba": celeba,
    "lfw": lfw,
    "ytf": ytf,
    "tinyface": tinyface,
    "tufs": tufs,
    "ijbc": ijbc,
    "edface": edface,
}
"""Each set that is known by name, and the module that reads it."""
SCENES = {"wider": wider_scenes, "fddb": fddb}
"""The same of sets of whole photographs with boxes (:func:`load_scenes`)."""
OWN = {"folder": folder, "video": video, "synthetic": rendered, "synthetic-clips": rendered}
"""Readers of sets that are named by kind and path, as in ``folder:PATH``."""
SPLITS = ("train", "val", "test")
OFFICIAL = "official partition"


def data_root() -> Path:
    """The folder that holds the face sets, which LRFACE_DATA names.

    Raises
    ------
    LrfaceError
        LRFACE_DATA is not set, or names no folder.
    """
    holds = "set it to the folder that holds celeba/, lfw/, ..."
    named = settings.current().data
    if named is None:
        raise LrfaceError(f"LRFACE_DATA is not set: {holds}, or use folder:PATH")
    if not named.is_dir():
        raise LrfaceError(f"LRFACE_DATA names {named}, which is not a folder: {holds}")
    return named.resolve()


def absolute(name: str) -> str:
    """The name of a set with its path made absolute, if it has one.

    A relative path is one from the current folder, and a notebook's is another than the command
    line's: whatever takes a name makes it absolute first.

    Examples
    --------
    >>> absolute("celeba"), absolute("folder:/photos/../faces")
    ('celeba', 'folder:/faces')
    """
    kind, _, path = name.partition(":")
    if kind in OWN and path:
        return f"{kind}:{os.path.abspath(os.path.expanduser(path))}"
    return name


def check_name(name: str) -> None:
    """Check that a set is known and its folder is there, without reading an image.

    Raises
    ------
    UsageError
        No set has this name.
    LrfaceError
        The data root or the set's folder is missing.
    """
    name = absolute(name)
    if noting() and name not in _noted:
        _noted.add(name)
        note("data", name, state_or_absent(name))
    _check(name)


_noted: set[str] = set()


def _check(name: str) -> None:
    kind, _, path = name.partition(":")
    if name in rendered_scenes.SCENES:
        return
    if kind in OWN and path:
        if not (Path(path).exists() if kind == "video" else Path(path).is_dir()):
            what = f"{'file or ' if kind == 'video' else ''}folder {path}"
            raise LrfaceError(f"{what} does not exist; give {kind}:PATH, {OWN[kind].LAYOUT}")
        return
    if name == rendered_faces.CLIPS:
        return
    if name in ("synthetic", "synthetic-clips", rendered_faces.FIRST, rendered_faces.SECOND):
        place = rendered_faces.folder(name)
        if not (place / "manifest.json").exists():
            raise LrfaceError(
                f"the embedded synthetic set is missing from {place}: "
                "install lrface again, or get the files"
            )
        return
    readers = SCENES if name in SCENES else READERS
    if name not in readers:
        scene_sets = [*SCENES, *rendered_scenes.SCENES]
        close = difflib.get_close_matches(name, [*READERS, *scene_sets], 1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        known = ", ".join(READERS)
        raise UsageError(
            f"unknown data set {name!r}: {hint}known are {known}, folder:PATH, video:PATH and "
            "synthetic:PATH"
        )
    root = data_root()
    place = root / getattr(readers[name], "FOLDER", name)
    if not place.is_dir():
        raise LrfaceError(
            f"{place} does not exist: put {name} there as {readers[name].LAYOUT}, "
            f"or set LRFACE_DATA to another root ({contents(root, True)})"
        )


def reader_of(name: str, clips: bool | None = None) -> tuple[ModuleType, Path, str]:
    """Reader, root and kind of rows (``images`` or ``clips``) of a set that exists.

    ``clips`` says which layout a folder has; None: the one that it has.
    """
    kind, _, path = name.partition(":")
    if name in SCENES or name in rendered_scenes.SCENES:
        raise LrfaceError(f"{name} holds whole pictures, not faces: use data.load_scenes")
    if kind.startswith("synthetic"):
        root = Path(path).resolve() if path else rendered_faces.folder(name)
        return rendered, root, "clips" if kind.startswith("synthetic-clips") else "images"
    if kind == "folder":
        root = Path(path).resolve()
        of_clips = clip_folder.holds_clips(root) if clips is None else clips
        return clip_folder if of_clips else folder, root, "images"
    if kind == "video":
        return video, Path(path).resolve(), "images"
    return READERS[name], data_root(), "images"


def read_lists(
    name: str, seed: int, clips: bool | None = None
) -> tuple[ModuleType, Path, pd.DataFrame, str]:
    """Reader, root, the whole table with its ``split`` column, and the rule of the split."""
    name = absolute(name)
    check_name(name)
    rendered_faces.ready(name)
    reader, root, kind = reader_of(name, clips)
    table = reader.read(root, kind) if reader is rendered else _once_each(reader.read(root))
    official = table.pop("official") if "official" in table else pd.Series(dtype=object)
    if reader in (rendered, tinyface, edface) or set(official.unique()) == set(SPLITS):
        table["split"], rule = official, OFFICIAL
    else:
        table["split"] = splits.by_identity(table["identity"], seed)
        rule = f"sha256 of identity, seed {seed}, {splits.FRACTIONS}"
    return reader, root, table, rule


def _once_each(table: pd.DataFrame) -> pd.DataFrame:
    """A row an image: one that a list names under two identities cannot be used."""
    if not table["key"].duplicated().any():
        return table
    people = table.groupby("key")["identity"].transform("nunique")
    problem = table["problem"] if "problem" in table else pd.Series("", table.index)
    problem = problem.mask(people > 1, "the list names it under two identities")
    return table.assign(problem=problem).drop_duplicates("key", ignore_index=True)


def state(name: str) -> str:
    """A hash that changes when a set's files do; opens no image.

    Of a rendered set it is a hash of its manifest, which holds the sha256 of every file; of any
    other, a hash of its lists and of every file's size and modification time.
    """
    check_name(name)
    if name in rendered_scenes.SCENES:
        return rendered_scenes.state(name)
    if name in SCENES:
        root, (table, boxes, _) = data_root(), SCENES[name].read(data_root(), None)
        return _files_state(root, table, boxes.to_csv(index=False))
    reader, root, _ = reader_of(name)
    if reader is rendered:
        return hashlib.sha256(rendered.checked_manifest(root).encode()).hexdigest()
    _, root, table, _ = read_lists(name, 0)
    return _files_state(root, table)


def _files_state(root: Path, table: pd.DataFrame, more: str = "") -> str:
    """The hash of a table, and of size and time of the files that it names."""
    digest = hashlib.sha256(str(root).encode() + table.to_csv(index=False).encode() + more.encode())
    for path in dict.fromkeys(map(_file_of, table["path"])):
        try:
            stat = os.stat(root / path)
            digest.update(f"{path}\t{stat.st_size}\t{stat.st_mtime_ns}\n".encode())
        except OSError:
            digest.update(f"{path}\tmissing\n".encode())
    return digest.hexdigest()


def _file_of(path: str) -> str:
    """The file in which the image at an entry of the column ``path`` lies."""
    return path.rpartition("#")[0] if packed.is_packed(path) else located(path)[0]


def absent(name: str) -> str | None:
    """Why a set cannot be read: a sentence, or None. Only its lists and one file are looked at.

    For sets that a study uses if they are there: half of one is passed over with this remark, and
    not found after hours of training.

    Examples
    --------
    >>> absent("synthetic") is None
    True
    """
    try:
        check_name(name)
        if name in SCENES:
            root, table = data_root(), SCENES[name].read(data_root(), None)[0]
        else:
            _, root, table, _ = read_lists(name, 0)
    except LrfaceError as reason:
        return str(reason)
    if not any((root / _file_of(path)).is_file() for path in table["path"]):
        return f"{name}: none of the {len(table)} pictures of its lists is in {root}"
    return None


def state_or_absent(name: str) -> str:
    """The :func:`state` of a set, or ``absent`` if it is not at hand or cannot be read."""
    try:
        return state(name)
    except LrfaceError:
        return "absent"
