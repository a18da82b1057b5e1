"""How long and how fast a network is trained: steps, batch, learning rate and its schedule."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Hyperparameters:
    """What the loop needs of a :class:`lrface.training.config.Config`, whose fields these are."""

    steps: int
    batch: int
    patch: int | None
    lr: float
    schedule: str = "constant"
    precision: str = "32-true"
    seed: int = 0

    def learning_rate(self, step: int) -> float:
        """The learning rate of a step."""
        return learning_rate(self.schedule, self.lr, step, self.steps)


def learning_rate(schedule: str, base: float, step: int, steps: int) -> float:
    """The learning rate of a step.

    Parameters
    ----------
    schedule : str
        ``cosine``: 2 % linear warm-up, then a half cosine to zero. ``constant``. The papers' own,
        as fractions of a run: ``annealed``: a half cosine to 1/400, without warm-up (VidFace);
        ``halve`` at each fifth (RDN, RCAN); ``halve-once`` at two thirds (EDSR); ``halve-early``
        at 1, 2, 4 and 8 fifteenths (DICNet); ``tail``: constant, then linearly to zero over the
        last two fifths (HiFaceGAN); ``drops`` to a tenth at 4 sevenths and again at 6, that is at
        16,000 and 24,000 of 28,000 (joint model, section 4.1, which calls the last "epochs").
    base : float
        The rate that the schedule scales.
    step : int
        From 0.
    steps : int
        Of the whole run.

    Returns
    -------
    float

    Examples
    --------
    >>> [learning_rate("halve", 1e-3, step, 10) for step in (0, 1, 2, 4)]
    [0.001, 0.001, 0.0005, 0.00025]
    """
    if schedule == "cosine":
        warm_up = max(1, steps // 50)
        if step < warm_up:
            return base * (step + 1) / warm_up
        angle = math.pi * (step - warm_up) / max(1, steps - warm_up)
        return base * 0.5 * (1 + math.cos(angle))
    if schedule == "annealed":
        return base * (1 / 400 + (1 - 1 / 400) * 0.5 * (1 + math.cos(math.pi * step / steps)))
    if schedule == "halve":
        return base * 0.5 ** (5 * step // steps)
    if schedule == "halve-once":
        return base * 0.5 ** (3 * step >= 2 * steps)
    if schedule == "halve-early":
        return base * 0.5 ** sum(15 * step >= n * steps for n in (1, 2, 4, 8))
    if schedule == "tail":
        return base * min(1.0, 5 * (steps - step) / (2 * steps))
    if schedule == "drops":
        return base * 0.1 ** sum(7 * step >= n * steps for n in (4, 6))
    return base
