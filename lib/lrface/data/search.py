"""1:N search of native low-resolution faces (CSRI, sections 3 and 5): roles and captures."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from pathlib import Path
from threading import RLock

import numpy as np
import torch
from torch import Tensor

from lrface import data
from lrface.data.faceset import FaceSet
from lrface.data.splits import unit_hash
from lrface.data.synthetic import camera, captures
from lrface.errors import LrfaceError
from lrface.files import cache_dir

DISTRACTOR = "-100"
"""The identity that TinyFace gives to every distractor: no probe has it."""
WORLD = 20_261
"""Seed of the rendered people that serve as distractors: none of them is in the embedded set."""
CAMERAS = (captures.Way("a"), captures.Way("b", camera=1))
"""Every distractor's moment is captured twice, by two low-quality cameras."""


@dataclass(frozen=True)
class Searched:
    """The faces of a search, with roles."""

    faces: FaceSet
    role: np.ndarray
    """str (N,): ``probe``, ``gallery`` (a mate of a probe) or ``distractor``."""

    @property
    def identities(self) -> np.ndarray:
        """The identity of every face, str (N,); :data:`DISTRACTOR` for a distractor."""
        names = self.faces.table["identity"].to_numpy(str)
        return np.where(self.role == "distractor", DISTRACTOR, names)

    @property
    def probes(self) -> np.ndarray:
        """The rows of the probes, int (P,)."""
        return np.flatnonzero(self.role == "probe")


def order(name: str, seed: int) -> float:
    """A number in [0, 1) from a name: people and images are sampled in this order."""
    return unit_hash(f"native:{seed}:{name}")


def people(
    faces: FaceSet, seed: int, chosen=lambda share: True, most: int | None = None
) -> FaceSet:
    """The faces of people whose :func:`order` ``chosen`` accepts, of at most ``most`` people."""
    names = sorted(set(faces.table["identity"]), key=lambda name: order(name, seed))
    names = [name for name in names if chosen(order(name, seed))][:most]
    return faces.where(faces.table["identity"].isin(names))


def on_video(faces: FaceSet) -> bool:
    """Whether the faces are frames of clips, of which only the small ones are native."""
    return {"clip", "side"} <= {*faces.table}


def native(name: str, seed: int, of_everyone: bool = False) -> FaceSet:
    """Load a set of native low-resolution faces.

    Of frames of video only the smallest third is native; as in TinyFace, half of their people are
    for training.

    Parameters
    ----------
    name : str
        A face set (:func:`lrface.data.load`).
    seed : int
        Of the order of people.
    of_everyone : bool
        All are test people: for networks that learnt from others.

    Raises
    ------
    LrfaceError
        The set has no native low-resolution faces.
    """
    faces = data.load(name)
    if not {"native_height", "side"} & {*faces.table}:
        raise LrfaceError(f"{name} has no native low-resolution faces: name a set that has some")
    split, rule = faces.table["split"], faces.split_rule
    if on_video(faces):
        faces = faces.where(faces.table["side"] <= faces.table["side"].quantile(1 / 3))
        shares = faces.table["identity"].map(lambda name: order(name, seed))
        split = np.where(shares < 1 / 2, "train", "test")
        rule = f"half of the people, by sha256, seed {seed}"
    if of_everyone:
        split, rule = "test", "all people"
    return replace(faces, table=faces.table.assign(split=split), split_rule=rule)


def lists(
    faces: FaceSet,
    seed: int,
    most: int | None = None,
    most_distractors: int | None = None,
    gallery: int | None = None,
) -> Searched:
    """The faces of a search and their roles.

    For TinyFace they are its official lists. Else half of each test person's images (or clips, for
    video) are probes and half are mates in the gallery, by a hash; distractors are the people of
    the validation split and those with a single image.

    Parameters
    ----------
    faces : FaceSet
    seed : int
        Of the hash.
    most, most_distractors : int, optional
        Most people who are searched for, and most people who are distractors.
    gallery : int, optional
        Most faces in the gallery; distractors are left out beyond that.
    """
    if faces.name == "tinyface":
        role = data.identification_lists(faces.name).set_index("key")["role"]
        faces = faces.where(faces.table["key"].isin(role.index))
        return Searched(faces, role.reindex(faces.table["key"]).to_numpy())
    unit = "clip" if on_video(faces) else "key"
    by_person = faces.table.groupby("identity")
    split, units = by_person["split"].first(), by_person[unit].nunique()
    searched, others = (
        sorted(split.index[mask], key=lambda name: order(name, seed))[:count]
        for mask, count in (
            ((split == "test") & (units > 1), most),
            ((split == "val") | ((split == "test") & (units == 1)), most_distractors),
        )
    )
    faces = faces.where(faces.table["identity"].isin([*searched, *others]))
    orders = faces.table[unit].map(lambda name: order(name, seed))
    orders = faces.table.assign(order=orders).groupby("identity")["order"]
    first_half = orders.rank(method="dense") - 1 < orders.transform("nunique") // 2
    is_searched = faces.table["identity"].isin(searched)
    role = np.where(is_searched, np.where(first_half, "probe", "gallery"), "distractor")
    if gallery is not None:
        key = faces.table["key"]
        distractors = np.flatnonzero(role == "distractor")
        distractors = sorted(distractors, key=lambda row: order(key.iat[row], seed))
        role[distractors[max(0, gallery - (role == "gallery").sum()) :]] = ""
    return Searched(faces.where(role != ""), role[role != ""])


def distractors(
    moments: list[captures.Moment], like: FaceSet, folder: Path | None = None
) -> FaceSet:
    """Rendered people as distractors: these moments, each captured by :data:`CAMERAS`.

    They have the crop and the side of ``like``. Moments that are not yet in ``folder`` (default:
    the cache) are rendered, about ten a second and core.
    """
    folder = folder or cache_dir("captures")
    found = captures.captured(folder, moments, CAMERAS)
    # keys of released scores depend on the words "stranger" and "strangers"
    named = {name: "stranger " + found[name] for name in ("identity", "key")}
    table = found.assign(**named, split="test")
    return FaceSet("strangers", folder, table, like.crop, False).sized(like.side)


def distractor_moments(count: int) -> list[captures.Moment]:
    """Four moments of each of ``count`` rendered people."""
    return [(WORLD, number, view) for number in range(count) for view in (1, 2, 3, 4)]


STAGES = (*camera.STAGES,)
"""Stages of the low-quality camera that can be switched off."""
CAMERA_CONDITIONS = ("whole", *STAGES, "all parts", "good camera")
SWITCHED_OFF = (
    *(captures.Way(stage, without=(stage,)) for stage in STAGES),
    captures.Way("all parts", without=STAGES),
)


def recaptured(faces: FaceSet, condition: str, folder: Path | None = None) -> FaceSet:
    """The moments of a rendered set, captured by another camera.

    All conditions of the same moments are rendered at once, into ``folder`` (default: the cache).

    Parameters
    ----------
    faces : FaceSet
    condition : str
        A stage that is switched off (:data:`STAGES`), ``all parts`` (every stage off: sampling
        alone), ``whole`` (nothing off: the set's own captures), or ``good camera`` (the set's HR
        pictures).
    folder : Path, optional
    """
    if condition == "good camera":
        return faces
    if condition == "whole":
        return faces.as_source("native_lr")
    folder = folder or cache_dir("captures")
    seed = json.loads((faces.root / "plan.json").read_text())["seed"]
    moments = [(seed, int(r.identity[1:]), int(r.view)) for r in faces.table.itertuples()]
    found = captures.captured(folder, moments, SWITCHED_OFF)
    found = found[found["way"] == condition]
    if found["digest"].tolist() != faces.table["digest"].tolist():
        raise AssertionError("the moments do not render to the set's own pictures")
    places = [str(folder / path) for path in found["native_path"]]
    table = faces.table.assign(native_path=places, native_digest=found["native_digest"].to_numpy())
    return replace(faces, table=table).as_source("native_lr")


def as_captured(faces: FaceSet, condition: str) -> FaceSet:
    """Faces under a condition of Table 4.

    ``native``, ``same height`` (the HR picture down-sampled to the height of the native one) or
    ``20 px`` (down-sampled to 20 pixels).
    """
    if condition == "native":
        return faces.as_source("native_lr")
    return faces.as_source("downsampled", 20 if condition == "20 px" else None)


@dataclass(frozen=True, eq=False)
class Part:
    """A few probes of a search with their mates and a random sample of the gallery."""

    pictures: Tensor
    """uint8 (N, 3, side, side)."""
    identities: np.ndarray
    """str (N,), :data:`DISTRACTOR` for a distractor."""
    numbers: np.ndarray
    """int (P,): which of the search's probes these are."""
    probes: np.ndarray
    """int (P,): their rows in ``pictures``."""
    mates: np.ndarray
    """int (M,): the rows of their mates."""
    drawn: np.ndarray
    """int (G,): the rows of the sampled gallery faces."""
    gallery_size: int
    """Number of faces in the whole gallery."""


@dataclass(frozen=True, eq=False)
class Gallery:
    """A search with all faces captured under one condition, and further rendered distractors."""

    searched: Searched
    condition: str
    """As for :func:`as_captured` or :func:`recaptured`."""
    moments: Sequence[captures.Moment] = ()
    """Moments of the further distractors (:func:`distractors`)."""
    _lock: RLock = field(default_factory=RLock, repr=False)

    @property
    def size(self) -> int:
        """Number of faces in the gallery: mates and distractors."""
        own = len(self.searched.role) - len(self.searched.probes)
        return own + len(self.moments) * len(CAMERAS)

    def whole(self) -> tuple[Tensor, np.ndarray, np.ndarray]:
        """All faces: images, uint8 (N, 3, side, side), and the role and identity of each.

        They stay in memory as long as the gallery does. Thread-safe.
        """
        with self._lock:
            return self._whole

    @cached_property
    def _whole(self) -> tuple[Tensor, np.ndarray, np.ndarray]:
        one = self.searched
        pictures = self._captured(one.faces, self.moments)
        more = len(pictures) - len(one.role)
        role = np.append(one.role, np.full(more, "distractor"))
        return pictures, role, np.append(one.identities, np.full(more, DISTRACTOR))

    def part(self, probes: int = 32, gallery: int = 100) -> Part:
        """A random sample of probes and gallery faces.

        The same for all conditions of a process, so that moments are rendered once.
        """
        with self._lock:
            if (probes, gallery) not in self._parts:
                self._parts[probes, gallery] = self._draw(probes, gallery)
            return self._parts[probes, gallery]

    @cached_property
    def _parts(self) -> dict[tuple[int, int], Part]:
        return {}

    def _draw(self, probes: int, gallery: int) -> Part:
        random, one = np.random.default_rng(_of_process()[0]), self.searched
        numbers = np.sort(random.permutation(len(one.probes))[:probes])
        chosen = one.probes[numbers]
        mate = (one.role == "gallery") & np.isin(one.identities, one.identities[chosen])
        others = np.flatnonzero(one.role != "probe")
        places = random.permutation(self.size)[:gallery]
        own = others[places[places < len(others)]]
        moments = (places[places >= len(others)] - len(others)) // len(CAMERAS)
        rows = np.unique(np.concatenate([chosen, np.flatnonzero(mate), own]))
        faces = one.faces.where(np.isin(np.arange(len(one.faces)), rows))
        pictures = self._captured(faces, [self.moments[i] for i in np.unique(moments)], again=True)
        more = len(pictures) - len(rows)
        return Part(
            pictures,
            np.append(one.identities[rows], np.full(more, DISTRACTOR)),
            numbers,
            np.searchsorted(rows, chosen),
            np.searchsorted(rows, np.flatnonzero(mate)),
            np.append(np.searchsorted(rows, own), np.arange(len(rows), len(pictures))),
            self.size,
        )

    def _captured(
        self, faces: FaceSet, moments: Sequence[captures.Moment], again: bool = False
    ) -> Tensor:
        # `again`: of a random sample, which no later run needs; one capture of each moment
        folder = Path(_of_process()[1].name) if again else None
        if self.condition in CAMERA_CONDITIONS:
            parts = [recaptured(faces, self.condition, folder)]
        else:
            parts = [as_captured(faces, self.condition)]
        if moments:
            more = distractors(list(moments), faces, folder)
            step = len(CAMERAS) if again else 1
            more = more.where(np.arange(len(more)) % step == 0)
            parts.append(as_captured(more, self.condition))
        return torch.cat([part.stack(range(len(part))) for part in parts])


@cache
def _of_process() -> tuple[int, tempfile.TemporaryDirectory]:
    """Seed of this process's random samples, and a folder for what is rendered for them."""
    seed = int(np.random.default_rng().integers(2**32))
    return seed, tempfile.TemporaryDirectory(prefix="lrface-captures-")
