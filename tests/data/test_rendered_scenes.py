"""Rendered scenes by name: the test crowds ship, others are rendered once."""

import json

import numpy as np
import pytest
from lrface import data
from lrface.data import rendered_scenes
from lrface.data.synthetic import identity, landmarks, person, render, view
from lrface.errors import LrfaceError, UsageError

PLANS = {"rendered-crowds": "e9375be2e2c4a91e", "rendered-portraits": "8c029b6b9a719d4d"}


@pytest.fixture(scope="module")
def crowds():
    return data.load_scenes("rendered-crowds", "test")


def test_the_test_crowds_ship_whole(crowds):
    assert len(crowds) == rendered_scenes.SCENES["rendered-crowds"]["test"] and not crowds.photos
    assert crowds.read(0).shape == (512, 512, 3) and crowds.list_rule == "height"
    assert crowds.boxes["h"].between(6, 310).all() and len(crowds.boxes) > 300
    assert {"easy", "medium", "hard", "occlusion", "pose", "Smiling"} <= set(crowds.boxes)
    assert crowds.boxes["person"].is_unique
    points = np.stack(crowds.boxes["landmarks"])
    boxes = crowds.boxes[["x", "y", "w", "h"]].to_numpy()
    low, high = points.min(1) + 0.5, points.max(1) + 0.5
    # a box reaches to the outermost landmarks, and above them for the forehead
    assert np.allclose(low[:, 0], boxes[:, 0], atol=1e-3)
    assert np.allclose(high[:, 0], boxes[:, 0] + boxes[:, 2], atol=1e-3)
    below = (high[:, 1] - boxes[:, 1] - boxes[:, 3]) / boxes[:, 3]
    assert np.abs(below).max() < 1e-3
    limited = data.load_scenes("rendered-crowds", "test", 3)
    assert len(limited) == 3 and limited.fingerprint != crowds.fingerprint
    assert sum(len(faces) for faces in limited.truth()) == len(limited.boxes)


def test_every_face_has_two_good_pictures():
    few = data.load_scenes("rendered-crowds", "test", 2)
    moments, portraits, marks, others = rendered_scenes.pictures(few)
    assert moments.shape == portraits.shape == (len(few.boxes), 128, 128, 3)
    assert marks.shape == others.shape == (len(few.boxes), 68, 2)
    assert np.abs(marks - 64).max() < 90 and not np.allclose(marks, others)
    with pytest.raises(LrfaceError, match="use the test crowds"):
        rendered_scenes.pictures(data.SceneSet("x", few.root.parent, few.images, few.boxes))


def test_croissant_names_every_file_and_column_of_the_test_crowds():
    written = json.loads((rendered_scenes.EMBEDDED / "croissant.json").read_text())
    assert written == rendered_scenes.described(rendered_scenes.EMBEDDED)
    fields = {f["@id"]: f for record in written["recordSet"] for f in record["field"]}
    assert {"scenes/image", "boxes/landmarks", "boxes/covered", "faces/moment"} <= set(fields)
    assert all("description" in fields[f"boxes/{side}"] for side in "xywh")


def test_a_missing_or_damaged_file_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr(rendered_scenes, "EMBEDDED", tmp_path)
    with pytest.raises(LrfaceError, match="install lrface again"):
        data.load_scenes("rendered-crowds", "test", 1)
    (tmp_path / "manifest.json").write_text('{"files": {"scenes-1-0000.parquet": "0"}}')
    with pytest.raises(LrfaceError, match="missing or damaged"):
        data.load_scenes("rendered-crowds", "test", 1)


def test_a_split_is_asked_for_by_name():
    with pytest.raises(UsageError, match="no split None"):
        data.load_scenes("rendered-crowds")
    with pytest.raises(LrfaceError, match="whole pictures"):
        data.load("rendered-crowds")


@pytest.mark.parametrize("name, digest", PLANS.items())
def test_what_decides_the_scenes_is_what_it_was(name, digest):
    # trained networks are known by these
    assert rendered_scenes.plan(name, "train").digest == digest


def test_the_test_crowds_are_those_of_their_plan(crowds):
    manifest = json.loads((crowds.root / "manifest.json").read_text())
    assert manifest["plan"] == crowds.recipe == rendered_scenes.plan(crowds.name, "test").digest


def test_group_and_gender_do_not_follow_from_the_size_of_a_face(crowds):
    people = crowds.boxes.assign(
        group=crowds.boxes["person"] % 4, man=crowds.boxes["person"] // 4 % 2
    )
    assert people["man"].mean() == pytest.approx(0.5, abs=0.1)
    rank = people.groupby("image")["h"].rank()
    for place in (1, 2, 3):
        here = people[rank == place]
        assert here["group"].value_counts().reindex(range(4), fill_value=0).min() >= 5
        assert 0.25 < here["man"].mean() < 0.75
    high = np.log(people["h"])
    for column in ("group", "man"):
        means = high.groupby(people[column]).mean()
        assert means.max() - means.min() < 3 * high.std() / np.sqrt(len(people) / 4)


def test_hidden_faces_are_known(crowds):
    hidden = crowds.boxes[~crowds.visible]
    assert 0 < len(hidden) < 0.3 * len(crowds.boxes) and (hidden["covered"] >= 0.95).all()
    assert (
        crowds.where(np.arange(len(crowds)) < 5).visible.sum()
        == crowds.visible[crowds.boxes["image"].isin(crowds.images["key"][:5])].sum()
    )


@pytest.mark.slow
def test_a_crowd_and_its_good_pictures_are_rendered_alike_again(crowds, tmp_path, monkeypatch):
    monkeypatch.setattr(rendered_scenes, "PER_PART", 1)
    chosen = rendered_scenes.plan("rendered-crowds", "test", 1)
    rendered_scenes._render(chosen, tmp_path, 1)
    again = rendered_scenes._images(tmp_path, 0)
    assert again["digest"].tolist() == crowds.images["digest"].tolist()[:1]
    moments, _, marks, _ = rendered_scenes.pictures(data.load_scenes("rendered-crowds", "test", 1))
    number = int(crowds.boxes["person"].iat[0])
    who = person(identity(rendered_scenes.SEED, number, generation=2))
    assert np.allclose(marks[0], landmarks(who, render(who, view(who.identity, 1), 128))[0])
    assert len(moments) == (crowds.boxes["image"] == crowds.images["key"][0]).sum()


@pytest.mark.slow
def test_others_are_rendered_once(monkeypatch):
    monkeypatch.setattr(rendered_scenes, "PER_PART", 1)
    one = data.load_scenes("rendered-portraits", "val", 1)
    assert one.read(0).shape == (256, 256, 3) and one.boxes["h"].between(80, 150).all()

    def never(*_):
        raise AssertionError("rendered again")

    monkeypatch.setattr(rendered_scenes, "_write", never)
    again = data.load_scenes("rendered-portraits", "val", 1)
    assert np.array_equal(one.read(0), again.read(0)) and one.fingerprint == again.fingerprint
