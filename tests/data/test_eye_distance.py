"""Faces brought to one distance of the eye centres: where pixels and landmarks go, who is left out,
and the settings that name it."""

import numpy as np
import pandas as pd
import pytest
import torch
from lrface import data, degrade, runs
from lrface.data import eye_distance, faceset
from lrface.data.eye_distance import at_eye_distance, eye_distances
from lrface.data.landmarks import landmarks
from lrface.errors import LrfaceError, UsageError

BIG = 40


def test_the_eyes_are_as_far_apart_as_asked_and_faces_stay_where_they_were():
    faces = data.load("synthetic", "val", 24)
    found = at_eye_distance(faces, BIG)
    points = landmarks(found.faces)
    np.testing.assert_allclose(eye_distances(points), BIG, atol=1e-3)
    left_out = found.unknown + found.from_the_side + found.beyond
    assert len(found.faces) + left_out == 24 and len(found.faces) > 12
    keys = faces.table["key"].isin(found.faces.table["key"])
    before = landmarks(faces.where(keys)) - 63.5
    # only magnified about the centre of the crop: directions are kept
    ratio = (points - 63.5) / before
    far = np.abs(before) > 5
    assert (ratio[far].reshape(-1) > 0).all()
    for row in range(len(points)):
        assert np.ptp(ratio[row][far[row]]) < 1e-2


def test_pixels_move_with_the_landmarks():
    picture = np.zeros((65, 65, 3), np.uint8)
    picture[20:23, 40:43] = 255  # its middle is 8 right and 11 above the centre
    for magnified, side in ((2.0, 65), (1.5, 48), (0.8, 65)):
        found = faceset.windowed(picture, magnified, side)[..., 0].astype(float)
        y, x = (np.arange(side) - (side - 1) / 2 for _ in range(2))
        weight = found / found.sum()
        assert (weight.sum(1) @ y, weight.sum(0) @ x) == pytest.approx(
            (-11 * magnified, 9 * magnified), abs=0.1
        )


def test_beyond_the_border_the_picture_is_mirrored():
    picture = np.arange(64, dtype=np.uint8)[None, :, None].repeat(64, 0).repeat(3, 2) * 3
    found = faceset.windowed(picture, 0.5, 64)
    assert np.abs(found[:, 16:48, 0].astype(int) - picture[:, ::2, 0] - 1).max() <= 3
    mirrored = found[:, :16, 0][:, ::-1].astype(int)
    assert np.abs(mirrored - found[:, 16:32, 0]).max() <= 3


def test_who_is_left_out_and_why(monkeypatch):
    faces = data.load("synthetic", "val", 6)
    points = np.zeros((6, 68, 2), np.float32)
    points[:, 42:48, 0] = 32
    points[1] = np.nan
    points[2, 42:48, 0] = 12  # from the side
    points[3, 42:48, 0] = 60  # near: its window would be 240 pixels of a crop of 128
    monkeypatch.setattr(eye_distance, "landmarks", lambda faces: points)
    found = at_eye_distance(faces, 32)
    assert (found.unknown, found.from_the_side, found.beyond) == (1, 1, 1)
    assert found.faces.table["key"].tolist() == faces.table["key"].iloc[[0, 4, 5]].tolist()
    points[:] = np.nan
    with pytest.raises(LrfaceError, match="6 without landmarks"):
        at_eye_distance(faces, 32)


def test_brought_faces_are_another_set_with_the_same_keys():
    faces = data.load("synthetic", "val", 8)
    a, b = at_eye_distance(faces, 40).faces, at_eye_distance(faces, 32).faces
    assert len({faces.fingerprint, a.fingerprint, b.fingerprint}) == 3
    assert set(a.table["key"]) <= set(faces.table["key"])
    assert isinstance(a.table, pd.DataFrame) and a.stack([0]).shape == (1, 3, 128, 128)
    assert at_eye_distance(faces, 24, window=80).faces.stack([0]).shape == (1, 3, 80, 80)


def test_landmarks_follow_the_size_that_faces_are_read_at():
    faces = data.load("synthetic", "val", 3)
    small = landmarks(faces.sized(64))
    np.testing.assert_allclose((small + 0.5) * 2 - 0.5, landmarks(faces), atol=1e-3)


@pytest.mark.parametrize("name", ["3px", "5px", "8px", "10px"])
def test_the_settings_say_the_distance_in_small_pixels(name):
    setting = degrade.setting(name)
    assert setting.eye_distance / setting.scale == float(name[:-2])
    assert setting.window % 16 == 0
    assert {"eye_distance", "window"} <= vars(setting).keys()


def test_other_settings_are_stored_as_before():
    assert list(vars(degrade.setting("4x"))) == [
        *("name", "scale", "kernel", "kernel_size", "sigma", "noise", "rounding", "seed")
    ]
    config = runs.Config(method="SRCNN", degradation=degrade.setting("4x"), data="x", steps=1)
    assert "eye_distance" not in config.model_dump(mode="json")["degradation"]
    named = config.model_copy(update={"degradation": degrade.setting("5px")})
    stored = named.model_dump_json()
    assert '"eye_distance":40.0' in stored and runs.Config.model_validate_json(stored) == named
    assert runs.Config.model_validate_json(config.model_dump_json()) == config
    with pytest.raises(UsageError, match="together"):
        degrade.Degradation("mine", 8, eye_distance=40.0)
    assert degrade.setting("5px", seed=3).eye_distance == 40 and degrade.setting("3x").scale == 3
    assert torch.equal(
        degrade.setting("8px")(torch.ones(1, 3, 8, 8)),
        degrade.setting("4x")(torch.ones(1, 3, 8, 8)),
    )
