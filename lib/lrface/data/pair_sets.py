"""Verification pairs with their faces in memory, by LFW's and YouTube Faces' protocols."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from lrface import data
from lrface.data.eye_distance import at_eye_distance
from lrface.data.faceset import FaceSet
from lrface.data.landmarks import landmarks


@dataclass(frozen=True, eq=False)
class PairSet:
    """The pairs of a verification test and the faces that they name.

    A *unit* is what is compared: an image, or a clip, whose embedding is the mean over its frames.
    """

    faces: FaceSet
    hr: Tensor
    """uint8 (N, 3, H, W): every face."""
    points: Tensor
    """float32 (N, 68, 2): landmarks of every face, NaN where unknown."""
    unit: np.ndarray
    """int (N,): the unit that each face belongs to."""
    first: np.ndarray
    second: np.ndarray
    """int (P,): the units of each pair."""
    same: np.ndarray
    """bool (P,): whether a pair is genuine."""
    fold: np.ndarray
    """int (P,), from 0."""
    left_out: int
    """Number of pairs that name an unusable image."""
    made: bool
    """Whether the list was drawn here and did not come with the set."""

    @property
    def provenance(self) -> str:
        """Where the list of pairs comes from, for people: as :func:`list_provenance` says."""
        return _label(self.made)

    @property
    def people(self) -> np.ndarray:
        """The identity of every face, str (N,)."""
        return self.faces.table["identity"].to_numpy()

    def of_units(self, vectors: pd.DataFrame) -> np.ndarray:
        """Embeddings of the units, from those of the faces (one row a face): their means."""
        return vectors.groupby(self.unit).mean().to_numpy()


def load(
    name: str,
    limit: int | None = None,
    hard: bool = False,
    of_everyone: bool = False,
    eyes: tuple[float, int] | None = None,
) -> PairSet:
    """The pairs of a set (:func:`lrface.data.pairs`) with their faces.

    Parameters
    ----------
    name : str
        A face set.
    limit : int, optional
        About this many pairs, as many of each fold and kind.
    hard : bool
        The list whose impostors share group and gender; only rendered sets have one.
    of_everyone : bool
        Pairs that are made are of everybody (:func:`lrface.data.pairs`).
    eyes : (float, int), optional
        Distance between the eye centres and side of the window, both in pixels, that faces are
        brought to; pairs of those that cannot be are left out
        (:func:`lrface.data.eye_distance.at_eye_distance`).

    Returns
    -------
    PairSet

    Raises
    ------
    LrfaceError
        The set has no such list, or too few people to draw one from.

    Examples
    --------
    >>> from lrface.data import pair_sets
    >>> pairs = pair_sets.load("synthetic", limit=20)
    >>> len(pairs.same), int(pairs.same.sum()), pairs.left_out
    (20, 10, 0)
    """
    listed, faces = data.pairs(name, hard, of_everyone), data.load(name)
    on_clips = "clip" in faces.table and listed["first"].isin(faces.table["clip"]).all()
    unit = "clip" if on_clips else "key"
    left_out = listed.attrs.get("left_out", 0)
    if limit:
        each = max(1, limit // 20)
        listed = listed.groupby(["fold", "same"], group_keys=False).head(each)
    faces = faces.where(faces.table[unit].isin({*listed["first"], *listed["second"]}))
    if eyes is not None:
        faces = at_eye_distance(faces, *eyes).faces
    there = listed["first"].isin(faces.table[unit]) & listed["second"].isin(faces.table[unit])
    made = _made(listed)
    listed = listed[there].reset_index(drop=True)
    units = pd.Index(faces.table[unit].unique())
    return PairSet(
        faces=faces,
        hr=faces.stack(range(len(faces))),
        points=torch.from_numpy(landmarks(faces)),
        unit=units.get_indexer(faces.table[unit]),
        first=units.get_indexer(listed["first"]),
        second=units.get_indexer(listed["second"]),
        same=listed["same"].to_numpy(bool),
        fold=listed["fold"].to_numpy(),
        left_out=left_out,
        made=made,
    )


def list_provenance(name: str, hard: bool = False) -> str:
    """Where the pairs of a set come from: what the loader says, in the words of the tables.

    Parameters
    ----------
    name : str
        A face set.
    hard : bool
        As in :func:`load`.

    Returns
    -------
    {"the set's own", "made here"}

    Examples
    --------
    >>> list_provenance("synthetic")
    "the set's own"
    """
    return _label(_made(data.pairs(name, hard)))


def _made(listed: pd.DataFrame) -> bool:
    return bool((listed["protocol"] == "made").any())


def _label(made: bool) -> str:
    return "made here" if made else "the set's own"


def without_pairs(faces: FaceSet) -> PairSet:
    """Faces without pairs, each a unit of its own: the training set of a metric."""
    none = np.empty(0, int)
    hr, points = faces.stack(range(len(faces))), torch.from_numpy(landmarks(faces))
    return PairSet(
        faces, hr, points, np.arange(len(faces)), none, none, none.astype(bool), none, 0, False
    )
