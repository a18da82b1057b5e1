"""EDSR (Lim et al., CVPRW 2017): residual blocks without normalisation, sub-pixel upsampling.

The mean colour is subtracted and values scaled to 0-255. A 3x3 convolution, 16 residual blocks
(convolution, ReLU, convolution) of 64 channels and one more convolution work at the input's size;
their result is added to the first convolution's (global skip). Upsampling is by sub-pixel
convolutions, a last convolution returns to colours.

``paper`` is EDSR-baseline, which face benchmarks train; ``large`` is the paper's largest model: 32
blocks of 256 channels with residuals scaled by 0.1, 43 million parameters.
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
SIZES = {
    "paper": {"blocks": 16, "features": 64},
    "large": {"blocks": 32, "features": 256, "residual_scale": 0.1},
    "narrow": {"blocks": 16, "features": 24},
    "small": {"blocks": 8, "features": 32},
}


class ResidualBlock(nn.Module):
    """3x3 convolution, ReLU, 3x3 convolution, times ``scale``, plus the input."""

    def __init__(self, features: int, scale: float = 1.0):
        super().__init__()
        self.scale = scale
        self.body = nn.Sequential(
            conv3(features, features), nn.ReLU(inplace=True), conv3(features, features)
        )

    def forward(self, x: Tensor) -> Tensor:
        return x.add(self.body(x), alpha=self.scale)


class EDSR(nn.Module):
    """1,369,859 parameters at 2x, 1,554,499 at 3x, 1,517,571 at 4x, 1,665,283 at 8x (``paper``);
    43,089,923 at 4x (``large``)."""

    def __init__(
        self, scale: int, blocks: int = 16, features: int = 64, residual_scale: float = 1.0
    ):
        super().__init__()
        self.scale = scale
        self.normalise, self.restore = MeanShift(), MeanShift(inverse=True)
        self.head = conv3(3, features)
        self.body = nn.Sequential(
            *(ResidualBlock(features, residual_scale) for _ in range(blocks)),
            conv3(features, features),
        )
        self.tail = nn.Sequential(Upsampler(scale, features), conv3(features, 3))

    def forward(self, lr: Tensor) -> Tensor:
        x = self.head(self.normalise(lr))
        return self.restore(self.tail(x + self.body(x)))


def build(scale: int, size: str) -> EDSR:
    return EDSR(scale, **SIZES[size])
