"""Two networks for facial attributes, after ANet and PANDA; a linear SVM per attribute reads them.

Both classify all attributes at once. "-like", because the slides that compare LMLE with them define
neither, and their papers leave widths open.

- **ANet-like** (Liu, Luo, Wang and Tang, ICCV 2015): the whole face, four convolutions, the last
  two with filters shared only within regions of the map. ANet is pretrained on identities and
  preceded by two networks that localise the face; here it is trained on attributes only.
- **PANDA-like** (Zhang, Paluri, Ranzato, Darrell and Bourdev, CVPR 2014): one network for the whole
  face and one for each part, their features concatenated. PANDA's 150 parts are poselets; here they
  are five windows of the aligned face.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lrface.models.layers import LocallyShared
from lrface.models.objective import Batch, Objective
from lrface.models.recognition.align import SIZE as FRAME
from lrface.models.recognition.align import align

VERSION = 1
SIDE, PART = 64, 32
WINDOWS = {
    "top": (0, 0, 44, 108),
    "eyes": (38, 6, 76, 102),
    "nose": (52, 28, 92, 80),
    "mouth": (82, 20, 118, 88),
    "chin": (92, 4, 124, 104),
}
"""Top, left, bottom, right of each part in the aligned frame of 124x108 pixels."""
SIZES = {"paper": {"width": 32, "features": 512}, "small": {"width": 16, "features": 128}}


def _resized(faces: Tensor, side: int) -> Tensor:
    """Faces in [0, 1] at side x side pixels, centred at 0."""
    size = (side, side)
    return F.interpolate(faces, size, mode="bilinear", antialias=True, align_corners=False) - 0.5


class ANet(nn.Module):
    """float faces (N, 3, H, W) in [0, 1] to features (N, features); in training mode to (features,
    logits of the attributes)."""

    distance = "euclidean"

    def __init__(self, classes: int, width: int, features: int):
        super().__init__()
        self.body = nn.Sequential(
            *(nn.Conv2d(3, width, 5, stride=2), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(width, 2 * width, 3), nn.ReLU(), nn.MaxPool2d(2)),
            *(LocallyShared(2 * width, 3 * width, 3, regions=(2, 2)), nn.ReLU()),
            *(LocallyShared(3 * width, 4 * width, 2, regions=(3, 3)), nn.ReLU()),
        )
        self.feature = nn.Linear(4 * width * 9, features)
        self.attribute = nn.Linear(features, classes)

    def forward(
        self, faces: Tensor, points: Tensor | None = None
    ) -> Tensor | tuple[Tensor, Tensor]:
        features = F.relu(self.feature(self.body(_resized(faces, SIDE)).flatten(1)))
        return (features, self.attribute(features)) if self.training else features


class PANDA(nn.Module):
    """As :class:`ANet`; it also takes the 68 landmarks (N, 68, 2) in pixels of the face, by which
    parts are cut."""

    distance = "euclidean"

    def __init__(self, classes: int, width: int, features: int):
        super().__init__()

        def part() -> nn.Sequential:
            convolutions, n_in = [], 3
            for n_out in (width, width, 2 * width, 2 * width):
                convolutions += [nn.Conv2d(n_in, n_out, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
                n_in = n_out
            return nn.Sequential(
                *convolutions,
                nn.Flatten(),
                nn.Linear(n_in * (PART // 16) ** 2, features // 2),
                nn.ReLU(),
            )

        self.parts = nn.ModuleDict({name: part() for name in ("whole", *WINDOWS)})
        self.attribute = nn.Linear(features // 2 * len(self.parts), classes)

    def forward(self, faces: Tensor, points: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        frame = align(faces, points, FRAME)
        inputs = {"whole": faces} | {
            name: frame[:, :, top:bottom, left:right]
            for name, (top, left, bottom, right) in WINDOWS.items()
        }
        features = [net(_resized(inputs[name], PART)) for name, net in self.parts.items()]
        features = torch.cat(features, 1)
        return (features, self.attribute(features)) if self.training else features


class Logistic(Objective):
    """Binary cross-entropy, mean over attributes and faces."""

    adam = {"weight_decay": 5e-4}

    def forward(self, net: nn.Module, batch: Batch) -> dict[str, Tensor]:
        _, logits = net(batch.hr, batch.points)
        return {"loss": F.binary_cross_entropy_with_logits(logits.float(), batch.labels)}


def build_anet(classes: int, size: str, scale: int = 1) -> ANet:
    return ANet(classes, **SIZES[size])


def build_panda(classes: int, size: str, scale: int = 1) -> PANDA:
    return PANDA(classes, **SIZES[size])
