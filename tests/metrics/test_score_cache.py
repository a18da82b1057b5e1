"""Kept scores: what was kept comes back, what is damaged does not, and what does not agree is
noticed."""

import os

import numpy as np
import pandas as pd
import pytest
from lrface.files import cache_dir
from lrface.metrics import score_cache


def scores(n=40, seed=0):
    random = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "psnr": random.normal(27, 2, n),
            "alignment": random.uniform(0.02, 0.1, n),
            "lost": np.zeros(n),
        }
    )
    frame.loc[:3, "alignment"] = np.nan
    return frame


def test_what_is_kept_comes_back_to_float32():
    assert score_cache.find("0" * 16) is None
    given = scores()
    kept = score_cache.keep("0" * 16, given)
    pd.testing.assert_frame_equal(score_cache.find("0" * 16), kept)
    assert (
        np.allclose(kept, given, rtol=1e-7, equal_nan=True)
        and score_cache.differs(kept, given) is None
    )


def test_everything_the_scores_depend_on_is_in_the_key():
    about = dict(weights="a", degradation={"scale": 4, "noise": 0.0}, faces="f")
    keys = [
        score_cache.key(**(about | more))
        for more in (
            {},
            {"weights": "b"},
            {"faces": "g"},
            {"degradation": {"scale": 4, "noise": 30.0}},
        )
    ]
    assert len(set(keys)) == 4 and score_cache.key(**about) == keys[0]


@pytest.mark.parametrize("damage", [b"", b"PAR1 and then nothing", None])
def test_damaged_scores_are_no_scores(damage):
    file = cache_dir("scores") / "x.parquet"
    score_cache.keep("x", scores())
    file.write_bytes(file.read_bytes()[:-100] if damage is None else damage)
    assert score_cache.find("x") is None
    score_cache.keep("x", scores())
    assert score_cache.find("x") is not None


def test_released_ones_come_first_and_retraining_ignores_them(tmp_path, monkeypatch):
    (tmp_path / "notebooks").mkdir()
    monkeypatch.setenv("LRFACE_ROOT", str(tmp_path))
    score_cache.keep("x", scores(seed=1))
    folder = tmp_path / "results" / "synthetic" / "quick" / "scores"
    score_cache.release(["x", "never kept"], folder)
    assert [f.name for f in tmp_path.rglob("*.parquet")] == ["x.parquet"]
    ours = score_cache.keep("x", scores(seed=2))
    assert not score_cache.find("x").equals(ours)
    monkeypatch.setenv("LRFACE_RETRAIN", "1")
    assert score_cache.find("x").equals(ours)
    # what was scored again since the release takes its place, what is older does not
    monkeypatch.delenv("LRFACE_RETRAIN")
    os.utime(folder / "x.parquet", (0, 0))
    score_cache.release(["x"], folder)
    assert score_cache.find("x").equals(ours)
    (score_cache.cache_dir("scores") / "x.parquet").write_bytes(b"")
    os.utime(score_cache.cache_dir("scores") / "x.parquet", (0, 0))
    score_cache.release(["x"], folder)
    assert score_cache.find("x").equals(ours)


def test_a_disagreement_is_named():
    kept, fresh = scores(), scores()
    fresh["psnr"] += 0.019
    assert score_cache.differs(kept, fresh) is None
    fresh["psnr"] += 0.01
    assert score_cache.differs(kept, fresh) == "psnr is off by 0.029 on average over 40 faces"
    fresh = scores()
    fresh.loc[:9, "lost"] = 1.0
    assert "lost is off" in score_cache.differs(kept, fresh)
    assert "columns or rows" in score_cache.differs(kept.drop(columns="lost"), scores())
    assert "columns or rows" in score_cache.differs(kept, scores()[:-1])
    vectors = pd.DataFrame(
        np.random.default_rng(0).normal(0, 0.1, (40, 4)), columns=[f"vector {i}" for i in range(4)]
    )
    assert score_cache.differs(vectors, vectors + 1e-4) is None
    assert "vector 0 is off" in score_cache.differs(vectors, vectors[::-1].reset_index(drop=True))
    never_found = scores().assign(alignment=np.nan)  # nothing to compare there; `lost` says so
    assert score_cache.differs(kept, never_found) is None


def test_kept_scores_are_believed_only_if_freshly_scored_faces_agree(capsys):
    given = scores(100)
    assert (
        score_cache.checked("x", 100, lambda some: given.iloc[some]) is None
        and not capsys.readouterr().out
    )  # nothing was kept
    kept = score_cache.keep("x", given)
    asked = []

    def score(some):
        asked.append(some)
        return given.iloc[some].reset_index(drop=True)

    pd.testing.assert_frame_equal(score_cache.checked("x", 100, score), kept)
    assert len(set(asked[0])) == 32 and asked[0].max() < 100
    assert score_cache.checked("x", 100, lambda some: score(some) + 1) is None
    assert (
        score_cache.checked("x", 99, score) is None and score_cache.checked("x", 101, score) is None
    )  # other faces than were kept
    assert "kept scores are left aside, psnr is off by 1" in capsys.readouterr().out
