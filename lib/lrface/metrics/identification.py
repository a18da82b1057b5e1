"""Who is it? Closed-set 1:N search: each probe against a gallery that may be larger than memory
(ranks, CMC, precision-recall, mAP).

The protocol is TinyFace's (Cheng, Zhu and Gong, ACCV 2018, section 4.2, and its published
evaluation): 3,728 probes against 4,443 mates and 153,428 distractors, Euclidean distance, several
mates a probe. CMC counts the first mate; average precision is the trapezoidal area under precision
and recall. Later works search the same faces in another way (:data:`PROTOCOLS`).

All need only the ranks of a probe's mates, and a rank is one plus the number of vectors nearer. So
no matrix of all distances is kept and nothing is sorted: the gallery passes once, in blocks, and is
counted. Distances are compared as float32 matrix products wherever their rounding provably cannot
change the order, and the few pairs inside that error again in float64. The result is the one
float64 gives, whatever the block, the device or the threads. (If most faces share one embedding
most pairs are inside it: right, but slow.)

Ties: two distances that agree to 12 digits are equal, and a mate then stands *behind* the others at
its distance. The published evaluation leaves such ties to its sort; this rule does not depend on
the order of the gallery, and gives a network that maps every face to one point the last place
rather than a lucky one.
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
# mates whose distances are counted at a time: with 2,048 gallery vectors a tile of 4 MB, which
# stays in the cache
PAIRS = 512
EXACT = 1024  # pairs of vectors compared in float64 at a time


@dataclass(frozen=True, eq=False)
class Identification:
    """What became of each probe. Every score is a mean over probes, so intervals can be drawn over
    probes or identities.

    ``first_rank``: int64 (P,), the rank of the first mate, from 1. ``average_precision``: float64
    (P,) in [0, 1]. ``mates``: int64 (P,), how many the gallery of ``gallery_size`` vectors held.
    ``ranks``: int64 (M,), the ranks of all mates, probe after probe as ``mates`` counts them, and a
    probe's own from near to far. ``protocol``: the one they were searched by, which says what may
    be asked.
    """

    first_rank: np.ndarray
    average_precision: np.ndarray
    mates: np.ndarray
    ranks: np.ndarray
    gallery_size: int
    max_rank: int
    protocol: Protocol | None = None

    @property
    def n(self) -> int:
        """Number of probes."""
        return len(self.first_rank)

    def rank(self, k: int) -> float:
        """Fraction of probes with at least one mate among the ``k`` nearest of the gallery."""
        if k < 1:
            raise UsageError(f"ranks count from 1, got {k}")
        if self.protocol and k not in self.protocol.ranks:
            raise UsageError(
                f"protocol {self.protocol.name!r} has no rank {k}: it has {', '.join(map(str, self.protocol.ranks))}"
            )
        return float((self.first_rank <= k).mean())

    @property
    def mAP(self) -> float:
        """Mean over probes of the trapezoidal average precision."""
        self._wants_precision("mAP")
        return float(self.average_precision.mean())

    @property
    def cmc(self) -> np.ndarray:
        """Cumulative matching characteristic: float64 (max_rank,), ``cmc[k - 1]`` is the fraction
        of probes found by rank k."""
        return (
            np.cumsum(
                np.bincount(
                    np.minimum(self.first_rank, self.max_rank + 1), minlength=self.max_rank + 2
                )[1:-1]
            )
            / self.n
        )

    def precision_at(self, recall: float) -> np.ndarray:
        """Each probe's precision at the smallest rank that reaches this ``recall``, in (0, 1]:
        float64 (P,)."""
        self._wants_precision("precision")
        if not 0 < recall <= 1:
            raise UsageError(
                f"recall is a fraction of the mates, over 0 and at most 1, got {recall}"
            )
        # a level such as 0.1 * 3 lies a digit over the fraction it means
        found = np.maximum(np.ceil(recall * self.mates - 1e-9).astype(np.int64), 1)
        return found / self.ranks[np.cumsum(self.mates) - self.mates + found - 1]

    def pr(self, levels: Sequence[float]) -> np.ndarray:
        """The precision-recall curve (section 4.2 of the paper): float64 (L,), the mean of
        :meth:`precision_at` each level of recall.

        Nothing is interpolated between a probe's mates: its precision at a level is that of its
        ranking cut at the first mate enough.
        """
        return np.array([self.precision_at(level).mean() for level in levels])

    def _wants_precision(self, what: str) -> None:
        if self.protocol and not self.protocol.mAP:
            raise UsageError(
                f"protocol {self.protocol.name!r} has no {what}: it has rank {', '.join(map(str, self.protocol.ranks))}"
            )


@dataclass(frozen=True)
class Protocol:
    """How a 1:N search is done and what is reported of it: numbers of two protocols do not stand in
    one column.

    ``distance``: of the search. ``ranks``: those reported. ``mAP``: whether it and the
    precision-recall curve are.
    """

    name: str
    distance: Distance
    ranks: tuple[int, ...]
    mAP: bool

    def search(
        self, probe: Tensor | np.ndarray, gallery: Tensor | np.ndarray, probe_ids, gallery_ids
    ) -> Identification:
        """:func:`identification` as the protocol has it; asked for a rank or an mAP that it has
        not, what comes back raises."""
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
"""``tinyface``: the published evaluation, on the pictures as they come. ``aligned``: that of
AdaFace and CVLface, on faces aligned by MTCNN (their set ``aligned_pad_0.1_pad_high``), each vector
the sum of the face's and its mirror image's, weighted by their lengths."""


def protocol(name: str) -> Protocol:
    """One of :data:`PROTOCOLS`; another name raises :class:`UsageError`."""
    if name not in PROTOCOLS:
        close = difflib.get_close_matches(name, PROTOCOLS, 1)
        raise UsageError(
            f"unknown protocol {name!r}: {f'did you mean {close[0]!r}? ' if close else ''}known are {', '.join(PROTOCOLS)}"
        )
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
    """Search every probe (P, D) in the gallery (G, D), mates and distractors together.

    Embeddings are arrays or tensors of any float type; the work is done on the GPU if either is
    there. The gallery may be a memory map (``numpy.load(file, mmap_mode="r")``): ``block`` of its
    vectors are held at a time, and memory does not grow with G but for the ids. ``probe_ids`` (P,),
    ``gallery_ids`` (G,): mates have equal ids; a distractor has an id no probe has (TinyFace:
    -100), or none at all (None, NaN). ``distance="euclidean"`` compares vectors as they come, as
    TinyFace does; ``"cosine"`` only their directions.

    Raises :class:`LrfaceError` if a probe has no mate (the protocol is closed-set), or if a vector
    is not finite or, for cosine, zero.
    """
    if distance not in ("euclidean", "cosine") or min(max_rank, block) < 1:
        raise UsageError(
            f"want distance 'euclidean' or 'cosine', and max_rank and block from 1: {distance!r}, {max_rank}, {block}"
        )
    if probe.ndim != 2 or gallery.ndim != 2 or probe.shape[1] != gallery.shape[1] or not len(probe):
        raise UsageError(
            f"want probes (P, D) and a gallery (G, D), got {tuple(probe.shape)} and {tuple(gallery.shape)}"
        )
    owner, mate, mates = _mates(probe_ids, gallery_ids, len(probe), len(gallery))
    device = next(
        (x.device for x in (gallery, probe) if isinstance(x, Tensor) and x.device.type != "cpu"),
        torch.device("cpu"),
    )
    with whole_float32(device):
        nearer = _count(probe, gallery, owner, mate, distance == "cosine", block, device)
    first = np.cumsum(mates) - mates
    place = (
        np.arange(len(owner)) - first[owner] + 1
    )  # of a mate among its probe's mates, the nearest first
    rank = place + nearer
    # The step of recall at a mate, times the mean of the precision here and one rank earlier (1
    # before the first rank of all).
    before = np.divide(place - 1, rank - 1, out=np.ones(len(rank)), where=rank > 1)
    precision = np.bincount(owner, (before + place / rank) / 2, len(probe)) / mates
    return Identification(rank[first], precision, mates, rank, len(gallery), max_rank)


def _mates(
    probe_ids, gallery_ids, probes: int, vectors: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Every pair of a probe and its mate, by probe: rows of the probes, rows of the gallery; and
    the number of mates of each probe."""
    probe_ids, gallery_ids = (
        np.asarray(x.cpu() if isinstance(x, Tensor) else x).ravel()
        for x in (probe_ids, gallery_ids)
    )
    if (len(probe_ids), len(gallery_ids)) != (probes, vectors):
        raise UsageError(
            f"{len(probe_ids)} ids for {probes} probes and {len(gallery_ids)} for a gallery of {vectors}: want one each"
        )
    known = pd.Index(probe_ids).unique()
    of_probe, of_gallery = (
        np.where(pd.isna(x), -1, known.get_indexer(x)) for x in (probe_ids, gallery_ids)
    )
    order = np.argsort(of_gallery, kind="stable")
    first = np.searchsorted(of_gallery[order], of_probe)
    mates = np.where(
        of_probe < 0, 0, np.searchsorted(of_gallery[order], of_probe, side="right") - first
    )
    if not mates.all():
        count, row = int((mates == 0).sum()), int(np.argmin(mates))
        who = f"the first in row {row}, of {probe_ids[row]}"
        raise LrfaceError(
            f"{count} of {probes} probes have no mate in the gallery, {who}: leave them out, and say so"
        )
    shift = np.repeat(first - (np.cumsum(mates) - mates), mates)
    return np.repeat(np.arange(probes), mates), order[np.arange(len(shift)) + shift], mates


def _count(probe, gallery, owner, mate, cosine: bool, block: int, device) -> np.ndarray:
    """How many vectors of other people are nearer than a mate, or tied with it: int64, by probe and
    there by distance of the mate."""
    probes = _vectors(probe, slice(None), cosine, device, "probe")
    index, chunks = (
        torch.as_tensor(owner, device=device),
        [slice(s, s + EXACT) for s in range(0, len(owner), EXACT)],
    )
    exact = torch.cat(
        [
            (probes[index[c]] - _vectors(gallery, mate[c], cosine, device, "gallery")).norm(dim=1)
            for c in chunks
        ]
    )
    order = np.lexsort(
        (exact.cpu().numpy(), owner)
    )  # owners were in order, and stay where they are
    mate, exact = mate[order], exact[torch.as_tensor(order, device=device)]
    bound = exact * (1 + TIE) + 4e-15 * cosine  # lengths made 1 are so to that digit
    # Distances do not change if all vectors move together; about their centre they are shorter, and
    # float32 decides more of them.
    centre = probes.mean(0)
    rows, length = (probes - centre).float(), (probes - centre).norm(dim=1)
    # |p - g|^2 = |p|^2 + 2 (|g|^2 / 2 - p.g): the bracket alone orders the gallery, and is what a
    # mate's own distance is turned into.
    key = (exact.square() - length[index].square()) / 2
    # What float32 cannot tell: rounding of the key, ties, and numbers too small for it; and with
    # each block its products, below.
    doubt = 2**-22 * key.abs() + (bound.square() - exact.square()) + probes.shape[1] * 1e-37
    key, nearer = key.float()[:, None], torch.zeros_like(index)
    for start in range(0, len(gallery), block):
        vectors = _vectors(gallery, slice(start, start + block), cosine, device, "gallery")
        near = vectors - centre
        far, near = near.norm(dim=1), near.float()
        longest, half = far.max(), far.square().div(2).float()
        # A float32 sum of D products is wrong by at most D roundings (2^-24) of the sum of their
        # sizes, whatever the order of adding; 8 more for the rounding of the inputs and of the
        # results.
        limit = (
            doubt + 2**-24 * (len(centre) + 8) * ((longest / 2 + length) * longest)[index]
        ).float()[:, None]
        here = np.flatnonzero((mate >= start) & (mate < start + block))
        for a in range(0, len(owner), PAIRS):
            c = slice(a, a + PAIRS)
            top, last = owner[c][[0, -1]]
            keys = torch.addmm(half, rows[top : last + 1], near.T, alpha=-1)
            own = here[
                np.searchsorted(owner[here], top) : np.searchsorted(owner[here], last, side="right")
            ]
            keys[owner[own] - top, mate[own] - start] = (
                torch.inf
            )  # mates are ordered among themselves, never counted here
            difference = keys[index[c] - top].sub_(key[c])
            nearer[c] += (difference < -limit[c]).sum(1, dtype=torch.int32)
            i, j = (difference.abs_() <= limit[c]).nonzero(as_tuple=True)
            for pair, column in zip((a + i).split(EXACT), j.split(EXACT), strict=True):
                nearer.index_add_(
                    0,
                    pair,
                    ((probes[index[pair]] - vectors[column]).norm(dim=1) <= bound[pair]).long(),
                )
    return nearer.cpu().numpy()


def _vectors(source, rows, cosine: bool, device, what: str) -> Tensor:
    """The asked rows as float64 (N, D) on the device, of length 1 for cosine."""
    if isinstance(source, Tensor):
        x = (
            source[rows if isinstance(rows, slice) else torch.as_tensor(rows, device=source.device)]
            .detach()
            .to(device, torch.float64)
        )
    else:
        x = torch.from_numpy(np.array(source[rows], np.float64)).to(device)
        _let_go(source)
    length = x.norm(dim=1, keepdim=True)
    if not bool(
        (length < 1e18).all()
    ):  # squares of longer ones leave float32; NaN fails the comparison too
        raise LrfaceError(
            f"a {what} vector holds NaN or infinity, or is longer than 1e18: leave it out, or scale all vectors"
        )
    if cosine and not bool((length > 0).all()):
        raise LrfaceError(
            f"a {what} vector is zero and has no direction, so no cosine: leave it out, or use the Euclidean distance"
        )
    return x / length if cosine else x


def _let_go(source: np.ndarray) -> None:
    """Pages read from a memory map count as this process's memory until they are given back."""
    base = source
    while isinstance(base, np.ndarray):
        base = base.base
    if (
        getattr(source, "mode", None) == "r"
        and isinstance(base, mmap.mmap)
        and hasattr(mmap, "MADV_DONTNEED")
    ):
        base.madvise(mmap.MADV_DONTNEED)
