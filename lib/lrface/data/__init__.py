"""Faces: ``load(name)`` gives a :class:`FaceSet`, from a set's official layout or from your own
folder."""

from __future__ import annotations

import difflib
import hashlib
import os
import sys
from pathlib import Path
from types import ModuleType

import pandas as pd

from lrface import settings
from lrface.data import protocols, splits
from lrface.data.faceset import FaceSet
from lrface.data.images import Crop
from lrface.data.readers import celeba, folder, lfw, rendered, tinyface, ytf
from lrface.data.scan import scan
from lrface.data.splits import check_leakage
from lrface.errors import LrfaceError, UsageError
from lrface.files import note, noting

__all__ = [
    "READERS",
    "FaceSet",
    "check_leakage",
    "check_name",
    "data_root",
    "held_out",
    "identification_lists",
    "load",
    "pairs",
    "state_or_absent",
    "state",
]

READERS = {
    "synthetic": rendered,
    "synthetic-clips": rendered,
    "celeba": celeba,
    "lfw": lfw,
    "ytf": ytf,
    "tinyface": tinyface,
}
OWN = {"folder": folder, "synthetic": rendered, "synthetic-clips": rendered}
"""Readers of sets that are named with their place, as in ``folder:PATH``."""
SPLITS = ("train", "val", "test")
OFFICIAL = "official partition"


def data_root() -> Path:
    """The folder that holds the face sets, named by LRFACE_DATA."""
    named = settings.current().data
    if named is None:
        raise LrfaceError(
            "LRFACE_DATA is not set: set it to the folder that holds celeba/, lfw/, ..., or use folder:PATH"
        )
    if not named.is_dir():
        raise LrfaceError(
            f"LRFACE_DATA names {named}, which is not a folder: set it to the folder that holds celeba/, lfw/, ..."
        )
    return named.resolve()


def check_name(name: str) -> None:
    """Raise one sentence if ``name`` is no known set, or its root or folder is missing. Reads no
    image."""
    if noting() and name not in _noted:
        _noted.add(name)
        note("data", name, state_or_absent(name))
    _check(name)


_noted: set[str] = set()


def _check(name: str) -> None:
    kind, _, path = name.partition(":")
    if kind in OWN and path:
        if not Path(path).is_dir():
            raise LrfaceError(f"folder {path} does not exist; give {kind}:PATH, {OWN[kind].LAYOUT}")
        return
    if name in ("synthetic", "synthetic-clips"):
        if not (rendered.EMBEDDED / "manifest.json").exists():
            raise LrfaceError(
                f"the embedded synthetic set is missing from {rendered.EMBEDDED}: install lrface again, or get the files"
            )
        return
    if name not in READERS:
        close = difflib.get_close_matches(name, READERS, 1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        raise UsageError(
            f"unknown data set {name!r}: {hint}known are {', '.join(READERS)}, folder:PATH and synthetic:PATH"
        )
    root = data_root()
    if not (root / name).is_dir():
        raise LrfaceError(
            f"{root / name} does not exist: put {name} there as {READERS[name].LAYOUT}, or set LRFACE_DATA to another root"
        )


def load(name: str, split: str | None = None, limit: int | None = None, seed: int = 0) -> FaceSet:
    """Load a face set.

    Parameters
    ----------
    name : ``synthetic`` (embedded), ``celeba``, ``lfw``, ``ytf``, ``tinyface`` (found under
    LRFACE_DATA), ``folder:PATH``, or
        ``synthetic:PATH`` for a set that ``lrface data make`` rendered. ``synthetic-clips`` holds
        the frames of the same world's clips.
    split : ``train``, ``val``, ``test`` or None for all. CelebA's official partition is used when
    all three of its parts are at
        hand, the synthetic set's own and TinyFace's (which has no ``val``) always; every other set,
        and a partial CelebA, is split by a hash of the identity.
    limit : at most this many images, drawn evenly over the set by a hash of their keys: limits are
    nested. seed : of the split and of the draw.

    Files that cannot be used are skipped, counted and named in one warning; a set with none left
    raises :class:`LrfaceError`.
    """
    if split is not None and split not in SPLITS:
        raise UsageError(f"unknown split {split!r}: choose one of {', '.join(SPLITS)}")
    if limit is not None and limit < 1:
        raise UsageError(f"limit is {limit}: ask for at least one image")
    reader, root, table, rule = _listed(name, seed)
    attributes = reader.attributes(table) if hasattr(reader, "attributes") else ()
    if split is not None:
        people = table["identity"].nunique()
        parts = table["split"].unique()
        table = table[table["split"] == split]
        if table.empty and rule == OFFICIAL:
            raise LrfaceError(
                f"{name} has no {split} split: its {OFFICIAL} has {', '.join(p for p in SPLITS if p in parts)}"
            )
        if table.empty:
            raise LrfaceError(
                f"{name} has {people} identities, and none fell into its {split} split ({rule}): add more people"
            )
    if limit is not None:
        table = table.iloc[
            table["key"]
            .map(lambda key: splits.unit_hash(f"limit:{seed}:{key}"))
            .argsort(kind="stable")
        ]
    return _usable(
        name, root, table.reset_index(drop=True), reader.CROP, limit, attributes, rule, split
    )


def held_out(name: str, seed: int = 0) -> pd.DataFrame:
    """``key, identity, split`` of every image a set lists outside its training split; reads the
    lists only, no image."""
    table = _listed(name, seed)[2]
    return table.loc[table["split"] != "train", ["key", "identity", "split"]]


def pairs(name: str, hard: bool = False) -> pd.DataFrame:
    """Verification pairs: ``first, second``, ``same``, ``fold`` from 0, and ``protocol``; folds
    share no identity.

    ``protocol`` is "own" for a list that comes with the set: LFW's official 6,000; 6,000 of a
    synthetic set's test identities and, with ``hard``, 6,000 whose different people are of one
    group and one gender; YouTube Faces' official 5,000 where its list is at hand. Else it is "made"
    (:func:`lrface.data.protocols.made`). First and second are keys, or values of ``clip`` in a set
    of clips: a clip's vector is then its frames' mean. A set with no such list, or with too few
    people to make one of, raises :class:`LrfaceError`.
    """
    check_name(name)
    reader, root, kind = _place(name)
    if hard or (reader is rendered and kind == "images"):
        return _list(name, "pairs_hard" if hard else "pairs").assign(protocol="own")
    own = reader.pairs(root) if hasattr(reader, "pairs") else None
    if own is not None:
        return own.assign(protocol="own")
    table = load(name).table
    if "role" in table:  # nobody knows that two distractors are two people
        table = table[table["role"] != "distractor"]
    # YouTube Faces is a test set: its official list is of everyone, so one made in its place is too
    return protocols.made(name, table, of_everyone=reader is ytf)


def identification_lists(name: str) -> pd.DataFrame:
    """The set's own 1:N lists: ``key, identity, role``, the role being ``gallery``, ``probe`` or
    ``distractor``.

    The synthetic sets' and TinyFace's; any other set raises :class:`LrfaceError`.
    """
    return _list(name, "identification")


def _list(name: str, which: str) -> pd.DataFrame:
    check_name(name)
    reader, root, kind = _place(name)
    if reader is rendered and kind == "images":
        return rendered.protocol(root, which)
    if reader is tinyface and which == "identification":
        return tinyface.identification_lists(root)
    raise LrfaceError(
        f"{name} has no list {which!r}: use synthetic, or a set made by `lrface data make`"
    )


def _place(name: str) -> tuple[ModuleType, Path, str]:
    """Reader, root and kind of rows of a set that :func:`check_name` accepts."""
    kind, _, path = name.partition(":")
    if kind.startswith("synthetic"):
        return (
            rendered,
            Path(path).resolve() if path else rendered.EMBEDDED,
            "clips" if kind == "synthetic-clips" else "images",
        )
    return (
        (folder, Path(path).resolve(), "images")
        if kind == "folder"
        else (READERS[name], data_root(), "images")
    )


def state(name: str) -> str:
    """A hash over what the set says of its own files, if it does, else over its lists and every
    file's size and time.

    Unchanged means that nothing needs to be read again. Opens no image.
    """
    check_name(name)
    reader, root, _ = _place(name)
    if reader is rendered:  # its manifest names every file with its hash, wherever the set lies
        return hashlib.sha256(rendered.whole(root).encode()).hexdigest()
    _, root, table, _ = _listed(name, 0)
    digest = hashlib.sha256(str(root).encode() + table.to_csv(index=False).encode())
    for path in table["path"].str.rsplit("#", n=1).str[0].unique():
        try:
            stat = os.stat(root / path)
            digest.update(f"{path}\t{stat.st_size}\t{stat.st_mtime_ns}\n".encode())
        except OSError:
            digest.update(f"{path}\tmissing\n".encode())
    return digest.hexdigest()


def state_or_absent(name: str) -> str:
    """The :func:`state` of a set, or ``absent`` if it is not at hand or cannot be read."""
    try:
        return state(name)
    except LrfaceError:
        return "absent"


def _listed(name: str, seed: int) -> tuple[ModuleType, Path, pd.DataFrame, str]:
    """Reader, root, the whole table with its splits, and the rule that made them."""
    check_name(name)
    reader, root, kind = _place(name)
    table = reader.read(root, kind) if reader is rendered else reader.read(root)
    official = table.pop("official") if "official" in table else pd.Series(dtype=object)
    if reader in (rendered, tinyface) or set(official.unique()) == set(SPLITS):
        table["split"], rule = official, OFFICIAL
    else:
        table["split"], rule = (
            splits.by_identity(table["identity"], seed),
            f"sha256 of identity, seed {seed}, {splits.FRACTIONS}",
        )
    return reader, root, table, rule


def _usable(
    name: str,
    root: Path,
    table: pd.DataFrame,
    crop: Crop,
    limit: int | None,
    attributes: tuple[str, ...],
    rule: str,
    split: str | None,
) -> FaceSet:
    skipped: dict[str, str] = {}
    if (
        "digest" in table
        # a set we made ourselves brings its digests, and its files have been compared with their hashes
    ):
        table = table.iloc[:limit].sort_values("key", ignore_index=True)
    else:
        seen = scan(name, root, table["path"].tolist(), crop, limit)
        table = table.iloc[: len(seen)].assign(digest=seen["digest"].to_numpy())
        if "native" in table:
            table["native_height"] = seen["height"].to_numpy()
        problem = seen["problem"].to_numpy()
        skipped = dict(zip(table["key"][problem != ""], problem[problem != ""], strict=True))
        table = table[problem == ""].sort_values("key", ignore_index=True)
    if table.empty:
        why = (
            f": {next(iter(skipped.values()))} ({next(iter(skipped))}, and {len(skipped) - 1} more)"
            if skipped
            else ""
        )
        raise LrfaceError(
            f"{name} has no usable image{f' in its {split} split' if split else ''}{why}"
        )
    if skipped:
        first = "; ".join(f"{key}: {reason}" for key, reason in list(skipped.items())[:5])
        print(
            f"{name}: skipped {len(skipped)} of {len(skipped) + len(table)} files: {first}{'; ...' if len(skipped) > 5 else ''}",
            file=sys.stderr,
        )
    front = ["key", "identity", "split", "path", "digest"]
    table = table[front + [c for c in table.columns if c not in front]]
    return FaceSet(
        name, root, table, crop, not name.startswith("synthetic"), attributes, rule, skipped
    )
