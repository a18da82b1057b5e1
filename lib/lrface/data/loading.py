"""Sets of faces, clips, scenes and windows by name: their usable images, split by identity."""

from __future__ import annotations

import difflib
import sys
from functools import partial
from pathlib import Path

import pandas as pd

from lrface.data import (
    part_windows,
    rendered_clips,
    rendered_scenes,
    scenes,
    splits,
    windows,
)
from lrface.data.catalogue import (
    OFFICIAL,
    SCENES,
    SPLITS,
    absolute,
    check_name,
    data_root,
    read_lists,
)
from lrface.data.clips import FRAMES, ClipSet, at_hand, usable
from lrface.data.faceset import FaceSet
from lrface.data.images import Crop
from lrface.data.readers import rendered
from lrface.data.scan import scan
from lrface.data.scenes import SceneSet
from lrface.data.windows import Range, WindowSet
from lrface.errors import LrfaceError, UsageError


def load(name: str, split: str | None = None, limit: int | None = None, seed: int = 0) -> FaceSet:
    """Load a face set.

    Files that cannot be used are skipped, counted, and named in one warning on stderr.

    Parameters
    ----------
    name : str
        ``synthetic`` (embedded; also ``synthetic-1``), ``synthetic-2`` (the second generation of
        the same people, embedded, too), ``celeba``, ``lfw``, ``ytf``, ``tinyface``,
        ``tufs``, ``ijbc`` or ``edface`` (under LRFACE_DATA), ``folder:PATH`` (one sub-folder an
        identity), ``video:PATH`` (a video or GIF, or a folder of them), or ``synthetic:PATH`` for a
        set made by ``lrface data make``. ``synthetic-clips`` and ``synthetic-clips:PATH`` hold the
        frames of the rendered clips.
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
    _check(split, limit)
    return _load(name, split, limit, seed, clips=False)


def _check(split: str | None, limit: int | None = None) -> None:
    if split is not None and split not in SPLITS:
        raise UsageError(f"unknown split {split!r}: choose one of {', '.join(SPLITS)}")
    if limit is not None and limit < 1:
        raise UsageError(f"limit is {limit}: ask for at least one image")


def _load(name: str, split: str | None, limit: int | None, seed: int, clips: bool) -> FaceSet:
    name = absolute(name)
    reader, root, table, rule = read_lists(name, seed, clips)
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
    crop = rendered.CROPS[rendered.generation(root)] if reader is rendered else reader.CROP
    table, skipped = _usable(name, root, table.reset_index(drop=True), crop, limit, split)
    photos = not name.startswith("synthetic")
    return FaceSet(name, root, table, crop, photos, attributes, rule, skipped)


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
        cache; ``rendered-clips+native``: the same,
        with native captures as small frames. Else any set of frames that :func:`load` knows:
        ``synthetic-clips`` (embedded, aligned by the eyes), ``synthetic-clips-2``,
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
    _check(split)
    faces = _load(name, split, None, seed, clips=True)
    if "clip" not in faces.table or faces.table["clip"].isna().any():
        raise LrfaceError(f"{name} holds faces, not clips: choose rendered-clips or ytf")
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
    """Load a set of whole pictures with boxes around their faces.

    Files that cannot be used are skipped, counted, and named in one warning on stderr; their boxes
    are left out with them.

    Parameters
    ----------
    name : str
        ``wider`` or ``fddb``, under LRFACE_DATA in their official layouts; ``rendered-crowds`` or
        ``rendered-portraits`` (:mod:`lrface.data.rendered_scenes`).
    split : {"train", "val", "test"}, optional
        The official one; None: all that are there. The boxes of WIDER FACE's test split are not
        public, and FDDB is a test set as a whole. Rendered sets need one.
    limit : int, optional
        At most this many images: the first of a rendered set, else a sample by a hash of their
        keys; a larger limit contains a smaller one.
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
    rendered-crowds, rendered-portraits, wider, fddb
    """
    known = [*rendered_scenes.SCENES, *SCENES]
    if name not in known:
        close = difflib.get_close_matches(name, known, 1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        raise UsageError(f"unknown set of scenes {name!r}: {hint}known are {', '.join(known)}")
    _check(split, limit)
    check_name(name)
    if name in rendered_scenes.SCENES:
        return rendered_scenes.load(name, split, limit)
    root = data_root()
    return scenes.load(name, root, SCENES[name].read(root, split), limit, seed)


def load_windows(
    name: str,
    range: str,
    split: str = "train",
    limit: int | None = None,
    seed: int = 0,
    per_class: int = 1500,
    negatives: int = 6000,
) -> WindowSet:
    """Load windows of scenes, with and without a face, for a network that proposes faces.

    Parameters
    ----------
    name : str
        A set of scenes, as in :func:`load_scenes`.
    range : {"10-30", "30-120", "120-240", "240-480", "pyramid"}
        Heights of faces (:data:`lrface.data.windows.RANGES`).
    split : {"train", "val", "test"}
    limit : int, optional
        At most this many scenes.
    seed : int
        Of the sample of scenes and of windows.
    per_class, negatives : int
        Windows of each of the range's three sub-classes, at most, and windows without a face.

    Returns
    -------
    WindowSet
        No window is cut, and no scene rendered, before it is needed.

    Raises
    ------
    UsageError
        Unknown set, split or range.
    LrfaceError
        The set is missing or damaged.

    Examples
    --------
    >>> from lrface import data
    >>> crops = data.load_windows("rendered-crowds", "10-30", "test", 2, per_class=2, negatives=3)
    >>> crops.stack([0, 1]).shape, crops.labels.shape[1]
    (torch.Size([2, 3, 30, 30]), 8)
    """
    if range not in windows.RANGES:
        known = ", ".join(windows.RANGES)
        raise UsageError(f"unknown range of heights {range!r}: choose one of {known}")
    chosen: Range = windows.RANGES[range]
    scenes, listed, photos = scenes_of(name, split, limit, seed)
    recipe = f"{scenes[0]}\n{per_class}\n{negatives}\n{seed}"
    choose = partial(_sampled, scenes[1], chosen, per_class, negatives, seed)
    return WindowSet(name, chosen, listed, recipe, 3 * per_class + negatives, choose, photos)


def load_part_windows(
    name: str, split: str = "train", limit: int | None = None, seed: int = 0, count: int = 3000
) -> WindowSet:
    """Load windows with faces, whose attributes are known, and without, for Faceness' parts.

    Parameters
    ----------
    name : {"rendered-crowds", "rendered-portraits"}
        The scenes; faces of :data:`lrface.data.part_windows.FACES` are shown beside theirs.
    split : {"train", "val", "test"}
    limit : int, optional
        At most this many scenes, and as many pictures of the face set.
    seed : int
        Of the sample of pictures and of windows.
    count : int
        Windows of each kind, at most: a face of the face set, one of the scenes, none.

    Returns
    -------
    WindowSet
        Its labels have the columns :data:`lrface.data.part_windows.COLUMNS`. No window is cut, and
        no scene rendered, before it is needed.

    Raises
    ------
    UsageError
        Unknown set or split, or a set that does not know its faces' attributes.

    Examples
    --------
    >>> from lrface import data
    >>> crops = data.load_part_windows("rendered-crowds", "test", 2, count=2)
    >>> crops.stack([0, 1]).shape, crops.labels.shape
    (torch.Size([2, 3, 56, 56]), (6, 30))
    """
    if name not in rendered_scenes.SCENES:
        known = " or ".join(rendered_scenes.SCENES)
        raise UsageError(
            f"{name} does not know its faces' attributes, from which parts are learnt: use {known}"
        )
    scenes, listed, photos = scenes_of(name, split, limit, seed)
    faces = load(part_windows.FACES, split, limit, seed)
    recipe = f"parts {part_windows.VERSION}\n{scenes[0]}\n{faces.attributes_fingerprint}"
    recipe += f"\n{count}\n{seed}"
    table = pd.concat([listed, faces.table[list(listed)]], ignore_index=True)
    choose = partial(part_windows.sampled, scenes[1], faces, count, seed)
    return WindowSet(
        name, part_windows.RANGE, table, recipe, 3 * count, choose, photos, part_windows.COLUMNS
    )


def scenes_of(
    name: str, split: str, limit: int | None, seed: int
) -> tuple[tuple[str, partial], pd.DataFrame, bool]:
    """A set of scenes that is not loaded yet, if it can be known without: (its fingerprint, a
    function that gives it), its ``key, identity, split``, and whether it is of photographs."""
    if name in rendered_scenes.SCENES:
        check_name(name)
        plan = rendered_scenes.plan(name, split, limit)
        opened = partial(load_scenes, name, split, limit, seed)
        return (plan.digest, opened), rendered_scenes.listed(plan), False
    found = load_scenes(name, split, limit, seed)
    listed = found.images[["key", "split"]].assign(identity=found.images["key"])
    return (found.fingerprint, partial(at_hand, found)), listed, True


def _sampled(opened: partial, *how) -> tuple[SceneSet, pd.DataFrame]:
    return windows.sampled(opened(), *how)


def held_out(name: str, seed: int = 0) -> pd.DataFrame:
    """``key, identity, split`` of every image outside a set's training split; reads no image."""
    if name.partition("+")[0] == rendered_clips.NAME:
        return rendered_clips.held_out()
    if name in rendered_scenes.SCENES:
        return rendered_scenes.held_out(name)
    if name in SCENES:
        check_name(name)
        table = SCENES[name].read(data_root(), None)[0]
        table = table.assign(identity=table["key"])
        return table.loc[table["split"] != "train", ["key", "identity", "split"]]
    table = read_lists(name, seed)[2]
    if "problem" in table:
        table = table[table["problem"] == ""]
    return table.loc[table["split"] != "train", ["key", "identity", "split"]]
