"""DRRN (Tai, Yang and Liu, CVPR 2017) as B1U9: one recursive block whose nine residual units share
their two convolutions.

Normalisation and ReLU stand before each convolution, as in the released Caffe network; a
normalisation has scales and running statistics of its own wherever it stands, shared convolutions
or not. Fifty steps of Adam are enough for faces restored with the running statistics to be as good
as those restored with the batch's, to a few hundredths of a decibel.

The paper works on luminance; here all three colours go in and out. The last convolution starts from
N(0, 0.001), the others as He et al. have it, so that training begins near the bicubic enlargement.
Its clipped gradients and rate of 0.1 belong to SGD, and Adam takes their place here; the paper's
loss is ``mse``.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from lrface.degrade import resize
from lrface.models.layers import conv3

VERSION = 1
SIZES = {"paper": {"units": 9, "features": 128}, "small": {"units": 3, "features": 16}}


class DRRN(nn.Module):
    """Nine units of 128 channels: 301,824 convolution weights in RGB, 297,216 for one channel;
    307,081 parameters (``paper``)."""

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
            x = first + residual  # the block's first feature, not the unit's
        return enlarged + self.last(F.relu(next(norms)(x)))


def build(scale: int, size: str) -> DRRN:
    return DRRN(scale, **SIZES[size])
