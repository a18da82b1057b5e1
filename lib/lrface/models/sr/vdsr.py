"""VDSR (Kim, Lee and Lee, CVPR 2016): twenty convolutions predict what the enlargement lacks.

The input is the bicubic enlargement. Twenty 3x3 convolutions of 64 channels, with ReLU after all
but the last, predict the residual that is added to it.

Where the paper and this module differ:

- The paper restores luminance; here all three colours go in and out, as in every other study.
- The paper has one network for 2x, 3x and 4x; here each scale has its own.
- All but the last convolution start from He et al.'s initialisation, as in the paper. The last
  starts from N(0, 0.001), so that training begins near the bicubic enlargement: from He's it begins
  tens of decibels below, and a short schedule is spent on catching up.
- The paper trains by SGD with a rate of 0.1 and clipped gradients; here by Adam. Its loss is
  ``mse``.
"""

from __future__ import annotations

from torch import Tensor, nn

from lrface.degrade import resize
from lrface.models.layers import conv3

VERSION = 1
SIZES = {
    "paper": {"layers": 20, "features": 64},
    "narrow": {"layers": 20, "features": 10},
    "small": {"layers": 6, "features": 16},
}


class VDSR(nn.Module):
    """Twenty convolutions of 64 channels, 668,227 parameters in RGB (``paper``)."""

    def __init__(self, scale: int, layers: int, features: int):
        super().__init__()
        self.scale = scale
        widths = [3, *[features] * (layers - 1), 3]
        convolutions = [conv3(n_in, n_out) for n_in, n_out in zip(widths, widths[1:], strict=False)]
        for convolution in convolutions:
            nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
            nn.init.zeros_(convolution.bias)
        nn.init.normal_(convolutions[-1].weight, std=0.001)
        layers: list[nn.Module] = []
        for convolution in convolutions[:-1]:
            layers += [convolution, nn.ReLU(inplace=True)]
        self.layers = nn.Sequential(*layers, convolutions[-1])

    def forward(self, lr: Tensor) -> Tensor:
        h, w = lr.shape[-2:]
        enlarged = resize(lr, (h * self.scale, w * self.scale))
        return enlarged + self.layers(enlarged)


def build(scale: int, size: str) -> VDSR:
    return VDSR(scale, **SIZES[size])
