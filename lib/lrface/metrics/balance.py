"""Accuracy where classes are of unequal size, as the slides of *Deep Learning in Face Analysis*
measure CelebA's 40 attributes."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from lrface.errors import LrfaceError, UsageError
from lrface.metrics import intervals


def balanced_accuracy(truth: Tensor | np.ndarray, predicted: Tensor | np.ndarray) -> float:
    """The mean over classes of the fraction of their faces that are classed rightly, in [0, 1].

    ``truth, predicted``: (N,), integers or bool. For two classes it is the slides' (tp / Np + tn /
    Nn) / 2: a constant answer has 0.5, however rare a class. The classes are those of the truth; a
    prediction that is none of them is wrong.

    Raises :class:`LrfaceError` if the truth holds one class only: the accuracy on the other is then
    not known.
    """
    truth, predicted = _labels(truth), _labels(predicted)
    if truth.shape != predicted.shape:
        raise UsageError(f"{len(predicted)} predictions for {len(truth)} faces: want one each")
    classes, member = np.unique(truth, return_inverse=True)
    if len(classes) < 2:
        raise LrfaceError(
            f"all {len(truth)} faces are of class {classes[0]}: balanced accuracy wants faces of every class"
        )
    return float((np.bincount(member, truth == predicted) / np.bincount(member)).mean())


def balanced_draws(
    truth: Tensor | np.ndarray,
    correct: Tensor | np.ndarray,
    clusters,
    classes=(False, True),
    resamples: int = 1000,
    seed: int = 0,
) -> np.ndarray:
    """Balanced accuracy of what was measured and of its resamples: float64 (1 + resamples,), for
    :func:`lrface.metrics.estimate`.

    ``truth`` (N,), bool; ``correct`` (N,), how far each face is classed rightly: bool, or a
    fraction (of several trainings). ``clusters`` (N,) names each face's person: people are drawn
    again, with all their faces. The same ``clusters``, ``resamples`` and ``seed`` draw the same, so
    that the draws of two methods may be subtracted. ``classes``: the mean over these; one alone
    gives that class's own accuracy. A resample without a face of a class is NaN.
    """
    truth, correct = np.asarray(truth, bool), np.asarray(correct, np.float64)
    person = np.unique(np.asarray(clusters), return_inverse=True)[1]
    if not truth.shape == correct.shape == person.shape:
        raise UsageError(
            f"want a truth, a correctness and a person for each face, got {truth.shape}, {correct.shape} and {person.shape}"
        )
    drawn = intervals.counts(person.max() + 1, resamples, seed)
    recalls = []
    for name in classes:
        right, faces = (np.bincount(person, weight * (truth == name)) for weight in (correct, 1.0))
        with np.errstate(invalid="ignore"):
            recalls.append((drawn @ right) / (drawn @ faces))
    return np.mean(recalls, 0)


def imbalance_level(labels: Tensor | np.ndarray) -> float:
    """How far the classes are from equal size: abs(positive rate in % - 50), in [0, 50] percentage
    points (the slides' CelebA table).

    ``labels``: (N,), bool or 0/1, true for the positive class.
    """
    labels = _labels(labels)
    if not np.isin(labels, (0, 1)).all():
        raise UsageError("want labels as bool or 0/1, true for the positive class")
    return float(50 * abs(2 * labels.sum() - len(labels)) / len(labels))


def _labels(values) -> np.ndarray:
    x = np.asarray(values.cpu() if isinstance(values, Tensor) else values)
    if x.dtype.kind not in "iub" or x.ndim != 1 or not len(x):
        raise UsageError(
            f"want an integer or bool for each face, at least one, got {x.dtype} of shape {x.shape}"
        )
    return x.astype(np.int64)
