"""How a restoration method is trained: a value that stands beside each method's network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Recipe:
    """The training of one restoration method: minutes on a laptop, and as its paper prints it.

    ``steps``, ``batch``, ``patch`` and ``lr`` are the numbers of the preset ``quick``;
    ``schedule`` and ``paper_lr`` are the paper's own, for runs long enough to follow them. How each
    preset combines them is in :mod:`lrface.training.recipes`.
    """

    steps: int
    loss: str
    """``l1``, ``mse`` or one of the method's own objectives."""
    schedule: str
    """The paper's learning-rate schedule; see
    :func:`lrface.training.hyperparameters.learning_rate`."""
    source: str
    """Where the schedule is published, and where it differs from the one taken here."""
    batch: int = 16
    """Faces, or clips, a step."""
    patch: int | None = 64
    """Side of the training patch in HR pixels (None: whole faces or clips)."""
    lr: float = 1e-3
    paper_lr: float = 1e-4
    paper_steps: int | None = None
    """Steps of the preset ``paper``; None: 20 epochs at 1e-4, as all restorers of faces."""
    paper_loss: str | None = None
    """The loss of the preset ``paper``; None: ``loss``."""
    start: str | None = None
    """The method whose trained network this one starts from."""
    narrow: Mapping[str, Any] = field(default_factory=dict)
    """What differs at ``quick`` for the network of size ``narrow``: thin and deep, it may need
    another rate, more steps or a gentler loss."""
