"""Long-form results: one row a number, with its interval, its n and the published value beside it."""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path

import pandas as pd

from lrface.metrics.intervals import Estimate

COLUMNS = [
    "study",
    "table",
    "method",
    "setting",
    "metric",
    "value",
    "low",
    "high",
    "n",
    "published",
]
DIGITS = {
    "psnr": 2,
    "ssim": 4,
    "alignment": 4,
    "identity": 4,
    "ms": 2,
    "parameters": 0,
    "macs": 0,
    "lost": 4,
}
BETTER = {
    "psnr": max,
    "ssim": max,
    "identity": max,
    "identity_frnet": max,
    "lost": min,
    "ms": min,
    "accuracy": max,
    "tpr_at": max,
    "rank": max,
    "mAP": max,
}
"""Which end of a metric is the better one; what follows in its name (``tpr_at_1e-3``, ``accuracy
(dlib)``) does not matter."""


@lru_cache(maxsize=1)
def published() -> pd.DataFrame:
    """The papers' printed values: ``paper, table, setting, method, metric, value``."""
    return pd.read_csv(Path(__file__).with_name("published.csv"), dtype={"table": str})


def row(
    method: str, setting: str, metric: str, value: float | Estimate, n: int | None = None, **more
) -> dict:
    """A row of a long table from an :class:`Estimate`, or from a plain number (exact, or with no
    meaningful interval)."""
    plain = {"value": value, "low": float("nan"), "high": float("nan"), "n": n}
    estimate = value._asdict() if isinstance(value, Estimate) else plain
    return {"method": method, "setting": setting, "metric": metric, **estimate, **more}


def long(
    rows: list[dict], study: str, table: str, paper: str, paper_tables: tuple[str, ...]
) -> pd.DataFrame:
    """All rows as one frame in the order of ``COLUMNS`` (further columns after), the published
    values joined in."""
    frame = pd.DataFrame(rows).assign(study=study, table=table)
    known = published().query("paper == @paper and table in @paper_tables")[
        ["setting", "method", "metric", "value"]
    ]
    frame = frame.merge(
        known.rename(columns={"value": "published"}), on=["setting", "method", "metric"], how="left"
    )
    return frame[COLUMNS + [c for c in frame.columns if c not in COLUMNS]]


def _number(value: float, metric: str) -> str:
    if pd.isna(value):
        return "–"
    digits = DIGITS.get(metric, 4)
    return f"{value:,.0f}" if digits == 0 else f"{value:.{digits}f}"


def pivot(frame: pd.DataFrame, metrics: list[str] | None = None) -> pd.DataFrame:
    """The table as a person reads it: a row a setting and metric, a column a method, ``measured
    [low, high] (published)``.

    The best measured value of each row is bold. What was not measured here shows the published
    value alone.
    """
    metrics = metrics or list(dict.fromkeys(frame["metric"]))
    methods, lines = list(dict.fromkeys(frame["method"])), []
    for setting in dict.fromkeys(frame["setting"]):
        for metric in metrics:
            here = frame[(frame["setting"] == setting) & (frame["metric"] == metric)].set_index(
                "method"
            )
            if here.empty:
                continue
            better = BETTER.get(metric) or BETTER.get(re.split(r" \(|_?\d", metric)[0])
            best = (
                better(here["value"].dropna(), default=None) if better and len(here) > 1 else None
            )
            line = {
                "setting": setting,
                "metric": metric,
                "n": "/".join(str(int(n)) for n in sorted(set(here["n"].dropna()))),
            }
            for method in methods:
                if method not in here.index:
                    line[method] = "–"
                    continue
                r = here.loc[method]
                text = _number(r["value"], metric)
                text = f"**{text}**" if best is not None and r["value"] == best else text
                if not pd.isna(r["low"]):
                    text += f" [{_number(r['low'], metric)}, {_number(r['high'], metric)}]"
                line[method] = text + (
                    "" if pd.isna(r["published"]) else f" ({_number(r['published'], metric)})"
                )
            lines.append(line)
    return pd.DataFrame(lines)
