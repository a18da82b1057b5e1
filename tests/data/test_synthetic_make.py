"""Writing a set: the same bytes for any number of workers, after a kill, and readable by others."""

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from lrface.data.synthetic import ATTRIBUTES, identity, landmarks, make, person, render, view
from lrface.data.synthetic.make import VERSIONS
from lrface.data.synthetic.protocols import (
    FRACTIONS,
    identification_lists,
    split_of,
    verification_pairs,
)
from lrface.data.synthetic.rows import decode
from lrface.errors import LrfaceError, UsageError
from PIL import Image

ASKED = {"identities": 6, "per_identity": 2, "seed": 9, "size": 48, "clips": 1, "frames": 3}


# Mean brightness of the 16 x 16 blocks of two pictures of 64 pixels, seed 1, identities 0 and 5,
# view 1, by generation and version.
KNOWN = {
    (1, 2): {
        0: [
            [80.13, 152.06, 174.5, 149.6],
            [51.92, 166.77, 185.5, 145.25],
            [67.58, 183.86, 203.76, 162.95],
            [76.3, 152.69, 178.72, 143.36],
        ],
        5: [
            [121.45, 160.38, 137.97, 78.26],
            [104.16, 120.86, 135.47, 99.72],
            [109.29, 134.86, 151.81, 96.48],
            [115.19, 144.84, 161.96, 87.7],
        ],
    },
    (2, 3): {
        0: [
            [88.65, 108.01, 100.54, 70.33],
            [87.99, 133.92, 108.99, 88.29],
            [102.48, 135.26, 139.76, 91.46],
            [80.86, 119.04, 117.05, 66.78],
        ],
        5: [
            [95.93, 149.48, 160.42, 240.35],
            [98.47, 91.75, 95.87, 158.91],
            [84.31, 133.21, 142.67, 99.75],
            [69.0, 105.2, 131.68, 36.4],
        ],
    },
}


@pytest.mark.parametrize("generation", VERSIONS)
def test_the_version_is_raised_when_pictures_change(generation):
    """If this fails, the generator makes other pictures than before: raise make.VERSIONS and store
    the new numbers under it."""
    for number, blocks in KNOWN[generation, VERSIONS[generation]].items():
        who = person(identity(1, number, generation=generation))
        picture = render(who, view(who.identity, 1), 64).picture()
        assert np.abs(picture.reshape(4, 16, 4, 16, 3).mean((1, 3, 4)) - blocks).max() < 0.05


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("set")
    return folder, make(folder, **ASKED, workers=1)


@pytest.mark.slow
def test_two_workers_write_the_same_bytes(written, tmp_path):
    assert make(tmp_path, **ASKED, workers=2)["files"] == written[1]["files"]


@pytest.mark.slow
def test_again_is_the_same_and_costs_nothing(written, tmp_path):
    began = time.monotonic()
    assert make(written[0], **ASKED, workers=1) == written[1] and time.monotonic() - began < 1
    assert make(tmp_path, **ASKED, workers=1)["files"] == written[1]["files"]


@pytest.mark.slow
def test_killed_at_once_and_resumed_ends_with_the_same_hashes(written, tmp_path):
    code = (
        f"from lrface.data.synthetic import make; make({str(tmp_path)!r}, workers=1, **{ASKED!r})"
    )
    child = subprocess.Popen([sys.executable, "-c", code], env=os.environ)
    deadline = time.monotonic() + 120
    while (
        not list((tmp_path / ".parts").glob("images-*.parquet"))
        and child.poll() is None
        and time.monotonic() < deadline
    ):
        time.sleep(0.02)
    child.send_signal(signal.SIGKILL)
    child.wait()
    (tmp_path / ".parts").mkdir(exist_ok=True)
    (tmp_path / ".parts" / ".images-00001.4242.part.parquet").write_bytes(b"half a file")
    assert make(tmp_path, **ASKED, workers=1)["files"] == written[1]["files"]
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(
        p.name for p in written[0].iterdir()
    )


@pytest.mark.slow
def test_a_torn_part_is_made_again(written, tmp_path):
    parts = tmp_path / ".parts"
    parts.mkdir()
    (parts / "images-00000.parquet").write_bytes(b"PAR1 torn")
    assert make(tmp_path, **ASKED, workers=1)["files"] == written[1]["files"]


@pytest.mark.slow
def test_a_missing_file_is_made_again(written, tmp_path):
    shutil.copytree(written[0], tmp_path / "copy")
    (tmp_path / "copy" / "images-00000-of-00001.parquet").unlink()
    (tmp_path / "copy" / "clips-00000-of-00001.parquet").write_bytes(b"torn")
    assert make(tmp_path / "copy", **ASKED, workers=1)["files"] == written[1]["files"]


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(LrfaceError, match="choose another"):
        make(tmp_path / "file" / "set", **ASKED)


def test_other_parameters_in_the_same_folder_are_refused(written):
    with pytest.raises(UsageError, match="other parameters"):
        make(written[0], **{**ASKED, "seed": 10})


@pytest.mark.parametrize(
    "wrong", [{"identities": 0}, {"quality": 101}, {"size": 8}, {"prevalence": {"Bald": 2}}]
)
def test_impossible_sets_are_refused(wrong, tmp_path):
    with pytest.raises(UsageError):
        make(tmp_path / "x", **{**ASKED, **wrong})


def test_rows_hold_the_picture_and_its_truth(written):
    table = pd.read_parquet(written[0] / "images-00000-of-00001.parquet")
    assert len(table) == 12 and table["key"].is_unique and set(ATTRIBUTES) <= set(table.columns)
    assert all(table[name].dtype == bool for name in ATTRIBUTES)
    assert table["yaw"].dtype == np.float32
    assert table["clip"].isna().all() and (table["native_height"] <= 50).all()
    row = table.iloc[3]
    picture = np.asarray(Image.open(io.BytesIO(row["image"]["bytes"])))
    who = person(identity(9, int(row["identity"][1:])))
    frame = render(who, view(who.identity, int(row["view"])), 48)
    points, visible = landmarks(who, frame)
    assert picture.shape == (48, 48, 3)
    assert np.abs(picture.astype(float) - frame.picture()).mean() < 4
    assert np.allclose(row["landmarks"].reshape(68, 2), points, atol=1e-3)
    assert (row["landmarks_visible"] == visible).all()
    native = decode(row["native"]["bytes"])
    assert native.shape == (row["native_height"], row["native_height"], 3)


def test_clips_are_frames_in_order(written):
    table = pd.read_parquet(written[0] / "clips-00000-of-00001.parquet")
    assert table["frame"].tolist() == [0, 1, 2]
    assert table["clip"].eq(0).all()
    assert table["identity"].nunique() == 1
    assert table["native_height"].nunique() == 1


def test_files_name_their_columns_for_the_datasets_library(written):
    metadata = pq.read_schema(written[0] / "images-00000-of-00001.parquet").metadata
    features = json.loads(metadata[b"huggingface"])["info"]["features"]
    assert features["image"] == {"_type": "Image"} and features["yaw"]["dtype"] == "float32"


def test_manifest_lists_every_file(written):
    folder, manifest = written
    listed = {p.name for p in folder.iterdir()} - {"manifest.json", "croissant.json"}
    assert set(manifest["files"]) == listed
    assert manifest["splits"]["sha256"]
    assert "pairs" in manifest["not_made"]


def toy_table(people: int = 160, each: int = 12) -> pd.DataFrame:
    rows = [
        (f"s{i:06d}_{v:03d}", f"s{i:06d}", "WBAL"[i % 4], "mf"[i // 4 % 2], 3.0 * (v - 4), 1.0)
        for i in range(people)
        for v in range(1, each + 1)
    ]
    table = pd.DataFrame(rows, columns=["key", "identity", "group", "gender", "yaw", "pitch"])
    return table.assign(split=[split_of(name, 0) for name in table["identity"]])


@pytest.mark.slow
def test_the_generator_needs_no_torch():
    """Its workers must stay small: torch alone would double their memory."""
    code = "import sys, lrface.data.synthetic.make; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_croissant_names_every_file_and_column(written):
    folder, manifest = written
    described = json.loads((folder / "croissant.json").read_text())
    objects = {o["@id"]: o for o in described["distribution"] if o["@type"] == "cr:FileObject"}
    assert {name: o["sha256"] for name, o in objects.items()} == {
        name: f["sha256"] for name, f in manifest["files"].items()
    }
    (images,) = [r for r in described["recordSet"] if r["name"] == "images"]
    assert [f["name"] for f in images["field"]] == pq.read_schema(
        next(folder.glob("images-*.parquet"))
    ).names
    (picture,) = [f for f in images["field"] if f["name"] == "image"]
    assert picture["source"]["transform"] == {"jsonPath": "bytes"}  # as mlcroissant reads it
    assert described["conformsTo"].endswith("croissant/1.0")
    assert "publicdomain/zero" in described["license"]


@pytest.mark.slow
@pytest.mark.parametrize("hard", [False, True])
def test_pairs_are_balanced_distinct_and_their_folds_share_nobody(hard):
    table = toy_table()
    pairs = verification_pairs(table, seed=2, hard=hard)
    of = table.set_index("key")
    first, second = of.loc[pairs["first"]], of.loc[pairs["second"]]
    assert len(pairs) == 6000
    assert not pairs.duplicated(["first", "second"]).any()
    assert (pairs["first"] != pairs["second"]).all()
    assert (pairs.groupby("fold")["same"].mean() == 0.5).all()
    assert (pairs.groupby("fold").size() == 600).all()
    assert ((first["identity"].to_numpy() == second["identity"].to_numpy()) == pairs["same"]).all()
    folds = pd.concat(
        [
            pairs.assign(identity=side["identity"].to_numpy())[["identity", "fold"]]
            for side in (first, second)
        ]
    ).drop_duplicates()
    assert folds["identity"].is_unique
    if hard:
        assert (first["group"].to_numpy() == second["group"].to_numpy()).all()
        assert (first["gender"].to_numpy() == second["gender"].to_numpy()).all()
    assert pairs.equals(verification_pairs(table, seed=2, hard=hard))
    assert not pairs.equals(verification_pairs(table, seed=3, hard=hard))


@pytest.mark.slow
def test_too_small_a_set_says_so():
    with pytest.raises(UsageError, match="larger set"):
        verification_pairs(toy_table(20, 2))
    with pytest.raises(UsageError, match="do not divide"):
        verification_pairs(toy_table(), pairs=1001)


@pytest.mark.slow
def test_search_lists_keep_probes_out_of_the_gallery_and_the_distractors():
    table = toy_table()
    lists = identification_lists(table)
    of = lists.groupby("role")["identity"].agg(set)
    assert of["gallery"] == of["probe"] == set(table.loc[table["split"] == "test", "identity"])
    assert not of["distractor"] & of["probe"]
    gallery = lists[lists["role"] == "gallery"]
    assert gallery["identity"].is_unique
    assert gallery["key"].str.endswith("_004").all()
    assert lists["key"].is_unique


@pytest.mark.slow
def test_a_larger_set_keeps_the_splits_of_a_smaller():
    names = [f"s{i:06d}" for i in range(3000)]
    counts = pd.Series([split_of(name, 0) for name in names]).value_counts(normalize=True)
    assert {k: round(v, 1) for k, v in counts.items()} == {
        k: round(v, 1) for k, v in FRACTIONS.items()
    } or abs(counts["train"] - FRACTIONS["train"]) < 0.03
