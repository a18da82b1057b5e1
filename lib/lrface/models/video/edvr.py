"""EDVR (Wang et al., CVPR Workshops 2019): deformable alignment in a pyramid, attention for fusion.

The released networks upsample 4x. For 8x (16x12 to 128x96) this one has a third PixelShuffle stage
of the same form, a bilinear skip at 8x, and seven frames; VidFace's repository, which compares with
EDVR, does not say how it was adapted. Input and output are in [0, 1] as in the released code.
``paper`` is EDVR-M; EDVR-L is :data:`LARGE`.

The released models are trained in two stages: first without temporal and spatial attention
(``attention=False``, where a 1x1 convolution fuses the frames), then with it; the first 50,000
steps of the second stage train the fusion alone.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import flop_registry, register_flop_formula
from torchvision.ops import deform_conv2d

from lrface.models.layers import conv3
from lrface.models.recipe import Recipe
from lrface.models.video.layers import (
    SLOPE,
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
"""EDVR-L, as changes of ``paper`` for :func:`build`."""

if torch.ops.torchvision.deform_conv2d not in flop_registry:

    @register_flop_formula(torch.ops.torchvision.deform_conv2d)
    def _deform_conv_flop(x, weight, *_, out_shape=None, **__) -> int:
        """FLOPs of a plain convolution; bilinear sampling is not counted."""
        return 2 * math.prod(out_shape) * math.prod(weight[1:])


class DeformableConv(nn.Module):
    """3x3 modulated deformable convolution (DCNv2) with offsets predicted from other features.

    The layer that predicts offsets and masks is zero at first: no offsets, all masks 0.5.
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
        predicted = self.offsets(features)
        split = predicted.shape[1] * 2 // 3
        offsets, mask = predicted[:, :split], predicted[:, split:].sigmoid()
        return deform_conv2d(x, offsets, self.weight, self.bias, padding=1, mask=mask)


class Alignment(nn.Module):
    """Pyramid, cascading and deformable alignment (PCD) of a frame to the reference.

    Takes three levels of features of both and returns (N, C, h, w).
    """

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
                # these features stand for lengths in pixels, which double with the resolution
                offset = torch.cat([offset, enlarge(coarse[0]) * 2], 1)
            offset = self.refine[level](offset)
            aligned = self.deform[level](frame[level], offset)
            if coarse is not None:
                aligned = self.merge[level](torch.cat([aligned, enlarge(coarse[1])], 1))
            if level:
                aligned = F.leaky_relu(aligned, SLOPE)
            coarse = offset, aligned
        offset = self.cascade(torch.cat([aligned, reference[0]], 1))
        return F.leaky_relu(self.last(aligned, offset), SLOPE)


class Fusion(nn.Module):
    """Temporal and spatial attention fusion (TSA): (N, T, C, h, w) to (N, C, h, w)."""

    def __init__(self, features: int, frames: int):
        super().__init__()
        self.temporal = TemporalWeights(features)
        self.fuse = conv_lrelu(frames * features, features, 1)
        self.spatial = SpatialAttention(frames * features, features)

    def forward(self, aligned: Tensor, slot: int) -> Tensor:
        weighted = self.temporal(aligned, slot).flatten(1, 2)
        return self.spatial(self.fuse(weighted), weighted)


class PlainFusion(nn.Module):
    """Fusion by a 1x1 convolution, for the first stage of the released training."""

    def __init__(self, features: int, frames: int):
        super().__init__()
        self.fuse = nn.Conv2d(frames * features, features, 1)

    def forward(self, aligned: Tensor, slot: int) -> Tensor:
        return self.fuse(aligned.flatten(1, 2))


class EDVR(nn.Module):
    """Restores the reference frame of clips: float (N, 7, 3, h, w) in [0, 1] to (N, 3, 8h, 8w).

    h and w must be divisible by 4. With seven frames at 8x EDVR-M has 3,464,227 parameters and
    takes 2.91 GMAC per 16x12 clip, EDVR-L 20,847,075 and 9.56.

    Parameters
    ----------
    scale : int
        8.
    features, blocks, tail : int
        Channels, residual blocks after fusion, and channels of the last two upsampling stages.
    frames : int
        Frames of a clip.
    reference : int, optional
        The frame that is restored; the middle one by default.
    extract : int
        Residual blocks before alignment.
    groups : int
        Deformable groups.
    attention : bool
        Whether frames are fused by temporal and spatial attention.
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
        """``reference`` restores another frame; it is swapped into the reference position, because
        fusion has separate weights for each position."""
        slot = self.reference
        clips = with_reference_in(slot, clips, reference, self.frames)
        levels = self.pyramid(clips.flatten(0, 1))
        references = of_reference(levels, self.frames, slot)
        aligned = self.align(levels, references)
        x = self.fusion(aligned.unflatten(0, clips.shape[:2]), slot)
        return self.tail(self.reconstruct(x)) + enlarge(clips[:, slot], self.scale)


def build(scale: int, size: str, **changes) -> EDVR:
    """EDVR of a size; ``changes`` replace its options, for example by :data:`LARGE`."""
    return EDVR(scale, **SIZES[size] | changes)


OBJECTIVES = {"paper": lambda net: Charbonnier(net.reference)}

RECIPE = Recipe(
    steps=2400,
    loss="paper",
    schedule="annealed",
    source="EDVR's options: 4e-4, 600,000 steps; here VidFace's schedule, as for all its rivals",
    batch=4,
    patch=None,
    lr=1e-3,
    paper_lr=4e-4,
    paper_steps=600_000,
)
