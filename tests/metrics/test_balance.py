"""Balanced accuracy against scikit-learn's and against the slides' formula written out."""

import warnings

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from lrface.errors import LrfaceError, UsageError
from lrface.metrics import (
    balanced_accuracy,
    balanced_contributions,
    balanced_draws,
    bootstrap,
    estimate,
    imbalance_level,
    intervals,
)
from sklearn.metrics import balanced_accuracy_score


@pytest.mark.slow
@given(st.lists(st.tuples(st.integers(-1, 2), st.integers(-1, 3)), min_size=2, max_size=60))
def test_as_scikit_learn_has_it(pairs):
    truth, predicted = np.array(pairs).T
    assume(len(set(truth)) > 1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn warns of predictions that are no class
        theirs = balanced_accuracy_score(truth, predicted)
    assert balanced_accuracy(truth, predicted) == pytest.approx(theirs, abs=1e-15)
    assert balanced_accuracy(torch.tensor(truth), predicted) == pytest.approx(theirs, abs=1e-15)


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=2, max_size=60))
def test_the_slides_formula_for_two_classes(pairs):
    truth, predicted = np.array(pairs).T
    assume(0 < truth.sum() < len(truth))
    tp, tn = (truth & predicted).sum(), (~truth & ~predicted).sum()
    expected = (tp / truth.sum() + tn / (~truth).sum()) / 2
    assert balanced_accuracy(truth, predicted) == pytest.approx(expected, abs=1e-15)
    assert balanced_accuracy(truth, np.ones_like(truth)) == 0.5
    level = abs(100 * truth.sum() / len(truth) - 50)
    assert imbalance_level(truth) == imbalance_level(~truth) == pytest.approx(level, abs=1e-12)


def test_bald_is_2_of_100():
    bald = np.arange(100) < 2
    assert imbalance_level(bald) == imbalance_level(torch.tensor(bald)) == 48
    assert imbalance_level([0, 1]) == 0
    assert balanced_accuracy(bald, np.zeros(100, bool)) == 0.5
    assert balanced_accuracy(bald, bald) == 1


def test_failures_in_one_sentence():
    with pytest.raises(LrfaceError, match="all 3 faces are of class 1"):
        balanced_accuracy([1, 1, 1], [1, 0, 1])
    with pytest.raises(UsageError, match="2 predictions for 3 faces"):
        balanced_accuracy([1, 0, 1], [1, 0])
    for wrong in ([], [[0, 1]], [0.5, 1], ["a", "b"]):
        with pytest.raises(UsageError, match="an integer or bool for each face"):
            balanced_accuracy(wrong, wrong)
        with pytest.raises(UsageError, match="an integer or bool for each face"):
            imbalance_level(wrong)
    with pytest.raises(UsageError, match="bool or 0/1"):
        imbalance_level([-1, 1])


def test_people_are_resampled_with_all_their_faces():
    random = np.random.default_rng(0)
    people, truth = np.repeat(np.arange(12), 5), random.random(60) < 0.3
    predicted = truth ^ (random.random(60) < 0.25)
    found = balanced_draws(truth, predicted == truth, people, resamples=40)
    assert found[0] == pytest.approx(balanced_accuracy(truth, predicted), abs=1e-15)
    for times, value in zip(intervals.counts(12, 40, 0), found, strict=True):
        rows = np.repeat(np.arange(60), times[people].astype(int))
        expected = balanced_accuracy_score(truth[rows], predicted[rows])
        assert value == pytest.approx(expected, abs=1e-12)
    assert estimate(found, 60).low < found[0] < estimate(found, 60).high
    # One class alone gives its recall, and fractions (of several trainings) are averaged.
    recall = balanced_draws(truth, predicted == truth, people, (True,), 5)[0]
    assert recall == pytest.approx(predicted[truth].mean())
    assert balanced_draws(truth, np.full(60, 0.5), people, resamples=5) == pytest.approx(0.5)


def test_a_resample_without_a_class_is_nan_and_left_out():
    truth, people = np.array([True, False, False, False]), ["a", "b", "c", "d"]
    found = balanced_draws(truth, np.ones(4), people, resamples=200)
    assert np.isnan(found).any() and found[0] == 1 and estimate(found, 4)[:3] == (1, 1, 1)
    with pytest.raises(UsageError, match="for each face"):
        balanced_draws(truth, np.ones(3), people)


def test_contributions_have_balanced_accuracy_as_their_mean_and_its_interval():
    random = np.random.default_rng(3)
    people = np.repeat(np.arange(150), 4)
    truth = (random.random(150) < 0.2)[people]  # of a person: about 30 people have it
    correct = random.random(600) < np.where(truth, 0.7, 0.9)
    found = balanced_contributions(truth, correct)
    assert found.mean() == pytest.approx(balanced_accuracy(truth, truth == correct))
    ours = bootstrap(found, clusters=people)
    theirs = estimate(balanced_draws(truth, correct, people, resamples=2000), 600)
    assert ours.high - ours.low == pytest.approx(theirs.high - theirs.low, rel=0.05)
    both = balanced_contributions(truth, np.stack([correct, ~correct]))
    assert both.shape == (2, 600) and both[0] == pytest.approx(found)
    with pytest.raises(LrfaceError, match="both classes"):
        balanced_contributions(np.ones(3, bool), np.ones(3))
