"""TinyFace: the official folders and lists, no validation split, distractors without mates."""

import re
import shutil

import numpy as np
import pandas as pd
import pytest
import scipy.io
from conftest import draw
from hypothesis import given
from hypothesis import strategies as st
from lrface import data, degrade, runs
from lrface.data.images import Crop, read_rgb
from lrface.data.readers import tinyface
from lrface.errors import LrfaceError
from lrface.metrics import protocol
from PIL import Image

TEST = {
    "Probe": {"18_1.jpg": 18, "18_2.jpg": 18, "301_1.jpg": 301},
    "Gallery_Match": {"18_3.jpg": 18, "301_2.jpg": 301, "301_3.jpg": 301},
}
LISTS = {
    "Probe": ("probe_img_ID_pairs.mat", "probe"),
    "Gallery_Match": ("gallery_match_img_ID_pairs.mat", "gallery"),
}


def cells(names) -> np.ndarray:
    """As MATLAB stores them: a column of cells with a text in each."""
    return np.array([[name] for name in names], dtype=object)


def store(folder, part, pictures, **changes):
    name, which = LISTS[part]
    content = {
        f"{which}_set": cells(pictures),
        f"{which}_ids": np.array([list(pictures.values())], np.uint16).T,
    }
    scipy.io.savemat(folder / name, content | changes)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    root = tmp_path_factory.mktemp("tinyface")
    test, files = root / "tinyface" / "Testing_Set", []
    files += [
        root / "tinyface" / "Training_Set" / who / f"{who}_{k}.jpg"
        for who in ("2", "77", "104")
        for k in (1, 2, 3)
    ]
    files += [test / part / name for part, pictures in TEST.items() for name in pictures]
    files += [test / "Gallery_Distractor" / f"0_{k}_face.jpg" for k in range(5)]
    for seed, file in enumerate(files):
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(draw(seed, 16 + seed % 3, 20 - seed % 5)).save(file, quality=95)
    (test / "Gallery_Distractor" / "._0_1_face.jpg").write_bytes(b"x")
    for part, pictures in TEST.items():
        store(test, part, pictures)
    return root


@pytest.fixture
def root(drawn, tmp_path, monkeypatch):
    monkeypatch.setenv("LRFACE_DATA", str(tmp_path))
    shutil.copytree(drawn / "tinyface", tmp_path / "tinyface")
    return tmp_path


def test_the_official_layout_with_its_roles_and_its_partition(root):
    faces = data.load("tinyface")
    table = faces.table
    assert len(faces) == 20
    assert not faces.skipped
    assert faces.photos
    assert faces.split_rule == "official partition"
    assert table["role"].value_counts().to_dict() == {
        "train": 9,
        "probe": 3,
        "gallery": 3,
        "distractor": 5,
    }
    assert ((table["split"] == "train") == (table["role"] == "train")).all()
    assert set(table["split"]) == {"train", "test"}
    assert table["native"].dtype == bool and table["native"].all() and faces.attributes == ()
    sizes = {row.key: read_rgb(root / row.path).shape[0] for row in table.itertuples()}
    assert table["native_height"].tolist() == [sizes[key] for key in table["key"]]
    assert table["native_height"].nunique() > 2
    who = table.set_index("key")["identity"]
    assert who["Training_Set/77/77_2.jpg"] == "77"
    assert who["Testing_Set/Probe/301_1.jpg"] == who["Testing_Set/Gallery_Match/301_3.jpg"] == "301"
    nobody = table.loc[table["role"] == "distractor", "identity"]
    assert nobody.is_unique and nobody.str.startswith("-100/").all()
    assert table.loc[table["role"] != "distractor", "identity"].str.isdecimal().all()


def test_train_and_test_share_nobody_and_there_is_no_validation(root):
    train, test, held_out = (
        data.load("tinyface", "train"),
        data.load("tinyface", "test"),
        data.held_out("tinyface"),
    )
    assert (len(train), len(test), len(held_out)) == (9, 11, 11)
    assert set(held_out["split"]) == {"test"}
    data.check_leakage(train.table, held_out)
    data.check_leakage(train.table, test.table)
    assert data.load("tinyface", "train", seed=5).table.equals(train.table)
    with pytest.raises(
        LrfaceError, match="tinyface has no val split: its official partition has train, test"
    ):
        data.load("tinyface", "val")


def test_the_lists_of_the_search_give_each_probe_its_mates_and_no_distractor(root):
    lists = data.identification_lists("tinyface")
    assert lists.columns.tolist() == ["key", "identity", "role"]
    assert set(lists["key"]) == set(data.load("tinyface", "test").table["key"])
    probes, gallery = lists[lists["role"] == "probe"], lists[lists["role"] != "probe"]
    assert gallery["role"].value_counts().to_dict() == {"distractor": 5, "gallery": 3}
    one_hot = pd.get_dummies(lists["identity"]).to_numpy(np.float32)
    found = protocol("tinyface").search(
        one_hot[probes.index], one_hot[gallery.index], probes["identity"], gallery["identity"]
    )
    assert found.mates.tolist() == [1, 1, 2]
    assert found.rank(1) == found.mAP == 1
    assert found.gallery_size == 8
    with pytest.raises(LrfaceError, match="tinyface has no list 'pairs_hard'"):
        data.pairs("tinyface", hard=True)


def test_a_distractor_stands_in_no_pair_of_people(root):
    people = root / "tinyface" / "Training_Set"
    shutil.copytree(people / "77", people / "78")  # pairs are made of six people at least
    pairs = data.pairs("tinyface")
    assert set(pairs["protocol"]) == {"made"}
    assert (
        not pairs[["first", "second"]]
        .apply(lambda keys: keys.str.contains("Distractor"))
        .any(axis=None)
    )


@pytest.mark.slow
@pytest.mark.parametrize(("method", "loss"), [("FRNET", "softmax"), ("SRCNN", "l1")])
def test_a_network_learns_from_it_with_nobody_to_validate_on(root, method, loss):
    config = runs.Config(
        method=method,
        degradation=degrade.setting("4x"),
        data="tinyface",
        steps=2,
        batch=2,
        loss=loss,
    )
    run = runs.fit(config)
    assert run.source == "trained"
    assert run.record["data"]["n"] == 9
    assert np.isnan(run.log[-1]["val_psnr"])
    assert runs.fit(config).source == "cached"


def test_a_picture_becomes_a_square_by_its_edges_and_as_large_as_the_others(root):
    faces = data.load("tinyface")
    assert faces.stack(range(20)).shape == (20, 3, 128, 128)
    row = int(np.argmax(faces.table["key"] == "Testing_Set/Probe/301_1.jpg"))
    picture = read_rgb(root / faces.table["path"][row])
    height, width = picture.shape[:2]
    assert height != width
    side = max(height, width)
    above, left = -((height - side) // 2), -((width - side) // 2)
    square = np.pad(
        picture, ((above, side - height - above), (left, side - width - left), (0, 0)), mode="edge"
    )
    assert np.array_equal(
        faces.read(row),
        np.asarray(Image.fromarray(square).resize((128, 128), Image.Resampling.LANCZOS)),
    )


@given(st.integers(1, 300), st.integers(1, 300))
def test_any_picture_is_padded_whole_in_its_middle(height, width):
    y, x = np.mgrid[:height, :width]
    side = max(height, width)
    crop = Crop(size=side, pad=True)(np.stack([y % 256, x % 256, 0 * x], 2).astype(np.uint8))
    top, left = -((height - side) // 2), -((width - side) // 2)
    assert crop.shape == (side, side, 3)
    assert np.array_equal(crop[top : top + height, left : left + width, 1], x % 256)
    assert (crop[: top + 1, :, 0] == 0).all()
    assert (crop[top + height - 1 :, :, 0] == (height - 1) % 256).all()
    assert (crop[:, : left + 1, 1] == 0).all()
    assert (crop[:, left + width - 1 :, 1] == (width - 1) % 256).all()


def test_a_crop_that_does_not_pad_is_written_as_before():
    assert (
        str(Crop())
        == str(Crop(pad=True))
        == "Crop(size=128, source=None, box=None, face=(0.1, 0.15, 0.9, 0.95))"
    )


def test_a_file_that_cannot_be_read_is_named_and_the_heights_stay_with_their_pictures(root, capsys):
    (root / "tinyface" / "Testing_Set" / "Gallery_Distractor" / "0_1_face.jpg").write_bytes(b"")
    faces = data.load("tinyface")
    assert faces.skipped == {"Testing_Set/Gallery_Distractor/0_1_face.jpg": "the file is empty"}
    assert faces.table["native_height"].tolist() == [
        read_rgb(root / path).shape[0] for path in faces.table["path"]
    ]
    assert data.load("tinyface", limit=4).table["native_height"].between(16, 20).all()


@pytest.mark.parametrize(
    ("part", "sentence"),
    [
        ("Training_Set", "Training_Set holds no *.jpg: fetch its 7,804 pictures"),
        ("Testing_Set/Probe", "Probe holds no *.jpg: fetch its 3,728 pictures"),
        ("Testing_Set/Gallery_Match", "Gallery_Match holds no *.jpg: fetch its 4,443 pictures"),
        (
            "Testing_Set/Gallery_Distractor",
            "Gallery_Distractor holds no *.jpg: fetch its 153,428 pictures",
        ),
        (
            "Testing_Set/probe_img_ID_pairs.mat",
            "probe_img_ID_pairs.mat is missing: fetch it, the list of Probe",
        ),
        (
            "Testing_Set/gallery_match_img_ID_pairs.mat",
            "is missing: fetch it, the list of Gallery_Match",
        ),
        ("Testing_Set/Gallery_Match/301_2.jpg", "names 3 pictures and 1 of them are not there"),
    ],
)
def test_a_missing_part_is_said_in_one_sentence(root, part, sentence):
    place = root / "tinyface" / part
    shutil.rmtree(place) if place.is_dir() else place.unlink()
    with pytest.raises(LrfaceError, match=re.escape(sentence)) as error:
        data.load("tinyface")
    assert "\n" not in str(error.value) and str(error.value).startswith("TinyFace: ")


def test_lists_in_another_form_are_refused(root):
    folder = root / "tinyface" / "Testing_Set"
    file = folder / "probe_img_ID_pairs.mat"
    pictures = TEST["Probe"]

    def refused(sentence):
        with pytest.raises(LrfaceError, match=sentence) as error:
            data.load("tinyface")
        assert "\n" not in str(error.value)

    store(folder, "Probe", pictures, probe_ids=np.array([[18, 301]]).T)
    refused("probe_img_ID_pairs.mat is not whole: want each picture once")
    store(folder, "Probe", pictures, probe_set=cells(["18_1.jpg"] * 3))
    refused("is not whole")
    scipy.io.savemat(file, {"probe_set": cells(pictures)})
    refused(r"is not in the official form \(probe_set and probe_ids\): fetch it again")
    store(folder, "Probe", pictures, probe_ids=cells(["Ada", "Bob", "Cy"]))
    refused("is not in the official form")
    whole = (folder / "gallery_match_img_ID_pairs.mat").read_bytes()
    for broken in (b"", b"\0" * 40, whole[:150], whole[:-20], b"<html>404</html>" * 20):
        file.write_bytes(broken)
        refused("is not in the official form")
    file.write_bytes(
        b"MATLAB 7.3 MAT-file, Platform: GLNXA64, HDF5 schema 1.00 .".ljust(124)
        + b"\x00\x02IM"
        + b"\0" * 400
    )
    refused("v7.3 format, which is HDF5: save it again with `save -v7`")


def test_lists_in_rows_and_of_one_picture_are_read_too(root):
    folder = root / "tinyface" / "Testing_Set"
    store(
        folder,
        "Probe",
        TEST["Probe"],
        probe_set=cells(TEST["Probe"]).T,
        probe_ids=np.array([[18.0, 18.0, 301.0]]),
    )
    assert (tinyface.read(root)["role"] == "probe").sum() == 3
    store(folder, "Probe", {"301_1.jpg": 301})  # the list says who is a probe, not the folder
    table = tinyface.read(root)
    assert table.loc[table["role"] == "probe", ["key", "identity"]].values.tolist() == [
        ["Testing_Set/Probe/301_1.jpg", "301"]
    ]


def test_cached_scans_from_before_there_were_heights_are_still_used(own_places):
    before = data.load("celeba", limit=20).table
    (file,) = (own_places / "cache" / "scans").glob("*.parquet")
    scanned = pd.read_parquet(file).drop(columns="height")
    # a digest that no file has shows that the files are not read again
    scanned.assign(digest="from the cache").to_parquet(file, index=False)
    after = data.load("celeba", limit=20).table
    assert (after["digest"] == "from the cache").all()
    assert after.drop(columns="digest").equals(before.drop(columns="digest"))


def test_the_command_line_knows_the_set(root, lrface):
    code, out, _ = lrface("data", "check", "tinyface")
    assert code == 0
    assert "20 usable faces" in out
    assert "1:N search: 5 distractor, 3 gallery, 3 probe, 9 train" in out
    assert "train: 9 images, 3 identities" in out
    assert "crop the whole picture, made square, to 128x128" in out
    assert "val" not in out
    code, out, _ = lrface("list")
    assert code == 0 and "Training_Set" in re.sub(r"\s|│", "", out)
