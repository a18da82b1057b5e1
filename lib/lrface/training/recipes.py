"""The training of a restoration method at a preset: its own recipe under the preset's budget.

========= ============================================================================
``smoke``  the quick recipe cut down: at most 4 steps of 2 faces, patches of 32 pixels
``quick``  the method's own numbers, along a cosine; twice the steps at 8x for patches
``gpu``    2,000 steps of 16 whole faces with the paper's schedule and learning rate
``paper``  EDFace-Celeb-1M, section 4.2: 20 epochs at 1e-4, alike for all methods;
           restorers of clips as VidFace prints it
========= ============================================================================
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal, get_args

import pandas as pd

from lrface import models
from lrface.data.clips import FRAMES
from lrface.degrade import Degradation
from lrface.errors import UsageError
from lrface.models import Recipe
from lrface.training.config import Config

Preset = Literal["smoke", "quick", "gpu", "paper"]
SIZES = {"smoke": "small", "quick": "small", "gpu": "paper", "paper": "paper"}
"""The size of the networks at each preset."""
EPOCHS = 20
"""Passes over the training faces at ``paper``."""


def recipe(method: str) -> Recipe:
    """The method's own recipe; a method without one is trained as EDSR is."""
    return models.method(method).recipe or models.method("EDSR").recipe


def config(
    method: str,
    degradation: Degradation,
    data: str,
    preset: Preset,
    *,
    n_train: int | None = None,
    n_faces: int | None = None,
    size: str | None = None,
    seed: int = 0,
    **changes: Any,
) -> Config:
    """The training of a restoration method at a preset.

    Parameters
    ----------
    method : str
        A restoration method (:func:`lrface.models.method`) that is trained.
    degradation : Degradation
        The setting it restores.
    data : str
        The data set whose training split it is trained on.
    preset : {"smoke", "quick", "gpu", "paper"}
        The budget.
    n_train : int, optional
        At most this many training faces; all by default.
    n_faces : int, optional
        The training faces there are; ``paper`` counts its epochs by them.
    size : {"small", "narrow", "paper"}, optional
        The network's size; the preset's by default.
    seed : int
        The seed of the weights and of the batches.
    **changes
        Fields of :class:`lrface.training.config.Config` that replace the recipe's.

    Returns
    -------
    Config
        A method that starts from another's network (DICGAN) has that method's config, at the same
        preset, as ``init``.

    Raises
    ------
    UsageError
        For an unknown method or preset, or for ``paper`` without ``n_faces`` or ``steps``.

    Examples
    --------
    >>> from lrface import degrade
    >>> rcan = config("RCAN", degrade.setting("8x"), "synthetic", "quick")
    >>> rcan.steps, rcan.batch, rcan.patch, rcan.schedule
    (3600, 16, 64, 'cosine')
    >>> config("RCAN", degrade.setting("8x"), "synthetic", "quick", steps=10).steps
    10
    """
    start = recipe(method).start
    common = {
        "degradation": degradation,
        "data": data,
        "n_train": n_train,
        "size": size or _size(method, preset),
        "seed": seed,
    }
    if start is not None and "init" not in changes:
        changes["init"] = config(start, preset=preset, n_faces=n_faces, **common)
    numbers = _numbers(method, preset, degradation.scale, common["size"]) | changes
    if preset == "paper" and "steps" not in numbers:
        if n_faces is None:
            raise UsageError("the preset paper counts epochs: give n_faces, the training faces")
        numbers["steps"] = EPOCHS * n_faces // numbers["batch"]
    if method in models.VIDEO:
        numbers = {"frames": FRAMES} | numbers
    return Config(method=method, **common, **numbers)


def table(methods: Iterable[str], preset: Preset, size: str | None = None) -> pd.DataFrame:
    """What :func:`config` gives each method at a preset, for readers: a row a method.

    Parameters
    ----------
    methods : iterable of str
        Restoration methods; those that are not trained (bicubic) are left out.
    preset : {"smoke", "quick", "gpu", "paper"}
        The budget.
    size : {"small", "narrow", "paper"}, optional
        The networks' size; the preset's by default.

    Returns
    -------
    DataFrame
        Indexed by method: ``steps``, ``faces a step``, ``patch`` in HR pixels, ``learning rate``,
        ``loss``, ``schedule``, ``starts from``, and ``source``, the paper's own schedule.

    Examples
    --------
    >>> table(["bicubic", "EDSR", "DICGAN"], "quick")["steps"].to_dict()
    {'EDSR': '1,800 (3,600 at 8x)', 'DICGAN': '200'}
    """
    columns = ["steps", "faces a step", "patch", "learning rate", "loss", "schedule"]
    columns += ["starts from", "source"]
    rows = {}
    for method in methods:
        if models.method(method).trainable:
            chosen = size or _size(method, preset)
            numbers, own = _numbers(method, preset, 4, chosen), recipe(method)
            rows[method] = [
                _steps(method, preset, chosen),
                numbers["batch"],
                numbers["patch"] or "whole",
                numbers["lr"],
                numbers["loss"],
                numbers["schedule"],
                own.start or "",
                own.source,
            ]
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns).rename_axis("method")


def _size(method: str, preset: Preset) -> str:
    size = SIZES[_checked(preset)]
    return size if size in models.find(method).sizes else models.find(method).sizes[0]


def _checked(preset: str) -> Preset:
    if preset not in get_args(Preset):
        raise UsageError(f"unknown preset {preset!r}: choose one of {', '.join(get_args(Preset))}")
    return preset


def _numbers(method: str, preset: Preset, scale: int, size: str) -> dict[str, Any]:
    """The config's fields that recipe and preset decide; at ``paper`` without the steps."""
    own, closed_form = recipe(method), models.method(method).fit_closed_form is not None
    _checked(preset)
    quick = {
        "steps": own.steps,
        "batch": own.batch,
        "patch": own.patch,
        "lr": own.lr,
        "loss": own.loss,
    }
    if size == "narrow":
        quick |= own.narrow
    if preset == "smoke":
        fewer = {"steps": min(own.steps, 4), "batch": 2, "patch": own.patch and 32}
        return quick | fewer | {"schedule": "cosine"}
    if preset == "quick":
        # at 8x a patch of 64 pixels is 8x8 at the input: a step is cheap and teaches little
        twice = scale == 8 and own.patch is not None
        return quick | {"steps": quick["steps"] * (2 if twice else 1), "schedule": "cosine"}
    if closed_form:
        return quick | {"schedule": own.schedule}
    whole_faces = quick | {"batch": 16, "patch": None}
    if preset == "paper" and own.paper_steps:
        as_printed = {"steps": own.paper_steps, "lr": own.paper_lr, "schedule": own.schedule}
        return whole_faces | as_printed
    if preset == "gpu":
        return whole_faces | {"steps": 2000, "lr": own.paper_lr, "schedule": own.schedule}
    del whole_faces["steps"]
    own_loss = {"loss": own.paper_loss} if own.paper_loss else {}
    return whole_faces | {"lr": 1e-4, "schedule": "constant"} | own_loss


def _steps(method: str, preset: Preset, size: str) -> str:
    """The steps in words: they depend on the scale at ``quick`` and on the faces at ``paper``."""
    if models.method(method).fit_closed_form is not None:
        return "one pass"
    steps = {scale: _numbers(method, preset, scale, size).get("steps") for scale in (4, 8)}
    if steps[4] is None:
        return f"{EPOCHS} epochs"
    return f"{steps[4]:,}" + (f" ({steps[8]:,} at 8x)" if steps[4] != steps[8] else "")
