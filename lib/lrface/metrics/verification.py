"""The same person, or two? Scores of pairs against the truth: LFW's ten-fold accuracy, the ROC
curve, and a test for two systems.

Protocol: Huang et al., *Labeled Faces in the Wild* (2007), its ten-fold estimate with one threshold
a fold, chosen without that fold.
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
    """Scores of ``n`` pairs, judged. Accuracies, rates and ``auc`` are in [0, 1]; thresholds are in
    the unit of the scores.

    ``fold_accuracies``, ``thresholds``: float64 (folds,), in the order of the fold labels.
    ``correct``: bool (n,), whether each pair is judged rightly at the threshold of its fold, for
    :func:`mcnemar`. ``roc``: columns ``fpr, tpr, threshold`` over all pairs, one row a distinct
    score from strict to lax, after a first row that accepts nothing (threshold infinite); no row is
    left out or interpolated. ``resolution``: 1 / number of different pairs, the smallest FPR above
    0 these pairs can show. ``scores, same, fold``: (n,), what was judged: the scores with the sign
    that makes higher the same, bool, and the number of each pair's fold.
    """

    fold_accuracies: np.ndarray
    thresholds: np.ndarray
    correct: np.ndarray
    roc: pd.DataFrame
    resolution: float
    scores: np.ndarray
    same: np.ndarray
    fold: np.ndarray

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
        """Standard error of ``accuracy``: the folds' sample deviation (ddof 1) over the root of
        their number, as LFW states it."""
        return float(self.fold_accuracies.std(ddof=1) / np.sqrt(len(self.fold_accuracies)))

    @property
    def estimate(self) -> Estimate:
        """``accuracy`` with its 95 % interval over folds (Student's t), and the number of pairs."""
        return _over_folds(self.fold_accuracies, self.n)

    @property
    def auc(self) -> float:
        """Area under ``roc``: how often a same pair scores above a different one, ties counted
        half."""
        return float(np.trapezoid(self.roc["tpr"], self.roc["fpr"]))

    def tpr_at(self, fpr: float) -> float:
        """The TPR at the laxest point of ``roc`` whose FPR is not above ``fpr``: attained, never
        interpolated.

        Below ``resolution`` that point allows no false accept at all: the value is then the TPR at
        FPR 0, the same for every smaller ``fpr`` (LFW's 3,000 different pairs tell 1e-3 from 0, but
        not 1e-4). Print ``resolution`` beside such a number. Implementations that interpolate
        between points, or accept the first point above ``fpr``, give more.
        """
        if not 0 <= fpr <= 1:
            raise UsageError(f"a false positive rate lies in [0, 1], got {fpr}")
        return float(
            self.roc["tpr"].to_numpy()[np.searchsorted(self.roc["fpr"], fpr, side="right") - 1]
        )

    def tpr_estimate(self, fpr: float, resamples: int = 1000, seed: int = 0) -> Estimate:
        """``tpr_at(fpr)`` with its 95 % interval, and the number of pairs: folds are drawn again,
        with all their pairs.

        The few different pairs that set the threshold are drawn along, so the interval is wide
        where ``fpr`` is near ``resolution``.
        """
        order = np.argsort(-self.scores, kind="stable")
        last = np.append(np.flatnonzero(np.diff(self.scores[order])), self.n - 1)
        same, fold = self.same[order], self.fold[order]
        draws = [self.tpr_at(fpr)]
        for drawn in intervals.counts(len(self.fold_accuracies), resamples, seed)[1:]:
            weight = drawn[fold]
            false, true = np.cumsum(weight * ~same), np.cumsum(weight * same)
            allowed = np.searchsorted(false[last] / false[-1], fpr, side="right")
            draws.append(true[last[allowed - 1]] / true[-1] if allowed else 0.0)
        return intervals.estimate(np.array(draws), self.n)


def verification(
    scores: Tensor | np.ndarray, same, folds=10, higher_is_same: bool = True
) -> Verification:
    """Judge pairs by one number each.

    Parameters
    ----------
    scores : (n,), finite: similarities, or distances with ``higher_is_same=False``. Or (folds, n),
    for scores that were learnt from the
        pairs themselves (:func:`cosine_after_pca`): row k has all pairs as they score if nothing
        was learnt from fold k, and the pairs of fold k are judged, and stand in the ROC curve, by
        that row.
    same : (n,) of bool or 0/1, whether the pair shows one person. folds : how many, the pairs then
    being cut in their order into so many blocks (LFW's pairs.txt: 10 x (300 same + 300 different));
        or an integer label for each pair, (n,).

    A pair is accepted as the same person if its score reaches the threshold (is at least it; at
    most, for distances). The threshold of a fold is chosen on the other folds alone, for the most
    pairs judged rightly. Where several serve equally, the strictest is taken: it is always one of
    their scores, or infinite to accept none, so that results do not change if scores pass through a
    rising function.

    Raises :class:`LrfaceError` on lengths that differ, scores that are not finite, fewer than two
    folds, or a fold without both kinds.
    """
    scores, same, folds = (
        np.asarray(x.detach().cpu() if isinstance(x, Tensor) else x) for x in (scores, same, folds)
    )
    if (
        scores.ndim not in (1, 2)
        or same.shape != scores.shape[-1:]
        or (folds.ndim and folds.shape != same.shape)
    ):
        raise UsageError(
            f"want a score and a truth for each pair, got shapes {scores.shape}, {same.shape} and folds {folds.shape}"
        )
    if not np.isin(same, (0, 1)).all() or folds.dtype.kind not in "iu":
        raise UsageError("want same as bool or 0/1, and folds as a number or as integer labels")
    if bad := int((~np.isfinite(scores)).sum()):
        raise LrfaceError(
            f"{bad} of {scores.size} scores are not finite: give a pair without a face the worst score, or leave it out"
        )
    if not folds.ndim:
        if not 2 <= folds <= len(same):
            raise UsageError(
                f"{len(same)} pairs cannot be cut into {folds} folds: want at least 2 folds, and a pair in each"
            )
        folds = np.repeat(np.arange(folds), [len(part) for part in np.array_split(same, folds)])
    sign = 1 if higher_is_same else -1
    scores, same = sign * scores.astype(np.float64), same.astype(bool)
    labels = np.unique(folds)
    for label in labels:
        if same[folds == label].all() or not same[folds == label].any():
            kind = "same" if same[folds == label].any() else "different"
            raise LrfaceError(
                f"fold {label} holds only {kind} pairs: give each pair its fold's label, so that every fold has both kinds"
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
    """Each threshold worth trying on falling ``scores``, infinity first, and how many same and
    different pairs it accepts."""
    last = np.append(
        np.flatnonzero(np.diff(scores)), len(scores) - 1
    )  # equal scores are accepted together or not at all
    true = np.append(0, np.cumsum(same)[last])
    return np.append(np.inf, scores[last]), true, np.append(0, last + 1) - true


def _threshold(scores: np.ndarray, same: np.ndarray) -> float:
    cuts, true, false = _accepted(scores, same)
    return cuts[np.argmax(true - false)]  # the first, that is the strictest, of the best


def cosine_after_pca(
    first: Tensor | np.ndarray, second: Tensor | np.ndarray, folds, components: int | None = None
) -> np.ndarray:
    """Cosine similarity of pairs of vectors, both (n, D), after a PCA that has not seen their fold:
    float64 (folds, n).

    ``folds`` are integer labels (n,), as for :func:`verification`, which takes the result. For each
    fold the mean and the principal axes are those of both vectors of all pairs in the other folds
    (a vector counts as often as it is used); ``components`` of them are kept (None: all, which
    leaves the centring). Source: joint model, section 4.1, which names PCA and neither its size nor
    what it learns from.
    """
    first, second = (
        np.asarray(x.detach().cpu() if isinstance(x, Tensor) else x, np.float64)
        for x in (first, second)
    )
    folds = np.asarray(folds)
    if first.ndim != 2 or first.shape != second.shape or folds.shape != first.shape[:1]:
        raise UsageError(
            f"want two arrays (n, D) and n folds, got {first.shape}, {second.shape} and {folds.shape}"
        )
    both, where = np.concatenate([first, second]), np.tile(folds, 2)
    both = both - both.mean(0)  # so that what is taken away below is small
    labels = np.unique(folds)
    own = [both[where == label] for label in labels]
    sums, products = np.stack([x.sum(0) for x in own]), [x.T @ x for x in own]
    whole, scores = sum(products), []
    for mine, own_sum, own_product in zip(own, sums, products, strict=True):
        n = len(both) - len(mine)
        mean = (sums.sum(0) - own_sum) / n
        covariance = (whole - own_product) / n - np.outer(mean, mean)
        kept = min(components or len(mean), len(mean), n)
        axes = eigh(covariance, subset_by_index=(len(mean) - kept, len(mean) - 1))[1]
        turned = (both - mean) @ axes
        scores.append(similarity(turned[: len(first)], turned[len(first) :]))
    return np.stack(scores)


def accuracy_gain(a: Verification, b: Verification) -> Estimate:
    """How much more accurate ``a`` is than ``b`` on the same pairs in the same folds: the mean
    difference, with its interval over folds (Student's t, paired)."""
    if a.n != b.n or len(a.fold_accuracies) != len(b.fold_accuracies):
        raise UsageError(f"want two judgements of the same pairs, got {a.n} and {b.n} pairs")
    return _over_folds(a.fold_accuracies - b.fold_accuracies, a.n)


def _over_folds(values: np.ndarray, n: int) -> Estimate:
    half = t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return Estimate(
        float(values.mean()), float(values.mean() - half), float(values.mean() + half), n
    )


class McNemar(NamedTuple):
    """``p``: exact two-sided p-value; ``b``: pairs only the first system judged rightly, ``c``:
    pairs only the second did."""

    p: float
    b: int
    c: int


def mcnemar(correct_a, correct_b) -> McNemar:
    """Do two systems, judged on the same pairs, differ by more than chance? McNemar's test, exact
    (binomial).

    ``correct_a, correct_b``: bool (n,), for example :attr:`Verification.correct`. Only the ``b +
    c`` pairs on which they differ count, each being a fair coin if the systems are equally good; p
    is 1 if there are none. Pairs are taken as independent.
    """
    a, b = (np.asarray(x) for x in (correct_a, correct_b))
    if a.shape != b.shape or a.ndim != 1 or a.dtype != bool or b.dtype != bool:
        raise UsageError(
            f"want two bool arrays (n,) over the same pairs, got {a.dtype} {a.shape} and {b.dtype} {b.shape}"
        )
    first, second = int((a & ~b).sum()), int((b & ~a).sum())
    return McNemar(
        float(binomtest(first, first + second).pvalue) if first + second else 1.0, first, second
    )
