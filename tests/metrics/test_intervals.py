"""Bootstrap intervals: coverage, agreement with scipy, and what missing values do."""

import numpy as np
import pytest
from lrface import metrics
from lrface.errors import UsageError
from lrface.metrics import (
    bootstrap,
    cross_fitted_margin,
    group_gap,
    halves,
    people_and_trainings,
    rank_agreement,
    resampled_means,
    widened,
)
from scipy import stats


def test_agrees_with_scipys_percentile_bootstrap():
    values = np.random.default_rng(0).gamma(2, size=300)
    ours = bootstrap(values, resamples=20_000)
    theirs = stats.bootstrap((values,), np.mean, method="percentile", n_resamples=20_000, rng=1)
    assert ours.value == values.mean()
    assert (ours.low, ours.high) == pytest.approx(theirs.confidence_interval, abs=0.006)


def test_covers_the_truth_as_often_as_it_says():
    random = np.random.default_rng(1)
    samples = random.normal(5, 2, (400, 80))
    found = [bootstrap(sample - 5, resamples=400) for sample in samples]
    assert 0.91 <= coverage([e.low for e in found], [e.high for e in found]) <= 0.98


def test_nan_is_left_out_and_counted_by_n():
    e = bootstrap(np.array([1.0, np.nan, 3.0]))
    assert (e.value, e.n) == (2.0, 2) and e.low <= 2 <= e.high
    assert bootstrap(np.array([np.nan])).n == 0 and np.isnan(bootstrap(np.array([])).value)
    one = bootstrap(np.array([4.0]))
    assert one.value == 4 and one.n == 1 and np.isnan(one.low)


def test_same_values_same_interval():
    values = np.random.default_rng(2).random(50)
    assert bootstrap(values) == bootstrap(values)


def test_identities_are_resampled_whole():
    random = np.random.default_rng(3)
    people = np.repeat(np.arange(40), 10)
    values = random.normal(size=40)[people]  # ten pictures of a person say the same
    by_face, by_person = bootstrap(values), bootstrap(values, clusters=people)
    assert by_person.value == by_face.value and by_person.n == 400
    faces, persons, one_each = (
        e.high - e.low for e in (by_face, by_person, bootstrap(values[::10]))
    )
    assert persons == pytest.approx(one_each, rel=0.1)
    assert persons == pytest.approx(faces * 10**0.5, rel=0.15)
    assert bootstrap(values, clusters=[f"p{i:02d}" for i in people]) == by_person
    # one person says nothing about people
    assert np.isnan(bootstrap(values[:10], clusters=people[:10]).low)


def test_a_gap_is_that_of_the_extreme_groups_and_chance_makes_one_too():
    random = np.random.default_rng(4)
    people = np.repeat(np.arange(120), 5)
    groups = np.array(["a", "b", "c"], object)[people % 3]
    noise = random.normal(size=120)[people] + 0.1 * random.normal(size=600)
    none = group_gap(noise, groups, people)
    means = [noise[groups == g].mean() for g in "abc"]
    assert none.estimate.value == pytest.approx(max(means) - min(means))
    assert none.highest == "abc"[int(np.argmax(means))]
    large = group_gap(noise + 3.0 * (groups == "b"), groups, people)
    assert large.highest == "b" and large.estimate.low > large.chance > 0
    assert large.estimate.low < 3.2 < large.estimate.high + 0.5
    missing = np.where(groups == "c", np.nan, noise)
    found = group_gap(missing, groups, people)
    assert {found.highest, found.lowest} == {"a", "b"}
    assert np.isnan(group_gap(noise, [None] * 600, people).estimate.value)


def test_a_gap_by_chance_passes_its_95th_percentile_one_time_in_twenty():
    random = np.random.default_rng(4)
    people = np.repeat(np.arange(120), 5)
    groups = np.array(["a", "b", "c"], object)[people % 3]
    found = [group_gap(random.normal(size=120)[people], groups, people, 200, i) for i in range(60)]
    assert sum(gap.estimate.value > gap.chance for gap in found) <= 9


def test_rank_agreement_is_kendalls_tau_of_the_means():
    random = np.random.default_rng(5)
    values = np.arange(6)[:, None] + random.normal(size=(6, 200)) * 0.5
    same, reversed_ = rank_agreement(values, range(6)), rank_agreement(values, range(6)[::-1])
    assert same.value == pytest.approx(1) and same.low > 0.9
    assert reversed_.value == pytest.approx(-1)
    for published in ([2.0, 0.0, 5.0, 1.0, 4.0, 3.0], [1.0, 1.0, 2.0, 3.0, 3.0, 0.0]):
        tau = stats.kendalltau(published, values.mean(1)).statistic
        assert rank_agreement(values, published).value == pytest.approx(tau)
    close = 0.01 * np.arange(6)[:, None] + random.normal(size=(6, 50))
    unsure = rank_agreement(close, range(6), clusters=np.arange(50) // 5)
    assert unsure.high - unsure.low > 0.5 and unsure.n == 6
    values[0, ::2] = np.nan
    assert rank_agreement(values, range(6)).value == pytest.approx(1)


def test_the_best_rival_is_found_on_the_other_half_of_the_people():
    random = np.random.default_rng(6)
    people = np.repeat(np.arange(60), 2)
    values = random.normal(size=(4, 120)) + np.array([[2.0], [0.0], [0.9], [-1.0]])
    drawn = cross_fitted_margin(values, 0, people, resamples=300)
    first = halves(people)
    # by hand: method 2 is the best other one on both halves
    by_hand = [(values[0] - values[2])[half].mean() for half in (first, ~first)]
    assert drawn.shape == (1, 301) and drawn[0, 0] == pytest.approx(np.mean(by_hand))
    assert all(len(set(first[people == p])) == 1 for p in range(60)) and first.mean() == 0.5
    # trainings are paired, and their mean chooses
    three = cross_fitted_margin(np.stack([values, values + 1, values - 1], 1), 0, people, 300)
    assert three.shape == (3, 301) and three[:, 0] == pytest.approx([drawn[0, 0]] * 3)


def best_of_eight(effect, draws=400, people=100, faces=2):
    """How often a method that is so much better than seven others is surely above and surely below
    the best of them; a person's faces share 70 % of the spread of a single face."""
    verdicts = np.zeros(2)
    who = np.repeat(np.arange(people), faces)
    for draw in range(draws):
        random = np.random.default_rng(draw)
        person = random.normal(0, 0.07, (8, people))[:, who]
        values = random.normal(0, 0.1, (8, people * faces)) + person
        values[0] += effect
        drawn = cross_fitted_margin(values, 0, who, 300)
        found = people_and_trainings(drawn, people)
        verdicts += [found.low > 0, found.high < 0]
    return verdicts / draws


@pytest.mark.slow
def test_a_tie_with_the_best_is_rarely_a_defeat_and_a_lead_is_mostly_seen():
    above, below = best_of_eight(0.0)
    assert below <= 0.05 and above <= 0.05
    above, below = best_of_eight(0.02, draws=100, people=400)
    assert above > 0.5 and below == 0


def test_few_units_have_a_wider_interval():
    draws = resampled_means(np.random.default_rng(0).normal(size=(1, 10)))
    ten, many = widened(draws, 10), widened(draws, 100_000)
    ratio = np.ptp(ten[0, 1:]) / np.ptp(draws[0, 1:])
    assert ratio == pytest.approx(2.262 / 1.96 * np.sqrt(10 / 9), rel=1e-3)
    assert np.allclose(many, draws, atol=1e-4) and np.array_equal(widened(draws, 1), draws)


def simulated(seed_sd, random, runs, people=40, faces=4, trainings=3):
    """Scores (runs, trainings, faces in all) whose expectation is zero, and the faces' identities.

    ``seed_sd``: of the trainings, in units of the standard error of the mean over people.
    """
    who = np.repeat(np.arange(people), faces)
    n = len(who)
    scores = random.normal(size=(runs, 1, people))[..., who] + random.normal(size=(runs, 1, n))
    error = np.sqrt(1 / people + 1 / n)
    scores = scores + random.normal(0, seed_sd * error, (runs, trainings, 1))
    return scores + random.normal(0, 0.3, (runs, trainings, n)), who


def coverage(low, high):
    return float(np.mean((np.asarray(low) <= 0) & (np.asarray(high) >= 0)))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("seed_sd", "resampled_at_most"), [(0, 1), (1, 0.95), (2, 0.91), (4, 0.85)]
)
def test_interval_over_people_and_three_trainings_covers_95_percent(seed_sd, resampled_at_most):
    random, runs, resamples = np.random.default_rng(1), 1500, 300
    values, who = simulated(seed_sd, random, runs)
    draws = metrics.resampled_means(values, who, resamples=resamples)
    found = [people_and_trainings(one, len(who)) for one in draws]
    covered = coverage([e.low for e in found], [e.high for e in found])

    chosen = random.integers(3, size=(runs, resamples, 3))
    redrawn = np.take_along_axis(np.moveaxis(draws[..., 1:], 1, 2), chosen, 2).mean(2)
    resampled = coverage(*np.quantile(redrawn, [0.025, 0.975], axis=1))
    print(f"seed sd {seed_sd}: covered {covered:.1%}, by resampling trainings {resampled:.1%}")
    assert 0.93 <= covered <= 0.99 and resampled <= resampled_at_most


@pytest.mark.slow
def test_resampling_trainings_that_alone_vary_covers_three_times_in_four():
    random = np.random.default_rng(0)
    of_training = random.normal(size=(1500, 3))
    chosen = random.integers(3, size=(1500, 300, 3))
    redrawn = np.take_along_axis(of_training[:, None], chosen, 2).mean(2)
    resampled = coverage(*np.quantile(redrawn, [0.025, 0.975], axis=1))
    people_agree = np.repeat(of_training[..., None], 2, 2)
    found = [people_and_trainings(one, 1) for one in people_agree]
    covered = coverage([e.low for e in found], [e.high for e in found])
    print(f"covered {covered:.1%}, by resampling trainings {resampled:.1%}")
    assert 0.93 <= covered <= 0.97 and resampled < 0.8


def test_resampled_means_are_the_bootstraps():
    random = np.random.default_rng(0)
    values, who = random.normal(size=(2, 30)), np.repeat(list("abcdefghij"), 3)
    values[1, 4:7] = np.nan
    draws = metrics.resampled_means(values, who)
    for row, one in zip(values, draws, strict=True):
        expected = bootstrap(row, clusters=who)
        found = metrics.estimate(one, int(np.isfinite(row).sum()))
        np.testing.assert_allclose(found, expected, rtol=1e-12)
    np.testing.assert_array_equal(metrics.resampled_means(values[None], who)[0], draws)
    np.testing.assert_allclose(metrics.resampled_means(values[0], who), draws[0], rtol=1e-12)
    assert not np.array_equal(metrics.resampled_means(values, who, seed=1), draws)


def test_resampled_means_of_a_loop():
    random = np.random.default_rng(0)
    values, who = random.normal(size=(3, 12)), np.repeat(np.arange(4), [1, 2, 4, 5])
    draws = metrics.resampled_means(values, who, resamples=20)
    for times, found in zip(metrics.intervals.counts(4, 20, 0), draws.T, strict=True):
        faces = np.repeat(np.arange(12), times.astype(int)[who])
        np.testing.assert_allclose(found, values[:, faces].mean(1), rtol=1e-12)


@pytest.mark.slow
def test_many_units_are_resampled_in_blocks_with_the_same_result():
    """4 million counts are one block: 80 of these resamples."""
    n, resamples = 50_000, 100
    values = np.random.default_rng(0).normal(size=n)
    times = metrics.intervals.counts(n, resamples, 0)
    draws = metrics.resampled_means(values, resamples=resamples)
    np.testing.assert_allclose(draws, times @ values / n, atol=1e-15)
    expected = metrics.estimate(draws, n)
    assert bootstrap(values, resamples=resamples) == pytest.approx(expected, abs=1e-15)


@pytest.mark.filterwarnings("error")
def test_what_cannot_be_resampled_has_no_bounds():
    draws = metrics.resampled_means([[1.0, 3.0], [2.0, 2.0]], ["a", "a"])  # one person
    assert draws[:, 0].tolist() == [2, 2] and np.isnan(draws[:, 1:]).all()
    found = people_and_trainings(draws, 2)
    assert found.value == 2 and np.isnan([found.low, found.high]).all()
    nothing = metrics.resampled_means([[np.nan, np.nan, np.nan], [1.0, 2.0, 3.0]])
    assert np.isnan(nothing[0]).all() and np.isnan(people_and_trainings(nothing, 3).value)


def test_one_training_has_the_interval_over_people():
    draws = metrics.resampled_means(np.random.default_rng(0).normal(size=(1, 50)))
    expected = metrics.estimate(draws[0], 50)
    assert people_and_trainings(draws, 50) == people_and_trainings(draws[0], 50) == expected


def test_two_trainings_have_students_t_of_one_degree():
    found = people_and_trainings([[1.0, 1.0, 1.0], [3.0, 3.0, 3.0]], 7, confidence=0.9)
    half = stats.t.ppf(0.95, 1) * np.sqrt(2) / np.sqrt(2)
    np.testing.assert_allclose(found, (2, 2 - half, 2 + half, 7))


def test_equal_trainings_add_nothing_and_different_ones_widen():
    draws = metrics.resampled_means(np.random.default_rng(0).normal(size=50))
    same = people_and_trainings(np.stack([draws] * 3), 50)
    np.testing.assert_allclose(same, metrics.estimate(draws, 50), rtol=1e-12)
    apart = people_and_trainings(np.stack([draws - 1, draws, draws + 1]), 50)
    assert apart.low < same.low - 1 and apart.high > same.high + 1


def test_wrong_requests():
    for values, clusters in (([], None), (1.0, None), ([1.0, 2.0], ["a"]), ([1.0], [["a"]])):
        with pytest.raises(UsageError):
            metrics.resampled_means(values, clusters)
    for draws in ([[1.0]], np.zeros((0, 5)), np.zeros((2, 2, 2))):
        with pytest.raises(UsageError, match="trainings, 1"):
            people_and_trainings(draws, 1)
    with pytest.raises(UsageError, match="confidence"):
        people_and_trainings(np.zeros((2, 5)), 1, confidence=95)
    with pytest.raises(UsageError, match="3 values"):
        bootstrap([1.0, 2.0, 3.0], clusters=["a", "b"])
