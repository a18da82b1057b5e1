"""Blocks that EDVR and MuCAN share: feature pyramid, spatial attention, upsampling tail."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lrface.errors import UsageError
from lrface.models.layers import conv3

SLOPE = 0.1
"""Negative slope of every leaky ReLU in the three video networks."""


def conv_lrelu(n_in: int, n_out: int, size: int | tuple[int, int] = 3, stride: int = 1):
    """Convolution with same padding, then leaky ReLU."""
    rows, columns = (size, size) if isinstance(size, int) else size
    padding = (rows // 2, columns // 2)
    return nn.Sequential(
        nn.Conv2d(n_in, n_out, (rows, columns), stride, padding),
        nn.LeakyReLU(SLOPE, inplace=True),
    )


def enlarge(x: Tensor, factor: int = 2) -> Tensor:
    """Bilinear enlargement of (N, C, h, w)."""
    return F.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=False)


class ResidualBlock(nn.Module):
    """conv3 - ReLU - conv3, plus the input; initial weights are a tenth of Kaiming's."""

    def __init__(self, features: int):
        super().__init__()
        self.body = nn.Sequential(
            conv3(features, features), nn.ReLU(inplace=True), conv3(features, features)
        )
        for layer in (self.body[0], self.body[2]):
            nn.init.kaiming_normal_(layer.weight)
            layer.weight.data.mul_(0.1)
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


class Pyramid(nn.Module):
    """Features of a frame at full, half and quarter resolution: (N, 3, h, w) to three maps."""

    def __init__(self, features: int, blocks: int):
        super().__init__()
        self.first = conv_lrelu(3, features)
        self.blocks = nn.Sequential(*(ResidualBlock(features) for _ in range(blocks)))
        self.downs = nn.ModuleList(
            nn.Sequential(conv_lrelu(features, features, stride=2), conv_lrelu(features, features))
            for _ in range(2)
        )

    def forward(self, frames: Tensor) -> list[Tensor]:
        if any(side % 4 for side in frames.shape[2:]):
            height, width = frames.shape[2:]
            raise UsageError(
                f"a pyramid of three levels needs sides that 4 divides, not {height}x{width}"
            )
        levels = [self.blocks(self.first(frames))]
        for down in self.downs:
            levels.append(down(levels[-1]))
        return levels


class SpatialAttention(nn.Module):
    """EDVR's spatial attention: scales and shifts ``x`` by two pooled levels of ``source``.

    ``source`` has ``n_in`` channels, ``x`` has ``features``.
    """

    def __init__(self, n_in: int, features: int):
        super().__init__()
        self.enter = conv_lrelu(n_in, features, 1)
        self.pooled1 = conv_lrelu(2 * features, features, 1)
        self.beside = conv_lrelu(features, features)
        self.deeper = conv_lrelu(features, features, 1)
        self.pooled2 = nn.Sequential(
            conv_lrelu(2 * features, features), conv_lrelu(features, features)
        )
        self.joined = conv_lrelu(features, features, 1)
        self.scale = conv3(features, features)
        self.shift = nn.Sequential(
            conv_lrelu(features, features, 1), nn.Conv2d(features, features, 1)
        )

    @staticmethod
    def _pool(x: Tensor) -> Tensor:
        return torch.cat([F.max_pool2d(x, 3, 2, 1), F.avg_pool2d(x, 3, 2, 1)], 1)

    def forward(self, x: Tensor, source: Tensor) -> Tensor:
        half = self.pooled1(self._pool(self.enter(source)))
        quarter = self.pooled2(self._pool(self.deeper(half)))
        attention = self.scale(enlarge(self.joined(self.beside(half) + enlarge(quarter))))
        return x * attention.sigmoid() * 2 + self.shift(attention)


class TemporalWeights(nn.Module):
    """Weights the features of each frame (N, T, C, h, w) by their similarity to the reference's.

    The weight of a pixel is the sigmoid of the inner product of two 3x3 embeddings.
    """

    def __init__(self, features: int):
        super().__init__()
        self.reference, self.each = conv3(features, features), conv3(features, features)

    def forward(self, aligned: Tensor, slot: int) -> Tensor:
        reference = self.reference(aligned[:, slot])
        each = self.each(aligned.flatten(0, 1)).unflatten(0, aligned.shape[:2])
        return aligned * (each * reference[:, None]).sum(2, keepdim=True).sigmoid()


class Tail(nn.Sequential):
    """PixelShuffle stages of factor 2 to ``widths`` channels, then two convolutions to RGB."""

    def __init__(self, features: int, widths: tuple[int, ...]):
        layers: list[nn.Module] = []
        for width in widths:
            layers += [
                conv3(features, 4 * width),
                nn.PixelShuffle(2),
                nn.LeakyReLU(SLOPE, inplace=True),
            ]
            features = width
        super().__init__(*layers, conv_lrelu(features, features), conv3(features, 3))


def with_reference_in(slot: int, clips: Tensor, reference: int | None, frames: int) -> Tensor:
    """Swaps frame ``reference`` of clips (N, T, 3, h, w) into position ``slot``.

    None leaves the clips as they are. Raises :class:`UsageError` unless T is ``frames``.
    """
    if clips.ndim != 5 or clips.shape[1] != frames:
        found = f"{clips.shape[1]} frames" if clips.ndim == 5 else f"shape {tuple(clips.shape)}"
        raise UsageError(
            f"this network restores clips (N, {frames}, 3, h, w), got {found}: "
            "repeat the reference frame of a shorter clip"
        )
    if reference is None or reference == slot:
        return clips
    order = list(range(frames))
    order[slot], order[reference] = order[reference], order[slot]
    return clips[:, order]


def of_reference(levels: list[Tensor], frames: int, slot: int) -> list[Tensor]:
    """Repeats the maps of frame ``slot`` for every frame of its clip, (N T, C, h, w)."""
    own = (level.unflatten(0, (-1, frames))[:, slot] for level in levels)
    return [level.repeat_interleave(frames, 0) for level in own]
