"""How fast this machine trains and judges faces: measured in seconds once, and then remembered.

Two numbers describe a processor core well enough to plan by: how many floating-point operations a
second it does in a convolution, and how many bytes a second it moves in between (activations,
normalisation, the optimiser). A third is the time that dlib takes to find and describe a face.
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
"""The fastest of as many counts: on a busy machine the others were interrupted."""


class Throughput(NamedTuple):
    """What one core of this machine does in a second."""

    flops: float
    """Floating-point operations of a convolution, forward and backward."""
    bytes: float
    """Bytes read and written by element-wise operations."""

    def seconds(self, macs: float, moved: float = 0.0) -> float:
        """The time of ``macs`` multiply-accumulates and ``moved`` bytes on one core."""
        return 2 * macs / self.flops + moved / self.bytes


def measured() -> Throughput:
    """The throughput of one core; measured in about two seconds the first time, then read.

    It is stored in the cache folder by machine and version of PyTorch.
    """
    facts = [platform.node(), platform.processor(), torch.__version__]
    facts.append(torch.backends.cpu.get_cpu_capability())
    name = hashlib.sha256("\0".join(facts).encode()).hexdigest()[:16]
    file = cache_dir("throughput") / f"{name}.json"
    try:
        return Throughput(**json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        found = _measure()
        write_text(file, json.dumps(found._asdict()))
        return found


def _measure() -> Throughput:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        x, w = torch.randn(8, 32, 48, 48), torch.randn(32, 32, 3, 3, requires_grad=True)
        x.requires_grad_()
        work = 3 * 2 * x.numel() * 32 * 9

        def convolve() -> None:
            F.conv2d(x, w, padding=1).sum().backward()

        large = torch.randn(4 << 20)
        out = torch.empty_like(large)
        moved = 2 * large.nbytes
        fast = _fastest(convolve), _fastest(lambda: torch.clamp_min(large, 0.0, out=out))
        return Throughput(work / fast[0], moved / fast[1])
    finally:
        torch.set_num_threads(threads)


def _fastest(work: Callable[[], object]) -> float:
    """The seconds of a core that the fastest of several calls took: another job takes none of them."""
    work()
    found = []
    for _ in range(REPEATS):
        began = time.thread_time()
        work()
        found.append(time.thread_time() - began)
    return min(found)
