"""The transformers of VidFace: attention over the tokens of all frames at once."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from lrface.models.video.layers import SLOPE


def attend(q: Tensor, k: Tensor, v: Tensor, scale: float, mask: Tensor | None = None) -> Tensor:
    """Scaled dot-product attention of (N, heads, L, d); what is stored for the backward pass is
    linear in L.

    On a CPU the fused kernel needs keys and values of one width. Wider values are attended to clip
    by clip, and the attention matrix of one clip is computed again in the backward pass: that takes
    two thirds of the time of queries and keys padded to the values' width.
    """
    if q.device.type == "cpu" and v.shape[-1] > q.shape[-1]:
        clips = zip(q * scale, k, v, strict=True)
        how = dict(use_reentrant=False, preserve_rng_state=False)
        return torch.stack([checkpoint(_attend_one, *clip, mask, **how) for clip in clips])
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=scale)


def _attend_one(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    alike = q @ k.mT
    if mask is not None:
        alike = alike.masked_fill(~mask, -torch.inf)
    return alike.softmax(-1) @ v


def _heads(x: Tensor, heads: int) -> Tensor:
    """(N, L, heads * d) to (N, heads, L, d)."""
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


def _joined(x: Tensor) -> Tensor:
    """(N, heads, L, d) to (N, L, heads * d)."""
    return x.transpose(1, 2).flatten(2)


def _mlp(width: int, hidden: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))


class TokenTransformer(nn.Module):
    """T2T-ViT's transformer: the width changes, so the skip around attention adds the values."""

    def __init__(self, n_in: int, n_out: int, heads: int):
        super().__init__()
        self.heads, self.scale = heads, (n_in // heads) ** -0.5
        self.norm = nn.LayerNorm(n_in)
        self.qkv = nn.Linear(n_in, 3 * n_out, bias=False)
        self.project = nn.Linear(n_out, n_out)
        self.norm2 = nn.LayerNorm(n_out)
        self.mlp = _mlp(n_out, n_out)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        q, k, v = (_heads(part, self.heads) for part in self.qkv(self.norm(x)).chunk(3, -1))
        x = self.project(_joined(attend(q, k, v, self.scale, mask))) + _joined(v)
        return x + self.mlp(self.norm2(x))


class Block(nn.Module):
    """Pre-norm transformer block; ``scales`` are (N, 1, 1) factors of its residual branches."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads, self.scale = heads, (width // heads) ** -0.5
        self.norm = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.project = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = _mlp(width, 3 * width)

    def forward(
        self, x: Tensor, mask: Tensor | None, scales: tuple[Tensor, Tensor] | None
    ) -> Tensor:
        q, k, v = (_heads(part, self.heads) for part in self.qkv(self.norm(x)).chunk(3, -1))
        branch = self.project(_joined(attend(q, k, v, self.scale, mask)))
        x = x + (branch if scales is None else branch * scales[0])
        branch = self.mlp(self.norm2(x))
        return x + (branch if scales is None else branch * scales[1])


def soft_split(x: Tensor, frames: int, height: int, width: int) -> Tensor:
    """Concatenates 3x3 tokens of the same frame: (N, T h w, C) to (N, T h w, 9 C)."""
    maps = x.unflatten(1, (frames, height * width)).flatten(0, 1).transpose(1, 2)
    windows = F.unfold(maps.unflatten(2, (height, width)), 3, padding=1)
    return windows.transpose(1, 2).unflatten(0, (-1, frames)).flatten(1, 2)


def token_mask(visible: Tensor | None, tokens: int) -> Tensor | None:
    """Expands which frames see which, bool (T, T), to their tokens: (T tokens, T tokens)."""
    if visible is None:
        return None
    return visible.repeat_interleave(tokens, 0).repeat_interleave(tokens, 1)


class Detoken(nn.Module):
    """Detoken upsampling (DeU): (N, T h w, n_in) to (N T, features, 8h, 8w).

    The values of its attention are patches of 16x16 pixels; they are folded with a stride of 8,
    and overlaps are summed.
    """

    def __init__(self, n_in: int, heads: int, query: int, features: int, scale: int):
        super().__init__()
        self.heads, self.query, self.factor = heads, query, scale
        self.scale = (n_in // heads) ** -0.5
        self.out = features * (2 * scale) ** 2
        self.norm = nn.LayerNorm(n_in)
        self.qkv = nn.Linear(n_in, self.out + 2 * query * heads, bias=False)
        self.norm2 = nn.LayerNorm(self.out)

    def forward(self, x: Tensor, frames: int, height: int, width: int, mask: Tensor | None):
        qkv = _heads(self.qkv(self.norm(x)), self.heads)
        q, k, v = qkv.split((self.query, self.query, self.out // self.heads), -1)
        x = self.norm2(_joined(attend(q, k, v, self.scale, mask) + v))
        s = self.factor
        maps = x.unflatten(1, (frames, -1)).flatten(0, 1).transpose(1, 2)
        return F.fold(maps, (s * height, s * width), 2 * s, padding=s // 2, stride=s)


class Shuffle(nn.Module):
    """Upsampling without DeU: three times a linear layer, PixelShuffle by 2 and leaky ReLU."""

    def __init__(self, n_in: int, features: int):
        super().__init__()
        widths = (n_in, features, features)
        self.layers = nn.ModuleList(nn.Linear(width, 4 * features) for width in widths)

    def forward(self, x: Tensor, frames: int, height: int, width: int, mask: Tensor | None):
        x = x.unflatten(1, (frames, height, width)).flatten(0, 1)
        for layer in self.layers:
            x = F.pixel_shuffle(layer(x).movedim(-1, 1), 2)
            x = F.leaky_relu(x, SLOPE).movedim(1, -1)
        return x.movedim(-1, 1)
