"""Eigenface (Wang and Tang, IEEE TSMC-C 2005): hallucination by eigentransformation.

The linear method before networks. An LR face is projected on the principal components of the LR
training faces, which writes it as a combination of them; the result is the same combination of the
HR training faces. For a fixed number of components this is one linear map, which
:func:`fit_closed_form` computes from one pass over the pairs. The map is per pixel, so faces must
be aligned and of one size.

The paper keeps a result face-like by limiting its coefficients on HR eigenfaces to a multiple of
their standard deviation. Here those are the eigenfaces of the hallucinated training faces; with all
components these are the training faces themselves. The numbers of components, the limit and the
randomised decomposition are ours; the paper's faces are grey, ours RGB.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn

from lrface.errors import LrfaceError
from lrface.models.recipe import Recipe

VERSION = 1
RECIPE = Recipe(
    steps=1,
    loss="l1",
    schedule="constant",
    source="none: computed in one pass",
    patch=None,
)
FACE = 128
FACES = 8192
"""At most this many training faces are used, a uniform sample (their HR as 8 bits is 400 MB)."""
COMPONENTS = {"paper": 512, "narrow": 512, "small": 128}
"""A CPU can afford the larger number, so ``narrow`` is ``paper``."""


class Eigenface(nn.Module):
    """``hr_mean + clip((lr - lr_mean) @ lr_basis) @ hr_basis``, for 128x128 faces.

    These are buffers: no parameter is trained. A coefficient has unit variance over the training
    faces; ``bound`` clips it to that many standard deviations (None: no clipping).
    """

    def __init__(
        self, scale: int, components: int = COMPONENTS["paper"], bound: float | None = None
    ):
        super().__init__()
        self.scale, self.bound = scale, bound
        low, high = 3 * (FACE // scale) ** 2, 3 * FACE**2
        for name, shape in {
            "lr_mean": (low,),
            "lr_basis": (low, components),
            "hr_mean": (high,),
            "hr_basis": (components, high),
        }.items():
            self.register_buffer(name, torch.zeros(shape))

    def forward(self, lr: Tensor) -> Tensor:
        side = FACE // self.scale
        if lr.shape[1:] != (3, side, side):
            raise LrfaceError(
                f"Eigenface at {self.scale}x restores aligned faces of {side}x{side} pixels only, "
                f"and this picture is {lr.shape[-1]}x{lr.shape[-2]}: "
                "crop the face to that size, or choose another method"
            )
        z = (lr.flatten(1) - self.lr_mean) @ self.lr_basis
        if self.bound is not None:
            z = z.clamp(-self.bound, self.bound)
        return (self.hr_mean + z @ self.hr_basis).view(-1, 3, FACE, FACE)


def _sample(pairs: Iterator[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """Float LR and 8-bit HR faces as rows: all of them, or FACES by reservoir sampling with a fixed
    seed."""
    random, low, high = np.random.default_rng(0), [], []
    faces = (pair for batch in pairs for pair in zip(*batch, strict=True))
    for n, (lr, hr) in enumerate(faces):
        place = n if n < FACES else int(random.integers(n + 1))
        if place < FACES:
            low[place : place + 1] = [lr.flatten().clone()]
            high[place : place + 1] = [hr.flatten().mul(255).round().byte()]
    return torch.stack(low), torch.stack(high)


def _principal(x: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The first k principal directions (d, k) of centred rows (n, d) and their standard deviations,
    by subspace iteration."""
    k = min(k + 16, *x.shape)
    q = torch.randn(x.shape[1], k, generator=torch.Generator().manual_seed(0))
    for _ in range(5):
        q = torch.linalg.qr(x.T @ (x @ q)).Q
    scores = (x @ q).double()
    variance, rotation = torch.linalg.eigh(scores.T @ scores / len(x))
    return q.double() @ rotation.flip(1), variance.flip(0).clamp_min(0).sqrt()


@torch.no_grad()
def fit_closed_form(net: Eigenface, pairs: Iterator[tuple[Tensor, Tensor]]) -> None:
    """Compute the network from batches (lr, hr) of whole 8-bit faces.

    The same faces in the same order give the same bytes.
    """
    low, high = _sample(pairs)
    lr_mean = low.mean(0)
    low -= lr_mean
    directions, deviation = _principal(low, net.hr_basis.shape[0])
    k = min(net.hr_basis.shape[0], int((deviation > 3e-5 * deviation[0]).sum()))
    lr_basis = directions[:, :k] / deviation[:k]
    scores = low @ lr_basis.float()
    sums = [part.double().mean(0, keepdim=True) * len(part) for part in high.split(512)]
    hr_mean = torch.cat(sums).sum(0).div(len(high) * 255)
    hr_basis = torch.zeros(k, high.shape[1])
    for part_scores, part in zip(scores.split(512), high.split(512), strict=True):
        hr_basis += part_scores.T @ (part.float() / 255 - hr_mean.float())
    hr_basis /= len(high)
    # rotated so that the coefficients are on the hallucinated faces' own eigenfaces, to which the
    # bound applies
    rotation = torch.linalg.eigh((hr_basis @ hr_basis.T).double()).eigenvectors.flip(1)
    for buffer in net.buffers():
        buffer.zero_()
    net.lr_mean.copy_(lr_mean)
    net.hr_mean.copy_(hr_mean)
    net.lr_basis[:, :k] = lr_basis @ rotation
    net.hr_basis[:k] = rotation.T.float() @ hr_basis


def build(scale: int, size: str) -> Eigenface:
    return Eigenface(scale, COMPONENTS[size])
