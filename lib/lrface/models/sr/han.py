"""HAN (Niu et al., ECCV 2020): RCAN's trunk, with attention between its layers and over channels
and positions together.

Both attentions enter through a factor that starts at zero, so that an untrained HAN is RCAN's trunk
and two convolutions. The authors' code descends the squared error by default; restoration tables,
and ours, use L1.
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
    "small": {"groups": 2, "blocks": 3, "features": 32, "reduction": 8},
}


class LayerAttention(nn.Module):
    """Adds to each of N feature maps a mixture of all N, weighted most where two maps have the
    least in common.

    (B, N, C, H, W) to (B, N * C, H, W). The weights are a softmax over (largest - own) entries of a
    row of the N x N Gram matrix.
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
    """Gates every value by its neighbours in channel, row and column: a 3x3x3 convolution over the
    map as a volume of one channel.

    It is computed as a flat convolution whose weights from channel i to channel o depend on i - o
    only and vanish beyond 1: the same numbers in a ninth of the time.
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
    """15,924,033 parameters at 2x, 16,071,745 at 4x, 16,219,457 at 8x (``paper``)."""

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
        self.merge_layers, self.merge = (
            conv3((groups + 1) * features, features),
            conv3(2 * features, features),
        )
        self.tail = nn.Sequential(Upsampler(scale, features), conv3(features, 3))

    def forward(self, lr: Tensor) -> Tensor:
        first = x = self.head(self.normalise(lr))
        maps: list[Tensor] = []
        for part in self.body:
            x = part(x)
            maps.insert(0, x)  # the latest first
        layers = self.merge_layers(self.between_layers(torch.stack(maps, 1)))
        x = self.merge(torch.cat([self.within_last(x), layers], 1))
        return self.restore(self.tail(first + x))


def build(scale: int, size: str) -> HAN:
    return HAN(scale, **SIZES[size])
