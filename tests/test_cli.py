"""The command line: exit codes, one sentence an error, no kernel for an impossible request."""

import errno
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import papermill
import pytest
import torch
from conftest import draw
from lrface import degrade, files, inference, models, runs
from lrface.errors import LrfaceError
from lrface.execution import notebooks
from PIL import Image


@pytest.fixture
def no_kernel(monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("a kernel was started")

    monkeypatch.setattr(papermill, "execute_notebook", refuse)


@pytest.mark.parametrize(
    "words, code, sentence",
    [
        (["-p", "metods=EDSR"], 2, "did you mean 'methods'?"),
        (["-p", "n_test=1e3x"], 2, "parameter n_test"),
        (["-p", "n_test=1"], 2, "greater than or equal to 2"),
        (["-p", "seed=0.5"], 2, "parameter seed"),
        (["-p", "settings=4x,3x"], 2, "parameter settings"),
        (["-p", "novalue"], 2, "name=value"),
        (["-p", "methods=EDRS"], 2, "did you mean 'EDSR'?"),
        (["-p", "methods="], 2, "parameter methods"),
        (["--preset", "fast"], 2, "parameter preset"),
        (["--data", "celebb"], 2, "did you mean 'celeba'?"),
        (["--data", "lfw"], 1, "does not exist: put lfw there"),
        (["--data", "synthetic:/nowhere"], 1, "does not exist; give synthetic:PATH"),
        (["--study", "42"], 2, "no study '42'"),
    ],
)
def test_a_wrong_request_is_one_sentence_and_no_kernel(lrface, no_kernel, words, code, sentence):
    defaults = ["--study", "01", "--data", "celeba", "--preset", "smoke"]
    given, out, err = lrface("reproduce", *defaults, *words)
    assert given == code and sentence in err and out == ""
    assert len(err.strip().splitlines()) == 1 and "Traceback" not in err


def test_a_missing_root_is_one_sentence_and_no_kernel(lrface, no_kernel, monkeypatch):
    monkeypatch.delenv("LRFACE_DATA")
    code, out, err = lrface("reproduce", "--study", "01", "--data", "celeba")
    assert code == 1 and "LRFACE_DATA is not set" in err and len(err.strip().splitlines()) == 1


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 3 MB; skipped where mounting one is not allowed."""
    place = tmp_path / "disk"
    place.mkdir()
    if (
        os.geteuid()
        or subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", place], capture_output=True
        ).returncode
    ):
        pytest.skip("mounting a small file system needs root")
    yield place
    subprocess.run(["umount", "-l", place], check=True)


@pytest.mark.slow
def test_a_full_disk_is_one_sentence_and_no_kernel(lrface, no_kernel, small_disk, monkeypatch):
    monkeypatch.setenv("LRFACE_OUT", str(small_disk))
    code, out, err = lrface("reproduce", "--study", "01", "--data", "celeba", "--preset", "smoke")
    assert code == 1 and "3 MB free" in err and len(err.strip().splitlines()) == 1


@pytest.mark.slow
def test_a_read_only_results_folder_is_one_sentence_and_no_kernel(
    lrface, no_kernel, small_disk, monkeypatch
):
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    monkeypatch.setenv("LRFACE_OUT", str(small_disk))
    code, out, err = lrface("reproduce", "--study", "01", "--data", "celeba", "--preset", "smoke")
    assert code == 1 and "Read-only file system" in err and len(err.strip().splitlines()) == 1


def test_a_disk_that_fills_up_leaves_the_old_file_and_no_part(small_disk):
    target = files.write_text(small_disk / "table.csv", "old")
    with pytest.raises(LrfaceError, match="No space left on device"):
        files.write_atomic(target, lambda path: path.write_bytes(bytes(8 << 20)))
    assert target.read_text() == "old" and [p.name for p in small_disk.iterdir()] == ["table.csv"]


def test_list_shows_studies_parameters_and_sets(lrface):
    code, out, _ = lrface("list")
    assert code == 0
    for word in ("01_degradation_settings", "n_test", "celeba", "folder:PATH"):
        assert word in out


def test_data_check_counts_and_names(lrface, tmp_path):
    code, out, _ = lrface("data", "check", "celeba")
    assert code == 0 and "140 usable faces of 70 identities" in out and "fingerprint" in out
    (tmp_path / "me").mkdir()
    Image.fromarray(draw(0)).save(tmp_path / "me" / "good.png")
    (tmp_path / "me" / "bad.png").write_bytes(b"x")
    code, out, err = lrface("data", "check", f"folder:{tmp_path}")
    assert code == 1 and "1 usable faces" in out and "me/bad.png: not an image" in err


def ten_photos(folder: Path) -> None:
    """Nine photos of different sizes and modes, one of them large enough for tiles; one broken."""
    folder.mkdir()
    sizes = [
        (32, 40),
        (16, 16),
        (31, 17),
        (50, 61),
        (8, 8),
        (64, 48),
        (20, 200),
        (40, 40),
        (33, 33),
    ]
    modes = ["RGB", "L", "CMYK", "RGB", "RGB", "L", "RGB", "CMYK", "RGB"]
    for i, (mode, size) in enumerate(zip(modes, sizes, strict=True)):
        Image.fromarray(draw(i, *size)).convert(mode).save(folder / f"{i}.jpg")
    (folder / "broken.jpg").write_bytes((folder / "0.jpg").read_bytes()[:150])


@pytest.mark.slow
def test_hallucinate_a_folder_with_a_broken_photo(lrface, tmp_path):
    trained = runs.Config(
        method="EDSR",
        degradation=degrade.setting("4x"),
        data="celeba",
        n_train=8,
        steps=2,
        batch=2,
        patch=32,
        precision="32-true",
    )
    runs.fit(trained)
    ten_photos(tmp_path / "in")
    words = ["--method", "EDSR", "--scale", "4"]
    code, out, err = lrface("hallucinate", tmp_path / "in", tmp_path / "out", *words)
    assert code == 1 and "9 written" in out and err.count("\n") == 1 and "broken.jpg: " in err
    written = sorted(p.name for p in (tmp_path / "out").iterdir())
    assert written == sorted(f"{i}.png" for i in range(9))
    for name in written:
        photo = tmp_path / "in" / name.replace("png", "jpg")
        with Image.open(tmp_path / "out" / name) as sr, Image.open(photo) as lr:
            assert sr.size == (lr.width * 4, lr.height * 4) and sr.mode == "RGB"


def test_hallucinate_one_photo_and_wrong_requests(lrface, tmp_path):
    Image.fromarray(draw(0, 24, 24)).save(tmp_path / "a.png")
    bicubic = ["--method", "bicubic", "--scale", "8"]
    assert lrface("hallucinate", tmp_path / "a.png", tmp_path / "b.png", *bicubic)[0] == 0
    assert Image.open(tmp_path / "b.png").size == (192, 192)
    for words, code, sentence in (
        (["--method", "Eigenface"], 1, "no trained Eigenface for 4x is at hand"),
        (["--method", "ESDR"], 2, "did you mean 'EDSR'"),
        (["--method", "bicubic", "--scale", "5"], 2, "bicubic does not work at 5x"),
        (
            ["--method", "bicubic", "--scale", "2", "--setting", "4x_DN"],
            2,
            "enlarges 4x, --scale says 2",
        ),
    ):
        given, _, err = lrface("hallucinate", tmp_path / "a.png", tmp_path / "c.png", *words)
        assert given == code and sentence in err and not (tmp_path / "c.png").exists()
    assert lrface("hallucinate", tmp_path / "gone", tmp_path / "c")[0] == 2


def test_an_input_is_never_overwritten_and_noise_is_each_photos_own(lrface, tmp_path):
    (tmp_path / "in").mkdir()
    for name in ("a.png", "b.png"):
        Image.fromarray(np.full((128, 128, 3), 128, np.uint8)).save(tmp_path / "in" / name)
    for source in (tmp_path / "in", tmp_path / "in" / "a.png"):
        code, _, err = lrface("hallucinate", source, source, "--method", "bicubic")
        assert code == 2 and "would be overwritten" in err
        assert Image.open(tmp_path / "in" / "a.png").size == (128, 128)
    assert lrface("degrade", tmp_path / "in", tmp_path / "out", "--setting", "4x_DN")[0] == 0
    a, b = (np.asarray(Image.open(tmp_path / "out" / name)) for name in ("a.png", "b.png"))
    assert not np.array_equal(a, b)


def test_brackets_in_names_are_shown(lrface, tmp_path):
    (tmp_path / "IMG [edited].jpg").write_bytes(b"no image")
    assert "IMG [edited].jpg: not an image" in lrface("degrade", tmp_path, tmp_path / "out")[2]


def test_names_that_would_collide_keep_both(tmp_path):
    (tmp_path / "in").mkdir()
    for suffix in ("png", "jpg"):
        Image.fromarray(draw(0, 16, 16)).save(tmp_path / "in" / f"a.{suffix}")
    written, failed, _ = inference.apply(tmp_path / "in", tmp_path / "out", lambda image, _: image)
    assert sorted(p.name for p in written) == ["a.jpg.png", "a.png.png"] and not failed


def test_tiles_join_without_a_seam(monkeypatch):
    monkeypatch.setattr(inference, "TILE", 64)
    image = torch.from_numpy(draw(5, 100, 90).copy()).permute(2, 0, 1)
    net = models.restorer("EDSR", 2).eval()
    with torch.no_grad():
        whole = net(image[None].float() / 255)[0].clamp(0, 1).mul(255).add(0.5).floor().byte()
    tiled = inference.restore(net, image)
    assert tiled.shape == whole.shape
    # EDSR-small sees 20 LR pixels around each; beyond the margin of 16 the weights are tiny
    assert (tiled.int() - whole.int()).abs().max() <= 2


def test_degrade_is_what_the_studies_do(lrface, tmp_path):
    hr = draw(1, 130, 131)
    Image.fromarray(hr).save(tmp_path / "hr.png")
    words = ["--setting", "4x_DN", "--seed", "7"]
    assert lrface("degrade", tmp_path / "hr.png", tmp_path / "lr.png", *words)[0] == 0
    x = torch.from_numpy(hr[:128, :128].copy()).permute(2, 0, 1)[None].float() / 255
    lr = degrade.setting("4x_DN", seed=7)(x)[0].mul(255).round().byte()
    found = np.asarray(Image.open(tmp_path / "lr.png"))
    assert np.array_equal(found, lr.permute(1, 2, 0).numpy())


@pytest.mark.slow
def test_a_notebook_that_fails_is_reported_and_keeps_what_was_there(
    lrface, monkeypatch, own_places
):
    path = notebooks.find("01")
    broken = own_places / "notebooks"
    broken.mkdir()
    (own_places / "pyproject.toml").touch()
    text = path.read_text().replace("study.findings(found)", "raise MemoryError('no more')")
    (broken / path.name).write_text(text)
    monkeypatch.setenv("LRFACE_ROOT", str(own_places))
    smoke = ["reproduce", "--data", "celeba", "--preset", "smoke"]
    smoke += ["-p", "methods=bicubic", "-p", "settings=8x"]
    code, out, err = lrface(*smoke)
    results = own_places / "out" / "results" / "celeba" / "smoke" / path.stem
    assert code == 1 and "failed 1" in out
    assert "out of memory: cell " in err and "MemoryError: no more" in err
    assert [file.name for file in results.iterdir()] == ["failed.ipynb"]
    shutil.copy(path, broken / path.name)
    code, out, err = lrface(*smoke)
    assert code == 0 and "computed 1" in out and not (results / "failed.ipynb").exists()


def test_errors_are_named_after_what_happened(monkeypatch, tmp_path):
    def full(path):
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(LrfaceError, match="free or choose another place"):
        files.write_atomic(tmp_path / "x", full)
