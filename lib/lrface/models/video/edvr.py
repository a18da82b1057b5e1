"""EDVR (Wang et al., CVPR Workshops 2019): neighbours aligned to the reference frame by deformable
convolutions in a pyramid, fused by temporal and spatial attention.

The released networks restore 4x. For 16x12 to 128x96 three things are added, as VidFace's
comparison needs them (its repository has no EDVR to take them from): a third PixelShuffle stage of
the same form, a bilinear base at 8x, and seven frames. Input and output are in [0, 1], as in the
released code. ``paper`` is EDVR-M; EDVR-L is :data:`LARGE`.

The released training is in two stages, first without the temporal and spatial attention
(``attention=False``: one 1x1 convolution fuses the frames) and then with it, whose first 50,000
steps change the attention alone.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import flop_registry, register_flop_formula
from torchvision.ops import deform_conv2d

from lrface.models.layers import conv3
from lrface.models.video.layers import (
    Pyramid,
    ResidualBlock,
    SpatialAttention,
    Tail,
    TemporalWeights,
    conv_lrelu,
    enlarge,
    of_reference,
    with_reference_in,
)
from lrface.models.video.objectives import Charbonnier

VERSION = 1
SCALES = (8,)
SOURCE = "Wang et al., CVPR Workshops 2019"
SIZES = {
    "paper": {"features": 64, "blocks": 10, "tail": 64},
    "narrow": {"features": 24, "blocks": 10, "tail": 24},
}
LARGE = {"features": 128, "blocks": 40, "tail": 64}
"""EDVR-L, to be given to :func:`build` as changes of ``paper``."""

if torch.ops.torchvision.deform_conv2d not in flop_registry:

    @register_flop_formula(torch.ops.torchvision.deform_conv2d)
    def _deform_conv_flop(x, weight, *_, out_shape=None, **__) -> int:
        """As a plain convolution: sampling between pixels is not counted."""
        return 2 * math.prod(out_shape) * math.prod(weight[1:])


class DeformableConv(nn.Module):
    """3x3 deformable convolution with masks (DCNv2) whose offsets come from other features.

    The layer of offsets starts at zero: a plain convolution with every mask at one half.
    """

    def __init__(self, features: int, groups: int = 8):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(features, features, 3, 3))
        self.bias = nn.Parameter(torch.zeros(features))
        bound = 1 / math.sqrt(9 * features)
        nn.init.uniform_(self.weight, -bound, bound)
        self.offsets = conv3(features, 27 * groups)
        nn.init.zeros_(self.offsets.weight)
        nn.init.zeros_(self.offsets.bias)

    def forward(self, x: Tensor, features: Tensor) -> Tensor:
        found = self.offsets(features)
        split = found.shape[1] * 2 // 3
        offsets, mask = found[:, :split], found[:, split:].sigmoid()
        return deform_conv2d(x, offsets, self.weight, self.bias, padding=1, mask=mask)


class Alignment(nn.Module):
    """Pyramid, cascading and deformable (PCD): one frame's three levels (N, C, ., .) aligned to the
    reference's, (N, C, h, w)."""

    def __init__(self, features: int, groups: int = 8):
        super().__init__()
        c = features
        self.compare = nn.ModuleList(conv_lrelu(2 * c, c) for _ in range(3))
        self.refine = nn.ModuleList(
            nn.Sequential(conv_lrelu(2 * c, c), conv_lrelu(c, c)) if level < 2 else conv_lrelu(c, c)
            for level in range(3)
        )
        self.deform = nn.ModuleList(DeformableConv(c, groups) for _ in range(3))
        self.merge = nn.ModuleList(conv3(2 * c, c) for _ in range(2))
        self.cascade = nn.Sequential(conv_lrelu(2 * c, c), conv_lrelu(c, c))
        self.last = DeformableConv(c, groups)

    def forward(self, frame: list[Tensor], reference: list[Tensor]) -> Tensor:
        coarse: tuple[Tensor, Tensor] | None = None
        for level in (2, 1, 0):
            offset = self.compare[level](torch.cat([frame[level], reference[level]], 1))
            if coarse is not None:
                # offsets are lengths in pixels: they double with the resolution
                offset = torch.cat([offset, enlarge(coarse[0]) * 2], 1)
            offset = self.refine[level](offset)
            found = self.deform[level](frame[level], offset)
            if coarse is not None:
                found = self.merge[level](torch.cat([found, enlarge(coarse[1])], 1))
            if level:
                found = F.leaky_relu(found, 0.1)
            coarse = offset, found
        offset = self.cascade(torch.cat([found, reference[0]], 1))
        return F.leaky_relu(self.last(found, offset), 0.1)


class Fusion(nn.Module):
    """Temporal and spatial attention (TSA): aligned frames (N, T, C, h, w) to (N, C, h, w)."""

    def __init__(self, features: int, frames: int):
        super().__init__()
        self.temporal = TemporalWeights(features)
        self.fuse = conv_lrelu(frames * features, features, 1)
        self.spatial = SpatialAttention(frames * features, features)

    def forward(self, aligned: Tensor, slot: int) -> Tensor:
        weighed = self.temporal(aligned, slot).flatten(1, 2)
        return self.spatial(self.fuse(weighed), weighed)


class PlainFusion(nn.Module):
    """One 1x1 convolution, the first stage of the released training."""

    def __init__(self, features: int, frames: int):
        super().__init__()
        self.fuse = nn.Conv2d(frames * features, features, 1)

    def forward(self, aligned: Tensor, slot: int) -> Tensor:
        return self.fuse(aligned.flatten(1, 2))


class EDVR(nn.Module):
    """Clips float (N, 7, 3, h, w) in [0, 1] to the reference frame, (N, 3, 8h, 8w).

    Seven frames at 8x: M 3,464,227 parameters and 2.91 GMAC a 16x12 clip, L 20,847,075 and 9.56.
    """

    def __init__(
        self,
        scale: int = 8,
        features: int = 64,
        blocks: int = 10,
        tail: int = 64,
        *,
        frames: int = 7,
        reference: int | None = None,
        extract: int = 5,
        groups: int = 8,
        attention: bool = True,
    ):
        super().__init__()
        self.scale, self.frames = scale, frames
        self.reference = frames // 2 if reference is None else reference
        self.pyramid = Pyramid(features, extract)
        self.align = Alignment(features, groups)
        self.fusion = (Fusion if attention else PlainFusion)(features, frames)
        self.reconstruct = nn.Sequential(*(ResidualBlock(features) for _ in range(blocks)))
        self.tail = Tail(features, (features, tail, tail))

    def forward(self, clips: Tensor, reference: int | None = None) -> Tensor:
        """Restore frame ``self.reference``, or another one, which changes places with it: the
        fusion has weights of its own for each place."""
        slot = self.reference
        clips = with_reference_in(slot, clips, reference, self.frames)
        levels = self.pyramid(clips.flatten(0, 1))
        references = of_reference(levels, self.frames, slot)
        aligned = self.align(levels, references)
        x = self.fusion(aligned.unflatten(0, clips.shape[:2]), slot)
        return self.tail(self.reconstruct(x)) + enlarge(clips[:, slot], self.scale)


def build(scale: int, size: str, **changes) -> EDVR:
    return EDVR(scale, **SIZES[size] | changes)


OBJECTIVES = {"paper": lambda net: Charbonnier(net.reference)}
