"""RPCN-like: two branches with partly shared filters, for LR and HR faces (after Wang et al., CVPR
2016).

Robust Partially Coupled Networks are trained in two stages. First both branches reconstruct the HR
face, one from the enlarged LR face and one from the HR face itself, under a robust loss; then both
classify identities. An LR face is recognised by the LR branch.

"-like", because neither the paper nor CSRI, which compares with it, specifies a whole network. Ours
are:

- three convolutions of 9, 5 and 5 pixels (CSRI says three layers) with ReLU;
- a quarter, a half and three quarters of the layers' filters shared: more with depth, where
  features depend less on the resolution;
- Huber's loss, linear beyond a tenth of the range;
- shared by both branches, a convolution from the last features to the face, and a feature layer on
  their maxima in 8x8 cells.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lrface.degrade import resize
from lrface.models.layers import xavier
from lrface.models.losses import Classification, mean_over
from lrface.models.objective import Batch, Objective
from lrface.models.recognition.align import unaligned_crop

VERSION = 1
SIZES = {
    "paper": {"widths": (64, 64, 32), "features": 256},
    "small": {"widths": (12, 8, 8), "features": 128},
}
KERNELS = (9, 5, 5)
QUARTERS = (1, 2, 3)
"""Quarters of each layer's filters that the branches share."""
CELLS = 8
DELTA = 0.1
"""Where Huber's loss changes from quadratic to linear, for faces in [0, 1]."""


class Coupled(nn.Module):
    """A convolution for two branches: of its ``n_out`` filters ``shared`` are common to both."""

    def __init__(self, n_in: int, n_out: int, size: int, shared: int):
        super().__init__()
        self.shared = nn.Conv2d(n_in, shared, size, padding=size // 2)
        self.own = nn.ModuleList(
            nn.Conv2d(n_in, n_out - shared, size, padding=size // 2) for _ in range(2)
        )
        for convolution in (self.shared, *self.own):
            nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
            nn.init.zeros_(convolution.bias)

    def forward(self, x: Tensor, branch: int) -> Tensor:
        parts = self.shared, self.own[branch]
        weight, bias = torch.cat([p.weight for p in parts]), torch.cat([p.bias for p in parts])
        return F.conv2d(x, weight, bias, padding=self.shared.padding)


class RPCN(nn.Module):
    """Enlarged LR faces (N, 3, 64, 64) in [0, 1] to features (N, features) of the LR branch.

    In training mode it also takes the HR faces and returns (reconstructed face, features, logits of
    the identities) of each branch, LR first.
    """

    distance = "euclidean"
    input_size = (64, 64)

    def __init__(self, classes: int, widths: tuple[int, ...], features: int):
        super().__init__()
        self.layers = nn.ModuleList(
            Coupled(n_in, n_out, size, n_out * quarters // 4)
            for n_in, n_out, size, quarters in zip(
                (3, *widths), widths, KERNELS, QUARTERS, strict=False
            )
        )
        self.picture = xavier(nn.Conv2d(widths[-1], 3, 5, padding=2))
        self.feature = xavier(nn.Linear(widths[-1] * CELLS**2, features))
        self.identity = xavier(nn.Linear(features, classes))

    def _body(self, faces: Tensor, branch: int) -> Tensor:
        x = faces - 0.5
        for layer in self.layers:
            x = F.relu(layer(x, branch))
        return x

    def _feature(self, x: Tensor) -> Tensor:
        return self.feature(F.adaptive_max_pool2d(x, CELLS).flatten(1))

    def forward(
        self, lr: Tensor, hr: Tensor | None = None
    ) -> Tensor | tuple[tuple[Tensor, Tensor, Tensor], ...]:
        if not self.training:
            return self._feature(self._body(lr, 0))
        bodies = [self._body(faces, branch) for branch, faces in enumerate((lr, hr))]
        features = [self._feature(x) for x in bodies]
        return tuple(
            (self.picture(x) + 0.5, f, self.identity(f))
            for x, f in zip(bodies, features, strict=True)
        )


def branch_inputs(batch: Batch, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """The inputs of the two branches, unaligned: LR faces enlarged by bicubic interpolation, and HR
    faces."""
    return unaligned_crop(resize(batch.lr, batch.hr.shape[2:]), size), unaligned_crop(
        batch.hr, size
    )


class SuperResolution(Objective):
    """The first stage: both branches reconstruct the HR face (Huber's loss); native faces, which
    have none, are left out."""

    # a mean over faces of one kind, which the parts of a batch may have in different numbers
    needs_whole_batch = True

    def forward(self, net: nn.Module, batch: Batch) -> dict[str, Tensor]:
        lr, hr = branch_inputs(batch, net.input_size)
        errors = sum(
            F.huber_loss(face.float(), hr, reduction="none", delta=DELTA).mean((1, 2, 3))
            for face, _, _ in net(lr, hr)
        )
        return {"loss": errors.mean() if batch.native is None else mean_over(errors, ~batch.native)}


class PaperLoss(Objective):
    """The second stage: cross-entropy of both branches, native faces in the LR branch only."""

    adam = Classification.adam
    needs_whole_batch = True  # as above

    def forward(self, net: nn.Module, batch: Batch) -> dict[str, Tensor]:
        lr, hr = (
            F.cross_entropy(logits.float(), batch.labels, reduction="none")
            for _, _, logits in net(*branch_inputs(batch, net.input_size))
        )
        lr = lr.mean()
        hr = hr.mean() if batch.native is None else mean_over(hr, ~batch.native)
        return {"loss": lr + hr, "lr_branch": lr.detach(), "hr_branch": hr.detach()}


OBJECTIVES = {"paper": lambda net: PaperLoss(), "sr": lambda net: SuperResolution()}


def build(classes: int, size: str, scale: int = 1) -> RPCN:
    return RPCN(classes, **SIZES[size])
