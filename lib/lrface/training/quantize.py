"""Weights as they are released: in 16 bits, or in 8 where that costs nothing."""

from __future__ import annotations

import torch
from torch import Tensor

LARGE = 20_000
"""Networks with so many values are released in 8 bits. (SRCNN has half as many, and 8 bits would
cost it 0.03 dB.)"""
SCALES = "/scales"


def packed(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights for release: half precision; a large network's kernels as 8-bit integers and, in one
    tensor for all, a scale a channel.

    On the quick preset's networks the 8 bits cost 0.01 dB at most, and make them half as large as
    half precision does.
    """
    found, scales = {}, []
    large = sum(w.numel() for w in weights.values()) >= LARGE
    for name, w in sorted(weights.items()):
        if large and w.is_floating_point() and w.ndim > 1 and w.numel() >= 300:
            scale = (
                (w.float().abs().amax(tuple(range(1, w.ndim)), keepdim=True) / 127)
                .clamp_min(1e-7)
                .half()
            )
            found[name] = (w / scale.float()).round().clamp(-127, 127).to(torch.int8)
            scales.append(scale.flatten())
        else:
            found[name] = w.half() if w.is_floating_point() else w
    return found | ({SCALES: torch.cat(scales)} if scales else {})


def unpacked(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights as a network takes them, from those of a run, released or not."""
    scales, whole, first = weights.get(SCALES), {}, 0
    for name, w in sorted(weights.items()):  # a file keeps no order, so theirs is that of the names
        if name != SCALES and w.dtype == torch.int8:
            scale = scales[first : first + len(w)].float()
            whole[name], first = w * scale.view(-1, *[1] * (w.ndim - 1)), first + len(w)
        elif name != SCALES:
            whole[name] = w.float() if w.is_floating_point() else w
    return whole
