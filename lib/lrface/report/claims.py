"""The ledger: each finding of a paper as a contrast with an interval and a verdict."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from lrface.metrics.intervals import Estimate

Verdict = Literal["supported", "not supported", "inconclusive"]
COLUMNS = [
    "id",
    "paper",
    "table",
    "sentence",
    "contrast",
    "effect",
    "low",
    "high",
    "margin",
    "n",
    "verdict",
    "data",
    "preset",
]


def verdict(estimate: Estimate, margin: float | None = None) -> Verdict:
    """What an interval says of a claim.

    Without a margin the contrast is signed so that the claim says "above zero": supported if the
    whole interval is above zero, not supported if the whole is below, else inconclusive. With a
    margin the claim says "no difference": supported if the whole interval lies within plus or minus
    the margin, not supported if it lies wholly outside, else inconclusive.
    """
    if math.isnan(estimate.low) or math.isnan(estimate.high):
        return "inconclusive"
    if margin is None:
        return (
            "supported"
            if estimate.low > 0
            else "not supported"
            if estimate.high < 0
            else "inconclusive"
        )
    if -margin <= estimate.low and estimate.high <= margin:
        return "supported"
    return "not supported" if estimate.low > margin or estimate.high < -margin else "inconclusive"


@dataclass(frozen=True)
class Claim:
    """One finding, measured here."""

    id: str
    paper: str
    table: str
    sentence: str
    """The paper's finding in our words, short enough for a table."""
    contrast: str
    """What is subtracted from what, in which unit; positive values favour the claim."""
    estimate: Estimate
    margin: float | None = None

    def row(self, data: str, preset: str) -> dict:
        """A row of ``claims.csv``."""
        value, low, high, n = self.estimate
        facts = [self.id, self.paper, self.table, self.sentence, self.contrast, value, low, high]
        return dict(
            zip(
                COLUMNS,
                [*facts, self.margin, n, verdict(self.estimate, self.margin), data, preset],
                strict=True,
            )
        )
