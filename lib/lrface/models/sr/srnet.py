"""SRNET: the hallucination network of the joint model (Wu et al. 2016, Table 1): 9x9, 1x1, 1x1,
none of them padded.

Colours run as the paper normalises them, (x - 127.5) / 128 of 0-255, and its loss is taken in that
range (section 4.1).

The paper does not say how the low-resolution face reaches the size of the high-resolution one, what
stands between the convolutions, or where the 4 pixels a side go that the first one loses: its FRNET
takes 124x108 from a picture that Table 1 leaves at 116x100. Here the face is enlarged by bicubic
interpolation and ReLU follows the first two convolutions, both SRCNN's (from which Table 1 differs
in the last kernel alone), and the border of the enlarged face is repeated for 4 pixels, so that the
size is kept and no convolution pads. Initial weights are PyTorch's, as SRCNN's here.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from lrface.degrade import resize
from lrface.models.losses import Batch

VERSION = 1
WIDTHS = {"paper": (64, 32), "small": (32, 16)}
BORDER = 4
"""Pixels that a 9x9 convolution without padding takes from each side."""


class SRNET(nn.Module):
    """9-1-1 with 64 and 32 channels, 17,795 parameters (``paper``); no skip from input to output."""

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
    """L_h (equation 2) of float faces (N, 3, H, W) in [0, 1]: squared differences on the paper's
    scale, summed over a face's pixels.

    The equation sums over the faces of a batch, too. Here it is their mean, as of the joint model's
    other losses: their proportions stay the paper's, and a batch of another size is no other loss.
    """
    return ((sr - hr) * (255 / 128)).square().sum() / len(hr)


class PaperLoss(nn.Module):
    """L_h alone: the stand-alone SRNET of Tables 4 and 5. The weight decay is FRNET's, so that both
    alone train as they do jointly."""

    adam = {"weight_decay": 5e-4}

    def forward(self, net: nn.Module, batch: Batch) -> dict[str, Tensor]:
        return {"loss": hallucination_loss(net(batch.lr), batch.hr)}


def build(scale: int, size: str) -> SRNET:
    return SRNET(scale, WIDTHS[size])
