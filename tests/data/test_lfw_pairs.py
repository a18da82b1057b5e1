"""LFW's list of pairs: the official form, incomplete files, and the published list itself."""

from pathlib import Path

import pytest
from conftest import REAL, needs_real
from lrface.data.readers import lfw
from lrface.errors import LrfaceError


def test_lfw_pairs_in_the_official_form(tmp_path):
    file = tmp_path / "lfw" / "pairs.txt"
    with pytest.raises(LrfaceError, match="missing"):
        lfw.pairs(tmp_path)
    file.parent.mkdir()
    lines = [
        "2\t1",
        "Ada_One\t1\t4",
        "Ada_One\t1\tBob_Two\t12",
        "Eve_Six\t2\t3",
        "Bob_Two\t1\tEve_Six\t1",
    ]
    file.write_text("\n".join(lines) + "\n")
    table = lfw.pairs(tmp_path)
    assert table["first"].tolist() == [
        "Ada_One_0001.jpg",
        "Ada_One_0001.jpg",
        "Eve_Six_0002.jpg",
        "Bob_Two_0001.jpg",
    ]
    assert table["second"].tolist() == [
        "Ada_One_0004.jpg",
        "Bob_Two_0012.jpg",
        "Eve_Six_0003.jpg",
        "Eve_Six_0001.jpg",
    ]
    assert table["same"].tolist() == [True, False, True, False]
    assert table["fold"].tolist() == [
        0,
        0,
        1,
        1,
    ]
    for broken in (
        lines[:-1],
        lines[1:],
        ["2 x", *lines[1:]],
        [lines[0], *lines[:0:-1]],
        ["0\t0"] + lines[1:],
        [],
    ):
        file.write_text("\n".join(broken))
        with pytest.raises(LrfaceError, match="is not whole"):
            lfw.pairs(tmp_path)


@needs_real
def test_lfw_pairs_as_published():
    table, keys = lfw.pairs(Path(REAL)), set(lfw.read(Path(REAL))["key"])
    assert set(table["first"]) <= keys and set(table["second"]) <= keys
    assert (table.groupby(["fold", "same"]).size() == 300).all() and len(table) == 6000
