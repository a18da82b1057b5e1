"""Improved scores that somebody puts into released files are found: by `lrface verify`, and by the
study that would use them."""

import os
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from lrface.checks import score_files
from lrface.checks.compare import read
from lrface.files import sha256
from lrface.metrics import score_cache

ROOT = Path(__file__).parents[2]
SCORES = "results/synthetic/quick/scores"
STUDY = "synthetic/quick/05_native_vs_synthetic_lr"
LISTINGS = sorted(ROOT.glob("results/synthetic/quick/*/scores.csv"))


@pytest.fixture
def released(own_places, monkeypatch) -> Path:
    """A copy of the committed results and figures, where the library looks for released files."""

    def link(source, target):  # no study reads networks here, and files are replaced, not edited
        try:
            os.link(source, target)
        except OSError:
            shutil.copy(source, target)

    root = own_places / "released"
    without = shutil.ignore_patterns("checkpoints")
    shutil.copytree(ROOT / "results", root / "results", ignore=without, copy_function=link)
    shutil.copytree(ROOT / "figures", root / "figures", copy_function=link)
    monkeypatch.setenv("LRFACE_ROOT", str(root))
    monkeypatch.setenv("LRFACE_OUT", str(root))
    return root


def improve(file: Path) -> pd.DataFrame:
    """Replace the scores of a search by those of a perfect network."""
    scores = pd.read_parquet(file)
    perfect = pd.DataFrame(np.ones_like(scores), columns=scores.columns)
    file.unlink()
    perfect.to_parquet(file)
    return scores


def some_keys(root: Path, n: int) -> list[str]:
    listing = read(root / "results" / STUDY / "scores.csv")
    native = listing[(listing["network"] == "CSRI") & (listing["seen"] == "native")]
    return native["key"].tolist()[:n]


def verified(lrface) -> tuple[int, list[str]]:
    """The exit code of `lrface verify`, and its lines on score files."""
    code, out, _ = lrface("verify", "--study", "05", "--data", "synthetic")
    return code, [line for line in out.splitlines() if line.startswith(SCORES)]


@pytest.mark.slow
def test_verify_names_every_score_file_that_was_replaced(released, lrface):
    keys = some_keys(released, 3)
    for key in keys:
        improve(released / SCORES / f"{key}.parquet")
    code, lines = verified(lrface)
    why = "its sha256 is not the one in the record of 05_native_vs_synthetic_lr"
    assert code == 1 and lines == [f"{SCORES}/{key}.parquet: {why}" for key in keys]


@pytest.mark.parametrize("at_hand", [True, False], ids=["network at hand", "network absent"])
def test_a_study_does_not_use_scores_that_were_replaced(released, capsys, at_hand):
    keys = some_keys(released, 3)
    true = {key: improve(released / SCORES / f"{key}.parquet") for key in keys}
    cells = {("CSRI", "native", seed): key for seed, key in enumerate(keys)}
    found = score_cache.compute(
        cells,
        key=cells,
        score=lambda cell, rows: true[cells[cell]].iloc[rows],
        rows=len(true[keys[0]]),
        check=lambda cell, stored: None,  # even if no row were computed again
        at_hand=lambda cell: at_hand,
        workers="serial",
    )
    said = capsys.readouterr().out
    for cell, key in cells.items():
        why = f"{SCORES}/{key}.parquet is not used, its sha256 is not the one that a record"
        assert why in said
        if at_hand:
            pd.testing.assert_frame_equal(found[cell], true[key].astype(float))
    assert at_hand or not found


def test_scores_replaced_together_with_their_record_are_found_where_the_network_is(
    released, capsys
):
    (key,) = some_keys(released, 1)
    file, record = released / SCORES / f"{key}.parquet", released / "results" / STUDY
    before = sha256(file)
    true = improve(file)
    text = (record / "record.json").read_text()
    (record / "record.json").unlink()
    (record / "record.json").write_text(text.replace(before, sha256(file)))
    found = score_cache.compute(
        [("CSRI", "native", 0)],
        key=lambda cell: key,
        score=lambda cell, rows: true.iloc[rows],
        rows=len(true),
        agree=lambda cell, stored, computed: score_cache.difference(
            stored, computed, dict.fromkeys(["first_rank", "average_precision", "precision"], 0.01)
        ),
        workers="serial",
    )
    assert f"{key}.parquet is not used, its first_rank is off" in capsys.readouterr().out
    pd.testing.assert_frame_equal(found["CSRI", "native", 0], true.astype(float))


def test_verify_finds_a_score_file_that_is_missing_and_one_that_nobody_lists(released, lrface):
    (key,) = some_keys(released, 1)
    (released / SCORES / f"{key}.parquet").rename(released / SCORES / "0123456789abcdef.parquet")
    code, lines = verified(lrface)
    assert code == 1 and lines == [
        f"{SCORES}/{key}.parquet: missing: scores.csv of 05_native_vs_synthetic_lr lists it",
        f"{SCORES}/0123456789abcdef.parquet: no scores.csv of synthetic/quick lists it",
    ]


def test_lists_and_records_name_the_same_score_files(tmp_path):
    (tmp_path / SCORES).mkdir(parents=True)
    for key in "abd":
        (tmp_path / SCORES / f"{key}.parquet").write_text(key)
    folder = tmp_path / "results/synthetic/quick/01_x"
    folder.mkdir()
    (folder / "scores.csv").write_text("method,key\nm,a\nm,b\nm,c\n")
    hashes = {key: sha256(tmp_path / SCORES / f"{key}.parquet") for key in "ad"}

    def found(record):
        drifts = score_files.of_study(tmp_path, "synthetic/quick/01_x", record)
        return [(Path(d.file).name, d.row, d.why) for d in drifts]

    missing = ("c.parquet", "", "missing: scores.csv of 01_x lists it")
    assert found({"scores": hashes}) == [
        ("b.parquet", "", "the record of 01_x states no sha256 of it"),
        missing,
        ("scores.csv", "d", "the record names this score file, and the list does not"),
    ]
    assert found({}) == [("record.json", "", "it states no sha256 of score files"), missing]


@pytest.mark.parametrize("listing", LISTINGS, ids=lambda listing: listing.parent.name)
def test_every_score_file_that_a_committed_study_lists_is_released(listing):
    files = [listing.parents[1] / "scores" / f"{key}.parquet" for key in read(listing)["key"]]
    assert [file.name for file in files if not file.exists()] == []
