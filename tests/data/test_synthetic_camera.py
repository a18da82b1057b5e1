"""The low-quality camera: each stage, and with all off the HR camera with fewer pixels."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lrface.data.synthetic import Camera, Frame, capture, sample_camera
from lrface.data.synthetic.camera import HEIGHTS, STAGES, landmarks_in
from lrface.data.synthetic.render import develop, shrink
from lrface.errors import UsageError


def frame_of(light: np.ndarray) -> Frame:
    side = light.shape[0]
    return Frame(
        light.astype(np.float32),
        side // 3,
        "studio",
        np.zeros((1, 3)),
        np.zeros((side, side)),
        np.zeros((side, side), bool),
    )


@pytest.fixture(scope="module")
def scene() -> Frame:
    soft = cv2.resize(
        np.random.default_rng(0).random((24, 24, 3)), (192, 192), interpolation=cv2.INTER_CUBIC
    )
    return frame_of(np.clip(soft, 0, 1) * 0.8)


FULL = Camera(
    24,
    psf=0.6,
    motion=2.0,
    motion_angle=30,
    shift_x=0.04,
    shift_y=-0.02,
    zoom=1.1,
    exposure=1.3,
    full_well=800,
    read_noise=6,
    bayer=True,
    sharpen=1.0,
    chroma_420=True,
    jpeg=40,
    jpeg_x=3,
    jpeg_y=5,
)


@pytest.mark.parametrize("height", [6, 16, 50, 64])
def test_all_stages_off_is_the_plain_path(scene, height):
    assert (capture(scene, Camera(height)) == develop(shrink(scene.light, height))).all()
    assert (
        capture(scene, replace(FULL, height=height).without(*STAGES))
        == capture(scene, Camera(height))
    ).all()


@pytest.mark.parametrize("stage", STAGES)
def test_each_stage_can_be_switched_off_and_matters(scene, stage):
    rng = np.random.default_rng
    assert (capture(scene, FULL, rng(1)) != capture(scene, FULL.without(stage), rng(1))).any()


def test_grey_light_passes_mosaic_and_chroma_unchanged():
    grey = frame_of(np.full((96, 96, 3), 0.4))
    plain = capture(grey, Camera(13))
    assert (capture(grey, Camera(13, bayer=True)) == plain).all()
    assert np.abs(capture(grey, Camera(13, chroma_420=True)).astype(int) - plain).max() <= 1
    assert np.abs(capture(grey, Camera(13, jpeg=95)).astype(int) - plain).max() <= 2


def test_noise_has_the_stated_strength():
    grey = frame_of(np.full((150, 150, 3), 0.25))
    camera = Camera(50, full_well=2000, read_noise=10)
    raw = [capture(grey, camera, np.random.default_rng(k)) for k in range(8)]
    clean = develop(np.full((1, 1, 3), 0.25))[0, 0, 0]
    slope = (
        float(develop(np.full((1, 1, 3), 0.27))[0, 0, 0])
        - float(develop(np.full((1, 1, 3), 0.23))[0, 0, 0])
    ) / 0.04
    expected = slope * np.sqrt(0.25 * 2000 + 10**2) / 2000
    assert np.mean(raw) == pytest.approx(clean, abs=0.5)
    assert np.std(raw) == pytest.approx(expected, rel=0.1)


def test_noise_needs_a_generator_and_is_the_same_for_the_same(scene):
    with pytest.raises(UsageError, match="generator"):
        capture(scene, FULL)
    a, b, c = (capture(scene, FULL, np.random.default_rng(k)) for k in (4, 4, 5))
    assert (a == b).all() and (a != c).any()


def test_motion_blurs_along_its_direction():
    bars = np.zeros((192, 192, 3))
    bars[:, ::16] = bars[:, 1::16] = bars[:, 2::16] = 1
    along, across = (
        capture(frame_of(bars), Camera(64, motion=6, motion_angle=a)).astype(float).std()
        for a in (90, 0)
    )
    assert across < 0.5 * along
    assert along > 0.8 * capture(frame_of(bars), Camera(64)).astype(float).std()


def test_misframing_moves_the_picture_and_its_landmarks_alike():
    dot = np.zeros((192, 192, 3))
    dot[90:102, 60:72] = 1
    frame, point = frame_of(dot), np.array([[21.5, 31.5]])
    for camera in (
        Camera(64),
        Camera(64, shift_x=0.1, shift_y=-0.05),
        Camera(64, zoom=1.25),
        Camera(32, zoom=0.8, shift_x=-0.1),
    ):
        picture = capture(frame, camera).astype(float)[..., 0]
        y, x = (np.indices(picture.shape) * picture).sum((1, 2)) / picture.sum()
        assert np.allclose(landmarks_in(camera, point, 64)[0], [x, y], atol=0.3)


@settings(max_examples=40)
@given(seed=st.integers(0, 2**32), height=st.one_of(st.none(), st.integers(6, 50)))
def test_any_sampled_camera_makes_a_picture_of_its_height(seed, height):
    rng = np.random.default_rng(seed)
    camera = sample_camera(rng, height)
    light = np.random.default_rng(1).random((96, 96, 3))
    picture = capture(frame_of(light), camera, rng)
    assert picture.shape == (camera.height, camera.height, 3) and picture.dtype == np.uint8
    assert HEIGHTS[0] <= camera.height <= HEIGHTS[1] and (height is None or camera.height == height)


def test_impossible_cameras_and_stages_are_refused():
    for wrong in (
        {"height": 1},
        {"height": 8, "zoom": 0},
        {"height": 8, "jpeg": 101},
        {"height": 8, "psf": -1},
    ):
        with pytest.raises(UsageError, match="cannot exist"):
            Camera(**wrong)
    with pytest.raises(UsageError, match="unknown camera stage"):
        FULL.without("lens")
