"""SphereFace-20 (Liu et al., CVPR 2017): an angular margin between identities (A-Softmax, m = 4).

The network of the released code: 112x96 RGB, four stages of 64, 128, 256 and 512 channels, each a
3x3 convolution of stride 2 and 1, 2, 4 and 1 residual units, PReLU, no normalisation, a feature of
512 numbers. A logit is the feature's length times the cosine of its angle to the identity's
direction; for the own identity the angle is multiplied by four.

Where the released code and this module differ, and what to know about short runs:

- The margin grows with the step, by lambda = max(5, 1000 / (1 + 0.12 step)), whatever the length of
  the run. The paper's runs of 28,000 steps reach 5 at step 1,659; a shorter run ends before the
  margin is fully applied.
- The released code normalises the weights in place after each step and ignores this in the
  gradient; here the gradient passes through the normalisation.
- Its faces are aligned; here they are not, as in TinyFace's protocol.
- Adam replaces SGD.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lrface.models.layers import PReLUUnit, conv_prelu, xavier
from lrface.models.losses import Classification
from lrface.models.objective import Batch, Objective
from lrface.models.recognition.align import unaligned_crop
from lrface.numerics import ieee_float32

VERSION = 1
SIZES = {
    "paper": {
        "input_size": (112, 96),
        "widths": (64, 128, 256, 512),
        "units": (1, 2, 4, 1),
        "features": 512,
    },
    "small": {
        "input_size": (56, 48),
        "widths": (16, 32, 64, 128),
        "units": (1, 1, 2, 1),
        "features": 128,
    },
}
BASE, GAMMA, LEAST = 1000.0, 0.12, 5.0


class SphereFace(nn.Module):
    """float (N, 3, *input_size) in [0, 1] to features (N, features); in training mode to (features,
    logits without the margin)."""

    distance = "cosine"

    def __init__(
        self,
        classes: int,
        input_size: tuple[int, int],
        widths: tuple[int, ...],
        units: tuple[int, ...],
        features: int,
    ):
        super().__init__()
        self.input_size, (h, w) = input_size, input_size
        layers: list[nn.Module] = []
        for n_in, n_out, count in zip((3, *widths), widths, units, strict=False):
            layers += [
                conv_prelu(n_in, n_out, stride=2, padding=1),
                *(PReLUUnit(n_out) for _ in range(count)),
            ]
            h, w = (h + 1) // 2, (w + 1) // 2
        self.body = nn.Sequential(*layers)
        self.feature = xavier(nn.Linear(widths[-1] * h * w, features))
        self.identity = nn.Linear(features, classes, bias=False)

    def forward(self, faces: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        features = self.feature(self.body((faces * 255 - 127.5) / 128).flatten(1))
        if not self.training:
            return features
        with ieee_float32(faces.device):  # half precision cannot resolve angles near 0
            return features, F.linear(features.float(), F.normalize(self.identity.weight))


def psi(cosine: Tensor) -> Tensor:
    """psi(t) = (-1)^k cos(4 t) - 2k for t in [k pi / 4, (k + 1) pi / 4], given cos t: it falls from
    1 to -7 (section 3.2)."""
    k = (torch.acos(cosine.detach().clamp(-1, 1)) * (4 / torch.pi)).floor().clamp(max=3)
    return (1 - 2 * (k % 2)) * (8 * cosine**4 - 8 * cosine**2 + 1) - 2 * k


class Annealing(nn.Module):
    """The weight lambda of the logits without margin; a call counts a step, and checkpoints store
    the count."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("step", torch.zeros(()))

    def forward(self) -> Tensor:
        self.step += 1
        return (BASE / (1 + GAMMA * self.step)).clamp_min(LEAST)


def margin_logits(
    features: Tensor, logits: Tensor, labels: Tensor, plain: Tensor | float
) -> Tensor:
    """The logits (N, C) with the margin: |x| (psi(t) + plain cos t) / (1 + plain) for the own
    identity, |x| cos t for the others; ``plain`` is lambda."""
    own = logits.gather(1, labels[:, None])
    length = features.norm(dim=1, keepdim=True).clamp_min(1e-12)
    return logits.scatter_add(1, labels[:, None], (length * psi(own / length) - own) / (1 + plain))


class PaperLoss(Objective):
    """Cross-entropy of the logits with the angular margin, of unaligned faces."""

    adam = Classification.adam

    def __init__(self) -> None:
        super().__init__()
        self.state = Annealing()

    def forward(self, net: nn.Module, batch: Batch) -> dict[str, Tensor]:
        features, logits = (x.float() for x in net(unaligned_crop(batch.hr, net.input_size)))
        logits = margin_logits(features, logits, batch.labels, self.state())
        return {"loss": F.cross_entropy(logits, batch.labels)}


OBJECTIVES = {"paper": lambda net: PaperLoss()}


def build(classes: int, size: str, scale: int = 1) -> SphereFace:
    return SphereFace(classes, **SIZES[size])
