"""Lookahead (Zhang et al., NeurIPS 2019): every few steps the weights go back part of the way."""

from __future__ import annotations

import torch
from torch.optim import Optimizer


class Lookahead:
    """Makes an optimiser's steps Lookahead's fast ones: after every ``every``-th the slow weights
    move by ``alpha`` towards the fast ones, which then start from there.

    As in the implementation that VidFace trains with, the slow weights are first taken at step
    ``every`` (so the first time changes nothing), and the optimiser's moments go on. Slow weights
    and the count of steps lie in the optimiser's own state, so storing and loading that resumes
    them. A parameter without a gradient at such a step is left alone.

    Examples
    --------
    >>> weight = torch.nn.Parameter(torch.zeros(1))
    >>> optimiser = torch.optim.SGD([weight], lr=1.0)
    >>> _ = Lookahead(optimiser, alpha=0.5, every=2)
    >>> for step in range(4):
    ...     weight.grad = torch.ones(1)
    ...     optimiser.step()
    >>> weight.item()
    -3.0
    """

    def __init__(self, optimiser: Optimizer, alpha: float = 0.5, every: int = 6):
        self.alpha, self.every = alpha, every
        for group in optimiser.param_groups:
            group.setdefault("lookahead_steps", 0)
        self.handle = optimiser.register_step_post_hook(self._after_step)

    @torch.no_grad()
    def _after_step(self, optimiser: Optimizer, *_) -> None:
        for group in optimiser.param_groups:
            group["lookahead_steps"] += 1
            if group["lookahead_steps"] % self.every:
                continue
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                state = optimiser.state[weight]
                slow = state.setdefault("lookahead_slow", weight.detach().clone())
                slow.lerp_(weight, self.alpha)
                weight.copy_(slow)
