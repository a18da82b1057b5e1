"""The score cache: what is computed once, and which stored scores are used."""

import json
import os
import threading
import time

import numpy as np
import pandas as pd
import pytest
import torch
from lrface import files
from lrface.errors import UsageError
from lrface.metrics import score_cache

CELLS = [("EDSR", "4x"), ("EDSR", "8x")]
N = 50


def key(cell):
    return score_cache.key(cell=cell)


def true_scores(cell, rows):
    found = np.where(rows == 7, np.nan, rows / 100)
    return pd.DataFrame({"psnr": 25.0 + rows + len(cell[1]), "alignment": found})


class Counted:
    """Scores, and how many rows of them were asked for."""

    def __init__(self, score=true_scores):
        self.score, self.rows = score, {}

    def __call__(self, cell, rows):
        self.rows[cell] = self.rows.get(cell, 0) + len(rows)
        return self.score(cell, rows)


def compute(score=true_scores, cells=CELLS, **options):
    return score_cache.compute(cells, key=key, score=score, **{"rows": N, **options})


def assert_true(found, cells=CELLS):
    assert list(found) == list(cells)
    for cell in cells:
        expected = true_scores(cell, np.arange(N)).astype(np.float32).astype(np.float64)
        pd.testing.assert_frame_equal(found[cell], expected)


@pytest.fixture(autouse=True)
def project(tmp_path, monkeypatch):
    monkeypatch.setenv("LRFACE_ROOT", str(tmp_path / "project"))
    monkeypatch.setenv("LRFACE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "project"


@pytest.fixture
def released(project):
    """The two cells' score files, released with a record that states their hashes; no cache."""
    compute()
    preset = project / "results" / "synthetic" / "quick"
    score_cache.release(map(key, CELLS), preset / "scores")
    for file in files.cache_dir("scores").iterdir():
        file.unlink()
    state(preset, {file.stem: files.sha256(file) for file in preset.glob("scores/*.parquet")})
    return preset


def state(preset, hashes, study="01_study"):
    files.write_text(preset / study / "record.json", json.dumps({"scores": hashes}))


def stated(preset):
    return json.loads((preset / "01_study" / "record.json").read_text())["scores"]


def cached(cell=CELLS[0]):
    return files.cache_dir("scores") / f"{key(cell)}.parquet"


def spoil(file, how="improved"):
    """Smuggle in other scores, or damage the file."""
    scores = pd.read_parquet(file)
    if how == "improved":
        scores.assign(psnr=scores["psnr"] + 0.5).astype(np.float32).to_parquet(file)
    elif how == "rows":
        scores.head(10).to_parquet(file)
    elif how == "columns":
        scores.rename(columns={"psnr": "ssim"}).to_parquet(file)
    elif how == "nan":  # the lower half is left out of a mean
        scores.where(scores > scores.median()).to_parquet(file)
    elif how == "infinite":
        scores.replace(scores["psnr"].max(), np.inf).to_parquet(file)
    else:
        file.write_bytes(file.read_bytes()[:100])


@pytest.mark.parametrize(
    "workers", ["threads", pytest.param("processes", marks=pytest.mark.slow), "serial"]
)
def test_computed_scores_are_stored_and_checked(workers, capsys):
    assert_true(compute(workers=workers))
    assert capsys.readouterr().out == "2 cells: 2 computed\n"
    again = compute(counted := Counted())
    said = "2 cells: 0 computed, 2 stored and 32 rows of each computed again\n"
    assert capsys.readouterr().out == said and counted.rows == dict.fromkeys(CELLS, 32)
    assert_true(again)
    listed = again.listing("method", "setting")
    assert listed.values.tolist() == [[*cell, key(cell)] for cell in CELLS]


def test_other_rows_are_drawn_for_every_check():
    compute()
    asked = []
    for _ in range(4):
        compute(lambda cell, rows: asked.append(set(rows)) or true_scores(cell, rows))
    assert len(set(map(frozenset, asked))) > 4


def test_cells_of_one_key_are_computed_once():
    counted, asked = Counted(), []
    found = score_cache.compute(
        CELLS, key=lambda cell: asked.append(cell) or "one", score=counted, rows=N
    )
    assert list(found) == asked == CELLS and counted.rows == {CELLS[0]: N}
    keys = {cell: key(cell) for cell in CELLS}
    assert score_cache.compute(CELLS, key=keys, score=counted, rows=N).keys_of == keys


def test_the_order_is_that_of_the_cells_whichever_ends_first():
    def slow_first(cell, rows):
        time.sleep(0.2 * (cell == CELLS[0]))
        return true_scores(cell, rows)

    assert_true(compute(slow_first))
    assert_true(compute(slow_first, CELLS[::-1]), CELLS[::-1])


def test_a_worker_has_one_thread():
    threads, before = set(), torch.get_num_threads()

    def score(cell, rows):
        threads.add((threading.get_ident(), torch.get_num_threads()))
        return true_scores(cell, rows)

    compute(score)
    if os.cpu_count() > 1:
        assert {n for _, n in threads} == {1} and threading.get_ident() not in dict(threads)
    assert torch.get_num_threads() == before


def test_released_scores_are_used_and_checked(released, capsys):
    assert_true(compute(counted := Counted()))
    assert counted.rows == dict.fromkeys(CELLS, 32)
    assert score_cache.missing({cell: key(cell) for cell in CELLS}) == []
    capsys.readouterr()
    assert_true(compute(counted := Counted(), at_hand=lambda cell: cell == CELLS[0]))
    assert counted.rows == {CELLS[0]: 32}
    assert "1 stored whose networks are not at hand (sha256 only)" in capsys.readouterr().out


def test_improved_scores_are_found_by_their_hash_and_computed_again(released, capsys):
    spoil(released / "scores" / f"{key(CELLS[0])}.parquet")
    assert score_cache.missing({cell: key(cell) for cell in CELLS}) == CELLS[:1]
    assert_true(compute(counted := Counted()))
    assert counted.rows == {CELLS[0]: N, CELLS[1]: 32}
    name = f"results/synthetic/quick/scores/{key(CELLS[0])}.parquet"
    why = "its sha256 is not the one that a record beside it states"
    said = capsys.readouterr().out
    assert f"{name} is not used, {why}: EDSR 4x is computed again\n" in said
    assert_true(compute())  # what was computed lies in the cache now
    assert f"EDSR 4x is taken from the cache's {key(CELLS[0])}.parquet" in capsys.readouterr().out


def test_improved_scores_are_found_by_their_hash_without_a_network(released, capsys):
    spoil(released / "scores" / f"{key(CELLS[0])}.parquet")
    assert_true(compute(at_hand=lambda cell: False), CELLS[1:])
    said = capsys.readouterr().out
    assert "EDSR 4x is left out, for its network is not here\n" in said
    assert "1 stored whose networks are not at hand (sha256 only), 1 left out" in said


@pytest.mark.parametrize(
    ("how", "why"),
    [
        ("improved", "its psnr is off by 0.5 on average over 32 rows"),
        ("nan", "psnr is NaN in other rows"),
        ("infinite", "its psnr is off by inf"),
        ("columns", "its columns are ssim, alignment and not psnr, alignment"),
        ("rows", "it has 10 rows and not 50"),
        ("bytes", "it cannot be read"),
    ],
)
def test_with_the_hash_in_the_record_edited_too_the_rows_tell(released, how, why, capsys):
    file = released / "scores" / f"{key(CELLS[0])}.parquet"
    spoil(file, how)
    state(released, stated(released) | {file.stem: files.sha256(file)})
    # the largest value is one row of 50: asked for all of them, it is found
    assert_true(compute(check=N if how == "infinite" else 32))
    assert why in capsys.readouterr().out


@pytest.mark.parametrize("how", ["improved", "rows", "columns", "bytes"])
def test_the_cache_is_checked_by_its_rows(how, capsys):
    compute()
    spoil(cached(), how)
    assert_true(compute())
    assert "1 computed, 1 stored" in capsys.readouterr().out
    compute(counted := Counted())
    assert counted.rows == dict.fromkeys(CELLS, 32)


def test_cached_scores_without_a_network_have_no_hash(capsys):
    compute()
    assert_true(compute(at_hand=lambda cell: False))
    assert (
        "2 stored whose networks are not at hand (no sha256 is stated)" in capsys.readouterr().out
    )


def test_a_score_file_that_no_record_names_is_not_used(released, capsys):
    hashes = stated(released)
    hashes.pop(key(CELLS[0]))
    state(released, hashes)
    assert_true(compute(counted := Counted()))
    assert "no record beside it names it" in capsys.readouterr().out
    assert counted.rows == {CELLS[0]: N, CELLS[1]: 32}


def test_one_record_of_several_is_enough(released):
    state(released, {}, "02_other")
    files.write_text(released / "03_damaged" / "record.json", "{")
    compute(counted := Counted())
    assert counted.rows == dict.fromkeys(CELLS, 32)


def test_records_of_an_older_form_state_no_hashes(released, capsys):
    files.write_text(released / "01_study" / "record.json", "{}")
    compute(counted := Counted())
    assert counted.rows == dict.fromkeys(CELLS, 32)
    compute(at_hand=lambda cell: False)
    assert (
        "2 stored whose networks are not at hand (no sha256 is stated)" in capsys.readouterr().out
    )


def test_the_stored_file_is_the_one_that_would_be_released(released):
    name = key(CELLS[0])
    file, cached = released / "scores" / f"{name}.parquet", files.cache_dir("scores")
    assert score_cache.stored_file(name) == file
    again = files.write_atomic(cached / file.name, true_scores(CELLS[0], np.arange(N)).to_parquet)
    assert score_cache.stored_file(name) == again
    file.write_bytes(b"")  # newer, and refused: not the file that the record states
    assert score_cache.stored_file(name) == again
    assert score_cache.stored_file("0") is None


def test_retrain_leaves_released_scores_aside(released, monkeypatch):
    monkeypatch.setenv("LRFACE_RETRAIN", "1")
    compute(counted := Counted())
    assert counted.rows == dict.fromkeys(CELLS, N)
    assert score_cache.stored_file(key(CELLS[0])) == cached()


def test_what_was_refused_is_released_again(released):
    file = released / "scores" / f"{key(CELLS[0])}.parquet"
    spoil(file)
    state(released, stated(released) | {file.stem: files.sha256(file)})
    compute()
    assert score_cache.stored_file(file.stem) == cached()
    score_cache.release([file.stem], released / "scores")
    assert files.sha256(file) == files.sha256(cached())
    state(released, stated(released) | {file.stem: files.sha256(file)})
    spoil(cached())
    os.utime(cached(), (0, 0))  # an older one is left in the cache
    score_cache.release([file.stem], released / "scores")
    assert files.sha256(file) != files.sha256(cached())


@pytest.mark.parametrize("workers", ["threads", "serial"])
def test_an_interrupted_call_goes_on(workers):
    cells = [("EDSR", f"{n}x") for n in range(6)]

    def interrupted(cell, rows):
        if cell == cells[3]:
            raise KeyboardInterrupt
        return true_scores(cell, rows)

    with pytest.raises(KeyboardInterrupt):
        compute(interrupted, cells, workers=workers)
    left = score_cache.missing({cell: key(cell) for cell in cells})
    assert cells[3] in left and cells[0] not in left
    assert_true(compute(counted := Counted(), cells), cells)
    assert counted.rows == {cell: N if cell in left else 32 for cell in cells}


def test_own_agreement():
    compute()
    asked = []

    def agree(cell, stored, computed):
        asked.append((cell, len(stored), len(computed)))
        return None if cell == CELLS[0] else "they differ"

    compute(counted := Counted(), agree=agree, check=4)
    assert set(asked) == {(cell, 4, 4) for cell in CELLS}
    assert counted.rows == {CELLS[0]: 4, CELLS[1]: 4 + N}


def test_own_check(capsys):
    compute()
    capsys.readouterr()

    def check(cell, stored):
        return None if cell == CELLS[0] else f"{len(stored)} rows differ"

    compute(counted := Counted(), check=check)
    assert counted.rows == {CELLS[1]: N}
    said = capsys.readouterr().out
    assert "not used, 50 rows differ" in said and "1 stored and checked" in said


def test_a_column_that_is_compared_wants_a_tolerance(monkeypatch):
    def score(cell, rows):
        return pd.DataFrame({"beauty of the eyes": rows * 1.0})

    compute(score)
    compute(score, at_hand=lambda cell: False)
    with pytest.raises(UsageError, match=r"TOLERANCE\['beauty'\]"):
        compute(score)
    compute(score, agree=lambda cell, stored, computed: None)
    monkeypatch.setitem(score_cache.TOLERANCE, "beauty", 0.1)
    compute(score)


@pytest.mark.slow
def test_a_tolerance_of_the_study_holds_in_worker_processes(monkeypatch):
    def score(cell, rows):
        return pd.DataFrame({"beauty": rows * 1.0})

    monkeypatch.setitem(score_cache.TOLERANCE, "beauty", 0.1)
    compute(score, workers="processes")
    compute(score, workers="processes")


def test_every_row_is_scored():
    with pytest.raises(UsageError, match="EDSR 4x have 49 rows, where 50 are asked for"):
        compute(lambda cell, rows: true_scores(cell, rows[1:]), workers="serial")


def test_scores_are_computed_in_pieces_unless_rows_hang_together(monkeypatch):
    monkeypatch.setattr(score_cache, "PIECE", 4)
    asked = []

    def score(cell, rows):
        asked.append(len(rows))
        return pd.DataFrame({"psnr": 20.0 + rows})

    how = dict(key=lambda cell: score_cache.key(cell=cell), score=score, rows=10)
    scores = score_cache.compute(["pieces"], **how)
    assert scores["pieces"]["psnr"].tolist() == [20.0 + k for k in range(10)]
    assert max(asked) <= 4 and sum(asked) == 10
    score_cache.compute(["whole"], check=lambda cell, stored: None, **how)
    assert asked[-1] == 10
