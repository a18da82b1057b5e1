"""Folders and lists as strangers have them."""

import os

from lrface.data import entries


def test_links_are_followed_once_and_hidden_files_left_out(tmp_path):
    (tmp_path / "store" / "a").mkdir(parents=True)
    (tmp_path / "set").mkdir()
    for name in ("a/1.JPG", "a/._1.jpg", "a/note.txt", "2.jpg"):
        (tmp_path / "store" / name).touch()
    os.symlink(tmp_path / "store" / "a", tmp_path / "set" / "linked")
    os.symlink(tmp_path / "store" / "2.jpg", tmp_path / "set" / "2.jpg")
    os.symlink(tmp_path / "set", tmp_path / "set" / "loop")
    assert entries.files_below(tmp_path / "set", {".jpg"}) == ["2.jpg", "linked/1.JPG"]


def test_a_list_loses_its_byte_order_mark_and_keeps_its_lines(tmp_path):
    file = tmp_path / "list.txt"
    file.write_bytes(b"\xef\xbb\xbfa 1\r\n\xe9 2\n")
    assert entries.text(file).splitlines() == ["a 1", "\ufffd 2"]


def test_what_a_folder_has_is_said_in_a_few_words(tmp_path):
    assert entries.contents(tmp_path) == "it is empty"
    for name in "abcdef":
        (tmp_path / name).touch()
    (tmp_path / "a1").mkdir()
    assert entries.contents(tmp_path, most=2) == "it has a, a1/ and 5 more"
    assert entries.contents(tmp_path / "a", named=True) == "a/ is a file"
