"""The sources of a face set: what is read, and that no set is mistaken for another."""

import hashlib

import numpy as np
import pandas as pd
import pytest
from lrface import data, runs
from lrface.data.faceset import pooled
from lrface.data.synthetic.captures import Way, captured
from lrface.errors import LrfaceError
from PIL import Image

CUBIC = Image.Resampling.BICUBIC


@pytest.fixture(scope="module")
def faces():
    return data.load("synthetic", "val", 12)


def test_what_is_read(faces):
    def resized(image, *sides):
        for side in sides:
            image = np.asarray(Image.fromarray(image).resize((int(side), int(side)), CUBIC))
        return image

    native_lr, downsampled = faces.as_source("native_lr"), faces.as_source("downsampled")
    twenty = faces.as_source("downsampled", 20)
    for row in range(3):
        hr, native, h = faces.read(row), faces.native(row), faces.table["native_height"][row]
        assert native.shape == (h, h, 3) and hr.shape == (128, 128, 3)
        assert np.array_equal(native_lr.sized(64).read(row), resized(native, 64))
        assert np.array_equal(downsampled.read(row), resized(hr, h, 128))
        assert np.array_equal(twenty.read(row), resized(hr, 20, 128))
        assert np.array_equal(faces.sized(64).read(row), resized(hr, 64))


def test_no_set_is_mistaken_for_another(faces):
    sources = (("native_lr",), ("downsampled",), ("downsampled", 20), ("downsampled", 21))
    sets = [faces, faces.sized(64), *(faces.as_source(*source) for source in sources)]
    assert len({one.fingerprint for one in sets}) == len(sets)
    native = faces.as_source("native_lr")
    assert faces.as_source("hr") is faces
    assert native.fingerprint == faces.as_source("native_lr").fingerprint
    assert native.table["digest"][0] == hashlib.sha256(faces.native(0).tobytes()).hexdigest()[:16]
    assert native.where(native.table.index < 2).read(1).tolist() == native.read(1).tolist()


def test_pooled_sets(faces):
    parts = [faces.sized(64), faces.as_source("native_lr").sized(64)]
    both = pooled(*parts)
    assert len(both) == 24
    assert both.table["key"].is_unique
    assert both.table["source"].tolist() == ["hr"] * 12 + ["native_lr"] * 12
    expected = [parts[0].read(0), parts[1].read(11)]
    assert np.array_equal(both.stack([0, 23]).permute(0, 2, 3, 1).numpy(), np.stack(expected))
    some = both.where(both.table["source"] == "native_lr")
    assert np.array_equal(some.read(3), parts[1].read(3))
    assert some.fingerprint == parts[1].fingerprint != both.fingerprint
    assert set(both.classes("identity")[0]) == set(faces.table["identity"])
    with pytest.raises(LrfaceError, match="do not go together"):
        pooled(faces, parts[1])


def test_a_set_without_small_faces_says_so():
    celeba = data.load("celeba", limit=4)
    with pytest.raises(LrfaceError, match="no native low-resolution faces"):
        celeba.as_source("native_lr")
    assert celeba.as_source("downsampled", 20).read(0).shape == (128, 128, 3)


@pytest.mark.slow
def test_a_moment_captured_again_is_the_sets_own(faces, tmp_path):
    rows = faces.table.head(2)
    moments = [(2026, int(r.identity[1:]), int(r.view)) for r in rows.itertuples()]
    ways = (Way("whole"), Way("sharp", without=("optics", "motion")), Way("another", camera=1))
    found = captured(tmp_path, moments, ways)
    assert found["way"].tolist() == ["whole", "sharp", "another"] * 2
    whole = found[found["way"] == "whole"].reset_index(drop=True)
    assert whole["digest"].tolist() == rows["digest"].tolist()
    assert whole["native_height"].tolist() == rows["native_height"].tolist()
    assert (
        whole["native_digest"].tolist()
        == faces.as_source("native_lr").table["digest"].head(2).tolist()
    )
    assert found["native_digest"].nunique() == 6
    again = captured(tmp_path, moments, ways)  # nothing is rendered again
    pd.testing.assert_frame_equal(found, again)
    read = data.FaceSet("again", tmp_path, found.assign(split="test"), faces.crop, False)
    assert np.array_equal(read.read(4), faces.read(1))
    assert np.array_equal(read.native(3), faces.native(1))


@pytest.mark.slow
def test_a_run_starts_from_one_on_other_faces(faces):
    from lrface import degrade

    fields = dict(degradation=degrade.setting("4x"), data="synthetic", steps=2, batch=2, patch=32)
    first = runs.Config(method="SRCNN", **fields)
    start = runs.RunRef(config=first, faces=faces.fingerprint)
    second = runs.Config(method="SRCNN", seed=1, init=start, **fields)
    small = data.load("synthetic", "train", 8)
    with pytest.raises(LrfaceError, match="train that first"):
        runs.fit(second, small)
    train = data.load("synthetic", "train", 6)
    second = second.model_copy(update={"init": runs.RunRef(config=first, faces=train.fingerprint)})
    assert runs.fit(first, train).record["key"] == second.init.key
    run = runs.fit(second, small)
    assert runs.Config.model_validate_json(second.model_dump_json()) == second
    assert run.source == "trained"
    assert (
        runs.key_for(second, small)
        == run.record["key"]
        != runs.key_for(second.model_copy(update={"init": first}), small)
    )


@pytest.mark.slow
def test_fingerprints_are_those_in_the_keys_of_released_networks_and_scores():
    """If one changes, no released network or score is found."""
    sources = [("native_lr",), ("downsampled",), ("downsampled", 20)]
    train, test = data.load("synthetic", "train"), data.load("synthetic", "test")
    assert train.fingerprint == "265f0141bba37192" and test.fingerprint == "c88314a5e649353e"
    assert data.load("synthetic", "val").fingerprint == "ca4b5a8b51c6bdf6"
    assert data.load("synthetic-clips").fingerprint == "918cc8663f79fd2e"
    found = [test.as_source(*source).fingerprint for source in sources]
    assert found == ["24bc992f3f6d2cc0", "645958c1f8405422", "cbc55c9615d963b6"]
    large, native, small = (
        train.as_source(source).sized(64) for source in ("hr", "native_lr", "downsampled")
    )
    assert native.fingerprint == "b6eba6bdaf91cc3b"
    assert pooled(large, native).fingerprint == "226d0c31c34ac75b"
    assert pooled(large, small).fingerprint == "645ec88c897219e4"
    few = data.load("synthetic", "test", 200)
    assert few.fingerprint == "36b50a21662d3cc1"
    found = [few.as_source(*source).sized(64).fingerprint for source in sources]
    assert found == ["6bd13bcccca85770", "f184d7ee5e9b7975", "12300d4ede3ec986"]


def test_keys_name_a_source_by_the_words_that_released_scores_were_stored_under(faces):
    first = faces.table["key"][0]
    for source, suffix in (
        (("native_lr",), "poor"),
        (("downsampled",), "shrunken"),
        (("downsampled", 20), "shrunken 20"),
    ):
        assert faces.as_source(*source).table["key"][0] == f"{first}/{suffix}"
