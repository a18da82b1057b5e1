"""Face sets: ``load(name)`` gives a :class:`FaceSet` of a published set or of your own folder."""

from __future__ import annotations

import difflib
import hashlib
import os
import sys
from functools import partial
from pathlib import Path
from types import ModuleType

import pandas as pd

from lrface import settings
from lrface.data import protocols, rendered_clips, rendered_faces, scenes, splits
from lrface.data.clips import FRAMES, ClipSet, at_hand, usable
from lrface.data.faceset import FaceSet
from lrface.data.images import Crop
from lrface.data.readers import (
    celeba,
    clip_folder,
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
from lrface.data.scan import scan
from lrface.data.scenes import SceneSet
from lrface.data.splits import check_leakage
from lrface.errors import LrfaceError, UsageError
from lrface.files import note, noting

__all__ = [
    "READERS",
    "SCENES",
    "ClipSet",
    "FaceSet",
    "SceneSet",
    "check_leakage",
    "check_name",
    "data_root",
    "held_out",
    "identification_lists",
    "load",
    "load_clips",
    "load_scenes",
    "pairs",
    "state",
    "state_or_absent",
]

READERS = {
    "synthetic": rendered,
    "synthetic-clips": rendered,
    "celeba": celeba,
    "lfw": lfw,
    "ytf": ytf,
    "tinyface": tinyface,
    "tufs": tufs,
    "ijbc": ijbc,
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


def check_name(name: str) -> None:
    """Check that a set is known and its folder is there, without reading an image.

    Raises
    ------
    UsageError
        No set has this name.
    LrfaceError
        The data root or the set's folder is missing.
    """
    if noting() and name not in _noted:
        _noted.add(name)
        note("data", name, state_or_absent(name))
    _check(name)


_noted: set[str] = set()


def _check(name: str) -> None:
    kind, _, path = name.partition(":")
    if kind in OWN and path:
        if not (Path(path).exists() if kind == "video" else Path(path).is_dir()):
            what = f"{'file or ' if kind == 'video' else ''}folder {path}"
            raise LrfaceError(f"{what} does not exist; give {kind}:PATH, {OWN[kind].LAYOUT}")
        return
    if name == rendered_faces.SECOND:
        return
    if name in ("synthetic", "synthetic-clips", rendered_faces.FIRST):
        if not (rendered.EMBEDDED / "manifest.json").exists():
            raise LrfaceError(
                f"the embedded synthetic set is missing from {rendered.EMBEDDED}: "
                "install lrface again, or get the files"
            )
        return
    readers = SCENES if name in SCENES else READERS
    if name not in readers:
        close = difflib.get_close_matches(name, [*READERS, *SCENES], 1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        known = ", ".join(READERS)
        raise UsageError(
            f"unknown data set {name!r}: {hint}known are {known}, folder:PATH, video:PATH and "
            "synthetic:PATH"
        )
    place = data_root() / getattr(readers[name], "FOLDER", name)
    if not place.is_dir():
        raise LrfaceError(
            f"{place} does not exist: put {name} there as {readers[name].LAYOUT}, "
            "or set LRFACE_DATA to another root"
        )


def load(name: str, split: str | None = None, limit: int | None = None, seed: int = 0) -> FaceSet:
    """Load a face set.

    Files that cannot be used are skipped, counted, and named in one warning on stderr.

    Parameters
    ----------
    name : str
        ``synthetic`` (embedded; also ``synthetic-1``), ``synthetic-2`` (the second generation of
        the same people, rendered when first loaded), ``celeba``, ``lfw``, ``ytf``, ``tinyface``,
        ``tufs`` or ``ijbc`` (under LRFACE_DATA), ``folder:PATH`` (one sub-folder an identity),
        ``video:PATH`` (a video or GIF, or a folder of them), or ``synthetic:PATH`` for a set made
        by ``lrface data make``. ``synthetic-clips`` and ``synthetic-clips:PATH`` hold the frames of
        the rendered clips.
    split : {"train", "val", "test"}, optional
        None: all images. Rendered sets and TinyFace (which has no ``val``) have their own
        partition, and so have CelebA and TUFS-145K if all three of its parts are there; any other
        set is split by a hash of the identity.
    limit : int, optional
        At most this many images, a sample by a hash of their keys; a larger limit contains a
        smaller one.
    seed : int
        Seed of the split and of the sample.

    Returns
    -------
    FaceSet
        Sorted by key.

    Raises
    ------
    UsageError
        Unknown set or split, or a limit below 1.
    LrfaceError
        The set is missing or damaged, or holds no usable image (in this split).

    Examples
    --------
    >>> from lrface import data
    >>> faces = data.load("synthetic", split="val", limit=8)
    >>> len(faces), faces.read(0).shape, faces.table["group"].nunique() > 1
    (8, (128, 128, 3), True)
    """
    if split is not None and split not in SPLITS:
        raise UsageError(f"unknown split {split!r}: choose one of {', '.join(SPLITS)}")
    if limit is not None and limit < 1:
        raise UsageError(f"limit is {limit}: ask for at least one image")
    return _load(name, split, limit, seed, clips=False)


def _load(name: str, split: str | None, limit: int | None, seed: int, clips: bool) -> FaceSet:
    reader, root, table, rule = _listed(name, seed, clips)
    attributes = reader.attributes(table) if hasattr(reader, "attributes") else ()
    if split is not None:
        people = table["identity"].nunique()
        parts = table["split"].unique()
        table = table[table["split"] == split]
        if table.empty and rule == OFFICIAL:
            has = ", ".join(part for part in SPLITS if part in parts)
            raise LrfaceError(f"{name} has no {split} split: its {OFFICIAL} has {has}")
        if table.empty:
            raise LrfaceError(
                f"{name} has {people} identities, and none fell into its {split} split ({rule}): "
                "add more people"
            )
    if limit is not None:
        order = table["key"].map(lambda key: splits.unit_hash(f"limit:{seed}:{key}"))
        table = table.iloc[order.argsort(kind="stable")]
    table, skipped = _usable(name, root, table.reset_index(drop=True), reader.CROP, limit, split)
    photos = not name.startswith("synthetic")
    return FaceSet(name, root, table, reader.CROP, photos, attributes, rule, skipped)


def load_clips(
    name: str,
    split: str | None = None,
    limit: int | None = None,
    seed: int = 0,
    frames: int = FRAMES,
) -> ClipSet:
    """Load a set of clips.

    Clips of a single frame are skipped, counted, and named in one warning on stderr, and so are
    those of a folder whose frames differ in size.

    Parameters
    ----------
    name : str
        ``rendered-clips``: rendered on demand (:mod:`lrface.data.rendered_clips`) and kept in the
        cache; ``rendered-clips+native``: the same, with native captures as small frames. Else any
        set of frames that :func:`load` knows: ``synthetic-clips`` (embedded, aligned by the eyes),
        ``synthetic-clips:PATH``, ``ytf``, ``tufs``, ``ijbc`` or ``video:PATH``. Of ``folder:PATH``
        the layout is PATH/identity/clip/frame.jpg.
    split : {"train", "val", "test"}, optional
        None: all clips; ``rendered-clips`` needs one.
    limit : int, optional
        At most this many clips: the first people of ``rendered-clips``, else a sample by a hash of
        the clips' keys.
    seed : int
        Seed of the split and of the sample.
    frames : int
        Frames of each clip.

    Returns
    -------
    ClipSet
        Sorted by key.

    Raises
    ------
    UsageError
        Unknown set or split, a limit or a number of frames below 1.
    LrfaceError
        The set is missing or damaged, has no clips, or only clips of a single frame.

    Examples
    --------
    >>> from lrface import data
    >>> clips = data.load_clips("synthetic-clips", "test")
    >>> len(clips), clips.stack([0, 1]).shape
    (27, torch.Size([2, 7, 3, 128, 96]))
    """
    for what, count in (("limit", limit), ("frames", frames)):
        if count is not None and count < 1:
            raise UsageError(f"{what} is {count}: ask for at least one")
    base, _, capture = name.partition("+")
    if base == rendered_clips.NAME:
        if split not in SPLITS or capture not in ("", "native"):
            advice = f"choose one of {', '.join(SPLITS)}"
            raise UsageError(f"{name} has no split {split!r}: {advice}, or +native as its variant")
        clips = rendered_clips.load(split, limit, frames)
        return clips.native() if capture else clips
    if split is not None and split not in SPLITS:
        raise UsageError(f"unknown split {split!r}: choose one of {', '.join(SPLITS)}")
    faces = _load(name, split, None, seed, clips=True)
    if "clip" not in faces.table or faces.table["clip"].isna().any():
        raise LrfaceError(f"{name} holds faces, not clips: choose {rendered_clips.NAME} or ytf")
    clip, kept = usable(name, faces.table)
    if limit is not None:
        order = kept.map(lambda key: splits.unit_hash(f"limit:{seed}:{key}"))
        kept = kept.iloc[order.argsort(kind="stable")].head(limit)
    if kept.empty:
        raise LrfaceError(f"{name} has no clip of two frames or more, of one size")
    return ClipSet(name, partial(at_hand, faces.where(clip.isin(kept))), frames)


def load_scenes(
    name: str, split: str | None = None, limit: int | None = None, seed: int = 0
) -> SceneSet:
    """Load a set of whole photographs with boxes around their faces.

    Files that cannot be used are skipped, counted, and named in one warning on stderr; their boxes
    are left out with them.

    Parameters
    ----------
    name : str
        ``wider`` or ``fddb``, under LRFACE_DATA in their official layouts.
    split : {"train", "val", "test"}, optional
        The official one; None: all that are there. The boxes of WIDER FACE's test split are not
        public, and FDDB is a test set as a whole.
    limit : int, optional
        At most this many images, a sample by a hash of their keys; a larger limit contains a
        smaller one.
    seed : int
        Seed of the sample.

    Returns
    -------
    SceneSet
        Sorted by key.

    Raises
    ------
    UsageError
        Unknown set or split, or a limit below 1.
    LrfaceError
        The set is missing or damaged, or holds no usable image (in this split).

    Examples
    --------
    >>> from lrface import data
    >>> data.load_scenes("wilder")
    Traceback (most recent call last):
        ...
    lrface.errors.UsageError: unknown set of scenes 'wilder': did you mean 'wider'? known are \
    wider, fddb
    """
    if name not in SCENES:
        close = difflib.get_close_matches(name, SCENES, 1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        raise UsageError(f"unknown set of scenes {name!r}: {hint}known are {', '.join(SCENES)}")
    if split is not None and split not in SPLITS:
        raise UsageError(f"unknown split {split!r}: choose one of {', '.join(SPLITS)}")
    if limit is not None and limit < 1:
        raise UsageError(f"limit is {limit}: ask for at least one image")
    check_name(name)
    root = data_root()
    return scenes.load(name, root, SCENES[name].read(root, split), limit, seed)


def held_out(name: str, seed: int = 0) -> pd.DataFrame:
    """``key, identity, split`` of every image outside a set's training split; reads no image."""
    if name.partition("+")[0] == rendered_clips.NAME:
        return rendered_clips.held_out()
    table = _listed(name, seed)[2]
    return table.loc[table["split"] != "train", ["key", "identity", "split"]]


def pairs(name: str, hard: bool = False) -> pd.DataFrame:
    """Verification pairs in folds that share no identity.

    Parameters
    ----------
    name : str
        A face set, as in :func:`load`.
    hard : bool
        Impostors have the same group and gender as the person they are compared with. Only
        rendered sets have such a list.

    Returns
    -------
    DataFrame
        ``first, second`` (keys of images, or values of ``clip`` in a set of clips, whose embedding
        is then the mean over its frames), ``same`` (bool), ``fold`` (from 0) and ``protocol``.
        ``protocol`` is "own" for a list that comes with the set (LFW's 6,000 pairs, YouTube Faces'
        5,000, the 6,000 of a rendered set's test identities), and "made" for one drawn here
        (:func:`lrface.data.protocols.made`).

    Raises
    ------
    LrfaceError
        The set has no such list, or too few people to draw one from.

    Examples
    --------
    >>> from lrface import data
    >>> pairs = data.pairs("synthetic")
    >>> len(pairs), int(pairs["same"].sum()), pairs["fold"].nunique()
    (6000, 3000, 10)
    """
    check_name(name)
    reader, root, kind = _place(name)
    if hard or (reader is rendered and kind == "images"):
        return _list(name, "pairs_hard" if hard else "pairs").assign(protocol="own")
    own = reader.pairs(root) if hasattr(reader, "pairs") else None
    if own is not None:
        return own.assign(protocol="own")
    table = load(name).table
    if "role" in table:  # two distractors may be the same person
        table = table[table["role"] != "distractor"]
    # YouTube Faces is a test set: the official list is of everyone, and so is one made instead
    return protocols.made(name, table, of_everyone=reader is ytf)


def identification_lists(name: str) -> pd.DataFrame:
    """The lists of a set's 1:N search.

    Parameters
    ----------
    name : str
        A rendered set or ``tinyface``.

    Returns
    -------
    DataFrame
        ``key, identity, role``; the role is ``gallery``, ``probe`` or ``distractor``.

    Raises
    ------
    LrfaceError
        Any other set: it has no such lists.

    Examples
    --------
    >>> from lrface import data
    >>> sorted(data.identification_lists("synthetic")["role"].unique())
    ['distractor', 'gallery', 'probe']
    """
    return _list(name, "identification")


def _list(name: str, which: str) -> pd.DataFrame:
    check_name(name)
    rendered_faces.ready(name)
    reader, root, kind = _place(name)
    if reader is rendered and kind == "images":
        return rendered.protocol(root, which)
    if reader is tinyface and which == "identification":
        return tinyface.identification_lists(root)
    raise LrfaceError(
        f"{name} has no list {which!r}: use synthetic, or a set made by `lrface data make`"
    )


def _place(name: str, clips: bool | None = None) -> tuple[ModuleType, Path, str]:
    """Reader, root and kind of rows (``images`` or ``clips``) of a set that exists.

    ``clips`` says which layout a folder has; None: the one that it has.
    """
    kind, _, path = name.partition(":")
    if name in SCENES:
        raise LrfaceError(f"{name} holds whole photographs, not faces: use data.load_scenes")
    if kind.startswith("synthetic"):
        own = rendered_faces.folder() if name == rendered_faces.SECOND else rendered.EMBEDDED
        root = Path(path).resolve() if path else own
        return rendered, root, "clips" if kind == "synthetic-clips" else "images"
    if kind == "folder":
        root = Path(path).resolve()
        of_clips = clip_folder.holds_clips(root) if clips is None else clips
        return clip_folder if of_clips else folder, root, "images"
    if kind == "video":
        return video, Path(path).resolve(), "images"
    return READERS[name], data_root(), "images"


def state(name: str) -> str:
    """A hash that changes when a set's files do; opens no image.

    Of a rendered set it is a hash of its manifest, which holds the sha256 of every file; of any
    other, a hash of its lists and of every file's size and modification time.
    """
    check_name(name)
    if name in SCENES:
        root, (table, boxes, _) = data_root(), SCENES[name].read(data_root(), None)
        return _files_state(root, table, boxes.to_csv(index=False))
    reader, root, _ = _place(name)
    if reader is rendered:
        return hashlib.sha256(rendered.checked_manifest(root).encode()).hexdigest()
    _, root, table, _ = _listed(name, 0)
    return _files_state(root, table)


def _files_state(root: Path, table: pd.DataFrame, more: str = "") -> str:
    """The hash of a table, and of size and time of the files that it names."""
    digest = hashlib.sha256(str(root).encode() + table.to_csv(index=False).encode() + more.encode())
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


def _listed(
    name: str, seed: int, clips: bool | None = None
) -> tuple[ModuleType, Path, pd.DataFrame, str]:
    """Reader, root, the whole table with its ``split`` column, and the rule of the split."""
    check_name(name)
    rendered_faces.ready(name)
    reader, root, kind = _place(name, clips)
    table = reader.read(root, kind) if reader is rendered else reader.read(root)
    official = table.pop("official") if "official" in table else pd.Series(dtype=object)
    if reader in (rendered, tinyface) or set(official.unique()) == set(SPLITS):
        table["split"], rule = official, OFFICIAL
    else:
        table["split"] = splits.by_identity(table["identity"], seed)
        rule = f"sha256 of identity, seed {seed}, {splits.FRACTIONS}"
    return reader, root, table, rule


def _usable(
    name: str,
    root: Path,
    table: pd.DataFrame,
    crop: Crop,
    limit: int | None,
    split: str | None,
) -> tuple[pd.DataFrame, dict[str, str]]:
    """The first ``limit`` usable rows, by key and with digests, and why others were skipped."""
    skipped: dict[str, str] = {}
    if "problem" in table:  # what the reader itself could not use
        reasons = table["problem"]
        bad = reasons != ""
        skipped = dict(zip(table["key"][bad], reasons[bad], strict=True))
        table = table[~bad].drop(columns="problem").reset_index(drop=True)
    if "digest" in table:  # a rendered set: its files have been compared with their hashes
        table = table.iloc[:limit].sort_values("key", ignore_index=True)
    else:
        scanned = scan(name, root, table["path"].tolist(), crop, limit)
        table = table.iloc[: len(scanned)].assign(digest=scanned["digest"].to_numpy())
        if "native" in table:
            table["native_height"] = scanned["height"].to_numpy()
        problem = scanned["problem"].to_numpy()
        skipped |= zip(table["key"][problem != ""], problem[problem != ""], strict=True)
        table = table[problem == ""].sort_values("key", ignore_index=True)
    if table.empty:
        place = f" in its {split} split" if split else ""
        why = ""
        if skipped:
            key, reason = next(iter(skipped.items()))
            why = f": {reason} ({key}, and {len(skipped) - 1} more)"
        raise LrfaceError(f"{name} has no usable image{place}{why}")
    if skipped:
        first = "; ".join(f"{key}: {reason}" for key, reason in list(skipped.items())[:5])
        more = "; ..." if len(skipped) > 5 else ""
        files = len(skipped) + len(table)
        print(f"{name}: skipped {len(skipped)} of {files} files: {first}{more}", file=sys.stderr)
    front = ["key", "identity", "split", "path", "digest"]
    return table[front + [c for c in table.columns if c not in front]], skipped
