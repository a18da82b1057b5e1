"""WIDER's protocol against a slow one in plain loops, on random detections and on cases made by
hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lrface.errors import UsageError
from lrface.metrics import detection, match_detections, proposal_ranks


def overlap(a, b):
    """Of two boxes x, y, w, h, their sides a pixel longer."""
    w = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0]) + 1
    h = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1]) + 1
    if w <= 0 or h <= 0:
        return 0.0
    area_a = ((a[0] + a[2]) - a[0] + 1) * ((a[1] + a[3]) - a[1] + 1)
    area_b = ((b[0] + b[2]) - b[0] + 1) * ((b[1] + b[3]) - b[1] + 1)
    return w * h / (area_a + area_b - w * h)


def slow(boxes, found, listed):
    """AP, precision and recall: the evaluation's own loops over images, detections and thresholds.

    ``listed`` holds a list of booleans for each image.
    """
    scores = [score for _, image_scores in found for score in image_scores]
    low, high = (min(scores), max(scores)) if scores else (0, 0)
    hits, counted, faces = [0] * 1000, [0] * 1000, 0
    for truth, (detected, image_scores), kept in zip(boxes, found, listed, strict=True):
        faces += sum(kept)
        if len(truth) == 0 or len(detected) == 0:
            continue
        order = sorted(range(len(detected)), key=lambda i: -image_scores[i])  # a stable sort
        state = [0] * len(truth)  # 1: found
        so_far, counts, levels = [], [], []
        for d in order:
            shares = [overlap(box, detected[d]) for box in truth]
            best, counts_too = shares.index(max(shares)), True
            if shares[best] >= 0.5 and not kept[best]:
                counts_too = False
            elif shares[best] >= 0.5:
                state[best] = 1
            so_far.append(sum(state))
            counts.append(counts_too)
            scale = high - low if high > low else 1
            levels.append((image_scores[d] - low) / scale)
        for t in range(1000):
            reached = [i for i, level in enumerate(levels) if level >= 1 - (t + 1) / 1000]
            if reached:
                hits[t] += so_far[reached[-1]]
                counted[t] += sum(counts[: reached[-1] + 1])
    precision = [h / c if c else 0.0 for h, c in zip(hits, counted, strict=True)]
    if not faces:
        return float("nan"), precision, [0.0] * 1000
    recall = [h / faces for h in hits]
    rs, ps = [0.0, *recall, 1.0], [0.0, *precision, 0.0]
    for i in reversed(range(len(ps) - 1)):
        ps[i] = max(ps[i], ps[i + 1])
    area = sum((rs[i] - rs[i - 1]) * ps[i] for i in range(1, len(rs)) if rs[i] != rs[i - 1])
    return area, precision, recall


def agrees(boxes, found, listed):
    flat = np.array([kept for image in listed for kept in image], bool)
    ours = match_detections(boxes, found).on(flat)
    area, precision, recall = slow(boxes, found, listed)
    assert pytest.approx(area, abs=1e-9, nan_ok=True) == ours.AP
    np.testing.assert_allclose(ours.precision, precision, atol=1e-12, rtol=0)
    np.testing.assert_allclose(ours.recall, recall, atol=1e-12, rtol=0)
    return ours


def crowd(random, images, levels=None):
    """Random faces, some of size 0, and detections near them or anywhere, some scores equal."""
    boxes, found, listed = [], [], []
    for _ in range(images):
        truth = random.integers(0, 40, (random.integers(0, 6), 4))
        near = truth[
            random.integers(0, max(len(truth), 1), random.integers(0, 8) * bool(len(truth)))
        ]
        near = np.abs(near + random.normal(0, 2, near.shape))
        anywhere = random.uniform(0, 40, (random.integers(0, 4), 4))
        detected = random.permutation(np.concatenate([near, anywhere]))
        scores = random.normal(0, 3, len(detected))
        boxes.append(truth)
        found.append((detected, scores if levels is None else np.round(scores * levels)))
        listed.append((random.random(len(truth)) < 0.6).tolist())
    return boxes, found, listed


@pytest.mark.slow
@settings(max_examples=100)
@given(st.integers(0, 2**32), st.integers(1, 6), st.sampled_from([None, 0.5, 0]))
def test_random_detections_are_scored_as_by_the_slow_protocol(seed, images, levels):
    boxes, found, listed = crowd(np.random.default_rng(seed), images, levels)
    agrees(boxes, found, listed)


def test_a_second_detection_of_a_face_is_a_false_alarm():
    face = [[10.0, 10.0, 20.0, 20.0]]
    twice = (face * 2, [2.0, 1.0])
    once = agrees([face], [twice], [[True]])
    assert once.AP == 1 and once.precision[-1] == 0.5
    # before another face is found it costs precision
    late = ([*face * 2, [100.0, 100.0, 20.0, 20.0]], [3.0, 2.0, 1.0])
    both = agrees([[*face, [100.0, 100.0, 20.0, 20.0]]], [late], [[True, True]])
    assert pytest.approx(0.5 + 0.5 * 2 / 3) == both.AP


def test_of_equal_scores_the_earlier_detection_comes_first_but_none_is_reached_alone():
    face, wrong = [10.0, 10.0, 20.0, 20.0], [200.0, 10.0, 20.0, 20.0]
    for order in ([face, wrong], [wrong, face]):
        tied = agrees([[face]], [(order, [1.0, 1.0])], [[True]])
        assert tied.AP == 0.5


def test_a_face_outside_the_list_is_neither_hit_nor_false_alarm():
    large, small = [10.0, 10.0, 60.0, 60.0], [200.0, 10.0, 8.0, 8.0]
    found = ([small, small, large], [3.0, 2.0, 1.0])
    ours = agrees([[large, small]], [found], [[True, False]])
    assert ours.AP == 1 and ours.n == 1 and ours.detections.max() == 1
    # a detection sees only its best box, though it would also overlap the listed one
    shifted = [14.0, 10.0, 60.0, 60.0]
    ours = agrees([[large, shifted]], [([shifted], [1.0])], [[True, False]])
    assert ours.AP == 0 and not ours.detections.any()


def test_images_without_faces_or_detections():
    face, none = [[10.0, 10.0, 20.0, 20.0]], np.zeros((0, 4))
    # false alarms where nobody is are free, but their scores set the scale
    free = agrees([face, none], [(face, [1.0]), (face * 3, [9.0, 9.0, 0.0])], [[True], []])
    assert free.AP == 1 and free.recall[0] == 0 and free.recall[-1] == 1
    # faces of an image without detections count
    missed = agrees([face, face], [(face, [1.0]), (none, [])], [[True], [True]])
    assert missed.AP == 0.5
    nothing = agrees([face], [(none, [])], [[True]])
    assert nothing.AP == 0
    empty = agrees([none], [(none, [])], [[]])
    assert np.isnan(empty.AP) and empty.n == 0


def test_boxes_of_size_zero_are_a_pixel():
    dot = [[10.0, 10.0, 0.0, 0.0]]
    assert agrees([dot], [(dot, [1.0])], [[True]]).AP == 1
    assert agrees([dot], [([[10.0, 10.0, 1.0, 0.0]], [1.0])], [[True]]).AP == 1  # 1 of 2 pixels
    assert agrees([dot], [([[10.0, 10.0, 1.0, 1.0]], [1.0])], [[True]]).AP == 0  # 1 of 4


def test_ap_does_not_depend_on_the_scale_of_scores_or_the_order_of_images():
    boxes, found, listed = crowd(np.random.default_rng(3), 8)
    ours = agrees(boxes, found, listed).AP
    scaled = [(detected, 64 * scores) for detected, scores in found]
    assert pytest.approx(ours, abs=1e-12) == agrees(boxes[::-1], scaled[::-1], listed[::-1]).AP


def test_subsets_share_one_matching():
    boxes, found, _ = crowd(np.random.default_rng(4), 12)
    matches, height = match_detections(boxes, found), np.concatenate(boxes)[:, 3]
    for low, high in ((0, 10), (10, 25), (25, 41)):
        listed = [((b[:, 3] >= low) & (b[:, 3] < high)).tolist() for b in boxes]
        area = slow(boxes, found, listed)[0]
        assert pytest.approx(area, abs=1e-9) == matches.on((height >= low) & (height < high)).AP
    assert matches.on().n == len(height)


def test_the_interval_is_that_of_resampled_images():
    random = np.random.default_rng(5)
    boxes, found, listed = crowd(random, 9)
    flat = np.array([kept for image in listed for kept in image], bool)
    ours = match_detections(boxes, found).on(flat)
    draws = ours.draws(resamples=40, seed=1)
    assert draws[0] == ours.AP and draws.shape == (41,)
    # a resample is the set with images repeated; the scale of scores is the whole set's
    times = detection.counts(9, 40, 1)[1]
    repeated = np.repeat(np.arange(9), times.astype(int))
    part = detection.Detection(ours.hits[repeated], ours.detections[repeated], ours.faces[repeated])
    assert draws[1] == pytest.approx(part.AP, abs=1e-12)
    interval = ours.interval(resamples=40, seed=1)
    assert interval.low <= interval.value == ours.AP <= interval.high and interval.n == ours.n
    events = ours.interval(resamples=40, clusters=list("aaabbbccc"))
    assert events.value == pytest.approx(ours.AP) and events.low < events.high
    alone = ours.interval(resamples=40, clusters=["a"] * 9)
    assert alone.value == pytest.approx(ours.AP) and np.isnan(alone.low)


def test_no_draw_without_faces_is_a_number():
    face = [[10.0, 10.0, 20.0, 20.0]]
    ours = match_detections([face, np.zeros((0, 4))], [(face, [1.0]), (face, [1.0])]).on()
    draws = ours.draws(resamples=50)
    assert np.isnan(draws).any() and np.nanmin(draws) == 1


def test_proposals_find_faces_by_their_number():
    boxes = [
        [[0.0, 0.0, 9.0, 9.0], [50.0, 0.0, 9.0, 9.0]],
        np.zeros((0, 4)),
        [[0.0, 0.0, 9.0, 9.0]],
    ]
    first = ([[50.0, 0.0, 9.0, 9.0], [0.0, 0.0, 9.0, 8.0]], [0.1, 0.9])
    found = [first, (np.zeros((0, 4)), []), ([[0.0, 0.0, 9.0, 4.0], [0.0, 0.0, 9.0, 3.0]], [2, 1])]
    assert proposal_ranks(boxes, found).tolist() == [1, 2, 1]
    assert proposal_ranks(boxes, found, overlap=0.9).tolist() == [1, 2, np.inf]
    assert proposal_ranks(boxes, found, overlap=0.95).tolist() == [np.inf, 2, np.inf]
    assert proposal_ranks([np.zeros((0, 4))], [found[1]]).size == 0
    with pytest.raises(UsageError, match="3 images have boxes and 1 have proposals"):
        proposal_ranks(boxes, found[:1])
    with pytest.raises(UsageError, match=r"an overlap in \(0, 1\]"):
        proposal_ranks(boxes, found, overlap=0)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"boxes": [[[1.0, 2.0, 3.0]]]}, r"the boxes of image 0: want boxes \(N, 4\)"),
        ({"boxes": [[[1.0, 2.0, -3.0, 4.0]]]}, "sides from 0"),
        ({"boxes": []}, "0 images have boxes and 1 have detections"),
        ({"found": [([[1.0, 2.0, 3.0, np.nan]], [1.0])]}, "the detections of image 0: want finite"),
        ({"found": [([[1.0, 2.0, 3.0, 4.0]], [np.inf])]}, "a finite score for each of 1"),
        ({"found": [([[1.0, 2.0, 3.0, 4.0]], [1.0, 2.0])]}, "a finite score for each of 1"),
        ({"overlap": 0}, "an overlap lies over 0"),
    ],
)
def test_what_cannot_be_scored_is_said_in_one_sentence(change, sentence):
    given_ = {
        "boxes": [[[1.0, 2.0, 3.0, 4.0]]],
        "found": [([[1.0, 2.0, 3.0, 4.0]], [1.0])],
    } | change
    with pytest.raises(UsageError, match=sentence):
        match_detections(**given_)


def test_lists_and_clusters_must_fit():
    matches = match_detections([[[1.0, 2.0, 3.0, 4.0]]], [([[1.0, 2.0, 3.0, 4.0]], [1.0])])
    for bad in ([True, False], [1]):
        with pytest.raises(UsageError, match="want a list of 1 booleans"):
            matches.on(bad)
    with pytest.raises(UsageError, match="a cluster for each of 1 images"):
        matches.on().draws(clusters=["a", "b"])
