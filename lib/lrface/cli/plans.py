"""What ``lrface reproduce --dry-run`` says: which networks a study would train, and what it costs."""

from __future__ import annotations

import os
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import pandas as pd

from lrface.cli.console import console
from lrface.data import ClipSet, FaceSet
from lrface.execution import plan as plans
from lrface.files import clock
from lrface.training import cost_model, throughput

CHECKED = 32
"""Faces of a network at hand whose scores are computed again (score_cache)."""


def show(path: Path, values: dict[str, Any]) -> None:
    """Say what a study would train and score, and what that would cost. Trains nothing."""
    plan = plans.of(path, values)
    missing = plan.missing()
    asked = len(plan.needed)
    if not asked:
        console.print(f"{path.stem}: it trains nothing")
        return
    at_hand = f"{asked} networks are needed, {len(plan.needed - missing.keys())} are at hand"
    console.print(f"{path.stem}: {at_hand}, {len(missing)} to train")
    core = throughput.measured()
    if missing:
        _show_trainings(path, missing, core)
    _show_scoring(path, plan, missing, core)
    console.print(f"({cost_model.ASSUMPTION}; {_about(core)})")


def _show_trainings(path: Path, missing: plans.Networks, core: throughput.Throughput) -> None:
    sets = {faces.fingerprint: faces for _, faces in missing.values()}
    for faces in sets.values():
        people = faces.table["identity"].nunique()
        console.print(
            f"{path.stem}: {faces.name}, {len(faces):,} training faces of {people:,} "
            f"identities, fingerprint {faces.fingerprint}"
        )
    costs = cost_model.table((_training(*one) for one in missing.values()), core)
    costs.insert(0, "network", [_shown(name) for name in missing])
    formats = {
        "epochs": "{:.4g}".format,
        "parameters": "{:,}".format,
        "macs": lambda n: f"{n / 1e9:.2f}e9",
        "memory_gb": "{:.2f}".format,
        **dict.fromkeys([*cost_model.SECONDS, cost_model.CPU], clock),
    }
    console.print(costs.to_string(index=False, formatters=formats))
    names = (*cost_model.SECONDS, cost_model.CPU)
    one, eight, on_core = (clock(costs[name].sum()) for name in names)
    console.print(
        f"{costs['steps'].sum():,} steps: {one} on one GPU, {eight} on eight, {on_core} of one "
        f"core here; at most {costs['memory_gb'].max():.2f} GB"
    )


def _training(config: plans.Config, faces: FaceSet | ClipSet) -> cost_model.Training:
    attributes = len(faces.attributes) if isinstance(faces, FaceSet) else None
    return config, len(faces), faces.table["identity"].nunique(), attributes


def _shown(name: Hashable) -> str:
    return " ".join(map(str, name)) if isinstance(name, tuple) else str(name)


def _show_scoring(
    path: Path, plan: plans.Plan, missing: plans.Networks, core: throughput.Throughput
) -> None:
    """How long the networks take over the test faces; what judges them is not counted."""
    if plan.tested is None:
        return
    faces = len(plan.tested)
    scored = {name: plan.networks[name] for name in plan.networks if name in plan.needed}
    macs = sum(
        cost_model.forward(config) * (faces if name in missing else min(CHECKED, faces))
        for name, (config, _) in scored.items()
    )
    new = len(scored.keys() & missing.keys())
    console.print(
        f"scoring: {faces:,} faces by {new} new networks, {min(CHECKED, faces)} by the "
        f"{len(scored) - new} at hand: {clock(2 * macs / cost_model.FLOPS)} on one GPU, "
        f"{clock(core.seconds(macs))} of one core here, and {clock(judging(path, plan, missing))} "
        "of a core for dlib"
    )
