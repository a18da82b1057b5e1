"""Layers and blocks that several papers share."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

# DIV2K's RGB mean: EDSR, RCAN and HAN subtract it from faces, too.
DIV2K_MEAN = (0.4488, 0.4371, 0.4040)


def conv3(n_in: int, n_out: int) -> nn.Conv2d:
    """3x3 convolution, stride 1, same size."""
    return nn.Conv2d(n_in, n_out, 3, padding=1)


def xavier(layer: nn.Module) -> nn.Module:
    """The convolution or linear layer with Caffe's ``xavier`` initialisation (uniform, variance 1 /
    inputs) and zero bias."""
    # PyTorch's own xavier divides by inputs and outputs
    nn.init.kaiming_uniform_(layer.weight, nonlinearity="linear")
    nn.init.zeros_(layer.bias)
    return layer


def conv_prelu(n_in: int, n_out: int, stride: int = 1, padding: int = 0) -> nn.Sequential:
    """3x3 convolution and PReLU, of CentreFace and SphereFace."""
    return nn.Sequential(xavier(nn.Conv2d(n_in, n_out, 3, stride, padding)), nn.PReLU(n_out))


class PReLUUnit(nn.Module):
    """The residual unit of CentreFace and SphereFace: 3x3 convolution and PReLU, twice, plus input.

    Without biases: the released networks give these convolutions' biases a learning rate of 0.
    Weights start from N(0, 0.01), so a unit starts near the identity.
    """

    def __init__(self, width: int):
        super().__init__()
        convolutions = [nn.Conv2d(width, width, 3, padding=1, bias=False) for _ in range(2)]
        for convolution in convolutions:
            nn.init.normal_(convolution.weight, std=0.01)
        self.body = nn.Sequential(
            convolutions[0], nn.PReLU(width), convolutions[1], nn.PReLU(width)
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


class MeanShift(nn.Module):
    """RGB in [0, 1] to 0-255 minus DIV2K's mean, the range of EDSR-PyTorch; or back
    (``inverse``)."""

    def __init__(self, inverse: bool = False):
        super().__init__()
        self.inverse = inverse
        self.register_buffer("mean", torch.tensor(DIV2K_MEAN).view(1, 3, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return x / 255 + self.mean if self.inverse else (x - self.mean) * 255


class Upsampler(nn.Sequential):
    """Sub-pixel upsampling of EDSR, RDN, RCAN and HAN, without activations.

    By 2, 4, 8: conv3 to 4 times the features and PixelShuffle(2), once for each doubling. By 3:
    conv3 to 9 times the features and PixelShuffle(3).
    """

    def __init__(self, scale: int, features: int):
        layers: list[nn.Module] = []
        if scale == 3:
            layers += [conv3(features, 9 * features), nn.PixelShuffle(3)]
        else:
            for _ in range(int(math.log2(scale))):
                layers += [conv3(features, 4 * features), nn.PixelShuffle(2)]
        super().__init__(*layers)


class LocallyShared(nn.Module):
    """An unpadded convolution whose weights are shared only within each region of its output map.

    ``regions`` is the number of regions (rows, columns). With one position a region it is an
    unshared (locally connected) convolution. Where the map does not divide evenly, regions differ
    by one position. Every region's kernel is applied everywhere and its result used in its own
    region: wasteful, but cheap on maps of a few pixels.
    """

    def __init__(self, n_in: int, n_out: int, size: int, regions: tuple[int, int]):
        super().__init__()
        self.regions, self.n_out = regions, n_out
        self.conv = nn.Conv2d(n_in, n_out * regions[0] * regions[1], size)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        rows, columns = (
            torch.arange(n, device=x.device) * r // n
            for n, r in zip(x.shape[2:], self.regions, strict=True)
        )
        region = rows[:, None] * self.regions[1] + columns
        regions = torch.arange(self.regions[0] * self.regions[1], device=x.device)
        inside = regions[:, None, None] == region
        return (x.unflatten(1, (-1, self.n_out)) * inside[:, None]).sum(1)
