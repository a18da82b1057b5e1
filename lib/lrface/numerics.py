"""Full float32 precision for exact search, whatever precision the caller trains with."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def whole_float32(device: torch.device) -> Iterator[None]:
    """Compute without gradients, TF32, bfloat16 and autocast inside the block.

    With any of them the bound on float32's rounding error does not hold.

    Examples
    --------
    >>> import torch
    >>> with whole_float32(torch.device("cpu")):
    ...     float(torch.ones(2) @ torch.ones(2))
    2.0
    """
    backends = torch.backends.cuda.matmul, torch.backends.mkldnn.matmul
    before = [backend.fp32_precision for backend in backends]
    for backend in backends:
        backend.fp32_precision = "ieee"
    try:
        with torch.autocast(device.type, enabled=False), torch.inference_mode():
            yield
    finally:
        for backend, value in zip(backends, before, strict=True):
            backend.fp32_precision = value
