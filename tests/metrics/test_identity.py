"""Similarity and distance of embeddings, against scikit-learn and scipy."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lrface.errors import UsageError
from lrface.metrics.identity import distance, impostors, similarity, strangers
from lrface.metrics.intervals import estimate
from scipy.spatial.distance import cosine, euclidean
from sklearn.metrics.pairwise import paired_cosine_distances, paired_euclidean_distances


def pairs(n=50, d=128, seed=0):
    return np.random.default_rng(seed).standard_normal((2, n, d))


@settings(max_examples=30)
@given(n=st.integers(1, 20), d=st.integers(1, 64), seed=st.integers(0, 99))
def test_against_sklearn_and_scipy(n, d, seed):
    a, b = pairs(n, d, seed)
    # scikit-learn gives half the squared distance of the normalised vectors, which is the cosine
    # distance.
    np.testing.assert_allclose(similarity(a, b), 1 - paired_cosine_distances(a, b), atol=1e-12)
    np.testing.assert_allclose(distance(a, b), paired_euclidean_distances(a, b), rtol=1e-12)
    np.testing.assert_allclose(
        similarity(a, b), [1 - cosine(x, y) for x, y in zip(a, b, strict=True)], atol=1e-12
    )
    np.testing.assert_allclose(
        distance(a, b), [euclidean(x, y) for x, y in zip(a, b, strict=True)], rtol=1e-12
    )


def test_known_answers():
    a, b = np.array([[3.0, 4], [1, 0], [1, 1]]), np.array([[6.0, 8], [0, 2], [-1, -1]])
    np.testing.assert_allclose(similarity(a, b), [1, 0, -1], atol=1e-15)
    np.testing.assert_allclose(distance(a, b), [5, 5**0.5, 8**0.5])


def test_float64_results_from_tensors_that_carry_gradients():
    a, b = (torch.tensor(x, dtype=torch.float32, requires_grad=True) for x in pairs())
    for measure in (similarity, distance):
        result = measure(a, b)
        assert result.dtype == np.float64 and result.shape == (50,)
        np.testing.assert_array_equal(
            result, measure(a.detach().double().numpy(), b.detach().double().numpy())
        )
    assert similarity(a.bfloat16(), b.bfloat16()).dtype == np.float64


@pytest.mark.filterwarnings("error")
def test_zero_and_nan_vectors():
    a, b = pairs(3, 8)
    a[0], b[1, 3] = 0, np.nan
    assert np.isnan(similarity(a, b)).tolist() == [True, True, False]
    assert np.isnan(distance(a, b)).tolist() == [False, True, False]
    assert distance(a, b)[0] == pytest.approx(np.linalg.norm(b[0]))


@pytest.mark.parametrize("factor", [1e-200, 1e200])
def test_similarity_ignores_length_however_extreme(factor):
    a, b = pairs()
    np.testing.assert_allclose(similarity(factor * a, b / factor), similarity(a, b), atol=1e-12)


def test_similarity_stays_within_one():
    a, _ = pairs(1000, 3)
    assert similarity(a, 7 * a).max() <= 1 and similarity(a, -7 * a).min() >= -1


def test_no_pairs():
    assert similarity(np.zeros((0, 128)), np.zeros((0, 128))).shape == (0,)


@pytest.mark.parametrize("shapes", [((2, 3), (3, 3)), ((2, 3), (2, 4)), ((3,), (3,))])
def test_unequal_batches_are_refused(shapes):
    for measure in (similarity, distance):
        with pytest.raises(UsageError, match="row by row"):
            measure(*(np.ones(shape) for shape in shapes))


def test_impostors_are_all_pairs_of_two_people_by_loops():
    random = np.random.default_rng(0)
    identities = np.repeat(np.arange(12), 4)
    vectors = random.normal(size=(12, 8))[identities] + 0.7 * random.normal(size=(48, 8))
    found = impostors(vectors, identities, fpr=0.05, resamples=50)
    unit = [v / np.linalg.norm(v) for v in vectors]
    different = [
        unit[i] @ unit[j] for i in range(48) for j in range(i) if identities[i] != identities[j]
    ]
    same = [
        unit[i] @ unit[j] for i in range(48) for j in range(i) if identities[i] == identities[j]
    ]
    assert found.different == pytest.approx(sorted(different))
    assert found.same == pytest.approx(sorted(same))
    assert found.medians[0] == pytest.approx(np.quantile(different, 0.5, method="lower"), abs=0.01)
    bar = np.quantile(different, 0.95, method="inverted_cdf")
    assert found.rates[0] == pytest.approx(np.mean(np.array(same) > bar))
    median = estimate(found.medians, 12)
    assert median.low < median.value < median.high and median.n == 12
    again = impostors(vectors, [f"p{i:02d}" for i in identities], fpr=0.05, resamples=50)
    assert np.array_equal(again.medians, found.medians)
    lonely = impostors(vectors[::4], np.arange(12))  # one face each: nobody to recognise
    assert np.isnan(lonely.rates).all() and np.isfinite(lonely.medians[0])


def test_what_all_faces_share_is_taken_out():
    random = np.random.default_rng(0)
    shared = np.zeros(16)
    shared[0] = 3.0
    mine, yours = random.normal(size=(2, 400, 16)) * 0.3
    assert similarity(shared + mine, shared + yours).mean() > 0.8
    assert abs(similarity(shared + mine, shared + yours, centre=shared).mean()) < 0.05
    np.testing.assert_allclose(
        similarity(shared + mine, shared + yours, torch.tensor(shared)), similarity(mine, yours)
    )
    with pytest.raises(UsageError, match="centre of embeddings"):
        similarity(mine, yours, centre=shared[:5])


@settings(max_examples=30)
@given(n=st.integers(2, 12), people=st.integers(2, 4), seed=st.integers(0, 99))
def test_strangers_by_loops(n, people, seed):
    random = np.random.default_rng(seed)
    a, b = random.standard_normal((2, n, 5))
    centre, identities = random.standard_normal(5), random.integers(people, size=n)
    found = strangers(a, b, identities, centre)
    for i in range(n):
        others = [j for j in range(n) if identities[j] != identities[i]]
        cosines = [1 - cosine(a[i] - centre, b[j] - centre) for j in others]
        assert np.isnan(found[i]) if not others else np.isclose(found[i], np.mean(cosines))


@pytest.mark.filterwarnings("error")
def test_faces_without_a_vector_are_nobodys_strangers():
    a, b = pairs(4, 8)
    a[0], b[3] = np.nan, np.nan
    found = strangers(a, b, ["ann", "ann", "bob", "cay"])
    assert np.isnan(found[0]) and np.isfinite(found[1:]).all()
    assert found[1] == pytest.approx(1 - cosine(a[1], b[2]))
    with pytest.raises(UsageError, match="3 identities were given for 4"):
        strangers(a, b, ["ann", "bob", "cay"])
