"""FDDB's scores on circles, against masks that are drawn and assigned by brute force."""

from itertools import permutations

import numpy as np
import pytest
from lrface.errors import UsageError
from lrface.metrics import fddb

SIZE = (80, 100)


def slow(circles, found, threshold):
    """Hits, sum of overlaps and false alarms of one image: every assignment is tried."""
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    faces = [(x - c[3]) ** 2 + (y - c[4]) ** 2 <= (c[0] + 0.3) ** 2 for c in circles]
    boxes = [
        (x >= b[0]) & (x <= b[0] + b[2]) & (y >= b[1]) & (y <= b[1] + b[3])
        for b, score in zip(*found, strict=True)
        if score >= threshold
    ]
    share = [[(f & b).sum() / (f | b).sum() for b in boxes] for f in faces]
    columns = [*range(len(boxes)), *[None] * len(faces)]
    assigned = (
        [share[g][c] for g, c in enumerate(order) if c is not None]
        for order in permutations(columns, len(faces))
    )
    best = max(assigned, key=sum)
    hits = sum(value > 0.5 for value in best)
    return hits, sum(best), len(boxes) - hits


def test_circles_are_assigned_as_by_brute_force():
    random = np.random.default_rng(2)  # no overlap is so near 0.5 that drawing decides
    circles, found = [], []
    for _ in range(6):
        count = random.integers(1, 4)
        r = random.integers(8, 16, count)
        centre = random.integers(16, 64, (count, 2))
        circles.append(np.column_stack([r, r, np.zeros(count), centre]))
        near = np.repeat(centre, 2, 0)[: 2 * count - 1] + random.integers(-5, 6, (2 * count - 1, 2))
        side = random.integers(12, 30, (2 * count - 1, 1))
        boxes = np.concatenate([near - side // 2, side, side], 1)
        found.append((boxes, random.integers(0, 3, len(boxes)).astype(float)))
    ours = fddb(circles, found, [SIZE] * 6)
    assert ours.thresholds.tolist() == [2, 1, 0] and ours.faces == sum(map(len, circles))
    for t, threshold in enumerate(ours.thresholds):
        each = np.array([slow(c, f, threshold) for c, f in zip(circles, found, strict=True)])
        hits, overlap, alarms = each.sum(0)
        assert (ours.hits[t], ours.false_alarms[t]) == (hits, alarms)
        assert ours.overlap[t] == pytest.approx(overlap, abs=0.02 * len(each))  # drawn circles


def test_one_circle_by_hand():
    circle, tight, far = [20.0, 20.0, 0.3, 50.0, 40.0], [32, 22, 36, 36], [0, 0, 10, 10]
    ours = fddb([[circle]], [([far, tight], [3.0, 2.0])], [SIZE])
    assert ours.hits.tolist() == [0, 1] and ours.false_alarms.tolist() == [1, 1]
    assert ours.discrete(0) == 0 and ours.discrete(1) == 1
    y, x = np.mgrid[-18:19, -18:19]
    inside = (x**2 + y**2 <= 20**2).sum()  # the corner x + w, y + h belongs to the box: 37 pixels
    share = inside / (37 * 37 + np.pi * 20.3**2 - inside)
    assert ours.continuous(1) == pytest.approx(share, abs=0.02)


def test_a_pair_at_half_or_less_is_no_hit_but_adds_to_the_continuous_score():
    circle = [20.0, 20.0, 0.0, 50.0, 40.0]
    half = fddb([[circle]], [([[50, 20, 20, 40]], [1.0])], [SIZE])
    assert half.hits.tolist() == [0] and half.false_alarms.tolist() == [1]
    assert 0.4 < half.continuous(1) <= 0.5 and half.continuous(0) == 0


def test_an_ellipse_turns_clockwise_on_the_screen():
    upright = [20.0, 8.0, np.pi / 2, 50.0, 40.0]
    diagonal = [20.0, 5.0, np.pi / 4, 50.0, 40.0]  # from the upper left to the lower right
    for ellipse, right, wrong in (
        (upright, [43, 21, 14, 38], [31, 33, 38, 14]),
        (diagonal, [50, 40, 14, 14], [36, 40, 14, 14]),
    ):
        shares = [fddb([[ellipse]], [([b], [1.0])], [SIZE]).continuous(1) for b in (right, wrong)]
        assert shares[0] > 2 * shares[1]


def test_images_without_faces_or_detections_and_faces_outside():
    circle, none = [[20.0, 20.0, 0.0, 50.0, 40.0]], np.zeros((0, 4))
    ours = fddb([circle, [], circle], [([[32, 22, 36, 36]], [1.0])] * 2 + [(none, [])], [SIZE] * 3)
    assert ours.faces == 2 and ours.discrete(1) == 0.5 and ours.false_alarms.tolist() == [1]
    outside = fddb([[[9.0, 9.0, 0.0, 500.0, 40.0]]], [([[490, 30, 20, 20]], [1.0])], [SIZE])
    assert outside.hits.tolist() == [0] and outside.overlap.tolist() == [0]
    nothing = fddb([circle], [(none, [])], [SIZE])
    assert nothing.discrete(2000) == 0 and len(nothing.thresholds) == 0
    assert np.isnan(fddb([], [], []).discrete(10))


def test_other_shapes_are_said_in_one_sentence():
    none = (np.zeros((0, 4)), [])
    with pytest.raises(UsageError, match="1 images have ellipses, 0 have detections"):
        fddb([[]], [], [SIZE])
    with pytest.raises(UsageError, match=r"want finite numbers \(N, 5\)"):
        fddb([[[1.0, 2.0, 3.0]]], [none], [SIZE])
    with pytest.raises(UsageError, match="at least 0"):
        fddb([[]], [none], [SIZE]).discrete(-1)
