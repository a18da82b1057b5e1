"""Tables computed again from the score files of single faces, pairs or probes: no network runs.

A released score file holds the numbers that a table averages. Here they are averaged again, by this
module's own few lines, and compared with every row of the study's tables that states the same
number. A row that no rule below describes (a cost, a curve, a contrast) is not computed again.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from lrface import data
from lrface.checks.compare import Drift, number, read
from lrface.checks.study_results import StudyResults
from lrface.metrics.detection import match_detections
from lrface.metrics.intervals import (
    Estimate,
    bootstrap,
    estimate,
    people_and_trainings,
    resampled_means,
)
from lrface.metrics.stored_detections import MOST, boxes_of
from lrface.models.detection.boxes import fitted_by_halves

WHY = "computed again from the score files"


class Number(NamedTuple):
    """A number of a table: the columns and words that name its row, and what it must be."""

    row: dict[str, str]
    estimate: Estimate
    """Without an interval (NaN) only the value is compared."""


def value(mean: float) -> Estimate:
    """A number whose interval is not computed again."""
    return Estimate(float(mean), math.nan, math.nan, 0)


class Scores:
    """The score files of a study that are here, by the columns of its ``scores.csv``."""

    def __init__(self, one: StudyResults):
        self.folder = one.results.parent / "scores"
        file = one.results / "scores.csv"
        self.listed = read(file) if file.is_file() else pd.DataFrame({"key": []})
        there = [self._file(key).is_file() for key in self.listed["key"]]
        self.listed = self.listed[np.array(there, bool)]

    def _file(self, key: str) -> Path:
        return self.folder / f"{key}.parquet"

    def by(self, *columns: str) -> Iterator[tuple[tuple[str, ...], list[pd.DataFrame]]]:
        """The files of each value of these columns: one, or one a training."""
        if not {*columns} <= {*self.listed} or self.listed.empty:
            return
        for name, rows in self.listed.groupby(list(columns), sort=False):
            yield name, [pd.read_parquet(self._file(key)) for key in rows["key"]]


@cache
def people(name: str, part: str, n: int) -> np.ndarray:
    """The identities of the first ``n`` faces of a part of a rendered set, in its order."""
    return data.load(name, part, n).table["identity"].to_numpy()


def _restorers(scores: Scores, name: str) -> Iterator[Number]:
    rows, values = [], []
    for (method, setting), (frame,) in scores.by("method", "setting"):
        rows += [{"method": method, "setting": setting, "metric": metric} for metric in frame]
        values += [frame[metric].to_numpy(float) for metric in frame]
    if not values:
        return
    each, who = np.stack(values), people(name, "test", len(values[0]))
    everyone = len(np.unique(who))
    for row, one, draws in zip(rows, each, resampled_means(each, who), strict=True):
        known = ~np.isnan(one)
        whole = len(np.unique(who[known])) == everyone  # else fewer people are resampled
        found = estimate(draws, int(known.sum())) if whole else bootstrap(one, clusters=who)
        yield Number(row, found)


def _sizes(scores: Scores, name: str) -> Iterator[Number]:
    for (method, setting, size, mode), frames in scores.by("method", "setting", "size", "mode"):
        for metric in frames[0]:
            each = np.stack([frame[metric].to_numpy(float) for frame in frames])
            draws = resampled_means(each, people(name, "test", each.shape[1]))
            row = {"method": f"{method} {size}", "setting": setting, "mode": mode}
            yield Number(row | {"metric": metric}, people_and_trainings(draws, each.shape[1]))


def _pairs(scores: Scores, name: str) -> Iterator[Number]:
    for (test, setting), frames in scores.by("test", "setting"):
        row = {"method": setting, "setting": test}
        if all(list(frame) == ["score", "correct"] for frame in frames):
            right = np.mean([frame["correct"].mean() for frame in frames])
            yield Number(row | {"metric": "accuracy"}, value(right))
        elif all(list(frame) == ["psnr"] for frame in frames):
            mean = np.mean([frame["psnr"].mean() for frame in frames])
            yield Number(row | {"metric": "psnr"}, value(mean))


def _attributes(scores: Scores, name: str) -> Iterator[Number]:
    faces = data.load(name, "test").table
    for (method,), frames in scores.by("method"):
        names = list(frames[0])
        if len(frames[0]) != len(faces) or not {*names} <= {*faces} or "," in method:
            continue
        truth = faces[names].to_numpy(bool)
        right = np.mean([frame.to_numpy(bool) == truth for frame in frames], 0)
        of_class = [np.where(truth == c, right, np.nan) for c in (False, True)]
        balanced = np.mean([np.nanmean(rows, 0) for rows in of_class], 0)
        for metric, each in (("balanced_accuracy", balanced), ("accuracy", right.mean(0))):
            for attribute, one in zip(["average", *names], [each.mean(), *each], strict=True):
                row = {"method": method, "setting": attribute, "metric": metric}
                yield Number(row, value(one))


SEEN = {"20 px": "down-sampled", "same height": "down-sampled to the same height"}
"""How tables 3 to 7 of study 05 name what its list of scores calls otherwise."""
SHOWN_AS = {
    "SphereFace at first": "SphereFace",
    "SphereFace": "SphereFace, fine-tuned",
    "mixed lessons": "CSRI's mixed lessons",
    "shrunken lessons": "CSRI, shrunken lessons",
}


def _searches(scores: Scores, name: str) -> Iterator[Number]:
    for (network, seen), frames in scores.by("network", "seen"):
        if seen not in ("native", *SEEN):
            continue
        method = SHOWN_AS.get(network, network).partition(f", {seen}")[0]
        row = {"method": method, "setting": SEEN.get(seen, seen)}
        for rank in (1, 5, 10, 20, 50):
            found = np.mean([(frame["first_rank"] <= rank).mean() for frame in frames])
            yield Number(row | {"metric": f"rank{rank}"}, value(found))
        if all("average_precision" in frame for frame in frames):
            mean = np.mean([frame["average_precision"].mean() for frame in frames])
            yield Number(row | {"metric": "mAP"}, value(mean))


def _clips(scores: Scores, name: str) -> Iterator[Number]:
    for (method, seen), frames in scores.by("method", "condition"):
        for metric in frames[0] if seen == "8x" else ():
            each = np.stack([frame[metric].to_numpy(float) for frame in frames])
            known = np.isfinite(each).all(0)
            if known.any():
                row = {"method": method, "setting": seen, "metric": metric}
                yield Number(row, value(each[:, known].mean()))


ARMS = {
    "CBN": "CBN",
    "CBN-common": "common branch only",
    "CBN-high-frequency": "high-frequency branch only",
    "CBN-fixed": "fixed correspondence",
    "CBN-single": "single cascade",
    "CBN-pure": "released form",
}
"""How the ablation of study 07 names what its list of scores calls otherwise."""


def _by_eye_distance(scores: Scores, name: str) -> Iterator[Number]:
    for (method, setting, condition), frames in scores.by("method", "setting", "condition"):
        if condition or "psnr" not in frames[0]:
            continue
        psnr, ssim = (np.mean([frame[m].mean() for frame in frames]) for m in ("psnr", "ssim"))
        row = {"method": "PCA" if method == "Eigenface" else method, "metric": "psnr"}
        yield Number(row | {"setting": f"PubFig {setting}"}, value(psnr))
        if setting == "5px" and method in ARMS:
            for metric, mean in (("psnr", psnr), ("ssim", ssim)):
                row = {"method": ARMS[method], "setting": "PubFig", "metric": metric}
                yield Number(row, value(mean))


def _boxes(scores: Scores, name: str) -> Iterator[Number]:
    scenes = data.load_scenes("rendered-crowds", "test")
    truth = scenes.truth()
    lists = {"all": np.ones(len(scenes.boxes), bool)}
    lists |= {name: scenes.boxes[name].to_numpy(bool) for name in ("easy", "medium", "hard")}
    for (cell,), frames in scores.by("cell"):
        frames = [frame for frame in frames if len(frame) == MOST * len(scenes)]
        found = [[boxes_of(frame, i) for i in range(len(scenes))] for frame in frames]
        if cell in ("Viola-Jones", "HOG", "MMOD"):
            found = [fitted_by_halves(one, truth) for one in found]
        matches = [match_detections(truth, one) for one in found]
        for group, listed in lists.items() if matches else ():
            mask = listed & scenes.visible
            row = {"method": cell, "setting": group, "metric": "AP"}
            yield Number(row, value(np.mean([one.on(mask).AP for one in matches])))


RULES: dict[str, Callable[[Scores, str], Iterator[Number]]] = {
    "01": _restorers,
    "02": _sizes,
    "03": _pairs,
    "04": _attributes,
    "05": _searches,
    "06": _clips,
    "07": _by_eye_distance,
    "08": _boxes,
}
"""By a study's number: the numbers that its score files determine."""


def check(one: StudyResults) -> tuple[list[Drift], int]:
    """Where tables differ from their score files, and how many numbers were computed again."""
    rule, scores = RULES.get(one.study[:2]), Scores(one)
    if rule is None or scores.listed.empty:
        return [], 0
    tables = {name: read(file) for name, file in one.tables().items()}
    rows: dict[tuple[str, ...], dict[tuple[str, ...], list[tuple[str, dict[str, str]]]]] = {}
    found, count = [], 0
    for row, expected in rule(scores, one.data):
        columns = tuple(row)
        if columns not in rows:
            rows[columns] = _by(columns, tables)
        for name, stated in rows[columns].get(tuple(row.values()), ()):
            count += 1
            found += _differences(name, row, expected, stated)
    return found, count


def _by(
    columns: tuple[str, ...], tables: dict[str, pd.DataFrame]
) -> dict[tuple[str, ...], list[tuple[str, dict[str, str]]]]:
    """The rows of all tables that have these columns and a value, each with its table's name.

    Rows on some of the faces only, those of a group, are left out.
    """
    found: dict[tuple[str, ...], list[tuple[str, dict[str, str]]]] = {}
    for name, frame in tables.items():
        if {*columns, "value"} <= {*frame}:
            parts = [frame[c] != "" for c in ("group", "attribute") if c in frame]
            whole = ~np.logical_or.reduce([np.zeros(len(frame), bool), *parts])
            for row in frame[whole].to_dict("records"):
                found.setdefault(tuple(row[c] for c in columns), []).append((name, row))
    return found


def _differences(
    name: str, row: dict[str, str], computed: Estimate, stated: dict[str, str]
) -> Iterator[Drift]:
    for column, expected in zip(("value", "low", "high"), computed, strict=False):
        if math.isnan(expected) and column != "value":
            continue
        seen = number(stated[column])
        seen = math.nan if seen is None else seen
        if not math.isclose(expected, seen, rel_tol=2e-5, abs_tol=1e-6) and not (
            math.isnan(expected) and math.isnan(seen)
        ):
            named = ", ".join(row.values())
            yield Drift(name, WHY, named, column, f"{expected:.6g}", stated[column])
