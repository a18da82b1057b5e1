"""What ``lrface reproduce --dry-run`` says: what a study would train, and what that costs."""

from __future__ import annotations

import os
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from lrface import data, metrics, models
from lrface.cli.console import console
from lrface.data import FaceSet, SceneSet, TrainingSet, WindowSet
from lrface.execution import notebooks
from lrface.execution import plan as plans
from lrface.files import clock
from lrface.training import cost_model, throughput
from lrface.training.config import Config

CHECKED = 32
"""Test faces of a network at hand that are scored again (:mod:`lrface.metrics.score_cache`)."""
JUDGES = {"Landmarker(": "find", 'embedder("dlib")': "describe"}
"""By what a notebook's code holds: which of dlib's times every scored face takes."""


def show(path: Path, values: dict[str, Any]) -> None:
    """Say what a study would train and score, and what that would cost. Trains nothing."""
    plan = plans.of(path, values)
    if not plan.needed:
        console.print(f"{path.stem}: it trains nothing")
        return
    missing = plan.missing()
    own = {name: plan.networks[name] for name in plan.networks if name in plan.needed}
    console.print(
        f"{path.stem}: {_count(len(own))} needed, {len(own.keys() - missing.keys())} of them at "
        f"hand; {_count(len(missing))} to train"
    )
    core = throughput.measured()
    costs = cost_model.table((_training(*one) for one in (missing | own).values()), core)
    costs.insert(0, "network", [_shown(name) for name in missing | own])
    new = [name in missing for name in missing | own]
    if missing:
        _show_trainings(path, missing, costs[new])
    if isinstance(plan.tested, SceneSet):  # a network for windows sees a picture at many sizes
        n = len(plan.tested)
        console.print(f"detection in {n:,} pictures comes to this; its time is not estimated")
    elif plan.tested is not None:
        names = [name in own for name in missing | own]
        _show_scoring(path, len(plan.tested), costs[names], pd.Series(new)[names], core)
    console.print(
        f"({cost_model.ASSUMPTION}; a core of this machine does {core.flops / 1e9:.0f} GFLOP/s "
        f"and moves {core.bytes / 1e9:.0f} GB/s, measured: its times may be off by a factor of two)"
    )


def _count(networks: int) -> str:
    return f"{networks} network{'' if networks == 1 else 's'}"


def _training(config: Config, faces: TrainingSet) -> cost_model.Training:
    attributes = len(faces.attributes) if isinstance(faces, FaceSet) else None
    count = faces.most if isinstance(faces, WindowSet) else len(faces)  # no window is cut for it
    return config, count, faces.table["identity"].nunique(), attributes


def _shown(name: Hashable) -> str:
    return " ".join(map(str, name)) if isinstance(name, tuple) else str(name)


def _show_trainings(path: Path, missing: plans.Networks, costs: pd.DataFrame) -> None:
    for faces in {faces.fingerprint: faces for _, faces in missing.values()}.values():
        people = faces.table["identity"].nunique()
        windows = isinstance(faces, WindowSet)
        count, what = (faces.most, "windows, at most,") if windows else (len(faces), "faces")
        console.print(
            f"{path.stem}: {faces.name}, {count:,} training {what} of {people:,} "
            f"identities, fingerprint {faces.fingerprint}"
        )
    formats = {
        "epochs": "{:.4g}".format,
        "parameters": "{:,}".format,
        "macs": lambda n: f"{n / 1e9:.2f}e9",
        "memory_gb": "{:.2f}".format,
        **dict.fromkeys([*cost_model.SECONDS, cost_model.CPU], clock),
    }
    shown = costs.drop(columns="patch")
    console.print(shown.to_string(index=False, formatters=formats))
    names = (*cost_model.SECONDS, cost_model.CPU)
    one, eight, on_core = (clock(costs[name].sum()) for name in names)
    console.print(
        f"{costs['steps'].sum():,} steps: {one} on one GPU, {eight} on eight, {on_core} on one "
        f"core of this machine, which has {os.cpu_count()}; at most "
        f"{costs['memory_gb'].max():.2f} GB"
    )


def _show_scoring(
    path: Path, tested: int, costs: pd.DataFrame, new: pd.Series, core: throughput.Throughput
) -> None:
    faces = [tested if is_new else min(CHECKED, tested) for is_new in new]
    # a step is a forward and two backward passes over a patch
    whole = [(cost_model.FACE / (patch or cost_model.FACE)) ** 2 for patch in costs["patch"]]
    macs = sum(n * m / 3 * area for n, m, area in zip(faces, costs["macs"], whole, strict=True))
    code = "\n".join(source for source, _ in notebooks.cells(path))
    seconds = throughput.remembered("dlib", _dlib)
    judged = sum(faces) * sum(seconds[name] for word, name in JUDGES.items() if word in code)
    on_gpu = max(2 * macs / cost_model.IEEE_FLOPS, judged / cost_model.CORES)
    console.print(
        f"scoring: {tested:,} faces by each new network, {min(CHECKED, tested)} by each at hand: "
        f"{clock(on_gpu)} on one GPU, {clock(core.seconds(macs))} on one core"
        + (f", and {clock(judged)} of a core for dlib" if judged else "")
    )


def _dlib() -> dict[str, float]:
    """The seconds in which dlib finds a face with its landmarks, and describes one."""
    faces = data.load("synthetic", "test", 4)
    pictures = faces.stack(range(len(faces)))
    landmarker, judge = metrics.Landmarker(), models.embedder("dlib")
    chips = torch.zeros(len(faces), 3, 150, 150, dtype=torch.uint8)
    with torch.no_grad():
        found = throughput.fastest(lambda: landmarker(pictures))
        described = throughput.fastest(lambda: judge(chips))
    return {"find": found / len(faces), "describe": described / len(faces)}
