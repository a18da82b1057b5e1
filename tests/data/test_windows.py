"""Windows of scenes: what is a face and what is none, exact cuts, and fingerprints without work."""

import pickle

import numpy as np
import pandas as pd
import pytest
from conftest import disc_scenes
from hypothesis import given
from hypothesis import strategies as st
from lrface import data
from lrface.data import rendered_scenes, windows
from lrface.data.windows import LABELS, RANGES, WindowSet, boxes_of, cut, overlaps, targets
from lrface.errors import UsageError


@pytest.fixture
def scenes(tmp_path):
    return disc_scenes(tmp_path, n=6, heights=(12, 70))


def made_set(scenes, name="10-30", per_class=8, negatives=20, seed=0):
    how = RANGES[name], per_class, negatives, seed
    table = scenes.images[["key", "split"]].assign(identity=scenes.images["key"])

    def choose():
        return windows.sampled(scenes, *how)

    recipe = f"{scenes.fingerprint} {how}"
    return WindowSet(scenes.name, RANGES[name], table, recipe, 3 * per_class + negatives, choose)


def test_a_square_is_cut_to_the_pixel_and_edges_are_repeated():
    image = np.arange(6 * 5 * 3, dtype=np.uint8).reshape(6, 5, 3)
    inside, outside = cut(image, np.array([[1, 2, 3], [-2, 4, 3]]), 3)
    assert np.array_equal(inside, image[2:5, 1:4])
    assert np.array_equal(outside[:2, 2], image[4:6, 0]) and (outside[:, 0] == outside[:, 2]).all()
    halved = cut(image, np.array([[0, 0, 4]]), 2)[0]
    mean = image[:4, :4].reshape(2, 2, 2, 2, 3).astype(float).mean((1, 3))
    assert np.abs(halved - mean).max() <= 0.5


@given(st.lists(st.floats(0.2, 5), min_size=4, max_size=4), st.integers(2, 500))
def test_a_box_comes_back_from_its_targets(numbers, side):
    square = np.array([[7, -3, side]])
    box = np.array([numbers]) * side
    assert np.allclose(boxes_of(square, targets(square, box)), box)


def test_overlap_of_known_boxes():
    a = [[0, 0, 10, 10]]
    b = [[0, 0, 10, 10], [5, 0, 10, 10], [20, 0, 5, 5], [2, 2, 5, 5]]
    assert overlaps(a, b)[0] == pytest.approx([1, 1 / 3, 0, 0.25])


@pytest.mark.parametrize("name", RANGES)
def test_positives_hold_a_face_of_their_sub_class_and_negatives_none(scenes, name):
    _, table = windows.sampled(scenes, RANGES[name], 8, 20, 0)
    chosen, face = RANGES[name], table["face"] == 1
    assert not table.loc[face, list(LABELS)].isna().any(axis=None)
    assert (table.loc[face, list(LABELS[1:4])].sum(axis=1) == 1).all()
    assert (table.loc[~face, list(LABELS[1:4])] == -1).all(axis=None)
    assert table.loc[~face, list(LABELS[4:])].isna().all(axis=None)
    truth = scenes.truth()
    for row in table[face].itertuples():
        square = np.array([[row.left, row.top, row.side]])
        box = boxes_of(square, np.array([row[-4:]]))
        assert overlaps(box, truth[row.scene]).max() > 0.999
        # the height that the network sees, in pixels of its window
        height = box[0, 3] * chosen.window / row.side
        k = [row.first, row.second, row.third].index(1)
        assert chosen.edges[k] * 0.9 <= height <= chosen.edges[k + 1] * 1.1
        assert np.abs(row[-4:-2]).max() * chosen.side <= windows.STRIDE / 2 + 0.6
    for row in table[~face].itertuples():
        level = row.side // chosen.window
        centre = np.array([row.left, row.top]) + row.side / 2
        for height in chosen.heights * level:
            size = np.array([windows.ASPECT * height, height])
            box = np.concatenate([centre - size / 2, size])[None]
            assert overlaps(box, truth[row.scene]).max() < windows.OVERLAP + 0.06  # whole pixels


def test_covered_and_invalid_faces_are_not_learnt_from():
    boxes = pd.DataFrame({"w": [9, 9, 0, 9], "h": 9, "covered": [0.7, 0, 0, 0.2]})
    assert windows.usable(boxes).tolist() == [False, True, False, True]
    boxes["invalid"] = [0, 1, 0, 0]
    assert windows.usable(boxes).tolist() == [False, False, False, True]


def test_windows_are_cut_once_and_again_the_same(scenes):
    one, two = made_set(scenes), made_set(scenes)
    rows = [3, 0, len(one) - 1]
    assert one.stack(rows).shape == (3, 3, 30, 30) and len(one) <= one.most
    again = pickle.loads(pickle.dumps(made_set_without_closure(one)))
    assert (again.stack(rows) == one.stack(rows)).all() and (
        two.stack(rows) == one.stack(rows)
    ).all()
    assert np.array_equal(one.labels, two.labels, equal_nan=True)
    mirrored = one.mirrored_labels
    assert np.array_equal(mirrored[:, 4], -one.labels[:, 4], equal_nan=True)
    assert np.array_equal(np.delete(mirrored, 4, 1), np.delete(one.labels, 4, 1), equal_nan=True)


def made_set_without_closure(one):
    return WindowSet(one.name, one.range, one.table, one.recipe, one.most, never)


def never():
    raise AssertionError("cut again, though the cache has them")


def test_the_fingerprint_is_known_before_anything_is_rendered(monkeypatch):
    monkeypatch.setattr(rendered_scenes, "_render", never)
    one = data.load_windows("rendered-crowds", "10-30")
    assert len(one.table) == rendered_scenes.SCENES["rendered-crowds"]["train"]
    others = [
        data.load_windows("rendered-crowds", "pyramid"),
        data.load_windows("rendered-crowds", "10-30", seed=1),
        data.load_windows("rendered-crowds", "10-30", limit=5),
        data.load_windows("rendered-crowds", "10-30", "val"),
        data.load_windows("rendered-portraits", "10-30"),
        data.load_windows("rendered-crowds", "10-30", negatives=7),
    ]
    assert len({one.fingerprint, *(o.fingerprint for o in others)}) == 7
    assert one.fingerprint == data.load_windows("rendered-crowds", "10-30").fingerprint
    held_out = data.held_out("rendered-crowds")
    data.check_leakage(one.table, held_out)
    assert set(held_out["split"]) == {"val", "test"}
    with pytest.raises(UsageError, match="unknown range of heights '10-20'"):
        data.load_windows("rendered-crowds", "10-20")
