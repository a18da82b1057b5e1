"""Improved scores, smuggled into committed score files, are found by verify and by reproduce."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from lrface.checks import verify
from lrface.metrics import score_cache

ROOT = Path(__file__).parents[2]
STUDY = "05_native_vs_synthetic_lr"


@pytest.fixture
def committed(tmp_path):
    """A copy of study 05's committed results with the scores that its record names."""
    preset = Path("results") / "synthetic" / "quick"
    for kind in ("results", "figures"):
        shutil.copytree(
            ROOT / kind / "synthetic" / "quick" / STUDY, tmp_path / kind / "synthetic/quick" / STUDY
        )
    record = json.loads((tmp_path / preset / STUDY / "record.json").read_text())
    (tmp_path / preset / "scores").mkdir()
    for key in record["scores"]:
        shutil.copy(ROOT / preset / "scores" / f"{key}.parquet", tmp_path / preset / "scores")
    return tmp_path / preset


def found_by_verify(preset):
    root = preset.parents[2]
    report = verify.stored(root, verify.committed(root))
    return {drift.file: drift.why for drift in report.drifts if "scores" in drift.file}


def improve(preset, number=3):
    """Better ranks in so many score files of networks that are not released."""
    listed = pd.read_csv(preset / STUDY / "scores.csv", dtype={"key": str})
    keys = listed.query("seed > 0 and seen == 'native'")["key"].head(number)
    for key in keys:
        file = preset / "scores" / f"{key}.parquet"
        scores = pd.read_parquet(file)
        scores["first_rank"] = np.maximum(1, scores["first_rank"] // 3).astype(np.float32)
        scores.to_parquet(file)
    return [*keys]


def test_the_committed_scores_are_those_of_the_record(committed):
    assert found_by_verify(committed) == {}


def test_verify_finds_improved_scores(committed):
    keys = improve(committed)
    files = {f"results/synthetic/quick/scores/{key}.parquet" for key in keys}
    found = found_by_verify(committed)
    assert set(found) == files and set(found.values()) == {"not the scores of the record (sha256)"}


def test_reproduce_does_not_use_improved_scores(committed, monkeypatch, capsys):
    monkeypatch.setenv("LRFACE_ROOT", str(committed.parents[2]))
    keys = improve(committed)
    assert score_cache.missing({key: key for key in keys}) == keys
    cells = dict(key=lambda key: key, score=None, rows=1, at_hand=lambda key: False)
    assert not score_cache.compute(keys, **cells)
    said = capsys.readouterr().out
    assert all(key in said for key in keys) and "sha256" in said


def test_verify_finds_missing_extra_and_unlisted_scores(committed):
    record = json.loads((committed / STUDY / "record.json").read_text())
    first, second, *_ = record["scores"]
    (committed / "scores" / f"{first}.parquet").unlink()
    del record["scores"][second]
    (committed / STUDY / "record.json").write_text(json.dumps(record, indent=1))
    found = found_by_verify(committed)
    assert found[f"results/synthetic/quick/scores/{first}.parquet"].endswith("missing")
    assert found[f"results/synthetic/quick/scores/{second}.parquet"] == "no record names it"
    assert "states no hash" in found[f"results/synthetic/quick/{STUDY}/scores.csv"]
