"""EDSR (Lim et al., CVPRW 2017): residual blocks without normalisation, one global skip, sub-pixel
upsampling.

``paper`` is EDSR-baseline (16 blocks, 64 channels), the size face benchmarks train; the 43-million
variant differs in its numbers only.
"""

from __future__ import annotations

from torch import Tensor, nn

from lrface.models.layers import MeanShift, Upsampler, conv3
from lrface.models.recipe import Recipe

VERSION = 1
RECIPE = Recipe(
    steps=1800,
    loss="l1",
    schedule="halve-once",
    source="EDSR-PyTorch: halved after 200 of 300 epochs",
)
SIZES = {"paper": {"blocks": 16, "features": 64}, "small": {"blocks": 8, "features": 32}}


class ResidualBlock(nn.Module):
    """conv3 - ReLU - conv3, plus the input (residual scale 1)."""

    def __init__(self, features: int):
        super().__init__()
        self.body = nn.Sequential(
            conv3(features, features), nn.ReLU(inplace=True), conv3(features, features)
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


class EDSR(nn.Module):
    """1,369,859 parameters at 2x, 1,517,571 at 4x, 1,665,283 at 8x (``paper``)."""

    def __init__(self, scale: int, blocks: int = 16, features: int = 64):
        super().__init__()
        self.scale = scale
        self.normalise, self.restore = MeanShift(), MeanShift(inverse=True)
        self.head = conv3(3, features)
        self.body = nn.Sequential(
            *(ResidualBlock(features) for _ in range(blocks)), conv3(features, features)
        )
        self.tail = nn.Sequential(Upsampler(scale, features), conv3(features, 3))

    def forward(self, lr: Tensor) -> Tensor:
        x = self.head(self.normalise(lr))
        return self.restore(self.tail(x + self.body(x)))


def build(scale: int, size: str) -> EDSR:
    return EDSR(scale, **SIZES[size])
