"""HiFaceGAN (Yang et al., ACM MM 2020): collaborative suppression and replenishment.

The input is first enlarged to the face's size (MATLAB's bicubic), so the network is the same at
every scale. The encoder (content-adaptive suppression) halves the resolution five times by local
importance pooling, a weighted average whose weights are computed from the content. The decoder
(replenishment) starts from a thumbnail of the input at the coarsest size; residual blocks double it
five times, 16, 16, 8, 4, 2 and 1 times 64 channels, their normalised features scaled and shifted by
the encoder's features of the same size (SPADE). The output is a tanh. There is no pixel loss: a
two-scale discriminator and deep features are the whole objective.

Five halvings reduce the released code's 512-pixel crops to 16x16; at **128x128** they leave 4x4,
without a change to any layer (``small`` halves four times, to 8x8). Where a side is no multiple of
32 (or is 32: a single position has no variance to normalise by) the image is padded with its last
row and column, and the result is cropped. The condition of a SPADE layer has the encoder's width at
its level; the released code has these widths hard-coded for ngf 48. The hidden width of SPADE, 128
at most, is narrowed with the rest at ``narrow``.

Ours: weights start from PyTorch's defaults; from the released Xavier initialisation with gain 0.02
the output stays grey for longer than a short run.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

from lrface.degrade import resize
from lrface.models.layers import conv3
from lrface.models.losses import DeepFeatures, frozen
from lrface.models.objective import Batch, Objective
from lrface.models.recipe import Recipe

VERSION = 1
RECIPE = Recipe(
    steps=600,
    loss="paper",
    schedule="tail",
    source="the authors' code: 30 epochs, then 20 with a linear decay",
    batch=4,
    patch=None,
)
SIZES = {
    "paper": {"features": 64, "levels": 5},
    "narrow": {"features": 5, "levels": 5, "hidden": 10},
    "small": {"features": 6, "levels": 4},
}


class LocalImportancePool(nn.Module):
    """A 3x3 average of stride 2, weighted by the exponential of a learned importance in 0..12."""

    def __init__(self, features: int):
        super().__init__()
        self.importance = nn.Sequential(
            nn.Conv2d(features, features, 3, padding=1, bias=False),
            nn.InstanceNorm2d(features, affine=True),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        weight = (12 * self.importance(x)).exp()
        return F.avg_pool2d(x * weight, 3, 2, 1) / F.avg_pool2d(weight, 3, 2, 1)


class Suppression(nn.Module):
    """The encoder: an image to its features at every level, from full resolution down."""

    def __init__(self, widths: list[int]):
        super().__init__()
        self.head = nn.Sequential(
            nn.Conv2d(3, widths[0], 3, padding=1, bias=False),
            nn.InstanceNorm2d(widths[0]),
            nn.ReLU(inplace=True),
        )
        self.levels = nn.ModuleList(
            nn.Sequential(
                LocalImportancePool(a), conv3(a, b), nn.InstanceNorm2d(b), nn.ReLU(inplace=True)
            )
            for a, b in pairwise(widths)
        )
        self.levels[-1].pop(-1)  # no ReLU on the deepest features

    def forward(self, x: Tensor) -> list[Tensor]:
        features = [self.head(x)]
        for level in self.levels:
            features.append(level(features[-1]))
        return features


class SPADE(nn.Module):
    """Batch-normalised features times gamma plus beta, both convolved from the condition; as in the
    released code, 1 is not added to gamma."""

    def __init__(self, features: int, condition: int, hidden: int = 128):
        super().__init__()
        hidden = min(features, hidden)
        self.normalise = nn.BatchNorm2d(features, affine=False)
        self.shared = nn.Sequential(conv3(condition, hidden), nn.ReLU(inplace=True))
        self.gamma = nn.Conv2d(hidden, features, 3, padding=1, bias=False)
        self.beta = nn.Conv2d(hidden, features, 3, padding=1, bias=False)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        shared = self.shared(condition)
        return self.normalise(x) * self.gamma(shared) + self.beta(shared)


class Replenishment(nn.Module):
    """A residual block: SPADE, LeakyReLU and a spectrally normalised 3x3 convolution, twice."""

    def __init__(self, n_in: int, n_out: int, condition: int, hidden: int):
        super().__init__()
        middle = min(n_in, n_out)
        self.norm_in = SPADE(n_in, condition, hidden)
        self.norm_out = SPADE(middle, condition, hidden)
        self.conv_in = spectral_norm(conv3(n_in, middle))
        self.conv_out = spectral_norm(conv3(middle, n_out))
        self.norm_skip = self.conv_skip = None
        if n_in != n_out:
            self.norm_skip = SPADE(n_in, condition, hidden)
            self.conv_skip = spectral_norm(nn.Conv2d(n_in, n_out, 1, bias=False))

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        y = self.conv_in(F.leaky_relu(self.norm_in(x, condition), 0.2))
        y = self.conv_out(F.leaky_relu(self.norm_out(y, condition), 0.2))
        return y + (x if self.conv_skip is None else self.conv_skip(self.norm_skip(x, condition)))


class HiFaceGAN(nn.Module):
    """130,568,012 parameters (``paper``, ngf 64); 79,873,084 with ngf 48, the released code's
    choice for a 12 GB card.

    The counts include the output layers of coarser levels, for progressive training, which the
    released code has and switches off.
    """

    def __init__(self, scale: int, features: int = 64, levels: int = 5, hidden: int = 128):
        super().__init__()
        self.scale, self.levels = scale, levels
        widths = [features * 2 ** min(level, levels - 1) for level in range(levels + 1)]
        self.encoder = Suppression(widths)
        self.thumbnail = conv3(3, widths[-1])
        ups = list(zip(widths[levels - 1 : 0 : -1], widths[levels - 2 :: -1], strict=True))
        self.head = Replenishment(widths[-1], widths[-1], widths[-1], hidden)
        self.middle = nn.ModuleList(
            Replenishment(widths[-1], widths[-1], widths[-2], hidden) for _ in range(2)
        )
        self.ups = nn.ModuleList(Replenishment(a, b, b, hidden) for a, b in ups)
        self.exits = nn.ModuleList(conv3(b, 3) for _, b in ups)

    def forward(self, lr: Tensor) -> Tensor:
        image = 2 * enlarged(lr, self.scale) - 1
        h, w = image.shape[2:]
        unit = 2**self.levels
        right, below = (max(2 * unit, -(-side // unit) * unit) - side for side in (w, h))
        image = F.pad(image, (0, right, 0, below), mode="replicate")
        *finer, fine, coarse = self.encoder(image)
        x = self.thumbnail(image[..., ::unit, ::unit])
        x = _double(self.head(x, coarse))
        for block in self.middle:
            x = block(x, fine)
        for block, condition in zip(self.ups, reversed(finer), strict=True):
            x = block(_double(x), condition)
        return (self.exits[-1](F.leaky_relu(x, 0.2)).tanh()[..., :h, :w] + 1) / 2


def enlarged(lr: Tensor, scale: int) -> Tensor:
    """The LR face by bicubic interpolation at the HR size."""
    return resize(lr, (lr.shape[2] * scale, lr.shape[3] * scale))


def _double(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="nearest")


class Discriminator(nn.Module):
    """Two patch discriminators, at full and at half resolution: (N, 6, H, W), the enlarged input
    and the face, to the features of every layer.

    Each has four 4x4 convolutions (three of stride 2) with spectral and instance normalisation, and
    a last one that scores each patch.
    """

    def __init__(self, features: int = 64):
        super().__init__()
        self.scales = nn.ModuleList(self._patch_discriminator(features) for _ in range(2))

    @staticmethod
    def _patch_discriminator(features: int) -> nn.ModuleList:
        def conv(n_in: int, n_out: int, stride: int, **more) -> nn.Conv2d:
            return nn.Conv2d(n_in, n_out, 4, stride=stride, padding=2, **more)

        widths = [min(features * 2**i, 512) for i in range(4)]
        layers = [nn.Sequential(conv(6, widths[0], 2), nn.LeakyReLU(0.2))]
        for a, b, stride in zip(widths, widths[1:], (2, 2, 1), strict=False):
            normalised = spectral_norm(conv(a, b, stride, bias=False)), nn.InstanceNorm2d(b)
            layers.append(nn.Sequential(*normalised, nn.LeakyReLU(0.2)))
        return nn.ModuleList([*layers, conv(widths[-1], 1, 1)])

    def forward(self, pair: Tensor) -> list[list[Tensor]]:
        features = []
        for layers in self.scales:
            features.append([])
            x = pair
            for layer in layers:
                x = layer(x)
                features[-1].append(x)
            pair = F.avg_pool2d(pair, 3, 2, 1, count_include_pad=False)
        return features


class Renovation(Objective):
    """Least-squares adversarial loss + 10 feature matching + 10 deep features; no pixel loss.

    Feature matching is the L1 between the discriminator's features of the restored and the true
    face, summed over layers and averaged over its two scales. The deep-feature term is the L1 at
    five depths, with the released weights for VGG19 (relu1_1 to relu5_1), which
    :class:`lrface.models.losses.DeepFeatures` replaces. The discriminator's learning rate is four
    times the restorer's (4e-4 and 1e-4).
    """

    adam = {"betas": (0.0, 0.9)}
    discriminator_lr_ratio = 4.0
    weights = (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1.0)

    def __init__(self, net: nn.Module):
        super().__init__()
        self.discriminator = Discriminator(net.encoder.head[0].out_channels)
        self.features = DeepFeatures()

    def forward(self, net: nn.Module, batch: Batch) -> dict[str, Tensor]:
        lr, hr, *_ = batch
        condition = 2 * enlarged(lr, hr.shape[2] // lr.shape[2]) - 1
        sr = net(lr).float()
        fake, real = torch.cat([condition, 2 * sr - 1], 1), torch.cat([condition, 2 * hr - 1], 1)
        with frozen(self.discriminator):
            for_restorer = self.discriminator(fake)
        of_fake, of_real = self.discriminator(fake.detach()), self.discriminator(real)
        # each scale's list ends with the patches' scores, before which come the features
        discriminator = _mean(
            (real_score - 1).square().mean() + fake_score.square().mean()
            for (*_, real_score), (*_, fake_score) in zip(of_real, of_fake, strict=True)
        )
        gan = _mean((score - 1).square().mean() for *_, score in for_restorer)
        matching = _mean(
            sum(F.l1_loss(a, b.detach()) for a, b in zip(restored, true, strict=True))
            for (*restored, _), (*true, _) in zip(for_restorer, of_real, strict=True)
        )
        with torch.no_grad():
            target = self.features(hr)
        deep = sum(
            weight * F.l1_loss(a, b)
            for weight, a, b in zip(self.weights, self.features(sr), target, strict=True)
        )
        return {
            "loss": gan + 10 * matching + 10 * deep,
            "discriminator": discriminator,
            "gan": gan,
            "matching": matching,
            "deep": deep,
        }


def _mean(terms: Iterable[Tensor]) -> Tensor:
    return torch.stack(list(terms)).mean()


OBJECTIVES = {"paper": Renovation}


def build(scale: int, size: str) -> HiFaceGAN:
    return HiFaceGAN(scale, **SIZES[size])
