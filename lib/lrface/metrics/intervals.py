"""Uncertainty: bootstrap intervals over people, paired where methods saw the same faces, and
intervals over people and trainings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from scipy.stats import t as student

from lrface.errors import UsageError

BLOCK = 4_000_000
"""Counts of units (of 8 bytes) that are held at a time."""


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


@lru_cache(maxsize=32)  # every method and metric resamples the same faces
def counts(n: int, resamples: int, seed: int) -> np.ndarray:
    """How often each of n units is in the data (once) and in each bootstrap resample.

    Returns
    -------
    float64 (1 + resamples, n)
        The same for the same seed.
    """
    random = np.random.Generator(np.random.Philox(seed))
    return np.concatenate([np.ones((1, n)), random.multinomial(n, np.full(n, 1 / n), resamples)])


def _resamples(n: int, resamples: int, seed: int) -> Iterator[np.ndarray]:
    """The resamples of :func:`counts`, (B, n) at a time where all would not fit in memory."""
    block = max(1, BLOCK // n)
    if block >= resamples:
        yield counts(n, resamples, seed)[1:]
        return
    random = np.random.Generator(np.random.Philox(seed))
    for i in range(0, resamples, block):
        yield random.multinomial(n, np.full(n, 1 / n), min(block, resamples - i))


def _units(clusters: Sequence | None, n: int) -> np.ndarray:
    """The number of each value's unit, int (n,): of its cluster, or of the value itself."""
    if clusters is None:
        return np.arange(n)
    clusters = np.asarray(clusters)
    if clusters.shape != (n,):
        raise UsageError(f"want a cluster for each of {n} values, got shape {clusters.shape}")
    return np.unique(clusters, return_inverse=True)[1]


def estimate(draws: np.ndarray, n: int, confidence: float = 0.95) -> Estimate:
    """The value as measured with the percentile interval of its bootstrap resamples.

    Parameters
    ----------
    draws : float (1 + R,)
        The statistic as measured, then that of each resample. NaN resamples are left out; if all
        are, the bounds are NaN.
    n : int
        The number that is reported with it (of faces, pairs, probes).
    confidence : float
        Coverage of the interval.
    """
    known = draws[1:][~np.isnan(draws[1:])]
    low = high = np.nan
    if len(known):
        low, high = np.quantile(known, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Estimate(float(draws[0]), float(low), float(high), n)


def bootstrap(
    values: np.ndarray,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
    clusters: Sequence | None = None,
) -> Estimate:
    """Mean with its percentile bootstrap interval.

    For the difference of two methods on the same faces pass the differences: the interval is then
    a paired one.

    Parameters
    ----------
    values : float (N,)
        NaN is left out.
    confidence : float
        Coverage of the interval.
    resamples : int
        Number of bootstrap resamples.
    seed : int
        Of the resamples. Equal seeds draw equal resamples.
    clusters : sequence (N,), optional
        The identity of each value: whole identities are resampled, for statements about people
        rather than about these pictures.

    Returns
    -------
    Estimate
        ``n`` counts the values that are not NaN. The bounds are NaN with fewer than two units.

    Examples
    --------
    >>> psnr, people = [30.0, 31.0, 28.0, 29.0, float("nan")], ["a", "a", "b", "c", "c"]
    >>> mean = bootstrap(psnr, clusters=people)
    >>> mean.value, mean.n, mean.low < mean.value < mean.high
    (29.5, 4, True)
    """
    values = np.asarray(values, dtype=np.float64)
    known = ~np.isnan(values)
    units = np.unique(_units(clusters, len(values))[known], return_inverse=True)[1]
    values = values[known]
    n = int(units.max(initial=-1)) + 1
    if n < 2:
        mean = float(values.mean()) if len(values) else np.nan
        return Estimate(mean, np.nan, np.nan, len(values))
    sums, sizes = np.bincount(units, values), np.bincount(units).astype(np.float64)
    means = [(times @ sums) / (times @ sizes) for times in _resamples(n, resamples, seed)]
    return estimate(np.concatenate([[values.mean()], *means]), len(values), confidence)


def resampled_means(
    values: np.ndarray,
    clusters: Sequence | None = None,
    resamples: int = 2000,
    seed: int = 0,
) -> np.ndarray:
    """Means over faces as measured and over bootstrap resamples of people.

    All rows are resampled alike, so draws of two methods or trainings may be subtracted.

    Parameters
    ----------
    values : float (..., N)
        For example a row per training and a column per face. NaN is left out of its row's means.
    clusters : sequence (N,), optional
        The identity of each face: whole identities are resampled. Default: faces are.
    resamples : int
        Number of bootstrap resamples R.
    seed : int
        Of the resamples, which are those of :func:`bootstrap`.

    Returns
    -------
    float64 (..., 1 + R)
        The mean as measured, then that of each resample (NaN if it has no value, or if there are
        fewer than two people to resample).

    Raises
    ------
    UsageError
        No values, or clusters of another length.

    Examples
    --------
    >>> draws = resampled_means([[1.0, 2.0, 3.0], [2.0, 3.0, 4.0]], ["a", "a", "b"])
    >>> draws.shape, draws[:, 0].tolist()
    ((2, 2001), [2.0, 3.0])
    """
    values = np.asarray(values, np.float64)
    if not values.ndim or not values.size:
        raise UsageError(f"want values of at least one face, got shape {values.shape}")
    n = values.shape[-1]
    unit = _units(clusters, n)
    units = int(unit.max()) + 1
    rows = values.reshape(-1, n)
    known = ~np.isnan(rows)
    rows = np.where(known, rows, 0.0)
    sums = np.stack([np.bincount(unit, row, units) for row in rows], 1)
    sizes = np.bincount(unit, minlength=units)[:, None].astype(np.float64)
    if not known.all():
        sizes = np.stack([np.bincount(unit, row, units) for row in known], 1)
    with np.errstate(invalid="ignore"):
        measured = rows.sum(-1) / known.sum(-1)
        if units < 2:
            drawn = np.full((resamples, len(rows)), np.nan)
        else:
            blocks = _resamples(units, resamples, seed)
            drawn = np.concatenate([(times @ sums) / (times @ sizes) for times in blocks])
    return np.concatenate([measured[None], drawn]).T.reshape(*values.shape[:-1], -1)


def people_and_trainings(draws: np.ndarray, n: int, confidence: float = 0.95) -> Estimate:
    """A statistic's mean over trainings, with an interval over people *and* trainings.

    People are many and are resampled: their part of the interval is the percentile bootstrap
    interval of the mean over trainings. Trainings are few, and resampling three of them gives too
    narrow an interval: it covers 92, 88 and 82 % where 95 % is stated if the trainings' standard
    deviation is 1, 2 and 4 times the people's standard error, and 75 % if trainings alone vary.
    Their part is the standard error of the mean over k trainings times Student's t with k - 1
    degrees of freedom. The two are independent, so their squares add, on either side of the value.

    Parameters
    ----------
    draws : float (k, 1 + R)
        The statistic of each of k trainings as measured, then on R resamples of people, the same
        resamples for all trainings (:func:`resampled_means`). For a contrast pass the difference of
        two such arrays. NaN resamples are left out. With k = 1 the interval is over people alone.
    n : int
        The number that is reported with it (of faces, pairs, probes).
    confidence : float
        Coverage of the interval, between 0 and 1.

    Returns
    -------
    Estimate
        The value is NaN if that of a training is.

    Raises
    ------
    UsageError
        Another shape, or a confidence outside (0, 1).

    Examples
    --------
    >>> one = resampled_means([[1.0, 2.0, 3.0, 4.0]])
    >>> two = resampled_means([[1.0, 2.0, 3.0, 4.0], [3.0, 4.0, 5.0, 6.0]])
    >>> a, b = people_and_trainings(one, 4), people_and_trainings(two, 4)
    >>> a.value, b.value, b.high - b.low > 5 * (a.high - a.low)
    (2.5, 3.5, True)
    """
    draws = np.atleast_2d(np.asarray(draws, np.float64))
    if draws.ndim != 2 or not len(draws) or draws.shape[1] < 2:
        raise UsageError(f"want draws (trainings, 1 + resamples), got shape {draws.shape}")
    if not 0 < confidence < 1:
        raise UsageError(f"a confidence lies between 0 and 1, got {confidence}")
    k, people = len(draws), estimate(draws.mean(0), n, confidence)
    if k == 1:
        return people
    error = draws[:, 0].std(ddof=1) / np.sqrt(k)
    trainings = student.ppf((1 + confidence) / 2, k - 1) * error
    low = people.value - np.hypot(people.value - people.low, trainings)
    high = people.value + np.hypot(people.high - people.value, trainings)
    return Estimate(people.value, float(low), float(high), n)


@dataclass(frozen=True)
class GroupGap:
    """The difference between the groups with the highest and the lowest mean."""

    estimate: Estimate
    """Highest minus lowest group mean, with its interval over identities."""
    highest: str
    lowest: str
    chance: float
    """The 95th percentile of the gap when identities are assigned to groups at random. A gap below
    it needs no explanation."""


def group_gap(
    values: np.ndarray,
    groups: Sequence[str],
    clusters: Sequence,
    resamples: int = 500,
    seed: int = 0,
) -> GroupGap:
    """The gap between groups of people in a mean: highest minus lowest.

    Identities are resampled within their groups, and the two groups that differ most in the data
    are compared in every resample. The largest of several differences is never zero, hence
    ``chance``.

    Parameters
    ----------
    values : float (N,)
        NaN is left out.
    groups : sequence (N,)
        The group of each face (str), the same for all faces of an identity; others (NaN) are left
        out.
    clusters : sequence (N,)
        The identity of each face.
    resamples, seed : int
        Of the bootstrap and of the random assignment.

    Returns
    -------
    GroupGap
        NaN and no names with fewer than two groups.
    """
    values = np.asarray(values, np.float64)
    groups, clusters = np.asarray(groups, object), np.asarray(clusters)
    known = ~np.isnan(values) & np.array([isinstance(g, str) for g in groups], bool)
    people, person = np.unique(clusters[known], return_inverse=True)
    names, member = np.unique(groups[known].astype(str), return_inverse=True)
    if len(names) < 2:
        return GroupGap(Estimate(np.nan, np.nan, np.nan, int(known.sum())), "", "", np.nan)
    sums, sizes = np.bincount(person, values[known]), np.bincount(person).astype(np.float64)
    belongs = np.zeros(len(people), np.int64)
    belongs[person] = member
    inside = (belongs[:, None] == np.arange(len(names))).astype(np.float64)

    times = np.ones((1 + resamples, len(people)))
    for g in range(len(names)):
        members = np.flatnonzero(belongs == g)
        times[:, members] = counts(len(members), resamples, seed + g)
    means = (times * sums) @ inside / ((times * sizes) @ inside)  # (1 + resamples, groups)
    high, low = int(means[0].argmax()), int(means[0].argmin())
    random = np.random.Generator(np.random.Philox(seed))
    shuffled = random.permuted(np.tile(belongs, (resamples, 1)), axis=1)
    at_random = [shuffled == g for g in range(len(names))]
    with np.errstate(invalid="ignore"):
        by_chance = np.ptp([some @ sums / (some @ sizes) for some in at_random], axis=0)
    return GroupGap(
        estimate(means[:, high] - means[:, low], int(known.sum())),
        str(names[high]),
        str(names[low]),
        float(np.quantile(by_chance, 0.95)),
    )


def rank_agreement(
    values: np.ndarray,
    published: Sequence[float],
    clusters: Sequence | None = None,
    resamples: int = 500,
    seed: int = 0,
) -> Estimate:
    """Kendall's tau-b between published scores of methods and their means measured here.

    1: the same order; 0: none in common; -1: reversed. The interval says how certain our own order
    is: people are resampled and the methods ranked again.

    Parameters
    ----------
    values : float (M, N)
        Of M methods on the same N faces. NaN is left out of a method's mean.
    published : sequence (M,)
    clusters : sequence (N,), optional
        The identity of each face: whole identities are resampled. Default: faces are.
    resamples, seed : int

    Returns
    -------
    Estimate
        ``n`` is the number of methods.
    """
    values, published = np.asarray(values, np.float64), np.asarray(published, np.float64)
    unit = _units(clusters, values.shape[1])
    units = int(unit.max()) + 1
    known = ~np.isnan(values)
    sums, sizes = (
        np.stack([np.bincount(unit, row, units) for row in part])
        for part in (np.nan_to_num(values), known)
    )
    times = counts(units, resamples, seed)
    with np.errstate(invalid="ignore"):
        means = (times @ sums.T) / (times @ sizes.T)
        first, second = np.triu_indices(len(published), 1)
        theirs, ours = (np.sign(x[..., first] - x[..., second]) for x in (published, means))
        # tau-b: ties count in neither direction
        taus = ours @ theirs / np.sqrt(theirs @ theirs * (ours * ours).sum(1))
    return estimate(taus, len(published))


def widened(draws: np.ndarray, units: int) -> np.ndarray:
    """Resamples as far from the measured value as Student's t is wider than the bootstrap.

    The percentile interval of a mean of n people is too narrow by the factor sqrt((n - 1) / n),
    and knows nothing of the uncertainty of their spread: with the ten folds of a verification test
    it covers 90 % where 95 % is stated.

    Parameters
    ----------
    draws : float (..., 1 + R)
        The statistic as measured, then on resamples.
    units : int
        The number of people, or folds, that are resampled; with fewer than two nothing changes.

    Examples
    --------
    >>> widened(np.array([1.0, 0.0, 2.0]), units=10).round(2).tolist()
    [1.0, -0.22, 2.22]
    """
    if units < 2:
        return draws
    factor = student.ppf(0.975, units - 1) / 1.96 * np.sqrt(units / (units - 1))
    return draws[..., :1] + factor * (draws - draws[..., :1])


def halves(clusters: Sequence, seed: int = 0) -> np.ndarray:
    """Whether each value belongs to the first half of the people, drawn at random.

    Parameters
    ----------
    clusters : sequence (N,)
        The identity of each face.
    seed : int
        Of the draw.

    Returns
    -------
    bool (N,)

    Examples
    --------
    >>> first = halves(["a", "a", "b", "c", "d"])
    >>> bool(first[0] == first[1]), int(first[1:].sum())
    (True, 2)
    """
    unit = _units(clusters, len(clusters))
    order = np.random.Generator(np.random.Philox(seed)).permutation(int(unit.max()) + 1)
    return order[unit] < (len(order) + 1) // 2


def cross_fitted_margin(
    values: np.ndarray,
    which: int,
    clusters: Sequence | None = None,
    resamples: int = 2000,
    seed: int = 0,
) -> np.ndarray:
    """The mean of one method minus that of the best other one, the best one found elsewhere.

    The rival is chosen on one half of the people and tested on the other, both ways, and the two
    margins are averaged: the luck that makes a rival the best does not count against the method.
    Of eight methods that are all equally good, one that is tested against the best other one on the
    same people comes out surely below it in 37 of 100 draws, cross-fitted in 4.
    (``tests/metrics/test_intervals.py``; 100 people, two faces each). What it cannot do: tied with
    one rival and little better than the others, a method is surely above in 14 of 100, because the
    other half often holds a weaker rival for the best.

    Parameters
    ----------
    values : float (M, N) or (M, trainings, N)
        Of M methods on the same N faces: higher is better, no NaN. A method is chosen by its mean
        over trainings.
    which : int
        The row of the method.
    clusters : sequence (N,), optional
        The identity of each face: whole identities are halved and resampled. Default: faces are.
    resamples, seed : int
        Of the bootstrap and of the halves.

    Returns
    -------
    float64 (trainings, 1 + R)
        For :func:`people_and_trainings`. NaN resamples with fewer than four people.

    Examples
    --------
    >>> faces = np.random.default_rng(0).normal(30, 1, 200)
    >>> drawn = cross_fitted_margin([faces + 1, faces, faces - 1], 0)
    >>> drawn.shape, round(float(drawn[0, 0]), 6)
    ((1, 2001), 1.0)
    """
    values = np.asarray(values, np.float64)
    values = values[:, None] if values.ndim == 2 else values
    clusters = np.arange(values.shape[2]) if clusters is None else np.asarray(clusters)
    first, found = halves(clusters, seed), []
    for number, (chosen_on, tested_on) in enumerate(((first, ~first), (~first, first))):
        quality = values[:, :, chosen_on].mean((1, 2))
        quality[which] = -np.inf
        margin = values[which] - values[quality.argmax()]
        some = margin[:, tested_on], clusters[tested_on]
        drawn = resampled_means(*some, resamples, seed + number)
        found.append(widened(drawn, len(np.unique(some[1]))))
    return np.mean(found, 0)
