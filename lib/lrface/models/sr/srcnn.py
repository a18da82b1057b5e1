"""SRCNN (Dong et al., TPAMI 2016): three convolutions, 9-1-5, on the bicubic enlargement."""

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
WIDTHS = {"paper": (64, 32), "small": (32, 16)}


class SRCNN(nn.Module):
    """9-1-5 with 64 and 32 channels, 20,099 parameters in RGB.

    The paper trains on luminance without padding; EDFace's table is in RGB, so all three channels
    go in and out and the size is kept by padding. Weights start from PyTorch's default instead of
    N(0, 0.001), with which nothing is learnt in a short schedule.
    """

    def __init__(self, scale: int, widths: tuple[int, int] = WIDTHS["paper"]):
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
    return SRCNN(scale, WIDTHS[size])
