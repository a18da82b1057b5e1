"""Closed-set 1:N identification: each probe is searched in a gallery that may be larger than memory
(ranks, CMC, precision-recall, mAP).

The protocol is TinyFace's (Cheng, Zhu and Gong, ACCV 2018, section 4.2, and its published
evaluation): 3,728 probes against 4,443 mates and 153,428 distractors, Euclidean distance, several
mates per probe. CMC counts the first mate; average precision is the trapezoidal area under
precision over recall. Later works search the same faces in another way (:data:`PROTOCOLS`).

All of these need only the ranks of a probe's mates, and a rank is one plus the number of nearer
vectors. So no matrix of all distances is stored and nothing is sorted: the gallery is read once, in
blocks, and nearer vectors are counted. Distances are compared as float32 matrix products wherever
their rounding provably cannot change the order; the few pairs inside that error are compared again
in float64. The result is that of float64, whatever the block size, the device or the number of
threads. (If most faces have one embedding, most pairs are inside the error: correct, but slow.)

Ties: two distances that agree to 12 digits are equal, and a mate is ranked *behind* the others at
its distance. The published evaluation leaves such ties to its sort. This rule does not depend on
the order of the gallery, and a network that maps every face to one point gets the last rank.
"""

from __future__ import annotations

import difflib
import mmap
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from lrface.errors import LrfaceError, UsageError
from lrface.numerics import whole_float32

Distance = Literal["euclidean", "cosine"]
TIE = 1e-12
"""Relative difference of two distances that are equal."""
PAIRS = 512
"""Mates that are compared with a block at a time: with 2,048 gallery vectors 4 MB, which fit in the
processor's cache."""
EXACT = 1024
"""Pairs of vectors that are compared in float64 at a time."""


@dataclass(frozen=True, eq=False)
class Identification:
    """The ranks of each probe's mates.

    Every score is a mean over probes, so intervals can be taken over probes or identities.
    """

    first_rank: np.ndarray
    """int64 (P,): the rank of the first mate, from 1."""
    average_precision: np.ndarray
    """float64 (P,), in [0, 1]."""
    mates: np.ndarray
    """int64 (P,): how many mates a probe has in the gallery."""
    ranks: np.ndarray
    """int64 (M,): the ranks of all mates, probe after probe, those of a probe in rising order."""
    gallery_size: int
    max_rank: int
    """The length of ``cmc``."""
    protocol: Protocol | None = None
    """The protocol of the search, which defines the scores that may be reported."""

    @property
    def n(self) -> int:
        """Number of probes."""
        return len(self.first_rank)

    def rank(self, k: int) -> float:
        """Fraction of probes with at least one mate among the ``k`` nearest of the gallery.

        Raises
        ------
        UsageError
            ``k`` is below 1, or none of the protocol's ranks.
        """
        if k < 1:
            raise UsageError(f"ranks count from 1, got {k}")
        if self.protocol and k not in self.protocol.ranks:
            known = ", ".join(map(str, self.protocol.ranks))
            raise UsageError(f"protocol {self.protocol.name!r} has no rank {k}: it has {known}")
        return float((self.first_rank <= k).mean())

    @property
    def mAP(self) -> float:
        """Mean over probes of the trapezoidal average precision."""
        self._wants_precision("mAP")
        return float(self.average_precision.mean())

    @property
    def cmc(self) -> np.ndarray:
        """Cumulative matching characteristic: float64 (max_rank,).

        ``cmc[k - 1]`` is the fraction of probes with a mate among the ``k`` nearest.
        """
        beyond = self.max_rank + 1
        found = np.bincount(np.minimum(self.first_rank, beyond), minlength=beyond + 1)
        return np.cumsum(found[1:-1]) / self.n

    def precision_at(self, recall: float) -> np.ndarray:
        """Each probe's precision at the smallest rank that reaches this recall: float64 (P,).

        Parameters
        ----------
        recall : float
            In (0, 1].
        """
        self._wants_precision("precision")
        if not 0 < recall <= 1:
            raise UsageError(
                f"recall is a fraction of the mates, over 0 and at most 1, got {recall}"
            )
        # A level such as 0.1 * 3 is a digit above the fraction that it means.
        found = np.maximum(np.ceil(recall * self.mates - 1e-9).astype(np.int64), 1)
        return found / self.ranks[np.cumsum(self.mates) - self.mates + found - 1]

    def pr(self, levels: Sequence[float]) -> np.ndarray:
        """The precision-recall curve (section 4.2 of the paper).

        The mean over probes of :meth:`precision_at` each level. Nothing is interpolated between a
        probe's mates.

        Parameters
        ----------
        levels : sequence (L,)
            Of recall, in (0, 1].

        Returns
        -------
        float64 (L,)
        """
        return np.array([self.precision_at(level).mean() for level in levels])

    def _wants_precision(self, what: str) -> None:
        if self.protocol and not self.protocol.mAP:
            known = ", ".join(map(str, self.protocol.ranks))
            raise UsageError(f"protocol {self.protocol.name!r} has no {what}: it has rank {known}")


@dataclass(frozen=True)
class Protocol:
    """How a 1:N search is done and which scores are reported.

    Numbers of two protocols must not be compared.
    """

    name: str
    distance: Distance
    ranks: tuple[int, ...]
    """The ranks that are reported."""
    mAP: bool
    """Whether mAP and the precision-recall curve are reported."""

    def search(
        self, probe: Tensor | np.ndarray, gallery: Tensor | np.ndarray, probe_ids, gallery_ids
    ) -> Identification:
        """:func:`identification` by this protocol.

        The result raises :class:`UsageError` for a rank or an mAP that the protocol lacks.
        """
        found = identification(
            probe, gallery, probe_ids, gallery_ids, self.distance, max(self.ranks)
        )
        return replace(found, protocol=self)


PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        Protocol("tinyface", "euclidean", (1, 5, 10, 20, 50), True),
        Protocol("aligned", "cosine", (1, 5, 20), False),
    )
}
"""``tinyface``: the published evaluation, on the pictures as they are. ``aligned``: that of AdaFace
and CVLface, on faces aligned by MTCNN (their set ``aligned_pad_0.1_pad_high``), each vector the sum
of the face's and its mirror image's, weighted by their lengths."""


def protocol(name: str) -> Protocol:
    """One of :data:`PROTOCOLS` by name.

    Raises
    ------
    UsageError
        Another name.
    """
    if name not in PROTOCOLS:
        close = difflib.get_close_matches(name, PROTOCOLS, 1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        raise UsageError(f"unknown protocol {name!r}: {hint}known are {', '.join(PROTOCOLS)}")
    return PROTOCOLS[name]


def identification(
    probe: Tensor | np.ndarray,
    gallery: Tensor | np.ndarray,
    probe_ids,
    gallery_ids,
    distance: Distance = "euclidean",
    max_rank: int = 50,
    block: int = 2048,
) -> Identification:
    """Search every probe in the gallery, mates and distractors together.

    Parameters
    ----------
    probe : float (P, D)
        Embeddings: arrays or tensors of any float type. The work is done on the GPU if either is
        there.
    gallery : float (G, D)
        May be a memory map (``numpy.load(file, mmap_mode="r")``): memory does not grow with G,
        except for the ids.
    probe_ids : sequence (P,)
        The identity of each probe.
    gallery_ids : sequence (G,)
        Mates have the id of the probe; a distractor has an id that no probe has (TinyFace: -100),
        or none (None, NaN).
    distance : {"euclidean", "cosine"}
        ``euclidean`` compares vectors as they are, as TinyFace does; ``cosine`` their directions.
    max_rank : int
        The length of the CMC curve.
    block : int
        Gallery vectors that are read at a time. The result does not depend on it.

    Returns
    -------
    Identification

    Raises
    ------
    UsageError
        Other shapes or distances.
    LrfaceError
        A probe has no mate (the protocol is closed-set), or a vector is not finite or, for cosine,
        zero.

    Source
    ------
    TinyFace (Cheng, Zhu and Gong, ACCV 2018), section 4.2 and its published evaluation.

    Examples
    --------
    >>> probe, gallery = np.array([[0.0], [5.0]]), np.array([[0.1], [4.0], [5.5]])
    >>> found = identification(probe, gallery, ["a", "b"], ["a", "b", None], max_rank=2)
    >>> found.rank(1), found.cmc.tolist(), found.mAP
    (0.5, [0.5, 1.0], 0.625)
    """
    if distance not in ("euclidean", "cosine") or min(max_rank, block) < 1:
        raise UsageError(
            "want distance 'euclidean' or 'cosine', and max_rank and block from 1: "
            f"{distance!r}, {max_rank}, {block}"
        )
    if probe.ndim != 2 or gallery.ndim != 2 or probe.shape[1] != gallery.shape[1] or not len(probe):
        raise UsageError(
            "want probes (P, D) and a gallery (G, D), "
            f"got {tuple(probe.shape)} and {tuple(gallery.shape)}"
        )
    owner, mate, mates = _mates(probe_ids, gallery_ids, len(probe), len(gallery))
    on_gpu = (x for x in (gallery, probe) if isinstance(x, Tensor) and x.device.type != "cpu")
    device = next((x.device for x in on_gpu), torch.device("cpu"))
    with whole_float32(device):
        nearer = _count(probe, gallery, owner, mate, distance == "cosine", block, device)
    first = np.cumsum(mates) - mates
    place = np.arange(len(owner)) - first[owner] + 1  # of a mate among its probe's mates
    rank = place + nearer
    # The step of recall at a mate times the mean of the precision here and one rank earlier (1
    # before the first rank).
    before = np.divide(place - 1, rank - 1, out=np.ones(len(rank)), where=rank > 1)
    precision = np.bincount(owner, (before + place / rank) / 2, len(probe)) / mates
    return Identification(rank[first], precision, mates, rank, len(gallery), max_rank)


def _mates(
    probe_ids, gallery_ids, probes: int, vectors: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Every pair of a probe and its mate, by probe, and the number of mates of each probe.

    The pairs are rows of the probes and rows of the gallery.
    """
    probe_ids, gallery_ids = (
        np.asarray(x.cpu() if isinstance(x, Tensor) else x).ravel()
        for x in (probe_ids, gallery_ids)
    )
    if (len(probe_ids), len(gallery_ids)) != (probes, vectors):
        raise UsageError(
            f"{len(probe_ids)} ids for {probes} probes and {len(gallery_ids)} for a gallery of "
            f"{vectors}: want one each"
        )
    known = pd.Index(probe_ids).unique()
    of_probe, of_gallery = (
        np.where(pd.isna(x), -1, known.get_indexer(x)) for x in (probe_ids, gallery_ids)
    )
    order = np.argsort(of_gallery, kind="stable")
    first = np.searchsorted(of_gallery[order], of_probe)
    last = np.searchsorted(of_gallery[order], of_probe, side="right")
    mates = np.where(of_probe < 0, 0, last - first)
    if not mates.all():
        count, row = int((mates == 0).sum()), int(np.argmin(mates))
        who = f"the first in row {row}, of {probe_ids[row]}"
        raise LrfaceError(
            f"{count} of {probes} probes have no mate in the gallery, {who}: leave them out, and "
            "report it"
        )
    shift = np.repeat(first - (np.cumsum(mates) - mates), mates)
    return np.repeat(np.arange(probes), mates), order[np.arange(len(shift)) + shift], mates


def _count(probe, gallery, owner, mate, cosine: bool, block: int, device) -> np.ndarray:
    """How many vectors of other people are nearer than a mate, or tied with it.

    int64, by probe, and within a probe by the distance of its mate.
    """
    probes = _vectors(probe, slice(None), cosine, device, "probe")
    index = torch.as_tensor(owner, device=device)
    exact = []
    for start in range(0, len(owner), EXACT):
        c = slice(start, start + EXACT)
        mates = _vectors(gallery, mate[c], cosine, device, "gallery")
        exact.append((probes[index[c]] - mates).norm(dim=1))
    exact = torch.cat(exact)
    order = np.lexsort((exact.cpu().numpy(), owner))  # the order of owners does not change
    mate, exact = mate[order], exact[torch.as_tensor(order, device=device)]
    bound = exact * (1 + TIE) + 4e-15 * cosine  # normalised lengths are 1 to that digit
    # A common shift changes no distance, and float32 decides more pairs of the shorter centred
    # vectors.
    centre = probes.mean(0)
    rows, length = (probes - centre).float(), (probes - centre).norm(dim=1)
    # |p - g|^2 = |p|^2 + 2 (|g|^2 / 2 - p.g): the bracket alone orders the gallery. ``key`` is that
    # of a mate, from its distance.
    key = (exact.square() - length[index].square()) / 2
    # What float32 cannot decide: rounding of the key, ties, and numbers too small for it; and the
    # products of each block, below.
    doubt = 2**-22 * key.abs() + (bound.square() - exact.square()) + probes.shape[1] * 1e-37
    key, nearer = key.float()[:, None], torch.zeros_like(index)
    for start in range(0, len(gallery), block):
        vectors = _vectors(gallery, slice(start, start + block), cosine, device, "gallery")
        near = vectors - centre
        far, near = near.norm(dim=1), near.float()
        longest, half = far.max(), far.square().div(2).float()
        # A float32 sum of D products is wrong by at most D roundings (2^-24) of the sum of their
        # magnitudes, in any order of summation; 8 more for the rounding of inputs and results.
        rounding = 2**-24 * (len(centre) + 8) * ((longest / 2 + length) * longest)[index]
        limit = (doubt + rounding).float()[:, None]
        here = np.flatnonzero((mate >= start) & (mate < start + block))
        for a in range(0, len(owner), PAIRS):
            c = slice(a, a + PAIRS)
            top, last = owner[c][[0, -1]]
            keys = torch.addmm(half, rows[top : last + 1], near.T, alpha=-1)
            begin = np.searchsorted(owner[here], top)
            own = here[begin : np.searchsorted(owner[here], last, side="right")]
            # Mates are ranked among themselves and not counted here.
            keys[owner[own] - top, mate[own] - start] = torch.inf
            difference = keys[index[c] - top].sub_(key[c])
            nearer[c] += (difference < -limit[c]).sum(1, dtype=torch.int32)
            i, j = (difference.abs_() <= limit[c]).nonzero(as_tuple=True)
            for pair, column in zip((a + i).split(EXACT), j.split(EXACT), strict=True):
                precise = (probes[index[pair]] - vectors[column]).norm(dim=1)
                nearer.index_add_(0, pair, (precise <= bound[pair]).long())
    return nearer.cpu().numpy()


def _vectors(source, rows, cosine: bool, device, what: str) -> Tensor:
    """These rows as float64 (N, D) on the device; of length 1 for cosine."""
    if isinstance(source, Tensor):
        if not isinstance(rows, slice):
            rows = torch.as_tensor(rows, device=source.device)
        x = source[rows].detach().to(device, torch.float64)
    else:
        x = torch.from_numpy(np.array(source[rows], np.float64)).to(device)
        _release_pages(source)
    length = x.norm(dim=1, keepdim=True)
    # Squares of longer vectors overflow float32; NaN fails the comparison too.
    if not bool((length < 1e18).all()):
        raise LrfaceError(
            f"a {what} vector holds NaN or infinity, or is longer than 1e18: leave it out, or "
            "scale all vectors"
        )
    if cosine and not bool((length > 0).all()):
        raise LrfaceError(
            f"a {what} vector is zero and has no direction, so no cosine: leave it out, or use the "
            "Euclidean distance"
        )
    return x / length if cosine else x


def _release_pages(source: np.ndarray) -> None:
    """Release the pages of a memory map, which count as this process's memory once read."""
    base = source
    while isinstance(base, np.ndarray):
        base = base.base
    read_only = getattr(source, "mode", None) == "r" and isinstance(base, mmap.mmap)
    if read_only and hasattr(mmap, "MADV_DONTNEED"):
        base.madvise(mmap.MADV_DONTNEED)
