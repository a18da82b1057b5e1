"""DRRN (Tai, Yang and Liu, CVPR 2017), variant B1U9: one recursive block of nine residual units.

The input is the bicubic enlargement, and the network predicts what is missing in it. A convolution
enters the block; each of its nine units applies the same two 3x3 convolutions of 128 channels and
adds the block's first feature (not the unit's input); a last convolution returns to colours. As the
units share their weights, twenty convolutions have the weights of four.

Batch normalisation and ReLU come before each convolution, as in the released Caffe network. Each of
the normalisations has scales and running statistics of its own, also where convolutions are
shared. (After fifty steps of Adam, faces restored with the running statistics are as good as with
the batch's, to a few hundredths of a decibel.)

Where the paper and this module differ:

- The paper restores luminance; here all three colours go in and out.
- The last convolution starts from N(0, 0.001), the others from He et al.'s initialisation, so that
  training begins near the bicubic enlargement.
- The paper trains by SGD with a rate of 0.1 and clipped gradients; here by Adam. Its loss is
  ``mse``.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from lrface.degrade import resize
from lrface.models.layers import conv3

VERSION = 1
SIZES = {
    "paper": {"units": 9, "features": 128},
    "narrow": {"units": 9, "features": 10},
    "small": {"units": 3, "features": 16},
}


class DRRN(nn.Module):
    """Nine units of 128 channels, 307,081 parameters (``paper``); 301,824 of them are weights of
    convolutions, 297,216 for one colour channel."""

    def __init__(self, scale: int, units: int, features: int):
        super().__init__()
        self.scale, self.units = scale, units
        self.first, self.last = conv3(3, features), conv3(features, 3)
        self.shared = nn.ModuleList(conv3(features, features) for _ in range(2))
        for convolution in (self.first, *self.shared, self.last):
            nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
            nn.init.zeros_(convolution.bias)
        nn.init.normal_(self.last.weight, std=0.001)
        self.norms = nn.ModuleList(
            nn.BatchNorm2d(width) for width in (3, *[features] * (2 * units + 1))
        )

    def forward(self, lr: Tensor) -> Tensor:
        h, w = lr.shape[-2:]
        enlarged = resize(lr, (h * self.scale, w * self.scale))
        norms = iter(self.norms)
        first = x = self.first(F.relu(next(norms)(enlarged)))
        for _ in range(self.units):
            residual = x
            for convolution in self.shared:
                residual = convolution(F.relu(next(norms)(residual)))
            x = first + residual
        return enlarged + self.last(F.relu(next(norms)(x)))


def build(scale: int, size: str) -> DRRN:
    return DRRN(scale, **SIZES[size])
