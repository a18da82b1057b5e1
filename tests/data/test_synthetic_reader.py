"""The synthetic set as a face set: the same contract as the sets of files, from Parquet."""

import json
import shutil
import tracemalloc

import numpy as np
import pandas as pd
import pytest
import torch
from lrface import data, report, runs
from lrface.data import packed, synthetic
from lrface.data.landmarks import landmarks
from lrface.data.synthetic.rows import decode
from lrface.errors import LrfaceError


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made") / "set"
    synthetic.make(folder, 8, 3, seed=12, clips=2, frames=3, workers=1)
    return folder


@pytest.fixture
def copied(made, tmp_path):
    return shutil.copytree(made, tmp_path / "set")


@pytest.mark.slow
def test_a_made_set_reads_like_any_other(made):
    faces = data.load(f"synthetic:{made}")
    raw = pd.concat(
        [pd.read_parquet(f) for f in sorted(made.glob("images-*.parquet"))]
    ).sort_values("key", ignore_index=True)
    assert len(faces) == 24 and not faces.photos and faces.split_rule == "official partition"
    assert faces.table["key"].tolist() == raw["key"].tolist()
    order = [17, 3, 23, 3, 0]
    pictures = faces.stack(order)
    assert pictures.dtype == torch.uint8 and pictures.shape == (5, 3, 128, 128)
    for picture, row in zip(pictures, order, strict=True):
        assert np.array_equal(picture.permute(1, 2, 0).numpy(), decode(raw["image"][row]["bytes"]))
    assert torch.equal(torch.cat(list(faces.batches(7))), faces.stack(range(24)))
    assert {"group", "gender", "age", "yaw", "pitch", "native_height"} <= set(faces.table)
    assert len(faces.attributes) >= 20
    assert faces.table[list(faces.attributes)].dtypes.eq(bool).all()


def test_captures_and_landmarks_are_the_rows_own(made):
    faces = data.load(f"synthetic:{made}", limit=9)
    raw = pd.concat([pd.read_parquet(f) for f in made.glob("images-*.parquet")]).set_index("key")
    points = landmarks(faces)
    assert points.shape == (9, 68, 2) and points.dtype == np.float32
    for i, key in enumerate(faces.table["key"]):
        assert faces.native(i).shape == (faces.table["native_height"][i],) * 2 + (3,)
        assert np.array_equal(points[i].ravel(), raw.loc[key, "landmarks"])
    assert faces.stored("landmarks_visible").shape == (9, 1)


def test_clips_are_a_set_of_their_own(made):
    frames = data.load(f"synthetic-clips:{made}")
    assert len(frames) == 6
    assert frames.table.groupby("clip")["frame"].apply(list).tolist() == [[0, 1, 2]] * 2
    assert frames.fingerprint != data.load(f"synthetic:{made}").fingerprint


def test_splits_share_nobody_and_runs_are_trained_on_it(made):
    name = f"synthetic:{made}"
    train, test = data.load(name, "train"), data.load(name, "test")
    data.check_leakage(train.table, test.table)
    from lrface import degrade

    fields = {
        "method": "SRCNN",
        "degradation": degrade.setting("4x"),
        "data": name,
        "steps": 2,
        "batch": 2,
        "patch": 32,
    }
    assert runs.fit(runs.Config(**fields)).source == "trained"
    assert "synthetic-set-" in report.slug(name)


def test_a_small_set_says_why_it_has_no_pairs_and_gives_its_search_lists(made):
    with pytest.raises(LrfaceError, match="has no pairs.csv.*larger set"):
        data.pairs(f"synthetic:{made}")
    lists = data.identification_lists(f"synthetic:{made}")
    test = data.load(f"synthetic:{made}", "test").table
    assert set(lists.query("role == 'probe'")["identity"]) == set(test["identity"])
    with pytest.raises(LrfaceError, match="has no list"):
        data.identification_lists("celeba")


def test_limits_are_nested(made):
    few, more = (set(data.load(f"synthetic:{made}", limit=n).table["key"]) for n in (5, 12))
    assert len(few) == 5 and few < more


@pytest.mark.parametrize("limit, least, most", [(30_000, 0, 120_000), (1 << 20, 125_000, 1 << 20)])
def test_memory_is_bounded(made, copied, monkeypatch, limit, least, most):
    """Encoded images that stay in memory: all if they fit, else as many as do."""
    monkeypatch.setattr(packed, "CACHE_BYTES", limit)
    known, faces = (data.load(f"synthetic:{folder}").stack for folder in (made, copied))
    whole = known(range(24))
    tracemalloc.start()
    try:
        assert torch.equal(whole, faces(range(24)))
        still_there = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert least < still_there < most


@pytest.mark.parametrize("damage", ["missing", "truncated", "one byte", "no manifest"])
def test_a_damaged_set_is_said_in_one_sentence(copied, damage):
    file = next(copied.glob("images-*.parquet"))
    content = file.read_bytes()
    if damage == "missing":
        file.unlink()
    elif damage == "truncated":
        file.write_bytes(content[:-100])
    elif damage == "one byte":
        file.write_bytes(content[:5000] + bytes([content[5000] ^ 1]) + content[5001:])
    else:
        (copied / "manifest.json").unlink()
    with pytest.raises(LrfaceError) as caught:
        data.load(f"synthetic:{copied}")
    assert "\n" not in str(caught.value) and ("manifest" in str(caught.value))


def test_a_file_that_goes_away_while_it_is_used(copied):
    faces = data.load(f"synthetic:{copied}")
    next(copied.glob("images-*.parquet")).unlink()
    with pytest.raises(LrfaceError, match="make or fetch the set again"):
        faces.stack([0, 1])


def test_its_state_changes_with_its_files(copied):
    name = f"synthetic:{copied}"
    before = data.state(name)
    assert data.state(name) == before
    manifest = json.loads((copied / "manifest.json").read_text())
    assert manifest["splits"]["rule"].startswith("70/5/25")
    next(copied.glob("images-*.parquet")).touch()  # its content is what counts
    assert (
        data.state(name)
        == before
        == data.state(f"synthetic:{copied.rename(copied.with_name('elsewhere'))}")
    )


def test_a_set_without_captures_or_clips_says_so(drawn_root):
    with pytest.raises(LrfaceError, match="no native low-resolution capture"):
        data.load("celeba", limit=1).native(0)
