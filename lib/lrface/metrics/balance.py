"""Accuracy for classes of unequal size, as the slides *Deep Learning in Face Analysis* measure it
for CelebA's 40 attributes."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from lrface.errors import LrfaceError, UsageError
from lrface.metrics import intervals


def balanced_accuracy(truth: Tensor | np.ndarray, predicted: Tensor | np.ndarray) -> float:
    """The mean over classes of the fraction of their faces that are classified correctly.

    For two classes it is the slides' (tp / Np + tn / Nn) / 2: a constant prediction has 0.5,
    however rare a class. The classes are those of the truth; a prediction that is none of them is
    wrong.

    Parameters
    ----------
    truth, predicted : integers or bool (N,)

    Returns
    -------
    float
        In [0, 1].

    Raises
    ------
    LrfaceError
        All faces are of one class: the accuracy on the other is then unknown.
    UsageError
        Other shapes or types.

    Source
    ------
    The slides' table of CelebA attributes.

    Examples
    --------
    >>> bald = [True, False, False, False]
    >>> balanced_accuracy(bald, [False, False, False, False])
    0.5
    """
    truth, predicted = _labels(truth), _labels(predicted)
    if truth.shape != predicted.shape:
        raise UsageError(f"{len(predicted)} predictions for {len(truth)} faces: want one each")
    classes, member = np.unique(truth, return_inverse=True)
    if len(classes) < 2:
        raise LrfaceError(
            f"all {len(truth)} faces are of class {classes[0]}: balanced accuracy wants faces of "
            "every class"
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
    """Balanced accuracy as measured and over bootstrap resamples of people.

    Equal ``clusters``, ``resamples`` and ``seed`` resample alike, so the draws of two methods may
    be subtracted.

    Parameters
    ----------
    truth : bool (N,)
    correct : bool or float (N,)
        Whether each face is classified correctly, or the fraction of several trainings that do.
    clusters : sequence (N,)
        The identity of each face: whole identities are resampled.
    classes : sequence of bool
        The mean is over these. One alone gives its own accuracy.
    resamples, seed : int
        Of the bootstrap.

    Returns
    -------
    float64 (1 + resamples,)
        For :func:`lrface.metrics.estimate`. A resample without a face of a class is NaN.

    Raises
    ------
    UsageError
        Other shapes.
    """
    truth, correct, clusters = (_array(values) for values in (truth, correct, clusters))
    truth, correct = truth.astype(bool), correct.astype(np.float64)
    person = np.unique(clusters, return_inverse=True)[1]
    if not truth.shape == correct.shape == person.shape:
        raise UsageError(
            "want a truth, a correctness and a person for each face, "
            f"got {truth.shape}, {correct.shape} and {person.shape}"
        )
    times = intervals.counts(person.max() + 1, resamples, seed)
    recalls = []
    for name in classes:
        right, faces = (np.bincount(person, weight * (truth == name)) for weight in (correct, 1.0))
        with np.errstate(invalid="ignore"):
            recalls.append((times @ right) / (times @ faces))
    return np.mean(recalls, 0)


def balanced_contributions(truth: Tensor | np.ndarray, correct: Tensor | np.ndarray) -> np.ndarray:
    """What each face contributes to balanced accuracy: numbers whose mean it is.

    Linearised in the faces: the number of a face is balanced accuracy, plus by how much the face
    lies above its class's accuracy, weighted by how rare the class is. So methods, attributes and
    halves of people can be compared as means over faces are; intervals are those of
    :func:`balanced_draws` to a few per cent where a class has 20 people.

    Parameters
    ----------
    truth : bool (N,)
    correct : bool or float (..., N)
        Whether each face is classified correctly.

    Returns
    -------
    float64 (..., N)

    Raises
    ------
    LrfaceError
        All faces are of one class.

    Examples
    --------
    >>> truth, correct = [True, False, False, False], [False, True, True, True]
    >>> balanced_contributions(truth, correct).tolist()
    [0.5, 0.5, 0.5, 0.5]
    """
    truth, correct = np.asarray(truth, bool), np.asarray(correct, np.float64)
    if truth.all() or not truth.any():
        raise LrfaceError("balanced accuracy wants faces of both classes")
    found, level = np.zeros_like(correct), 0.0
    for member in (truth, ~truth):
        accuracy = correct[..., member].mean(-1, keepdims=True)
        weight = len(truth) / (2 * member.sum())
        found[..., member] = weight * (correct[..., member] - accuracy)
        level = level + accuracy / 2
    return found + level


def imbalance_level(labels: Tensor | np.ndarray) -> float:
    """How far two classes are from equal size: abs(positive rate in % - 50).

    Parameters
    ----------
    labels : bool or 0/1 (N,)
        True for the positive class.

    Returns
    -------
    float
        Percentage points, in [0, 50].

    Source
    ------
    The slides' table of CelebA attributes.

    Examples
    --------
    >>> imbalance_level([1, 0, 0, 0])
    25.0
    """
    labels = _labels(labels)
    if not np.isin(labels, (0, 1)).all():
        raise UsageError("want labels as bool or 0/1, true for the positive class")
    return float(50 * abs(2 * labels.sum() - len(labels)) / len(labels))


def _array(values) -> np.ndarray:
    """An array, also of a tensor on a GPU."""
    return np.asarray(values.cpu() if isinstance(values, Tensor) else values)


def _labels(values) -> np.ndarray:
    x = _array(values)
    if x.dtype.kind not in "iub" or x.ndim != 1 or not len(x):
        raise UsageError(
            f"want an integer or bool for each face, at least one, got {x.dtype} of shape {x.shape}"
        )
    return x.astype(np.int64)
