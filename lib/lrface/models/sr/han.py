"""HAN (Niu et al., ECCV 2020): RCAN's trunk with attention across layers, channels and positions.

The trunk is RCAN's: 10 residual groups of 20 blocks of 64 channels, and a convolution. Their eleven
outputs, the latest first, go through the layer attention module (LAM); the last output goes through
the channel-spatial attention module (CSAM). Convolutions merge both, and the first convolution's
output is added before upsampling.

Both attentions are multiplied by a factor gamma that starts at zero, so an untrained HAN is RCAN's
trunk and two convolutions. The released code minimises the squared error by default; published
tables, and ours, are for L1.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lrface.models.layers import MeanShift, Upsampler, conv3
from lrface.models.recipe import Recipe
from lrface.models.sr.rcan import ResidualGroup

VERSION = 1
RECIPE = Recipe(
    steps=1800,
    loss="l1",
    schedule="halve-once",
    source="as EDSR; the authors' code halves after 200 of 400 epochs",
)
SIZES = {
    "paper": {"groups": 10, "blocks": 20, "features": 64, "reduction": 16},
    "narrow": {"groups": 10, "blocks": 20, "features": 8, "reduction": 4},
    "small": {"groups": 2, "blocks": 3, "features": 32, "reduction": 8},
}


class LayerAttention(nn.Module):
    """LAM: adds to each of N feature maps a mixture of all N, most of the least correlated ones.

    (B, N, C, H, W) to (B, N * C, H, W). The weights are the softmax of each row of the N x N Gram
    matrix, subtracted from its largest entry.
    """

    def __init__(self):
        super().__init__()
        self.gamma = nn.Parameter(torch.zeros(1))

    def forward(self, maps: Tensor) -> Tensor:
        x = maps.flatten(2)
        gram = x @ x.transpose(1, 2)
        weights = (gram.amax(-1, keepdim=True) - gram).softmax(-1)
        return (self.gamma * (weights @ x) + x).view_as(maps).flatten(1, 2)


class ChannelSpatialAttention(nn.Module):
    """CSAM: gates each value by its 3x3x3 neighbourhood in channel, row and column.

    A three-dimensional convolution over the map as a volume of one channel. It is computed as a
    two-dimensional convolution whose weights from channel i to channel o depend on i - o only and
    are zero beyond 1: the same numbers in a ninth of the time.
    """

    def __init__(self):
        super().__init__()
        self.gamma = nn.Parameter(torch.zeros(1))
        self.conv = conv3(3, 1)

    def forward(self, x: Tensor) -> Tensor:
        c = x.shape[1]
        neighbour = torch.stack(
            [torch.eye(c + 2, device=x.device)[i : i + c, 1:-1] for i in range(3)]
        )
        weight = torch.einsum("koi,kyx->oiyx", neighbour, self.conv.weight[0])
        gate = F.conv2d(x, weight, self.conv.bias.expand(c), padding=1).sigmoid()
        return x * (self.gamma * gate) + x


class HAN(nn.Module):
    """15,924,033 parameters at 2x, 16,108,673 at 3x, 16,071,745 at 4x, 16,219,457 at 8x
    (``paper``)."""

    def __init__(
        self,
        scale: int,
        groups: int = 10,
        blocks: int = 20,
        features: int = 64,
        reduction: int = 16,
    ):
        super().__init__()
        self.scale = scale
        self.normalise, self.restore = MeanShift(), MeanShift(inverse=True)
        self.head = conv3(3, features)
        self.body = nn.ModuleList(
            [
                *(ResidualGroup(features, blocks, reduction) for _ in range(groups)),
                conv3(features, features),
            ]
        )
        self.between_layers, self.within_last = LayerAttention(), ChannelSpatialAttention()
        self.merge_layers = conv3((groups + 1) * features, features)
        self.merge = conv3(2 * features, features)
        self.tail = nn.Sequential(Upsampler(scale, features), conv3(features, 3))

    def forward(self, lr: Tensor) -> Tensor:
        first = x = self.head(self.normalise(lr))
        maps: list[Tensor] = []
        for layer in self.body:
            x = layer(x)
            maps.insert(0, x)  # the latest first
        layers = self.merge_layers(self.between_layers(torch.stack(maps, 1)))
        x = self.merge(torch.cat([self.within_last(x), layers], 1))
        return self.restore(self.tail(first + x))


def build(scale: int, size: str) -> HAN:
    return HAN(scale, **SIZES[size])
