"""CentreFace (Wen, Zhang, Li and Qiao, ECCV 2016): residual units and the centre loss.

The network of the released code, caffe-face: 112x96 RGB; unpadded 3x3 convolutions, two before the
first pooling and one before each of the other three; 1, 2, 5 and 3 residual units of 64 to 512
channels after the poolings; a feature of 512 numbers. Pooling is Caffe's, which rounds up, PReLU
follows every convolution, and there is no normalisation. The loss is cross-entropy + 0.008 centre
loss.

Where the paper, the released code and this module differ:

- The paper's figure concatenates two layers before the feature; the released network does not, nor
  does this one.
- In caffe-face the centres follow the network's learning rate; here they have FRNET's rate of 0.5.
- Its faces are aligned; here they are not, as in TinyFace's protocol.
- Adam replaces SGD.

A face's representation is its feature and its mirror image's
(:func:`lrface.models.recognition.frnet.describe`); in CSRI the feature alone.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from lrface.models.layers import PReLUUnit, conv_prelu, xavier
from lrface.models.losses import Classification
from lrface.models.objective import Batch, Objective
from lrface.models.recognition.align import unaligned_crop
from lrface.models.recognition.frnet import Centres

VERSION = 1
SIZES = {
    "paper": {
        "input_size": (112, 96),
        "widths": (32, 64, 128, 256, 512),
        "units": (1, 2, 5, 3),
        "features": 512,
    },
    "small": {
        "input_size": (56, 48),
        "widths": (8, 16, 32, 64, 128),
        "units": (1, 1, 2, 1),
        "features": 128,
    },
}
WEIGHT = 0.008
"""Weight of the centre loss (caffe-face)."""


class CentreFace(nn.Module):
    """float (N, 3, *input_size) in [0, 1] to features (N, features); in training mode to (features,
    logits of the identities)."""

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
        layers: list[nn.Module] = [conv_prelu(3, widths[0])]
        h, w = h - 2, w - 2
        for n_in, n_out, count in zip(widths, widths[1:], units, strict=False):
            layers += [
                conv_prelu(n_in, n_out),
                nn.MaxPool2d(2, ceil_mode=True),
                *(PReLUUnit(n_out) for _ in range(count)),
            ]
            h, w = -(-(h - 2) // 2), -(-(w - 2) // 2)
        self.body = nn.Sequential(*layers)
        self.feature = xavier(nn.Linear(widths[-1] * h * w, features))
        self.identity = xavier(nn.Linear(features, classes))

    def forward(self, faces: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        features = self.feature(self.body((faces * 255 - 127.5) / 128).flatten(1))
        return (features, self.identity(features)) if self.training else features


class PaperLoss(Objective):
    """Cross-entropy + 0.008 times the centre loss, of unaligned faces."""

    adam = Classification.adam
    needs_whole_batch = True

    def __init__(self, net: CentreFace):
        super().__init__()
        self.state = Centres(net)

    def forward(self, net: nn.Module, batch: Batch) -> dict[str, Tensor]:
        features, logits = (x.float() for x in net(unaligned_crop(batch.hr, net.input_size)))
        classification = F.cross_entropy(logits, batch.labels)
        centre = self.state(features, batch.labels)
        self.state.update(features, batch.labels)
        return {
            "loss": classification + WEIGHT * centre,
            "classification": classification.detach(),
            "centre": centre.detach(),
        }


OBJECTIVES = {"paper": PaperLoss, "softmax": lambda net: Classification()}


def build(classes: int, size: str, scale: int = 1) -> CentreFace:
    return CentreFace(classes, **SIZES[size])
