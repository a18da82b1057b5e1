"""A few faces restored again by the released networks: are the score files theirs?

Some of the released restorers of studies 01 and 02, drawn anew each time, restore some faces, which
are scored by PSNR and SSIM. The other studies' cells are computed again when the study is executed
(``lrface verify --fresh``).
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd

from lrface.checks.compare import Drift, read
from lrface.checks.study_results import StudyResults

FACES = 2
"""Faces of each score file that are restored again."""
NETWORKS = 24
"""Networks of a study that are asked, drawn anew each time."""
METRICS = ("psnr", "ssim")


def check(one: StudyResults, record: dict[str, Any]) -> tuple[list[Drift], int]:
    """Where networks give other scores than those stored, and how many networks were asked.

    Score files whose network is not released are left out, as are those of real faces.
    """
    scores, runs = one.results / "scores.csv", one.results / "runs.csv"
    folder = one.results.parent / "checkpoints"
    if one.study[:2] not in ("01", "02") or not (scores.is_file() and runs.is_file()):
        return [], 0
    networks = {key: folder / key for key in read(runs)["key"] if (folder / key).is_dir()}
    if not networks:
        return [], 0
    return _restored(one, record, read(scores), networks)


def _restored(
    one: StudyResults, record: dict[str, Any], scores: pd.DataFrame, folders: dict[str, Any]
) -> tuple[list[Drift], int]:
    import torch

    from lrface import data, degrade, metrics, models
    from lrface.metrics import score_cache
    from lrface.training import run_store

    opened = [run_store.open_run(folder, "released") for folder in folders.values()]
    networks = [run for run in opened if run is not None]
    found, count, random = [], 0, np.random.default_rng()
    torch.manual_seed(0)
    for row in scores.sample(frac=1, random_state=random).to_dict("records"):
        if count == NETWORKS:
            break
        file = one.results.parent / "scores" / f"{row['key']}.parquet"
        run = _network(row, networks)
        if run is None or not file.is_file():
            continue
        stored = pd.read_parquet(file)
        rows = np.sort(random.choice(len(stored), min(FACES, len(stored)), replace=False))
        test = data.load(one.data, "test", len(stored))
        hr = test.stack(rows)
        setting = degrade.setting(row["setting"], seed=record["parameters"].get("seed", 0))
        small = setting(hr.float() / 255, test.streams[rows])
        sr = degrade.to_uint8(models.in_batches(run.model(), small, size=FACES))
        again = {name: getattr(metrics, name)(sr, hr).numpy() for name in METRICS}
        again = pd.DataFrame(again).astype(float)
        same = stored.iloc[rows][list(METRICS)].astype(float).reset_index(drop=True)
        count += 1
        if what := score_cache.difference(same, again):
            name = f"results/{one.data}/{one.preset}/scores/{file.name}"
            why = f"its network ({run.record['key']}) restores faces otherwise: {what}"
            found.append(Drift(name, why))
    return found, count


def _network(row: dict[str, str], networks: list[Any]) -> Any | None:
    """The released network of a row of ``scores.csv``; None if there is none."""
    alike = [
        run
        for run in networks
        if (run.config.method, run.config.degradation.name) == (row["method"], row["setting"])
    ]
    if "size" not in row:
        return alike[0] if len(alike) == 1 else None
    # study 02: by the number of faces, the training's seed, and whether steps or epochs are equal
    most = max((run.config.n_train for run in alike), default=0)
    alike = [
        run
        for run in alike
        if run.config.n_train == round(most * float(row["size"]) / 1.35)
        and run.config.seed == int(row["seed"])
    ]
    alike.sort(key=lambda run: run.config.steps)
    return (alike[-1] if row["mode"] == "steps" else alike[0]) if alike else None


def parameters(one: StudyResults) -> Iterator[Drift]:
    """Networks whose record states another number of parameters than the network has."""
    listing = one.results / "runs.csv"
    if not listing.is_file():
        return
    from lrface.training import run_store

    for key in read(listing)["key"]:
        folder = one.results.parent / "checkpoints" / key
        run = run_store.open_run(folder, "released") if folder.is_dir() else None
        if run is None:
            continue
        config = run.config
        shape = (config.method, config.degradation.scale, config.size)
        counted = _parameters(*shape, run.record.get("classes"))
        if counted != run.record["parameters"]:
            name = f"{folder.relative_to(one.root).as_posix()}/record.json"
            stated = str(run.record["parameters"])
            yield Drift(name, "counted", column="parameters", committed=f"{counted}", now=stated)


@lru_cache(maxsize=256)
def _parameters(method: str, scale: int, size: str, classes: int | None) -> int:
    """The number of parameters of an untrained network."""
    import torch

    from lrface import models

    with torch.device("meta"):
        return sum(p.numel() for p in models.build(method, scale, size, classes).parameters())
