"""VidFace (Gan et al., 2021): all frames of a clip restored at once by transformers over the tokens
of all frames.

A token-to-token encoder with as many tokens throughout as the clip has pixels; a refiner that runs
twice with the same weights and finds five landmarks each time, from which every token's landmark
encoding (RLPE) for the next round is made; a detokenising transformer and fold (DeU). No frame has
a code of its own, so the order of the frames changes nothing, and any number of them will do. What
the paper leaves open (depth, widths, iterations, start, the bilinear base) is the released code's.

Where paper and released code disagree both are here, the paper's by default:

* ``encoding``: ``distances`` are five Euclidean distances in square pixels, divided by their sum
  over the five; while all landmarks are at the centre that is 0.2 everywhere, so the first
  iteration knows nothing of landmarks. The code's ``offsets`` are ten signed differences, in
  fractions of the frame, of the token's top left corner and each landmark, not normalised. Tokens
  have five (ten) channels fewer, so that with the encoding 8 heads divide the width.
* ``head``: ``mlp`` reduces each token by a linear layer, then two linear layers find the landmarks
  of the frame (equation 2, whose widths are ours); ``linear`` reduces by two and finds by one.
* ``trainable_positions``: the sinusoid code of places is fixed in the paper. The code declares it
  so and trains it from the first step on.
* the loss (:class:`lrface.models.video.objectives.VidFaceLoss`).

Table 2's ablations are options, too, and their structure is ours, for neither paper nor code says
it: ``encoding="none"`` leaves the refiner's two rounds and takes landmarks, their loss and the
layer after each round away; ``upsampling="shuffle"`` replaces DeU by three linear layers with
PixelShuffle (as lines that the code has commented out); ``encoder="deformable"`` replaces the two
token transformers by convolutions and EDVR's alignment of all frames to each.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from lrface.errors import UsageError
from lrface.models.video.edvr import Alignment
from lrface.models.video.layers import SLOPE, Pyramid, TemporalWeights, conv_lrelu, enlarge
from lrface.models.video.objectives import VidFaceLoss
from lrface.models.video.transformers import (
    Block,
    Detoken,
    Shuffle,
    TokenTransformer,
    soft_split,
)

VERSION = 1
SCALES = (8,)
SOURCE = "Gan et al., VidFace, 2021"
SIZES = {
    "paper": {
        "width": 384,
        "heads": 8,
        "token": 64,
        "pixel": 16,
        "query": 32,
        "features": 32,
        "hidden": 64,
        "reduced": (32, 16),
        "std": 0.03,
    },
    "narrow": {
        "width": 48,
        "heads": 4,
        "token": 16,
        "pixel": 8,
        "query": 8,
        "features": 3,
        "hidden": 16,
        "reduced": (8, 4),
        "std": 0.085,
    },
}
DEPTH, ITERATIONS = 4, 2
DROP_PATH = 0.1
"""Of the last block; the first drops nothing."""
CHANNELS = {"distances": 5, "offsets": 10, "none": 0}
OPTIONS = {
    "VidFace": {},
    "VidFace, code": {"encoding": "offsets", "head": "linear", "trainable_positions": True},
    "VidFace (A)": {"encoder": "deformable", "encoding": "none", "upsampling": "shuffle"},
    "VidFace (B)": {"encoding": "none", "upsampling": "shuffle"},
    "VidFace, RLPE alone": {"upsampling": "shuffle"},
    "VidFace, DeU alone": {"encoding": "none"},
}
"""The full method and the rows of Table 2, with the two that the paper lacks."""


def positions(places: int, width: int) -> Tensor:
    """Vaswani's sinusoid code of places 0, 1, ...: float (places, width)."""
    rate = 10000 ** (2 * (torch.arange(width) // 2).double() / width)
    angle = torch.arange(places)[:, None] / rate
    return torch.where(torch.arange(width) % 2 == 0, angle.sin(), angle.cos()).float()


def grid(height: int, width: int, device: torch.device | None = None) -> Tensor:
    """The places of the tokens, row by row, as fractions of the frame from its middle: float
    (height * width, 2), x and y of the top left corners."""
    y, x = torch.meshgrid(
        torch.arange(height, device=device) / height - 0.5,
        torch.arange(width, device=device) / width - 0.5,
        indexing="ij",
    )
    return torch.stack([x, y], -1).flatten(0, 1)


def landmark_encoding(landmarks: Tensor, height: int, width: int, kind: str) -> Tensor:
    """What each token is told of the landmarks (equation 3).

    Parameters
    ----------
    landmarks : Tensor
        float (..., 5, 2): x and y as fractions of the frame from its middle.
    height, width : int
        Tokens down and across.
    kind : {"distances", "offsets"}
        ``distances``: five Euclidean distances in pixels of the small frame over the sum of the
        five. ``offsets``: ten signed differences, token minus landmark, x and y in turn, in
        fractions of the frame.

    Returns
    -------
    Tensor
        float (..., height * width, 5 or 10).

    Examples
    --------
    >>> round(landmark_encoding(torch.zeros(5, 2), 16, 12, "distances").mean().item(), 4)
    0.2
    """
    places = grid(height, width, landmarks.device).to(landmarks.dtype)
    offsets = places[:, None] - landmarks[..., None, :, :]
    if kind == "offsets":
        return offsets.flatten(-2)
    in_pixels = offsets * offsets.new_tensor([width, height])
    # the small number makes a place where all landmarks are an ordinary one: 0.2 five times
    distances = (in_pixels.square().sum(-1) + 1e-8).sqrt()
    return distances / distances.sum(-1, keepdim=True)


class TokenEncoder(nn.Module):
    """Token to token: frames (N, T, 3, h, w) to tokens of three depths, (N, T h w, .) each."""

    def __init__(self, embed: int, heads: int, token: int, pixel: int):
        super().__init__()
        self.enter = nn.Linear(3, pixel)
        self.first = TokenTransformer(9 * pixel, token, heads)
        self.second = TokenTransformer(9 * token, token, heads)
        self.project = nn.Linear(9 * token, embed)

    def forward(
        self, clips: Tensor, sees: Tensor | None, frames_seen: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        t, _, h, w = clips.shape[1:]
        x = self.enter(clips.movedim(2, -1).flatten(1, 3))
        x1 = self.first(soft_split(x, t, h, w), sees)
        x2 = self.second(soft_split(x1, t, h, w), sees)
        return x1, x2, self.project(soft_split(x2, t, h, w))


class DeformableEncoder(nn.Module):
    """In place of the token transformers: features of every frame (first depth), and the mean of
    all frames' features, aligned to it and weighed as EDVR does (second depth)."""

    def __init__(self, embed: int, token: int):
        super().__init__()
        self.pyramid = Pyramid(token, 5)
        self.align = Alignment(token)
        self.temporal = TemporalWeights(token)
        self.fuse = conv_lrelu(token, token, 1)
        self.project = nn.Linear(9 * token, embed)

    def forward(
        self, clips: Tensor, sees: Tensor | None, frames_seen: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        n, t, _, h, w = clips.shape
        levels = self.pyramid(clips.flatten(0, 1))
        by_clip = [level.unflatten(0, (n, t)) for level in levels]
        fused = []
        for i in range(t):
            seen = range(t) if frames_seen is None else frames_seen[i].nonzero()[:, 0].tolist()
            order = [i, *(j for j in seen if j != i)]
            frames = [level[:, order].flatten(0, 1) for level in by_clip]
            reference = [level[:, [i] * len(order)].flatten(0, 1) for level in by_clip]
            aligned = self.align(frames, reference).unflatten(0, (n, len(order)))
            fused.append(self.fuse(self.temporal(aligned, 0).mean(1)))

        x1, x2 = (
            x.flatten(3).transpose(2, 3).flatten(1, 2) for x in (by_clip[0], torch.stack(fused, 1))
        )
        return x1, x2, self.project(soft_split(x2, t, h, w))


class LandmarkHead(nn.Module):
    """Five landmarks of each frame from all its tokens: (N, T, h w, embed) to (N, T, 5, 2)."""

    def __init__(self, embed: int, tokens: int, reduced: tuple[int, int], kind: str):
        super().__init__()
        wide, narrow = reduced
        if kind == "mlp":
            self.reduce = nn.Linear(embed, narrow)
            self.find = nn.Sequential(nn.Linear(tokens * narrow, wide), nn.Linear(wide, 10))
        else:
            self.reduce = nn.Sequential(nn.Linear(embed, wide), nn.Linear(wide, narrow))
            self.find = nn.Linear(tokens * narrow, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.find(self.reduce(x).flatten(2)).unflatten(2, (5, 2))


class Passes(NamedTuple):
    """All that :meth:`VidFace.passes` finds in clips (N, T, 3, h, w)."""

    faces: Tensor
    """float (N, T, 3, 8h, 8w), near [0, 1]."""
    landmarks: list[Tensor]
    """Of each iteration, float (N, T, 5, 2): fractions of the frame from its middle
    (:func:`lrface.models.video.objectives.pixels`)."""
    encodings: list[Tensor]
    """What the tokens were told in each iteration, float (N, T, 5 or 10, h, w)."""


class VidFace(nn.Module):
    """Clips float (N, T, 3, h, w) in [0, 1] to all their frames, (N, T, 3, 8h, 8w).

    Parameters
    ----------
    scale : int
        8.
    width, heads, token, pixel, query, features, hidden, reduced, std
        Of :data:`SIZES`: channels of the refiner, heads of every attention, channels of the first
        two depths, of a pixel, of a detokenising query, of the folded map, of the layer after it,
        of a token for the landmarks, and the deviation of the linear layers' start.
    frame : tuple of int
        Height and width of the small frames: the landmark head and the places know them.
    encoding : {"distances", "offsets", "none"}
    head : {"mlp", "linear"}
    encoder : {"tokens", "deformable"}
    upsampling : {"detoken", "shuffle"}
    trainable_positions : bool
        These are what the module's text describes.
    drop_path : float
        Probability of leaving the last block's additions out, in training; those before it less.

    Notes
    -----
    In training mode it returns the faces and the landmarks of every iteration. Which additions a
    step leaves out depends on the number of training passes alone, which is part of the state: a
    training that was interrupted goes on as it would have.

    Examples
    --------
    >>> net = build(8, "narrow", frame=(4, 4)).eval()
    >>> net(torch.rand(1, 3, 3, 4, 4)).shape
    torch.Size([1, 3, 3, 32, 32])
    """

    def __init__(
        self,
        scale: int = 8,
        width: int = 384,
        heads: int = 8,
        token: int = 64,
        pixel: int = 16,
        query: int = 32,
        features: int = 32,
        hidden: int = 64,
        reduced: tuple[int, int] = (32, 16),
        std: float = 0.03,
        *,
        frame: tuple[int, int] = (16, 12),
        encoding: Literal["distances", "offsets", "none"] = "distances",
        head: Literal["mlp", "linear"] = "mlp",
        encoder: Literal["tokens", "deformable"] = "tokens",
        upsampling: Literal["detoken", "shuffle"] = "detoken",
        trainable_positions: bool = False,
        drop_path: float = DROP_PATH,
    ):
        super().__init__()
        self.scale, self.frame, self.encoding, self.drop_path = scale, frame, encoding, drop_path
        tokens, embed = frame[0] * frame[1], width - CHANNELS[encoding]
        if encoder == "tokens":
            self.encoder = TokenEncoder(embed, heads, token, pixel)
        else:
            self.encoder = DeformableEncoder(embed, token)
        code = positions(tokens, embed)
        if trainable_positions:
            self.positions = nn.Parameter(code)
        else:
            self.register_buffer("positions", code, persistent=False)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(DEPTH))
        if encoding != "none":
            self.narrow = nn.Linear(width, embed)
            self.landmarks = LandmarkHead(embed, tokens, reduced, head)
        self.norm = nn.LayerNorm(embed)
        self.stack = nn.Linear(width, 9 * token + CHANNELS[encoding])
        stacked = 9 * token + CHANNELS[encoding] + 2 * token + embed
        if upsampling == "detoken":
            self.upsampling = Detoken(stacked, heads, query, features, scale)
        else:
            features = hidden
            self.upsampling = Shuffle(stacked, features)
        self.colours = nn.Sequential(
            nn.Linear(features, hidden), nn.LeakyReLU(SLOPE), nn.Linear(hidden, 3)
        )
        self.register_buffer("training_passes", torch.zeros((), dtype=torch.int64))
        for layer in self.modules():
            if isinstance(layer, nn.Linear):
                nn.init.normal_(layer.weight, std=std)
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)

    def _kept(self, clips: int, device: torch.device) -> list[tuple[Tensor, Tensor] | None]:
        """For every block of every iteration, what the two additions of each clip are scaled by: 0
        or one over the probability of being kept."""
        count = DEPTH * ITERATIONS
        if not self.training or not self.drop_path:
            return [None] * count
        keep = 1 - torch.linspace(0, self.drop_path, DEPTH).repeat(ITERATIONS)[:, None, None]
        generator = torch.Generator().manual_seed(int(self.training_passes))
        self.training_passes += 1
        drawn = torch.rand(count, 2, clips, generator=generator) < keep
        scales = (drawn / keep).to(device)[..., None, None]
        return [(first, second) for first, second in scales]

    def _seen_tokens(self, sees: Tensor | None, frames: int) -> Tensor | None:
        if sees is None:
            return None
        if sees.shape != (frames, frames) or not sees.diagonal().all():
            raise UsageError(
                f"which of {frames} frames see which is a bool ({frames}, {frames}) with a true "
                "diagonal"
            )
        tokens = self.frame[0] * self.frame[1]
        return sees.repeat_interleave(tokens, 0).repeat_interleave(tokens, 1)

    def passes(self, clips: Tensor, sees: Tensor | None = None) -> Passes:
        """The faces with landmarks and landmark encodings of every iteration.

        Parameters
        ----------
        clips : Tensor
            float (N, T, 3, h, w) in [0, 1].
        sees : Tensor, optional
            bool (T, T): row i marks the frames that frame i attends to, itself among them. The
            identity matrix restores every frame alone.
        """
        if clips.ndim != 5 or tuple(clips.shape[-2:]) != tuple(self.frame):
            h, w = self.frame
            raise UsageError(
                f"this VidFace restores clips (N, T, 3, {h}, {w}), got {tuple(clips.shape)}: build "
                "it with frame=(h, w) for others"
            )
        n, t, _, h, w = clips.shape
        clips = 2 * clips - 1
        mask = self._seen_tokens(sees, t)
        x1, x2, x3 = self.encoder(clips, mask, sees)
        x = x3 + self.positions.repeat(t, 1)
        landmarks, encodings = [], []
        points = x.new_zeros(n, t, 5, 2)
        kept = iter(self._kept(n, x.device))
        for _ in range(ITERATIONS):
            if self.encoding != "none":
                told = landmark_encoding(points, h, w, self.encoding)
                encodings.append(told.transpose(2, 3).unflatten(3, (h, w)))
                told = told.flatten(1, 2)
                x = torch.cat([x, told], 2)
            for block in self.blocks:
                x = block(x, mask, next(kept))
            if self.encoding != "none":
                x = self.narrow(x)
                points = self.landmarks(x.unflatten(1, (t, h * w)))
                landmarks.append(points)
        x = self.norm(x)
        # the decoder is told of the landmarks that the last iteration started from, as in the code
        x = self.stack(torch.cat([x, told], 2) if self.encoding != "none" else x)
        maps = self.upsampling(torch.cat([x, x1, x2, x3], 2), t, h, w, mask)
        details = self.colours(maps.movedim(1, -1)).movedim(-1, 1)
        faces = details + enlarge(clips.flatten(0, 1), self.scale)
        return Passes((faces.unflatten(0, (n, t)) + 1) / 2, landmarks, encodings)

    def forward(
        self, clips: Tensor, sees: Tensor | None = None
    ) -> Tensor | tuple[Tensor, list[Tensor]]:
        found = self.passes(clips, sees)
        return (found.faces, found.landmarks) if self.training else found.faces


def build(scale: int, size: str, **changes) -> VidFace:
    """The network of this size; ``changes`` are :class:`VidFace`'s options, such as a value of
    :data:`OPTIONS`."""
    return VidFace(scale, **SIZES[size] | changes)


OBJECTIVES = {
    "paper": lambda net: VidFaceLoss(),
    "code": lambda net: VidFaceLoss(per_frame=False, doubled=3),
}
