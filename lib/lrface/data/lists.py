"""Lists that go with a set: pairs to verify, a gallery to search, and what a set is not fit for."""

from __future__ import annotations

import contextlib
import io
import sys

import pandas as pd

from lrface.data import protocols, rendered_faces
from lrface.data.catalogue import check_name, reader_of
from lrface.data.loading import load
from lrface.data.readers import rendered, tinyface, ytf
from lrface.errors import LrfaceError

LEAST_PEOPLE = 3
"""People that a set, or a split of it, needs for a study."""


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
    reader, root, kind = reader_of(name)
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
    reader, root, kind = reader_of(name)
    if reader is rendered and kind == "images":
        return rendered.protocol(root, which)
    if reader is tinyface and which == "identification":
        return tinyface.identification_lists(root)
    raise LrfaceError(
        f"{name} has no list {which!r}: use synthetic, or a set made by `lrface data make`"
    )


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
