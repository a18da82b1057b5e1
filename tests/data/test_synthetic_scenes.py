"""Rendered crowds: exact boxes, the same for the same seed."""

import numpy as np
import pytest
from lrface.data.synthetic.camera import Camera
from lrface.data.synthetic.scenes import crowd
from lrface.errors import UsageError
from lrface.metrics.detection import overlaps
from lrface.models.detection import detector


@pytest.mark.slow
def test_a_crowd_is_the_same_for_the_same_seed_and_its_boxes_are_inside():
    one, two = (crowd(3, 5, 160, (3, 3), (8, 60)) for _ in range(2))
    assert np.array_equal(one.image, two.image) and one.boxes.equals(two.boxes)
    assert one.image.shape == (160, 160, 3) and one.image.dtype == np.uint8
    boxes = one.boxes
    assert (
        len(boxes) == 3 and boxes["h"].is_monotonic_increasing and boxes["h"].between(8, 60).all()
    )
    assert (boxes["x"] >= 0).all() and (boxes["x"] + boxes["w"] <= 160).all()
    assert (boxes["y"] >= 0).all() and (boxes["y"] + boxes["h"] <= 160).all()
    assert boxes["covered"].between(0, 1).all() and boxes["covered"].iat[-1] == 0
    assert (boxes["occlusion"] == np.digitize(boxes["covered"], (0.01, 0.3))).all()
    other = crowd(3, 6, 160, (1, 1), (8, 60))
    assert not set(other.boxes["person"]) & set(boxes["person"])


@pytest.mark.slow
def test_a_detector_finds_a_face_where_its_box_is():
    scene = crowd(0, 2, 200, (1, 1), (90, 100), Camera(2))
    found, _ = detector("HOG").detect(scene.image)
    truth = scene.boxes[["x", "y", "w", "h"]].to_numpy()
    assert overlaps(truth, found).max() > 0.5


@pytest.mark.slow
def test_people_in_front_cover_those_behind():
    covered = crowd(1, 0, 64, (4, 4), (30, 38)).boxes
    assert (covered["covered"] > 0.01).any() and (covered["occlusion"] > 0).any()


def test_an_empty_crowd_is_a_background():
    scene = crowd(0, 0, 64, (0, 0))
    assert scene.image.shape == (64, 64, 3) and len(scene.boxes) == 0


@pytest.mark.parametrize(
    "change", [{"people": (5, 2)}, {"people": (0, 99)}, {"size": 8}, {"heights": (0, 9)}]
)
def test_what_cannot_be_rendered_is_said(change):
    with pytest.raises(UsageError, match="want 0 to 64 people"):
        crowd(0, 0, **change)
