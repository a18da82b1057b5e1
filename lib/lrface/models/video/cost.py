"""Parameters and multiply-accumulates of networks that restore clips."""

from __future__ import annotations

import copy

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode


def cost(net: nn.Module, frames: int = 7, height: int = 16, width: int = 12) -> dict[str, int]:
    """Parameters, and multiply-accumulates for one clip (1, frames, 3, height, width).

    They are counted on the meta device, where attention is decomposed into matrix products:
    PyTorch's counter does not know the fused attention kernel for CPUs. A deformable convolution
    counts as a plain one.

    Examples
    --------
    >>> from lrface.models.video import edvr
    >>> cost(edvr.build(8, "paper"))
    {'parameters': 3464227, 'macs': 2911930368}
    """
    parameters = sum(p.numel() for p in net.parameters() if p.requires_grad)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        empty = copy.deepcopy(net).to("meta").eval()
        empty(torch.zeros(1, frames, 3, height, width, device="meta"))
    return {"parameters": parameters, "macs": counter.get_total_flops() // 2}
