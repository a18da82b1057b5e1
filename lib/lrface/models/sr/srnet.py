"""SRNET: the hallucination network of the joint model (Wu et al. 2016, Table 1).

Three unpadded convolutions, 9x9 to 64 channels, 1x1 to 32 and 1x1 to 3, on the enlarged face.
Colours are normalised as (x - 127.5) / 128 of 0-255, and the loss is taken in that range (section
4.1).

What the paper does not say, and what is chosen here:

- How the LR face reaches the HR size: by bicubic interpolation, as SRCNN's, from which Table 1
  differs in the last kernel only.
- The activation: ReLU after the first two convolutions, as SRCNN's.
- Where the 4 pixels a side go that a 9x9 convolution takes: FRNET's input is 124x108, but Table 1
  leaves 116x100. Here the enlarged face's border is repeated for 4 pixels, which preserves the
  size without padding in a convolution.
- The initial weights: PyTorch's, as SRCNN's here.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from lrface.degrade import resize
from lrface.models.objective import Batch, Objective

VERSION = 1
WIDTHS = {"paper": (64, 32), "small": (32, 16)}
BORDER = 4
"""Pixels that an unpadded 9x9 convolution takes from each side."""


class SRNET(nn.Module):
    """Kernels 9-1-1 with 64 and 32 channels, 17,795 parameters (``paper``); no skip."""

    def __init__(self, scale: int, widths: tuple[int, int] = WIDTHS["paper"]):
        super().__init__()
        self.scale = scale
        self.layers = nn.Sequential(
            nn.Conv2d(3, widths[0], 9),
            nn.ReLU(inplace=True),
            nn.Conv2d(widths[0], widths[1], 1),
            nn.ReLU(inplace=True),
            nn.Conv2d(widths[1], 3, 1),
        )

    def forward(self, lr: Tensor) -> Tensor:
        h, w = lr.shape[-2:]
        enlarged = (resize(lr, (h * self.scale, w * self.scale)) * 255 - 127.5) / 128
        return (self.layers(F.pad(enlarged, (BORDER,) * 4, mode="replicate")) * 128 + 127.5) / 255


def hallucination_loss(sr: Tensor, hr: Tensor) -> Tensor:
    """L_h (equation 2) of faces (N, 3, H, W) in [0, 1]: squared error on the paper's colour scale,
    summed over a face's pixels.

    The equation also sums over the faces of a batch. Here it is their mean, as in the joint model's
    other losses: their proportions remain the paper's, and the loss does not depend on the batch
    size.
    """
    return ((sr - hr) * (255 / 128)).square().sum() / len(hr)


class PaperLoss(Objective):
    """L_h alone, for the stand-alone SRNET of Tables 4 and 5.

    Its weight decay is FRNET's, as in joint training.
    """

    adam = {"weight_decay": 5e-4}

    def forward(self, net: nn.Module, batch: Batch) -> dict[str, Tensor]:
        return {"loss": hallucination_loss(net(batch.lr), batch.hr)}


def build(scale: int, size: str) -> SRNET:
    return SRNET(scale, WIDTHS[size])
