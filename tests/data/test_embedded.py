"""The embedded set: what ships is whole, balanced, small enough and readable by others."""

import hashlib
import io
import json

import pandas as pd
import pytest
from lrface import data
from lrface.data import synthetic
from lrface.data.readers.rendered import EMBEDDED
from lrface.data.synthetic.make import VERSIONS
from lrface.data.synthetic.rows import decode, encode
from PIL import Image


@pytest.fixture(scope="module")
def faces():
    return data.load("synthetic")


def test_it_needs_no_root_and_holds_what_its_datasheet_says(faces, monkeypatch):
    monkeypatch.delenv("LRFACE_DATA")
    data.check_name("synthetic")
    assert len(faces) == 4800 and not faces.photos
    people = faces.table.drop_duplicates("identity")
    assert len(people) == 400 and people["group"].value_counts().tolist() == [100] * 4
    assert faces.table["age"].between(18, 80).all() and len(faces.attributes) >= 20
    clips = data.load("synthetic-clips").table
    assert clips["clip"].nunique() == 120 and (clips.groupby("clip").size() == 7).all()


def test_it_is_small_and_of_the_generator_at_hand():
    shipped = [f for folder in EMBEDDED.parent.glob("embedded*") for f in folder.iterdir()]
    assert max(f.stat().st_size for f in shipped) < 40e6
    assert sum(f.stat().st_size for f in shipped) < 85e6
    plan = json.loads((EMBEDDED / "plan.json").read_text())
    assert plan["version"] == VERSIONS[1] and plan["seed"] == 2026


def test_test_people_suffice_for_the_studies(faces):
    test = data.load("synthetic", "test")
    assert len(test) >= 600
    assert set(test.table.groupby("group")["identity"].nunique().index) == {
        "White",
        "Black",
        "Asian",
        "Latino",
    }
    names = set(test.table["key"])
    for hard in (False, True):
        pairs = data.pairs("synthetic", hard)
        assert len(pairs) == 6000 and set(pairs["first"]) | set(pairs["second"]) <= names
    assert set(data.identification_lists("synthetic")["role"]) == {"gallery", "probe", "distractor"}


def test_others_can_read_it():
    table = pd.read_parquet(
        EMBEDDED / "images-00000-of-00001.parquet",
        columns=["key", "image", "native", "native_height"],
    )
    for row in (0, 2500, 4799):
        assert Image.open(io.BytesIO(table["image"][row]["bytes"])).size == (128, 128)
        assert (
            Image.open(io.BytesIO(table["native"][row]["bytes"])).height
            == table["native_height"][row]
        )


@pytest.mark.slow
def test_a_face_can_be_made_again_to_the_byte(faces):
    """The plan's seed gives the stored pixels: what ships was made by the code that ships."""
    row = faces.table.iloc[1234]
    who = synthetic.person(synthetic.identity(2026, int(row["identity"][1:])))
    frame = synthetic.render(who, synthetic.view(who.identity, int(row["view"])), 128)
    assert (
        hashlib.sha256(decode(encode(frame.picture(), 92)).tobytes()).hexdigest()[:16]
        == row["digest"]
    )
