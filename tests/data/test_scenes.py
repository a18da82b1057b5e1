"""Sets of whole photographs with boxes: WIDER FACE and FDDB in their official layouts."""

import numpy as np
import pandas as pd
import pytest
from conftest import REAL, draw, needs_real
from lrface import data
from lrface.data.scenes import subsets
from lrface.errors import LrfaceError, UsageError
from lrface.metrics import fddb, match_detections
from PIL import Image
from scipy.io import savemat

LIST = """0--Parade/b.jpg
3
60 50 16 60 0 0 0 0 0 0
60 50 16 31 1 0 0 0 2 0
2 50 0 0 0 0 0 1 0 1
0--Parade/a.jpg
1
10 20 30 40 2 1 1 0 1 0
12--Group/none.jpg
0
0 0 0 0 0 0 0 0 0 0
0--Parade/broken.jpg
1
60 50 16 20 0 0 0 0 0 0
0--Parade/gone.jpg
1
60 50 16 20 0 0 0 0 0 0
"""
ELLIPSES = """2002/08/11/big/img_1
2
20.5 10.5 1.5707963 60.0 50.0  1
15.0 15.0 0.0 30.0 30.0  1
2002/08/11/big/img_2
0
"""


@pytest.fixture
def root(tmp_path, monkeypatch):
    """A data root with a WIDER FACE of five photographs, one broken and one missing, and a FDDB."""
    for folder in (
        "wider/wider_face_split",
        "wider/WIDER_val/images/0--Parade",
        "wider/WIDER_val/images/12--Group",
        "fddb/FDDB-folds",
        "fddb/originalPics/2002/08/11/big",
    ):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "wider/wider_face_split/wider_face_val_bbx_gt.txt").write_text(LIST)
    pictures = tmp_path / "wider/WIDER_val/images"
    for i, name in enumerate(("0--Parade/b", "0--Parade/a", "12--Group/none")):
        Image.fromarray(draw(i, 120 + i, 90)).save(pictures / f"{name}.jpg")
    (pictures / "0--Parade/broken.jpg").write_bytes(b"\xff\xd8no picture")
    (tmp_path / "fddb/FDDB-folds/FDDB-fold-01-ellipseList.txt").write_text(ELLIPSES)
    for i in (1, 2):
        Image.fromarray(draw(i, 100, 80)).save(
            tmp_path / f"fddb/originalPics/2002/08/11/big/img_{i}.jpg"
        )
    monkeypatch.setenv("LRFACE_DATA", str(tmp_path))
    return tmp_path


def save_lists(folder, lists):
    """Lists in the official form: cells of events, of images, and of numbers of boxes from 1.

    ``lists`` gives, for each list, the numbers of the images b, a, broken, gone and none.
    """

    def cell(values):
        array = np.empty((len(values), 1), object)
        array[:, 0] = values
        return array

    names = ["b", "a", "broken", "gone"]
    for name, numbers in lists.items():
        columns = [np.array(n, np.uint8).reshape(-1, 1) for n in numbers]
        savemat(
            folder / f"wider_{name}_val.mat",
            {
                "event_list": cell(["0--Parade", "12--Group"]),
                "file_list": cell([cell(names), cell(["none"])]),
                "gt_list": cell([cell(columns[:4]), cell(columns[4:])]),
            },
        )


LISTS = {
    "easy": [[1], [], [], [], []],
    "medium": [[1, 2], [1], [], [], []],
    "hard": [[1, 2], [1], [1], [1], []],
}


def test_images_and_boxes_of_wider(root, capsys):
    scenes = data.load_scenes("wider", "val")
    assert scenes.images["key"].tolist() == [
        "0--Parade/a.jpg",
        "0--Parade/b.jpg",
        "12--Group/none.jpg",
    ]
    assert scenes.images["event"].tolist() == ["Parade", "Parade", "Group"]
    assert scenes.sizes == [(90, 121), (90, 120), (90, 122)]
    assert [len(faces) for faces in scenes.truth()] == [1, 3, 0]
    assert scenes.truth()[0].tolist() == [[10, 20, 30, 40]]
    assert scenes.boxes.loc[3, ["w", "h", "invalid", "pose"]].tolist() == [0, 0, 1, 1]
    assert scenes.read(1).shape == (90, 120, 3) and scenes.photos
    warning = capsys.readouterr().err
    assert "wider: skipped 2 of 5 files" in warning and "gone.jpg: the file is missing" in warning
    assert scenes.skipped.keys() == {"0--Parade/broken.jpg", "0--Parade/gone.jpg"}


def test_without_official_lists_height_decides_and_says_so(root):
    scenes = data.load_scenes("wider")
    assert scenes.list_rule == "height"
    assert scenes.boxes["easy"].tolist() == [False, True, False, False]
    assert scenes.boxes["medium"].tolist() == [True, True, True, False]
    assert scenes.boxes["hard"].tolist() == [True, True, True, False]


@pytest.mark.parametrize("place", ["wider_face_split", "eval_tools/ground_truth"])
def test_the_official_lists_are_read(root, place):
    folder = root / "wider" / place
    folder.mkdir(parents=True, exist_ok=True)
    save_lists(folder, LISTS)
    scenes = data.load_scenes("wider", "val")
    assert scenes.list_rule == "official"
    assert scenes.boxes["easy"].tolist() == [False, True, False, False]
    assert scenes.boxes["medium"].tolist() == [True, True, True, False]
    assert scenes.boxes["hard"].sum() == 3


def test_lists_as_text(root):
    keys = ["0--Parade/b.jpg"] * 3 + [
        "0--Parade/a.jpg",
        "0--Parade/broken.jpg",
        "0--Parade/gone.jpg",
    ]
    table = pd.DataFrame({"image": keys, "face_index_1based": [1, 2, 3, 1, 1, 1]})
    table[["easy", "medium", "hard"]] = [[1, 1, 1], [0, 0, 1], [0, 0, 1], *[[0, 1, 1]] * 3]
    file = root / "wider/official_lists_150.csv"
    table.to_csv(file, index=False)
    scenes = data.load_scenes("wider")
    assert scenes.list_rule == "official" and scenes.boxes["hard"].all()
    assert scenes.boxes["medium"].tolist() == [True, True, False, False]
    # a text that covers only some of the photographs is of no use for the whole set
    table[table["image"] != "0--Parade/a.jpg"].to_csv(file, index=False)
    assert data.load_scenes("wider").list_rule == "height"
    file.write_text("image,easy\n")
    with pytest.raises(LrfaceError, match="wants the columns image, face_index_1based, easy"):
        data.load_scenes("wider")


def test_damaged_lists_are_refused_in_one_sentence(root):
    folder = root / "wider/wider_face_split"
    save_lists(folder, LISTS | {"hard": [[1, 2, 7], [1], [1], [1], []]})
    with pytest.raises(LrfaceError, match="names boxes that are not there; fetch both again"):
        data.load_scenes("wider")
    (folder / "wider_hard_val.mat").write_bytes(b"nothing")
    with pytest.raises(LrfaceError, match="wider_hard_val.mat is not in the official form"):
        data.load_scenes("wider")
    (folder / "wider_face_val_bbx_gt.txt").write_text(LIST[:60])
    with pytest.raises(LrfaceError, match="not in the official form near line"):
        data.load_scenes("wider")


def test_the_training_split_has_its_own_list(root):
    split = root / "wider/wider_face_split"
    (split / "wider_face_train_bbx_gt.txt").write_text("0--Parade/t.jpg\n1\n1 2 3 60 0 0 0 0 0 0\n")
    folder = root / "wider/WIDER_train/images/0--Parade"
    folder.mkdir(parents=True)
    Image.fromarray(draw(9, 100, 70)).save(folder / "t.jpg")
    train = data.load_scenes("wider", "train")
    assert train.images["split"].tolist() == ["train"] and train.boxes["easy"].tolist() == [True]
    assert data.load_scenes("wider").images["split"].tolist() == ["val", "val", "train", "val"]


def test_samples_are_nested_and_parts_keep_their_boxes(root):
    two, three = (data.load_scenes("wider", limit=n) for n in (2, 3))
    assert len(two) == 2 and set(two.images["key"]) <= set(three.images["key"])
    part = three.where(three.images["event"] == "Parade")
    assert len(part) == 2 and len(part.boxes) == 4 and part.fingerprint != three.fingerprint
    assert data.load_scenes("wider").fingerprint == three.fingerprint
    before = data.state("wider")
    Image.fromarray(draw(5, 120, 90)).save(root / "wider/WIDER_val/images/0--Parade/a.jpg")
    assert data.state("wider") != before
    assert data.load_scenes("wider").fingerprint != three.fingerprint


def test_ellipses_of_fddb(root):
    scenes = data.load_scenes("fddb")
    assert scenes.images["fold"].tolist() == [1, 1] and scenes.list_rule == ""
    upright = scenes.truth()[0][0]
    np.testing.assert_allclose(upright, [49.5, 29.5, 21, 41], atol=1e-5)
    ellipses = scenes.truth(["major", "minor", "angle", "cx", "cy"])
    found = [(faces, np.ones(len(faces))) for faces in scenes.truth()]
    scored = fddb(ellipses, found, scenes.sizes)
    assert scored.discrete(0) == 1 and scored.faces == 2
    file = root / "fddb/FDDB-folds/FDDB-fold-01-ellipseList.txt"
    file.write_text(ELLIPSES.replace("\n2\n", "\n5\n"))
    with pytest.raises(LrfaceError, match="not in the official form near line 1"):
        data.load_scenes("fddb")
    file.unlink()
    with pytest.raises(LrfaceError, match="no ellipse list in"):
        data.load_scenes("fddb")


def test_wrong_names_and_splits_are_said_in_one_sentence(root, monkeypatch):
    for call, error, sentence in (
        (lambda: data.load_scenes("widr"), UsageError, "did you mean 'wider'"),
        (lambda: data.load_scenes("wider", "all"), UsageError, "unknown split 'all'"),
        (lambda: data.load_scenes("wider", limit=0), UsageError, "at least one image"),
        (lambda: data.load_scenes("wider", "test"), LrfaceError, "are not public: use val"),
        (lambda: data.load_scenes("wider", "train"), LrfaceError, "train_bbx_gt.txt is missing"),
        (lambda: data.load_scenes("fddb", "val"), LrfaceError, "fddb has no val split"),
        (lambda: data.load("wider"), LrfaceError, "whole pictures, not faces"),
        (lambda: data.pairs("fddb"), LrfaceError, "whole pictures, not faces"),
    ):
        with pytest.raises(error, match=sentence):
            call()
    for file in (root / "wider/WIDER_val").rglob("*.jpg"):
        file.unlink()
    with pytest.raises(LrfaceError, match="wider has no usable image: the file is missing"):
        data.load_scenes("wider")
    monkeypatch.setenv("LRFACE_DATA", str(root / "fddb"))
    with pytest.raises(LrfaceError, match="does not exist: put wider there as"):
        data.load_scenes("wider")


def test_groups_of_faces(root):
    scenes = data.load_scenes("wider")
    assert scenes.visible.all()  # how much of a face is covered is not known
    boxes = scenes.boxes
    groups = subsets(boxes)
    assert groups["height 10-50"].tolist() == [False] * 4  # the small ones are occluded
    assert groups["height 50-300"].tolist() == [False, True, False, False]
    assert groups["occlusion heavy"].tolist() == [False, False, True, False]
    assert groups["pose atypical"].sum() == 0  # of size 0
    assert groups["blur heavy"].tolist() == [True, False, False, False]
    plain = subsets(boxes[["h"]])
    assert plain["height 10-50"].tolist() == [True, False, True, False] and len(plain) == 3
    with pytest.raises(UsageError, match="no column h"):
        subsets(boxes[["w"]])


@needs_real
def test_the_official_lists_of_the_excerpt(monkeypatch):
    monkeypatch.setenv("LRFACE_DATA", REAL)
    scenes = data.load_scenes("wider", "val")
    assert (len(scenes), len(scenes.boxes), scenes.list_rule) == (150, 2164, "official")
    assert scenes.boxes[["easy", "medium", "hard"]].sum().tolist() == [338, 683, 1650]
    height = scenes.boxes["h"].to_numpy()
    assert [(height > least).sum() for least in (50, 30, 10)] == [334, 672, 1591]
    for name, least in (("easy", 50), ("medium", 30), ("hard", 10)):
        assert scenes.boxes[name][height > least].all()  # the rule adds none
    # a detector that gives the boxes themselves is perfect on every list
    perfect = match_detections(scenes.truth(), [(b, np.ones(len(b))) for b in scenes.truth()])
    assert all(perfect.on(scenes.boxes[name].to_numpy()).AP == 1 for name in ("easy", "hard"))
