"""Weights as they are released: in 16 bits, or in 8 where that costs nothing."""

from __future__ import annotations

import torch
from torch import Tensor

LARGE = 20_000
"""Networks with so many values are released in 8 bits. (SRCNN has half as many, and 8 bits would
cost it 0.03 dB.)"""
SCALES = "/scales"


def quantize(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights for release: half precision, and a large network's kernels in 8 bits.

    Kernels become integers with one scale per output channel, all scales in one tensor. On the
    quick preset's networks 8 bits cost 0.01 dB at most and halve the size.
    """
    found, scales = {}, []
    large = sum(w.numel() for w in weights.values()) >= LARGE
    for name, w in sorted(weights.items()):
        if large and w.is_floating_point() and w.ndim > 1 and w.numel() >= 300:
            largest = w.float().abs().amax(tuple(range(1, w.ndim)), keepdim=True)
            scale = (largest / 127).clamp_min(1e-7).half()
            found[name] = (w / scale.float()).round().clamp(-127, 127).to(torch.int8)
            scales.append(scale.flatten())
        else:
            found[name] = w.half() if w.is_floating_point() else w
    return found | ({SCALES: torch.cat(scales)} if scales else {})


def dequantize(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights as a network loads them, from those of a run, released or not."""
    scales, found, first = weights.get(SCALES), {}, 0
    # a file keeps no order: the scales follow the order of the names
    for name, w in sorted(weights.items()):
        if name != SCALES and w.dtype == torch.int8:
            scale = scales[first : first + len(w)].float()
            found[name], first = w * scale.view(-1, *[1] * (w.ndim - 1)), first + len(w)
        elif name != SCALES:
            found[name] = w.float() if w.is_floating_point() else w
    return found
