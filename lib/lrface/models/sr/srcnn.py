"""SRCNN (Dong et al., TPAMI 2016): three convolutions on the bicubic enlargement.

A 9x9 convolution extracts 64 features of each patch, a 1x1 convolution maps them to 32, a 5x5
convolution reconstructs the face; ReLU follows the first two. There is no skip from the input.

Where the paper and this module differ:

- The paper restores luminance without padding. Here all three colours go in and out, as EDFace's
  tables are in RGB, and padding preserves the size.
- Weights start from PyTorch's default: from the paper's N(0, 0.001) a short schedule learns
  nothing.
- The paper trains by SGD, its last layer at a tenth of the others' rate; here by Adam. Its loss is
  ``mse``.
"""

from __future__ import annotations

from torch import Tensor, nn

from lrface.degrade import resize
from lrface.models.recipe import Recipe

VERSION = 1
RECIPE = Recipe(
    steps=2000,
    loss="mse",
    schedule="constant",
    source="the paper: constant rates, under SGD and by layer",
)
SIZES = {"paper": (64, 32), "narrow": (64, 32), "small": (32, 16)}
"""A CPU can afford the paper's network, so ``narrow`` is ``paper``."""


class SRCNN(nn.Module):
    """Kernels 9-1-5 with 64 and 32 channels, 20,099 parameters in RGB (``paper``)."""

    def __init__(self, scale: int, widths: tuple[int, int] = SIZES["paper"]):
        super().__init__()
        self.scale = scale
        self.layers = nn.Sequential(
            nn.Conv2d(3, widths[0], 9, padding=4),
            nn.ReLU(inplace=True),
            nn.Conv2d(widths[0], widths[1], 1),
            nn.ReLU(inplace=True),
            nn.Conv2d(widths[1], 3, 5, padding=2),
        )

    def forward(self, lr: Tensor) -> Tensor:
        h, w = lr.shape[-2:]
        return self.layers(resize(lr, (h * self.scale, w * self.scale)))


def build(scale: int, size: str) -> SRCNN:
    return SRCNN(scale, SIZES[size])
