"""Long tables: a row per number, with its interval, its n and the published value beside it."""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path
from typing import Any

import pandas as pd

from lrface.errors import UsageError
from lrface.metrics.intervals import Estimate

COLUMNS = [
    *("study", "table", "method", "setting", "metric"),
    *("value", "low", "high", "n", "published"),
]
DIGITS = {"psnr": 2, "psnr_y": 2, "ms": 2} | dict.fromkeys(
    ["parameters", "macs", "images", "faces"], 0
)
"""Digits after the point that people are shown of a metric; of any other: 4."""
BETTER = {
    **dict.fromkeys(["psnr", "ssim", "psnr_y", "ssim_y"], max),
    **dict.fromkeys(["identity", "identity_frnet", "accuracy"], max),
    **dict.fromkeys(["tpr_at", "rank", "mAP"], max),
    **dict.fromkeys(["lost", "ms"], min),
}
"""Which value of a metric is the better one; what follows in its name (``tpr_at_1e-3``,
``accuracy (dlib)``) does not matter."""


@lru_cache(maxsize=1)
def published() -> pd.DataFrame:
    """The numbers that the papers print.

    Returns
    -------
    DataFrame
        A row per number: ``paper, table, setting, method, metric, value``. Papers: ``edface,
        slides, vidface, joint, csri``. Shares are fractions, PSNR is in dB.

    Examples
    --------
    >>> published().query("paper == 'edface' and table == '2' and setting == '4x'").shape
    (16, 6)
    """
    return pd.read_csv(Path(__file__).with_name("published.csv"), dtype={"table": str})


def row(
    method: str,
    setting: str,
    metric: str,
    value: float | Estimate,
    n: int | None = None,
    **more: Any,
) -> dict[str, Any]:
    """A row of a long table.

    Parameters
    ----------
    method, setting, metric : str
        As the paper names them, so that its value is found (:func:`long`).
    value : Estimate or float
        A plain number if it is exact, or an interval has no meaning.
    n : int, optional
        How many faces, pairs, ... a plain number rests on; an Estimate has its own.
    **more
        Further columns.

    Examples
    --------
    >>> row("EDSR", "4x", "psnr", Estimate(28.1, 27.9, 28.3, 500), seeds=3)
    ... # doctest: +NORMALIZE_WHITESPACE
    {'method': 'EDSR', 'setting': '4x', 'metric': 'psnr', 'value': 28.1, 'low': 27.9, 'high': 28.3,
     'n': 500, 'seeds': 3}
    """
    plain = {"value": value, "low": float("nan"), "high": float("nan"), "n": n}
    estimate = value._asdict() if isinstance(value, Estimate) else plain
    return {"method": method, "setting": setting, "metric": metric, **estimate, **more}


def long(
    rows: list[dict[str, Any]], study: str, table: str, paper: str, paper_tables: tuple[str, ...]
) -> pd.DataFrame:
    """A long table of rows, with the published value of each where there is one.

    Parameters
    ----------
    rows : list of dict
        From :func:`row`.
    study, table : str
        The name of the study, and of the table in it.
    paper : str
        The paper whose values are published (:func:`published`).
    paper_tables : tuple of str
        Its tables that are looked up by setting, method and metric; ``()``: none.

    Returns
    -------
    DataFrame
        The columns :data:`COLUMNS`, then all others.

    Raises
    ------
    UsageError
        No value is entered of one of the paper's tables.

    Examples
    --------
    >>> frame = long([row("EDSR", "4x", "psnr", 28.1)], "01", "2", "edface", ("2",))
    >>> frame[["value", "published"]].values.tolist()
    [[28.1, 26.99]]
    """
    printed = published().query("paper == @paper")["table"].unique()
    if absent := sorted({*paper_tables} - {*printed}):
        raise UsageError(
            f"published.csv has no table {absent[0]!r} of {paper}: it has {', '.join(printed)}"
        )
    if not rows:
        return pd.DataFrame(columns=COLUMNS)
    frame = pd.DataFrame(rows).assign(study=study, table=table)
    by = ["setting", "method", "metric"]
    known = published().query("paper == @paper and table in @paper_tables")[[*by, "value"]]
    frame = frame.merge(known.rename(columns={"value": "published"}), on=by, how="left")
    return frame[COLUMNS + [c for c in frame.columns if c not in COLUMNS]]


def pivot(frame: pd.DataFrame, metrics: list[str] | None = None) -> pd.DataFrame:
    """A long table as people read it: a row per setting and metric, a column per method.

    Parameters
    ----------
    frame : DataFrame
        A long table.
    metrics : list of str, optional
        Which metrics, in order. Default: all.

    Returns
    -------
    DataFrame of str
        ``measured [low, high] (published)``; the best measured value of a row is bold, a dash
        stands for what was not measured.

    Examples
    --------
    >>> rows = [row("EDSR", "4x", "psnr", Estimate(28.1, 27.9, 28.3, 500))]
    >>> pivot(long(rows, "01", "2", "edface", ("2",)))
      setting metric    n                          EDSR
    0      4x   psnr  500  28.10 [27.90, 28.30] (26.99)
    """
    metrics = metrics or list(dict.fromkeys(frame["metric"]))
    methods, lines = list(dict.fromkeys(frame["method"])), []
    for setting in dict.fromkeys(frame["setting"]):
        for metric in metrics:
            here = frame[(frame["setting"] == setting) & (frame["metric"] == metric)]
            if here.empty:
                continue
            counts = "/".join(str(int(n)) for n in sorted(set(here["n"].dropna())))
            line = {"setting": setting, "metric": metric, "n": counts}
            cells, best = here.set_index("method"), _best(here["value"], metric)
            for method in methods:
                there = method in cells.index
                line[method] = _cell(cells.loc[method], metric, best) if there else "–"
            lines.append(line)
    return pd.DataFrame(lines)


def _best(values: pd.Series, metric: str) -> float | None:
    """The best of several methods' values, if it is known which end is better."""
    better = BETTER.get(metric) or BETTER.get(re.split(r" \(|_?\d", metric)[0])
    return better(values.dropna(), default=None) if better and len(values) > 1 else None


def _cell(row: pd.Series, metric: str, best: float | None) -> str:
    text = _number(row["value"], metric)
    if best is not None and row["value"] == best:
        text = f"**{text}**"
    if not pd.isna(row["low"]):
        text += f" [{_number(row['low'], metric)}, {_number(row['high'], metric)}]"
    if not pd.isna(row["published"]):
        text += f" ({_number(row['published'], metric)})"
    return text


def _number(value: float, metric: str) -> str:
    if pd.isna(value):
        return "–"
    digits = DIGITS.get(metric, 4)
    return f"{value:,.0f}" if digits == 0 else f"{value:.{digits}f}"
