"""Layouts that strangers have: read if they mean the same, else one sentence with what is there."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import draw, make_celeba
from lrface import data
from lrface.data import pair_sets
from lrface.errors import LrfaceError
from PIL import Image


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("LRFACE_DATA", str(tmp_path))
    return tmp_path


@pytest.fixture
def celeba(root):
    """Six pictures of three people."""
    make_celeba(root, identities=3)
    return root / "celeba"


def prepend(file, content):
    file.write_bytes(content + file.read_bytes())


def nested(celeba):
    (celeba / "img_align_celeba").rename(celeba / "inner")
    (celeba / "img_align_celeba").mkdir()
    (celeba / "inner").rename(celeba / "img_align_celeba" / "img_align_celeba")


def as_png(celeba):
    for file in (celeba / "img_align_celeba").iterdir():
        Image.open(file).save(file.with_suffix(".png"))
        file.unlink()


def upper(celeba):
    for file in (celeba / "img_align_celeba").iterdir():
        file.rename(file.with_name(file.name.upper()))


def byte_order_marks(celeba):
    for file in celeba.glob("*.txt"):
        prepend(file, b"\xef\xbb\xbf")


def without_count(celeba):
    file = celeba / "list_attr_celeba.txt"
    file.write_text(file.read_text().partition("\n")[2])


def in_anno(celeba):
    (celeba / "Anno").mkdir()
    for name in ("identity_CelebA.txt", "list_attr_celeba.txt"):
        (celeba / name).rename(celeba / "Anno" / name)


def twice_alike(celeba):
    file = celeba / "identity_CelebA.txt"
    file.write_text(file.read_text() + "000001.jpg 1000\n")


@pytest.mark.parametrize(
    "change", [nested, as_png, upper, byte_order_marks, without_count, in_anno, twice_alike]
)
def test_variants_of_celeba_are_the_same_set(celeba, change):
    before = data.load("celeba").table
    change(celeba)
    after = data.load("celeba").table
    columns = ["key", "identity", "split", "Male"]
    assert after[columns].equals(before[columns])


def test_a_picture_under_two_identities_is_left_out(celeba, capsys):
    file = celeba / "identity_CelebA.txt"
    file.write_text(file.read_text() + "000001.jpg 1001\n")
    faces = data.load("celeba")
    assert len(faces) == 5 and list(faces.skipped) == ["000001.jpg"]
    assert "the list names it under two identities" in capsys.readouterr().err


def test_a_missing_list_is_said_with_what_is_there(celeba):
    (celeba / "identity_CelebA.txt").rename(celeba / "identity.csv")
    sentence = "identity_CelebA.txt is missing (celeba/ has identity.csv, img_align_celeba/"
    with pytest.raises(LrfaceError, match=re.escape(sentence)):
        data.load("celeba")
    shutil.rmtree(celeba)
    with pytest.raises(LrfaceError, match="put celeba there as"):
        data.load("celeba")


def make_lfw(root: Path, suffix: str = ".jpg", start: bytes = b"") -> Path:
    """Three pictures of each of four people, and a list of two folds."""
    for person in range(4):
        for k in range(3):
            name = f"Person_{person}/Person_{person}_{k + 1:04d}{suffix}"
            file = root / "lfw" / "lfw-deepfunneled" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(draw(10 * person + k, 250, 250)).save(file)
    lines = ["2\t1", "Person_0\t1\t2", "Person_0\t1\tPerson_1\t2"]
    lines += ["Person_2\t1\t2", "Person_2\t1\tPerson_3\t2"]
    (root / "lfw" / "pairs.txt").write_bytes(start + "\r\n".join(lines).encode())
    return root / "lfw" / "lfw-deepfunneled"


@pytest.mark.parametrize("suffix", [".JPG", ".png"])
def test_variants_of_lfw_have_the_keys_of_its_lists(root, suffix):
    make_lfw(root, suffix, b"\xef\xbb\xbf")
    pairs = data.pairs("lfw")
    assert len(pairs) == 4 and pairs.attrs["left_out"] == 0
    assert set(pairs["first"]) <= set(data.load("lfw").table["key"])


def test_pairs_that_name_an_unusable_picture_are_left_out_once(root, capsys):
    folder = make_lfw(root)
    (folder / "Person_0" / "Person_0_0002.jpg").write_bytes(b"no image")
    pairs = data.pairs("lfw")
    assert len(pairs) == 3 and "Person_0_0002.jpg is the first" in capsys.readouterr().err
    found = pair_sets.load("lfw")
    assert len(found.same) == 3 and found.left_out == 1
    assert (np.concatenate([found.first, found.second]) >= 0).all()
    shutil.rmtree(folder / "Person_0")
    shutil.rmtree(folder / "Person_2")
    with pytest.raises(LrfaceError, match="none of the 4 pairs of its list names two usable"):
        data.pairs("lfw")


def test_a_relative_folder_is_the_same_set_from_everywhere(tmp_path, monkeypatch):
    (tmp_path / "faces" / "me #1").mkdir(parents=True)
    file = tmp_path / "faces" / "me #1" / "photo #1.png"
    Image.fromarray(draw(0, 130, 130)).save(file)
    monkeypatch.chdir(tmp_path)
    one, other = data.load("folder:faces"), data.load(f"folder:{tmp_path}/faces")
    assert one.name == other.name and one.fingerprint == other.fingerprint
    before = data.state("folder:faces")
    assert before == data.state(f"folder:{tmp_path}/faces")
    Image.fromarray(draw(1, 140, 130)).save(file)
    assert data.state("folder:faces") != before


def test_every_picture_of_a_folder_is_used_or_named(tmp_path):
    root = tmp_path / "faces"
    for name in ("a/1.png", "a/2.gif", "a/deep/3.png", "4.png", ".hidden/5.png"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(draw(len(name), 130, 130)).save(root / name)
    (root / "a" / "6.heic").write_bytes(b"x")
    (root / "a" / "7.png").symlink_to("/nowhere/7.png")
    (root / "a" / "notes.txt").touch()
    (root / "linked").symlink_to(root / "a")
    faces = data.load(f"folder:{root}")
    assert faces.table["key"].tolist() == ["a/1.png", "a/2.gif", "linked/1.png", "linked/2.gif"]
    assert {key: why for key, why in faces.skipped.items() if not key.startswith("linked")} == {
        "4.png": "it is not in PATH/identity, but above",
        "a/6.heic": "HEIC cannot be read here: save it as PNG",
        "a/7.png": "the file is missing",
        "a/deep/3.png": "it is not in PATH/identity, but below",
    }
