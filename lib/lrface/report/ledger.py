"""The findings of all studies on all face sets together, with one verdict over the sets.

The rule over sets: of each set the largest preset counts. A finding is *not tested* if no set tests
it; *inconclusive* if no set decides, or if sets decide differently; else what the sets that decide
say. It is trivial where it is on every set that decides.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from filelock import FileLock

from lrface.files import output_folder, project_root, write_atomic, write_text
from lrface.report import page
from lrface.report.findings import COLUMNS, EVIDENCE

EVERY_SET = "all"
"""``data`` of the rows over all sets."""
PRESETS = ("smoke", "quick", "gpu", "paper")
NAMES = ("findings", "contrasts")


def read(file: Path) -> pd.DataFrame:
    """A table of findings or of contrasts, with empty words as ``""``."""
    columns = COLUMNS if file.stem == "findings" else EVIDENCE
    words = {"id", "finding", "paper", "table", "sentence", "setting", "method", "metric", "unit"}
    words |= {"contrast", "verdict", "lacks", "reason", "study", "figure", "data", "preset"}
    words &= set(columns)
    frame = pd.read_csv(file, dtype=dict.fromkeys(words, str))[columns]
    return frame.fillna(dict.fromkeys(words, "")).astype({"trivial": bool})


def collect(results: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The findings and the contrasts of all studies in a results folder.

    Those of smoke runs, and of runs with parameters of a user's own, are left out.
    """
    found = []
    for name, columns in zip(NAMES, (COLUMNS, EVIDENCE), strict=True):
        files = sorted(results.glob(f"*/*/*/{name}.csv"))
        usual = (f for f in files if f.parts[-3] != "smoke" and "@" not in f.parts[-2])
        parts = [read(file) for file in usual]
        empty = pd.DataFrame(columns=columns)
        found.append(pd.concat(parts, ignore_index=True) if parts else empty)
    findings, contrasts = found
    return pd.concat([findings, over_sets(findings)], ignore_index=True), contrasts


def over_sets(findings: pd.DataFrame) -> pd.DataFrame:
    """A row per finding with the verdict over all face sets, by the rule of this module.

    Examples
    --------
    >>> row = dict.fromkeys(COLUMNS, "") | {"id": "csri-best", "preset": "quick", "trivial": False}
    >>> rows = [row | {"data": d, "verdict": v} for d, v in
    ...         [("synthetic", "supported"), ("celeba", "inconclusive")]]
    >>> over_sets(pd.DataFrame(rows))[["verdict", "reason"]].values.tolist()
    [['supported', 'synthetic supported; celeba inconclusive']]
    """
    rows = []
    for _, all_presets in findings.groupby("id", sort=False):
        order = all_presets["preset"].map(PRESETS.index)
        sets = all_presets.loc[order.groupby(all_presets["data"], sort=False).idxmax()]
        verdicts = sets["verdict"]
        decided = sets[verdicts.isin(["supported", "not supported"])]
        if (verdicts == "not tested").all():
            verdict = "not tested"
        elif decided["verdict"].nunique() == 1:
            verdict = decided["verdict"].iloc[0]
        else:
            verdict = "inconclusive"
        said = dict(zip(sets["data"], verdicts, strict=True))
        lacks = ", ".join(dict.fromkeys(", ".join(filter(None, sets["lacks"])).split(", ")))
        first = sets.iloc[0]
        about = {name: first[name] for name in ("id", "paper", "table", "sentence", "study")}
        about |= {name: first[name] for name in ("metric", "unit")}
        rows.append(
            about
            | {"verdict": verdict, "trivial": bool(len(decided)) and bool(decided["trivial"].all())}
            | {"lacks": lacks if verdict == "not tested" else ""}
            | {"reason": "; ".join(f"{name} {v}" for name, v in said.items())}
            | {"data": EVERY_SET, "preset": "", "contrast": "", "figure": ""}
        )
    return pd.DataFrame(rows, columns=COLUMNS)


def write() -> None:
    """Write ``findings.csv``, ``contrasts.csv`` and ``README.md`` of all results."""
    folder = output_folder("results")
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / ".findings.lock"):
        for name in NAMES:  # of a writer that was killed
            for partial in folder.glob(f".{name}.*.part.csv"):
                partial.unlink()
        found = collect(folder)
        if found[0].empty:
            return
        for name, frame in zip(NAMES, found, strict=True):
            write_atomic(
                folder / f"{name}.csv",
                lambda path, frame=frame: frame.to_csv(path, index=False, float_format="%.6g"),
            )
        write_text(
            folder / "README.md", page.page(*map(_stored, NAMES), folder, output_folder("figures"))
        )


def _stored(name: str) -> pd.DataFrame:
    """A table as it was written: the page and the file show the same digits."""
    return read(output_folder("results") / f"{name}.csv")


def write_front_page() -> None:
    """Fill the findings into the project's README, between the markers of
    :mod:`lrface.report.page`."""
    file, findings = project_root() / "README.md", project_root() / "results" / "findings.csv"
    if file.is_file() and findings.is_file():
        text = page.filled(file.read_text(), page.front(read(findings), project_root()))
        write_text(file, text)
