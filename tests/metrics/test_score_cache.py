"""The score cache: what is computed once, and which stored scores are used."""

import json

import numpy as np
import pandas as pd
import pytest
from lrface import files
from lrface.errors import UsageError
from lrface.metrics import score_cache

CELLS = [("EDSR", "4x"), ("EDSR", "8x")]
N = 50


def key(cell):
    return score_cache.key(cell=cell)


def true_scores(cell, rows):
    return pd.DataFrame({"psnr": 25.0 + rows + len(cell[1]), "lost": rows % 2 * 1.0})


class Counted:
    """Scores, and how many rows of them were asked for."""

    def __init__(self, score=true_scores):
        self.score, self.rows = score, {}

    def __call__(self, cell, rows):
        self.rows[cell] = self.rows.get(cell, 0) + len(rows)
        return self.score(cell, rows)


def compute(score=true_scores, cells=CELLS, **options):
    return score_cache.compute(cells, key=key, score=score, **{"rows": N, **options})


@pytest.fixture(autouse=True)
def project(tmp_path, monkeypatch):
    monkeypatch.setenv("LRFACE_ROOT", str(tmp_path / "project"))
    monkeypatch.setenv("LRFACE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "project"


@pytest.fixture
def released(project):
    """The two cells' score files, released with the record that states their hashes; no cache."""
    compute()
    preset = project / "results" / "synthetic" / "quick"
    score_cache.release(map(key, CELLS), preset / "scores")
    for file in files.cache_dir("scores").iterdir():
        file.unlink()
    state(preset)
    return preset


def state(preset):
    hashes = {file.stem: files.sha256(file) for file in preset.glob("scores/*.parquet")}
    files.write_text(preset / "01_study" / "record.json", json.dumps({"scores": hashes}))


def improve(preset, cell=CELLS[0]):
    """Smuggle in better scores."""
    file = preset / "scores" / f"{key(cell)}.parquet"
    (pd.read_parquet(file) + 0.5).astype(np.float32).to_parquet(file)


@pytest.mark.parametrize("workers", ["threads", "processes", "serial"])
def test_computed_then_stored(workers, capsys):
    first = compute(workers=workers)
    assert "2 cells: 2 computed" in capsys.readouterr().out
    again = compute(counted := Counted())
    assert "2 stored and 32 rows of each computed again" in capsys.readouterr().out
    assert counted.rows == dict.fromkeys(CELLS, 32)
    for cell in CELLS:
        pd.testing.assert_frame_equal(first[cell], again[cell])
        np.testing.assert_allclose(first[cell], true_scores(cell, np.arange(N)))
    listed = again.listing("method", "setting")
    assert listed.values.tolist() == [[*cell, key(cell)] for cell in CELLS]


def test_cells_of_one_key_are_computed_once():
    counted = Counted()
    found = score_cache.compute(CELLS, key=lambda cell: "one", score=counted, rows=N)
    assert list(found) == CELLS and counted.rows == {CELLS[0]: N}


def test_released_scores_are_used_and_checked(released, capsys):
    compute(counted := Counted())
    assert counted.rows == dict.fromkeys(CELLS, 32)
    assert score_cache.missing({cell: key(cell) for cell in CELLS}) == []


def test_improved_scores_are_found_by_their_hash_even_without_a_network(released, capsys):
    improve(released)
    assert score_cache.missing({cell: key(cell) for cell in CELLS}) == CELLS[:1]
    found = compute(at_hand=lambda cell: False)
    said = capsys.readouterr().out
    assert list(found) == CELLS[1:] and f"{key(CELLS[0])}.parquet: its sha256 is not" in said
    assert "1 stored whose networks are not at hand (sha256 only), 1 left out" in said


def test_improved_scores_with_the_hash_improved_too_are_found_by_their_rows(released, capsys):
    improve(released)
    state(released)
    found = compute()
    assert "psnr is off by 0.5" in capsys.readouterr().out
    np.testing.assert_allclose(found[CELLS[0]], true_scores(CELLS[0], np.arange(N)))


def test_a_score_file_that_no_record_names_is_not_used(released, capsys):
    name = key(CELLS[0])
    record = released / "01_study" / "record.json"
    stated = json.loads(record.read_text())
    stated["scores"].pop(name)
    files.write_text(record, json.dumps(stated))
    compute(counted := Counted())
    assert "no record of its studies names it" in capsys.readouterr().out
    assert counted.rows == {CELLS[0]: N, CELLS[1]: 32}


def test_records_of_an_older_form_state_no_hashes(released):
    files.write_text(released / "01_study" / "record.json", "{}")
    compute(counted := Counted())
    assert counted.rows == dict.fromkeys(CELLS, 32)


def test_retrain_leaves_released_scores_aside(released, monkeypatch):
    monkeypatch.setenv("LRFACE_RETRAIN", "1")
    compute(counted := Counted())
    assert counted.rows == dict.fromkeys(CELLS, N)


@pytest.mark.parametrize("spoil", ["bytes", "rows", "columns"])
def test_what_is_damaged_is_computed_again(spoil, capsys):
    compute()
    file = files.cache_dir("scores") / f"{key(CELLS[0])}.parquet"
    if spoil == "bytes":
        file.write_bytes(file.read_bytes()[:100])
    elif spoil == "rows":
        pd.read_parquet(file).head(10).to_parquet(file)
    else:
        pd.read_parquet(file).rename(columns={"lost": "ssim"}).to_parquet(file)
    found = compute()
    assert "1 computed, 1 stored" in capsys.readouterr().out
    np.testing.assert_allclose(found[CELLS[0]], true_scores(CELLS[0], np.arange(N)))


def test_an_interrupted_call_goes_on():
    def interrupted(cell, rows):
        if cell == CELLS[1]:
            raise KeyboardInterrupt
        return true_scores(cell, rows)

    with pytest.raises(KeyboardInterrupt):
        compute(interrupted, workers="serial")
    compute(counted := Counted())
    assert counted.rows == {CELLS[0]: 32, CELLS[1]: N}


def test_own_checks():
    compute()
    asked = []

    def agree(cell, stored, computed):
        asked.append((cell, len(stored), len(computed)))
        return None if cell == CELLS[0] else "they differ"

    compute(counted := Counted(), agree=agree, check=4)
    assert set(asked) == {(cell, 4, 4) for cell in CELLS}
    assert counted.rows == {CELLS[0]: 4, CELLS[1]: 4 + N}
    compute(counted := Counted(), check=lambda cell, stored: "no" if stored is None else None)
    assert counted.rows == {}


def test_a_column_without_a_tolerance_is_refused():
    def score(cell, rows):
        return pd.DataFrame({"beauty": rows * 1.0})

    compute(score)
    with pytest.raises(UsageError, match="no tolerance for 'beauty'"):
        compute(score)
