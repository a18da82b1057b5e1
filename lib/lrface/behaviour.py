"""What a function computes, as a hash: by it a user's own code is told apart in keys."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable

import torch
from torch import Tensor

DIGITS = {torch.float64: 6, torch.float32: 2}
"""Significant digits that count: sums in another order differ in the last ones."""


def behaviour(function: Callable[[torch.dtype], Iterable[Tensor]]) -> str:
    """16 hex digits of what a function computes.

    Parameters
    ----------
    function : callable
        Of a data type; gives floating-point tensors of any shape. It is called with float64, and
        with float32 if that fails. Random numbers begin at a fixed seed, and the generator is as
        before afterwards.

    Examples
    --------
    >>> one = behaviour(lambda dtype: [torch.arange(4, dtype=dtype)])
    >>> one == behaviour(lambda dtype: [torch.arange(4, dtype=dtype) + 1e-12])
    True
    >>> one == behaviour(lambda dtype: [torch.arange(4, dtype=dtype) + 1e-3])
    False
    """
    for dtype, digits in DIGITS.items():
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            try:
                found = [tensor.detach().double().cpu() for tensor in function(dtype)]
            except Exception:
                if dtype == torch.float32:
                    raise
                continue  # code that writes out float32 cannot compute in float64
        facts = [f"{tuple(t.shape)} {_digest(t, digits)}" for t in found]
        return hashlib.sha256("\n".join(facts).encode()).hexdigest()[:16]
    raise AssertionError("float32 gives a result or raises")


def _digest(values: Tensor, digits: int) -> str:
    """A few numbers that change when any value does, to so many digits."""
    flat = values.flatten().nan_to_num(0.5, 1e30, -1e30)
    wave = torch.sin(torch.arange(len(flat), dtype=torch.float64))
    numbers = [flat.norm(), flat @ wave, flat @ wave.flip(0), *flat[:: max(1, len(flat) // 8)][:8]]
    size = max(float(flat.abs().max()) if len(flat) else 0.0, 1e-30)
    return " ".join(f"{float(n) / size:.{digits}f}" for n in numbers) + f" {size:.{digits}g}"
