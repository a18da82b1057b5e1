"""One training as a run: found by its key, else trained; its folder appears when it is complete."""

from __future__ import annotations

import csv
import json
import platform
import resource
import subprocess
from datetime import UTC, datetime
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from safetensors.torch import save as serialise
from torch import nn

from lrface import data, models, numerics
from lrface.data import ClipSet, FaceSet, TrainingSet, WindowSet
from lrface.data.clips import FRAMES
from lrface.data.eye_distance import at_eye_distance
from lrface.data.landmarks import landmarks
from lrface.errors import LrfaceError, UsageError
from lrface.files import cache_dir, project_root, sha256, stores, write_atomic, write_text
from lrface.models.detection import cascade, faceness
from lrface.models.losses import WithPreprocessor
from lrface.models.objective import Objective
from lrface.training import distributed, loop, mining, stages
from lrface.training.batches import TrainingData
from lrface.training.config import LOOP_VERSION, Config, RunRef, key, key_for
from lrface.training.hyperparameters import Hyperparameters
from lrface.training.run_store import Run, best_run, listing, load_run, open_run, promote, release

__all__ = [
    "Config",
    "Run",
    "RunRef",
    "best_run",
    "device",
    "environment",
    "fit",
    "key",
    "key_for",
    "listing",
    "load_run",
    "release",
]

VALIDATION_FACES = 64


def fit(config: Config, train: TrainingSet | None = None, retrain: bool = False) -> Run:
    """The run of a config: trained once, then reused.

    It is looked for among the released runs, then in the cache; else it is trained now, and cached.
    A training that was interrupted goes on from its last checkpoint, to the same weights. A damaged
    run is left aside, with a message, and trained again.

    Parameters
    ----------
    config : Config
        What to train.
    train : FaceSet, ClipSet or WindowSet, optional
        The training faces, clips or windows, if they are loaded already; the config's by default.
    retrain : bool
        Ignore released and cached runs.

    Returns
    -------
    Run
        Its ``source`` says ``trained``, ``cached`` or ``released``.

    Raises
    ------
    LrfaceError
        If there is nothing to train (bicubic), training and held-out faces share people or
        pictures, a run that it needs is not at hand, a step does not fit in a GPU's memory, or
        several processes cannot share it.
    Diverged
        If the loss is not finite.

    Examples
    --------
    >>> from lrface import data, degrade
    >>> from lrface.training import recipes
    >>> config = recipes.config("SRCNN", degrade.setting("4x"), "synthetic", "quick")
    >>> run = fit(config, data.load("synthetic", "train"))
    >>> run.source, run.record["parameters"]
    ('released', 9539)
    """
    if not models.find(config.method).trainable:
        advice = f"use models.restorer({config.method!r}, scale)"
        raise LrfaceError(f"{config.method} has nothing to train: {advice}")
    faces = train
    if faces is None:
        faces = training_faces(config)
    elif config.degradation.eye_distance is not None and "magnified" not in faces.table:
        what = f"faces of {config.degradation.eye_distance:g} pixels between the eyes"
        advice = "bring them there with lrface.data.eye_distance.at_eye_distance"
        raise UsageError(f"{config.label} learns from {what}: {advice}")
    name = key_for(config, faces)
    run = None
    if not retrain:
        run = distributed.broadcast_from_rank0(lambda: _stored(name, config.label))
    return run or _train(config, faces, cache_dir("runs") / name, retrain)


def training_faces(config: Config) -> TrainingSet:
    """The training faces, clips or windows that a config names."""
    if config.method == faceness.NAME:
        return data.load_part_windows(config.data, "train", config.n_train, config.split_seed)
    if config.method in models.DETECTORS:
        part = cascade.PARTS[config.method]
        if part.stage == 1:
            how = config.n_train, config.split_seed
            return data.load_windows(config.data, part.range.name, "train", *how)
        if not isinstance(config.init, RunRef):
            what = "learns from what a first stage proposes"
            raise LrfaceError(f"{config.label} {what}: name that run (RunRef) as init")
        return mining.mined(config.init, "train", config.n_train, config.split_seed)
    where = config.data, "train", config.n_train, config.split_seed
    if config.frames is None:
        return _brought(data.load(*where), config)
    return data.load_clips(*where, frames=FRAMES if config.frames == 1 else config.frames)


def _brought(faces: FaceSet, config: Config) -> FaceSet:
    """At the setting's distance between the eyes, if it names one."""
    setting = config.degradation
    if setting.eye_distance is None:
        return faces
    return at_eye_distance(faces, setting.eye_distance, setting.window).faces


def _stored(name: str, label: str) -> Run | None:
    for place, source in stores("checkpoints", "runs"):
        if (place / name).is_dir():
            if run := open_run(place / name, source):
                return run
            print(f"{label}: the {source} run {name} is damaged and is left aside")
    return None


def _train(config: Config, faces: TrainingSet, folder: Path, retrain: bool) -> Run:
    held_out = data.held_out(config.data, config.split_seed)
    data.check_leakage(faces.table, held_out, "training and held-out")
    work = folder.with_name(folder.name + ".training")
    with distributed.locked(folder.with_name(folder.name + ".lock"), config.label):
        if run := distributed.broadcast_from_rank0(lambda: _ready(work, folder, retrain)):
            return run
        net, objective, labels, classes = _build(config, faces)
        distributed.check_split(net, objective, config.batch, config.label)
        training_data = _training_data(config, faces, objective, labels)
        validation = _validation(config, faces, held_out)
        started = datetime.now(UTC).isoformat(timespec="seconds")
        fit_closed_form = models.find(config.method).fit_closed_form
        if fit_closed_form:
            how = dict(batch=config.batch, label=config.label, validation=validation)
            net, log, facts = loop.fit_closed_form(net, fit_closed_form, training_data, **how)
        else:
            names = {"steps", "batch", "patch", "lr", "schedule", "precision", "seed"}
            hyper = Hyperparameters(**config.model_dump(include=names))
            how = dict(label=config.label, validation=validation)
            if in_stages := models.find(config.method).stages:
                parts = in_stages(net, config.loss, config.patch)
                how |= dict(folder=work)
                net, log, facts = stages.train(net, training_data, parts, hyper, **how)
            else:
                how |= dict(checkpoint=work / "last.pt")
                net, log, facts = loop.train(net, training_data, objective, hyper, **how)
        if distributed.rank_and_world_size()[0]:
            return distributed.broadcast_from_rank0(lambda: None)
        facts |= {"classes": classes} if config.method in models.RECOGNISERS else {}
        run = _finish(config, faces, net, log, facts | {"started": started}, work, folder)
        return distributed.broadcast_from_rank0(lambda: run)


def _build(
    config: Config, faces: TrainingSet
) -> tuple[nn.Module, Objective, np.ndarray | None, int]:
    """The network as training begins, its objective, the faces' labels, the number of classes."""
    method = models.find(config.method)
    names, labels = (), None
    if config.method in models.RECOGNISERS:
        names, labels = faces.classes(method.labels)
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        net = config.build(len(names))
        if config.init is not None:
            init_from(net, parent_run(config.init, faces, config.label), config.label)
        objective = config.objective(net)
        if isinstance(config.preprocessor, str):
            before = models.build(config.preprocessor, config.degradation.scale)
            objective = WithPreprocessor(before, objective)
        elif config.preprocessor is not None:
            before = parent_run(config.preprocessor, faces, config.label).model()
            objective = WithPreprocessor(before, objective)
    return net, objective, labels, len(names)


def _training_data(
    config: Config, faces: TrainingSet, objective: Objective, labels: np.ndarray | None
) -> TrainingData:
    points = native = None
    clips = isinstance(faces, ClipSet)
    with distributed.rank0_first():
        if models.find(config.method).needs_landmarks or objective.needs_landmarks:
            points = faces.landmarks if clips else landmarks(faces)
    if clips:
        mirrors = objective.mirrors_landmarks
        return TrainingData(
            faces, config.degradation, points, frames=config.frames, mirrors_landmarks=mirrors
        )
    if isinstance(faces, WindowSet):
        mirrored = faces.mirrored_labels
        how = dict(labels=faces.labels, mirrored_labels=mirrored)
        return TrainingData(faces, config.degradation, **how)
    if "source" in faces.table:
        native = (faces.table["source"] != "hr").to_numpy()
    return TrainingData(faces, config.degradation, points, labels, native)


def _validation(config: Config, faces: TrainingSet, held_out: pd.DataFrame) -> TrainingSet | None:
    """A few faces for the learning curve of a restorer. A small folder may have nobody for it."""
    if not models.find(config.method).restores or not (held_out["split"] == "val").any():
        return None
    enough = min(VALIDATION_FACES, len(faces))
    if config.frames is not None:
        return data.load_clips(config.data, "val", enough, config.split_seed, config.frames)
    found = data.load(config.data, "val", enough, config.split_seed)
    if "magnified" in faces.table:
        return _brought(found, config)
    return found.sized(faces.side)


def _finish(
    config: Config,
    faces: TrainingSet,
    net: nn.Module,
    log: list[dict[str, float]],
    facts: dict[str, Any],
    work: Path,
    folder: Path,
) -> Run:
    """Write a trained network and its record, and give the folder its name."""
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
        "train_version": LOOP_VERSION,
        "data": {
            "name": faces.name,
            "n": len(faces),
            "fingerprint": faces.fingerprint,
            "manifest": faces.manifest["sha256"],
        },
        "parameters": sum(p.numel() for p in net.parameters()),
        "loss": log[-1]["loss"],
        "val_psnr": log[-1]["val_psnr"],
        **facts,
        "peak_memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "images_per_second": config.steps * config.batch / facts["seconds"],
        "sha256": sha256(work / "model.safetensors"),
        **environment(),
        **(numerics.record() if device().type == "cuda" else {}),
    }
    write_text(work / "record.json", json.dumps(record, indent=1))
    return promote(Run(work, config, record, "trained"), folder, "trained")


def _ready(work: Path, folder: Path, retrain: bool) -> Run | None:
    """The run if it is there by now; else its working folder is made."""
    if not retrain and (run := open_run(folder, "cached")):
        return run  # another process trained it while this one waited
    work.mkdir(parents=True, exist_ok=True)
    for part in work.glob(".*.part*"):
        part.unlink()
    if not retrain and (run := open_run(work, "cached")):
        return promote(run, folder, "cached")  # killed between the last write and the rename
    return None


def parent_run(parent: Config | RunRef, faces: TrainingSet, label: str) -> Run:
    """The run that another is initialised from or has as its preprocessor.

    A config is trained on the same faces, here if need be. A reference is to a run on other faces,
    which must be at hand.
    """
    if isinstance(parent, Config):
        return fit(parent, faces)
    run = load_run(parent.key)
    if run is None:
        what = f"{parent.config.label} ({parent.key}), which it needs, is not there"
        raise LrfaceError(f"{label}: {what}: train that first")
    return run


def init_from(net: nn.Module, run: Run, label: str) -> None:
    """Initialise ``net`` with the weights of ``run`` that have the same name and shape."""
    own, given = net.state_dict(), run.model().state_dict()
    shared = {name: w for name, w in given.items() if name in own and own[name].shape == w.shape}
    if not shared:
        what = f"{run.config.label} has no weight in common with it"
        raise LrfaceError(f"{label}: {what} to start from")
    net.load_state_dict(own | shared)


def device() -> torch.device:
    """Where networks run: the GPU if there is one that can be used, unless LRFACE_DEVICE says
    otherwise."""
    return distributed.fabric().device


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
