"""VGG-Face-like: VGG-16 on faces (after Parkhi, Vedaldi and Zisserman, BMVC 2015).

Thirteen 3x3 convolutions in five stages of 64 to 512 channels, each ended by 2x2 pooling, and two
linear layers of 4,096 numbers, the second of which (fc7) is the feature; cross-entropy over
identities. "-like", because it differs from the paper:

- Batch normalisation follows every convolution, in both sizes: sixteen layers without it do not
  start to learn in a short schedule (the paper continues from a trained network of fewer layers).
- There is no dropout: a training step must depend on its number alone, not on a generator's state.
- The triplet loss with which the paper fine-tunes is left out.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lrface.models.layers import conv3, xavier
from lrface.models.losses import Classification

VERSION = 1
CONVOLUTIONS = (2, 2, 3, 3, 3)
"""Convolutions in each stage."""
MEAN = (129.1863, 104.7624, 93.5940)
"""Mean colour (RGB, 0-255) of the released network's training faces."""
SIZES = {
    "paper": {"input_size": (224, 224), "widths": (64, 128, 256, 512, 512), "features": 4096},
    "small": {"input_size": (64, 64), "widths": (8, 16, 32, 64, 64), "features": 128},
}


class VGGFace(nn.Module):
    """float (N, 3, *input_size) in [0, 1] to features (N, features), fc7 after its ReLU; in
    training mode to (features, logits of the identities)."""

    distance = "euclidean"

    def __init__(
        self, classes: int, input_size: tuple[int, int], widths: tuple[int, ...], features: int
    ):
        super().__init__()
        self.input_size = input_size
        layers: list[nn.Module] = []
        n_in = 3
        for width, count in zip(widths, CONVOLUTIONS, strict=True):
            for _ in range(count):
                convolution = conv3(n_in, width)
                nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
                nn.init.zeros_(convolution.bias)
                layers += [convolution, nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
                n_in = width
            layers.append(nn.MaxPool2d(2))
        self.body = nn.Sequential(*layers)
        positions = (input_size[0] >> len(widths)) * (input_size[1] >> len(widths))
        self.feature = nn.Sequential(
            *(xavier(nn.Linear(n_in * positions, features)), nn.ReLU()),
            *(xavier(nn.Linear(features, features)), nn.ReLU()),
        )
        self.identity = xavier(nn.Linear(features, classes))
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1), persistent=False)

    def forward(self, faces: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        features = self.feature(self.body(faces * 255 - self.mean).flatten(1))
        return (features, self.identity(features)) if self.training else features


OBJECTIVES = {"softmax": lambda net: Classification()}


def build(classes: int, size: str, scale: int = 1) -> VGGFace:
    return VGGFace(classes, **SIZES[size])
