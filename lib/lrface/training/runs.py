"""Fit once, keep, reuse: a config has a key, a key has one folder, and the folder appears only when
it is complete."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import platform
import resource
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save as serialise
from torch import nn

from lrface import data, models
from lrface.data import FaceSet
from lrface.data.landmarks import landmarks
from lrface.errors import LrfaceError
from lrface.files import cache_dir, project_root, stores, write_atomic, write_text
from lrface.models.losses import Behind
from lrface.training import distributed, quantize
from lrface.training import loop as training
from lrface.training.config import Config, Trained, key, key_for

__all__ = [
    "Config",
    "Run",
    "Trained",
    "device",
    "environment",
    "fit",
    "kept",
    "key",
    "key_for",
    "listing",
    "release",
    "trained",
]

VALIDATION_FACES = 64


@dataclass(frozen=True)
class Run:
    """A finished training: a folder with ``config.json, model.safetensors, log.csv, record.json``."""

    folder: Path
    config: Config
    record: dict[str, Any]
    source: Literal["trained", "cached", "released"]

    def model(self) -> nn.Module:
        """The trained network in evaluation mode, on the CPU."""
        net = self.config.build(self.record.get("classes"))
        net.load_state_dict(quantize.unpacked(load_file(self.folder / "model.safetensors")))
        return net.eval().to(memory_format=torch.channels_last)

    @property
    def log(self) -> list[dict[str, float]]:
        """The learning curve: ``step, loss, lr, val_psnr``."""
        with open(self.folder / "log.csv", newline="") as file:
            return [{k: float(v) for k, v in row.items()} for row in csv.DictReader(file)]


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _open(folder: Path, source: Literal["cached", "released"]) -> Run | None:
    """The run in ``folder`` if it is whole: its weights match the sha256 in its record."""
    try:
        record = json.loads((folder / "record.json").read_text())
        # Strictness is for people; a stored config has been through JSON, which knows no tuples or
        # dataclasses.
        config = Config.model_validate_json((folder / "config.json").read_text())
        if _sha256(folder / "model.safetensors") == record["sha256"]:
            return Run(folder, config, record, source)
    except (
        OSError,
        ValueError,
        KeyError,
        SafetensorError,
        LrfaceError,
    ):  # the last: a method that is not registered now
        pass
    return None


def fit(config: Config, train: FaceSet | None = None, retrain: bool = False) -> Run:
    """The run of this config: released with the project, else from the cache, else trained now (and
    then cached).

    ``train`` is the training set if the caller holds it already; by default it is loaded from the
    config. ``retrain`` ignores released and cached runs but goes on with an unfinished one. A
    damaged run is set aside, with a warning, and trained again.
    """
    if not models.find(config.method).trainable:
        raise LrfaceError(
            f"{config.method} has nothing to train: use models.restorer({config.method!r}, scale)"
        )
    faces = (
        train
        if train is not None
        else data.load(config.data, "train", config.n_train, config.split_seed)
    )
    name = key_for(config, faces)
    run = None if retrain else distributed.by_first(lambda: _stored(name, config.label))
    return run or _train(config, faces, cache_dir("runs") / name, retrain)


def _stored(name: str, label: str) -> Run | None:
    for place, source in stores("checkpoints", "runs"):
        if (place / name).is_dir():
            if run := _open(place / name, source):
                return run
            print(f"{label}: the {source} run {name} is damaged and is left aside")
    return None


def _train(config: Config, faces: FaceSet, folder: Path, retrain: bool) -> Run:
    held_out = data.held_out(config.data, config.split_seed)
    data.check_leakage(faces.table, held_out, "training and held-out")
    work = folder.with_name(folder.name + ".training")
    with distributed.locked(folder.with_name(folder.name + ".lock"), config.label):
        if run := distributed.by_first(lambda: _ready(work, folder, retrain)):
            return run
        method = models.find(config.method)
        recognises = config.method in models.RECOGNISERS
        names, labels = faces.classes(method.labels) if recognises else ((), None)
        with torch.random.fork_rng():
            torch.manual_seed(config.seed)
            net = config.build(len(names))
            if config.init is not None:
                _take_over(net, _standing(config.init, faces, config.label), config.label)
            objective = (
                method.objectives[config.loss](net)
                if config.loss in method.objectives
                else training.Pixelwise(config.loss)
            )
            if config.front is not None:
                named = isinstance(config.front, str)
                scale = config.degradation.scale
                front = (
                    models.build(config.front, scale)
                    if named
                    else _standing(config.front, faces, config.label).model()
                )
                objective = Behind(front, objective)
        distributed.check_split(net, objective, config.batch, config.label)
        with distributed.first_first():
            points = (
                landmarks(faces)
                if method.needs_landmarks or getattr(objective, "landmarks", False)
                else None
            )
        started = datetime.now(UTC).isoformat(timespec="seconds")
        # A small folder may have nobody to validate on; its learning curve is then the loss alone.
        watched = method.restores and (held_out["split"] == "val").any()
        enough = min(VALIDATION_FACES, len(faces))
        validation = (
            data.load(config.data, "val", enough, config.split_seed).sized(faces.side)
            if watched
            else None
        )
        native = (faces.table["source"] != "hr").to_numpy() if "source" in faces.table else None
        fields = config.model_dump(
            include={"steps", "batch", "patch", "lr", "schedule", "precision", "seed"}
        )
        if method.fit_closed_form:
            net, log, facts = training.solve(
                net,
                method.fit_closed_form,
                faces,
                validation,
                config.degradation,
                config.batch,
                config.label,
            )
        else:
            net, log, facts = training.train(
                net,
                faces,
                validation,
                config.degradation,
                objective=objective,
                points=points,
                labels=labels,
                native=native,
                checkpoint=work / "last.pt",
                label=config.label,
                **fields,
            )
        if distributed.share()[0]:
            return distributed.by_first(lambda: None)
        weights = {name: w.detach().cpu().contiguous() for name, w in net.state_dict().items()}
        write_atomic(work / "model.safetensors", lambda path: path.write_bytes(serialise(weights)))
        write_text(work / "config.json", config.model_dump_json(indent=1))
        with open(work / "log.csv", "w", newline="") as file:
            writer = csv.DictWriter(file, log[0].keys())
            writer.writeheader()
            writer.writerows(log)
        record = {
            "key": folder.name,
            "method_version": models.find(config.method).version,
            "train_version": training.VERSION,
            "data": {
                "name": faces.name,
                "n": len(faces),
                "fingerprint": faces.fingerprint,
                "manifest": faces.manifest["sha256"],
            },
            **({"classes": len(names)} if recognises else {}),
            "parameters": sum(p.numel() for p in net.parameters()),
            "loss": log[-1]["loss"],
            "val_psnr": log[-1]["val_psnr"],
            **facts,
            "peak_memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
            "images_per_second": config.steps * config.batch / facts["seconds"],
            "started": started,
            "sha256": _sha256(work / "model.safetensors"),
            **environment(),
        }
        write_text(work / "record.json", json.dumps(record, indent=1))
        run = _promote(Run(work, config, record, "trained"), folder, "trained")
        return distributed.by_first(lambda: run)


def _ready(work: Path, folder: Path, retrain: bool) -> Run | None:
    """The run if it is there by now; else its working folder is."""
    if not retrain and (
        run := _open(folder, "cached")
    ):  # another process trained it while this one waited
        return run
    work.mkdir(parents=True, exist_ok=True)
    for part in work.glob(".*.part*"):
        part.unlink()
    if not retrain and (
        run := _open(work, "cached")
    ):  # killed between the last write and the rename
        return _promote(run, folder, "cached")
    return None


def _standing(given: Config | Trained, faces: FaceSet, label: str) -> Run:
    """The run that another starts from or stands behind: trained on the same faces, or on others
    and then already there."""
    if isinstance(given, Config):
        return fit(given, faces)
    run = kept(given.key)
    if run is None:
        raise LrfaceError(
            f"{label}: {given.config.label} ({given.key}), which it needs, is not there: train that first"
        )
    return run


def _take_over(net: nn.Module, run: Run, label: str) -> None:
    """Start ``net`` from the weights of ``run`` that have the same name and shape."""
    own, given = net.state_dict(), run.model().state_dict()
    shared = {name: w for name, w in given.items() if name in own and own[name].shape == w.shape}
    if not shared:
        raise LrfaceError(
            f"{label}: {run.config.label} has no weight in common with it to start from"
        )
    net.load_state_dict(own | shared)


def _promote(run: Run, folder: Path, source: Literal["trained", "cached"]) -> Run:
    """A complete working folder becomes the run's own; the last step, and a single rename."""
    if folder.exists():
        shutil.rmtree(folder)
    (run.folder / "last.pt").unlink(missing_ok=True)
    os.replace(run.folder, folder)
    return Run(folder, run.config, run.record, source)


def release(run: Run, folder: Path) -> Run:
    """Copy a run into ``folder`` (a ``checkpoints`` folder under ``results/``) with its weights in
    16 or 8 bits.

    What is released is what every later table is computed with, so a table must be made again after
    its runs were released.
    """
    target = folder / run.folder.name
    if target.is_dir() and (there := _open(target, "released")):
        return there
    packed = quantize.packed(load_file(run.folder / "model.safetensors"))
    write_atomic(target / "model.safetensors", lambda path: path.write_bytes(serialise(packed)))
    write_text(target / "config.json", (run.folder / "config.json").read_text())
    write_text(
        target / "log.csv",
        pd.read_csv(run.folder / "log.csv").to_csv(index=False, float_format="%.6g", na_rep="nan"),
    )
    record = {
        **run.record,
        "trained_sha256": run.record["sha256"],
        "sha256": _sha256(target / "model.safetensors"),
    }
    write_text(
        target / "record.json", json.dumps(record, indent=1)
    )  # last: without it the folder is no run
    return Run(target, run.config, record, "released")


def kept(key: str) -> Run | None:
    """The run of this key, released or cached, if there is one and it is whole."""
    for place, source in stores("checkpoints", "runs"):
        if (place / key).is_dir() and (run := _open(place / key, source)):
            return run
    return None


def listing(trained: Iterable[Run]) -> pd.DataFrame:
    """A row a run: what was trained, on what, how long, and the hash of what came out. The record
    of a table's numbers."""
    rows = [
        (
            run.record["key"],
            run.config.method,
            run.config.size,
            run.config.degradation.name,
            run.config.steps,
            run.record["parameters"],
            run.record["data"]["n"],
            run.record["data"]["fingerprint"],
            run.record["val_psnr"],
            round(run.record["seconds"]),
            run.record["images_per_second"],
            run.record["device"],
            run.record["sha256"],
        )
        for run in trained
    ]
    columns = "key method size setting steps parameters n_train train_fingerprint val_psnr seconds images_per_second device sha256"
    return pd.DataFrame(rows, columns=columns.split())


def trained(method: str, setting: str) -> Run:
    """The best-trained run at hand of a method in a setting: most steps, then most faces, then
    newest. For users' own photos."""
    wanted = (method, setting, models.method(method).version, training.VERSION)
    found = []
    for place, source in stores("checkpoints", "runs"):
        for file in place.glob("*/record.json"):
            run = _open(file.parent, source)
            if run is None:
                continue
            versions = (run.record["method_version"], run.record["train_version"])
            if (run.config.method, run.config.degradation.name, *versions) == wanted:
                found.append(run)
    if not found:
        raise LrfaceError(
            f"no trained {method} for {setting} is at hand: run `make reproduce DATA=... STUDY=01` once (it trains and keeps it), "
            "or choose --method bicubic"
        )
    # a network of a few smoke steps is no answer while a longer training is at hand
    return max(
        found,
        key=lambda run: (
            run.config.size == "paper",
            run.config.steps,
            run.record["data"]["n"],
            run.record["started"],
        ),
    )


def device() -> torch.device:
    """Where networks run: the GPU if there is one, unless LRFACE_DEVICE says otherwise."""
    return distributed.fabric("32-true").device


@lru_cache(maxsize=1)
def environment() -> dict[str, Any]:
    """Versions, machine and commit: what a number was computed with."""

    def git(*words: str) -> str:
        try:
            return subprocess.run(
                ["git", "-C", str(project_root()), *words],
                capture_output=True,
                text=True,
                check=True,
            ).stdout.strip()
        except (OSError, subprocess.CalledProcessError):
            return ""

    packages = ("lrface", "torch", "torchvision", "numpy", "pillow", "dlib-bin", "pandas")
    return {
        "versions": {"python": platform.python_version()}
        | {name: version(name) for name in packages},
        "platform": f"{platform.system()} {platform.machine()}",
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "commit": git("rev-parse", "HEAD"),
        "dirty": bool(git("status", "--porcelain", "--", "lib", "notebooks", "requirements.lock")),
    }
