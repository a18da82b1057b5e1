"""Networks from elsewhere on one's own faces: whose they are, and that they have not seen them."""

import pytest
from conftest import draw, tiny_config
from lrface import data, degrade, runs
from lrface.data import pair_sets
from lrface.errors import LrfaceError, UsageError
from lrface.training import recipes, trained_on
from PIL import Image


def make_faces(root, people, each=2, first=500):
    for person in range(people):
        for k in range(each):
            file = root / f"P{person}" / f"{k}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(draw(first + 10 * person + k, 130, 130)).save(file)
    return f"folder:{root}"


def test_released_networks_on_everybody_of_a_small_folder(tmp_path, capsys):
    name = make_faces(tmp_path / "me", people=3)
    cells = {(m, s): (m, s) for m in ("SRCNN", "VDSR") for s in ("4x", "8x")}
    found = trained_on.networks("synthetic", cells)
    assert {m for m, _ in found.runs} == {"SRCNN"} and {m for m, _ in found.absent} == {"VDSR"}
    assert "2 on synthetic" in found.whose and "2 not at hand" in found.whose
    faces = trained_on.faces_for(name, found)
    assert len(faces) == 6 and faces.table["identity"].nunique() == 3
    assert len(trained_on.faces_for("synthetic", found, 30)) == 30


@pytest.mark.slow
def test_interpolation_alone_needs_no_network():
    found = trained_on.networks("synthetic", {})
    assert (found.runs, found.size) == ({}, "paper")
    assert found.whose == "networks trained elsewhere: none"


def test_people_that_a_network_has_seen_are_refused(tmp_path):
    name = make_faces(tmp_path / "me", people=12)
    run = runs.fit(tiny_config(data=name, n_train=None, steps=1))
    key = run.record["key"]
    found = trained_on.networks(key, {"a": ("SRCNN", "4x"), "b": ("EDSR", "4x")})
    assert list(found.runs) == ["a"] and "is SRCNN-small 4x on folder:" in found.absent["b"]
    test = trained_on.faces_for(name, found)
    assert set(test.table["split"]) == {"test"}
    (tmp_path / "copy").symlink_to(tmp_path / "me")
    with pytest.raises(LrfaceError, match="the training and test images share"):
        trained_on.faces_for(f"folder:{tmp_path}/copy", found)


def test_networks_that_are_not_there_are_one_sentence():
    for name, kind, sentence in (
        ("lfw", LrfaceError, "trained_on=lfw: none of the networks is at hand"),
        ("0" * 16, UsageError, "no run of this key is at hand"),
    ):
        with pytest.raises(kind, match=sentence):
            trained_on.networks(name, {"a": ("SRCNN", "4x")})


def test_what_a_small_set_is_not_fit_for_is_said_first(tmp_path, lrface):
    name = make_faces(tmp_path / "me", people=3)
    code, out, _ = lrface("data", "check", name)
    assert code == 0 and "not for verification: " in out and "need six: add some" in out
    assert "not for testing: " in out and "with trained_on=synthetic all its people" in out
    assert "not for attributes: none are known" in out
    assert data.cannot("celeba").keys() == {"search", "native faces"}


def test_pairs_of_everybody_for_networks_from_elsewhere(tmp_path):
    name = make_faces(tmp_path / "me", people=8)
    pairs = pair_sets.load(name, of_everyone=True)
    assert len(set(pairs.people)) == 8 and set(pairs.fold) == {0, 1, 2, 3}


def test_the_very_network_of_a_config_is_found_by_its_key():
    train = data.load("synthetic", "train")
    config = recipes.config("SRCNN", degrade.setting("4x"), "synthetic", "quick")
    other = config.model_copy(update={"seed": 7})
    cells = {"a": (config, train), "b": (other, train), "c": ("EDSR", "8x")}
    found = trained_on.networks("synthetic", cells)
    assert list(found.runs) == ["a", "c"] and "SRCNN-small 4x" in found.absent["b"]
    assert found.size == "small" and found.apart("lfw") == ""
    key = found.runs["a"].record["key"]
    assert list(trained_on.networks(key, cells).runs) == ["a"]
    assert trained_on.learnt_set(key) == trained_on.learnt_set("synthetic") == "synthetic"
    assert trained_on.learnt_set("lfw") == "lfw"  # known, if not at hand


def test_many_absent_networks_are_counted_and_three_are_named():
    cells = {(m, "4x"): (m, "4x") for m in ("EDSR", "VDSR", "DRRN", "FSRCNN", "A+")}
    whose = trained_on.networks("synthetic", cells).whose
    assert whose.endswith("; 4 not at hand (VDSR; DRRN; FSRCNN; ...)")


def test_two_people_are_too_few(tmp_path):
    found = trained_on.networks("synthetic", {"a": ("SRCNN", "4x")})
    with pytest.raises(LrfaceError, match="has 2 people to test on, and three are needed"):
        trained_on.faces_for(make_faces(tmp_path / "me", people=2), found)
