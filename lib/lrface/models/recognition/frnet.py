"""FRNET: the recognition network of the joint model (Wu et al. 2016, Table 2).

CentreFace with a smaller input, 124x108: four stages of an unpadded 3x3 convolution (64, 128, 256,
512 channels), 2x2 max pooling and 1, 2, 5, 3 residual units, then a feature of 512 numbers. It is
trained with softmax and centre loss on aligned faces. A face is represented by its feature and its
mirror image's (:func:`describe`), compared by the cosine after PCA.

What the paper does not say, and what is chosen here:

- The activation and the rounding of odd sizes: PReLU after every convolution and Caffe's pooling,
  which rounds up, as in the network it says it follows (Wen et al., ECCV 2016).
- The residual units' columns "pad" and "stride" are read as 1 and 1; the printed stride of 0 is
  impossible.
- The learning rate gamma of the centres: 0.5 (see ``RATE``).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lrface.models.objective import Batch, Objective
from lrface.models.recognition.align import SIZE, align

VERSION = 1
SIZES = {
    "paper": {"widths": (64, 128, 256, 512), "units": (1, 2, 5, 3), "features": 512},
    "small": {"widths": (16, 32, 64, 128), "units": (1, 1, 2, 1), "features": 256},
}
BETA2 = 0.008
"""Weight of the centre loss (section 4.2, setting 6)."""
RATE = 0.5
"""Learning rate gamma of the centres. The paper prints none and follows Wen et al.: their code
ties it to the network's learning rate, their paper is usually quoted with 0.5."""


def conv(n_in: int, n_out: int, padding: int) -> nn.Sequential:
    """3x3 convolution and PReLU."""
    return nn.Sequential(nn.Conv2d(n_in, n_out, 3, padding=padding), nn.PReLU(n_out))


class Unit(nn.Module):
    """A residual unit: two 3x3 convolutions with PReLU, plus the input."""

    def __init__(self, width: int):
        super().__init__()
        self.body = nn.Sequential(conv(width, width, 1), conv(width, width, 1))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


class FRNET(nn.Module):
    """float (N, 3, 124, 108) in [0, 1] to features (N, 512); in training mode to (features, logits
    of the identities)."""

    distance = "cosine"
    input_size = SIZE

    def __init__(
        self, classes: int, widths: tuple[int, ...], units: tuple[int, ...], features: int
    ):
        super().__init__()
        layers: list[nn.Module] = []
        n_in, (h, w) = 3, self.input_size
        for width, count in zip(widths, units, strict=True):
            layers += [
                conv(n_in, width, 0),
                nn.MaxPool2d(2, ceil_mode=True),
                *(Unit(width) for _ in range(count)),
            ]
            n_in, h, w = width, -(-(h - 2) // 2), -(-(w - 2) // 2)
        self.body = nn.Sequential(*layers)
        self.feature = nn.Linear(n_in * h * w, features)
        self.identity = nn.Linear(features, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
            elif isinstance(module, Unit):
                for layer in module.body:  # as in caffe-face, residuals start near zero
                    nn.init.normal_(layer[0].weight, std=0.01)

    def forward(self, faces: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        x = self.body((faces * 255 - 127.5) / 128)
        features = self.feature(x.flatten(1))
        return (features, self.identity(features)) if self.training else features


def describe(net: FRNET, faces: Tensor) -> Tensor:
    """The paper's representation of faces: their features and their mirror images' side by side,
    (N, 2 * features)."""
    return torch.cat([net(faces), net(faces.flip(3))], 1)


class Softmax(Objective):
    """Cross-entropy over the training identities, of aligned faces."""

    adam = {"weight_decay": 5e-4}

    def forward(self, net: nn.Module, batch: Batch) -> dict[str, Tensor]:
        _, logits = net(align(batch.hr, batch.points))
        return {"loss": F.cross_entropy(logits.float(), batch.labels)}


class Centres(nn.Module):
    """The centre loss L_d, with a centre m_j (classes, features) for each training identity.

    Maps features (N, d) and labels (N,) to half the squared distance to the own identity's centre,
    mean over the batch. Equation 4 lacks the half, but equation 9, its gradient, has it; the text
    calls it a mean, as the other losses are here. Centres start at the origin.
    """

    def __init__(self, net: FRNET):
        super().__init__()
        self.register_buffer("centres", torch.zeros_like(net.identity.weight.detach()))

    def forward(self, features: Tensor, labels: Tensor) -> Tensor:
        return (features - self.centres[labels]).square().sum() / (2 * len(features))

    @torch.no_grad()
    def update(self, features: Tensor, labels: Tensor) -> None:
        """Equations 13 and 14, no gradient step: m_j -= gamma * sum(m_j - x_i) / (1 + n_j), over
        the n_j features of identity j."""
        # a matrix product always adds in the same order, unlike scattered additions on a GPU
        identities = torch.arange(len(self.centres), device=labels.device)
        members = (identities[:, None] == labels).to(features.dtype)
        count = members.sum(1, keepdim=True)
        self.centres -= RATE * (count * self.centres - members @ features) / (1 + count)


class PaperLoss(Objective):
    """L_c + 0.008 L_d of aligned faces, for the stand-alone FRNET of settings 1 to 5 of Table 4."""

    adam = Softmax.adam
    needs_whole_batch = True

    def __init__(self, net: FRNET):
        super().__init__()
        self.state = Centres(net)

    def forward(self, net: nn.Module, batch: Batch) -> dict[str, Tensor]:
        features, logits = net(align(batch.hr, batch.points))
        classification = F.cross_entropy(logits, batch.labels)
        centre = self.state(features, batch.labels)
        self.state.update(features, batch.labels)
        return {
            "loss": classification + BETA2 * centre,
            "classification": classification.detach(),
            "centre": centre.detach(),
        }


def build(classes: int, size: str, scale: int = 1) -> FRNET:
    return FRNET(classes, **SIZES[size])
