"""How sure a number is: bootstrap intervals over faces, paired where two methods saw the same faces."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Estimate(NamedTuple):
    """A mean with its interval and the number of values it rests on."""

    value: float
    low: float
    high: float
    n: int


def bootstrap(values: np.ndarray, confidence: float = 0.95, resamples: int = 2000, seed: int = 0) -> Estimate:
    """Mean and percentile bootstrap interval of ``values`` (N,), NaN left out; NaN bounds with fewer than two values.

    For the difference of two methods on the same faces pass the differences: the interval is then a paired one.
    """
    values = np.asarray(values, dtype=np.float64)
    values = values[~np.isnan(values)]
    n = len(values)
    if n == 0:
        return Estimate(float("nan"), float("nan"), float("nan"), 0)
    if n == 1:
        return Estimate(float(values[0]), float("nan"), float("nan"), 1)
    random = np.random.Generator(np.random.Philox(seed))
    # A resample is n draws with replacement, that is a multinomial count for each value; in blocks, so that memory stays small.
    block = max(1, 4_000_000 // n)
    means = np.concatenate(
        [random.multinomial(n, np.full(n, 1 / n), min(block, resamples - i)) @ values / n for i in range(0, resamples, block)]
    )
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Estimate(float(values.mean()), float(low), float(high), n)
