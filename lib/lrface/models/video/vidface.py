"""VidFace (Gan et al., 2021) restores all frames of a clip at once, by attention over all tokens.

The encoder turns every pixel of the small frames into a token (token to token; the number of tokens
never changes). The refiner runs twice with the same weights; each time it estimates five landmarks
per frame, from which the landmark encoding (RLPE) of the next iteration is computed. The decoder
upsamples tokens by a transformer with wide values and a fold (DeU). Frames have no temporal code,
so their order does not matter, and a clip may have any number of frames. What the paper leaves open
(depth, widths, iterations, initialisation, the bilinear skip) is taken from the released code.

Where the paper and the released code disagree, both are available and the paper is the default:

* ``encoding``: ``distances`` (paper) are the Euclidean distances of a token to the five landmarks,
  in pixels of the small frame, L1-normalised over the five. In the first iteration all landmarks
  are at the centre, so the encoding is 0.2 everywhere and carries no information. ``offsets``
  (code) are ten signed differences in fractions of the frame, not normalised. Tokens are narrower
  by 5 or 10 channels, so that the width with the encoding is divisible by the number of heads.
* ``head``: ``mlp`` (paper, equation 2; its hidden widths are ours) is one linear layer per token,
  then two on the flattened tokens of a frame. ``linear`` (code) is two per token, then one.
* ``trainable_positions``: the sinusoidal position code is fixed in the paper. The code declares it
  fixed, but trains it from the first step.
* The loss: :class:`lrface.models.video.objectives.VidFaceLoss`.

The ablations of Table 2 are options as well. Neither paper nor code describes them, so these are
our reading. ``encoding="none"`` keeps both iterations of the refiner, but has no landmarks, no
landmark loss and no projection after each iteration. ``upsampling="shuffle"`` replaces DeU by three
linear layers with PixelShuffle (the code has such lines, commented out). ``encoder="deformable"``
replaces the two token transformers by convolutions and EDVR's alignment.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from lrface.errors import UsageError
from lrface.models.recipe import Recipe
from lrface.models.video.edvr import Alignment
from lrface.models.video.layers import SLOPE, Pyramid, TemporalWeights, conv_lrelu, enlarge
from lrface.models.video.objectives import VidFaceLoss
from lrface.models.video.transformers import (
    Block,
    Detoken,
    Shuffle,
    TokenTransformer,
    soft_split,
    token_mask,
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
        "heads": 1,
        "token": 16,
        "pixel": 8,
        "query": 32,
        "features": 2,
        "hidden": 16,
        "reduced": (8, 4),
        "std": 0.085,
    },
}
"""``narrow`` has one of the paper's eight heads, of the same width, and an eighth of its width."""
DEPTH, ITERATIONS = 4, 2
DROP_PATH = 0.1
"""Drop rate of the last block; it grows linearly from 0 in the first."""
CHANNELS = {"distances": 5, "offsets": 10, "none": 0}
OPTIONS = {
    "VidFace": {},
    "VidFace-code": {"encoding": "offsets", "head": "linear", "trainable_positions": True},
    "VidFace-A": {"encoder": "deformable", "encoding": "none", "upsampling": "shuffle"},
    "VidFace-B": {"encoding": "none", "upsampling": "shuffle"},
    "VidFace-RLPE": {"upsampling": "shuffle"},
    "VidFace-DeU": {"encoding": "none"},
}
"""Options of the full method, of the released code, and of the ablations: rows A and B of Table 2,
and two that the paper does not have."""


def positions(places: int, width: int) -> Tensor:
    """Sinusoidal position code of Vaswani et al.: float (places, width)."""
    rate = 10000 ** (2 * (torch.arange(width) // 2).double() / width)
    angle = torch.arange(places)[:, None] / rate
    return torch.where(torch.arange(width) % 2 == 0, angle.sin(), angle.cos()).float()


def grid(height: int, width: int, device: torch.device | None = None) -> Tensor:
    """Top left corners (x, y) of the tokens, row by row: float (height * width, 2).

    In fractions of the frame, measured from its centre: from -0.5 to just below 0.5.
    """
    y, x = torch.meshgrid(
        torch.arange(height, device=device) / height - 0.5,
        torch.arange(width, device=device) / width - 0.5,
        indexing="ij",
    )
    return torch.stack([x, y], -1).flatten(0, 1)


def landmark_encoding(landmarks: Tensor, height: int, width: int, kind: str) -> Tensor:
    """Positions of all tokens relative to five landmarks (RLPE, equation 3).

    Parameters
    ----------
    landmarks : Tensor
        float (..., 5, 2): x and y in fractions of the frame, from its centre.
    height, width : int
        Rows and columns of tokens.
    kind : {"distances", "offsets"}
        ``distances``: five Euclidean distances in pixels of the small frame, divided by their sum.
        ``offsets``: ten differences token minus landmark (x1, y1, x2, ...), in fractions of the
        frame.

    Returns
    -------
    Tensor
        float (..., height * width, 5 or 10).

    Examples
    --------
    >>> round(landmark_encoding(torch.zeros(5, 2), 16, 12, "distances").mean().item(), 4)
    0.2
    """
    tokens = grid(height, width, landmarks.device).to(landmarks.dtype)
    offsets = tokens[:, None] - landmarks[..., None, :, :]
    if kind == "offsets":
        return offsets.flatten(-2)
    in_pixels = offsets * offsets.new_tensor([width, height])
    # without the constant a token on which all five landmarks lie would give 0 / 0
    distances = (in_pixels.square().sum(-1) + 1e-8).sqrt()
    return distances / distances.sum(-1, keepdim=True)


class TokenEncoder(nn.Module):
    """Token-to-token encoder: (N, T, 3, h, w) to tokens of three depths, each (N, T h w, .)."""

    def __init__(self, embed: int, heads: int, token: int, pixel: int):
        super().__init__()
        self.enter = nn.Linear(3, pixel)
        self.first = TokenTransformer(9 * pixel, token, heads)
        self.second = TokenTransformer(9 * token, token, heads)
        self.project = nn.Linear(9 * token, embed)

    def forward(self, clips: Tensor, visible: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        t, _, h, w = clips.shape[1:]
        mask = token_mask(visible, h * w)
        x = self.enter(clips.movedim(2, -1).flatten(1, 3))
        x1 = self.first(soft_split(x, t, h, w), mask)
        x2 = self.second(soft_split(x1, t, h, w), mask)
        return x1, x2, self.project(soft_split(x2, t, h, w))


class DeformableEncoder(nn.Module):
    """Encoder of ablation A: convolutions and deformable alignment in place of the transformers.

    The first depth are features of each frame alone. For the second all frames are aligned to each
    frame and weighted by similarity as in EDVR; their mean goes through a 1x1 convolution, so any
    number of frames will do.
    """

    def __init__(self, embed: int, token: int):
        super().__init__()
        self.pyramid = Pyramid(token, 5)
        self.align = Alignment(token)
        self.temporal = TemporalWeights(token)
        self.fuse = conv_lrelu(token, token, 1)
        self.project = nn.Linear(9 * token, embed)

    def forward(self, clips: Tensor, visible: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        n, t, _, h, w = clips.shape
        levels = [x.unflatten(0, (n, t)) for x in self.pyramid(clips.flatten(0, 1))]
        fused = []
        for i in range(t):
            others = [j for j in range(t) if j != i and (visible is None or visible[i, j])]
            frames = [level[:, [i, *others]].flatten(0, 1) for level in levels]
            reference = [level[:, [i] * (1 + len(others))].flatten(0, 1) for level in levels]
            aligned = self.align(frames, reference).unflatten(0, (n, -1))
            fused.append(self.fuse(self.temporal(aligned, 0).mean(1)))
        maps = (levels[0], torch.stack(fused, 1))
        x1, x2 = (x.flatten(3).transpose(2, 3).flatten(1, 2) for x in maps)
        return x1, x2, self.project(soft_split(x2, t, h, w))


class LandmarkHead(nn.Module):
    """Estimates five landmarks per frame from its tokens: (N, T, h w, embed) to (N, T, 5, 2)."""

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
    """Results of :meth:`VidFace.passes` for clips (N, T, 3, h, w)."""

    faces: Tensor
    """float (N, T, 3, 8h, 8w), near [0, 1]."""
    landmarks: list[Tensor]
    """After each iteration, float (N, T, 5, 2), in fractions of the frame from its centre
    (:func:`lrface.models.video.objectives.pixels` gives pixels)."""
    encodings: list[Tensor]
    """The landmark encoding used in each iteration, float (N, T, 5 or 10, h, w)."""


class VidFace(nn.Module):
    """Restores every frame of clips: float (N, T, 3, h, w) in [0, 1] to (N, T, 3, 8h, 8w).

    Parameters
    ----------
    scale : int
        8.
    width : int
        Channels of the refiner, landmark encoding included.
    heads : int
        Attention heads, the same number in every transformer.
    token, pixel : int
        Channels of the encoder's tokens, and of a pixel before the first of its transformers.
    query, features, hidden : int
        Channels of the decoder's queries (per head), of the folded map, and of the layer after it.
    reduced : tuple of int
        Two widths of the landmark head.
    std : float
        Standard deviation of the initial weights of all linear layers.
    frame : tuple of int
        Height and width of the small frames; position code and landmark head depend on it.
    encoding : {"distances", "offsets", "none"}
    head : {"mlp", "linear"}
    encoder : {"tokens", "deformable"}
    upsampling : {"detoken", "shuffle"}
    trainable_positions : bool
        See the description of the module.
    drop_path : float
        Drop rate of the refiner's last block in training (stochastic depth).

    Notes
    -----
    In training mode the network returns the faces and the landmarks of each iteration, in
    evaluation mode the faces.

    Stochastic depth takes its random numbers from a seed that is part of the network's state and
    is advanced at each training pass, so an interrupted training resumes exactly.

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
            self.project = nn.Linear(width, embed)
            self.landmarks = LandmarkHead(embed, tokens, reduced, head)
        self.norm = nn.LayerNorm(embed)
        self.unproject = nn.Linear(width, 9 * token + CHANNELS[encoding])
        stacked = self.unproject.out_features + 2 * token + embed
        if upsampling == "detoken":
            self.upsampling = Detoken(stacked, heads, query, features, scale)
        else:
            features = hidden
            self.upsampling = Shuffle(stacked, features)
        self.colours = nn.Sequential(
            nn.Linear(features, hidden), nn.LeakyReLU(SLOPE), nn.Linear(hidden, 3)
        )
        self.register_buffer("drop_path_seed", torch.randint(2**31, ()))
        for layer in self.modules():
            if isinstance(layer, nn.Linear):
                nn.init.normal_(layer.weight, std=std)
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)

    def _branch_scales(
        self, clips: int, device: torch.device
    ) -> list[tuple[Tensor, Tensor] | None]:
        """Factors (N, 1, 1) of both residual branches of every block in every iteration."""
        count = DEPTH * ITERATIONS
        if not self.training or not self.drop_path or self.drop_path_seed.is_meta:
            return [None] * count
        rates = torch.linspace(0, self.drop_path, DEPTH).repeat(ITERATIONS)[:, None, None]
        generator = torch.Generator().manual_seed(int(self.drop_path_seed))
        self.drop_path_seed += 1
        active = torch.rand(count, 2, clips, generator=generator) >= rates
        scales = (active / (1 - rates)).to(device)[..., None, None]
        return [(first, second) for first, second in scales]

    def _check(self, clips: Tensor, visible: Tensor | None) -> None:
        if clips.ndim != 5 or tuple(clips.shape[-2:]) != tuple(self.frame):
            h, w = self.frame
            raise UsageError(
                f"this VidFace restores clips (N, T, 3, {h}, {w}), got {tuple(clips.shape)}: build "
                "it with frame=(h, w) for others"
            )
        t = clips.shape[1]
        if visible is not None and (visible.shape != (t, t) or not visible.diagonal().all()):
            raise UsageError(
                f"visible must be a bool ({t}, {t}) with a true diagonal for a clip of {t} frames"
            )

    def passes(self, clips: Tensor, visible: Tensor | None = None) -> Passes:
        """Faces, with the landmarks and the landmark encoding of every iteration.

        Parameters
        ----------
        clips : Tensor
            float (N, T, 3, h, w) in [0, 1].
        visible : Tensor, optional
            bool (T, T): row i marks the frames that frame i attends to, itself included. The
            identity matrix restores each frame alone. All frames by default.

        Returns
        -------
        Passes
            Also in evaluation mode.

        Raises
        ------
        UsageError
            For frames of another size, or a wrong ``visible``.
        """
        self._check(clips, visible)
        n, t, _, h, w = clips.shape
        clips = 2 * clips - 1
        mask = token_mask(visible, h * w)
        x1, x2, x3 = self.encoder(clips, visible)
        x = x3 + self.positions.repeat(t, 1)
        landmarks, encodings = [], []
        points = x.new_zeros(n, t, 5, 2)
        scales = iter(self._branch_scales(n, x.device))
        for _ in range(ITERATIONS):
            if self.encoding != "none":
                encoding = landmark_encoding(points, h, w, self.encoding)
                encodings.append(encoding.transpose(2, 3).unflatten(3, (h, w)))
                x = torch.cat([x, encoding.flatten(1, 2)], 2)
            for block in self.blocks:
                x = block(x, mask, next(scales))
            if self.encoding != "none":
                x = self.project(x)
                points = self.landmarks(x.unflatten(1, (t, h * w)))
                landmarks.append(points)
        x = self.norm(x)
        if self.encoding != "none":
            # of the last iteration's input, as in the code: the final landmarks are not used
            x = torch.cat([x, encoding.flatten(1, 2)], 2)
        stacked = torch.cat([self.unproject(x), x1, x2, x3], 2)
        maps = self.upsampling(stacked, t, h, w, mask)
        details = self.colours(maps.movedim(1, -1)).movedim(-1, 1)
        faces = details + enlarge(clips.flatten(0, 1), self.scale)
        return Passes((faces.unflatten(0, (n, t)) + 1) / 2, landmarks, encodings)

    def forward(
        self, clips: Tensor, visible: Tensor | None = None
    ) -> Tensor | tuple[Tensor, list[Tensor]]:
        found = self.passes(clips, visible)
        return (found.faces, found.landmarks) if self.training else found.faces


def build(scale: int, size: str, **changes) -> VidFace:
    """VidFace of a size; ``changes`` replace its options, for example by a value of OPTIONS."""
    return VidFace(scale, **SIZES[size] | changes)


OBJECTIVES = {
    "paper": lambda net: VidFaceLoss(),
    "code": lambda net: VidFaceLoss(per_frame=False, doubled=3, mirrors_landmarks=False),
}

RECIPE = Recipe(
    steps=2400,
    loss="paper",
    schedule="annealed",
    source="section 4.2: 600,000 steps of 16 clips, cosine annealing; code: 4e-4",
    batch=4,
    patch=None,
    lr=1e-3,
    paper_lr=4e-4,
    paper_steps=600_000,
)
