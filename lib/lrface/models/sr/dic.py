"""DICNet and DICGAN (Ma et al., CVPR 2020): a face and its landmarks, restored in turns.

The network runs four steps, which share their weights except for the first step's feedback block.
In each step the feedback block (SRFBN's: six groups of up- and down-projection, 48 channels)
refines features at a quarter of the face's size, a transposed convolution makes the face of them,
and an hourglass estimates the heat maps of 68 landmarks in that face. They are merged to five
(two eyes, nose, mouth, contour); in the next step they weight, position by position, five groups of
features (attentive fusion). The face of the last step is the result. A mean colour is subtracted
and the bilinear enlargement is added, as in the released code.

The released code is for 8x only. Its features have the size of the heat maps, a quarter of the
face: at 8x the entrance doubles the input by PixelShuffle, and the feedback block projects up by 8
(kernel 12, stride 8, padding 2). At **4x** the input already has that size; here the entrance is a
1x1 convolution instead of the PixelShuffle, and the block projects up by 4 (kernel 8, stride 4,
padding 2), both as in SRFBN at 4x. The exit (kernel 8, stride 4) is the same. At 2x the features
would be coarser than the input; EDFace-Celeb-1M has no 2x results for these methods either.

Ours:

- The last convolution starts at zero, so that training starts from the bilinear enlargement: a few
  hundred steps are then enough to pass bicubic.
- Heat maps are detached before the next step, a switch that the released code has and leaves off.
  With an hourglass that was not pretrained (see :class:`Iterative`) the pixel loss's gradient in it
  is about forty times that of the landmarks, and no landmark is ever found.
- Odd sizes are pooled with rounding up, so that faces of any shape fit.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lrface.models.layers import conv3
from lrface.models.losses import DeepFeatures, frozen
from lrface.models.objective import Batch, Objective
from lrface.models.recipe import Recipe

VERSION = 1
NET_RECIPE = Recipe(
    steps=500,
    loss="paper",
    schedule="halve-early",
    source="the authors' code: halved at 10, 20, 40 and 80 of 150 thousand steps",
    batch=4,
    patch=None,
)
GAN_RECIPE = Recipe(
    steps=200,
    loss="paper",
    schedule="halve-early",
    source="as DICNet; the authors' code halves at 10, 20 and 40 of 80 thousand steps",
    batch=4,
    patch=None,
    lr=1e-4,
    start="DICNet",
)
SCALES = (4, 8)
SIZES = {
    "paper": {"features": 48, "groups": 6, "fusions": 7, "landmark_features": 256},
    "narrow": {"features": 6, "groups": 6, "fusions": 7, "landmark_features": 16},
    "small": {"features": 12, "groups": 2, "fusions": 2, "landmark_features": 16, "climb": 4},
}
MEAN = (0.509, 0.424, 0.378)
PARTS = {
    "left eye": (36, 42),
    "right eye": (42, 48),
    "nose": (27, 36),
    "mouth": (48, 68),
    "contour": (0, 27),
}
"""The five merged heat maps and the landmarks in each (iBUG 300-W; brows are in the contour)."""
STEPS = 4
STRIDE = 4
"""Pixels of the face per cell of the heat maps."""


def _prelu(layer: nn.Module) -> nn.Sequential:
    return nn.Sequential(layer, nn.PReLU(init=0.2))


class Fusion(nn.Module):
    """Attentive fusion: five groups of features, refined separately, then summed with the softmax
    over the five heat maps as weights."""

    def __init__(self, features: int, blocks: int):
        super().__init__()
        groups, width = len(PARTS), len(PARTS) * features
        self.expand = nn.Sequential(nn.Conv2d(features, width, 1), nn.LeakyReLU(0.2))
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(width, width, 3, padding=1, groups=groups),
                nn.LeakyReLU(0.2),
                nn.Conv2d(width, width, 3, padding=1, groups=groups),
            )
            for _ in range(blocks)
        )

    def forward(self, x: Tensor, parts: Tensor) -> Tensor:
        x = self.expand(x)
        for block in self.blocks:
            x = x + block(x)
        return (x.unflatten(1, (len(PARTS), -1)) * parts.softmax(1)[:, :, None]).sum(1)


class Feedback(nn.Module):
    """SRFBN's feedback block: ``groups`` up- and down-projections, densely connected.

    With ``fusions`` blocks of attentive fusion at its entrance.
    """

    def __init__(self, n_in: int, features: int, groups: int, factor: int, fusions: int = 0):
        super().__init__()
        shape = {"kernel_size": factor + 4, "stride": factor, "padding": 2}
        self.compress_in = _prelu(nn.Conv2d(n_in, features, 1))
        self.fuse = Fusion(features, fusions) if fusions else None
        self.ups = nn.ModuleList(
            _prelu(nn.ConvTranspose2d(features, features, **shape)) for _ in range(groups)
        )
        self.downs = nn.ModuleList(
            _prelu(nn.Conv2d(features, features, **shape)) for _ in range(groups)
        )
        self.before_ups = nn.ModuleList(
            _prelu(nn.Conv2d(i * features, features, 1)) for i in range(2, groups + 1)
        )
        self.before_downs = nn.ModuleList(
            _prelu(nn.Conv2d(i * features, features, 1)) for i in range(2, groups + 1)
        )
        self.compress_out = _prelu(nn.Conv2d(groups * features, features, 1))

    def forward(self, x: Tensor, parts: Tensor | None = None) -> Tensor:
        x = self.compress_in(x)
        low, high = [x if self.fuse is None else self.fuse(x, parts)], []
        for i, (up, down) in enumerate(zip(self.ups, self.downs, strict=True)):
            high.append(up(self.before_ups[i - 1](torch.cat(low, 1)) if i else low[0]))
            low.append(down(self.before_downs[i - 1](torch.cat(high, 1)) if i else high[0]))
        return self.compress_out(torch.cat(low[1:], 1))


class Bottleneck(nn.Module):
    """1x1 convolution, ReLU, 3x3, 1x1, plus the input (by a 1x1 where the width changes)."""

    def __init__(self, n_in: int, n_out: int):
        super().__init__()
        half = n_out // 2
        self.body = nn.Sequential(
            nn.Conv2d(n_in, half, 1),
            nn.ReLU(inplace=True),
            conv3(half, half),
            nn.Conv2d(half, n_out, 1),
        )
        self.skip = nn.Identity() if n_in == n_out else nn.Conv2d(n_in, n_out, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.skip(x) + self.body(x)


class Hourglass(nn.Module):
    """One level of the hourglass: a skip at full resolution, and all deeper levels at half."""

    def __init__(self, features: int, depth: int):
        super().__init__()
        self.beside, self.enter, self.leave = (Bottleneck(features, features) for _ in range(3))
        self.inner = Hourglass(features, depth - 1) if depth > 1 else Bottleneck(features, features)

    def forward(self, x: Tensor) -> Tensor:
        low = self.leave(self.inner(self.enter(F.max_pool2d(x, 2, ceil_mode=True))))
        return self.beside(x) + F.interpolate(
            low, size=x.shape[2:], mode="bilinear", align_corners=True
        )


class Landmarks(nn.Module):
    """The recurrent hourglass: a face (N, 3, H, W) and the previous step's state to heat maps (N,
    68, H/4, W/4) and the new state."""

    def __init__(self, features: int, depth: int = 4):
        super().__init__()
        quarter, half = features // 4, features // 2
        self.enter = nn.Sequential(
            nn.Conv2d(3, quarter, 7, stride=2, padding=3),
            nn.ReLU(inplace=True),
            Bottleneck(quarter, half),
            nn.MaxPool2d(2),
            Bottleneck(half, half),
            Bottleneck(half, features),
        )
        self.mix = nn.Conv2d(2 * features, 2 * features, 1)
        self.hourglass = Hourglass(2 * features, depth)
        self.maps = nn.Sequential(
            Bottleneck(features, features),
            nn.Conv2d(features, features, 1),
            nn.ReLU(inplace=True),
            nn.Conv2d(features, 68, 1),
        )

    def forward(self, face: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor]:
        x = self.enter(face)
        x = self.hourglass(self.mix(torch.cat([x, x if state is None else state], 1)))
        features, state = x.chunk(2, 1)
        return self.maps(features), state


def merge_maps(maps: Tensor) -> Tensor:
    """68 heat maps to five: each divided by its maximum (at least 0.05), summed by part."""
    maps = maps / maps.amax((2, 3), keepdim=True).clamp_min(0.05)
    return torch.stack([maps[:, first:end].sum(1) for first, end in PARTS.values()], 1)


class DIC(nn.Module):
    """21,803,849 parameters at 8x, 17,389,434 at 4x; 11,999,172 in the hourglass (``paper``).

    In training mode it returns the faces and the heat maps of all four steps, in evaluation mode
    the last face.
    """

    def __init__(
        self,
        scale: int,
        features: int,
        groups: int,
        fusions: int,
        landmark_features: int,
        climb: int | None = None,
    ):
        super().__init__()
        self.scale, climb = scale, climb or scale
        widen = nn.PixelShuffle(2) if scale == 8 else _prelu(nn.Conv2d(4 * features, features, 1))
        self.entrance = nn.Sequential(_prelu(conv3(3, 4 * features)), widen)
        self.first = Feedback(features, features, groups, climb)
        self.again = Feedback(2 * features, features, groups, climb, fusions)
        self.exit = nn.Sequential(
            _prelu(nn.ConvTranspose2d(features, features, 8, stride=4, padding=2)),
            conv3(features, 3),
        )
        self.hourglass = Landmarks(landmark_features)
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1), persistent=False)
        for part in (self.entrance, self.first, self.again, self.exit):
            for layer in part.modules():
                if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
                    nn.init.kaiming_normal_(layer.weight, a=0.2)
                    nn.init.zeros_(layer.bias)
                if isinstance(layer, nn.ConvTranspose2d):
                    # an output position sees one in stride x stride of the kernel's weights
                    layer.weight.data.mul_(layer.stride[0])
        for layer in (self.exit[1], self.hourglass.maps[-1]):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, lr: Tensor) -> Tensor | tuple[list[Tensor], list[Tensor]]:
        lr = lr - self.mean
        enlarged = F.interpolate(lr, scale_factor=self.scale, mode="bilinear", align_corners=False)
        shallow = self.entrance(lr)
        faces, maps, state, features = [], [], None, None
        for step in range(STEPS):
            if step == 0:
                features = self.first(shallow)
            else:
                merged = merge_maps(maps[-1].detach())
                features = self.again(torch.cat([shallow, features], 1), merged)
            faces.append(enlarged + self.exit(features))
            if self.training or step + 1 < STEPS:  # the last face's maps are for the objective only
                step_maps, state = self.hourglass(faces[-1], state)
                maps.append(step_maps)
        faces = [face + self.mean for face in faces]
        return (faces, maps) if self.training else faces[-1]


def heat_maps(points: Tensor, height: int, width: int, sigma: float = 1.0) -> Tensor:
    """True heat maps: a Gaussian of peak 1 at each landmark.

    ``points`` (N, 68, 2) are in pixels of the face, ``sigma`` and the result (N, 68, height, width)
    in cells of four pixels. As in the released code, a cell lies at its number times four. A NaN
    landmark gives a map of NaN.
    """
    x = torch.arange(width, device=points.device) - points[..., :1] / STRIDE
    y = torch.arange(height, device=points.device) - points[..., 1:] / STRIDE
    return (-(y[..., :, None].square() + x[..., None, :].square()) / (2 * sigma**2)).exp()


def alignment_loss(maps: list[Tensor], points: Tensor) -> Tensor:
    """The mean squared error of each step's heat maps, summed over steps, without NaN landmarks."""
    truth = heat_maps(points, *maps[0].shape[2:])
    finite, truth = truth.isfinite(), truth.nan_to_num()
    count = finite.sum().clamp_min(1)
    return sum(((step.float() - truth).square() * finite).sum() / count for step in maps)


class Iterative(Objective):
    """DICNet's objective: summed over steps, L1 of the face + 0.1 times the heat maps' error.

    The paper starts from an hourglass pretrained on landmarks and freezes it for 2,000 steps. Its
    weights are not available, so here it is trained from the start with the rest.
    """

    # a mean over known landmarks, which the parts of a batch may have in different numbers
    needs_whole_batch = True

    def forward(self, net: nn.Module, batch: Batch) -> dict[str, Tensor]:
        lr, hr, points = batch[:3]
        faces, maps = net(lr)
        pixel = sum(F.l1_loss(face.float(), hr) for face in faces)
        align = alignment_loss(maps, points)
        return {"loss": pixel + 0.1 * align, "pixel": pixel, "align": align}


class MaxFeatureMap(nn.Module):
    """Max-feature-map: the larger of two halves of a layer's output channels."""

    def __init__(self, layer: nn.Module):
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        return torch.maximum(*self.layer(x).chunk(2, 1))


class LightCNN9(nn.Module):
    """DICGAN's discriminator, in the layout of LightCNN-9: (N, 3, H, W) to the logit (N, 1) that a
    face is real.

    Four stages of convolutions with max-feature-maps, each with 2x2 pooling, then two linear layers
    on 8x8 positions, to which a 128x128 face is reduced; other sizes are averaged to 8x8.
    """

    def __init__(self, width: int = 48):
        super().__init__()
        a, b, c, d = width, 2 * width, 4 * width, 8 * width // 3

        def mfm(n_in: int, n_out: int, size: int) -> MaxFeatureMap:
            return MaxFeatureMap(nn.Conv2d(n_in, 2 * n_out, size, padding=size // 2))

        def group(n_in: int, n_out: int) -> nn.Sequential:
            return nn.Sequential(mfm(n_in, n_in, 1), mfm(n_in, n_out, 3))

        stages = [[mfm(3, a, 5)], [group(a, b)], [group(b, c)], [group(c, d), group(d, d)]]
        self.features = nn.Sequential(
            *(layer for stage in stages for layer in (*stage, nn.MaxPool2d(2, ceil_mode=True)))
        )
        self.classify = nn.Sequential(
            MaxFeatureMap(nn.Linear(64 * d, 2 * 16 * width // 3)),
            nn.LeakyReLU(0.2),
            nn.Linear(16 * width // 3, 1),
        )
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1), persistent=False)

    def forward(self, face: Tensor) -> Tensor:
        x = F.adaptive_avg_pool2d(self.features(face - self.mean), 8)
        return self.classify(x.flatten(1))


class Adversarial(Objective):
    """DICGAN's objective, to start from a trained DICNet (``Config.init``) with a frozen hourglass.

    Summed over steps L1 and 0.1 alignment, as DICNet's; for the last face also 0.1 L1 of deep
    features and 0.005 adversarial loss (cross-entropy). ``paper`` takes the L1 of each step's own
    face; ``code`` that of the last face at every step, as the released solver does, so that earlier
    steps are trained through the last only. The paper's deep features are LightCNN-9's; what
    replaces them, and what that does to scores, is in :class:`lrface.models.losses.DeepFeatures`,
    of which the deepest feature is taken.
    """

    def __init__(self, net: nn.Module, last_face_only: bool = False):
        super().__init__()
        self.last_face_only = last_face_only
        net.hourglass.requires_grad_(False)
        self.discriminator = LightCNN9(net.exit[1].in_channels)
        self.features = DeepFeatures()

    def forward(self, net: nn.Module, batch: Batch) -> dict[str, Tensor]:
        lr, hr, points = batch[:3]
        faces, maps = net(lr)
        last = faces[-1].float()
        compared = [last] * len(faces) if self.last_face_only else faces
        pixel = sum(F.l1_loss(face.float(), hr) for face in compared)
        align = alignment_loss(maps, points)
        with torch.no_grad():
            target = self.features(hr)[-1]
        feature = F.l1_loss(self.features(last)[-1], target)
        with frozen(self.discriminator):
            gan = F.softplus(-self.discriminator(last)).mean()
        real, fake = self.discriminator(hr), self.discriminator(last.detach())
        discriminator = F.softplus(-real).mean() + F.softplus(fake).mean()
        loss = pixel + 0.1 * align + 0.1 * feature + 0.005 * gan
        return {
            "loss": loss,
            "discriminator": discriminator,
            "pixel": pixel,
            "align": align,
            "feature": feature,
            "gan": gan,
        }


NET_OBJECTIVES = {"paper": lambda net: Iterative()}
GAN_OBJECTIVES = {"paper": Adversarial, "code": lambda net: Adversarial(net, last_face_only=True)}


def build(scale: int, size: str) -> DIC:
    return DIC(scale, **SIZES[size])
