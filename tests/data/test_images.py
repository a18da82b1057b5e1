"""Image files of every kind that a camera, a scanner or a broken download leaves behind."""

import numpy as np
import pytest
from lrface.data.images import BadImage, Crop, read_rgb
from PIL import Image

GRADIENT = np.tile(np.arange(0, 256, 4, dtype=np.uint8), (64, 1))
RGB = np.stack([GRADIENT, GRADIENT.T, 255 - GRADIENT], -1)


def save(path, array, mode=None, **options):
    image = Image.fromarray(array)
    (image.convert(mode) if mode else image).save(path, **options)
    return path


def test_plain_rgb_is_exact(tmp_path):
    assert np.array_equal(read_rgb(save(tmp_path / "a.png", RGB)), RGB)


@pytest.mark.parametrize(
    "mode, suffix",
    [
        ("L", "png"),
        ("L", "jpg"),
        ("CMYK", "jpg"),
        ("P", "png"),
        ("RGBA", "png"),
        ("1", "png"),
        ("LA", "png"),
    ],
)
def test_other_modes_become_rgb(tmp_path, mode, suffix):
    out = read_rgb(save(tmp_path / f"a.{suffix}", RGB, mode))
    assert out.shape == (64, 64, 3) and out.dtype == np.uint8
    if mode == "CMYK":  # a wrong inversion would turn the picture into its negative
        assert np.abs(out.astype(int) - RGB).mean() < 12


def test_sixteen_bits_keep_their_high_byte(tmp_path):
    out = read_rgb(save(tmp_path / "a.png", GRADIENT.astype(np.uint16) * 256 + 7))
    assert np.array_equal(out[..., 0], GRADIENT)


def test_exif_orientation_is_applied(tmp_path):
    image = Image.fromarray(RGB[:32])
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown turned by 90 degrees clockwise
    image.save(tmp_path / "a.png", exif=exif)
    assert np.array_equal(read_rgb(tmp_path / "a.png"), np.rot90(RGB[:32], -1))


def test_a_damaged_exif_block_keeps_its_pixels(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(RGB).save(tmp_path / "a.jpg", exif=exif, quality=95)
    content = bytearray((tmp_path / "a.jpg").read_bytes())
    at = content.index(b"Exif")
    content[at + 14 : at + 30] = bytes([255]) * 16
    (tmp_path / "a.jpg").write_bytes(content)
    assert read_rgb(tmp_path / "a.jpg").shape == (64, 64, 3)


def broken(tmp_path):
    whole = save(tmp_path / "whole.jpg", RGB).read_bytes()
    cases = {
        "empty.jpg": (b"", "empty"),
        "text.jpg": (b"<html>404</html>", "not an image"),
        "cut.jpg": (whole[: len(whole) // 2], "truncated"),
        "cut.png": (save(tmp_path / "w.png", RGB).read_bytes()[:-40], "truncated|corrupt"),
        "header.png": (b"\x89PNG\r\n\x1a\n", "truncated|corrupt|not an image"),
    }
    for name, (content, reason) in cases.items():
        (tmp_path / name).write_bytes(content)
        yield tmp_path / name, reason
    yield tmp_path / "missing.jpg", "missing"


def test_broken_files_say_why(tmp_path):
    for path, reason in broken(tmp_path):
        with pytest.raises(BadImage, match=reason):
            read_rgb(path)


def test_an_image_bomb_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(BadImage, match="more pixels"):
        read_rgb(save(tmp_path / "a.png", RGB))


def test_a_box_is_cut_without_resampling_and_only_from_the_stated_size():
    crop = Crop(size=32, source=(64, 64), box=(8, 4, 40, 36))
    assert np.array_equal(crop(RGB), RGB[4:36, 8:40])
    with pytest.raises(BadImage, match="64x32 pixels, this set's images have 64x64"):
        crop(RGB[:32])


def test_the_centred_square_is_never_enlarged():
    crop = Crop(size=32)
    assert np.array_equal(Crop(size=64)(RGB), RGB)
    assert crop(np.tile(RGB, (1, 3, 1))).shape == (32, 32, 3)
    with pytest.raises(BadImage, match="smaller than"):
        Crop(size=65)(RGB)
