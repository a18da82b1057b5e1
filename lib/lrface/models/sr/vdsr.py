"""VDSR (Kim, Kwon Lee and Mu Lee, CVPR 2016): twenty 3x3 convolutions learn what the bicubic
enlargement lacks.

The paper works on luminance; here all three colours go in and out, as in every other study. One
network a scale, not one for three. All but the last convolution start as He et al. have it. The
last starts from N(0, 0.001), so that training begins near the bicubic enlargement: from He's start
it begins tens of decibels below, and a short schedule is spent on the way up. The paper's loss is
``mse``; its clipped gradients and rate of 0.1 belong to SGD, and Adam takes their place here.
"""

from __future__ import annotations

from torch import Tensor, nn

from lrface.degrade import resize
from lrface.models.layers import conv3

VERSION = 1
SIZES = {"paper": {"layers": 20, "features": 64}, "small": {"layers": 6, "features": 16}}


class VDSR(nn.Module):
    """20 layers of 64 channels, 668,227 parameters in RGB (``paper``)."""

    def __init__(self, scale: int, layers: int, features: int):
        super().__init__()
        self.scale = scale
        widths = [3, *[features] * (layers - 1), 3]
        convolutions = [conv3(n_in, n_out) for n_in, n_out in zip(widths, widths[1:], strict=False)]
        for convolution in convolutions:
            nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
            nn.init.zeros_(convolution.bias)
        nn.init.normal_(convolutions[-1].weight, std=0.001)
        inner = [
            part
            for convolution in convolutions[:-1]
            for part in (convolution, nn.ReLU(inplace=True))
        ]
        self.layers = nn.Sequential(*inner, convolutions[-1])

    def forward(self, lr: Tensor) -> Tensor:
        h, w = lr.shape[-2:]
        enlarged = resize(lr, (h * self.scale, w * self.scale))
        return enlarged + self.layers(enlarged)


def build(scale: int, size: str) -> VDSR:
    return VDSR(scale, **SIZES[size])
