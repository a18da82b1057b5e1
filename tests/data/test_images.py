"""Image files of every kind that a camera, a scanner or a broken download leaves behind."""

import struct

import numpy as np
import pytest
from lrface.data.images import BadImage, Crop, address, located, read_rgb
from lrface.data.packed import is_packed
from PIL import Image, ImageCms

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


@pytest.mark.parametrize(
    "pixels, suffix",
    [
        ((GRADIENT / 255).astype(np.float32), "tif"),
        (GRADIENT.astype(np.float32), "tif"),
        (GRADIENT.astype(np.int32) << 23, "tif"),
        (GRADIENT.astype(np.int32), "tif"),
        (GRADIENT.astype(np.uint16) * 257, "tif"),
    ],
    ids=["float to 1", "float to 255", "32 bits", "32 bits, small", "16 bits"],
)
def test_greyscale_of_any_depth_keeps_its_levels(tmp_path, pixels, suffix):
    out = read_rgb(save(tmp_path / f"a.{suffix}", pixels))
    assert np.array_equal(out[..., 0], GRADIENT)


def test_numbers_without_a_known_range_are_refused(tmp_path):
    for values in (GRADIENT * 1000.0, np.full((8, 8), np.nan), GRADIENT - 200.0):
        with pytest.raises(BadImage, match=r"save it in \[0, 1\] or \[0, 255\]"):
            read_rgb(save(tmp_path / "a.tif", values.astype(np.float32)))


def wide_profile():
    """sRGB's profile with the primaries of Display P3: what phones attach to their photographs."""
    content = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    primaries = {
        b"rXYZ": (0.51512, 0.24120, -0.00105),
        b"gXYZ": (0.29198, 0.69225, 0.04189),
        b"bXYZ": (0.15710, 0.06657, 0.78407),
    }
    for i in range(struct.unpack(">I", content[128:132])[0]):
        name, at, _ = struct.unpack(">4sII", content[132 + 12 * i : 144 + 12 * i])
        if name in primaries:
            numbers = [round(value * 65536) for value in primaries[name]]
            content[at + 8 : at + 20] = struct.pack(">3i", *numbers)
    # its description would say sRGB, by which a profile that needs no conversion is known
    return bytes(content).replace(b"s\0R\0G\0B", b"w\0i\0d\0e").replace(b"sRGB", b"wide")


def test_colours_are_converted_by_their_profile(tmp_path):
    colour = np.full((8, 8, 3), (200, 90, 60), np.uint8)
    plain = read_rgb(save(tmp_path / "a.png", colour))
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    same = read_rgb(save(tmp_path / "b.png", colour, icc_profile=srgb))
    wide = read_rgb(save(tmp_path / "c.png", colour, icc_profile=wide_profile()))
    damaged = read_rgb(save(tmp_path / "d.png", colour, icc_profile=b"no profile"))
    assert np.array_equal(plain, same) and np.array_equal(plain, damaged)
    # the same numbers mean a purer red in the wider space
    assert wide[0, 0, 0] > 205 and wide[0, 0, 1] < 88


def test_lab_becomes_rgb(tmp_path):
    lab = ImageCms.createProfile("LAB")
    picture = Image.fromarray(RGB)
    srgb = ImageCms.createProfile("sRGB")
    ImageCms.profileToProfile(picture, srgb, lab, outputMode="LAB").save(tmp_path / "a.tif")
    assert np.abs(read_rgb(tmp_path / "a.tif").astype(int) - RGB).mean() < 3


def test_a_kind_that_cannot_be_read_is_told_from_damage(tmp_path):
    (tmp_path / "a.heic").write_bytes(b"\0\0\0\x1cftypheic" + bytes(64))
    with pytest.raises(BadImage, match="HEIC cannot be read here: save it as PNG"):
        read_rgb(tmp_path / "a.heic")
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(BadImage, match="it is a folder"):
        read_rgb(tmp_path / "folder.png")


def test_a_path_is_told_from_an_address():
    for path in ("photo #1.png", "a#1,2,3.png", "id #7/x.parquet#3.png"):
        assert located(path) == (path, None) and not is_packed(path)
    assert located(address("photo #1.png", (1, -2, 3))) == ("photo #1.png", (1, -2, 3))
    assert is_packed("a.parquet#12")


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
