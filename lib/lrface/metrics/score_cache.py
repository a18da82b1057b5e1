"""What each face scored, kept: scoring can stop anywhere and go on, and a new method costs no old
one's time.

Kept scores are not believed unseen: :func:`checked` scores some faces anew and compares.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow

from lrface.files import cache_dir, stores, write_atomic

TOLERANCE = {
    "psnr": 0.02,
    "ssim": 5e-4,
    "alignment": 2e-3,
    "lost": 0.1,
    "identity": 2e-3,
    "identity_frnet": 5e-3,
    "vector": 2e-3,
}
"""How far the mean over a few faces may be off (dB, 1, fraction of the eyes' distance, share,
cosine) on another processor, whose last bits differ: a rounded pixel here, a landmark there. A
column is its first word's: those of a recogniser's vector are ``vector 0, ...``."""


def key(**facts) -> str:
    """16 hex digits over everything the scores depend on but the scoring's own code: weights,
    degradation, faces, judges."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


def find(key: str) -> pd.DataFrame | None:
    """The kept scores of this key, a row a face and a column a metric: released with the project,
    else from the cache, else None."""
    for place, _ in stores("scores", "scores"):
        try:
            return pd.read_parquet(place / f"{key}.parquet").astype(np.float64)
        except (OSError, ValueError, pyarrow.ArrowException):  # not there, or damaged: scored again
            continue
    return None


def checked(key: str, n: int, score: Callable[[np.ndarray], pd.DataFrame]) -> pd.DataFrame | None:
    """The kept scores of this key if 32 of its ``n`` faces, drawn at random and scored anew, agree;
    else None.

    ``score`` gives the scores of the faces whose numbers it is given, a row each. Says so where
    kept scores are left aside.
    """
    if (kept := find(key)) is None or len(kept) != n:
        return None
    some = np.random.default_rng().permutation(n)[:32]
    if difference := differs(kept.iloc[some], score(some)):
        print(f"{key}: kept scores are left aside, {difference}")
        return None
    return kept


def keep(key: str, scores: pd.DataFrame) -> pd.DataFrame:
    """Keep scores (a row a face, a column a metric) in the cache, and give back what :func:`find`
    will: rounded to float32."""
    write_atomic(cache_dir("scores") / f"{key}.parquet", scores.astype(np.float32).to_parquet)
    return scores.astype(np.float32).astype(np.float64)


def differs(kept: pd.DataFrame, fresh: pd.DataFrame) -> str | None:
    """None if the same faces, scored anew, agree with what was kept; else a phrase that names the
    metric and by how much."""
    if list(kept) != list(fresh) or len(kept) != len(fresh):
        return f"columns or rows are others: {', '.join(fresh)}"
    for metric in fresh:
        apart = np.abs(kept[metric].to_numpy() - fresh[metric].to_numpy())
        mean = float(apart[np.isfinite(apart)].mean()) if np.isfinite(apart).any() else 0.0
        if mean > TOLERANCE[metric.split()[0]]:
            return f"{metric} is off by {mean:.2g} on average over {len(fresh)} faces"
    return None


def release(keys: Iterable[str], folder: Path) -> None:
    """Copy kept scores into ``folder`` (a ``scores`` folder under ``results/``), in place of what
    was left aside and scored again since."""
    for key in keys:
        target, source = folder / f"{key}.parquet", cache_dir("scores") / f"{key}.parquet"
        if source.exists() and not (
            target.exists() and target.stat().st_mtime_ns >= source.stat().st_mtime_ns
        ):
            write_atomic(target, lambda path, source=source: path.write_bytes(source.read_bytes()))
