"""WaveletSRNet (Huang et al., ICCV 2017): predicts the Haar wavelet-packet bands of the face.

At scale 2^n the face has 4^n bands, each as large as the LR face. A trunk at the LR size (a 3x3
convolution and ten residual blocks with batch normalisation, 64 to 1,024 channels) feeds one branch
for each level of the transform; the branches predict 1, 3, 12, 48 bands, each from its own group of
channels, and the inverse transform makes the face of them.

The transform is orthonormal. The paper prints no normalisation, but its code decomposes and
reconstructs with the same weights, which is exact for no other scaling. The squared error over all
bands then equals that of the face: the image term, weight 0.1, adds as much to the weights 0.99 of
the detail bands and 0.01 of the low band. It also means that the network can return the face alone,
in training too: the objective transforms it to get the predicted bands.

Ours: ``small`` alone predicts the low band as a correction of the LR face, which nearly equals it,
and starts from zero bands. The paper's network, and ``narrow``, have no such skip: they must first
learn to pass colours through ten normalised blocks, for which the paper has half a million steps.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lrface.models.objective import Batch, Objective
from lrface.models.recipe import Recipe

VERSION = 1
RECIPE = Recipe(
    steps=1200,
    loss="paper",
    schedule="constant",
    source="the authors' code: 500 epochs without decay",
    paper_lr=2e-4,
)
SIZES = {
    "paper": {"widths": (64, 128, 256, 512, 1024), "band": 32},
    "narrow": {"widths": (5, 10, 20, 40, 80), "band": 2},
    "small": {"widths": (32, 32, 32, 48, 64), "band": 8, "residual": True},
}
SIGNS = ((1, 1, 1, 1), (1, -1, 1, -1), (1, 1, -1, -1), (1, -1, -1, 1))
"""The Haar step on the pixels (0, 0), (0, 1), (1, 0), (1, 1) of a 2x2 square, times 2: the mean,
then three differences."""


def wavelet_packet(x: Tensor, depth: int) -> Tensor:
    """An image (N, 3, H, W) to its bands (N, 4**depth * 3, H / 2**depth, W / 2**depth).

    A Haar step splits every band into four; it is applied ``depth`` times. The three colours of a
    band are adjacent. The first 4**k bands are those of the image averaged depth - k times; the
    very first, the low band, is 2**depth times the mean of each square.
    """
    step = x.new_tensor(SIGNS) / 2
    x = x.unsqueeze(1)
    for _ in range(depth):
        pixels = F.pixel_unshuffle(x, 2).unflatten(2, (-1, 4))
        x = torch.einsum("kp,nbcphw->nbkchw", step, pixels).flatten(1, 2)
    return x.flatten(1, 2)


def inverse_wavelet_packet(bands: Tensor, depth: int) -> Tensor:
    """The image with these bands: the exact inverse (and transpose) of :func:`wavelet_packet`."""
    step = bands.new_tensor(SIGNS) / 2
    x = bands.unflatten(1, (-1, 3))
    for _ in range(depth):
        pixels = torch.einsum("kp,nbkchw->nbcphw", step, x.unflatten(1, (-1, 4)))
        x = F.pixel_shuffle(pixels.flatten(2, 3), 2)
    return x.squeeze(1)


class Block(nn.Module):
    """3x3 convolution, BN, ReLU, 3x3 convolution, plus the input, then BN and ReLU; a 1x1
    convolution on the input where the width changes."""

    def __init__(self, n_in: int, n_out: int, first_groups: int = 1, groups: int = 1):
        super().__init__()
        self.shortcut = nn.Conv2d(n_in, n_out, 1, bias=False) if n_in != n_out else nn.Identity()
        self.conv1 = nn.Conv2d(n_in, n_out, 3, padding=1, groups=first_groups, bias=False)
        self.conv2 = nn.Conv2d(n_out, n_out, 3, padding=1, groups=groups, bias=False)
        self.norm1, self.norm2 = nn.BatchNorm2d(n_out), nn.BatchNorm2d(n_out)

    def forward(self, x: Tensor) -> Tensor:
        inner = self.conv2(self.norm1(self.conv1(x)).relu_())
        return self.norm2(inner + self.shortcut(x)).relu_()


class WaveletSRNet(nn.Module):
    """46,327,372 parameters at 2x, 51,353,968 at 4x, 74,999,296 at 8x (``paper``).

    ``widths`` are the trunk's five stages of two blocks, ``band`` the channels of a band's group.
    Colours are in [0, 1], and no bicubic enlargement is added.
    """

    def __init__(
        self,
        scale: int,
        widths: tuple[int, ...] = SIZES["paper"]["widths"],
        band: int = 32,
        residual: bool = False,
    ):
        super().__init__()
        self.scale, self.depth, self.residual = scale, scale.bit_length() - 1, residual
        layers: list[nn.Module] = [
            nn.Conv2d(3, widths[0], 3, padding=1, bias=False),
            nn.BatchNorm2d(widths[0]),
            nn.ReLU(inplace=True),
        ]
        for n_in, n_out in zip((widths[0], *widths), widths, strict=False):
            layers += [Block(n_in, n_out), Block(n_out, n_out)]
        self.trunk = nn.Sequential(*layers)
        self.branches = nn.ModuleList(
            nn.Sequential(
                Block(widths[-1], g * band, 1, g),
                Block(g * band, 2 * g * band, g, g),
                nn.Conv2d(2 * g * band, 3 * g, 3, padding=1, groups=g),
            )
            for g in (1, *(3 * 4**k for k in range(self.depth)))
        )
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, mode="fan_out")
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)
        if residual:
            for branch in self.branches:
                nn.init.zeros_(branch[-1].weight)

    def forward(self, lr: Tensor) -> Tensor:
        x = self.trunk(lr)
        low, *detail = (branch(x) for branch in self.branches)
        if self.residual:
            low = low + 2**self.depth * lr
        return inverse_wavelet_packet(torch.cat([low, *detail], 1), self.depth)


class PaperLoss(Objective):
    """0.99 detail + 0.01 low + 0.1 image + texture, with the released code's weights and sums.

    ``detail``, ``low`` and ``image`` are sums of squares divided by twice the batch size.
    ``texture`` is a mean, against the blur that squared error rewards: the energy of a detail
    coefficient, summed over the colours, should be at least 1.2 times the true one.
    """

    adam = {"weight_decay": 5e-4}

    def __init__(self, net: WaveletSRNet):
        super().__init__()
        self.depth = net.depth

    def forward(self, net: nn.Module, batch: Batch) -> dict[str, Tensor]:
        lr, hr, *_ = batch
        sr = net(lr).float()
        predicted, true = wavelet_packet(sr, self.depth), wavelet_packet(hr, self.depth)
        squares = (predicted - true).square()
        low, detail = squares[:, :3].sum() / (2 * len(hr)), squares[:, 3:].sum() / (2 * len(hr))
        image = (sr - hr).square().sum() / (2 * len(hr))
        energy, true_energy = (
            bands[:, 3:].unflatten(1, (-1, 3)).square().sum(2) for bands in (predicted, true)
        )
        texture = (1.2 * true_energy - energy).relu().mean()
        loss = 0.99 * detail + 0.01 * low + 0.1 * image + texture
        return {
            "loss": loss,
            "detail": detail.detach(),
            "low": low.detach(),
            "image": image.detach(),
            "texture": texture.detach(),
        }


def build(scale: int, size: str) -> WaveletSRNet:
    return WaveletSRNet(scale, **SIZES[size])
