"""Candidate boxes without training, and boxes corrected by halves."""

import numpy as np
import pytest
from conftest import disc_scene, disc_scenes
from lrface.metrics import proposal_ranks
from lrface.models.detection import search
from lrface.models.detection.boxes import fitted_by_halves
from lrface.models.detection.candidates import dense_windows, selective_search


def test_dense_windows_cover_every_face_there_can_be():
    random = np.random.default_rng(0)
    image, truth = disc_scene(random, 120, (15, 60))
    found = dense_windows(image, (10, 100), ratio=1.2, step=0.2)
    assert (proposal_ranks([truth], [found]) <= len(found[0])).all()
    again = dense_windows(image, (10, 100), ratio=1.2, step=0.2)
    other = dense_windows(image, (10, 100), ratio=1.2, step=0.2, seed=1)
    assert np.array_equal(found[0], again[0]) and not np.array_equal(found[0], other[0])
    assert len(dense_windows(image[:5], (10, 100))[0]) == 0


def test_selective_search_finds_bright_discs():
    image, truth = disc_scene(np.random.default_rng(0), 120, (40, 50))
    image[image < 180] = 60
    boxes, scores = selective_search(image)
    assert boxes.shape == (len(scores), 4) and (np.diff(scores) < 0).all()
    assert np.isfinite(proposal_ranks([truth], [(boxes, scores)])).mean() > 0.6


def test_boxes_are_corrected_by_the_other_half():
    random = np.random.default_rng(0)
    truth = [random.uniform(20, 60, (3, 4)) for _ in range(6)]
    found = [(t * (1, 1, 1.25, 0.9) + (2, 0, 0, 0), np.ones(3)) for t in truth]
    for (boxes, scores), true in zip(fitted_by_halves(found, truth), truth, strict=True):
        assert np.allclose(boxes[:, 2:], true[:, 2:]) and len(scores) == 3
    nothing = [(np.zeros((0, 4)), np.zeros(0))] * 2
    assert [len(b) for b, _ in fitted_by_halves(nothing, truth[:2])] == [0, 0]


def test_a_set_is_searched_in_its_order(tmp_path):
    scenes = disc_scenes(tmp_path, 3, size=60)
    found = search(lambda image: (np.array([[*image.mean((0, 1)), 1]]), np.ones(1)), scenes)
    wanted = [scenes.read(row).mean((0, 1)) for row in range(3)]
    assert np.allclose([boxes[0, :3] for boxes, _ in found], wanted)
    with pytest.raises(ZeroDivisionError):
        search(lambda image: 1 / 0, scenes)
