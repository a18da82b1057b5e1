"""1:N search against TinyFace's evaluation written out, on exact integers, on real-valued vectors,
and where float32 is not enough."""

from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lrface.errors import LrfaceError, UsageError
from lrface.metrics import PROTOCOLS, identification, protocol


def reference(probe, gallery, probe_ids, gallery_ids, distance="euclidean", digits=10):
    """All distances in float64, a stable sort with mates behind their ties, and the evaluation's
    own loop over the ranking."""
    probe, gallery = np.asarray(probe, np.float64), np.asarray(gallery, np.float64)
    if distance == "cosine":
        probe, gallery = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (probe, gallery))
    ranks, precisions = [], []
    for vector, identity in zip(probe, probe_ids, strict=True):
        far = np.linalg.norm(gallery - vector, axis=1).round(digits)
        good = np.asarray(gallery_ids) == identity
        found, area, old_recall, old_precision, first = 0, 0.0, 0.0, 1.0, None
        for n, hit in enumerate(good[np.lexsort((good, far))]):
            found += hit
            first = n + 1 if hit and first is None else first
            recall, precision = found / good.sum(), found / (n + 1)
            area += (recall - old_recall) * (old_precision + precision) / 2
            old_recall, old_precision = recall, precision
            if found == good.sum():
                break
        ranks.append(first)
        precisions.append(area)
    return np.array(ranks), np.array(precisions)


def agrees(ours, theirs):
    np.testing.assert_array_equal(ours.first_rank, theirs[0])
    np.testing.assert_allclose(ours.average_precision, theirs[1], atol=1e-12, rtol=0)
    for k in (1, 2, 5, 50):
        assert ours.rank(k) == np.mean(theirs[0] <= k) == pytest.approx(ours.cmc[k - 1], abs=1e-15)
    assert ours.mAP == pytest.approx(theirs[1].mean(), abs=1e-12)
    assert ours.n == len(theirs[0]) and ours.cmc.shape == (50,)


def people(random, probes, gallery, count):
    """Ids of probes and of a shuffled gallery that holds each of ``count`` people at least once,
    the rest mates and distractors (-100)."""
    theirs = np.concatenate([np.arange(count), random.choice([-100, *range(count)], gallery)])
    return random.integers(0, count, probes), random.permutation(theirs)


@pytest.mark.slow
@settings(max_examples=150)
@given(
    seed=st.integers(0, 2**32),
    probes=st.integers(1, 12),
    gallery=st.integers(0, 50),
    dims=st.integers(1, 6),
    spread=st.integers(1, 3),
    distance=st.sampled_from(["euclidean", "cosine"]),
    block=st.integers(1, 64),
)
def test_small_integers_where_ties_are_exact(seed, probes, gallery, dims, spread, distance, block):
    random = np.random.default_rng(seed)
    probe_ids, gallery_ids = people(random, probes, gallery, 3)
    probe, vectors = (
        random.integers(-spread, spread + 1, (n, dims)) for n in (probes, len(gallery_ids))
    )
    if distance == "cosine":  # no direction; and 3 * v ties with v, though not bit by bit
        probe[(probe == 0).all(1)] = 1
        vectors[(vectors == 0).all(1)] = 3
    case = probe, vectors, probe_ids, gallery_ids, distance
    agrees(identification(*case, block=block), reference(*case))


LEVELS = range(1, 21)  # of recall, in twentieths


def whole_curves(probe, gallery, probe_ids, gallery_ids, distance):
    """The matrix of all distances in float64, every row sorted, and what recall and precision are
    at every rank of it."""
    probe, gallery = np.asarray(probe, np.float64), np.asarray(gallery, np.float64)
    if distance == "cosine":
        probe, gallery = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (probe, gallery))
    far = np.linalg.norm(probe[:, None] - gallery, axis=2).round(10)
    good = np.asarray(probe_ids)[:, None] == np.asarray(gallery_ids)
    order = np.stack([np.lexsort(row) for row in np.stack([good, far], 1)])
    good = np.take_along_axis(good, order, 1)
    found, all_ = good.cumsum(1), good.sum(1, keepdims=True)
    precision = found / np.arange(1, len(gallery) + 1)
    ranks = [(np.flatnonzero(row) + 1).tolist() for row in good]
    before = np.concatenate([np.ones((len(probe), 1)), precision[:, :-1]], 1)
    reached = [np.argmax(20 * found >= level * all_, 1) for level in LEVELS]
    at = np.stack([precision[np.arange(len(probe)), rank] for rank in reached])
    return (found > 0).mean(0), (good * (before + precision) / 2 / all_).sum(1), at, ranks


@pytest.mark.slow
@settings(max_examples=150)
@given(
    seed=st.integers(0, 2**32),
    probes=st.integers(1, 10),
    count=st.integers(1, 4),
    gallery=st.integers(0, 40),
    copies=st.integers(0, 20),
    dims=st.integers(1, 5),
    distance=st.sampled_from(["euclidean", "cosine"]),
    block=st.integers(1, 64),
)
def test_every_score_is_that_of_the_whole_matrix_sorted(
    seed, probes, count, gallery, copies, dims, distance, block
):
    """With several mates, duplicated vectors, distractors equal to mates, and probes equal to
    vectors of the gallery."""
    random = np.random.default_rng(seed)
    probe_ids, gallery_ids = people(random, probes, gallery, count)
    vectors, probe = (
        random.standard_normal((n, dims)).astype(np.float32) for n in (len(gallery_ids), probes)
    )
    again = random.integers(0, len(vectors), copies)
    vectors = np.concatenate([vectors, vectors[again]])
    gallery_ids = np.concatenate([gallery_ids, random.choice([-100, *range(count)], copies)])
    same = random.random(probes) < 0.3
    probe[same] = vectors[random.integers(0, len(vectors), same.sum())]
    cmc, areas, precisions, ranks = whole_curves(probe, vectors, probe_ids, gallery_ids, distance)
    ours = identification(probe, vectors, probe_ids, gallery_ids, distance, len(vectors), block)
    np.testing.assert_allclose(ours.cmc, cmc, atol=1e-12, rtol=0)
    np.testing.assert_allclose(ours.average_precision, areas, atol=1e-12, rtol=0)
    for level, expected in zip(LEVELS, precisions, strict=True):
        np.testing.assert_allclose(ours.precision_at(level / 20), expected, atol=1e-12, rtol=0)
    curve = ours.pr([level / 20 for level in LEVELS])
    np.testing.assert_allclose(curve, precisions.mean(1), atol=1e-12, rtol=0)
    assert [part.tolist() for part in np.split(ours.ranks, ours.mates.cumsum()[:-1])] == ranks


@pytest.mark.parametrize("distance", ["euclidean", "cosine"])
def test_a_probe_without_a_mate_is_named_and_can_be_left_out(distance):
    random = np.random.default_rng(8)
    probe, vectors = random.standard_normal((5, 3)), random.standard_normal((40, 3))
    probe_ids = np.array(["Ada", "Eve", "Bob", "Ada", "Cy"])
    gallery_ids = random.choice(["Ada", "Bob", "Cy", "nobody"], 40)
    sentence = "1 of 5 probes have no mate in the gallery, the first in row 1, of Eve: leave"
    with pytest.raises(LrfaceError, match=sentence):
        identification(probe, vectors, probe_ids, gallery_ids, distance)
    others = probe_ids != "Eve"
    case = probe[others], vectors, probe_ids[others], gallery_ids, distance
    ours = identification(*case, len(vectors))
    cmc, areas, precisions, _ = whole_curves(*case)
    np.testing.assert_allclose(ours.cmc, cmc, atol=1e-12, rtol=0)
    assert ours.mAP == pytest.approx(areas.mean(), abs=1e-12)
    curve = ours.pr(np.array(LEVELS) / 20)
    np.testing.assert_allclose(curve, precisions.mean(1), atol=1e-12, rtol=0)


@pytest.mark.slow
@pytest.mark.parametrize("distance", ["euclidean", "cosine"])
@pytest.mark.parametrize(("offset", "noise"), [(0, 1), (5, 1e-3), (1, 1e-5)])
def test_real_vectors_in_any_block_and_precision_setting(distance, offset, noise, tmp_path):
    """Ordinary embeddings, nearly collapsed ones far from the origin, and differences near
    float32's step."""
    random = np.random.default_rng(1)
    probe_ids, gallery_ids = people(random, 30, 900, 20)
    of_distractors = np.zeros((1, 64))
    centres = np.append(0.3 * random.standard_normal((20, 64)), of_distractors, axis=0)
    probe = centres[probe_ids] + random.standard_normal((30, 64))
    vectors = centres[gallery_ids.clip(min=-1)]
    vectors = vectors + random.standard_normal(vectors.shape)
    probe, vectors = offset + noise * probe, offset + noise * vectors
    case = probe, vectors, probe_ids, gallery_ids, distance
    ranks, precisions = expected = reference(*case, digits=17)
    assert ranks.max() > 1 and 0.02 < precisions.mean() < 0.98
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            for block in (100, 4096):
                agrees(identification(*case, block=block), expected)
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(before)
    case = probe.astype(np.float32), vectors.astype(np.float32), probe_ids, gallery_ids, distance
    np.save(tmp_path / "gallery.npy", case[1])
    mapped = np.load(tmp_path / "gallery.npy", mmap_mode="r")
    expected = reference(*case, digits=17)
    tensors = [torch.tensor(case[0], requires_grad=True), torch.tensor(case[1])]
    tensors += [torch.tensor(probe_ids), pd.Series(gallery_ids)]
    for again in (case, (case[0], mapped, *case[2:]), (*tensors, distance)):
        agrees(identification(*again, block=333), expected)
    np.testing.assert_array_equal(mapped, case[1])
    # A slice of a map, whose pages are those of the whole.
    ids = probe_ids, gallery_ids[20:], distance
    expected = reference(case[0], case[1][20:], *ids, digits=17)
    agrees(identification(case[0], mapped[20:], *ids), expected)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_the_gpu_finds_what_the_cpu_finds():
    random = np.random.default_rng(7)
    probe_ids, gallery_ids = people(random, 50, 5000, 20)
    probe, vectors = (random.integers(-2, 3, (n, 16)) for n in (50, len(gallery_ids)))
    expected = reference(probe, vectors, probe_ids, gallery_ids)
    for a, b in ((torch.tensor(probe).cuda(), vectors), (probe, torch.tensor(vectors).cuda())):
        agrees(identification(a, b, probe_ids, gallery_ids), expected)


def test_the_fractions_of_a_hand_made_ranking():
    gallery = np.arange(1, 9, dtype=np.float32)[:, None]
    ids = np.array(["d", "a", "d", "d", "a", "a", None, "d"], object)  # mates at ranks 2, 5 and 6
    found = identification(np.zeros((1, 1)), gallery, ["a"], ids, max_rank=6)
    precisions = [(0, 1), (1, 2), (1, 4), (2, 5), (2, 5), (3, 6)]  # before and at each mate
    area = sum(Fraction(*fraction) for fraction in precisions) / 6
    assert found.mAP == pytest.approx(float(area), abs=1e-15)
    assert found.first_rank.tolist() == [2] and found.mates.tolist() == [3]
    assert found.gallery_size == 8
    assert found.cmc.tolist() == [0, 1, 1, 1, 1, 1] and found.rank(1) == 0 and found.rank(100) == 1
    assert found.ranks.tolist() == [2, 5, 6]
    curve = found.pr([0.01, 1 / 3, 0.34, 2 / 3, 0.67, 1])
    assert curve.tolist() == [1 / 2, 1 / 2, 2 / 5, 2 / 5, 1 / 2, 1 / 2]


def test_a_recall_that_a_fraction_of_the_mates_reaches_needs_no_more_of_them():
    """0.1 * 3 * 10 is a digit over 3, yet three of ten mates are enough."""
    probe, vectors = np.zeros((1, 1)), np.arange(1, 21)[:, None]
    found = identification(probe, vectors, [1], np.tile([-100, 1], 10))
    assert found.ranks.tolist() == list(range(2, 21, 2))
    assert (found.precision_at(0.1 * 3) == 3 / 6).all()
    odd = identification(probe, vectors, [1], [1, *[-100] * 10, *[1] * 9])
    assert odd.pr([0.1, 0.1 * 3, 0.3, 0.7, 1]).tolist() == [1, 3 / 13, 3 / 13, 7 / 17, 10 / 20]
    for level in (0, -0.5, 1.01, float("nan")):
        with pytest.raises(UsageError, match="recall is a fraction"):
            found.pr([0.5, level])


def test_a_protocol_searches_its_own_way_and_reports_only_its_scores():
    random = np.random.default_rng(9)
    probe_ids, gallery_ids = people(random, 30, 300, 10)
    probe, vectors = (random.standard_normal((n, 8)) for n in (30, len(gallery_ids)))
    case = probe, vectors, probe_ids, gallery_ids
    official, aligned = (protocol(name).search(*case) for name in ("tinyface", "aligned"))
    assert PROTOCOLS["tinyface"].ranks == (1, 5, 10, 20, 50)
    assert PROTOCOLS["aligned"].ranks == (1, 5, 20)
    plain, cosine = (identification(*case, distance) for distance in ("euclidean", "cosine"))
    assert (plain.first_rank != cosine.first_rank).any()
    assert official.mAP == plain.mAP
    assert official.pr([0.5, 1]).tolist() == plain.pr([0.5, 1]).tolist()
    assert official.cmc.tolist() == plain.cmc.tolist()
    assert aligned.cmc.tolist() == cosine.cmc[:20].tolist()
    for found, expected in ((official, plain), (aligned, cosine)):
        for k in found.protocol.ranks:
            assert found.rank(k) == expected.rank(k)
    for ask, sentence in (
        (lambda: aligned.rank(50), "protocol 'aligned' has no rank 50: it has 1, 5, 20"),
        (lambda: aligned.mAP, "protocol 'aligned' has no mAP"),
        (lambda: aligned.pr([0.5]), "protocol 'aligned' has no precision"),
        (lambda: official.rank(3), "protocol 'tinyface' has no rank 3"),
        (lambda: protocol("tinyfaces"), "unknown protocol 'tinyfaces': did you mean 'tinyface'"),
    ):
        with pytest.raises(UsageError, match=sentence):
            ask()


def test_perfect_and_collapsed_networks():
    random = np.random.default_rng(2)
    probe_ids, gallery_ids = people(random, 30, 200, 10)
    one_hot = np.eye(11)[np.where(gallery_ids < 0, 10, gallery_ids)]
    perfect = identification(np.eye(11)[probe_ids], one_hot, probe_ids, gallery_ids, "cosine")
    assert perfect.mAP == perfect.rank(1) == 1
    probe, vectors = np.full((30, 4), 0.7), np.full((len(gallery_ids), 4), 0.7)
    for distance in ("euclidean", "cosine"):
        point = identification(probe, vectors, probe_ids, gallery_ids, distance)
        behind_every_distractor = len(gallery_ids) - point.mates + 1
        np.testing.assert_array_equal(point.first_rank, behind_every_distractor)
    assert point.rank(1) == 0


def test_a_distractor_equal_to_the_mate_is_ranked_before_it_in_any_order():
    random = np.random.default_rng(3)
    vectors = random.standard_normal((300, 128)).astype(np.float32)
    vectors[[7, 180, 299]] = vectors[42]
    probe = vectors[42:43] + 0.01 * random.standard_normal((1, 128)).astype(np.float32)
    for mate in (7, 42, 180, 299):
        for distance in ("euclidean", "cosine"):
            ids = np.where(np.arange(300) == mate, 1, -100)
            found = identification(probe, vectors, [1], ids, distance, block=64)
            assert found.first_rank.tolist() == [4]


def test_the_order_of_gallery_and_probes_does_not_matter():
    random = np.random.default_rng(4)
    probe_ids, gallery_ids = people(random, 40, 400, 15)
    probe, vectors = random.integers(-1, 2, (40, 5)), random.integers(-1, 2, (len(gallery_ids), 5))
    once = identification(probe, vectors, probe_ids, gallery_ids)
    i, j = random.permutation(40), random.permutation(len(gallery_ids))
    again = identification(probe[i], vectors[j], probe_ids[i], gallery_ids[j])
    np.testing.assert_array_equal(once.first_rank[i], again.first_rank)
    np.testing.assert_array_equal(once.average_precision[i], again.average_precision)


def test_thousands_of_mates():
    """More than are compared with a block at a time."""
    random = np.random.default_rng(5)
    ids, vectors = np.arange(2000) % 3, random.standard_normal((2000, 8))
    case = random.standard_normal((5, 8)), vectors, [0, 2, 1, 0, 0], ids
    for block in (150, 2048):
        agrees(identification(*case, block=block), reference(*case))


@pytest.mark.parametrize("length", [1e-30, 1e15])
def test_very_short_and_very_long_vectors(length):
    random = np.random.default_rng(6)
    probe_ids, gallery_ids = people(random, 10, 100, 4)
    probe, vectors = random.integers(-2, 3, (10, 5)), random.integers(-2, 3, (len(gallery_ids), 5))
    ours = identification(probe * length, vectors * length, probe_ids, gallery_ids)
    agrees(ours, reference(probe, vectors, probe_ids, gallery_ids))


def test_what_cannot_be_searched_is_said_in_one_sentence():
    probe, vectors = np.eye(3), np.eye(3)
    with pytest.raises(
        LrfaceError, match="2 of 3 probes have no mate in the gallery, the first in row 0"
    ):
        identification(probe, vectors, [7, 1, None], [1, 2, None])
    for bad, word in ((np.nan, "gallery vector holds NaN"), (np.inf, "gallery vector holds NaN")):
        with pytest.raises(LrfaceError, match=word):
            identification(probe, np.where(vectors == 1, bad, vectors), [0, 1, 2], [0, 1, 2])
    with pytest.raises(LrfaceError, match="probe vector is zero and has no direction"):
        identification(probe * 0, vectors, [0, 1, 2], [0, 1, 2], "cosine")
    assert identification(probe * 0, vectors, [0, 1, 2], [0, 1, 2]).rank(3) == 1
    for case, word in (
        ((probe, vectors[:, :2], [0, 1, 2], [0, 1, 2]), "want probes"),
        ((probe[:0], vectors, [], [0, 1, 2]), "want probes"),
        ((probe, vectors, [0, 1], [0, 1, 2]), "2 ids for 3 probes"),
        ((probe, vectors, [0, 1, 2], [0, 1, 2], "manhattan"), "euclidean"),
        ((probe, vectors, [0, 1, 2], [0, 1, 2], "cosine", 0), "max_rank"),
    ):
        with pytest.raises(LrfaceError, match=word):
            identification(*case)
    with pytest.raises(LrfaceError, match="from 1"):
        identification(probe, vectors, [0, 1, 2], [0, 1, 2]).rank(0)
