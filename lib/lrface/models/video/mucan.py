"""MuCAN (Li et al., ECCV 2020): aggregates similar patches of all frames, then of coarser scales.

This is the released network for seven frames (Vimeo-90K, 4x), with the third PixelShuffle stage and
the bilinear skip at 8x that EDVR has here, too. The released correlation is a CUDA extension; here
it is a matrix product over bands of rows (:func:`correlation`) that runs on any device. As in the
released code, patches of zero padding can be chosen: at the coarsest level of a 16x12 frame only 12
of the 49 positions of a window lie inside the frame. The choice of patches has no gradient.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

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
SOURCE = "Li et al., ECCV 2020"
SIZES = {
    "paper": {"features": 128, "blocks": 20, "tail": 64},
    "narrow": {"features": 16, "blocks": 20, "tail": 16},
}
WINDOWS = (15, 11, 7)
"""Sides of the search windows at full, half and quarter resolution."""
NEIGHBOURS = 4
GROUPS = 8


@torch.no_grad()
def correlation(reference: Tensor, frame: Tensor, window: int) -> Tensor:
    """Inner products of 3x3 patches of ``reference`` with displaced patches of ``frame``.

    Both are padded with zeros.

    Parameters
    ----------
    reference, frame : Tensor
        float (N, C, h, w).
    window : int
        Odd side of the window of displacements, in pixels.

    Returns
    -------
    Tensor
        float (N, window ** 2, h, w): displacements row by row; the middle channel is the one
        without displacement.

    Examples
    --------
    >>> x = torch.nn.functional.normalize(torch.rand(1, 4, 5, 5), dim=1)
    >>> correlation(x, x, 3)[0, 4, 2, 2].round().item()
    9.0
    """
    n, c, h, w = frame.shape
    wide = w + window - 1
    padded = F.pad(frame, [window // 2] * 4)
    bands = padded.unfold(2, window, 1).permute(0, 2, 1, 4, 3).reshape(n * h, c, window * wide)
    rows = reference.permute(0, 2, 3, 1).reshape(n * h, w, c)
    products = rows @ bands  # of each pixel with whole rows of the frame
    step = window * wide
    windows = products.as_strided((n * h, w, window, window), (w * step, step + 1, wide, 1))
    single = windows.reshape(n, h, w, window**2).permute(0, 3, 1, 2)
    return F.avg_pool2d(single, 3, 1, 1, divisor_override=1)


def patches(frame: Tensor, chosen: Tensor, window: int) -> Tensor:
    """Gathers 3x3 patches of ``frame`` (N, C, h, w): (N h w, K C, 3, 3).

    ``chosen`` (N, K, h, w) are K displacements per pixel, as channel indices of
    :func:`correlation`.
    """
    n, c, h, w = frame.shape
    padded = F.pad(frame, [window // 2 + 1] * 4)
    height, width = padded.shape[2:]
    device = frame.device
    down, across = chosen // window, chosen % window
    rows = down + torch.arange(h, device=device)[:, None]
    columns = across + torch.arange(w, device=device)
    first = rows * width + columns
    first = first + torch.arange(n, device=device)[:, None, None, None] * height * width
    tap = torch.arange(3, device=device)
    places = first.permute(0, 2, 3, 1)[..., None] + (tap[:, None] * width + tap).flatten()
    pixels = padded.permute(0, 2, 3, 1).reshape(-1, c).index_select(0, places.flatten())
    return pixels.view(n * h * w, -1, 9, c).transpose(2, 3).reshape(n * h * w, -1, 3, 3)


class Level(nn.Module):
    """Aggregation at one level of the pyramid.

    A convolution mixes the patches found at each pixel; the nine pixels of the mixed patch are
    summed with predicted weights, and joined with the result of the coarser level, if any.
    """

    def __init__(self, features: int, window: int, coarser: bool):
        super().__init__()
        c = features
        self.window = window
        self.enter = conv_lrelu(2 * c, c)
        self.refine = conv_lrelu(2 * c, c) if coarser else None
        self.body = nn.Sequential(
            conv_lrelu(c, c), conv_lrelu(c, c, (7, 1)), conv_lrelu(c, c, (1, 7))
        )
        self.weights = conv3(c, 9 * GROUPS)
        self.mix = conv_lrelu(NEIGHBOURS * c, c)
        self.join = conv_lrelu(2 * c, c) if coarser else None

    def forward(
        self, frame: Tensor, reference: Tensor, coarser: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Tensor, Tensor]:
        n, c, h, w = frame.shape
        state = self.enter(torch.cat([frame, reference], 1))
        if coarser is not None:
            state = self.refine(torch.cat([state, enlarge(coarser[1])], 1))
        state = self.body(state)
        weights = self.weights(state).view(n, GROUPS, 1, 9, h, w)
        similar = correlation(F.normalize(reference), F.normalize(frame), self.window)
        chosen = similar.topk(NEIGHBOURS, 1).indices
        mixed = self.mix(patches(frame, chosen, self.window))
        mixed = mixed.view(n, h, w, GROUPS, c // GROUPS, 9).permute(0, 3, 4, 5, 1, 2)
        result = F.leaky_relu((mixed * weights).sum(3).flatten(1, 2), SLOPE)
        if coarser is not None:
            result = self.join(torch.cat([result, enlarge(coarser[0])], 1))
        return result, state


class Aggregation(nn.Module):
    """Aggregates three levels from coarse to fine, then searches once more in the result."""

    def __init__(self, features: int):
        super().__init__()
        self.levels = nn.ModuleList(
            Level(features, window, coarser=i < 2) for i, window in enumerate(WINDOWS)
        )
        self.cascade = Level(features, WINDOWS[2], coarser=False)

    def forward(self, frame: list[Tensor], reference: list[Tensor]) -> Tensor:
        result = None
        for i in (2, 1, 0):
            result = self.levels[i](frame[i], reference[i], result)
        return self.cascade(result[0], reference[0])[0]


class CrossScale(nn.Module):
    """Cross-scale non-local aggregation of one frame's features, (N, C, h, w) to the same.

    Each pixel of the halved features takes the most similar pixel (cosine) of each of three coarser
    scales. As in the released code it takes the normalised features.
    """

    def __init__(self, features: int, scales: int = 3):
        super().__init__()
        c = features
        self.down = conv_lrelu(c, c, stride=2)
        self.attend = nn.ModuleList(SpatialAttention(c, c) for _ in range(scales + 1))
        self.up = nn.Sequential(
            conv_lrelu((scales + 1) * c, 4 * c, 1), nn.PixelShuffle(2), conv_lrelu(c, c)
        )
        self.join = conv_lrelu(2 * c, c)

    def forward(self, x: Tensor) -> Tensor:
        own = self.down(x)
        query = F.normalize(own.flatten(2), dim=1).transpose(1, 2)
        scales, coarse = [self.attend[0](own, own)], own
        for attend in self.attend[1:]:
            coarse = F.avg_pool2d(coarse, 3, 2, 1)
            keys = F.normalize(coarse.flatten(2), dim=1)
            best = (query @ keys).argmax(2)
            taken = keys.gather(2, best[:, None].expand(-1, keys.shape[1], -1)).view_as(own)
            scales.append(attend(taken, taken))
        return self.join(torch.cat([x, self.up(torch.cat(scales, 1))], 1))


class MuCAN(nn.Module):
    """Restores the reference frame of clips: float (N, 7, 3, h, w) in [0, 1] to (N, 3, 8h, 8w).

    h and w must be divisible by 4. ``paper`` has 20,036,003 parameters at 8x and takes 28.7 GMAC
    per 16x12 clip.

    Parameters
    ----------
    scale : int
        8.
    features, blocks, tail : int
        Channels, residual blocks after aggregation, and channels of the last two upsampling stages.
    frames : int
        Frames of a clip.
    reference : int, optional
        The frame that is restored; the middle one by default.
    extract : int
        Residual blocks before aggregation.
    """

    def __init__(
        self,
        scale: int = 8,
        features: int = 128,
        blocks: int = 20,
        tail: int = 64,
        *,
        frames: int = 7,
        reference: int | None = None,
        extract: int = 5,
    ):
        super().__init__()
        self.scale, self.frames = scale, frames
        self.reference = frames // 2 if reference is None else reference
        self.pyramid = Pyramid(features, extract)
        self.aggregate = Aggregation(features)
        self.temporal = TemporalWeights(features)
        self.fuse = nn.Sequential(
            conv_lrelu(frames * features, 4 * features, 1), nn.PixelShuffle(2)
        )
        self.cross_scale = CrossScale(features)
        self.reconstruct = nn.Sequential(*(ResidualBlock(features) for _ in range(blocks)))
        self.tail = Tail(features, (tail, tail))

    def forward(self, clips: Tensor, reference: int | None = None) -> Tensor:
        """``reference`` restores another frame; it is swapped into the reference position, because
        fusion has separate weights for each position."""
        slot = self.reference
        clips = with_reference_in(slot, clips, reference, self.frames)
        levels = self.pyramid(clips.flatten(0, 1))
        references = of_reference(levels, self.frames, slot)
        aligned = self.aggregate(levels, references)
        weighted = self.temporal(aligned.unflatten(0, clips.shape[:2]), slot)
        x = self.cross_scale(self.fuse(weighted.flatten(1, 2)))
        return self.tail(self.reconstruct(x)) + enlarge(clips[:, slot], self.scale)


def build(scale: int, size: str, **changes) -> MuCAN:
    """MuCAN of a size; ``changes`` replace its options."""
    return MuCAN(scale, **SIZES[size] | changes)


OBJECTIVES = {"paper": lambda net: Charbonnier(net.reference, epsilon=1e-3, mean=True)}

RECIPE = Recipe(
    steps=2400,
    loss="paper",
    schedule="annealed",
    source="not printed, not in its code; here VidFace's schedule, as for all its rivals",
    batch=4,
    patch=None,
    lr=1e-3,
    paper_lr=4e-4,
    paper_steps=600_000,
)
