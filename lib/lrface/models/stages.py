"""Training in stages: a network that is trained part after part, in one run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from torch import nn

from lrface.models.objective import Batch, Objective

Faces = Callable[[int], Iterator[Batch]]
"""Batches of at most so many whole training faces, drawn evenly, not mirrored."""


@dataclass(frozen=True)
class TrainingStage:
    """One part of a training: a closed-form step, or gradient descent for a share of the steps."""

    name: str
    """In the log and in messages: ``cascade 1, A``."""
    objective: Objective | None = None
    """What is descended."""
    share: int = 0
    """Its share of the run's steps, in parts of the sum over all stages."""
    restores: bool = False
    """Whether the network restores faces by all that was trained so far when this stage ends: then
    its PSNR is measured on the validation faces."""
    fit: Callable[[nn.Module, Faces], None] | None = None
    """In place of an objective: computes a part of the network from training faces."""


def steps_of(stages: Sequence[TrainingStage], total: int) -> list[int]:
    """How a run's steps are shared out: by the stages' shares, the ends of stages rounded.

    Examples
    --------
    >>> stages = [TrainingStage("A", share=1), TrainingStage("field"), TrainingStage("B", share=2)]
    >>> steps_of(stages, 100)
    [33, 0, 67]
    """
    whole, ends = sum(stage.share for stage in stages), [0]
    for i in range(len(stages)):
        done = sum(stage.share for stage in stages[: i + 1])
        ends.append(round(total * done / whole))
    return [end - start for start, end in zip(ends, ends[1:], strict=False)]
