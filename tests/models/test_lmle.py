"""LMLE's clusters, quintuplets, loss, batches and decision rule against plain Python loops."""

from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lrface.errors import LrfaceError, UsageError
from lrface.models import lmle
from lrface.models.lmle import (
    balanced_batch_indices,
    centroids,
    clusters,
    predict,
    quintuplets,
    triple_header_hinge,
)


def squared(a, b):
    return sum((x - y) ** 2 for x, y in zip(a, b, strict=True))


def members(points, labels, cluster):
    """The definition, an anchor at a time; of equals min and max take the first, the lowest row."""
    found, rows = [], range(len(points))
    for i in rows:

        def distance(j, i=i):
            return squared(points[i], points[j])

        same_class = [j for j in rows if j != i and labels[j] == labels[i]]
        same_cluster = [j for j in same_class if cluster[j] == cluster[i]]
        other_cluster = [j for j in same_class if cluster[j] != cluster[i]]
        other_class = [j for j in rows if labels[j] != labels[i]]
        found.append(
            [
                max(same_cluster, key=distance, default=-1),
                min(other_cluster, key=distance, default=-1),
                max(same_class, key=distance, default=-1),
                min(other_class, key=distance, default=-1),
            ]
        )
    return found


faces = st.integers(1, 4).flatmap(
    lambda dims: st.lists(
        st.tuples(
            st.tuples(*[st.integers(-3, 3)] * dims),
            st.integers(-1, 1),
            st.sampled_from([-7, 0, 2, 10**6]),
        ),
        min_size=1,
        max_size=45,
    )
)
"""Points on a small grid (ties, duplicates), three classes, clusters whose numbers have gaps and
repeat from class to class."""


def in_small_blocks(chunk, *case):
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {
            "CHUNK": chunk,
            "TILE": 3 * chunk,
            "ANCHORS": 4,
            "EXACT": 5 * chunk,
        }.items():
            patch.setattr(lmle, name, value)
        return quintuplets(*case)


@pytest.mark.slow
@settings(max_examples=100)
@given(
    faces, st.sampled_from([1, 2, 5]), st.sampled_from([(1, 0), (1, 10**6), (0.1, 0), (0.1, 100)])
)
def test_quintuplets_of_small_integers(rows, chunk, scale):
    points, labels, cluster = zip(*rows, strict=True)
    case = scale[0] * (np.array(points, float) + scale[1]), labels, cluster
    found = quintuplets(*case)
    assert found.dtype == np.int64 and found.tolist() == members(points, labels, cluster)
    np.testing.assert_array_equal(in_small_blocks(chunk, *case), found)


def test_who_is_missing():
    line = np.array([[0.0], [1], [3], [7], [20]])
    assert quintuplets(line, [0] * 5, [0] * 5).tolist() == [[4, -1, 4, -1]] * 4 + [
        [0, -1, 0, -1]
    ]  # one class of one cluster
    lonely = quintuplets(line, [False, False, False, False, True], [1, 1, 2, 3, 1])
    assert lonely.tolist() == [
        [1, 2, 3, 4],
        [0, 2, 3, 4],
        [-1, 1, 3, 4],
        [-1, 2, 0, 4],
        [-1, -1, -1, 3],
    ]
    assert quintuplets(line[:1], [5], [5]).tolist() == [[-1] * 4]


def test_one_point_for_all_faces():
    """A network that maps every face to one vector: the lowest row of each kind, never the anchor
    itself."""
    found = quintuplets(np.full((100, 8), 0.7, np.float32), np.arange(100) % 2, np.arange(100) % 10)
    assert found[:4].tolist() == [[10, 2, 2, 1], [11, 3, 3, 0], [12, 0, 0, 1], [13, 1, 1, 0]]


def test_equal_distances_that_float64_tells_apart():
    """0.3 - 0.2 is not 0.1, but both neighbours are as near: the lower row, though its distance is
    rounded up."""
    line = 0.1 * np.arange(40)[:, None]
    found = quintuplets(line, np.zeros(40, int), np.arange(40))
    assert found[1:, 1].tolist() == list(range(39))
    assert (
        quintuplets(line - line.mean(), np.zeros(40, int), np.zeros(40, int))[:, 2].tolist()
        == [39] * 20 + [0] * 20
    )


def by_numpy(features, labels, cluster):
    found = np.full((len(features), 4), -1)
    for i, anchor in enumerate(features):
        far = np.square(features - anchor).sum(1)
        same, other = labels == labels[i], np.arange(len(features)) != i
        near = cluster == cluster[i]
        kinds = [
            (same & near & other, np.argmax),
            (same & ~near, np.argmin),
            (same & other, np.argmax),
            (~same, np.argmin),
        ]
        for n, (kind, best) in enumerate(kinds):
            if kind.any():
                found[i, n] = np.flatnonzero(kind)[best(far[kind])]
    return found


@pytest.mark.slow
@pytest.mark.parametrize(("offset", "noise"), [(0, 1), (5, 1e-3), (1, 1e-6), (0, 1e-40), (0, 1e40)])
def test_real_vectors_in_any_block_and_precision_setting(offset, noise):
    """Ordinary embeddings, nearly collapsed ones far from the origin, differences below float32's
    step, and numbers float32 has not."""
    random = np.random.default_rng(0)
    labels, cluster = random.permutation(np.arange(900) % 50 == 0), random.geometric(0.2, 900)
    features = offset + noise * (random.standard_normal((900, 32)) + 2 * labels[:, None])
    expected = by_numpy(features, labels, cluster)
    assert (expected >= 0).mean() > 0.9
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            np.testing.assert_array_equal(quintuplets(features, labels, cluster), expected)
            tensors = (
                torch.tensor(features, requires_grad=True),
                torch.tensor(labels),
                torch.tensor(cluster),
            )
            np.testing.assert_array_equal(quintuplets(*tensors), expected)
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(before)
    np.testing.assert_array_equal(in_small_blocks(8, features, labels, cluster), expected)
    if 1e-6 < noise <= 1:
        rounded = features.astype(np.float32)
        np.testing.assert_array_equal(
            quintuplets(rounded, labels, cluster), by_numpy(rounded.astype(float), labels, cluster)
        )


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_the_gpu_finds_what_the_cpu_finds():
    random = np.random.default_rng(1)
    labels, cluster = random.permutation(np.arange(5000) % 30 == 0), random.integers(0, 25, 5000)
    for features in (
        random.standard_normal((5000, 64)),
        random.integers(-1, 2, (5000, 6)).astype(float),
    ):
        np.testing.assert_array_equal(
            quintuplets(torch.tensor(features).cuda(), labels, cluster),
            quintuplets(features, labels, cluster),
        )


def test_hinge_by_hand():
    anchor = torch.zeros(2, 5, 1)
    anchor[0, 1:, 0] = torch.tensor(
        [1.0, 2, 3, 4]
    )  # distances 1, 4, 9, 16: in order, by 3, 5 and 7
    anchor[1, 1:, 0] = torch.tensor([4.0, 3, 2, 1])
    everyone = torch.ones(2, 4, dtype=torch.bool)
    assert triple_header_hinge(anchor, everyone, (3, 5, 7)).item() == (7 + 5 + 3 + 15) / 2
    assert (
        triple_header_hinge(anchor, everyone, (4, 5, 9)).item()
        == (1 + 2 + 7 + 4 + 5 + 5 + 3 + 9) / 2
    )
    # One cluster leaves the third term alone, a cluster of one member the second and the third, a
    # class of one member none.
    for missing, left in ({1}, 3 + 7), ({0}, 5 + 5 + 3 + 7), ({0, 1, 2}, 0), ({3}, 7 + 3 + 5 + 5):
        present = everyone.clone()
        present[1, list(missing)] = False
        assert triple_header_hinge(anchor, present, (3, 5, 7)).item() == left / 2
    assert triple_header_hinge(
        torch.zeros(3, 5, 2), torch.ones(3, 4, dtype=torch.bool)
    ).item() == pytest.approx(0.6)


def test_hinge_gradients():
    random = torch.Generator().manual_seed(0)
    embeddings = torch.randn(6, 5, 3, dtype=torch.float64, generator=random, requires_grad=True)
    present = torch.rand(6, 4, generator=random) < 0.7
    assert torch.autograd.gradcheck(
        lambda x: triple_header_hinge(x, present, (0.3, 0.5, 0.7)), embeddings
    )
    triple_header_hinge(embeddings, torch.zeros(6, 4, dtype=torch.bool)).backward()
    assert not embeddings.grad.any()


@settings(max_examples=50)
@given(
    st.lists(st.integers(0, 3), min_size=1, max_size=40),
    st.integers(1, 20),
    st.integers(0, 2**31),
    st.integers(0, 10**6),
)
def test_batches_are_balanced_and_follow_from_seed_and_step(labels, batch, seed, step):
    labels = np.array(labels)
    classes = np.unique(labels)
    third = balanced_batch_indices(labels, batch, step + 2, seed)  # before those that precede it
    rows = [balanced_batch_indices(labels, batch, s, seed) for s in range(step, step + 3)]
    np.testing.assert_array_equal(rows[2], third)
    for many in (labels[rows[0]], labels[np.concatenate(rows)]):
        counts = (many[:, None] == classes).sum(0)
        assert counts.sum() == len(many) and np.ptp(counts) <= 1


def test_every_row_of_a_class_comes_before_any_comes_again():
    labels = np.array([1] * 3 + [0] * 10)
    rows = np.concatenate(
        [balanced_batch_indices(labels, 8, step, 0) for step in range(15)]
    )  # 60 turns of each class
    for rare in rows[labels[rows] == 1].reshape(-1, 3):
        assert sorted(rare) == [0, 1, 2]
    epochs = rows[labels[rows] == 0].reshape(-1, 10)
    assert (
        all(sorted(epoch) == list(range(3, 13)) for epoch in epochs)
        and len({tuple(epoch) for epoch in epochs}) == 6
    )
    assert any(
        (balanced_batch_indices(labels, 8, s, 0) != balanced_batch_indices(labels, 8, s, 1)).any()
        for s in range(3)
    )


def test_clusters():
    random = np.random.default_rng(3)
    blobs = 10 * random.standard_normal((6, 16))[np.arange(300) % 6] + random.standard_normal(
        (300, 16)
    )
    labels = np.arange(300) % 2
    found = clusters(blobs, labels, size=50)
    assert (
        found.dtype == np.int64 and len(set(zip(found, np.arange(300) % 6, strict=True))) == 6
    )  # the blobs, three in each class
    assert sorted(set(found[labels == 0])) == [0, 1, 2] and sorted(set(found[labels == 1])) == [
        3,
        4,
        5,
    ]
    np.testing.assert_array_equal(
        clusters(torch.tensor(blobs, requires_grad=True), torch.tensor(labels), size=50), found
    )
    noise = random.standard_normal((205, 4))
    assert [len(set(clusters(noise, labels[:205], size))) for size in (1000, 103, 102, 51, 50)] == [
        2,
        2,
        3,
        5,
        6,
    ]
    assert (
        clusters(noise, labels[:205], 10, seed=0) != clusters(noise, labels[:205], 10, seed=1)
    ).any()
    assert clusters(noise[:9], [5] * 9, 1).tolist() != [0] * 9 and set(
        clusters(noise[:9], [5] * 9, 1)
    ) == set(range(9))


def test_clusters_of_few_different_vectors_are_fewer_and_none_is_empty():
    points = np.repeat(np.eye(3), [20, 20, 20], axis=0)
    assert sorted(set(clusters(points, np.zeros(60, int), size=6))) == [0, 1, 2]
    assert set(clusters(np.ones((30, 2)), np.arange(30) % 2, size=3)) == {0, 1}


@settings(max_examples=50)
@given(faces)
def test_centroids(rows):
    points, labels, cluster = zip(*rows, strict=True)
    means, classes = centroids(np.array(points), labels, cluster)
    expected = []
    for name in sorted(set(zip(labels, cluster, strict=True))):
        inside = [p for p, *of in rows if tuple(of) == name]
        expected.append(
            (name[0], *(float(Fraction(sum(x), len(inside))) for x in zip(*inside, strict=True)))
        )
    np.testing.assert_allclose(np.column_stack([classes, means]), expected, rtol=0, atol=1e-12)


def decision(query, means, classes, k):
    """The printed rule over the k nearest, the first of equals; a class that is not among them is
    not chosen."""
    near = sorted(range(len(means)), key=lambda j: (squared(query, means[j]), j))[:k]
    if len({classes[j] for j in near}) == 1:
        return classes[near[0]]

    def margin(c):
        other = min(squared(query, means[j]) for j in near if classes[j] != c)
        return other - max(squared(query, means[j]) for j in near if classes[j] == c)

    return max(sorted({classes[j] for j in near}), key=margin)


@settings(max_examples=100)
@given(
    faces,
    st.lists(st.tuples(*[st.integers(-3, 3)] * 4), min_size=1, max_size=12),
    st.integers(1, 50),
    st.sampled_from([0, 1000]),
)
def test_the_decision_on_small_integers(rows, queries, k, offset):
    means, classes, _ = zip(*rows, strict=True)
    queries = [query[: len(means[0])] for query in queries]
    expected = [decision(query, means, classes, k) for query in queries]
    assert (
        predict(np.array(queries) + offset, np.array(means) + offset, classes, k).tolist()
        == expected
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lmle, "ANCHORS", 5)
        patch.setattr(lmle, "EXACT", 3)
        assert predict(torch.tensor(queries), np.array(means), classes, k).tolist() == expected


@pytest.mark.slow
def test_the_decision_on_real_vectors():
    random = np.random.default_rng(4)
    means, classes = random.standard_normal((300, 16)), random.integers(0, 3, 300)
    queries = random.standard_normal((300, 16))
    for k in (1, 20, 299, 300, 1000):
        assert predict(queries, means, classes, k)[::17].tolist() == [
            decision(q, means, classes, k) for q in queries[::17]
        ]
    # Clusters so close together, beside a far one, that products cannot order them, nor tell
    # duplicates of another class apart.
    close = np.concatenate([[[1e3] * 16], 1 + 1e-7 * means[:60], 1 + 1e-7 * means[:60]])
    names, near = (
        np.append(2, np.append(classes[:60] > 0, classes[:60] == 0)),
        1 + 1e-7 * queries[:40],
    )
    for k in (1, 7, 20):
        assert predict(near, close, names, k).tolist() == [
            decision(q, close, names, k) for q in near
        ]


def test_failures_in_one_sentence():
    good, labels = np.eye(4), np.array([0, 0, 1, 1])
    for wrong in (np.nan, np.inf, 1e101):
        bad = good.copy()
        bad[1, 2] = wrong
        for act in (
            clusters,
            lambda x, y: quintuplets(x, y, y),
            lambda x, y: centroids(x, y, y),
            lambda x, y: predict(good, x, y),
            lambda x, y: predict(x, good, y),
        ):
            with pytest.raises(LrfaceError, match="holds NaN or infinity, or is longer"):
                act(bad, labels)
    for features in (good[0], good[:0], good[:, :0], good[None]):
        with pytest.raises(UsageError, match=r"want features \(N, D\)"):
            quintuplets(features, labels, labels)
    for wrong in (labels[:3], labels / 2, labels[:, None], ["a", "b", "a", "b"]):
        for case in ((wrong, labels), (labels, wrong)):
            for act in (quintuplets, centroids):
                with pytest.raises(UsageError, match="an integer or bool for each of 4 rows"):
                    act(good, *case)
        with pytest.raises(UsageError, match="an integer or bool for each of 4 rows"):
            clusters(good, wrong)
        with pytest.raises(UsageError, match="an integer or bool for each of 4 rows"):
            predict(good, good, wrong)
    with pytest.raises(UsageError, match="at least one member, got size 0"):
        clusters(good, labels, size=0)
    with pytest.raises(UsageError, match="an integer or bool for each of at least one rows"):
        balanced_batch_indices([], 4, 0, 0)
    for batch, step in ((0, 0), (4, -1)):
        with pytest.raises(UsageError, match="at least one row and steps count from 0"):
            balanced_batch_indices(labels, batch, step, 0)
    with pytest.raises(UsageError, match="at least one cluster, got k 0"):
        predict(good, good, labels, 0)
    with pytest.raises(UsageError, match="queries have 2 numbers and clusters 4"):
        predict(good[:, :2], good, labels)
    for embeddings, present in (((4, 5), (4, 4)), ((4, 4, 2), (4, 4)), ((4, 5, 2), (4, 3))):
        with pytest.raises(UsageError, match=r"want embeddings \(B, 5, D\)"):
            triple_header_hinge(torch.zeros(embeddings), torch.ones(present, dtype=torch.bool))
