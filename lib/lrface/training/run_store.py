"""Finished runs as folders: opened, found by key or by method, listed and released."""

from __future__ import annotations

import csv
import json
import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save as serialise
from torch import nn

from lrface import degrade, models
from lrface.errors import LrfaceError
from lrface.files import project_root, sha256, stores, write_atomic, write_text
from lrface.training import quantize
from lrface.training.config import LOOP_VERSION, Config


@dataclass(frozen=True)
class Run:
    """A finished training: a folder that holds its config, weights, log and record.

    Attributes
    ----------
    folder : Path
        With ``config.json``, ``model.safetensors``, ``log.csv`` and ``record.json``.
    config : Config
        What was trained.
    record : dict
        Key, versions, data, seconds, device, sha256 of the weights, ...
    source : {"trained", "cached", "released"}
        Where it was found.
    """

    folder: Path
    config: Config
    record: dict[str, Any]
    source: Literal["trained", "cached", "released"]

    def model(self) -> nn.Module:
        """The trained network.

        Returns
        -------
        Module
            In evaluation mode, on the CPU, in float32. A restorer maps float (N, 3, h, w) in
            [0, 1] to (N, 3, h * scale, w * scale), not clipped.

        Examples
        --------
        >>> import torch
        >>> net = best_run("SRCNN", "4x").model()
        >>> net(torch.zeros(1, 3, 8, 8)).shape
        torch.Size([1, 3, 32, 32])
        """
        net = self.config.build(self.record.get("classes"))
        net.load_state_dict(quantize.dequantize(load_file(self.folder / "model.safetensors")))
        return net.eval().to(memory_format=torch.channels_last)

    @property
    def log(self) -> list[dict[str, Any]]:
        """The learning curve: ``step, loss, lr, val_psnr``; of a training in stages also ``stage``,
        its name, and ``trivial``, the loss of having learnt nothing."""
        with open(self.folder / "log.csv", newline="") as file:
            rows = [*csv.DictReader(file)]
        return [{k: v if k == "stage" else float(v) for k, v in row.items()} for row in rows]


def open_run(folder: Path, source: Literal["cached", "released"]) -> Run | None:
    """The run in ``folder``, or None unless its weights have the sha256 of its record."""
    try:
        record = json.loads((folder / "record.json").read_text())
        # as JSON: a strict config takes no lists for tuples from Python objects
        config = Config.model_validate_json((folder / "config.json").read_text())
        if sha256(folder / "model.safetensors") == record["sha256"]:
            return Run(folder, config, record, source)
    except (OSError, ValueError, KeyError, SafetensorError, LrfaceError):
        pass  # an LrfaceError: its method is not registered in this process
    return None


def promote(run: Run, folder: Path, source: Literal["trained", "cached"]) -> Run:
    """Rename a complete working folder to the run's own: the last step of a training."""
    if folder.exists():
        shutil.rmtree(folder)
    for checkpoint in run.folder.glob("*.pt"):
        checkpoint.unlink()
    os.replace(run.folder, folder)
    return Run(folder, run.config, run.record, source)


def load_run(key: str) -> Run | None:
    """The run of a key, if it is at hand.

    Parameters
    ----------
    key : str
        16 hex digits (:func:`lrface.training.config.key`).

    Returns
    -------
    Run or None
        Released with the project, else from the cache; None if there is none or it is damaged.

    Examples
    --------
    >>> run = best_run("SRCNN", "4x")
    >>> load_run(run.record["key"]).config == run.config
    True
    >>> load_run("0" * 16) is None
    True
    """
    for place, source in stores("checkpoints", "runs"):
        if (place / key).is_dir() and (run := open_run(place / key, source)):
            return run
    return None


def listing(found: Iterable[Run]) -> pd.DataFrame:
    """The record of a table's networks: a row a run.

    Parameters
    ----------
    found : iterable of Run

    Returns
    -------
    DataFrame
        Columns: ``key, method, size, setting, steps, parameters, n_train`` (faces),
        ``train_fingerprint, val_psnr`` (dB), ``seconds, images_per_second, device`` and
        ``sha256`` of the weights.

    Examples
    --------
    >>> listing([best_run("SRCNN", "4x")])[["method", "setting", "parameters"]]
      method setting  parameters
    0  SRCNN      4x        9539
    """
    rows = [
        {
            "key": run.record["key"],
            "method": run.config.method,
            "size": run.config.size,
            "setting": run.config.degradation.name,
            "steps": run.config.steps,
            "parameters": run.record["parameters"],
            "n_train": run.record["data"]["n"],
            "train_fingerprint": run.record["data"]["fingerprint"],
            "val_psnr": run.record["val_psnr"],
            "seconds": round(run.record["seconds"]),
            "images_per_second": run.record["images_per_second"],
            "device": run.record["device"],
            "sha256": run.record["sha256"],
        }
        for run in found
    ]
    columns = "key method size setting steps parameters n_train train_fingerprint val_psnr seconds"
    return pd.DataFrame(rows, columns=[*columns.split(), "images_per_second", "device", "sha256"])


def best_run(method: str, setting: str, data: str | None = None) -> Run:
    """The best-trained run at hand of a method, for photographs or faces of your own.

    Paper size comes first, then most steps, most training faces, newest.

    Parameters
    ----------
    method : str
        A method (:func:`lrface.models.find`).
    setting : str
        The degradation's name, as ``4x_BD``; of recognisers of whole faces ``HR``.
    data : str, optional
        The face set that it was trained on; any by default.

    Returns
    -------
    Run
        Of the method's present version.

    Raises
    ------
    LrfaceError
        If none is at hand, with the way to get one.

    Examples
    --------
    >>> best_run("EDSR", "8x").config.label
    'EDSR-small 8x on synthetic'
    """
    asked = (method, setting, models.find(method).version, LOOP_VERSION)
    found = []
    for place, source in stores("checkpoints", "runs"):
        for file in place.glob("*/record.json"):
            if (run := open_run(file.parent, source)) is None:
                continue
            versions = (run.record["method_version"], run.record["train_version"])
            right = data in (None, run.config.data)
            if right and (run.config.method, run.config.degradation.name, *versions) == asked:
                found.append(run)
    if not found:
        raise LrfaceError(_no_run(method, setting, data))

    def training(run: Run) -> tuple:
        n, started = run.record["data"]["n"], run.record["started"]
        return run.config.size == "paper", run.config.steps, n, started

    return max(found, key=training)


def _no_run(method: str, setting: str, data: str | None) -> str:
    """That there is no such run, and the way to get one."""
    chosen = models.find(method)
    scales = [scale for scale in chosen.scales if scale != 3]
    what = f"no trained {method} for {setting}" + (f" on {data}" if data else "")
    if method in models.RECOGNISERS:
        return f"{what} is at hand: the study that trains it does so once, and keeps it"
    by_scale = setting[0].isdigit() and setting.lstrip("0123456789").startswith("x")
    if by_scale and not any(setting.startswith(f"{scale}x") for scale in chosen.scales):
        works = ", ".join(f"{scale}x" for scale in scales)
        return f"{method} does not work at {setting.partition('_')[0]}: choose --scale for {works}"
    study = "06" if method in models.VIDEO else "07" if chosen.stages else "01"
    named = setting in degrade.SETTINGS | degrade.CBN_SETTINGS
    there = any((project_root() / "notebooks").glob(f"{study}_*.ipynb"))
    if not (named and there and (method in models.VIDEO or chosen.recipe or chosen.own)):
        return (
            f"{what} is at hand, and no study trains it: train one with runs.fit, or choose another"
        )
    advice = f"run `make reproduce DATA=... STUDY={study}` once (it trains and keeps it)"
    return f"{what} is at hand: {advice}, or choose --method bicubic"


def release(run: Run, folder: Path) -> Run:
    """Copy a run into a ``checkpoints`` folder of ``results/``, its weights in 16 or 8 bits.

    Later tables are computed with what is released, so a table must be made again after its runs
    were released.
    """
    target = folder / run.folder.name
    if target.is_dir() and (there := open_run(target, "released")):
        return there
    weights = quantize.quantize(load_file(run.folder / "model.safetensors"))
    write_atomic(target / "model.safetensors", lambda path: path.write_bytes(serialise(weights)))
    write_text(target / "config.json", (run.folder / "config.json").read_text())
    log = pd.read_csv(run.folder / "log.csv")
    write_text(target / "log.csv", log.to_csv(index=False, float_format="%.6g", na_rep="nan"))
    hashes = {"trained_sha256": run.record["sha256"]}
    hashes["sha256"] = sha256(target / "model.safetensors")
    record = run.record | hashes
    # last: without a record the folder is no run
    write_text(target / "record.json", json.dumps(record, indent=1))
    return Run(target, run.config, record, "released")
