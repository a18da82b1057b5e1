"""Bootstrap intervals: coverage, agreement with scipy, and what missing values do."""

import numpy as np
import pytest
from lrface import metrics
from lrface.metrics import bootstrap, gap, lead, rank_agreement
from scipy import stats


def test_agrees_with_scipys_percentile_bootstrap():
    values = np.random.default_rng(0).gamma(2, size=300)
    ours = bootstrap(values, resamples=20_000)
    theirs = stats.bootstrap(
        (values,), np.mean, method="percentile", n_resamples=20_000, rng=1
    ).confidence_interval
    assert ours.value == values.mean()
    assert ours.low == pytest.approx(theirs.low, abs=0.006) and ours.high == pytest.approx(
        theirs.high, abs=0.006
    )


def test_covers_the_truth_as_often_as_it_says():
    random = np.random.default_rng(1)
    hits = sum(
        low <= 5 <= high
        for _, low, high, _ in (
            bootstrap(random.normal(5, 2, 80), resamples=400) for _ in range(400)
        )
    )
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


def test_identities_are_drawn_whole():
    random = np.random.default_rng(3)
    people = np.repeat(np.arange(40), 10)
    values = random.normal(size=40)[people]  # ten pictures of a person say the same
    by_face, by_person = bootstrap(values), bootstrap(values, clusters=people)
    assert by_person.value == by_face.value and by_person.n == 400
    width = [e.high - e.low for e in (by_face, by_person, bootstrap(values[::10]))]
    assert width[1] == pytest.approx(width[2], rel=0.1) and width[1] == pytest.approx(
        width[0] * 10**0.5, rel=0.15
    )
    assert bootstrap(values, clusters=[f"p{i:02d}" for i in people]) == by_person
    assert np.isnan(
        bootstrap(values[:10], clusters=people[:10]).low
    )  # one person says nothing about people


def test_a_gap_is_that_of_the_extreme_groups_and_chance_makes_one_too():
    random = np.random.default_rng(4)
    people = np.repeat(np.arange(120), 5)
    groups = np.array(["a", "b", "c"], object)[people % 3]
    noise = random.normal(size=120)[people] + 0.1 * random.normal(size=600)
    none = gap(noise, groups, people)
    means = [noise[groups == g].mean() for g in "abc"]
    assert (
        none.estimate.value == pytest.approx(max(means) - min(means))
        and "abc"[int(np.argmax(means))] == none.highest
    )
    large = gap(noise + 3.0 * (groups == "b"), groups, people)
    assert (
        large.highest == "b"
        and large.estimate.low > large.chance > 0
        and large.estimate.low < 3.2 < large.estimate.high + 0.5
    )
    # dealt at random, the gap passes its own 95th percentile one time in twenty
    passed = [gap(random.normal(size=120)[people], groups, people, 200, i) for i in range(60)]
    assert sum(g.estimate.value > g.chance for g in passed) <= 9
    missing = noise.copy()
    missing[groups == "c"] = np.nan
    assert {gap(missing, groups, people).highest, gap(missing, groups, people).lowest} == {"a", "b"}
    assert np.isnan(gap(noise, [None] * 600, people).estimate.value)


def test_rank_agreement_is_kendalls_tau_of_the_means():
    random = np.random.default_rng(5)
    values = np.arange(6)[:, None] + random.normal(size=(6, 200)) * 0.5
    assert (
        rank_agreement(values, range(6)).value == pytest.approx(1)
        and rank_agreement(values, range(6)).low > 0.9
    )
    assert rank_agreement(values, [5, 4, 3, 2, 1, 0]).value == pytest.approx(-1)
    shuffled = [2.0, 0.0, 5.0, 1.0, 4.0, 3.0]
    assert rank_agreement(values, shuffled).value == pytest.approx(
        stats.kendalltau(shuffled, values.mean(1)).statistic
    )
    tied = [1.0, 1.0, 2.0, 3.0, 3.0, 0.0]
    assert rank_agreement(values, tied).value == pytest.approx(
        stats.kendalltau(tied, values.mean(1)).statistic
    )
    close = 0.01 * np.arange(6)[:, None] + random.normal(size=(6, 50))
    unsure = rank_agreement(close, range(6), clusters=np.arange(50) // 5)
    assert unsure.high - unsure.low > 0.5 and unsure.n == 6
    values[0, ::2] = np.nan
    assert rank_agreement(values, range(6)).value == pytest.approx(1)


def test_a_lead_over_the_best_other_is_not_flattered_by_choosing_it():
    random = np.random.default_rng(6)
    values = random.normal(size=(4, 60)) + np.array([[1.0], [0.0], [0.1], [0.05]])
    e = lead(values, 0)
    assert (
        e.value == pytest.approx(values[0].mean() - values[1:].mean(1).max())
        and e.low < e.value < e.high
        and e.n == 60
    )
    assert lead(values, 1).value < 0 and lead(-values, 0).value == pytest.approx(
        (-values[0]).mean() - (-values[1:]).mean(1).max()
    )
    # three equals: the chosen best other looks better than it is, in the resamples as in the data
    others = lead(np.stack([values[0], values[1]]), 0)
    assert e.high <= others.high + 0.05
    assert lead(values, 0, clusters=np.arange(60) // 6).n == 60


def simulated(trainings, seed_sd, random, people=40, faces=4, k=3):
    """Scores (k, people * faces) whose mean over people and trainings is zero, and the identities;
    ``seed_sd`` in units of the standard error of the mean over people."""
    who = np.repeat(np.arange(people), faces)
    of_people = random.normal(size=people)[who] + random.normal(size=people * faces)
    error = np.sqrt(1 / people + 1 / (people * faces))
    between = random.normal(0, seed_sd * error, (trainings, 1))
    return of_people + between + random.normal(0, 0.3, (trainings, people * faces)), who


@pytest.mark.parametrize("seed_sd", [0, 1, 2, 4])
def test_interval_over_people_and_three_trainings_covers_95_percent(seed_sd):
    random, covered, runs = np.random.default_rng(1), 0, 600
    resampling_trainings = 0
    for _ in range(runs):
        values, who = simulated(3, seed_sd, random)
        draws = metrics.resampled_means(values, who, resamples=300)
        found = metrics.people_and_trainings(draws, len(who))
        covered += found.low <= 0 <= found.high
        chosen = random.integers(3, size=(300, 3))
        redrawn = np.take_along_axis(draws[:, 1:].T, chosen, 1).mean(1)
        low, high = np.quantile(redrawn, [0.025, 0.975])
        resampling_trainings += low <= 0 <= high
    assert covered / runs >= 0.93
    if seed_sd >= 2:  # what the interval replaces
        assert resampling_trainings / runs < 0.91


def test_resampled_means_are_the_bootstraps():
    random = np.random.default_rng(0)
    values, who = random.normal(size=(2, 30)), np.repeat(list("abcdefghij"), 3)
    draws = metrics.resampled_means(values, who)
    for row, one in zip(values, draws, strict=True):
        expected = metrics.bootstrap(row, clusters=who)
        np.testing.assert_allclose(metrics.estimate(one, 30), expected, rtol=1e-12)
    alone = metrics.people_and_trainings(draws[:1], 30)
    assert alone == metrics.estimate(draws[0], 30)


def test_equal_trainings_add_nothing_and_different_ones_widen():
    draws = metrics.resampled_means(np.random.default_rng(0).normal(size=50))
    same = metrics.people_and_trainings(np.stack([draws] * 3), 50)
    np.testing.assert_allclose(same, metrics.estimate(draws, 50), rtol=1e-12)
    apart = metrics.people_and_trainings(np.stack([draws - 1, draws, draws + 1]), 50)
    assert apart.low < same.low - 1 and apart.high > same.high + 1
