"""Bicubic interpolation as MATLAB's ``imresize`` computes it: the baseline of every table."""

from __future__ import annotations

from torch import Tensor, nn

from lrface.degrade import resize


class Bicubic(nn.Module):
    """Interpolation without parameters; its output may leave [0, 1] slightly, as MATLAB's does."""

    def __init__(self, scale: int):
        super().__init__()
        self.scale = scale

    def forward(self, lr: Tensor) -> Tensor:
        h, w = lr.shape[-2:]
        return resize(lr, (h * self.scale, w * self.scale))


def build(scale: int, size: str) -> Bicubic:
    return Bicubic(scale)
