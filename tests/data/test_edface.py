"""EDFace-Celeb-1M: the official split, people unknown, and the small faces that come with it."""

import re

import numpy as np
import pytest
import torch
from conftest import draw
from lrface import data, degrade
from lrface.data.readers import edface
from lrface.errors import LrfaceError
from PIL import Image


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("LRFACE_DATA", str(tmp_path))
    for part, count in (("train", 4), ("test", 2)):
        for k in range(count):
            hr = draw(10 * count + k, 128, 128)
            pixels = torch.from_numpy(hr.copy()).permute(2, 0, 1)[None].float() / 255
            pictures = {"HR": hr}
            for name, folder in edface.SMALL.items():
                lr = degrade.to_uint8(degrade.setting(name)(pixels))[0]
                pictures[folder] = lr.permute(1, 2, 0).numpy()
            for folder, picture in pictures.items():
                file = tmp_path / edface.FOLDER / part / folder / f"{k:06d}.png"
                file.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(np.ascontiguousarray(picture)).save(file)
    return tmp_path / edface.FOLDER


def test_the_official_split_and_people_of_one_image(root):
    faces = data.load("edface")
    assert len(faces) == 6 == faces.table["identity"].nunique()
    assert faces.split_rule == "official partition"
    assert len(data.load("edface", "test")) == 2 and len(data.load("edface", "train")) == 4
    assert "each image counts as one" in data.cannot("edface")["people"]
    with pytest.raises(LrfaceError, match="has no val split"):
        data.load("edface", "val")


def test_the_small_faces_that_come_with_it(root):
    faces = data.load("edface", "test")
    for name in edface.SMALL:
        hr = torch.from_numpy(faces.read(1).copy()).permute(2, 0, 1)[None].float() / 255
        expected = degrade.to_uint8(degrade.setting(name)(hr))[0].permute(1, 2, 0).numpy()
        assert np.array_equal(edface.small(faces, 1, name), expected)
    (root / "test" / "X8" / "000000.png").unlink()
    with pytest.raises(LrfaceError, match="the file is missing .X8/ has 000001.png"):
        edface.small(faces, 0, "8x")
    Image.fromarray(draw(0, 30, 30)).save(root / "test" / "X4" / "000000.png")
    with pytest.raises(LrfaceError, match="has 30x30 pixels, and the setting 4x has 32x32"):
        edface.small(faces, 0, "4x")


def test_another_layout_is_one_sentence(root):
    root.joinpath("train").rename(root / "Train")
    root.joinpath("test").rename(root / "Test")
    with pytest.raises(LrfaceError, match=re.escape("(EDFace-Celeb-1M/ has Test/, Train/)")):
        data.load("edface")
