"""How sure a number is: bootstrap intervals over faces, paired where two methods saw the same
faces."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from scipy.stats import t as student


class Estimate(NamedTuple):
    """A number with its 95 % interval and the count of values it rests on.

    A format applies to all three numbers.

    Examples
    --------
    >>> f"{Estimate(0.117, 0.067, 0.175, 612):+.1%}"
    '+11.7 % [+6.7, +17.5]'
    """

    value: float
    low: float
    high: float
    n: int

    def __format__(self, spec: str) -> str:
        value, low, high = (format(x, spec) for x in self[:3])
        unit = " %" if value.endswith("%") else ""
        value, low, high = (x.removesuffix("%") for x in (value, low, high))
        return f"{value}{unit} [{low}, {high}]"


@lru_cache(maxsize=32)  # the same faces are resampled for every method and metric
def counts(n: int, resamples: int, seed: int) -> np.ndarray:
    """Each of n units once, then as often as each resample draws it: float64 (1 + resamples, n).
    The same seed draws the same."""
    random = np.random.Generator(np.random.Philox(seed))
    return np.concatenate([np.ones((1, n)), random.multinomial(n, np.full(n, 1 / n), resamples)])


def estimate(draws: np.ndarray, n: int, confidence: float = 0.95) -> Estimate:
    """What was measured (the first of ``draws``) with the percentile interval of its resamples (the
    others; NaN left out)."""
    known = draws[1:][~np.isnan(draws[1:])]
    low, high = (
        np.quantile(known, [(1 - confidence) / 2, (1 + confidence) / 2])
        if len(known)
        else (np.nan, np.nan)
    )
    return Estimate(float(draws[0]), float(low), float(high), n)


def bootstrap(
    values: np.ndarray,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
    clusters: Sequence | None = None,
) -> Estimate:
    """Mean and percentile bootstrap interval of ``values`` (N,), NaN left out; NaN bounds with
    fewer than two values.

    For the difference of two methods on the same faces pass the differences: the interval is then a
    paired one. ``clusters`` (N,) names the identity of each value: whole identities are then drawn,
    for statements about people rather than about these pictures.
    """
    values = np.asarray(values, dtype=np.float64)
    known = ~np.isnan(values)
    units = (
        np.arange(known.sum())
        if clusters is None
        else np.unique(np.asarray(clusters)[known], return_inverse=True)[1]
    )
    values = values[known]
    n = int(units.max(initial=-1)) + 1
    if n < 2:
        return Estimate(
            float(values.mean()) if len(values) else float("nan"),
            float("nan"),
            float("nan"),
            len(values),
        )
    sums, sizes = np.bincount(units, values), np.bincount(units).astype(np.float64)
    # A resample is n draws with replacement, that is a multinomial count for each unit; in blocks,
    # so that memory stays small.
    block = max(1, 4_000_000 // n)
    if block >= resamples:
        draws = [counts(n, resamples, seed)[1:]]
    else:
        random = np.random.Generator(np.random.Philox(seed))
        draws = (
            random.multinomial(n, np.full(n, 1 / n), min(block, resamples - i))
            for i in range(0, resamples, block)
        )
    means = np.concatenate(
        [[values.mean()], *((drawn @ sums) / (drawn @ sizes) for drawn in draws)]
    )
    return estimate(means, len(values), confidence)


def resampled_means(
    values: np.ndarray,
    clusters: Sequence | None = None,
    resamples: int = 2000,
    seed: int = 0,
) -> np.ndarray:
    """Means of ``values`` as measured and over resamples of people, all rows with the same draws.

    Parameters
    ----------
    values : float (..., N): for example a row a training, a column a face. No NaN.
    clusters : (N,), the identity of each face: whole identities are drawn. None: faces are.
    resamples : number of bootstrap resamples R.
    seed : of the draws; the same seed draws the same people.

    Returns
    -------
    float64 (..., 1 + R): the mean as measured, then that of each resample.

    Examples
    --------
    >>> draws = resampled_means([[1.0, 2.0, 3.0], [2.0, 3.0, 4.0]], ["a", "a", "b"])
    >>> draws.shape, draws[:, 0].tolist()
    ((2, 2001), [2.0, 3.0])
    """
    values = np.asarray(values, np.float64)
    n = values.shape[-1]
    person = np.arange(n) if clusters is None else np.unique(clusters, return_inverse=True)[1]
    people = int(person.max()) + 1
    rows = values.reshape(-1, n)
    sums = np.stack([np.bincount(person, row, people) for row in rows])
    drawn = counts(people, resamples, seed)
    means = (sums @ drawn.T / (drawn @ np.bincount(person))).reshape(*values.shape[:-1], -1)
    means[..., 0] = values.mean(-1)
    return means


def people_and_trainings(draws: np.ndarray, n: int, confidence: float = 0.95) -> Estimate:
    """A statistic's mean over trainings, with an interval over people *and* trainings.

    People are many and resampled: their part of the interval is the bootstrap's percentile
    interval of the mean over trainings. Trainings are few: resampling three of them would cover 74
    to 89 % where it says 95. Their part is Student's t with k - 1 degrees of freedom times the
    standard error of the mean over k trainings. The two parts are independent, so their squares
    add, on either side.

    Parameters
    ----------
    draws : float (k, 1 + R): of each training the statistic as measured, then on R resamples of
        people, which are the same for all trainings (:func:`resampled_means`). For a contrast pass
        the difference of two such arrays. With k = 1 the interval is over people alone.
    n : the number that is reported beside it (of faces, pairs, probes).
    confidence : nominal coverage.

    Returns
    -------
    Estimate : ``value`` with ``low`` and ``high``.

    Examples
    --------
    >>> one = resampled_means([[1.0, 2.0, 3.0, 4.0]])
    >>> two = resampled_means([[1.0, 2.0, 3.0, 4.0], [3.0, 4.0, 5.0, 6.0]])
    >>> a, b = people_and_trainings(one, 4), people_and_trainings(two, 4)
    >>> a.value, b.value, b.high - b.low > 5 * (a.high - a.low)
    (2.5, 3.5, True)
    """
    draws = np.atleast_2d(np.asarray(draws, np.float64))
    k, people = len(draws), estimate(draws.mean(0), n, confidence)
    if k == 1:
        return people
    error = draws[:, 0].std(ddof=1) / np.sqrt(k)
    training = student.ppf((1 + confidence) / 2, k - 1) * error
    low = people.value - np.hypot(people.value - people.low, training)
    high = people.value + np.hypot(people.high - people.value, training)
    return Estimate(people.value, float(low), float(high), n)


@dataclass(frozen=True)
class Gap:
    """How far apart the best and the worst group are."""

    estimate: Estimate
    """Highest minus lowest group mean, with its interval over identities."""
    highest: str
    lowest: str
    chance: float
    """The 95th percentile of the gap when the groups are dealt out to identities at random. A gap
    below it needs no explanation."""


def gap(
    values: np.ndarray,
    groups: Sequence[str],
    clusters: Sequence,
    resamples: int = 500,
    seed: int = 0,
) -> Gap:
    """The gap between groups in the mean of ``values`` (N,); NaN values and faces of no group (NaN)
    are left out.

    ``groups`` and ``clusters`` (identities) are (N,); an identity belongs to one group. Resampling
    draws identities within their groups, and the two groups that differ most in the data are the
    ones compared in every draw. The largest of several differences is never zero, whence
    ``chance``.
    """
    values, groups, clusters = (
        np.asarray(values, np.float64),
        np.asarray(groups, object),
        np.asarray(clusters),
    )
    known = ~np.isnan(values) & np.array([isinstance(g, str) for g in groups], bool)
    people, person = np.unique(clusters[known], return_inverse=True)
    names, member = np.unique(groups[known].astype(str), return_inverse=True)
    if len(names) < 2:
        return Gap(
            Estimate(float("nan"), float("nan"), float("nan"), int(known.sum())),
            "",
            "",
            float("nan"),
        )
    sums, sizes = np.bincount(person, values[known]), np.bincount(person).astype(np.float64)
    belongs = np.zeros(len(people), np.int64)
    belongs[person] = member
    inside = (belongs[:, None] == np.arange(len(names))).astype(np.float64)

    def means(drawn: np.ndarray) -> np.ndarray:
        # (resamples, groups): the mean over the faces of the people drawn
        return (drawn * sums) @ inside / ((drawn * sizes) @ inside)

    drawn = np.ones((1 + resamples, len(people)))
    for g in range(len(names)):
        members = np.flatnonzero(belongs == g)
        drawn[:, members] = counts(len(members), resamples, seed + g)
    apart = means(drawn)
    high, low = int(apart[0].argmax()), int(apart[0].argmin())
    shuffled = np.random.Generator(np.random.Philox(seed)).permuted(
        np.tile(belongs, (resamples, 1)), axis=1
    )
    with np.errstate(invalid="ignore"):
        dealt = np.ptp(
            [(shuffled == g) @ sums / ((shuffled == g) @ sizes) for g in range(len(names))], axis=0
        )
    return Gap(
        estimate(apart[:, high] - apart[:, low], int(known.sum())),
        str(names[high]),
        str(names[low]),
        float(np.quantile(dealt, 0.95)),
    )


def rank_agreement(
    values: np.ndarray,
    published: Sequence[float],
    clusters: Sequence | None = None,
    resamples: int = 500,
    seed: int = 0,
) -> Estimate:
    """Kendall's tau-b between the published scores of M methods and the means of ``values`` (M, N)
    measured on the same N faces.

    1: the same order; 0: none in common; -1: reversed. The interval says how sure our own order is:
    faces (or, with ``clusters``, identities) are resampled and the methods ranked again. NaN values
    are left out of a method's mean. ``n`` is the number of methods.
    """
    values, published = np.asarray(values, np.float64), np.asarray(published, np.float64)
    units = (
        np.arange(values.shape[1])
        if clusters is None
        else np.unique(np.asarray(clusters), return_inverse=True)[1]
    )
    n = int(units.max()) + 1
    sums, sizes = (
        np.stack([np.bincount(units, row, n) for row in part])
        for part in (np.nan_to_num(values), ~np.isnan(values))
    )
    drawn = counts(n, resamples, seed)
    with np.errstate(invalid="ignore"):
        means = (drawn @ sums.T) / (drawn @ sizes.T)
    first, second = np.triu_indices(len(published), 1)
    theirs, ours = (np.sign(x[..., first] - x[..., second]) for x in (published, means))
    with np.errstate(invalid="ignore"):
        taus = (
            ours @ theirs / np.sqrt(theirs @ theirs * (ours * ours).sum(1))
        )  # tau-b: ties count in neither direction
    return estimate(taus, len(published))


def lead(
    values: np.ndarray,
    which: int,
    clusters: Sequence | None = None,
    resamples: int = 2000,
    seed: int = 0,
) -> Estimate:
    """How far method ``which`` of M leads the best of the others: ``values`` is (M, N), higher is
    better, no NaN.

    The best other is found anew in every resample of faces (or, with ``clusters``, identities), so
    that it is not chosen by the luck that it is then judged by. ``n`` counts the faces.
    """
    values = np.asarray(values, np.float64)
    units = (
        np.arange(values.shape[1])
        if clusters is None
        else np.unique(np.asarray(clusters), return_inverse=True)[1]
    )
    n = int(units.max()) + 1
    sums, sizes = (
        np.stack([np.bincount(units, row, n) for row in values]),
        np.bincount(units, minlength=n),
    )
    drawn = counts(n, resamples, seed)
    means = (drawn @ sums.T) / (drawn @ sizes)[:, None]
    return estimate(means[:, which] - np.delete(means, which, 1).max(1), values.shape[1])
