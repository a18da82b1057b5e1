"""Verification against scikit-learn, scipy and plain loops; ties; increasing transforms."""

from math import comb

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lrface.errors import LrfaceError
from lrface.metrics import accuracy_gain, cosine_after_pca, intervals, mcnemar, verification
from scipy.stats import binomtest, sem, ttest_1samp, ttest_rel
from sklearn.metrics import roc_auc_score, roc_curve


def pairs(seed, folds=10, half=15, signal=1.0, steps=None):
    """Scores and truth in LFW's order: in each fold ``half`` same pairs, then ``half`` different.

    ``steps`` rounds the scores, for ties.
    """
    random = np.random.default_rng(seed)
    same = np.tile(np.repeat([True, False], half), folds)
    scores = random.standard_normal(len(same)) + signal * same
    return (np.round(scores * steps) / steps if steps else scores), same


def slow(scores, same, labels):
    """Every threshold tried on the other folds; the highest of the best is taken."""
    thresholds, accuracies = [], []
    for label in np.unique(labels):
        inside, best = labels == label, (-1, None)
        for t in sorted({np.inf, *scores[~inside]}):
            best = max(best, (int(((scores >= t) == same)[~inside].sum()), t))
        thresholds.append(best[1])
        accuracies.append(((scores >= best[1]) == same)[inside].mean())
    return thresholds, accuracies


cases = {
    "seed": st.integers(0, 2**32),
    "folds": st.integers(2, 10),
    "half": st.integers(1, 12),
    "signal": st.sampled_from([-2.0, 0.0, 1.0, 9.0]),
    "steps": st.sampled_from([None, 1, 3]),
}


@pytest.mark.slow
@settings(max_examples=60)
@given(**cases)
def test_against_loops_and_scikit_learn(seed, folds, half, signal, steps):
    scores, same = pairs(seed, folds, half, signal, steps)
    ours = verification(scores, same, folds)
    thresholds, accuracies = slow(scores, same, np.repeat(np.arange(folds), 2 * half))
    np.testing.assert_array_equal(ours.thresholds, thresholds)
    np.testing.assert_array_equal(ours.fold_accuracies, accuracies)
    assert ours.accuracy == np.mean(accuracies) == pytest.approx(ours.correct.mean())
    assert ours.stderr == pytest.approx(sem(accuracies), abs=1e-15) and ours.n == len(same)
    fpr, tpr, cuts = roc_curve(same, scores, drop_intermediate=False)
    for column, theirs in (("fpr", fpr), ("tpr", tpr), ("threshold", cuts)):
        np.testing.assert_array_equal(ours.roc[column], theirs)
    assert ours.auc == pytest.approx(roc_auc_score(same, scores), abs=1e-12)
    rates = [[(scores[kind] >= t).mean() for kind in (~same, same)] for t in [np.inf, *scores]]
    for limit in (0, 1e-3, 0.05, 1 / 3, 1):
        assert ours.tpr_at(limit) == max(tpr for fpr, tpr in rates if fpr <= limit)


@pytest.mark.slow
@settings(max_examples=40)
@given(**cases)
def test_increasing_transforms_and_the_order_within_folds_change_nothing(
    seed, folds, half, signal, steps
):
    scores, same = pairs(seed, folds, half, signal, steps)
    once = verification(scores, same, folds)
    labels = np.repeat(np.arange(folds), 2 * half)
    order = np.lexsort((np.random.default_rng(seed).random(len(labels)), labels))
    warped = verification(np.arctan(scores) * 7 - 3, same, folds)
    shuffled = verification(scores[order], same[order], folds)
    everywhere = np.random.default_rng(seed + 1).permutation(len(labels))
    labelled = verification(scores[everywhere], same[everywhere], labels[everywhere] * 3 - 5)
    tensors = torch.tensor(-scores, requires_grad=True), torch.tensor(same)
    distances = verification(*tensors, folds, higher_is_same=False)
    for again in (warped, shuffled, labelled, distances):
        np.testing.assert_array_equal(again.fold_accuracies, once.fold_accuracies)
        np.testing.assert_array_equal(again.roc[["fpr", "tpr"]], once.roc[["fpr", "tpr"]])
    np.testing.assert_array_equal(warped.correct, once.correct)
    np.testing.assert_array_equal(shuffled.correct, once.correct[order])
    np.testing.assert_array_equal(labelled.correct, once.correct[everywhere])
    np.testing.assert_array_equal(distances.thresholds, -once.thresholds)
    np.testing.assert_array_equal(distances.roc["threshold"], -once.roc["threshold"])


def test_perfect_inverted_tied_and_random_scores():
    _, same = pairs(0)
    perfect, inverted, tied = (verification(s, same) for s in (same, ~same, same * 0.0))
    assert perfect.accuracy == perfect.auc == perfect.tpr_at(0) == 1 and perfect.stderr == 0
    assert set(perfect.thresholds) == {1} and set(inverted.thresholds) == {np.inf}
    assert (inverted.accuracy, inverted.auc, inverted.tpr_at(0.5)) == (0.5, 0, 0)
    assert (tied.accuracy, tied.auc, tied.tpr_at(0.99), tied.tpr_at(1)) == (0.5, 0.5, 0, 1)
    random = verification(*pairs(1, half=300, signal=0))
    assert (random.accuracy, random.auc) == pytest.approx((0.5, 0.5), abs=0.03)
    assert 0.001 < random.stderr < 0.02


def test_a_threshold_is_chosen_without_its_own_fold():
    scores, same = np.tile([0.9, 0.1], 3), np.tile([True, False], 3)
    scores[4:] = [0.3, 0.2]
    found = verification(scores, same, 3)
    # The best threshold of the first two folds is the third's 0.3; that of the third is 0.9, which
    # rejects its same pair.
    assert found.thresholds.tolist() == [0.3, 0.3, 0.9]
    assert found.fold_accuracies.tolist() == [1, 1, 0.5]
    assert found.correct.tolist() == [True] * 4 + [False, True]


def test_rates_below_the_resolution_are_those_without_a_false_accept():
    scores, same = pairs(2, half=100)
    found = verification(scores, same)
    assert found.resolution == 1 / 1000
    *_, second, highest = np.sort(scores[~same])
    assert found.tpr_at(1e-4) == found.tpr_at(0) == (scores[same] > highest).mean()
    assert found.tpr_at(1e-3) == (scores[same] > second).mean() >= found.tpr_at(0)


@settings(max_examples=60)
@given(b=st.integers(0, 40), c=st.integers(0, 40), both=st.integers(0, 5))
def test_mcnemar_is_the_exact_binomial_test(b, c, both):
    first = np.repeat([True, False, True, False], [b, c, both, both])
    second = np.repeat([False, True, True, False], [b, c, both, both])
    found = mcnemar(first, second)
    tail = 2 * sum(comb(b + c, k) for k in range(min(b, c) + 1)) / 2 ** (b + c)
    assert (found.b, found.c) == (b, c) and found.p == pytest.approx(min(1, tail), rel=1e-9)
    assert found.p == mcnemar(second, first).p
    assert b + c == 0 or found.p == binomtest(b, b + c).pvalue


def test_two_systems_on_the_same_pairs():
    scores, same = pairs(3, half=300)
    better = verification(scores + 0.7 * same, same)
    assert mcnemar(verification(scores, same).correct, better.correct).p < 1e-6
    assert mcnemar(better.correct, better.correct) == (1, 0, 0)


def test_wrong_requests_are_refused_in_one_sentence():
    scores, same = pairs(4)
    for case, word in (
        ((scores[:-1], same), "a score and a truth for each pair"),
        ((scores[:, None], same), "a score and a truth for each pair"),
        ((np.where(np.arange(300) < 3, np.nan, scores), same), "3 of 300 scores are not finite"),
        ((scores, same + 1), "0/1"),
        ((scores, same, 2.5), "number or as integer labels"),
        ((scores, same, 1), "at least 2 folds"),
        ((scores, same, 301), "a pair in each"),
        ((scores, same, np.zeros(300, int)), "every pair is in one fold"),
        ((scores, same, np.zeros(299, int)), "a score and a truth for each pair"),
        ((np.sort(scores), np.sort(same)), "fold 0 holds only different pairs"),
        ((scores, same, 300), "fold 0 holds only same pairs"),
    ):
        with pytest.raises(LrfaceError, match=word):
            verification(*case)
    for rate in (-0.1, 1.1, np.nan):
        with pytest.raises(LrfaceError, match="lies in"):
            verification(scores, same).tpr_at(rate)
    with pytest.raises(LrfaceError, match="two bool arrays"):
        mcnemar(same, same.astype(int))


@pytest.mark.slow
@settings(max_examples=40)
@given(**cases)
def test_scores_fitted_without_their_fold_by_loops(seed, folds, half, signal, steps):
    """A fold's threshold is from its row of scores and the other folds; its pairs have that row."""
    scores, same = pairs(seed, folds, half, signal, steps)
    rows = np.tile(scores, (folds, 1))
    assert verification(rows, same, folds).roc.equals(verification(scores, same, folds).roc)
    rows = np.stack([pairs(seed + k, folds, half, signal, steps)[0] for k in range(folds)])
    labels = np.repeat(np.arange(folds), 2 * half)
    ours = verification(rows, same, folds)
    for k in range(folds):
        thresholds, accuracies = slow(rows[k], same, labels)
        assert ours.thresholds[k] == thresholds[k] and ours.fold_accuracies[k] == accuracies[k]
    own = np.array([rows[k][i] for i, k in enumerate(labels)])
    assert ours.auc == pytest.approx(roc_auc_score(same, own), abs=1e-12)


def test_cosine_after_pca_by_eigenvectors_of_the_other_folds():
    random = np.random.default_rng(0)
    first, second = random.standard_normal((2, 60, 5)) * [4, 3, 2, 1, 0.5] + 3
    folds = np.repeat([7, 1, 3], 20)
    ours = cosine_after_pca(first, torch.from_numpy(second), folds, 3)
    assert ours.shape == (3, 60)
    for row, label in zip(ours, [1, 3, 7], strict=True):
        others = np.concatenate([x[folds != label] for x in (first, second)])
        axes = np.linalg.eigh(np.cov(others.T))[1][:, -3:]
        a, b = ((x - others.mean(0)) @ axes for x in (first, second))
        expected = [x @ y / np.sqrt(x @ x * (y @ y)) for x, y in zip(a, b, strict=True)]
        np.testing.assert_allclose(row, expected, atol=1e-10)
    changed = np.where((folds == 3)[:, None], random.standard_normal((60, 5)), first)
    again = cosine_after_pca(changed, second, folds, 3)
    np.testing.assert_allclose(again[1][folds != 3], ours[1][folds != 3], atol=1e-12)
    assert np.abs(again[0] - ours[0])[folds != 3].max() > 1e-3
    assert cosine_after_pca(first, second, folds).shape == (3, 60)  # all components


@pytest.mark.parametrize("scores", [np.zeros((2, 40)), np.zeros((4, 39)), np.zeros((1, 2, 40))])
def test_rows_of_scores_that_do_not_fit(scores):
    with pytest.raises(LrfaceError, match="score"):
        verification(scores, np.tile([True, False], 20), 4)


def test_intervals_over_folds_are_scipys():
    scores, same = pairs(0)
    worse = scores + np.random.default_rng(1).standard_normal(len(scores))
    a, b = verification(scores, same), verification(worse, same)
    inside = ttest_1samp(a.fold_accuracies, 0).confidence_interval()
    assert a.estimate == pytest.approx((a.accuracy, inside.low, inside.high, 300))
    paired = ttest_rel(a.fold_accuracies, b.fold_accuracies).confidence_interval()
    expected = a.accuracy - b.accuracy, paired.low, paired.high, 300
    assert accuracy_gain(a, b) == pytest.approx(expected)
    with pytest.raises(LrfaceError, match="same pairs"):
        accuracy_gain(a, verification(scores[:-10], same[:-10], 10))


def test_the_interval_of_a_tpr_is_over_resampled_folds():
    random = np.random.default_rng(3)
    same = np.tile([True] * 20 + [False] * 20, 8)
    fold = np.repeat(np.arange(8), 40)
    scores = np.round(random.normal(same + 0.1 * fold, 0.7), 1)  # many ties, and folds that differ
    brute = []
    for times in intervals.counts(8, 50, 0)[1:]:
        rows = np.flatnonzero(fold >= 0).repeat(times[fold].astype(int))
        # The folds do not matter to the ROC curve.
        brute.append(verification(scores[rows], same[rows], rows % 2).tpr_at(0.05))
    found = verification(scores, same, fold)
    tpr = found.tpr_estimate(0.05, resamples=50)
    assert np.allclose(tpr, (found.tpr_at(0.05), *np.quantile(brute, [0.025, 0.975]), 320))
    assert tpr.low < tpr.value < tpr.high
    distances = verification(-scores, same, fold, higher_is_same=False)
    assert distances.tpr_estimate(0.05, resamples=50) == tpr
