"""Verification pairs made for a set that has none: disjoint, balanced, reproducible."""

import pandas as pd
import pytest
from conftest import draw
from hypothesis import given, settings
from hypothesis import strategies as st
from lrface import data, metrics
from lrface.data import protocols, splits
from lrface.errors import LrfaceError
from PIL import Image


def table_of(counts, unit="key", split="test"):
    """A row an image; ``counts`` images (or clips, of two frames each) of each person."""
    people = [f"p{i:03d}" for i, n in enumerate(counts) for _ in range(n)]
    names = [f"p{i:03d}/{k}" for i, n in enumerate(counts) for k in range(n)]
    table = pd.DataFrame({"key": names, "identity": people, "split": split})
    if unit == "clip":
        table = pd.concat(
            [table.assign(clip=names, key=[f"{n}/{frame}" for n in names]) for frame in "ab"]
        )
    return table


def check(pairs, table, unit="key"):
    of = table.drop_duplicates(unit).set_index(unit)["identity"]
    first, second = of.loc[pairs["first"]].to_numpy(), of.loc[pairs["second"]].to_numpy()
    assert ((first == second) == pairs["same"]).all() and (pairs["first"] != pairs["second"]).all()
    assert not pairs.duplicated(["first", "second"]).any() and (pairs["protocol"] == "made").all()
    assert pairs.groupby(["fold", "same"]).size().nunique() == 1 and pairs["fold"].nunique() >= 3
    places = pd.concat(
        [pd.DataFrame({"identity": side, "fold": pairs["fold"]}) for side in (first, second)]
    )
    assert (places.groupby("identity")["fold"].nunique() == 1).all()


@pytest.mark.slow
@settings(max_examples=40)
@given(
    st.lists(st.integers(1, 9), min_size=1, max_size=40),
    st.sampled_from(["key", "clip"]),
    st.randoms(),
)
def test_folds_share_nobody_and_are_balanced_whatever_the_set(counts, unit, random):
    table = table_of(counts, unit)
    if sum(n > 1 for n in counts) < 6:
        with pytest.raises(LrfaceError, match="three folds that share nobody need six"):
            protocols.made("toy", table)
        return
    pairs = protocols.made("toy", table)
    check(pairs, table, unit)
    shuffled = table.iloc[random.sample(range(len(table)), len(table))]
    pd.testing.assert_frame_equal(protocols.made("other", shuffled), pairs)


def test_a_large_set_gets_as_many_as_youtube_faces():
    pairs = protocols.made("toy", table_of([30] * 80))
    check(pairs, table_of([30] * 80))
    assert len(pairs) == 5000 and pairs["fold"].nunique() == 10
    used = pd.concat([pairs["first"], pairs["second"]]).value_counts()
    assert used.max() < 20  # nobody's picture stands for the person


def test_only_people_of_the_test_split_unless_they_are_too_few(capsys):
    table = table_of([3] * 40)
    table["split"] = splits.by_identity(table["identity"])
    table.loc[table["identity"] < "p008", "split"] = "test"
    tested = set(table.loc[table["split"] == "test", "key"])
    pairs = protocols.made("toy", table)
    check(pairs, table)
    assert {
        *pairs["first"],
        *pairs["second"],
    } <= tested
    assert "of the people of its test split" in capsys.readouterr().err
    everyone = protocols.made("toy", table, of_everyone=True)
    assert not {*everyone["first"], *everyone["second"]} <= tested
    pd.testing.assert_frame_equal(protocols.made("toy", table.assign(split="train")), everyone)
    said = capsys.readouterr().err
    assert "toy: pairs made here, not the set's own: 10 folds of " in said
    assert "its test split has too few" in said


def test_a_folder_has_pairs_that_can_be_judged(tmp_path):
    for person in range(8):
        (tmp_path / f"person{person}").mkdir()
        for i in range(3):
            Image.fromarray(draw(person * 100 + i, 130, 130)).save(
                tmp_path / f"person{person}" / f"{i}.png"
            )
    (tmp_path / "person0" / "bad.png").write_bytes(b"x")
    pairs = data.pairs(f"folder:{tmp_path}")
    faces = data.load(f"folder:{tmp_path}").table
    check(pairs, faces)  # every name is that of an image that can be read
    result = metrics.verification(
        pairs["same"].to_numpy(float), pairs["same"].to_numpy(), pairs["fold"].to_numpy()
    )
    assert result.accuracy == 1.0 and result.n == len(pairs)
    with pytest.raises(LrfaceError, match="has no list 'pairs_hard'"):
        data.pairs(f"folder:{tmp_path}", hard=True)


def test_a_set_with_one_clip_a_person_says_what_it_lacks():
    with pytest.raises(
        LrfaceError, match="synthetic-clips has 0 people with two clips or more"
    ) as caught:
        data.pairs("synthetic-clips")
    assert "\n" not in str(caught.value)


def test_clips_by_number_are_paired_by_number():
    table = table_of([3] * 12, "clip")
    table["clip"] = pd.factorize(table["clip"])[0]
    pairs = protocols.made("toy", table)
    check(pairs, table, "clip")
    assert pd.api.types.is_integer_dtype(pairs["first"])


def test_lists_that_come_with_a_set_are_marked_so():
    assert set(data.pairs("synthetic")["protocol"]) == {"own"}


def test_pairs_of_all_people_for_want_of_test_people_say_so():
    split = table_of([2] * 12).assign(split=["test"] * 8 + ["train"] * 16)
    assert protocols.made("toy", split).attrs["of_trained"]
    assert not protocols.made("toy", split, of_everyone=True).attrs["of_trained"]
    assert not protocols.made("toy", table_of([2] * 12)).attrs["of_trained"]
