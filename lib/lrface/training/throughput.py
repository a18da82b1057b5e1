"""How fast this machine trains: measured in a second or two, then remembered.

Two numbers describe a processor core well enough to plan by: how many floating-point operations a
second it does in a convolution, and how many bytes a second it moves in between (activations,
normalisation, the optimiser). Both are of one core's own time, whatever else the machine does.
"""

from __future__ import annotations

import hashlib
import json
import platform
import time
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch.nn import functional as F

from lrface.files import cache_dir, write_text

REPEATS = 5
"""The fastest of as many counts: others may have waited for memory."""


class Throughput(NamedTuple):
    """What one core of this machine does."""

    flops: float
    """Floating-point operations a second of a convolution, forward and backward."""
    bytes: float
    """Bytes a second that element-wise operations read and write."""

    def seconds(self, macs: float, moved: float = 0.0) -> float:
        """The time of ``macs`` multiply-accumulates and ``moved`` bytes on one core."""
        return 2 * macs / self.flops + moved / self.bytes


def measured() -> Throughput:
    """The throughput of one core; measured the first time, then read (:func:`remembered`)."""

    def measure() -> dict[str, float]:
        return {"flops": _flops(), "bytes": _bytes()}

    return Throughput(**remembered("core", measure))


def remembered(what: str, measure: Callable[[], dict[str, float]]) -> dict[str, float]:
    """What was measured with one thread: now, or earlier on this machine.

    It is stored in the cache folder by machine and version of PyTorch.
    """
    facts = [what, platform.node(), platform.processor(), torch.__version__]
    facts.append(torch.backends.cpu.get_cpu_capability())
    name = hashlib.sha256("\0".join(facts).encode()).hexdigest()[:16]
    file = cache_dir("throughput") / f"{what}-{name}.json"
    try:
        return {name: float(value) for name, value in json.loads(file.read_text()).items()}
    except (OSError, ValueError, AttributeError):
        pass
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        found = measure()
    finally:
        torch.set_num_threads(threads)
    write_text(file, json.dumps(found))
    return found


def _flops() -> float:
    x = torch.randn(8, 32, 48, 48, requires_grad=True)
    w = torch.randn(32, 32, 3, 3, requires_grad=True)
    work = 3 * 2 * x.numel() * 32 * 9
    return work / fastest(lambda: F.conv2d(x, w, padding=1).sum().backward())


def _bytes() -> float:
    x = torch.randn(MOVED)
    out = torch.empty_like(x)
    return 2 * x.nbytes / fastest(lambda: torch.clamp_min(x, 0.0, out=out))


MOVED = 1 << 18
"""Numbers in a tensor of the size that a small network has between two layers."""


def fastest(work: Callable[[], object]) -> float:
    """The seconds of this thread that the fastest of several calls took."""
    work()
    found = []
    for _ in range(REPEATS):
        began = time.thread_time()
        work()
        found.append(time.thread_time() - began)
    return min(found)
