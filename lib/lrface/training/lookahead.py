"""The Lookahead optimiser (Zhang et al., NeurIPS 2019): k steps forward, one step back."""

from __future__ import annotations

import torch
from torch.optim import Optimizer


class Lookahead:
    """Adds Lookahead to an optimiser.

    After every ``every``-th step the slow weights move by ``alpha`` towards the fast weights, and
    the fast weights are reset to them. As in the implementation that VidFace was trained with, the
    slow weights are initialised at step ``every`` (so the first synchronisation changes nothing),
    and the optimiser's moments are not reset. Parameters without a gradient at such a step are
    skipped. Slow weights and step count are part of the optimiser's ``state_dict``.

    Parameters
    ----------
    optimiser : Optimizer
        Any optimiser; it is used as before.
    alpha : float
        Step of the slow weights.
    every : int
        Fast steps per slow step.

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
