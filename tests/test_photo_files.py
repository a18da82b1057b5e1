"""What a stranger gives ``lrface hallucinate`` and ``degrade``: every entry is written, failed or
named."""

import numpy as np
import pytest
import torch
from conftest import draw
from lrface import degrade, inference
from PIL import Image

BICUBIC = ["--method", "bicubic", "--scale", "2"]


def picture(file, seed=0, side=16, **options):
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(draw(seed, side, side)).save(file, **options)
    return file


def test_results_never_share_a_name(tmp_path):
    names = ["a.png", "a.jpg", "a.jpg.png", "b.bmp", "B.png"]
    for name in names:
        picture(tmp_path / "in" / name)
    done = inference.apply(tmp_path / "in", tmp_path / "out", lambda image, _: image)
    assert len({*done.written}) == 5 == len([*(tmp_path / "out").iterdir()])
    assert {"a.png.png", "a.jpg.png", "a.jpg.png.png"} <= {file.name for file in done.written}


def test_every_entry_is_written_failed_or_named(lrface, tmp_path):
    folder = tmp_path / "in"
    for name in ("1.png", "2.gif", "3.jfif"):
        format = {"format": "JPEG"} if name == "3.jfif" else {}
        picture(folder / name, **format)
    frames = [Image.fromarray(draw(k, 16, 16)) for k in range(3)]
    frames[0].save(folder / "4.webp", save_all=True, append_images=frames[1:])
    for name in ("5.heic", "notes.txt", "broken.png", ".hidden"):
        (folder / name).write_bytes(b"x")
    (folder / "sub").mkdir()
    (folder / "gone.png").symlink_to("/nowhere")
    code, out, err = lrface("hallucinate", folder, tmp_path / "out", "--whole", *BICUBIC)
    assert code == 1 and "4 written" in out and "2 failed" in out
    said = dict(line.split(": ", 1) for line in err.splitlines())
    assert said == {
        "broken.png": "not an image",
        "gone.png": "the file is missing",
        "5.heic": "passed over: HEIC cannot be read here: save it as PNG",
        "notes.txt": "passed over: no image by its name",
        "sub": "passed over: a folder",
        "4.webp": "the first of its 3 frames",
    }


def test_a_target_is_what_its_name_says(lrface, tmp_path):
    file = picture(tmp_path / "a.png")
    for name in ("x.jfif", "x.gif", "x.jp2", "x.webp"):
        code, _, err = lrface("hallucinate", file, tmp_path / name, "--whole", *BICUBIC)
        assert code == 0 and Image.open(tmp_path / name).size == (32, 32)
        assert ("changes pixels a little" in err) == (name != "x.webp")
    for name, sentence in (("x.heic", "cannot be written here"), ("x.pgm", "cannot be written")):
        code, _, err = lrface("hallucinate", file, tmp_path / name, "--whole", *BICUBIC)
        assert code == 2 and sentence in err and not (tmp_path / name).exists()
    code, _, err = lrface("hallucinate", file.parent, tmp_path / "all.png", *BICUBIC)
    assert code == 2 and "is the name of an image" in err and not (tmp_path / "all.png").exists()


def test_degrade_keeps_its_pixels_or_refuses(lrface, tmp_path):
    file = picture(tmp_path / "a.png", side=64)
    found = []
    for name in ("x.png", "x.webp", "x.tif", "x.bmp"):
        assert lrface("degrade", file, tmp_path / name)[0] == 0
        found.append(np.asarray(Image.open(tmp_path / name)))
    assert all(np.array_equal(found[0], one) for one in found)
    code, _, err = lrface("degrade", file, tmp_path / "x.jpg")
    assert code == 2 and ".jpg would change the pixels: choose a target that is .png" in err


def test_own_kernel_noise_and_jpeg_from_the_command_line(lrface, tmp_path):
    file = picture(tmp_path / "a.png", side=64)
    kernel = np.random.default_rng(0).random((5, 7))
    np.save(tmp_path / "k.npy", kernel)
    words = ["--kernel", tmp_path / "k.npy", "--noise", 10, "--jpeg", 60, "--seed", 3]
    assert lrface("degrade", file, tmp_path / "lr.png", *words)[0] == 0
    hr = torch.from_numpy(np.array(Image.open(file))).permute(2, 0, 1)[None].float() / 255
    expected = degrade.with_kernel(kernel, 4, noise=10, jpeg=60, seed=3)(hr)[0]
    found = np.asarray(Image.open(tmp_path / "lr.png"))
    assert np.array_equal(found, (expected * 255).round().byte().permute(1, 2, 0).numpy())
    (tmp_path / "k.txt").write_text("no numbers")
    code, _, err = lrface("degrade", file, tmp_path / "y.png", "--kernel", tmp_path / "k.txt")
    assert code == 2 and "holds no kernel" in err


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't alloc")])
def test_a_photograph_that_is_too_large_does_not_end_the_folder(tmp_path, error):
    picture(tmp_path / "in" / "a.png", side=32)
    picture(tmp_path / "in" / "b.png", side=16)

    def transform(image, _):
        if image.shape[1] == 32:
            raise error
        return image

    done = inference.apply(tmp_path / "in", tmp_path / "out", transform)
    assert [file.name for file in done.written] == ["b.png"]
    assert done.failed == {"a.png": "32x32 pixels need more memory than there is"}
    with pytest.raises(RuntimeError, match="a fault of ours"):
        inference.apply(tmp_path / "in", tmp_path / "out", lambda *_: _raise())


def _raise():
    raise RuntimeError("a fault of ours")
