"""Large Margin Local Embedding (LMLE): clusters within each class, quintuplets over them, and a
nearest-cluster decision.

Huang, Li, Loy and Tang, *Learning Deep Representation for Imbalanced Classification*, CVPR 2016, as
the slides of *Deep Learning in Face Analysis* print it. A class, however large, meets the others
only where its clusters do, so that its size does not move the boundary. Every few thousand steps of
training a refresh makes :func:`clusters` and :func:`quintuplets` anew from the network's own
features.

The slides print the five members, the loss and the decision rule. They leave open the margins, the
size of a cluster, k, and whether features have length 1. Nothing is normalised here: distances are
between vectors as they come, and a network whose embedding has length 1 (the sphere on which
margins have a meaning) says so in its last layer. What else is chosen stands beside each function.
"""

from __future__ import annotations

from functools import lru_cache
from warnings import catch_warnings, simplefilter

import numpy as np
import torch
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import threadpool_limits
from torch import Tensor

from lrface.errors import LrfaceError, UsageError
from lrface.numerics import whole_float32

TIE = 1e-12
ANCHORS = (
    256  # anchors searched for at a time: with 4,096 rows a tile of 4 MB, which stays in the cache
)
TILE = 4096
CHUNK = 32  # rows of one cluster of which only the extremes are kept; divides TILE
EXACT = 4096  # pairs of vectors compared in float64 at a time


def clusters(features: Tensor | np.ndarray, labels, size: int = 200, seed: int = 0) -> np.ndarray:
    """Cut every class into clusters by k-means on its features.

    Parameters
    ----------
    features : (N, D): of another network at first (the slides: DeepID2), of the trained network
    itself later. labels : (N,), the class of each row: integers or bool. size : mean number of
    members. A class of n rows is cut into ceil(n / size) clusters, fewer if it has fewer different
    vectors. The
        slides state no size; 200 is chosen (as others quote the caption of its figure 3, the paper
        had 499 clusters for one attribute; it trained on 100,000 faces).

    Returns int64 (N,): clusters numbered from 0 over all classes, in order of class, none empty.
    The result depends on the arguments alone: k-means runs on one thread, because the sums of
    several arrive in any order. It starts from k-means++ and ends after 20 rounds at most, since
    the features change before the next refresh by more than further rounds would.

    Raises :class:`LrfaceError` if a feature is not finite.
    """
    if size < 1:
        raise UsageError(f"a cluster has at least one member, got size {size}")
    vectors = _vectors(features).cpu()
    vectors = (vectors - vectors.mean(0)).float().numpy()
    labels, found, count = _integers(labels, len(vectors)), np.empty(len(vectors), np.int64), 0
    for name in np.unique(labels):
        rows = np.flatnonzero(labels == name)
        parts = np.zeros(len(rows), np.int64)
        if len(rows) > size:
            means = KMeans(-(-len(rows) // size), n_init=1, max_iter=20, random_state=seed)
            with threadpool_limits(1), catch_warnings():
                simplefilter(
                    "ignore", ConvergenceWarning
                )  # fewer different vectors than clusters: said above
                parts = np.unique(means.fit_predict(vectors[rows]), return_inverse=True)[1]
        found[rows] = count + parts
        count += parts.max() + 1
    return found


def quintuplets(features: Tensor | np.ndarray, labels, cluster) -> np.ndarray:
    """The other four members of the quintuplet of every row, among all rows.

    Parameters
    ----------
    features : (N, D), array or tensor of any float type; the work is done where the tensor lies.
    labels, cluster : integers (N,), the class of each row and its cluster; a cluster belongs to one
    class, so that equal numbers in
        two classes are two clusters.

    Returns int64 (N, 4), rows of ``features``, for the anchor of each row:

    0. x_p+, the farthest of its cluster;
    1. x_p-, the nearest of its class in another cluster;
    2. x_p--, the farthest of its class, in whatever cluster (so it may be x_p+; the slides do not
      ask for another, and one class of one
       cluster then still has its margin against the others);
    3. x_n, the nearest of another class.

    -1 where there is none: x_p+ for a cluster of one member, x_p- for a class of one cluster, x_p--
    for a class of one member, x_n for a single class. An anchor is never its own member, though a
    duplicate of it may be.

    The search is over everything, not a random part, and exact: distances are float32 matrix
    products, of which only the extremes of every 32 rows are kept; whatever lies within their
    rounding of the best is compared again in float64. Distances that agree to 12 digits are equal,
    and of equals the lowest row is taken. So the result depends on neither blocks, threads nor
    device. Memory grows with N alone. (If most rows share one embedding every pair is within the
    rounding: right, but as slow as a loop.)

    Raises :class:`LrfaceError` if a vector holds NaN or infinity, or is longer than 1e100.
    """
    vectors = _vectors(features)
    labels, cluster = (_integers(x, len(vectors)) for x in (labels, cluster))
    device, (order, starts) = vectors.device, _sorted(labels, cluster)
    sizes = np.diff(np.append(starts, len(order)))
    # Chunks of equal length that no two clusters share; a cluster's last one is filled up with its
    # last row, which changes no extreme.
    chunks = -(-sizes // CHUNK)
    group = np.repeat(np.arange(len(sizes)), chunks)
    nth = np.arange(len(group)) - np.repeat(np.cumsum(chunks) - chunks, chunks)
    inside = np.minimum(CHUNK * nth[:, None] + np.arange(CHUNK), sizes[group][:, None] - 1)
    columns, of_row = starts[group][:, None] + inside, np.repeat(np.arange(len(sizes)), sizes)
    classes = np.unique(labels[order][starts], return_inverse=True)[1]

    with whole_float32(device):
        columns, of_row, group, classes, order = (
            torch.as_tensor(x, device=device) for x in (columns, of_row, group, classes, order)
        )
        vectors = vectors[order]
        # Neither moving all vectors together nor scaling them changes the order of distances; about
        # their centre, the longest of length 1, float32 decides most of them.
        near = vectors - vectors.mean(0)
        near = near / near.norm(dim=1).max().clamp_min(1e-300)
        length, near = (
            near.norm(dim=1),
            torch.cat([near, near.square().sum(1, keepdim=True) / 2], 1).float(),
        )
        # |a - x|^2 / 2 = |a|^2 / 2 + (|x|^2 / 2 - a.x), and the bracket alone orders x. A float32
        # sum of D + 1 products is wrong by at most so many roundings (2^-24) of the sum of their
        # sizes, whatever the order of adding; 8 more are for the rounding of the inputs and of the
        # limit, and for ties. Twice, for both that are compared.
        limit = (2**-23 * (near.shape[1] + 8) * (length + 0.5)).float()
        table, found = (
            near[columns.flatten()],
            torch.empty(len(order), 4, dtype=torch.int64, device=device),
        )
        room = torch.empty(TILE * ANCHORS, device=device)
        for start in range(0, len(order), ANCHORS):
            anchors = torch.arange(start, min(start + ANCHORS, len(order)), device=device)
            rows = -near[anchors].T
            rows[-1] = 1
            low, far = torch.empty(2, len(group), len(anchors), device=device)
            for first in range(0, len(group), TILE // CHUNK):
                part = slice(first, first + TILE // CHUNK)
                some = table[CHUNK * part.start : CHUNK * part.stop]
                tile = torch.mm(
                    some, rows, out=room[: len(some) * len(anchors)].view(len(some), -1)
                ).view(-1, CHUNK, len(anchors))
                torch.amin(tile, 1, out=low[part])
                torch.amax(tile, 1, out=far[part])
            far.neg_()
            own = group[:, None] == of_row[anchors]
            same = classes[group][:, None] == classes[of_row[anchors]]
            for member, (bound, among) in enumerate(
                [(far, own), (low, same & ~own), (far, same), (low, ~same)]
            ):
                bound = bound.where(among, torch.inf)
                found[order[anchors], member] = _best(
                    vectors, order, anchors, columns, bound, limit[anchors], bool(member in (0, 2))
                )
    return found.cpu().numpy()


def _best(
    vectors: Tensor,
    order: Tensor,
    anchors: Tensor,
    columns: Tensor,
    bound: Tensor,
    limit: Tensor,
    farthest: bool,
) -> Tensor:
    """The row nearest to (farthest from) each anchor in the chunks whose float32 bound is within
    the limit of the best; -1: none."""
    best = bound.amin(0)
    chunk, anchor = (bound <= (best + limit).where(best < torch.inf, -torch.inf)).nonzero(
        as_tuple=True
    )
    distance = torch.empty(len(chunk), CHUNK, dtype=torch.float64, device=bound.device)
    for start in range(0, len(chunk), EXACT // CHUNK):
        c, a = (
            columns[chunk[start : start + EXACT // CHUNK]],
            anchors[anchor[start : start + EXACT // CHUNK], None],
        )
        square = (vectors[c] - vectors[a]).square().sum(2)
        distance[start : start + len(c)] = (-square if farthest else square).masked_fill(
            c == a, torch.inf
        )
    best = torch.full_like(limit, torch.inf, dtype=torch.float64).scatter_reduce(
        0, anchor, distance.amin(1), "amin"
    )
    tied = (distance <= (best + TIE * best.abs())[anchor, None]) & (distance < torch.inf)
    row = order[columns[chunk]].where(tied, len(order)).amin(1)
    row = torch.full_like(anchors, len(order)).scatter_reduce(0, anchor, row, "amin")
    return row.where(row < len(order), -1)


def triple_header_hinge(
    embeddings: Tensor, present: Tensor, margins: tuple[float, float, float] = (0.2, 0.2, 0.2)
) -> Tensor:
    """The triple-header hinge loss: three margins between the four distances of a quintuplet.

    Parameters
    ----------
    embeddings : float (B, 5, D): the network's output for B anchors and, in the order of
    :func:`quintuplets`, their members; any finite
        vector where there is none.
    present : bool (B, 4), whether there is such a member. margins : g1, g2, g3. No source states
    them; 0.2 is FaceNet's for the same distance between vectors of length 1.

    Per anchor max(0, g1 + D(p+) - D(p-)) + max(0, g2 + D(p-) - D(p--)) + max(0, g3 + D(p--) -
    D(n)), D the squared Euclidean distance to the anchor; a term that wants a missing member is
    left out. Returns the mean over anchors, a scalar (the slides print the sum; with the mean a
    learning rate does not depend on B). The slides' lambda |W|^2 is the optimiser's weight decay.
    """
    if embeddings.ndim != 3 or embeddings.shape[1] != 5 or present.shape != (len(embeddings), 4):
        raise UsageError(
            f"want embeddings (B, 5, D) and present (B, 4), got {tuple(embeddings.shape)} and {tuple(present.shape)}"
        )
    distance = (embeddings[:, :1] - embeddings[:, 1:]).square().sum(2)
    terms = (distance.new_tensor(margins) + distance[:, :-1] - distance[:, 1:]).clamp_min(0)
    return terms.where(present[:, :-1] & present[:, 1:], 0).sum(1).mean()


@lru_cache(maxsize=64)  # a permutation of a large class is worth keeping for its epoch
def _order(n: int, seed: int, key: int) -> np.ndarray:
    return np.random.Generator(np.random.Philox(key=[seed, (1 << 61) + key])).permutation(n)


def balanced(labels, batch: int, step: int, seed: int) -> np.ndarray:
    """The rows of batch ``step``, every class equally often: int64 (batch,), the same for the same
    arguments, whatever has run before.

    ``labels`` (N,), integers or bool. The classes take turns from batch to batch, so that none is
    ever ahead by more than one row; each gives its rows in a new permutation whenever it has given
    them all. Equal numbers are the paper's re-sampling of its batches.
    """
    labels = _integers(labels)
    if batch < 1 or step < 0:
        raise UsageError(
            f"a batch has at least one row and steps count from 0, got batch {batch} and step {step}"
        )
    classes, rows = np.unique(labels), np.empty(batch, np.int64)
    turn, which = np.divmod(np.arange(step * batch, (step + 1) * batch), len(classes))
    for c, name in enumerate(classes):
        mine = np.flatnonzero(labels == name)
        epoch, place = np.divmod(turn[which == c], len(mine))
        taken = np.empty(len(place), np.int64)
        for e in np.unique(epoch):
            taken[epoch == e] = mine[
                _order(len(mine), seed, int(e) * len(classes) + c)[place[epoch == e]]
            ]
        rows[which == c] = taken
    return rows


def centroids(features: Tensor | np.ndarray, labels, cluster) -> tuple[np.ndarray, np.ndarray]:
    """The mean of every cluster, float64 (K, D), and its class (K,), in order of class and cluster:
    what :func:`predict` searches.

    Features (N, D), labels and clusters (N,) are those of :func:`quintuplets`, and so are the
    errors.
    """
    vectors = _vectors(features).cpu().numpy()
    labels, cluster = (_integers(x, len(vectors)) for x in (labels, cluster))
    order, starts = _sorted(labels, cluster)
    return np.add.reduceat(vectors[order], starts) / np.diff(np.append(starts, len(order)))[
        :, None
    ], labels[order][starts]


def predict(queries: Tensor | np.ndarray, means: np.ndarray, classes, k: int = 20) -> np.ndarray:
    """Class each query by the nearest clusters, with a large margin: int64 (Q,).

    Parameters
    ----------
    queries : (Q, D), array or tensor. means, classes : (K, D) and (K,), from :func:`centroids`. k :
    clusters in the neighbourhood phi(q), all if there are fewer. The slides do not state it; 20 is
    chosen.

    The class is the argmax over c of (min of D(q, m_j) over m_j in phi(q) of other classes) - (max
    of D(q, m_i) over m_i in phi(q) of class c), D the squared Euclidean distance. The slides do not
    say what a class is worth that is not in phi(q): here it is never chosen, and if phi(q) holds
    one class alone that is it. Equal distances: the first cluster; equal margins: the lowest class.

    The clusters are found in float64 matrix products, and those within their rounding of the k-th
    by their differences, so that the result does not depend on what else is asked.
    """
    queries, means = (_vectors(x).cpu().numpy() for x in (queries, means))
    classes = _integers(classes, len(means))
    if k < 1:
        raise UsageError(f"a neighbourhood holds at least one cluster, got k {k}")
    if queries.shape[1] != means.shape[1]:
        raise UsageError(
            f"queries have {queries.shape[1]} numbers and clusters {means.shape[1]}: take both from one network"
        )
    names, k, centre = np.unique(classes), min(k, len(means)), means.mean(0)
    near, found = means - centre, np.empty(len(queries), np.int64)
    half, longest = np.square(near).sum(1) / 2, np.linalg.norm(near, axis=1).max()
    for start in range(0, len(queries), ANCHORS):
        asked = queries[start : start + ANCHORS]
        shifted = asked - centre
        keys = (
            half - shifted @ near.T
        )  # orders the clusters as in quintuplets, and is bounded likewise
        limit = (
            2**-52 * (len(centre) + 9) * (np.linalg.norm(shifted, axis=1) + longest / 2) * longest
        )
        query, mean = np.nonzero(keys <= (np.partition(keys, k - 1, 1)[:, k - 1] + limit)[:, None])
        parts = [slice(s, s + EXACT) for s in range(0, len(query), EXACT)]
        distance = np.concatenate(
            [np.square(asked[query[p]] - means[mean[p]]).sum(1) for p in parts]
        )
        order = np.lexsort((mean, distance, query))
        order = order[
            np.arange(len(order)) - np.searchsorted(query, query) < k
        ]  # lexsort left the queries in order
        distance, of = distance[order].reshape(-1, k), classes[mean[order]].reshape(-1, k)
        margin = np.full((len(asked), len(names)), -np.inf)
        for c, name in enumerate(names):
            other, own = (
                np.where(of == name, np.inf, distance).min(1),
                np.where(of == name, distance, -np.inf).max(1),
            )
            margin[:, c] = np.where((of == name).any(1), other - own, -np.inf)
        found[start : start + ANCHORS] = names[margin.argmax(1)]
    return found


def _vectors(features: Tensor | np.ndarray) -> Tensor:
    """The features as float64 (N, D), where they lie."""
    x = (
        features.detach().double()
        if isinstance(features, Tensor)
        else torch.from_numpy(np.array(features, np.float64))
    )
    if x.ndim != 2 or not x.numel():
        raise UsageError(
            f"want features (N, D), one row a face and at least one, got shape {tuple(x.shape)}"
        )
    if not bool(
        (x.norm(dim=1) < 1e100).all()
    ):  # squares of longer ones may leave float64; NaN fails the comparison too
        raise LrfaceError(
            "a feature vector holds NaN or infinity, or is longer than 1e100: leave it out, or scale all vectors"
        )
    return x


def _integers(values, rows: int | None = None) -> np.ndarray:
    """Labels or clusters as int64 (N,), one for each of so many rows."""
    x = np.asarray(values.cpu() if isinstance(values, Tensor) else values)
    if x.dtype.kind not in "iub" or x.ndim != 1 or not len(x) or len(x) != (rows or len(x)):
        raise UsageError(
            f"want an integer or bool for each of {rows or 'at least one'} rows, got {x.dtype} of shape {x.shape}"
        )
    return x.astype(np.int64)


def _sorted(labels: np.ndarray, cluster: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The rows by class, then cluster, then number; and where each cluster begins among them."""
    order = np.lexsort((cluster, labels))
    new = (np.diff(labels[order]) != 0) | (np.diff(cluster[order]) != 0)
    return order, np.flatnonzero(np.append(True, new))
