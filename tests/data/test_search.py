"""1:N search of native faces: roles, galleries and cameras."""

import numpy as np
import pytest
from lrface import data
from lrface.data import search
from lrface.errors import LrfaceError


@pytest.fixture(scope="module")
def faces():
    return data.load("synthetic").sized(64)


def test_half_of_each_test_person_s_pictures_are_probes(faces):
    found = search.lists(faces, 0, most=5, most_distractors=3)
    table = found.faces.table.assign(role=found.role)
    of = table.groupby(["identity", "role"]).size().unstack(fill_value=0)
    searched = of[of["probe"] > 0]
    assert len(searched) == 5 and (searched["probe"] == searched["gallery"]).all()
    assert (of["distractor"] > 0).sum() == 3
    assert set(found.role) == {
        "probe",
        "gallery",
        "distractor",
    }
    assert (found.identities[found.role == "distractor"] == search.DISTRACTOR).all()
    assert search.lists(faces, 0, most=5).faces.table["key"].isin(faces.table["key"]).all()


def test_a_gallery_of_a_given_size_leaves_distractors_out(faces):
    whole = search.lists(faces, 0, most=5, most_distractors=3)
    mates = int((whole.role == "gallery").sum())
    some = search.lists(faces, 0, most=5, most_distractors=3, gallery=mates + 4)
    assert (some.role == "distractor").sum() == 4 and (some.role != "").all()


def test_a_larger_sample_of_people_contains_a_smaller(faces):
    few, more = (set(search.people(faces, 0, most=n).table["identity"]) for n in (3, 6))
    assert few < more and len(more) == 6
    low = search.people(faces, 0, lambda share: share < 0.5)
    high = search.people(faces, 0, lambda share: share >= 0.5)
    assert len(low) + len(high) == len(faces)


def test_the_whole_camera_is_the_set_s_own_captures(faces):
    some = faces.where(np.arange(len(faces)) < 2)
    own = search.recaptured(some, "whole")
    assert own.fingerprint == some.as_source("native_lr").fingerprint
    assert search.recaptured(some, "good camera") is some


@pytest.mark.slow
def test_a_part_of_a_gallery_is_of_the_gallery(faces):
    found = search.lists(faces, 0, most=3, most_distractors=2)
    gallery = search.Gallery(found, "native", search.distractor_moments(1))
    pictures, role, who = gallery.whole()
    assert len(pictures) == len(role) == len(who) == len(found.role) + 8
    assert gallery.size == (role != "probe").sum()
    part = gallery.part(probes=4, gallery=10)
    assert gallery.part(probes=4, gallery=10) is part and part.gallery_size == gallery.size
    assert len(part.probes) == 4 and len(part.drawn) <= 10
    for number, row in zip(part.numbers, part.probes, strict=True):
        assert part.identities[row] == found.identities[found.probes[number]]
        assert (pictures[found.probes[number]] == part.pictures[row]).all()
    mates = set(part.identities[part.mates])
    assert mates == set(part.identities[part.probes]) and search.DISTRACTOR not in mates


def test_all_people_are_searched_for_where_nobody_was_learnt_from():
    usual, everyone = (search.native("synthetic", 0, all_) for all_ in (False, True))
    assert set(everyone.table["split"]) == {"test"} and len(everyone) == len(usual)
    assert everyone.fingerprint == usual.fingerprint
    people = search.lists(everyone, 0).identities
    assert len(set(people)) > 2 * len(set(search.lists(usual, 0).identities))


def test_large_faces_alone_are_no_native_ones():
    with pytest.raises(LrfaceError, match="celeba has no native low-resolution faces"):
        search.native("celeba", 0)
