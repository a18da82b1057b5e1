"""What decides what a trained network is, and the key under which it is stored."""

from __future__ import annotations

import hashlib
import json
from typing import Any, Literal, Self

from pydantic import (
    AliasChoices,
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
    model_validator,
)
from torch import nn

from lrface import data, models
from lrface.data import TrainingSet
from lrface.degrade import Degradation
from lrface.models.losses import PIXEL, Pixelwise
from lrface.models.objective import Objective

LOOP_VERSION = 1
"""Raised when the meaning of the training loop changes: it is part of every run's key."""


class Config(BaseModel):
    """Everything that decides what a trained network is.

    Unknown or wrongly typed fields are refused.

    Parameters
    ----------
    method : str
        A restoration or recognition method, or a network of a detector
        (:func:`lrface.models.find`).
    degradation : Degradation
        How faces are made small (:func:`lrface.degrade.setting`); its scale is the network's.
    data : str
        The face set whose training split it learns from (:func:`lrface.data.load`); of a
        detector's network the set of scenes (:func:`lrface.data.load_scenes`).
    size : {"small", "narrow", "paper", "large"}
        The network's size (:func:`lrface.models.restorer`).
    n_train : int, optional
        At most this many training faces, or scenes; all by default.
    steps : int
        Optimiser steps, at least 1.
    batch : int
        Faces a step, at least 1.
    patch : int, optional
        Side of the training patches in HR pixels, at least 8; whole faces by default.
    lr : float
        Adam's learning rate, above 0.
    schedule : str
        The learning rate's course (:func:`lrface.training.hyperparameters.learning_rate`).
    loss : str
        ``l1`` or ``mse`` between the pictures, for a restorer, or one of the method's own
        objectives (``paper``, ...).
    precision : {"32-true", "bf16-autocast"}
        Of the training: all in float32, or the network's forward and backward pass by bfloat16
        autocast (:func:`lrface.numerics.autocast_in_training`) where the device is faster in it
        (:func:`lrface.numerics.bf16_is_fast`); float32 elsewhere, as the record then says.
    seed : int
        Of the initial weights and of the batches.
    split_seed : int
        Of the division of people into training, validation and test.
    init : Config or RunRef, optional
        A run to initialise from: its weights are taken wherever name and shape agree. A config is
        one trained on the same faces, a reference names the faces.
    preprocessor : Config, RunRef or "bicubic", optional
        For a recogniser that restores nothing itself: what stands, frozen, before it in training.
        It learns from the degraded face, restored by this run or by bicubic interpolation; by
        default from the true face. The run's model is the recogniser alone. Stored JSON calls this
        field ``front``.
    frames : int, optional
        Learn from clips of so many frames (:func:`lrface.data.load_clips`) in random order. 1: a
        restorer of faces learns from single frames of the clips. By default it learns from faces.

    Raises
    ------
    pydantic.ValidationError
        For a field that is unknown or of the wrong type, a loss that the method does not have, or
        a preprocessor that does not fit.

    Examples
    --------
    >>> from lrface import degrade
    >>> setting = degrade.setting("4x")
    >>> config = Config(method="EDSR", degradation=setting, data="synthetic", steps=100)
    >>> config.label
    'EDSR-small 4x on synthetic'
    >>> config.model_copy(update={"seed": 1}) == config
    False
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, serialize_by_alias=True)

    method: str
    degradation: Degradation
    data: str
    size: Literal["small", "narrow", "paper", "large"] = "small"
    n_train: int | None = Field(None, ge=1)
    steps: int = Field(ge=1)
    batch: int = Field(16, ge=1)
    patch: int | None = Field(None, ge=8)
    lr: float = Field(1e-4, gt=0)
    schedule: Literal[
        "cosine", "annealed", "constant", "halve", "halve-once", "halve-early", "tail", "drops"
    ] = "cosine"
    loss: str = "l1"
    precision: Literal["32-true", "bf16-autocast"] = "32-true"
    seed: int = Field(0, ge=0)
    split_seed: int = Field(0, ge=0)
    init: Config | RunRef | None = None
    preprocessor: Config | RunRef | Literal["bicubic"] | None = Field(
        None,
        validation_alias=AliasChoices("preprocessor", "front"),
        serialization_alias="front",
    )
    frames: int | None = Field(None, ge=1)

    @model_serializer(mode="wrap")
    def _without_unused(self, fields: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # fields that came later are stored only where they are used
        found = fields(self)
        if "degradation" in found:
            used = vars(self.degradation)
            found["degradation"] = {k: v for k, v in found["degradation"].items() if k in used}
        return {k: v for k, v in found.items() if k != "frames" or v is not None}

    @field_validator("data")
    @classmethod
    def _absolute(cls, name: str) -> str:
        return data.absolute(name)

    @model_validator(mode="after")
    def _fields_agree(self) -> Self:
        method = models.find(self.method)
        restorer = self.method not in models.RECOGNISERS | models.DETECTORS
        losses = [*(PIXEL if restorer else []), *method.objectives]
        if self.loss not in losses:
            advice = f"choose one of {', '.join(losses)}"
            raise ValueError(f"{self.method} has no loss {self.loss!r}: {advice}")
        if self.size not in method.sizes:
            advice = f"choose one of {', '.join(method.sizes)}"
            raise ValueError(f"{self.method} has no size {self.size!r}: {advice}")
        if self.method in models.VIDEO and self.frames is None:
            raise ValueError(f"{self.method} restores clips: say how many frames it learns from")
        if self.method not in models.VIDEO and self.frames not in (None, 1):
            what = f"{self.method} restores single faces: it learns from clips"
            raise ValueError(f"{what} with frames 1, not {self.frames}")
        if self.method in models.DETECTORS and (self.patch or self.degradation.scale > 1):
            what = f"{self.method} learns from whole windows as they are"
            raise ValueError(f"{what}: leave patch out, and give the degradation degrade.HR")
        if self.preprocessor is not None and method.restores:
            why = "a preprocessor is for a recogniser that does not"
            raise ValueError(f"{self.method} restores faces itself: {why}")
        before, scale = self.preprocessor, self.degradation.scale
        before = before.config if isinstance(before, RunRef) else before
        if isinstance(before, Config):
            restores = models.find(before.method).restores and before.degradation.scale == scale
            if not restores:
                what = f"the preprocessor of {self.method} must restore at {scale}x"
                raise ValueError(f"{what}: {before.label} does not")
        return self

    @property
    def parents(self) -> tuple[Config | RunRef, ...]:
        """The runs that this one is initialised from or has as its preprocessor."""
        both = (self.init, self.preprocessor)
        return tuple(one for one in both if isinstance(one, Config | RunRef))

    def build(self, classes: int | None = None) -> nn.Module:
        """The untrained network; a recogniser has ``classes`` training identities or attributes."""
        return models.build(self.method, self.degradation.scale, self.size, classes)

    def objective(self, net: nn.Module) -> Objective:
        """What the network is trained for, on the faces that a preprocessor gives, if any."""
        own = models.find(self.method).objectives
        return own[self.loss](net) if self.loss in own else Pixelwise(self.loss)

    @property
    def label(self) -> str:
        """A short name for messages."""
        return f"{self.method}-{self.size} {self.degradation.name} on {self.data}"


class RunRef(BaseModel):
    """A reference to a run that was trained on other faces than the run that refers to it."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, serialize_by_alias=True)

    config: Config
    faces: str
    """Their fingerprint (:attr:`lrface.data.FaceSet.fingerprint`)."""

    @property
    def key(self) -> str:
        """The key of the run."""
        return key(self.config, self.faces)


def key(config: Config, fingerprint: str) -> str:
    """The key of a run: 16 hex digits over all that decides its weights.

    That is the config, the fingerprint of the training faces, and the versions of the method and of
    the loop; of a user's own method, and of a subclass of Degradation, also its behaviour. Module
    paths are no part of it, and a renamed field counts under its first name, so released runs keep
    their keys.
    """
    # A field that came later counts only where it is used: older runs keep their keys.
    fields = config.model_dump(mode="json", exclude={"init", "preprocessor"})
    chosen, degradation = models.find(config.method), config.degradation
    for name, parent in (("init", config.init), ("front", config.preprocessor)):
        if isinstance(parent, str):
            fields[name] = parent
        elif isinstance(parent, RunRef):
            fields[name] = parent.key
        elif parent is not None:
            fields[name] = key(parent, fingerprint)
    facts = {
        "config": fields,
        "data": fingerprint,
        "method_version": chosen.version,
        "train_version": LOOP_VERSION,
    }
    # of what is not the library's the code counts by its behaviour
    if chosen.own:
        facts["code"] = models.behaviour(config.method, degradation.scale, config.size, config.loss)
    if degradation.code:
        facts["degradation_code"] = degradation.code
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


def key_for(config: Config, faces: TrainingSet) -> str:
    """The :func:`key` of this config trained on these faces, clips or windows."""
    attributes = models.find(config.method).labels == "attributes"
    return key(config, faces.attributes_fingerprint if attributes else faces.fingerprint)
