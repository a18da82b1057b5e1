"""Detections are stored as scores are: the surest of each scene, searched again for a check."""

import numpy as np
import pandas as pd
import pytest
from conftest import disc_scenes
from lrface.metrics import score_cache
from lrface.metrics.stored_detections import MOST, detections


@pytest.fixture
def scenes(own_places):
    return disc_scenes(own_places, 4)


def boxes_of(image):
    # as many boxes as the first pixel says, of falling score
    n = int(image[0, 0, 0]) % 7
    boxes = np.random.default_rng(n).uniform(0, 50, (n, 4)) + [0, 0, 5, 5]
    return boxes, np.linspace(1, 0, n)


def search(scenes, find, at_hand=True):
    return detections(
        ["a"], lambda _: find, scenes, key={"a": score_cache.key(of="a")}, at_hand=lambda _: at_hand
    )


def test_stored_boxes_are_those_that_were_found(scenes, capsys):
    first, kept = search(scenes, boxes_of)
    for row, (boxes, scores) in enumerate(first["a"]):
        wanted = boxes_of(scenes.read(row))
        assert np.allclose(boxes, wanted[0], atol=1e-4) and np.allclose(scores, wanted[1])
    assert len(kept["a"]) == MOST * len(scenes)
    again, _ = search(scenes, boxes_of)
    assert all(np.array_equal(a[0], b[0]) for a, b in zip(first["a"], again["a"], strict=True))
    assert "stored and checked" in capsys.readouterr().out


def test_other_boxes_are_noticed_and_searched_again(scenes, capsys):
    first, kept = search(scenes, boxes_of)
    file = next((score_cache.cache_dir("scores")).glob(f"{kept.keys_of['a']}*"))
    wrong = pd.read_parquet(file)
    wrong["x"] += 3
    wrong.to_parquet(file)
    again, _ = search(scenes, boxes_of)
    assert "other boxes are found" in capsys.readouterr().out
    assert all(np.array_equal(a[0], b[0]) for a, b in zip(first["a"], again["a"], strict=True))


def test_of_many_boxes_the_surest_are_kept(scenes):
    def many(image):
        n = MOST + 20
        return np.tile([1.0, 2, 30, 40], (n, 1)) + np.arange(n)[:, None], np.arange(n) / n

    found, _ = search(scenes, many)
    assert [len(boxes) for boxes, _ in found["a"]] == [MOST] * len(scenes)
    assert found["a"][0][1].min() == pytest.approx(20 / (MOST + 20))


def test_a_detector_that_is_not_at_hand_is_left_out_or_taken_as_stored(scenes):
    assert search(scenes, boxes_of, at_hand=False)[0] == {}
    search(scenes, boxes_of)
    assert len(search(scenes, None, at_hand=False)[0]["a"]) == len(scenes)
