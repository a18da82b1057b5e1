"""The best linear map from patches of the LR face to the HR face: ridge regression.

Each HR pixel is the bicubic enlargement there plus a linear function of the 7x7 LR pixels around
it, in all three colours, with weights of its own for each place in an LR pixel's square. It is
computed in one pass over the pairs (:func:`fit_closed_form`): no step, rate or seed decides what it
can do, so it measures how much a degradation takes from *any* restorer that looks at a
neighbourhood. Ours; it is the first iteration of what A+ does with many such maps.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lrface.degrade import resize

WINDOW = 7
"""Side of a patch in LR pixels."""
RIDGE = 1e-7
"""Added to the diagonal of the mean product of two pixels (of values in [0, 1]): small beside the
variance of 8-bit rounding, 1.3e-6."""


class Linear(nn.Module):
    """One linear map of patches for each place in an LR pixel's square, in buffers."""

    def __init__(self, scale: int):
        super().__init__()
        self.scale = scale
        self.register_buffer("weight", torch.zeros(3 * scale**2, 3, WINDOW, WINDOW))
        self.register_buffer("bias", torch.zeros(3 * scale**2))

    def forward(self, lr: Tensor) -> Tensor:
        h, w = lr.shape[-2:]
        padded = F.pad(lr, (WINDOW // 2,) * 4, mode="replicate")
        detail = F.pixel_shuffle(F.conv2d(padded, self.weight, self.bias), self.scale)
        return resize(lr, (h * self.scale, w * self.scale)) + detail


@torch.no_grad()
def fit_closed_form(net: Linear, pairs: Iterator[tuple[Tensor, Tensor]]) -> None:
    """Compute the weights from batches (lr, hr) of whole faces."""
    size = 3 * WINDOW**2 + 1
    gram, product = torch.zeros(size, size).double(), torch.zeros(size, 3 * net.scale**2).double()
    count = 0
    for lr, hr in pairs:
        padded = F.pad(lr, (WINDOW // 2,) * 4, mode="replicate")
        patches = F.unfold(padded.double(), WINDOW).transpose(1, 2).flatten(0, 1)
        patches = F.pad(patches, (0, 1), value=1.0)
        lacking = F.pixel_unshuffle(hr.double() - resize(lr, tuple(hr.shape[2:])), net.scale)
        lacking = lacking.flatten(2).transpose(1, 2).flatten(0, 1)
        gram += patches.T @ patches
        product += patches.T @ lacking
        count += len(patches)
    ridge = RIDGE * torch.eye(size).double()
    ridge[-1, -1] = 0  # the constant is not shrunk
    solution = torch.linalg.solve(gram / count + ridge, product / count)
    net.weight.copy_(solution[:-1].T.reshape(net.weight.shape))
    net.bias.copy_(solution[-1])
