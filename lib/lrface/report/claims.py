"""Claims: each finding of a paper as a contrast with an interval and a verdict."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import pandas as pd
from filelock import FileLock

from lrface.files import output_folder, write_atomic
from lrface.metrics.intervals import Estimate

Verdict = Literal["supported", "not supported", "inconclusive"]
COLUMNS = [
    *("id", "paper", "table", "sentence", "contrast", "effect", "low", "high", "margin", "n"),
    *("verdict", "data", "preset"),
]
"""Of ``claims.csv``."""


def verdict(estimate: Estimate, margin: float | None = None) -> Verdict:
    """What the interval of a contrast says of a claim.

    Parameters
    ----------
    estimate : Estimate
        The contrast, signed so that positive values favour the claim.
    margin : float, optional
        For a claim of no difference: the largest difference that counts as none.

    Returns
    -------
    {"supported", "not supported", "inconclusive"}
        Without a margin: whether the interval lies above zero, below zero, or contains it. With a
        margin: whether it lies within plus or minus the margin, outside, or across its ends. A
        contrast without an interval (NaN) is inconclusive.

    Examples
    --------
    >>> verdict(Estimate(0.3, 0.1, 0.5, 100)), verdict(Estimate(0.3, -0.1, 0.7, 100))
    ('supported', 'inconclusive')
    >>> verdict(Estimate(0.3, 0.1, 0.5, 100), margin=0.6)
    'supported'
    """
    low, high = estimate.low, estimate.high
    if math.isnan(low) or math.isnan(high):
        return "inconclusive"
    if margin is None:
        holds, fails = low > 0, high < 0
    else:
        holds, fails = -margin <= low and high <= margin, low > margin or high < -margin
    return "supported" if holds else "not supported" if fails else "inconclusive"


@dataclass(frozen=True)
class Claim:
    """One finding of a paper, measured here.

    Examples
    --------
    >>> what = "psnr at 4x: EDSR minus SRCNN"
    >>> claim = Claim("edsr-4x", "edface", "2", "EDSR is better", what, Estimate(2, 1.8, 2.2, 500))
    >>> claim.row("synthetic", "quick")["verdict"]
    'supported'
    """

    id: str
    paper: str
    table: str
    sentence: str
    """The finding in our words, short enough for a table."""
    contrast: str
    """What is subtracted from what, in which unit; positive values favour the claim."""
    estimate: Estimate
    margin: float | None = None
    """For a claim of no difference (:func:`verdict`)."""

    def row(self, data: str, preset: str) -> dict:
        """Its row of ``claims.csv``, which has the columns :data:`COLUMNS`."""
        said = verdict(self.estimate, self.margin)
        finding = (self.id, self.paper, self.table, self.sentence, self.contrast)
        value, low, high, n = self.estimate
        cells = (*finding, value, low, high, self.margin, n, said, data, preset)
        return dict(zip(COLUMNS, cells, strict=True))


def ledger() -> None:
    """Write ``claims.csv`` of all results from the claims of all studies.

    Those of smoke runs, and of runs with parameters of a user's own, are left out.
    """
    target = output_folder("results") / "claims.csv"
    target.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(target.with_name(".claims.lock")):
        for partial in target.parent.glob(".claims.*.part.csv"):  # of a writer that was killed
            partial.unlink()
        files = sorted(target.parent.glob("*/*/*/claims.csv"))
        usual = (f for f in files if f.parts[-3] != "smoke" and "@" not in f.parts[-2])
        parts = [pd.read_csv(file) for file in usual]
        if parts:
            whole = pd.concat(parts, ignore_index=True)[COLUMNS]
            write_atomic(target, lambda path: whole.to_csv(path, index=False, float_format="%.6g"))
