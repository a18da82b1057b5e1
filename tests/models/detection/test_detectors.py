"""The stock detectors find rendered faces in a scene, the same in every call and thread."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from lrface import data
from lrface.data import landmarks
from lrface.errors import LrfaceError, UsageError
from lrface.metrics import match_detections
from lrface.metrics.detection import overlaps
from lrface.models.detection import detector
from lrface.models.detection.boxes import BoxFit
from PIL import Image

PLACES = [(12, 20, 112), (210, 60, 96), (110, 150, 88)]
"""Left, top and side of the faces that are pasted into the scene."""


@pytest.fixture(scope="module")
def scene():
    """A picture of three people on a plain wall, and the boxes of their faces."""
    faces = data.load("synthetic", "test", 3)
    image = np.full((250, 320, 3), 150, np.uint8)
    boxes = []
    for i, (x, y, side) in enumerate(PLACES):
        image[y : y + side, x : x + side] = Image.fromarray(faces.read(i)).resize((side, side))
        left, top, right, bottom = np.array(faces.crop.face) * side
        boxes.append([x + left, y + top, right - left, bottom - top])
    return image, np.array(boxes)


DETECTORS = [
    ("Haar", {}),
    ("HOG", {"upsample": 1}),
    pytest.param("MMOD", {}, marks=pytest.mark.slow),
]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "options"), DETECTORS)
def test_a_detector_finds_the_faces_of_a_scene(name, options, scene):
    image, truth = scene
    before = image.copy()
    boxes, scores = detector(name, **options).detect(image)
    assert boxes.shape == (len(scores), 4) and boxes.dtype == scores.dtype == np.float64
    assert (overlaps(truth, boxes).max(1) > 0.3).sum() >= 2
    assert (np.diff(scores) <= 0).all() and np.array_equal(image, before)
    # faces are found before anything else
    assert overlaps(truth, boxes[:2]).max(0).min() > 0.3
    assert match_detections([truth], [(boxes, scores)], overlap=0.3).on().AP > 0.6


@pytest.mark.slow
@pytest.mark.parametrize(("name", "options"), DETECTORS)
def test_calls_and_threads_give_the_same_boxes(name, options, scene):
    image, found = scene[0], detector(name, **options)
    pictures = [image[:130, :130], image[60:160, 200:], image[140:, 100:210], image[:130, :130]]
    alone = [found.detect(picture) for picture in pictures]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(found.detect, pictures))
    again = [detector(name, **options).detect(picture) for picture in pictures[:2]]
    for one, two in [*zip(alone, together, strict=True), *zip(alone[:2], again, strict=True)]:
        assert all(map(np.array_equal, one, two))
    assert sum(len(scores) for _, scores in alone) > 1
    assert all(map(np.array_equal, alone[0], alone[3]))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["Haar", "HOG", "MMOD"])
def test_nothing_is_found_in_an_empty_or_tiny_picture(name):
    for side in (1, 9, 70):
        boxes, scores = detector(name).detect(np.full((side, side + 3, 3), 128, np.uint8))
        assert boxes.shape == (0, 4) and scores.shape == (0,)


@pytest.mark.slow
def test_a_lower_threshold_adds_detections_of_lower_scores(scene):
    image = scene[0]
    (all_boxes, low), (few, high) = (detector("HOG", threshold=t).detect(image) for t in (0, 0.9))
    assert len(low) > len(high) and low.min() < 0.9 <= high.min(initial=0.9)
    assert all(box in all_boxes.tolist() for box in few.tolist())


def test_haar_scores_are_weights_or_numbers_of_windows(scene):
    boxes, weights = detector("Haar").detect(scene[0])
    same, numbers = detector("Haar", score="neighbours").detect(scene[0])
    assert sorted(boxes.tolist()) == sorted(same.tolist())
    assert (numbers >= 2).all() and (numbers == numbers.round()).all() and len(set(weights)) > 1
    fewer = detector("Haar", neighbours=5).detect(scene[0])[0]
    assert len(fewer) == (numbers > 5).sum()


def test_wrong_names_options_and_pictures_are_said_in_one_sentence(scene):
    for make, sentence in (
        (lambda: detector("haar"), "unknown detector 'haar': did you mean 'Haar'"),
        (lambda: detector("HOG", size=3), "detector HOG has the options upsample, threshold"),
        (lambda: detector("HOG", upsample=-1), "0 times or more"),
        (lambda: detector("MMOD", upsample=-1), "0 times or more"),
        (lambda: detector("Haar", scale_factor=1), "a scale factor over 1"),
        (lambda: detector("Haar", score="sum"), "a score is 'weight' or 'neighbours'"),
        (lambda: detector("Haar").detect(scene[0] / 255), r"uint8 \(H, W, 3\), got float64"),
        (lambda: detector("HOG").detect(scene[0][..., 0]), r"got uint8 \(250, 320\)"),
    ):
        with pytest.raises(UsageError, match=sentence):
            make()
    with pytest.raises(LrfaceError, match="cannot read OpenCV's cascade .*no_such.xml"):
        detector("Haar", cascade="no_such.xml").detect(scene[0])


def test_the_network_s_file_is_checked(monkeypatch, scene):
    monkeypatch.setitem(landmarks.SHA256, "mmod_human_face_detector.dat", "0" * 64)
    with pytest.raises(LrfaceError, match="is damaged or another version"):
        detector("MMOD").detect(scene[0])


def test_a_box_fit_undoes_another_convention():
    random = np.random.default_rng(1)
    truth = random.uniform(20, 60, (41, 4))
    hidden = BoxFit((0.1, -0.05), (1.5, 1.25))
    fit = BoxFit.fit(hidden(truth), truth)
    # most pairs agree, a few are wrong
    wrong = np.concatenate([truth, truth[:9] * 3])
    robust = BoxFit.fit(np.concatenate([hidden(truth), truth[:9]]), wrong)
    for found in (fit, robust):
        np.testing.assert_allclose(found(hidden(truth)), truth, atol=1e-9)
    assert fit(np.zeros((0, 4))).shape == (0, 4)
    for bad in (truth[:3], truth[:0], truth * 0):
        with pytest.raises(UsageError, match="pair"):
            BoxFit.fit(bad, truth if len(bad) == 3 else bad)
