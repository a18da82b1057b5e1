"""Verification: does a pair of faces show one person? LFW's ten-fold accuracy, the ROC curve, and a
test for two systems.

Protocol: Huang et al., *Labeled Faces in the Wild* (2007), its ten-fold estimate with one threshold
per fold, chosen without that fold.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.linalg import eigh
from scipy.stats import binomtest, t
from torch import Tensor

from lrface.errors import LrfaceError, UsageError
from lrface.metrics import intervals
from lrface.metrics.identity import similarity
from lrface.metrics.intervals import Estimate


@dataclass(frozen=True, eq=False)
class Verification:
    """The outcome of verifying ``n`` pairs.

    Accuracies, rates and ``auc`` are in [0, 1]; thresholds are in the unit of the scores.
    """

    fold_accuracies: np.ndarray
    """float64 (folds,), in the order of the fold labels."""
    thresholds: np.ndarray
    """float64 (folds,)"""
    correct: np.ndarray
    """bool (n,): whether each pair is classified correctly at its fold's threshold; for
    :func:`mcnemar`."""
    roc: pd.DataFrame
    """Columns ``fpr, tpr, threshold`` over all pairs: a row per distinct score from strict to lax,
    after a first row that accepts nothing (infinite threshold). Nothing is interpolated."""
    resolution: float
    """1 / number of different pairs: the smallest FPR above 0 that these pairs can show."""
    scores: np.ndarray
    """(n,), with the sign that makes higher mean the same person."""
    same: np.ndarray
    """bool (n,)"""
    fold: np.ndarray
    """The number of each pair's fold, from 0."""

    @property
    def n(self) -> int:
        """Number of pairs."""
        return len(self.correct)

    @property
    def accuracy(self) -> float:
        """Mean of the folds' accuracies."""
        return float(self.fold_accuracies.mean())

    @property
    def stderr(self) -> float:
        """Standard error of ``accuracy`` as LFW defines it: the folds' sample standard deviation
        (ddof 1) over the square root of their number."""
        return float(self.fold_accuracies.std(ddof=1) / np.sqrt(len(self.fold_accuracies)))

    @property
    def estimate(self) -> Estimate:
        """``accuracy`` with its 95 % interval over folds (Student's t), and the number of pairs."""
        return _over_folds(self.fold_accuracies, self.n)

    @property
    def auc(self) -> float:
        """Area under ``roc``: how often a same pair scores above a different one (ties: half)."""
        return float(np.trapezoid(self.roc["tpr"], self.roc["fpr"]))

    def tpr_at(self, fpr: float) -> float:
        """The TPR at the laxest point of ``roc`` whose FPR is not above ``fpr``.

        Attained, never interpolated: implementations that interpolate, or accept the first point
        above ``fpr``, give more. Below ``resolution`` that point allows no false accept at all, so
        the value is the TPR at FPR 0 for every smaller ``fpr`` (LFW's 3,000 different pairs
        distinguish 1e-3 from 0, but not 1e-4). Report ``resolution`` with such a number.

        Raises
        ------
        UsageError
            ``fpr`` is outside [0, 1].
        """
        if not 0 <= fpr <= 1:
            raise UsageError(f"a false positive rate lies in [0, 1], got {fpr}")
        last = np.searchsorted(self.roc["fpr"], fpr, side="right") - 1
        return float(self.roc["tpr"].to_numpy()[last])

    def tpr_estimate(self, fpr: float, resamples: int = 1000, seed: int = 0) -> Estimate:
        """``tpr_at(fpr)`` with its 95 % bootstrap interval over folds, and the number of pairs.

        Folds are resampled with all their pairs, and the few different pairs that set the threshold
        with them, so the interval is wide where ``fpr`` is near ``resolution``.
        """
        order = np.argsort(-self.scores, kind="stable")
        last = np.append(np.flatnonzero(np.diff(self.scores[order])), self.n - 1)
        same, fold = self.same[order], self.fold[order]
        draws = [self.tpr_at(fpr)]
        for times in intervals.counts(len(self.fold_accuracies), resamples, seed)[1:]:
            weight = times[fold]
            false, true = np.cumsum(weight * ~same), np.cumsum(weight * same)
            allowed = np.searchsorted(false[last] / false[-1], fpr, side="right")
            draws.append(true[last[allowed - 1]] / true[-1] if allowed else 0.0)
        return intervals.estimate(np.array(draws), self.n)


def verification(
    scores: Tensor | np.ndarray, same, folds=10, higher_is_same: bool = True
) -> Verification:
    """Classify pairs of faces by one score each.

    A pair is accepted as one person if its score reaches the threshold (at least it; for distances,
    at most). The threshold of a fold is the one that classifies most pairs of the other folds
    correctly. Of several such the strictest is taken: it is always one of their scores, or infinite
    to accept none, so results do not change if the scores pass through an increasing function.

    Parameters
    ----------
    scores : (n,), or (folds, n) for scores that were fitted to the pairs themselves
        Finite. Similarities, or distances with ``higher_is_same=False``. Row k of a (folds, n)
        array (:func:`cosine_after_pca`) has the scores of all pairs as fitted without fold k: the
        pairs of fold k are classified by that row, and enter the ROC curve with it.
    same : bool or 0/1 (n,)
        Whether the pair shows one person.
    folds : int or integers (n,)
        The number of folds, into which the pairs are split in their order (LFW's pairs.txt: 10
        folds of 300 same and 300 different pairs); or the label of each pair's fold.
    higher_is_same : bool
        Whether higher scores mean the same person.

    Returns
    -------
    Verification

    Raises
    ------
    UsageError
        Lengths that differ, or fewer than two folds.
    LrfaceError
        Scores that are not finite, or a fold without both kinds of pairs.

    Source
    ------
    LFW (Huang et al. 2007), image-restricted training, view 2.

    Examples
    --------
    >>> found = verification([0.9, 0.2, 0.8, 0.3], [1, 0, 1, 0], folds=2)
    >>> found.accuracy  # 0.8 is below 0.9, the threshold that the other fold gives
    0.75
    >>> found.tpr_at(0.0), found.auc, found.resolution
    (1.0, 1.0, 0.5)
    """
    scores, same, folds = (
        np.asarray(x.detach().cpu() if isinstance(x, Tensor) else x) for x in (scores, same, folds)
    )
    of_pairs = scores.shape[-1:]
    fitting = same.shape == of_pairs and folds.shape in ((), of_pairs)
    if scores.ndim not in (1, 2) or not fitting:
        raise UsageError(
            f"want a score and a truth for each pair, got shapes {scores.shape}, {same.shape} "
            f"and folds {folds.shape}"
        )
    if not np.isin(same, (0, 1)).all() or folds.dtype.kind not in "iu":
        raise UsageError("want same as bool or 0/1, and folds as a number or as integer labels")
    if bad := int((~np.isfinite(scores)).sum()):
        raise LrfaceError(
            f"{bad} of {scores.size} scores are not finite: give a pair without a face the worst "
            "score, or leave it out"
        )
    if not folds.ndim:
        if not 2 <= folds <= len(same):
            raise UsageError(
                f"{len(same)} pairs cannot be split into {folds} folds: want at least 2 folds, and "
                "a pair in each"
            )
        folds = np.repeat(np.arange(folds), [len(part) for part in np.array_split(same, folds)])
    sign = 1 if higher_is_same else -1
    scores, same = sign * scores.astype(np.float64), same.astype(bool)
    labels = np.unique(folds)
    for label in labels:
        if same[folds == label].all() or not same[folds == label].any():
            kind = "same" if same[folds == label].any() else "different"
            raise LrfaceError(
                f"fold {label} holds only {kind} pairs: give each pair its fold's label, so that "
                "every fold has both kinds"
            )
    if len(labels) < 2:
        raise UsageError("every pair is in one fold: a threshold needs other folds to be chosen on")

    fold = np.searchsorted(labels, folds)
    if scores.ndim == 2 and len(scores) != len(labels):
        raise UsageError(f"want a row of scores for each of {len(labels)} folds, got {len(scores)}")
    by_fold, thresholds = np.broadcast_to(scores, (len(labels), len(same))), np.empty(len(labels))
    for k, row in enumerate(by_fold):
        others = np.flatnonzero(fold != k)
        others = others[np.argsort(-row[others], kind="stable")]
        thresholds[k] = _threshold(row[others], same[others])
    scores = by_fold[fold, np.arange(len(same))]
    correct = (scores >= thresholds[fold]) == same
    order = np.argsort(-scores, kind="stable")
    cuts, true, false = _accepted(scores[order], same[order])
    roc = pd.DataFrame({"fpr": false / false[-1], "tpr": true / true[-1], "threshold": sign * cuts})
    accuracies = np.array([correct[folds == label].mean() for label in labels])
    return Verification(
        accuracies, sign * thresholds, correct, roc, 1 / int(false[-1]), scores, same, fold
    )


def _accepted(scores: np.ndarray, same: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Thresholds between falling ``scores``: how many same and different pairs each accepts.

    The first is infinite and accepts none.
    """
    # Equal scores are accepted together or not at all.
    last = np.append(np.flatnonzero(np.diff(scores)), len(scores) - 1)
    true = np.append(0, np.cumsum(same)[last])
    return np.append(np.inf, scores[last]), true, np.append(0, last + 1) - true


def _threshold(scores: np.ndarray, same: np.ndarray) -> float:
    cuts, true, false = _accepted(scores, same)
    return cuts[np.argmax(true - false)]  # the first of the best, which is the strictest


def cosine_after_pca(
    first: Tensor | np.ndarray, second: Tensor | np.ndarray, folds, components: int | None = None
) -> np.ndarray:
    """Cosine similarity of pairs of vectors after a PCA that was fitted without their fold.

    For each fold the mean and the principal axes are those of both vectors of all pairs in the
    other folds (a vector counts as often as it is used).

    Parameters
    ----------
    first, second : float (n, D)
        The two vectors of each pair.
    folds : integers (n,)
        The label of each pair's fold.
    components : int, optional
        How many principal components are used. Default: all, so only the mean is removed.

    Returns
    -------
    float64 (folds, n)
        For :func:`verification`: row k as fitted without fold k.

    Raises
    ------
    UsageError
        Other shapes.

    Source
    ------
    Joint model, section 4.1, which names PCA but neither its size nor what it is fitted to.

    Examples
    --------
    >>> random = np.random.default_rng(0)
    >>> first, folds = random.normal(size=(20, 8)), np.arange(20) % 2
    >>> scores = cosine_after_pca(first, first, folds, components=4)
    >>> scores.shape, bool(np.allclose(scores, 1))
    ((2, 20), True)
    """
    first, second = (
        np.asarray(x.detach().cpu() if isinstance(x, Tensor) else x, np.float64)
        for x in (first, second)
    )
    folds = np.asarray(folds)
    if first.ndim != 2 or first.shape != second.shape or folds.shape != first.shape[:1]:
        raise UsageError(
            f"want two arrays (n, D) and n folds, got {first.shape}, {second.shape} and "
            f"{folds.shape}"
        )
    both, where = np.concatenate([first, second]), np.tile(folds, 2)
    both = both - both.mean(0)  # so that the products of means subtracted below are small
    labels = np.unique(folds)
    own = [both[where == label] for label in labels]
    sums, products = np.stack([x.sum(0) for x in own]), [x.T @ x for x in own]
    whole, scores = sum(products), []
    for mine, own_sum, own_product in zip(own, sums, products, strict=True):
        n = len(both) - len(mine)
        mean = (sums.sum(0) - own_sum) / n
        covariance = (whole - own_product) / n - np.outer(mean, mean)
        used = min(components or len(mean), len(mean), n)
        axes = eigh(covariance, subset_by_index=(len(mean) - used, len(mean) - 1))[1]
        projected = (both - mean) @ axes
        scores.append(similarity(projected[: len(first)], projected[len(first) :]))
    return np.stack(scores)


def accuracy_gain(a: Verification, b: Verification) -> Estimate:
    """How much more accurate ``a`` is than ``b`` on the same pairs in the same folds.

    The mean difference with its 95 % interval over folds (Student's t, paired).
    """
    if a.n != b.n or len(a.fold_accuracies) != len(b.fold_accuracies):
        raise UsageError(f"want two verifications of the same pairs, got {a.n} and {b.n} pairs")
    return _over_folds(a.fold_accuracies - b.fold_accuracies, a.n)


def _over_folds(values: np.ndarray, n: int) -> Estimate:
    half = t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    mean = values.mean()
    return Estimate(float(mean), float(mean - half), float(mean + half), n)


class McNemar(NamedTuple):
    """The outcome of :func:`mcnemar`."""

    p: float
    """Exact two-sided p-value."""
    b: int
    """Pairs that only the first system classifies correctly."""
    c: int
    """Pairs that only the second does."""


def mcnemar(correct_a, correct_b) -> McNemar:
    """McNemar's exact (binomial) test: do two systems differ by more than chance on the same pairs?

    Only the ``b + c`` pairs on which they differ count, each a fair coin if the systems are equally
    good. Pairs are treated as independent.

    Parameters
    ----------
    correct_a, correct_b : bool (n,)
        For example :attr:`Verification.correct`.

    Returns
    -------
    McNemar
        ``p`` is 1 if they differ on no pair.

    Raises
    ------
    UsageError
        Other shapes or types.

    Examples
    --------
    >>> mcnemar(np.array([True] * 6), np.array([False] * 6))
    McNemar(p=0.03125, b=6, c=0)
    """
    a, b = (np.asarray(x) for x in (correct_a, correct_b))
    if a.shape != b.shape or a.ndim != 1 or a.dtype != bool or b.dtype != bool:
        raise UsageError(
            "want two bool arrays (n,) over the same pairs, "
            f"got {a.dtype} {a.shape} and {b.dtype} {b.shape}"
        )
    first, second = int((a & ~b).sum()), int((b & ~a).sum())
    p = float(binomtest(first, first + second).pvalue) if first + second else 1.0
    return McNemar(p, first, second)
