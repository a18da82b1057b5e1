"""Joint Bayesian against explicit Gaussians: its scores, each EM step, its likelihood, and the
covariances that it recovers."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lrface.errors import LrfaceError, UsageError
from lrface.metrics import JointBayesian, joint_bayesian, similarity, verification
from scipy.stats import multivariate_normal

RIDGE = joint_bayesian.__globals__["RIDGE"]
IMAGES = st.lists(st.integers(1, 5), min_size=2, max_size=6).filter(lambda images: max(images) > 1)


def covariance(random, dims, rank=None):
    root = random.standard_normal((dims, dims if rank is None else rank))
    root = root * np.geomspace(1, 4, dims)[:, None]
    return root @ root.T / dims


def draw(random, between, within, images):
    """Embeddings of people with so many images each, and the person in each image."""
    people, centre = np.repeat(np.arange(len(images)), images), np.zeros(len(between))
    mu = random.multivariate_normal(centre, between, len(images), method="eigh")
    eps = random.multivariate_normal(centre, within, len(people), method="eigh")
    return mu[people] + eps, people


def joint_covariance(model, m):
    """Of m images of one person, (m D, m D)."""
    return np.kron(np.ones((m, m)), model.between) + np.kron(np.eye(m), model.within)


def log_likelihood(model, x, people):
    each = ((x[people == p] - model.mean).ravel() for p in np.unique(people))
    return sum(
        multivariate_normal.logpdf(v, cov=joint_covariance(model, len(v) // len(model.mean)))
        for v in each
    )


def log_objective(model, x, people):
    """What no iteration may lower: the likelihood with the ridge's penalty."""
    rho = RIDGE * (x - x.mean(0)).var(0).mean()
    penalty = len(x) * rho * np.trace(np.linalg.inv(model.within)) / 2
    return log_likelihood(model, x, people) - penalty


@settings(max_examples=40)
@given(
    seed=st.integers(0, 2**32),
    dims=st.integers(1, 6),
    rank=st.integers(0, 6),
    pairs=st.integers(0, 5),
)
def test_scores_are_the_log_likelihood_ratio_and_the_papers(seed, dims, rank, pairs):
    random = np.random.default_rng(seed)
    within = covariance(random, dims) + 0.1 * np.eye(dims)
    mean, between = random.standard_normal(dims), covariance(random, dims, min(rank, dims))
    model = JointBayesian(mean, between, within)
    a, b = 3 * random.standard_normal((2, pairs, dims))
    scores = model.scores(a, b)
    assert scores.dtype == np.float64 and scores.shape == (pairs,)
    np.testing.assert_array_equal(scores, model.scores(b, a))

    both, alone = np.hstack([a - model.mean, b - model.mean]), model.between + model.within
    one, two = joint_covariance(model, 2), np.kron(np.eye(2), alone)
    ratio = multivariate_normal.logpdf(both, cov=one) - multivariate_normal.logpdf(both, cov=two)
    np.testing.assert_allclose(scores, np.reshape(ratio, pairs), rtol=1e-9, atol=1e-8)

    f = np.linalg.inv(within)
    g = -np.linalg.solve(2 * model.between + within, model.between) @ f

    def quadratic(x, matrix, y):
        return np.einsum("ni,ij,nj->n", x - model.mean, matrix, y - model.mean)

    matrix = np.linalg.inv(alone) - (f + g)
    r = quadratic(a, matrix, a) + quadratic(b, matrix, b) - 2 * quadratic(a, g, b)
    constant = (np.linalg.slogdet(two)[1] - np.linalg.slogdet(one)[1]) / 2
    np.testing.assert_allclose(scores, r / 2 + constant, rtol=1e-9, atol=1e-8)


@settings(max_examples=20)
@given(seed=st.integers(0, 2**32), dims=st.integers(1, 4), images=IMAGES, done=st.integers(1, 3))
def test_an_iteration_is_the_exact_em_step_of_the_joint_gaussian(seed, dims, images, done):
    random = np.random.default_rng(seed)
    x, people = draw(random, covariance(random, dims), covariance(random, dims), images)
    model = joint_bayesian(x, people, done)
    f, eye = np.linalg.inv(model.within), np.eye(dims)
    between, within = np.zeros((2, dims, dims))
    for person, m in enumerate(images):
        mine = x[people == person] - model.mean
        # h = (mu, eps_1, ..., eps_m) is Gaussian, and the images are P h.
        parts = np.arange(m + 1)
        h = np.kron(np.diag(parts == 0), model.between) + np.kron(np.diag(parts > 0), model.within)
        p = np.kron(np.hstack([np.ones((m, 1)), np.eye(m)]), eye)
        gain = h @ p.T @ np.linalg.inv(p @ h @ p.T)
        mean = (gain @ mine.ravel()).reshape(m + 1, dims)
        posterior = (h - gain @ p @ h).reshape(m + 1, dims, m + 1, dims)
        between += np.outer(mean[0], mean[0]) + posterior[0, :, 0]
        within += mean[1:].T @ mean[1:] + sum(posterior[j, :, j] for j in range(1, m + 1))
        # The same means as the paper computes them.
        g = -np.linalg.solve(m * model.between + model.within, model.between) @ f
        np.testing.assert_allclose(mean[0], model.between @ (f + m * g) @ mine.sum(0), atol=1e-7)
        np.testing.assert_allclose(mean[1:], mine + model.within @ g @ mine.sum(0), atol=1e-7)
    rho = RIDGE * (x - x.mean(0)).var(0).mean()
    again = joint_bayesian(x, people, done + 1)
    np.testing.assert_allclose(again.between, between / len(images), rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(again.within, within / len(x) + rho * eye, rtol=1e-6, atol=1e-7)


@settings(max_examples=15)
@given(seed=st.integers(0, 2**32), dims=st.integers(1, 8), rank=st.integers(1, 8), images=IMAGES)
def test_no_iteration_lowers_the_likelihood_even_of_singular_data(seed, dims, rank, images):
    random = np.random.default_rng(seed)
    between, within = covariance(random, dims), covariance(random, dims, min(rank, dims))
    x, people = draw(random, between, within, images)
    models = [joint_bayesian(x, people, n) for n in (1, 2, 3, 4, 5, 10, 20)]
    course = [log_objective(model, x, people) for model in models]
    assert np.diff(course).min() > -1e-6 and np.isfinite(course).all()


def test_without_a_ridge_the_likelihood_itself_never_falls_and_ends_at_its_maximum(monkeypatch):
    monkeypatch.setitem(joint_bayesian.__globals__, "RIDGE", 0)
    random = np.random.default_rng(0)
    x, people = draw(random, covariance(random, 3), covariance(random, 3), np.full(80, 4))
    models = [joint_bayesian(x, people, n) for n in (1, 2, 3, 5, 10, 30, 1000)]
    course = [log_likelihood(model, x, people) for model in models]
    assert np.diff(course).min() > -1e-8 and course[1] - course[0] > 0.1
    # With as many images a person for all, the maximum is known: the analysis of variance.
    centres = np.stack([x[people == p].mean(0) for p in range(80)])
    within = (x - centres[people]).T @ (x - centres[people]) / (80 * 3)
    np.testing.assert_allclose(models[-1].within, within, rtol=1e-6, atol=1e-9)
    between = np.cov(centres.T, ddof=0) - within / 4
    np.testing.assert_allclose(models[-1].between, between, rtol=1e-6, atol=1e-9)


@pytest.mark.slow
def test_recovers_the_covariances_the_better_the_more_people():
    random = np.random.default_rng(1)
    errors = np.zeros((3, 2))
    for _ in range(5):
        between, within = covariance(random, 4), covariance(random, 4)
        for row, people in enumerate((50, 500, 5000)):
            images = random.integers(1, 6, people)
            model = joint_bayesian(*draw(random, between, within, images), iterations=100)
            for i, ours, true in ((0, model.between, between), (1, model.within, within)):
                errors[row, i] += np.linalg.norm(ours - true) / np.linalg.norm(true) / 5
    assert (errors[-1] < 0.05).all()
    assert (errors[1:] < errors[:-1] / 2).all()  # the square root of ten would be 3.2


def test_keeps_the_variance_that_the_papers_m_step_loses():
    random = np.random.default_rng(8)
    x, people = draw(random, np.eye(1) / 4, np.eye(1), np.full(3000, 10))
    model = joint_bayesian(x, people)
    assert model.between.item() == pytest.approx(1 / 4, rel=0.1)
    assert model.within.item() == pytest.approx(1, rel=0.03)
    x = x - x.mean()
    between, within = 1 / 4, 1.0
    for _ in range(30):
        mu = between / (between + within / 10) * x.reshape(3000, 10).mean(1)
        between, within = mu.var(), (x[:, 0] - mu[people]).var()
    assert between < 1e-3


@settings(max_examples=20)
@given(
    seed=st.integers(0, 2**32),
    dims=st.integers(1, 5),
    images=IMAGES,
    size=st.sampled_from([1e-20, 1e-3, 1.0, 1e20]),
)
def test_order_names_origin_unit_and_axes_do_not_matter(seed, dims, images, size):
    random = np.random.default_rng(seed)
    x, people = draw(random, covariance(random, dims), covariance(random, dims), images)
    a, b = random.standard_normal((2, 7, dims))
    once = joint_bayesian(x, people)
    order = random.permutation(len(x))
    names = np.array([f"person {7 * p % 11}" for p in people], object)
    again = joint_bayesian(x[order], names[order])
    for field in ("mean", "between", "within"):
        ours, theirs = getattr(again, field), getattr(once, field)
        np.testing.assert_allclose(ours, theirs, rtol=1e-7, atol=1e-9)
    for matrix in (once.between, once.within):
        assert np.array_equal(matrix, matrix.T)
    turn = np.linalg.qr(random.standard_normal((dims, dims)))[0]
    shift = random.standard_normal(dims)
    x, a_moved, b_moved = (size * (y @ turn + shift) for y in (x, a, b))
    moved = joint_bayesian(x, people).scores(a_moved, b_moved)
    np.testing.assert_allclose(moved, once.scores(a, b), rtol=1e-6, atol=1e-6)


def test_the_same_embeddings_as_tensors_float32_lists_and_series_give_the_same_bits():
    random = np.random.default_rng(2)
    x, people = draw(random, covariance(random, 4), covariance(random, 4), [3, 1, 2, 5])
    x = x.astype(np.float32)
    once, before = joint_bayesian(x.astype(np.float64), people), x.copy()
    for vectors, identities in (
        (x, list(people)),
        (torch.tensor(x, requires_grad=True), torch.tensor(people)),
        (x, people.astype(str)),
    ):
        again = joint_bayesian(vectors, identities)
        for field in ("mean", "between", "within"):
            assert np.array_equal(getattr(again, field), getattr(once, field))
    np.testing.assert_array_equal(x, before)
    scores = once.scores(torch.tensor(x[1:]), torch.tensor(x[:-1]))
    np.testing.assert_array_equal(scores, once.scores(x[1:], x[:-1]))


def test_beats_cosine_where_images_of_a_person_vary_in_some_directions_only():
    random = np.random.default_rng(3)
    between = np.diag(np.linspace(1, 0.2, 16))
    # Light and pose, say: large, and without information about the person.
    within = np.diag(np.repeat([0.05, 20.0], [12, 4]))
    turn = np.linalg.qr(random.standard_normal((16, 16)))[0]
    between, within = turn @ between @ turn.T, turn @ within @ turn.T
    model = joint_bayesian(*draw(random, between, within, random.integers(1, 5, 200)))
    x, _ = draw(random, between, within, np.full(1200, 2))  # of other people
    same = np.arange(1200) % 2 == 0
    a, b = x[::2], np.where(same[:, None], x[1::2], np.roll(x[1::2], 2, axis=0))
    ours, truth = model.scores(a, b), JointBayesian(np.zeros(16), between, within).scores(a, b)
    fitted, best = (verification(scores, same).accuracy for scores in (ours, truth))
    cosine = verification(similarity(a, b), same).accuracy
    assert cosine < 0.75 and best > 0.98 and fitted > best - 0.01
    # The scores are nats: their threshold need not be fitted.
    assert ((ours > 0) == same).mean() > 0.97


def test_a_few_more_images_than_dimensions_and_fewer():
    random = np.random.default_rng(4)
    between, within = covariance(random, 30), 0.3 * covariance(random, 30)
    a, b = draw(random, between, within, np.full(600, 2))[0].reshape(600, 2, 30).transpose(1, 0, 2)
    a, b = np.concatenate([a, a]), np.concatenate([b, np.roll(b, 1, axis=0)])
    same, folds = np.repeat([True, False], 600), np.arange(1200) % 10
    for people in (12, 17, 25):  # two images each show so many of the 30 dimensions of within
        model = joint_bayesian(*draw(random, between, within, np.full(people, 2)))
        assert np.linalg.cond(model.within) < 1e6
        assert verification(model.scores(a, b), same, folds).auc > 0.9


def test_directions_in_which_nothing_varies():
    random = np.random.default_rng(5)
    x, people = draw(random, covariance(random, 4), covariance(random, 4), [3, 1, 2, 5, 4])
    padded = np.hstack([x, np.full((15, 2), 7.0)])
    assert np.isfinite(joint_bayesian(padded, people).scores(padded[1:], padded[:-1])).all()
    frozen = joint_bayesian(x[::3][people], people)  # every image of a person is the same
    assert (frozen.scores(x[::3], x[::3]) > 5).all()
    assert (frozen.scores(x[::3], np.roll(x[::3], 1, axis=0)) < -5).all()
    alike = joint_bayesian(np.concatenate([x, x]), np.repeat([0, 1], 15))  # equal people
    np.testing.assert_allclose(alike.scores(x[1:], x[:-1]), 0, atol=1e-12)


def test_a_face_that_was_not_found_has_no_score():
    model = JointBayesian(np.zeros(3), np.eye(3), np.eye(3))
    a, b = np.random.default_rng(6).standard_normal((2, 4, 3))
    whole = model.scores(a, b)
    a[1, 2] = np.nan
    np.testing.assert_array_equal(np.isnan(model.scores(a, b)), [False, True, False, False])
    np.testing.assert_allclose(np.delete(model.scores(a, b), 1), np.delete(whole, 1), rtol=1e-12)


def test_wrong_requests_are_refused_in_one_sentence():
    x, people = np.random.default_rng(7).standard_normal((6, 3)), [0, 0, 1, 1, 2, 2]
    diagonal = np.eye(6, 3) > 0
    for case, kind, word in (
        ((x[0], people), UsageError, r"want embeddings \(N, D\)"),
        ((x[:, :0], people), UsageError, r"want embeddings \(N, D\)"),
        ((x[:0], []), UsageError, r"want embeddings \(N, D\)"),
        ((x, people[:5]), UsageError, "5 identities"),
        ((x, people, 0), UsageError, "at least one iteration, got 0"),
        ((np.where(diagonal, np.nan, x), people), LrfaceError, "3 of 6 vectors hold NaN or"),
        ((np.where(diagonal, np.inf, x), people), LrfaceError, "3 of 6 vectors hold NaN or"),
        ((x, ["a", "a", None, "b", np.nan, "b"]), LrfaceError, "2 of 6 images have no identity"),
        ((x, ["a", "a", "b", "b", np.nan, "c"]), LrfaceError, "1 of 6 images have no identity"),
        ((x, [0.0, 0.0, np.nan, 1.0, 1.0, 1.0]), LrfaceError, "1 of 6 images have no identity"),
        ((x, list("abcdef")), LrfaceError, "6 images of 6 identities"),
        ((x, ["a"] * 6), LrfaceError, "6 images of 1 identities"),
        ((np.full((6, 3), 0.1), people), LrfaceError, "want vectors that differ"),
        ((np.zeros((6, 3)), people), LrfaceError, "want vectors that differ"),
        ((x * 1e200, people), LrfaceError, "of ordinary length"),
        ((np.sign(x) * 1e308, people), LrfaceError, "of ordinary length"),
    ):
        with pytest.raises(kind, match=word) as caught:
            joint_bayesian(*case)
        assert caught.type is kind and "\n" not in str(caught.value)
    model = joint_bayesian(x, people)
    for pair in ((x, x[:5]), (x[0], x[0]), (x[:, :2], x[:, :2])):
        with pytest.raises(UsageError, match=r"want two arrays \(P, 3\)"):
            model.scores(*pair)
