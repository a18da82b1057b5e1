"""WIDER FACE's official list, and the native faces cut by it."""

from pathlib import Path

import numpy as np
import pytest
from conftest import REAL, draw, needs_real
from lrface.data.readers import wider
from lrface.errors import LrfaceError
from PIL import Image

LIST = """0--Parade/a.jpg
4
60 50 16 20 0 0 0 0 0 0
60 50 16 20 0 0 0 0 2 0
2 50 16 20 0 0 0 0 0 0
60 50 80 100 0 0 0 0 0 0
0--Parade/none.jpg
0
0 0 0 0 0 0 0 0 0 0
0--Parade/gone.jpg
1
60 50 16 20 0 0 0 0 0 0
"""


@pytest.fixture
def root(tmp_path):
    for folder in ("wider/wider_face_split", "wider/WIDER_val/images/0--Parade"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "wider/wider_face_split/wider_face_val_bbx_gt.txt").write_text(LIST)
    Image.fromarray(draw(0, 200, 160)).save(
        tmp_path / "wider/WIDER_val/images/0--Parade/a.jpg", quality=100
    )
    return tmp_path


def test_the_official_list_is_read_with_its_faceless_photographs(root):
    boxes = wider.boxes(root)
    assert boxes["image"].tolist() == ["0--Parade/a.jpg"] * 4 + ["0--Parade/gone.jpg"]
    assert boxes.loc[3, ["x", "y", "w", "h"]].tolist() == [60, 50, 80, 100]


def test_native_faces_are_whole_unoccluded_and_in_the_range_of_sizes(root):
    faces, table = wider.native(root, 29, 20, 40)
    assert table[["x", "occlusion", "side"]].values.tolist() == [
        [60, 0, 29]
    ]  # the others: hidden, at the edge, large, not at hand
    photograph = np.asarray(Image.open(root / "wider/WIDER_val/images/0--Parade/a.jpg"))
    left, top = round(60 + 8 - 14.5), round(50 + 10 - 14.5)
    assert np.array_equal(
        faces[0].permute(1, 2, 0).numpy(), photograph[top : top + 29, left : left + 29]
    )  # 29 to 29: no resampling
    with pytest.raises(LrfaceError, match="no face of 200 to 300 pixels"):
        wider.native(root, 32, 200, 300)


def test_a_list_that_is_cut_off_is_refused(root):
    file = root / "wider/wider_face_split/wider_face_val_bbx_gt.txt"
    file.write_text(LIST[:60])
    with pytest.raises(LrfaceError, match="not in the official form near line 1"):
        wider.boxes(root)
    file.unlink()
    with pytest.raises(LrfaceError, match="is missing"):
        wider.boxes(root)


@needs_real
def test_real_native_faces():
    faces, table = wider.native(Path(REAL), 32, 26, 40, limit=50)
    assert faces.shape == (50, 3, 32, 32) and table["side"].between(26, 40).all()
