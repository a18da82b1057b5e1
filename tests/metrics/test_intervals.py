"""Bootstrap intervals: coverage, agreement with scipy, and what missing values do."""

import numpy as np
import pytest
from lrface.metrics import bootstrap
from scipy import stats


def test_agrees_with_scipys_percentile_bootstrap():
    values = np.random.default_rng(0).gamma(2, size=300)
    ours = bootstrap(values, resamples=20_000)
    theirs = stats.bootstrap((values,), np.mean, method="percentile", n_resamples=20_000, rng=1).confidence_interval
    assert ours.value == values.mean()
    assert ours.low == pytest.approx(theirs.low, abs=0.006) and ours.high == pytest.approx(theirs.high, abs=0.006)


def test_covers_the_truth_as_often_as_it_says():
    random = np.random.default_rng(1)
    hits = sum(low <= 5 <= high for _, low, high, _ in (bootstrap(random.normal(5, 2, 80), resamples=400) for _ in range(400)))
    assert 0.91 <= hits / 400 <= 0.98


def test_nan_is_left_out_and_counted_by_n():
    e = bootstrap(np.array([1.0, np.nan, 3.0]))
    assert (e.value, e.n) == (2.0, 2) and e.low <= 2 <= e.high
    assert bootstrap(np.array([np.nan])).n == 0 and np.isnan(bootstrap(np.array([])).value)
    one = bootstrap(np.array([4.0]))
    assert one.value == 4 and one.n == 1 and np.isnan(one.low)


def test_same_values_same_interval():
    values = np.random.default_rng(2).random(50)
    assert bootstrap(values) == bootstrap(values)
