"""RCAN (Zhang et al., ECCV 2018): residual channel attention, residuals within residuals.

EDSR's frame (mean shift, first convolution, global skip, sub-pixel upsampling) around a body of 10
residual groups. A group is 20 residual channel attention blocks (RCAB) and a 3x3 convolution, plus
its input; a block's channel attention gates each of 64 channels by the means of all of them,
through a bottleneck of 4. As in the released code, a block's residual is not scaled.
"""

from __future__ import annotations

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
    "paper": {"groups": 10, "blocks": 20, "features": 64, "reduction": 16},
    "narrow": {"groups": 10, "blocks": 20, "features": 8, "reduction": 4},
    "small": {"groups": 2, "blocks": 4, "features": 32, "reduction": 8},
}


class ChannelAttention(nn.Module):
    """Scales each channel by a gate in 0..1, computed from the means of all channels."""

    def __init__(self, features: int, reduction: int):
        super().__init__()
        self.gate = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(features, features // reduction, 1),
            nn.ReLU(inplace=True),
            nn.Conv2d(features // reduction, features, 1),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gate(x)


class RCAB(nn.Module):
    """Residual channel attention block: 3x3 convolution, ReLU, 3x3 convolution, channel attention,
    plus the input."""

    def __init__(self, features: int, reduction: int):
        super().__init__()
        self.body = nn.Sequential(
            conv3(features, features),
            nn.ReLU(inplace=True),
            conv3(features, features),
            ChannelAttention(features, reduction),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


class ResidualGroup(nn.Module):
    """RCABs and a 3x3 convolution, plus the input."""

    def __init__(self, features: int, blocks: int, reduction: int):
        super().__init__()
        self.body = nn.Sequential(
            *(RCAB(features, reduction) for _ in range(blocks)), conv3(features, features)
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


class RCAN(nn.Module):
    """15,444,643 parameters at 2x, 15,629,283 at 3x, 15,592,355 at 4x, 15,740,067 at 8x
    (``paper``)."""

    def __init__(
        self,
        scale: int,
        groups: int = 10,
        blocks: int = 20,
        features: int = 64,
        reduction: int = 16,
    ):
        super().__init__()
        self.scale = scale
        self.normalise, self.restore = MeanShift(), MeanShift(inverse=True)
        self.head = conv3(3, features)
        self.body = nn.Sequential(
            *(ResidualGroup(features, blocks, reduction) for _ in range(groups)),
            conv3(features, features),
        )
        self.tail = nn.Sequential(Upsampler(scale, features), conv3(features, 3))

    def forward(self, lr: Tensor) -> Tensor:
        x = self.head(self.normalise(lr))
        return self.restore(self.tail(x + self.body(x)))


def build(scale: int, size: str) -> RCAN:
    return RCAN(scale, **SIZES[size])
