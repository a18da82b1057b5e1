"""DeepID2 (Sun, Chen, Wang and Tang, NIPS 2014): identification and verification signals together.

The network takes the whole face, one of the paper's 25 patches: 55x47 RGB, four convolutions of 20,
40, 60 and 80 channels, with 2x2 pooling after the first three. The third shares its weights only
within each quarter of the map, the fourth nowhere. The feature of 160 numbers is the sum of linear
maps of the third and the fourth layer. Layers are the paper's in both sizes. The loss is
cross-entropy over identities plus 0.05 times a contrastive loss over the pairs of a batch.

Where sources leave a choice:

- ReLU, as in the paper; ports have PReLU.
- The verification signal compares features of length 1 with a margin of 1. The paper adapts the
  margin during training; ports fix it.
- Pairs of the same person and of different persons count equally, as in the paper's sampling of
  pairs; a random batch has few pairs of the same person.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lrface.models.layers import LocallyShared
from lrface.models.objective import Batch, Objective
from lrface.models.recognition.align import align, unaligned_crop

VERSION = 1
SIZE = (55, 47)
"""Rows and columns of its input."""
WEIGHT, MARGIN = 0.05, 1.0


class DeepID2(nn.Module):
    """float (N, 3, 55, 47) in [0, 1] to features (N, 160); in training mode to (features, logits of
    the identities)."""

    distance = "cosine"
    input_size = SIZE

    def __init__(self, classes: int):
        super().__init__()
        self.body = nn.Sequential(
            *(nn.Conv2d(3, 20, 4), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(20, 40, 3), nn.ReLU(), nn.MaxPool2d(2)),
            *(LocallyShared(40, 60, 3, regions=(2, 2)), nn.ReLU(), nn.MaxPool2d(2)),
        )
        self.last = nn.Sequential(LocallyShared(60, 80, 2, regions=(4, 3)), nn.ReLU())
        self.from_body, self.from_last = nn.Linear(60 * 5 * 4, 160), nn.Linear(80 * 4 * 3, 160)
        self.identity = nn.Linear(160, classes)

    def forward(self, faces: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        x = self.body(faces - 0.5)
        features = F.relu(self.from_body(x.flatten(1)) + self.from_last(self.last(x).flatten(1)))
        return (features, self.identity(features)) if self.training else features


def verification(features: Tensor, labels: Tensor) -> Tensor:
    """The verification signal: a contrastive loss of features (N, D) over all pairs of a batch.

    Half the squared distance for two faces of one person, half the square of max(0, margin -
    distance) for two persons; averaged over the pairs of each kind (0 without any), then over the
    kinds.
    """
    unit = F.normalize(features)
    first, second = torch.triu_indices(len(features), len(features), 1, device=features.device)
    # the root's slope is infinite at 0, where two faces may well be at the start of training
    distance = (unit[first] - unit[second]).square().sum(1).clamp_min(1e-12).sqrt()
    same = (labels[first] == labels[second]).to(distance.dtype)
    different = 1 - same
    attract = (same * distance.square()).sum() / (2 * same.sum().clamp_min(1))
    short = (MARGIN - distance).clamp_min(0)
    repel = (different * short.square()).sum() / (2 * different.sum().clamp_min(1))
    return (attract + repel) / 2


class PaperLoss(Objective):
    """Identification signal + 0.05 times verification signal, of aligned or of unaligned faces."""

    adam = {"weight_decay": 5e-4}
    needs_whole_batch = True

    def __init__(self, aligned: bool = True):
        super().__init__()
        self.needs_landmarks = aligned

    def forward(self, net: nn.Module, batch: Batch) -> dict[str, Tensor]:
        if self.needs_landmarks:
            faces = align(batch.hr, batch.points, SIZE)
        else:
            faces = unaligned_crop(batch.hr, SIZE)
        features, logits = net(faces)
        identification = F.cross_entropy(logits, batch.labels)
        contrastive = verification(features, batch.labels)
        return {
            "loss": identification + WEIGHT * contrastive,
            "identification": identification.detach(),
            "verification": contrastive.detach(),
        }


def build(classes: int, size: str, scale: int = 1) -> DeepID2:
    return DeepID2(classes)
