"""What decides what a trained network is, and the key under which it is kept."""

from __future__ import annotations

import hashlib
import json
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import nn

from lrface import models
from lrface.data import FaceSet
from lrface.degrade import Degradation
from lrface.training import loop as training


class Config(BaseModel):
    """Everything that decides what a trained restorer or recogniser is. Unknown or wrongly typed
    fields are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    method: str
    degradation: Degradation
    data: str
    """Data set the training split is taken from."""
    size: Literal["small", "paper"] = "small"
    n_train: int | None = Field(None, ge=1)
    """At most this many training faces (None: all)."""
    steps: int = Field(ge=1)
    batch: int = Field(16, ge=1)
    patch: int | None = Field(None, ge=8)
    """Side of the training cut in HR pixels (None: whole faces)."""
    lr: float = Field(1e-4, gt=0)
    schedule: Literal[
        "cosine", "constant", "halve", "halve-once", "halve-early", "tail", "drops"
    ] = "cosine"
    loss: str = "l1"
    """``l1`` or ``mse`` between the pictures, or one of the method's own objectives (``paper``,
    ...)."""
    precision: Literal["32-true", "bf16-mixed"] = "32-true"
    seed: int = Field(0, ge=0)
    split_seed: int = Field(0, ge=0)
    init: Config | Trained | None = None
    """A run to start from: its weights are taken over wherever name and shape agree."""
    front: Config | Trained | Literal["bicubic"] | None = None
    """What stands, frozen, before a recogniser that restores nothing itself: it learns from the
    degraded face, restored by this run or by bicubic interpolation (None: from the true face). The
    run's model is the recogniser alone."""

    @model_validator(mode="after")
    def _fields_agree(self) -> Self:
        known = [
            *([] if self.method in models.RECOGNISERS else training.PIXEL),
            *models.find(self.method).objectives,
        ]
        if self.loss not in known:
            raise ValueError(
                f"{self.method} has no loss {self.loss!r}: choose one of {', '.join(known)}"
            )
        front, scale = self.front, self.degradation.scale
        if front is not None and models.find(self.method).restores:
            raise ValueError(
                f"{self.method} restores faces itself: a front is for a recogniser that does not"
            )
        before = front.config if isinstance(front, Trained) else front
        if isinstance(before, Config) and (
            not models.find(before.method).restores or before.degradation.scale != scale
        ):
            raise ValueError(
                f"the front of {self.method} must restore at {scale}x: {before.label} does not"
            )
        return self

    @property
    def before(self) -> tuple[Config, ...]:
        """The networks that are trained before this one, on the same faces."""
        return tuple(one for one in (self.init, self.front) if isinstance(one, Config))

    def build(self, classes: int | None = None) -> nn.Module:
        """Its untrained network; ``classes`` is the number of training identities, for a
        recogniser."""
        return models.build(self.method, self.degradation.scale, self.size, classes)

    @property
    def label(self) -> str:
        """A short name for progress lines."""
        return f"{self.method}-{self.size} {self.degradation.name} on {self.data}"


class Trained(BaseModel):
    """A config and the faces it was trained on, where these are others than those of the network
    that starts from it."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    config: Config
    faces: str
    """Their fingerprint (:attr:`lrface.data.FaceSet.fingerprint`)."""

    @property
    def key(self) -> str:
        return key(self.config, self.faces)


def key(config: Config, fingerprint: str) -> str:
    """16 hex digits over the config, the training data's fingerprint, and the versions of the
    method and of the loop."""
    # a field that came later counts only where it is used: what was trained before it keeps its key
    fields = config.model_dump(mode="json", exclude={"init", "front"})
    for name in ("init", "front"):
        if (given := getattr(config, name)) is not None:
            fields[name] = (
                given
                if isinstance(given, str)
                else given.key
                if isinstance(given, Trained)
                else key(given, fingerprint)
            )
    identity = {
        "config": fields,
        "data": fingerprint,
        "method_version": models.find(config.method).version,
        "train_version": training.VERSION,
    }
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]


def key_for(config: Config, faces: FaceSet) -> str:
    """The :func:`key` of this config trained on these faces."""
    labels = models.find(config.method).labels
    return key(config, faces.fingerprint if labels == "identity" else faces.attributes_fingerprint)
