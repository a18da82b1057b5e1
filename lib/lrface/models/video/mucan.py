"""MuCAN (Li et al., ECCV 2020): each place of the reference frame looks for its four most similar
places in every frame, then for similar places at coarser scales of its own frame.

The released network for seven frames (Vimeo-90K) at 4x, with the third PixelShuffle stage and the
8x bilinear base that EDVR gets here, too. Its correlation runs on a GPU extension alone; here it is
a product of matrices over bands of rows (:func:`correlation`), for any device. Which places are
chosen has no gradient. As in the released code zeros outside the frame can be chosen: at the
coarsest level of a 16x12 frame only 12 of a window's 49 places lie inside.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

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
SOURCE = "Li et al., ECCV 2020"
SIZES = {
    "paper": {"features": 128, "blocks": 20, "tail": 64},
    "narrow": {"features": 16, "blocks": 20, "tail": 16},
}
WINDOWS = (15, 11, 7)
"""Sides of the windows searched at full, half and quarter resolution."""
NEIGHBOURS = 4
GROUPS = 8


@torch.no_grad()
def correlation(reference: Tensor, frame: Tensor, window: int) -> Tensor:
    """Inner products of every 3x3 patch of ``reference`` with those around the same place in
    ``frame``, zeros outside.

    Parameters
    ----------
    reference, frame : Tensor
        float (N, C, h, w).
    window : int
        Odd side of the window of displacements.

    Returns
    -------
    Tensor
        float (N, window ** 2, h, w): displacements row by row, the middle one is no displacement.

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
    products = rows @ bands  # of each pixel with all of the rows that its window reaches
    step = window * wide
    inside = products.as_strided((n * h, w, window, window), (w * step, step + 1, wide, 1))
    single = inside.reshape(n, h, w, window**2).permute(0, 3, 1, 2)
    return F.avg_pool2d(single, 3, 1, 1, divisor_override=1)


def patches(frame: Tensor, chosen: Tensor, window: int) -> Tensor:
    """The 3x3 patches of ``frame`` (N, C, h, w) at the displacements ``chosen`` (N, K, h, w), as
    numbers of :func:`correlation`'s channels: (N h w, K C, 3, 3), zeros outside."""
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
    """Aggregation at one level: the patches found, mixed by a convolution, and their nine places
    summed with predicted weights; joined with the coarser level's result where there is one."""

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
        found = self.mix(patches(frame, chosen, self.window))
        found = found.view(n, h, w, GROUPS, c // GROUPS, 9).permute(0, 3, 4, 5, 1, 2)
        found = F.leaky_relu((found * weights).sum(3).flatten(1, 2), 0.1)
        if coarser is not None:
            found = self.join(torch.cat([found, enlarge(coarser[0])], 1))
        return found, state


class Aggregation(nn.Module):
    """Three levels from coarse to fine, then once more on the result with the smallest window."""

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
    """Cross-scale non-local aggregation: each place of the halved features takes, at three coarser
    scales, the place of the highest cosine; (N, C, h, w) to the same.

    What is taken are the keys, normalised to length one, as in the released code.
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
        found, coarse = [self.attend[0](own, own)], own
        for attend in self.attend[1:]:
            coarse = F.avg_pool2d(coarse, 3, 2, 1)
            keys = F.normalize(coarse.flatten(2), dim=1)
            best = (query @ keys).argmax(2)
            taken = keys.gather(2, best[:, None].expand(-1, keys.shape[1], -1)).view_as(own)
            found.append(attend(taken, taken))
        return self.join(torch.cat([x, self.up(torch.cat(found, 1))], 1))


class MuCAN(nn.Module):
    """Clips float (N, 7, 3, h, w) in [0, 1] to the reference frame, (N, 3, 8h, 8w).

    20,036,003 parameters at 8x (``paper``), 28.6 GMAC a clip of 16x12.
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
        """Restore frame ``self.reference``, or another one, which changes places with it: the
        fusion has weights of its own for each place."""
        slot = self.reference
        clips = with_reference_in(slot, clips, reference, self.frames)
        levels = self.pyramid(clips.flatten(0, 1))
        references = of_reference(levels, self.frames, slot)
        found = self.aggregate(levels, references)
        weighed = self.temporal(found.unflatten(0, clips.shape[:2]), slot)
        x = self.cross_scale(self.fuse(weighed.flatten(1, 2)))
        return self.tail(self.reconstruct(x)) + enlarge(clips[:, slot], self.scale)


def build(scale: int, size: str, **changes) -> MuCAN:
    return MuCAN(scale, **SIZES[size] | changes)


OBJECTIVES = {"paper": lambda net: Charbonnier(net.reference, epsilon=1e-3, mean=True)}
