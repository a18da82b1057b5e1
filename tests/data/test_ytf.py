"""YouTube Faces: squares from official boxes or landmarks; clips and their official pairs."""

import hashlib
import re
import shutil

import numpy as np
import pandas as pd
import pytest
import scipy.io
from conftest import REAL, draw, needs_real
from hypothesis import given
from hypothesis import strategies as st
from lrface import data
from lrface.data.images import BadImage, Crop, address, located
from lrface.data.landmarks import Landmarker, landmarks
from lrface.data.readers import celeba, lfw, rendered, ytf
from lrface.errors import LrfaceError
from PIL import Image

SHAPE = np.stack(
    [np.linspace(0, 60, 68), 50 * np.sin(np.linspace(0, 9, 68)) ** 2], axis=1
)  # 60 wide, at most 50 high


def keypoints(faces) -> str:
    return "\n".join(
        [
            "path," + ",".join(ytf.XY),
            *(f"{frame}," + ",".join(map(str, points.ravel())) for frame, points in faces),
            "",
        ]
    )


@pytest.fixture
def root(tmp_path, monkeypatch):
    """Ada's frames are in the official list of boxes, Bob's in the list of landmarks, Cy's in
    neither."""
    frames = tmp_path / "ytf" / "frame_images_DB"
    for seed, key in enumerate(
        (
            "Ada_One/0/0.7",
            "Ada_One/0/0.12",
            "Ada_One/3/3.1",
            "Bob_Two/1/1.5",
            "Bob_Two/1/1.6",
            "Cy_Six/0/0.1",
        )
    ):
        file = frames / f"{key}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(draw(seed, 200, 160)).save(file, quality=95)
    (frames / "Ada_One/0/._0.7.jpg").write_bytes(b"x")
    (frames / "Ada_One/0/cover.jpg").write_bytes(b"x")
    boxes = [
        "0\\0.7.jpg,0,100,80,60,50,0.0,1",
        "0\\0.12.jpg,0,20,150,100,100,0.0,1",
        "3\\3.1.jpg,0,105,85,106,100,0.0,1",
    ]
    (frames / "Ada_One.labeled_faces.txt").write_text(
        "".join(f"Ada_One\\{line}\n" for line in boxes)
    )
    (tmp_path / "ytf" / "keypoints68.csv").write_text(
        keypoints([("Bob_Two/1/1.5.jpg", SHAPE + (70, 50)), ("Bob_Two/1/1.6.jpg", SHAPE / 2)])
    )
    monkeypatch.setenv("LRFACE_DATA", str(tmp_path))
    return tmp_path


def test_frames_in_the_official_layout(root):
    table = data.load("ytf").table
    assert table["key"].tolist() == [
        f"{k}.jpg"
        for k in (
            "Ada_One/0/0.12",
            "Ada_One/0/0.7",
            "Ada_One/3/3.1",
            "Bob_Two/1/1.5",
            "Bob_Two/1/1.6",
        )
    ]
    assert table["identity"].tolist() == ["Ada_One"] * 3 + ["Bob_Two"] * 2
    assert table["clip"].tolist() == [
        "Ada_One/0",
        "Ada_One/0",
        "Ada_One/3",
        "Bob_Two/1",
        "Bob_Two/1",
    ]
    assert table["frame"].tolist() == [
        12,
        7,
        1,
        5,
        6,
    ]
    assert set(table) == {
        "key",
        "identity",
        "split",
        "path",
        "digest",
        "clip",
        "frame",
        "side",
        "landmarks",
    }


def test_a_square_is_the_official_box_enlarged_about_its_centre(root):
    squares = {
        key: located(path)[1]
        for key, path in zip(*(data.load("ytf").table[c] for c in ("key", "path")), strict=True)
    }
    assert squares["Ada_One/0/0.7.jpg"] == (
        64,
        44,
        72,
    )  # 1.2 times the larger side, 60, about (100, 80)
    assert squares["Ada_One/0/0.12.jpg"] == (-40, 90, 120)  # it reaches outside the frame
    assert squares["Ada_One/3/3.1.jpg"] == (41, 21, 127)


def test_landmarks_place_the_square_and_are_given_in_the_crop(root):
    faces = data.load("ytf")
    found = landmarks(faces)
    assert found.dtype == np.float32 and np.isnan(found[:3]).all() and np.isfinite(found[3:]).all()
    for points, side in zip(found[3:], faces.table["side"][3:], strict=True):
        assert np.ptp(points, axis=0).max() / 128 == pytest.approx(ytf.SPAN, rel=0.02)
        assert points.mean(axis=0) + 0.5 == pytest.approx(
            (64, ytf.DOWN * 128), abs=0.51 * 128 / side
        )
    left, top, side = located(faces.table["path"][3])[1]
    assert ((SHAPE + (70, 50) + 0.5 - (left, top)) * 128 / side - 0.5) == pytest.approx(
        found[3], abs=1e-3
    )


def test_the_official_box_comes_before_the_landmarks_which_stay(root):
    (root / "ytf" / "keypoints68.csv").write_text(
        keypoints([("Ada_One/0/0.7.jpg", SHAPE + (70, 50))])
    )
    faces = data.load("ytf", limit=9)
    assert faces.table["path"].str.rpartition("#")[2].tolist()[1] == "64,44,72"
    assert landmarks(faces)[1] == pytest.approx(
        (SHAPE + (70, 50) + 0.5 - (64, 44)) * 128 / 72 - 0.5, abs=1e-3
    )
    (root / "ytf" / "keypoints68.csv").unlink()
    assert "landmarks" not in data.load("ytf").table


def test_frames_without_a_place_are_counted_and_named(root, capsys):
    boxes = root / "ytf/frame_images_DB/Ada_One.labeled_faces.txt"
    boxes.write_text(
        boxes.read_text()
        + "Ada_One\\0\\0.7.jpg,0,90,80,60,50,0.0,1\n"
        + "Ada_One\\3\\3.1.jpg,0,105,85,106,100,0.0,1\n"
    )
    boxes.write_text(boxes.read_text().replace("20,150,100,100", "920,150,100,100"))
    faces = data.load("ytf")
    said = capsys.readouterr().err
    assert set(faces.skipped) == {
        "Ada_One/0/0.7.jpg",
        "Ada_One/0/0.12.jpg",
        "Cy_Six/0/0.1.jpg",
    }
    assert "Ada_One/3/3.1.jpg" in set(faces.table["key"])
    assert "skipped 3 of 6" in said and said.count("\n") == 1
    assert (
        faces.skipped["Ada_One/0/0.7.jpg"]
        == faces.skipped["Cy_Six/0/0.1.jpg"]
        == "no list says where its face is, or one says it twice"
    )
    assert (
        faces.skipped["Ada_One/0/0.12.jpg"]
        == "its face, 120 pixels at (860, 90), is not in the 200x160 frame"
    )
    boxes.unlink()
    (root / "ytf" / "keypoints68.csv").unlink()
    with pytest.raises(
        LrfaceError, match="ytf has no usable image: no list says where its face is"
    ):
        data.load("ytf")


@pytest.mark.parametrize(
    "file, text",
    [
        (
            "frame_images_DB/Ada_One.labeled_faces.txt",
            "Ada_One\\0\\0.7.jpg,0,here,80,60,50,0.0,1\n",
        ),
        ("keypoints68.csv", "path,x0,y0\nBob_Two/1/1.5.jpg,1,2\n"),
        (
            "keypoints68.csv",
            "path," + ",".join(ytf.XY) + "\nBob_Two/1/1.5.jpg" + ",one" * 136 + "\n",
        ),
    ],
)
def test_lists_in_another_form_are_refused(root, file, text):
    (root / "ytf" / file).write_text(text)
    with pytest.raises(
        LrfaceError, match=rf"{re.escape(file)} is not in the official form; fetch it again"
    ) as caught:
        data.load("ytf")
    assert "\n" not in str(caught.value)


def test_numbers_that_place_no_face_make_a_frame_unusable(root):
    boxes = root / "ytf/frame_images_DB/Ada_One.labeled_faces.txt"
    boxes.write_text(
        "Ada_One\\0\\0.7.jpg,0,inf,80,60,50,0,1\nAda_One\\0\\0.12.jpg,0,90,80,-60,-50,0,1\nAda_One\\3\\3.1.jpg,0,90,80,1e300,50,0,1\n"
    )
    assert {"Ada_One/0/0.7.jpg", "Ada_One/0/0.12.jpg", "Ada_One/3/3.1.jpg"} < set(
        data.load("ytf").skipped
    )


def test_an_empty_folder_says_the_layout(tmp_path, monkeypatch):
    monkeypatch.setenv("LRFACE_DATA", str(tmp_path))
    with pytest.raises(LrfaceError, match="put ytf there as ytf/frame_images_DB/Name/clip"):
        data.load("ytf")
    (tmp_path / "ytf").mkdir()
    with pytest.raises(LrfaceError, match="holds no Name/clip/clip.k.jpg"):
        data.load("ytf")


Y, X = np.mgrid[0:160, 0:200]
GRADIENT = np.stack([X, Y, 0 * X], axis=2).astype(
    np.uint8
)  # red says which column, green which row


def test_a_square_of_128_is_cut_as_it_is():
    assert np.array_equal(Crop()(GRADIENT, (40, 20, 128)), GRADIENT[20:148, 40:168])


@pytest.mark.parametrize("left, top, side", [(40, 20, 64), (50, 10, 140)])
def test_corners_show_where_they_lie_in_the_frame(left, top, side):
    crop = Crop()(GRADIENT, (left, top, side)).astype(float)
    place = (np.arange(128) + 0.5) * side / 128 - 0.5
    inside = slice(4, -4)  # the filter sees no further than the square
    assert crop[inside, inside, 0] == pytest.approx(
        np.tile(left + place[inside], (120, 1)), abs=0.75
    )
    assert crop[inside, inside, 1] == pytest.approx(
        np.tile(top + place[inside], (120, 1)).T, abs=0.75
    )
    assert crop[0, 0, :2] == pytest.approx((left, top), abs=1.5)
    assert crop[-1, -1, :2] == pytest.approx((left + side - 1, top + side - 1), abs=1.5)


def test_edges_are_repeated_where_the_square_leaves_the_frame():
    crop = Crop()(GRADIENT, (-30, 90, 128))
    assert (crop[:, :31, 0] == 0).all()
    assert crop[0, -1, 0] == 97
    assert (crop[69:, :, 1] == 159).all()
    assert crop[0, 0, 1] == 90


def test_fine_stripes_average_when_a_large_face_is_shrunk():
    stripes = np.repeat(255 * (np.arange(512) % 2)[None, :, None].astype(np.uint8), 512, 0).repeat(
        3, 2
    )
    crop = Crop()(stripes, (0, 0, 512))
    assert np.abs(crop[:, 4:-4].astype(int) - 127).max() <= 2


@given(
    st.integers(1, 300),
    st.integers(1, 300),
    st.integers(-500, 500),
    st.integers(-500, 500),
    st.integers(0, 900),
)
def test_any_square_gives_a_crop_or_a_reason(height, width, left, top, side):
    try:
        assert Crop()(np.zeros((height, width, 3), np.uint8), (left, top, side)).shape == (
            128,
            128,
            3,
        )
    except BadImage as reason:
        assert "face" in str(reason)


@given(st.text(), st.integers(-999, 999), st.integers(-999, 999), st.integers(0, 999))
def test_an_address_is_read_as_it_was_written(file, left, top, side):
    assert located(address(f"a{file}.jpg", (left, top, side))) == (
        f"a{file}.jpg",
        (left, top, side),
    )
    assert located(f"a{file}.jpg") == (f"a{file}.jpg", None) and located("images.parquet#17") == (
        "images.parquet#17",
        None,
    )


@pytest.mark.slow
def test_what_is_read_depends_on_the_frame_and_the_square_alone(
    root, tmp_path_factory, monkeypatch
):
    first, state = data.load("ytf"), data.state("ytf")
    elsewhere = shutil.copytree(root, tmp_path_factory.mktemp("elsewhere") / "data")
    monkeypatch.setenv("LRFACE_DATA", str(elsewhere))
    assert data.load("ytf").fingerprint == first.fingerprint
    boxes = elsewhere / "ytf/frame_images_DB/Ada_One.labeled_faces.txt"
    boxes.write_text(boxes.read_text().replace("100,80,60,50", "101,80,60,50"))
    moved = data.load("ytf")  # the cached scan of the frames is as before
    assert moved.fingerprint != first.fingerprint
    assert (moved.table["digest"] != first.table["digest"]).tolist() == [False, True] + [False] * 3
    assert not np.array_equal(moved.read(1), first.read(1)) and data.state("ytf") != state


def test_the_square_counts_even_where_it_changes_no_pixel(root):
    Image.fromarray(np.full((160, 200, 3), 90, np.uint8)).save(
        root / "ytf/frame_images_DB/Ada_One/0/0.7.jpg"
    )
    before = data.load("ytf")
    boxes = root / "ytf/frame_images_DB/Ada_One.labeled_faces.txt"
    boxes.write_text(boxes.read_text().replace("100,80,60,50", "101,80,60,50"))
    after = data.load("ytf")
    assert np.array_equal(before.read(1), after.read(1))
    assert before.table["digest"][1] != after.table["digest"][1]


@pytest.mark.slow
def test_fingerprints_of_the_other_sets_are_what_they_were(tmp_path, monkeypatch):
    face = {
        "celeba": "(0.16, 0.22, 0.84, 0.9)",
        "lfw": "(0.13, 0.13, 0.87, 0.87)",
        "synthetic": "(0.16, 0.2, 0.84, 0.95)",
    }
    assert (
        f"{celeba.CROP}"
        == f"Crop(size=128, source=(178, 218), box=(25, 57, 153, 185), face={face['celeba']})"
    )
    assert (
        f"{lfw.CROP}"
        == f"Crop(size=128, source=(250, 250), box=(61, 65, 189, 193), face={face['lfw']})"
    )
    assert (
        f"{rendered.CROP}"
        == f"Crop(size=128, source=(128, 128), box=(0, 0, 128, 128), face={face['synthetic']})"
    )
    sets = [
        data.load("celeba", limit=5),
        data.load("synthetic", limit=5),
    ]  # a set keeps the root it was found in
    (tmp_path / "lfw" / "lfw-deepfunneled" / "Ada_One").mkdir(parents=True)
    for i in range(5):
        Image.fromarray(draw(i, 250, 250)).save(
            tmp_path / "lfw" / "lfw-deepfunneled" / "Ada_One" / f"Ada_One_{i:04d}.jpg"
        )
    monkeypatch.setenv("LRFACE_DATA", str(tmp_path))
    for faces in (*sets, data.load("lfw")):
        assert faces.table["digest"].tolist() == [
            hashlib.sha256(faces.read(i).tobytes()).hexdigest()[:16] for i in range(5)
        ]
        text = f"{faces.name}\n{faces.crop}\n" + "".join(
            f"{r.key}\t{r.identity}\t{r.digest}\n" for r in faces.table.itertuples()
        )
        assert faces.fingerprint == hashlib.sha256(text.encode()).hexdigest()[:16]


def test_networks_trained_on_lfw_are_not_tested_on_the_same_people(root):
    for name in ("Ada_One", "Eve_Ten"):
        (root / "lfw" / "lfw-deepfunneled" / name).mkdir(parents=True)
        Image.fromarray(draw(50, 250, 250)).save(
            root / "lfw" / "lfw-deepfunneled" / name / f"{name}_0001.jpg"
        )
    train, test = data.load("lfw"), data.load("ytf")
    with pytest.raises(LrfaceError, match=r"share 1 identities \(for example Ada_One\)"):
        data.check_leakage(train.table, test.table)
    data.check_leakage(train.table, test.where(test.table["identity"] == "Bob_Two").table)


def test_the_command_line_knows_the_set(root, lrface):
    code, out, err = lrface("data", "check", "ytf")
    assert code == 1
    assert "5 usable faces of 2 identities" in out
    assert "a square around each face" in out
    assert "Cy_Six/0/0.1.jpg" in err
    code, out, _ = lrface("list")
    assert code == 0 and "Name/clip" in re.sub(r"\s", "", out)


LINES = [
    "1, 1, Ada_One/0, Ada_One/3, 1",
    "1, 2, Ada_One/0, Bob_Two/1, 0",
    "2, 1, Cy_Six/0, Cy_Six/2, 1",
    "2, 2, Cy_Six/0, Dee_Ten/1, 0",
]


def test_the_official_pairs_are_read_from_either_file(root):
    file = root / "ytf" / "splits.txt"
    file.write_text(
        "\n".join(["split number, pair number, first name, second name, is same", *LINES])
    )
    pairs = ytf.pairs(root)
    assert pairs.values.tolist()[1:3] == [
        ["Ada_One/0", "Bob_Two/1", False, 0],
        ["Cy_Six/0", "Cy_Six/2", True, 1],
    ]
    assert set(data.pairs("ytf")["protocol"]) == {"own"}
    file.unlink()
    names = np.array(
        ["Ada_One/0", "Ada_One/3", "Bob_Two/1", "Cy_Six/0", "Cy_Six/2", "Dee_Ten/1"], dtype=object
    )
    (root / "ytf" / "meta_data").mkdir()
    splits = np.array([[[1, 2, 1], [1, 3, 0]], [[4, 5, 1], [4, 6, 0]]], float).transpose(1, 2, 0)
    scipy.io.savemat(
        root / "ytf" / "meta_data" / "meta_and_splits.mat",
        {"video_names": names[:, None], "Splits": splits},
    )
    pd.testing.assert_frame_equal(ytf.pairs(root), pairs)


@pytest.mark.parametrize(
    "broken",
    [
        LINES[:-1],
        [],
        [*LINES, "3, 1, Ada_One/0"],
        [line[:-1] + "2" for line in LINES],
        LINES[:1] * 2,
        ["x"],
    ],
)
def test_a_list_of_pairs_that_is_not_whole_is_refused(root, broken):
    (root / "ytf" / "splits.txt").write_text("\n".join(broken))
    with pytest.raises(LrfaceError, match="splits.txt is not whole"):
        data.pairs("ytf")


@needs_real
def test_dlib_finds_the_face_in_real_crops(monkeypatch):
    monkeypatch.setenv("LRFACE_DATA", REAL)
    if not (data.data_root() / "ytf").is_dir():
        pytest.skip("LRFACE_DATA holds no ytf")
    faces = data.load("ytf", limit=20)
    boxes = Landmarker().detect(faces.stack(range(20)))
    found = np.isfinite(boxes).all(axis=1)
    assert len(faces) == 20 and found.mean() >= 0.8
    assert np.nanmedian(boxes, axis=0) / 128 == pytest.approx(ytf.CROP.face, abs=0.07)
