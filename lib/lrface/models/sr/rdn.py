"""RDN (Zhang et al., CVPR 2018): residual dense blocks whose outputs are all fused.

Two 3x3 convolutions extract shallow features (SFE1, SFE2). In a residual dense block each of C
convolutions reads the block's input and all earlier outputs of the block; a 1x1 convolution fuses
them (local feature fusion), and the input is added. The outputs of all D blocks are fused by a 1x1
and a 3x3 convolution (global feature fusion) and added to SFE1. Upsampling is by sub-pixel
convolutions.

``paper`` is configuration B of the released code: D = 16 blocks, C = 8 convolutions each, growth
rate and base width 64. The authors' Torch code subtracts the mean colour and works on 0-255, as
here; a later PyTorch port (EDSR-PyTorch's) does not. Neither defines 8x: one more sub-pixel stage,
as from 2x to 4x, is ours.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lrface.models.layers import MeanShift, Upsampler, conv3
from lrface.models.recipe import Recipe

VERSION = 1
RECIPE = Recipe(
    steps=1800,
    loss="l1",
    schedule="halve",
    source="the authors' code: halved every 200 of 1,000 epochs",
)
SIZES = {
    "paper": {"blocks": 16, "convs": 8, "growth": 64, "features": 64},
    "narrow": {"blocks": 16, "convs": 8, "growth": 7, "features": 7},
    "small": {"blocks": 4, "convs": 4, "growth": 16, "features": 32},
}


class ResidualDenseBlock(nn.Module):
    """3x3 convolutions with ReLU, each on the block's input and all earlier outputs; fused by a 1x1
    convolution, plus the input."""

    def __init__(self, features: int, growth: int, convs: int):
        super().__init__()
        self.convs = nn.ModuleList(conv3(features + i * growth, growth) for i in range(convs))
        self.fuse = nn.Conv2d(features + convs * growth, features, 1)

    def forward(self, x: Tensor) -> Tensor:
        dense = x
        for conv in self.convs:
            dense = torch.cat([dense, conv(dense).relu()], 1)
        return x + self.fuse(dense)


class RDN(nn.Module):
    """22,123,395 parameters at 2x, 22,308,035 at 3x, 22,271,107 at 4x, 22,418,819 at 8x
    (``paper``)."""

    def __init__(
        self, scale: int, blocks: int = 16, convs: int = 8, growth: int = 64, features: int = 64
    ):
        super().__init__()
        self.scale = scale
        self.normalise, self.restore = MeanShift(), MeanShift(inverse=True)
        self.head, self.shallow = conv3(3, features), conv3(features, features)
        self.blocks = nn.ModuleList(
            ResidualDenseBlock(features, growth, convs) for _ in range(blocks)
        )
        self.fuse = nn.Sequential(
            nn.Conv2d(blocks * features, features, 1), conv3(features, features)
        )
        self.tail = nn.Sequential(Upsampler(scale, features), conv3(features, 3))

    def forward(self, lr: Tensor) -> Tensor:
        first = self.head(self.normalise(lr))
        x, outputs = self.shallow(first), []
        for block in self.blocks:
            x = block(x)
            outputs.append(x)
        return self.restore(self.tail(first + self.fuse(torch.cat(outputs, 1))))


def build(scale: int, size: str) -> RDN:
    return RDN(scale, **SIZES[size])
