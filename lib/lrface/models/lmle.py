"""LMLE (Large Margin Local Embedding) for imbalanced classes: sampler, loss and decision rule.

Huang, Li, Loy and Tang, *Learning Deep Representation for Imbalanced Classification*, CVPR 2016, as
the slides of *Deep Learning in Face Analysis* print it. Each class is cut into clusters, and
margins are asked between clusters rather than between classes: a class, however large, meets the
others only where its clusters do, so its size does not move the boundary.

1. :func:`clusters` runs k-means within every class, on the network's current features.
2. :func:`quintuplets` gives every face (the anchor) four others: two of its class and cluster, one
   of its class in another cluster, one of another class. Both are repeated every few thousand
   steps (the slides: 5,000), because the features move.
3. :func:`balanced_batch_indices` draws anchors with every class equally often.
4. :func:`triple_header_hinge` is the loss of a batch of quintuplets.
5. :func:`centroids` and :func:`predict` classify a face by its nearest clusters.

The slides print the five members, the loss and the decision rule. They leave open the margins, the
size of a cluster, the number k of clusters in a neighbourhood, and whether features have length 1.
Nothing is normalised here: distances are between vectors as they are given, and a network whose
embeddings lie on the unit sphere (where a margin has a meaning) normalises them in its last layer.
Other choices are in the docstring of each function.
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
"""Distances whose relative difference is smaller are equal."""
ANCHORS = 256
"""Anchors searched at a time; with TILE rows a tile of 4 MB, which stays in the cache."""
TILE = 4096
"""Rows compared with the anchors at a time."""
CHUNK = 32
"""Rows of one cluster of which only the nearest and the farthest bound is stored; divides TILE."""
EXACT = 4096
"""Pairs of vectors compared in float64 at a time."""


def clusters(features: Tensor | np.ndarray, labels, size: int = 200, seed: int = 0) -> np.ndarray:
    """Cut every class into clusters by k-means on its features.

    The result depends on the arguments alone: k-means runs on one thread, because several threads
    add in any order. It starts from k-means++ and ends after at most 20 iterations; the features
    move further before the next call than more iterations would move the centres.

    Parameters
    ----------
    features : (N, D) array or tensor
        Features of another network at first (the slides: DeepID2), of the network itself later.
    labels : (N,) integers or bool
        The class of each row.
    size : int
        Mean number of members: a class of n rows is cut into ceil(n / size) clusters, or fewer if
        it has fewer different vectors. The slides state no size; 200 is our choice (the caption of
        the paper's figure 3 is quoted with 499 clusters for one attribute of 100,000 faces).
    seed : int
        Seed of k-means++.

    Returns
    -------
    (N,) int64 array
        Clusters numbered from 0 over all classes, in order of class; none is empty.

    Raises
    ------
    LrfaceError
        If a feature is not finite.

    Examples
    --------
    >>> points = np.array([[0.0], [0.1], [5.0], [5.1], [9.0]])
    >>> len(set(clusters(points, [0, 0, 0, 0, 1], size=2).tolist()))
    3
    """
    if size < 1:
        raise UsageError(f"a cluster has at least one member, got size {size}")
    vectors = _vectors(features).cpu()
    vectors = (vectors - vectors.mean(0)).float().numpy()
    labels = _integers(labels, len(vectors))
    cluster, count = np.empty(len(vectors), np.int64), 0
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        parts = np.zeros(len(rows), np.int64)
        if len(rows) > size:
            kmeans = KMeans(-(-len(rows) // size), n_init=1, max_iter=20, random_state=seed)
            with threadpool_limits(1), catch_warnings():
                # fewer different vectors than clusters: the docstring says what happens
                simplefilter("ignore", ConvergenceWarning)
                parts = np.unique(kmeans.fit_predict(vectors[rows]), return_inverse=True)[1]
        cluster[rows] = count + parts
        count += parts.max() + 1
    return cluster


def quintuplets(features: Tensor | np.ndarray, labels, cluster) -> np.ndarray:
    """The four other members of every row's quintuplet, searched among all rows.

    The search is exhaustive and exact. Squared distances are float32 matrix products, of which only
    the smallest and the largest of every 32 rows is stored; whatever lies within their rounding
    error of the best is computed again in float64. Distances that agree to 12 digits are equal, and
    of equals the lowest row is taken. The result therefore depends neither on the size of blocks
    nor on threads or device. Memory grows linearly with N. (If most rows share one vector, all
    pairs lie within the rounding error: the result is right, but as slow as a loop.)

    Parameters
    ----------
    features : (N, D) array or tensor of any float type
        The work is done on the tensor's device.
    labels : (N,) integers or bool
        The class of each row.
    cluster : (N,) integers
        The cluster of each row. A cluster belongs to one class: equal numbers in two classes are
        two clusters.

    Returns
    -------
    (N, 4) int64 array
        Rows of ``features``, for each anchor (an anchor is never a member of its own quintuplet,
        though a duplicate of it may be):

        0. x_p+, the farthest of its cluster;
        1. x_p-, the nearest of its class in another cluster;
        2. x_p--, the farthest of its class, in any cluster. It may be x_p+: the slides do not ask
           for another, and a class of one cluster then still has its margin against the others;
        3. x_n, the nearest of another class.

        -1 where there is none: x_p+ in a cluster of one member, x_p- in a class of one cluster,
        x_p-- in a class of one member, x_n if there is one class only.

    Raises
    ------
    LrfaceError
        If a vector holds NaN or infinity, or is longer than 1e100.

    Examples
    --------
    >>> line = np.array([[0.0], [1.0], [3.0], [7.0], [20.0]])
    >>> quintuplets(line, [0, 0, 0, 0, 1], [0, 0, 1, 2, 3]).tolist()[:2]
    [[1, 2, 3, 4], [0, 2, 3, 4]]
    """
    vectors = _vectors(features)
    labels, cluster = (_integers(x, len(vectors)) for x in (labels, cluster))
    device, (order, starts) = vectors.device, _sorted_by_cluster(labels, cluster)
    sizes = np.diff(np.append(starts, len(order)))
    # Chunks of equal length that no two clusters share; the last chunk of a cluster is filled up
    # with the cluster's last row, which changes no minimum or maximum.
    chunks = -(-sizes // CHUNK)
    cluster_of_chunk = np.repeat(np.arange(len(sizes)), chunks)
    nth = np.arange(len(cluster_of_chunk)) - np.repeat(np.cumsum(chunks) - chunks, chunks)
    last = sizes[cluster_of_chunk][:, None] - 1
    inside = np.minimum(CHUNK * nth[:, None] + np.arange(CHUNK), last)
    places = starts[cluster_of_chunk][:, None] + inside
    cluster_of_place = np.repeat(np.arange(len(sizes)), sizes)
    class_of_cluster = np.unique(labels[order][starts], return_inverse=True)[1]

    with whole_float32(device):
        places, cluster_of_place, cluster_of_chunk, class_of_cluster, order = (
            torch.as_tensor(x, device=device)
            for x in (places, cluster_of_place, cluster_of_chunk, class_of_cluster, order)
        )
        vectors = vectors[order]
        # Moving and scaling all vectors alike leaves the order of distances. Centred, and with the
        # longest of length 1, most of them are decided by float32.
        centred = vectors - vectors.mean(0)
        centred = centred / centred.norm(dim=1).max().clamp_min(1e-300)
        length = centred.norm(dim=1)
        extended = torch.cat([centred, centred.square().sum(1, keepdim=True) / 2], 1).float()
        # |a - x|^2 / 2 = |a|^2 / 2 + (|x|^2 / 2 - a.x), and the bracket alone orders x. A float32
        # sum of D + 1 products is wrong by at most as many roundings (2^-24) of the sum of their
        # magnitudes, in whatever order they are added; 8 more are for the rounding of the inputs
        # and of the limit, and for ties. Twice that, for both of the two that are compared.
        limit = (2**-23 * (extended.shape[1] + 8) * (length + 0.5)).float()
        table = extended[places.flatten()]
        members = torch.empty(len(order), 4, dtype=torch.int64, device=device)
        buffer = torch.empty(TILE * ANCHORS, device=device)
        for start in range(0, len(order), ANCHORS):
            anchors = torch.arange(start, min(start + ANCHORS, len(order)), device=device)
            columns = -extended[anchors].T
            columns[-1] = 1
            nearest, farthest = torch.empty(2, len(cluster_of_chunk), len(anchors), device=device)
            for first in range(0, len(cluster_of_chunk), TILE // CHUNK):
                part = slice(first, first + TILE // CHUNK)
                rows = table[CHUNK * part.start : CHUNK * part.stop]
                out = buffer[: len(rows) * len(anchors)].view(len(rows), -1)
                tile = torch.mm(rows, columns, out=out).view(-1, CHUNK, len(anchors))
                torch.amin(tile, 1, out=nearest[part])
                torch.amax(tile, 1, out=farthest[part])
            farthest.neg_()
            same_cluster = cluster_of_chunk[:, None] == cluster_of_place[anchors]
            class_of_anchor = class_of_cluster[cluster_of_place[anchors]]
            same_class = class_of_cluster[cluster_of_chunk][:, None] == class_of_anchor
            kinds = [
                (farthest, same_cluster),
                (nearest, same_class & ~same_cluster),
                (farthest, same_class),
                (nearest, ~same_class),
            ]
            for kind, (bound, among) in enumerate(kinds):
                bound = bound.where(among, torch.inf)
                members[order[anchors], kind] = _best(
                    vectors, order, anchors, places, bound, limit[anchors], kind in (0, 2)
                )
    return members.cpu().numpy()


def _best(
    vectors: Tensor,
    order: Tensor,
    anchors: Tensor,
    places: Tensor,
    bound: Tensor,
    limit: Tensor,
    farthest: bool,
) -> Tensor:
    """The row nearest to (or farthest from) each anchor, by float64 distances; -1 if there is none.

    Looks only into the chunks whose float32 bound is within the limit of the best.
    """
    best = bound.amin(0)
    candidates = bound <= (best + limit).where(best < torch.inf, -torch.inf)
    chunk, anchor = candidates.nonzero(as_tuple=True)
    distance = torch.empty(len(chunk), CHUNK, dtype=torch.float64, device=bound.device)
    for start in range(0, len(chunk), EXACT // CHUNK):
        part = slice(start, start + EXACT // CHUNK)
        others, own = places[chunk[part]], anchors[anchor[part], None]
        square = (vectors[others] - vectors[own]).square().sum(2)
        signed = -square if farthest else square
        distance[start : start + len(others)] = signed.masked_fill(others == own, torch.inf)
    best = torch.full_like(limit, torch.inf, dtype=torch.float64).scatter_reduce(
        0, anchor, distance.amin(1), "amin"
    )
    tied = (distance <= (best + TIE * best.abs())[anchor, None]) & (distance < torch.inf)
    row = order[places[chunk]].where(tied, len(order)).amin(1)
    row = torch.full_like(anchors, len(order)).scatter_reduce(0, anchor, row, "amin")
    return row.where(row < len(order), -1)


def triple_header_hinge(
    embeddings: Tensor, present: Tensor, margins: tuple[float, float, float] = (0.2, 0.2, 0.2)
) -> Tensor:
    """The triple-header hinge loss: three margins between the four distances of a quintuplet.

    Per anchor ``max(0, g1 + D(p+) - D(p-)) + max(0, g2 + D(p-) - D(p--)) + max(0, g3 + D(p--) -
    D(n))``, where D is the squared Euclidean distance to the anchor. A term that needs a missing
    member is left out. The slides' ``lambda |W|^2`` is the optimiser's weight decay.

    Parameters
    ----------
    embeddings : (B, 5, D) float tensor
        The network's output for B anchors and, in the order of :func:`quintuplets`, their members;
        any finite vector for a missing one.
    present : (B, 4) bool tensor
        Whether there is such a member.
    margins : three floats
        g1, g2, g3. No source states them; 0.2 is FaceNet's, between vectors of length 1.

    Returns
    -------
    scalar tensor
        The mean over anchors. The slides print the sum; with the mean a learning rate does not
        depend on B.

    Raises
    ------
    UsageError
        For other shapes.

    Examples
    --------
    >>> embeddings = torch.tensor([[[0.0], [1.0], [2.0], [3.0], [4.0]]])  # D: 1, 4, 9, 16
    >>> triple_header_hinge(embeddings, torch.ones(1, 4, dtype=torch.bool), (4, 5, 9)).item()
    3.0
    """
    if embeddings.ndim != 3 or embeddings.shape[1] != 5 or present.shape != (len(embeddings), 4):
        raise UsageError(
            "want embeddings (B, 5, D) and present (B, 4), "
            f"got {tuple(embeddings.shape)} and {tuple(present.shape)}"
        )
    present = present.to(embeddings.device)
    distance = (embeddings[:, :1] - embeddings[:, 1:]).square().sum(2)
    terms = (distance.new_tensor(margins) + distance[:, :-1] - distance[:, 1:]).clamp_min(0)
    return terms.where(present[:, :-1] & present[:, 1:], 0).sum(1).mean()


@lru_cache(maxsize=64)  # a permutation of a large class is needed throughout its epoch
def _order(n: int, seed: int, key: int) -> np.ndarray:
    return np.random.Generator(np.random.Philox(key=[seed, (1 << 61) + key])).permutation(n)


def balanced_batch_indices(labels, batch: int, step: int, seed: int) -> np.ndarray:
    """The rows of one batch in which every class is equally often: LMLE's sampler of anchors.

    The classes take turns from batch to batch, so that none is ever ahead by more than one row.
    Each class gives its rows in a new permutation whenever it has given them all. This is the
    paper's re-sampling of its batches.

    Parameters
    ----------
    labels : (N,) integers or bool
        The class of each row.
    batch : int
        Rows in a batch, at least 1.
    step : int
        The number of the batch, from 0.
    seed : int
        Seed of the permutations.

    Returns
    -------
    (batch,) int64 array
        Rows; they depend on the arguments alone, not on the batches drawn before.

    Raises
    ------
    UsageError
        For a batch below 1 or a step below 0.

    Examples
    --------
    >>> labels = np.array([0, 0, 0, 0, 0, 0, 1, 1])
    >>> np.bincount(labels[balanced_batch_indices(labels, 6, step=3, seed=0)]).tolist()
    [3, 3]
    """
    labels = _integers(labels)
    if batch < 1 or step < 0:
        raise UsageError(
            "a batch has at least one row and steps count from 0, "
            f"got batch {batch} and step {step}"
        )
    classes, rows = np.unique(labels), np.empty(batch, np.int64)
    turn, which = np.divmod(np.arange(step * batch, (step + 1) * batch), len(classes))
    for c, label in enumerate(classes):
        members = np.flatnonzero(labels == label)
        epoch, place = np.divmod(turn[which == c], len(members))
        taken = np.empty(len(place), np.int64)
        for e in np.unique(epoch):
            order = _order(len(members), seed, int(e) * len(classes) + c)
            taken[epoch == e] = members[order[place[epoch == e]]]
        rows[which == c] = taken
    return rows


def centroids(features: Tensor | np.ndarray, labels, cluster) -> tuple[np.ndarray, np.ndarray]:
    """The mean of every cluster and its class: what :func:`predict` searches.

    Parameters
    ----------
    features, labels, cluster
        As of :func:`quintuplets`.

    Returns
    -------
    means : (K, D) float64 array
        In order of class and cluster.
    classes : (K,) int64 array
        The class of each.

    Raises
    ------
    LrfaceError
        As of :func:`quintuplets`.

    Examples
    --------
    >>> means, classes = centroids(np.array([[0.0], [2.0], [5.0]]), [0, 0, 1], [0, 0, 1])
    >>> means.tolist(), classes.tolist()
    ([[1.0], [5.0]], [0, 1])
    """
    vectors = _vectors(features).cpu().numpy()
    labels, cluster = (_integers(x, len(vectors)) for x in (labels, cluster))
    order, starts = _sorted_by_cluster(labels, cluster)
    sizes = np.diff(np.append(starts, len(order)))
    means = np.add.reduceat(vectors[order], starts) / sizes[:, None]
    return means, labels[order][starts]


def predict(queries: Tensor | np.ndarray, means: np.ndarray, classes, k: int = 20) -> np.ndarray:
    """Classify each query by the nearest clusters, with a large local margin.

    The class is the argmax over c of (min of D(q, m_j) over m_j in phi(q) of other classes) - (max
    of D(q, m_i) over m_i in phi(q) of class c): phi(q) are the k clusters nearest to q, D is the
    squared Euclidean distance. The slides do not say what a class is worth that is not in phi(q):
    here it is never chosen, and if phi(q) holds one class only, that is the answer. Of equal
    distances the first cluster counts, of equal margins the lowest class.

    The nearest clusters are found by float64 matrix products, and those within the rounding error
    of the k-th by the differences themselves, so that an answer does not depend on which other
    queries are asked with it.

    Parameters
    ----------
    queries : (Q, D) array or tensor
    means, classes : (K, D) and (K,) arrays
        From :func:`centroids`.
    k : int
        Clusters in the neighbourhood phi(q), at least 1; all if there are fewer. The slides do not
        state it; 20 is our choice.

    Returns
    -------
    (Q,) int64 array
        The class of each query.

    Raises
    ------
    UsageError
        For a k below 1, or queries and means of different dimension.
    LrfaceError
        If a vector holds NaN or infinity, or is longer than 1e100.

    Examples
    --------
    >>> predict(np.array([[0.5], [4.0]]), np.array([[1.0], [5.0]]), [0, 1], k=2).tolist()
    [0, 1]
    """
    queries, means = (_vectors(x).cpu().numpy() for x in (queries, means))
    classes = _integers(classes, len(means))
    if k < 1:
        raise UsageError(f"a neighbourhood holds at least one cluster, got k {k}")
    if queries.shape[1] != means.shape[1]:
        raise UsageError(
            f"queries have {queries.shape[1]} numbers and clusters {means.shape[1]}: "
            "take both from one network"
        )
    names, k, centre = np.unique(classes), min(k, len(means)), means.mean(0)
    centred, answer = means - centre, np.empty(len(queries), np.int64)
    half, longest = np.square(centred).sum(1) / 2, np.linalg.norm(centred, axis=1).max()
    for start in range(0, len(queries), ANCHORS):
        part = queries[start : start + ANCHORS]
        shifted = part - centre
        # orders the clusters as in quintuplets, with the same bound on the rounding error
        keys = half - shifted @ centred.T
        lengths = np.linalg.norm(shifted, axis=1)
        limit = 2**-52 * (len(centre) + 9) * (lengths + longest / 2) * longest
        kth = np.partition(keys, k - 1, 1)[:, k - 1]
        query, mean = np.nonzero(keys <= (kth + limit)[:, None])
        pieces = [slice(s, s + EXACT) for s in range(0, len(query), EXACT)]
        distance = np.concatenate(
            [np.square(part[query[p]] - means[mean[p]]).sum(1) for p in pieces]
        )
        order = np.lexsort((mean, distance, query))
        # query is sorted, and lexsort left it so: the first k of every query
        order = order[np.arange(len(order)) - np.searchsorted(query, query) < k]
        distance, label = distance[order].reshape(-1, k), classes[mean[order]].reshape(-1, k)
        margin = np.full((len(part), len(names)), -np.inf)
        for c, name in enumerate(names):
            nearest_other = np.where(label == name, np.inf, distance).min(1)
            farthest_own = np.where(label == name, distance, -np.inf).max(1)
            present = (label == name).any(1)
            margin[:, c] = np.where(present, nearest_other - farthest_own, -np.inf)
        answer[start : start + ANCHORS] = names[margin.argmax(1)]
    return answer


def _vectors(features: Tensor | np.ndarray) -> Tensor:
    """The features as a float64 tensor (N, D), on their device."""
    x = (
        features.detach().double()
        if isinstance(features, Tensor)
        else torch.from_numpy(np.array(features, np.float64))
    )
    if x.ndim != 2 or not x.numel():
        raise UsageError(
            f"want features (N, D), one row a face and at least one, got shape {tuple(x.shape)}"
        )
    # squares of longer vectors may overflow float64; NaN fails the comparison too
    if not bool((x.norm(dim=1) < 1e100).all()):
        raise LrfaceError(
            "a feature vector holds NaN or infinity, or is longer than 1e100: "
            "leave it out, or scale all vectors"
        )
    return x


def _integers(values, rows: int | None = None) -> np.ndarray:
    """Labels or clusters as int64 (N,), one for each of ``rows`` rows."""
    x = np.asarray(values.cpu() if isinstance(values, Tensor) else values)
    if x.dtype.kind not in "iub" or x.ndim != 1 or not len(x) or len(x) != (rows or len(x)):
        raise UsageError(
            f"want an integer or bool for each of {rows or 'at least one'} rows, "
            f"got {x.dtype} of shape {x.shape}"
        )
    return x.astype(np.int64)


def _sorted_by_cluster(labels: np.ndarray, cluster: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The rows by class, then cluster, then number; and where each cluster begins among them."""
    order = np.lexsort((cluster, labels))
    new = (np.diff(labels[order]) != 0) | (np.diff(cluster[order]) != 0)
    return order, np.flatnonzero(np.append(True, new))
