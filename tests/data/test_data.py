"""Face sets: layouts, splits, limits, fingerprints, broken files, memory."""

import re
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import REAL, draw, make_celeba, needs_real
from hypothesis import given
from hypothesis import strategies as st
from lrface import data
from lrface.data import splits
from lrface.data.images import read_rgb
from lrface.errors import LrfaceError, UsageError
from PIL import Image


def folder_of(tmp_path, people=40, each=2):
    for person in range(people):
        (tmp_path / f"person{person}").mkdir(parents=True)
        for i in range(each):
            Image.fromarray(draw(person * 100 + i, 130 + person, 140)).save(
                tmp_path / f"person{person}" / f"{i}.png"
            )
    return f"folder:{tmp_path}"


def test_celeba_in_its_official_layout(drawn_root):
    faces = data.load("celeba")
    assert len(faces) == 140 and faces.attributes == ("Male", "Smiling") and faces.photos
    assert list(faces.table.columns[:5]) == ["key", "identity", "split", "path", "digest"]
    assert faces.table["gender"].tolist()[:2] == ["female", "male"]
    first = read_rgb(drawn_root / faces.table["path"][0])
    assert np.array_equal(faces.read(0), first[57:185, 25:153])


def test_batches_are_every_image_once_in_order():
    faces = data.load("celeba", limit=21)
    batches = list(faces.batches(8))
    assert [len(b) for b in batches] == [8, 8, 5] and batches[0].dtype == torch.uint8
    assert torch.equal(torch.cat(batches), faces.stack(range(21)))
    assert list(faces.where(np.zeros(21, bool)).batches(4)) == []


def test_lfw_in_its_official_layout(tmp_path, monkeypatch):
    for name in ("Ada_One", "Bob_Two"):
        folder = tmp_path / "lfw" / "lfw-deepfunneled" / name
        folder.mkdir(parents=True)
        for i in (1, 2):
            Image.fromarray(draw(i, 250, 250)).save(folder / f"{name}_{i:04d}.jpg")
    (tmp_path / "lfw" / "female_names.txt").write_text("Ada_One_0001.jpg\nAda_One_0002.jpg\n")
    monkeypatch.setenv("LRFACE_DATA", str(tmp_path))
    faces = data.load("lfw")
    assert faces.table["identity"].tolist() == ["Ada_One"] * 2 + ["Bob_Two"] * 2
    assert faces.table["gender"].tolist()[:2] == ["female"] * 2
    assert faces.table["gender"].isna().sum() == 2
    assert faces.read(0).shape == (128, 128, 3)


def test_the_official_partition_is_used_when_it_is_whole(tmp_path, monkeypatch):
    root = make_celeba(tmp_path, identities=6)
    keys = [f"{i + 1:06d}.jpg" for i in range(12)]
    (root / "celeba" / "list_eval_partition.txt").write_text(
        "".join(f"{k} {i // 4}\n" for i, k in enumerate(keys))
    )
    monkeypatch.setenv("LRFACE_DATA", str(root))
    assert data.load("celeba").split_rule == "official partition"
    assert data.load("celeba", "val").table["key"].tolist() == keys[4:8]


@pytest.mark.slow
def test_splits_are_disjoint_and_do_not_depend_on_what_else_is_there(tmp_path):
    name = folder_of(tmp_path)
    parts = {split: data.load(name, split) for split in ("train", "test")}
    data.check_leakage(parts["train"].table, parts["test"].table)
    few = splits.by_identity(parts["test"].table["identity"])
    assert set(few) == {"test"}
    assert parts["train"].manifest["sha256"] != parts["test"].manifest["sha256"]
    assert (
        data.load(name, "test", seed=1).table["key"].tolist() != parts["test"].table["key"].tolist()
    )


@given(
    st.lists(st.text(min_size=1, max_size=8), min_size=1, max_size=60, unique=True),
    st.integers(0, 9),
)
def test_an_identity_is_never_in_two_splits(names, seed):
    identity = pd.Series(names * 2)
    table = pd.DataFrame({"identity": identity, "split": splits.by_identity(identity, seed)})
    assert (table.groupby("identity")["split"].nunique() == 1).all()


def test_limits_are_nested_and_deterministic():
    small, large = data.load("celeba", limit=10), data.load("celeba", limit=30)
    assert set(small.table["key"]) < set(large.table["key"])
    assert data.load("celeba", limit=10).fingerprint == small.fingerprint != large.fingerprint


def test_the_fingerprint_follows_pixels_and_labels(tmp_path):
    name = folder_of(tmp_path, people=3)
    before = data.load(name).fingerprint
    assert data.load(name).fingerprint == before
    image = np.asarray(Image.open(tmp_path / "person0" / "0.png")).copy()
    image[70, 70, 0] ^= 1
    Image.fromarray(image).save(tmp_path / "person0" / "0.png")
    changed = data.load(name).fingerprint
    assert changed != before
    (tmp_path / "person1").rename(tmp_path / "renamed")
    assert data.load(name).fingerprint not in (before, changed)


def test_the_state_follows_files_and_lists(tmp_path, monkeypatch):
    root = make_celeba(tmp_path, identities=4)
    monkeypatch.setenv("LRFACE_DATA", str(root))
    states = {data.state("celeba")}
    labels = root / "celeba" / "identity_CelebA.txt"
    labels.write_text(labels.read_text().replace("1000", "1003"))
    states.add(data.state("celeba"))
    Image.fromarray(draw(99)).save(root / "celeba" / "img_align_celeba" / "000001.jpg")
    states.add(data.state("celeba"))
    assert len(states) == 3 and data.state("celeba") in states


def test_a_face_keeps_its_stream_in_any_subset():
    small, large = data.load("celeba", limit=10), data.load("celeba", limit=30)
    streams = dict(zip(large.table["key"], large.streams.tolist(), strict=True))
    assert [streams[key] for key in small.table["key"]] == small.streams.tolist()
    assert len(set(streams.values())) == 30 and min(streams.values()) >= 1 << 61


def test_leakage_is_found_by_identity_by_file_and_by_pixels():
    train = pd.DataFrame({"identity": ["a", "b"], "key": ["1", "2"], "digest": ["x", "y"]})
    data.check_leakage(train, pd.DataFrame({"identity": ["c"], "key": ["3"], "digest": ["z"]}))
    for test, what in (
        ({"identity": ["b"], "key": ["3"]}, "1 identities"),
        ({"identity": ["c"], "key": ["2"]}, "1 images"),
        ({"identity": ["c"], "key": ["3"], "digest": ["y"]}, "same pixels"),
    ):
        with pytest.raises(LrfaceError, match=what):
            data.check_leakage(train, pd.DataFrame(test))


def test_bad_files_are_skipped_counted_and_named(tmp_path, capsys):
    name = folder_of(tmp_path, people=2)
    (tmp_path / "person0" / "empty.jpg").touch()
    (tmp_path / "person0" / "half.png").write_bytes(
        (tmp_path / "person0" / "0.png").read_bytes()[:300]
    )
    Image.fromarray(draw(1, 40, 40)).save(tmp_path / "person1" / "tiny.png")
    (tmp_path / "person1" / "notes.txt").write_text("not an image, and not listed")
    faces = data.load(name)
    assert len(faces) == 4
    assert set(faces.skipped) == {
        "person0/empty.jpg",
        "person0/half.png",
        "person1/tiny.png",
    }
    said = capsys.readouterr().err
    assert "skipped 3 of 7" in said
    assert "person0/empty.jpg: the file is empty" in said
    assert said.count("\n") == 1
    assert len(data.load(name, limit=4)) == 4  # a bad file does not use up the limit


def test_a_damaged_scan_is_made_again(own_places):
    before = data.load("celeba").fingerprint
    (store,) = (own_places / "cache" / "scans").glob("*.parquet")
    store.write_bytes(store.read_bytes()[:100])
    assert data.load("celeba").fingerprint == before


@pytest.mark.parametrize(
    "name, sentence",
    [
        ("celebA", "unknown data set 'celebA': did you mean 'celeba'"),
        ("lfw", "does not exist: put lfw there"),
        ("folder:/nowhere", "does not exist; give folder:PATH"),
        ("synthetic:/nowhere", "does not exist; give synthetic:PATH"),
    ],
)
def test_a_missing_set_is_one_sentence(name, sentence):
    with pytest.raises(LrfaceError, match=re.escape(sentence)) as error:
        data.load(name)
    assert "\n" not in str(error.value)


def test_missing_root_split_limit_and_lists(tmp_path, monkeypatch):
    with pytest.raises(UsageError, match="unknown split"):
        data.load("celeba", "dev")
    with pytest.raises(UsageError, match="at least one"):
        data.load("celeba", limit=0)
    monkeypatch.delenv("LRFACE_DATA")
    with pytest.raises(LrfaceError, match="LRFACE_DATA is not set"):
        data.load("celeba")
    monkeypatch.setenv("LRFACE_DATA", str(tmp_path / "gone"))
    with pytest.raises(LrfaceError, match="which is not a folder"):
        data.load("celeba")
    root = make_celeba(tmp_path / "root", identities=2)
    monkeypatch.setenv("LRFACE_DATA", str(root))
    (root / "celeba" / "identity_CelebA.txt").unlink()
    with pytest.raises(LrfaceError, match="identity_CelebA.txt is missing"):
        data.load("celeba")


MEASURE = """
import psutil, torch, sys
import PIL.Image, pyarrow.parquet, pandas, platformdirs
process = psutil.Process()
base = peak = process.memory_info().rss
from lrface import data
faces = data.load("celeba")
n = 0
for batch in faces.batches(64):
    n += len(batch)
    peak = max(peak, process.memory_info().rss)
print(n, (peak - base) >> 20)
"""


@pytest.mark.slow
@needs_real
def test_thousands_of_faces_need_little_memory(monkeypatch):
    monkeypatch.setenv("LRFACE_DATA", REAL)
    out = subprocess.run(
        [sys.executable, "-c", MEASURE], capture_output=True, text=True, check=True
    ).stdout.split()
    assert int(out[0]) >= 7900 and int(out[1]) < 400, out
