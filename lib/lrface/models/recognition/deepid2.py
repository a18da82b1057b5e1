"""DeepID2 (Sun, Chen, Wang and Tang, NIPS 2014): a face's identity, and whether two faces show one
person, learnt together.

One network, of the paper's 25 patches the whole face: 55x47 RGB, four convolutions, of which the
third shares its weights only within each quarter of the map and the fourth nowhere; the feature
sees the last two scales. Feature and layers are the paper's in both sizes.

Where sources leave a choice: ReLU (the paper's; its ports have PReLU); the verification signal
compares features of length 1 with margin 1 and weight 0.05 (the paper moves its margin along with
the data; ports fix it); same and different pairs of a batch count equally, since a batch drawn at
random holds few of the same person, and the paper draws its pairs so.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lrface.models.layers import LocallyShared
from lrface.models.losses import Batch
from lrface.models.recognition.align import align, unaligned_crop

VERSION = 1
SIZE = (55, 47)
"""Rows and columns of its input."""
WEIGHT, MARGIN = 0.05, 1.0


class DeepID2(nn.Module):
    """float (N, 3, 55, 47) in [0, 1] to features (N, 160); in training mode to (features, logits of
    the training identities)."""

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
    """The verification signal of features (N, D) and identities (N,), over all pairs of the batch.

    Half the squared distance of two faces of one person, half the square of what the distance of
    two persons lacks of the margin; the mean over the pairs of each kind, the kinds counted
    equally, and a kind that is not there as zero.
    """
    unit = F.normalize(features)
    first, second = torch.triu_indices(len(features), len(features), 1, device=features.device)
    # the root's slope is infinite at 0, where two faces may well be in the beginning
    apart = (unit[first] - unit[second]).square().sum(1).clamp_min(1e-12).sqrt()
    same = (labels[first] == labels[second]).to(apart.dtype)
    terms = (same * apart.square(), (1 - same) * (MARGIN - apart).clamp_min(0).square())
    return (
        sum(
            term.sum() / (2 * kind.sum().clamp_min(1))
            for term, kind in zip(terms, (same, 1 - same), strict=True)
        )
        / 2
    )


class PaperLoss(nn.Module):
    """The identification signal plus 0.05 times the verification signal, of aligned faces
    (``aligned``) or of faces taken whole."""

    adam = {"weight_decay": 5e-4}
    whole_batch = True

    def __init__(self, aligned: bool = True):
        super().__init__()
        self.landmarks = aligned

    def forward(self, net: nn.Module, batch: Batch) -> dict[str, Tensor]:
        features, logits = net(
            align(batch.hr, batch.points, SIZE)
            if self.landmarks
            else unaligned_crop(batch.hr, SIZE)
        )
        identification, pairs = (
            F.cross_entropy(logits, batch.labels),
            verification(features, batch.labels),
        )
        return {
            "loss": identification + WEIGHT * pairs,
            "identification": identification.detach(),
            "verification": pairs.detach(),
        }


def build(classes: int, size: str, scale: int = 1) -> DeepID2:
    return DeepID2(classes)
