"""Face sets: ``load(name)`` gives a :class:`FaceSet` of a published set or of your own folder."""

from __future__ import annotations

import contextlib
import difflib
import hashlib
import io
import os
import sys
from functools import partial
from pathlib import Path
from types import ModuleType

import pandas as pd

from lrface import settings
from lrface.data import (
    packed,
    part_windows,
    protocols,
    rendered_clips,
    rendered_faces,
    rendered_scenes,
    scenes,
    splits,
    windows,
)
from lrface.data.clips import FRAMES, ClipSet, at_hand, usable
from lrface.data.entries import contents
from lrface.data.faceset import FaceSet
from lrface.data.images import Crop, located
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
from lrface.data.scan import scan
from lrface.data.scenes import SceneSet
from lrface.data.splits import check_leakage
from lrface.data.windows import Range, WindowSet
from lrface.errors import LrfaceError, UsageError
from lrface.files import note, noting

__all__ = [
    "READERS",
    "SCENES",
    "ClipSet",
    "FaceSet",
    "SceneSet",
    "TrainingSet",
    "WindowSet",
    "absent",
    "absolute",
    "cannot",
    "check_leakage",
    "check_name",
    "data_root",
    "held_out",
    "identification_lists",
    "load",
    "load_clips",
    "load_part_windows",
    "load_scenes",
    "load_windows",
    "pairs",
    "state",
    "state_or_absent",
]

TrainingSet = FaceSet | ClipSet | WindowSet
"""What a network can be trained on."""
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
LEAST_PEOPLE = 3
"""People that a set, or a split of it, needs for a study."""


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
    if split is not None and split not in SPLITS:
        raise UsageError(f"unknown split {split!r}: choose one of {', '.join(SPLITS)}")
    if limit is not None and limit < 1:
        raise UsageError(f"limit is {limit}: ask for at least one image")
    return _load(name, split, limit, seed, clips=False)


def _load(name: str, split: str | None, limit: int | None, seed: int, clips: bool) -> FaceSet:
    name = absolute(name)
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
    crop = rendered.CROPS[rendered.generation(root)] if reader is rendered else reader.CROP
    table, skipped = _usable(name, root, table.reset_index(drop=True), crop, limit, split)
    photos = not name.startswith("synthetic")
    return FaceSet(name, root, table, crop, photos, attributes, rule, skipped)


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
    if split is not None and split not in SPLITS:
        raise UsageError(f"unknown split {split!r}: choose one of {', '.join(SPLITS)}")
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
    if split is not None and split not in SPLITS:
        raise UsageError(f"unknown split {split!r}: choose one of {', '.join(SPLITS)}")
    if limit is not None and limit < 1:
        raise UsageError(f"limit is {limit}: ask for at least one image")
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
    table = _listed(name, seed)[2]
    if "problem" in table:
        table = table[table["problem"] == ""]
    return table.loc[table["split"] != "train", ["key", "identity", "split"]]


def pairs(name: str, hard: bool = False, of_everyone: bool = False) -> pd.DataFrame:
    """Verification pairs in folds that share no identity.

    Pairs of a set's own list that name an image that cannot be used are left out; their number is
    said on stderr, and stands in ``attrs["left_out"]``.

    Parameters
    ----------
    name : str
        A face set, as in :func:`load`.
    hard : bool
        Impostors have the same group and gender as the person they are compared with. Only
        rendered sets have such a list.
    of_everyone : bool
        Pairs that are made here are of everybody, not of the test split alone: for networks that
        were trained on other people.

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
    table = load(name).table
    if own is not None:
        return _of_usable(name, own.assign(protocol="own"), table)
    if "role" in table:  # two distractors may be the same person
        table = table[table["role"] != "distractor"]
    # YouTube Faces is a test set: the official list is of everyone, and so is one made instead
    return protocols.made(name, table, of_everyone or reader is ytf)


def _of_usable(name: str, listed: pd.DataFrame, table: pd.DataFrame) -> pd.DataFrame:
    """The pairs whose images, or clips, are in a set's table."""
    on_clips = "clip" in table and listed["first"].isin(table["clip"]).any()
    units = table["clip" if on_clips else "key"]
    there = listed["first"].isin(units) & listed["second"].isin(units)
    kept = listed[there].reset_index(drop=True)
    kept.attrs["left_out"] = int((~there).sum())
    if kept.empty:
        raise LrfaceError(
            f"{name}: none of the {len(listed)} pairs of its list names two usable images, "
            f"{listed['first'].iat[0]} and {listed['second'].iat[0]} for example"
        )
    if kept.attrs["left_out"]:
        gone = listed.loc[~there, ["first", "second"]].to_numpy().ravel()
        first = next(key for key in gone if key not in set(units))
        print(
            f"{name}: {kept.attrs['left_out']} of {len(listed)} pairs are left out, for they name "
            f"images that cannot be used ({first} is the first)",
            file=sys.stderr,
        )
    return kept


def cannot(name: str, elsewhere: bool = False) -> dict[str, str]:
    """What studies do that a set is not fit for, and why; empty if it is fit for all.

    Parameters
    ----------
    name : str
        A face set, as in :func:`load`.
    elsewhere : bool
        Networks come from elsewhere (:mod:`lrface.training.trained_on`): nobody is trained on, and
        all people are test people.

    Returns
    -------
    dict
        ``training``, ``testing``, ``verification``, ``search``, ``attributes``, ``people`` or
        ``native faces`` -> reason.

    Examples
    --------
    >>> cannot("synthetic")
    {}
    """
    with contextlib.redirect_stderr(io.StringIO()):  # what is skipped has been said before
        return _cannot(name, elsewhere)


def _cannot(name: str, elsewhere: bool) -> dict[str, str]:
    faces = load(name)
    table, found = faces.table, {}
    people = table.groupby("split", observed=True)["identity"].nunique()
    if elsewhere:
        if (everyone := table["identity"].nunique()) < LEAST_PEOPLE:
            found["testing"] = f"it has {everyone} people, and three are needed"
    else:
        for split, what in (("train", "training"), ("test", "testing")):
            if split not in people:
                found[what] = f"nobody is in its {split} split ({faces.split_rule})"
            elif people[split] < LEAST_PEOPLE and not name.startswith("synthetic"):
                found[what] = f"{people[split]} people in its {split} split, and three are needed"
    try:
        if pairs(name, of_everyone=elsewhere).attrs.get("of_trained"):
            found["verification"] = (
                "its test split has fewer than six people with two images: pairs are made of all "
                "its people, for networks that learnt from others"
            )
    except LrfaceError as reason:
        found["verification"] = str(reason)
    try:
        identification_lists(name)
    except LrfaceError:
        found["search"] = "it has no lists of a gallery and of probes"
    if not faces.attributes:
        found["attributes"] = "none are known of its faces"
    if table["identity"].str.startswith("?/").all():
        found["people"] = "they are not known: each image counts as one, intervals are over images"
    if "native_height" not in table and "side" not in table:
        found["native faces"] = "it has no native low-resolution faces"
    return found


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
    reader, root, _ = _place(name)
    if reader is rendered:
        return hashlib.sha256(rendered.checked_manifest(root).encode()).hexdigest()
    _, root, table, _ = _listed(name, 0)
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
            _, root, table, _ = _listed(name, 0)
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


def _listed(
    name: str, seed: int, clips: bool | None = None
) -> tuple[ModuleType, Path, pd.DataFrame, str]:
    """Reader, root, the whole table with its ``split`` column, and the rule of the split."""
    name = absolute(name)
    check_name(name)
    rendered_faces.ready(name)
    reader, root, kind = _place(name, clips)
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
