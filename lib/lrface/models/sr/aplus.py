"""A+ (Timofte, De Smet and Van Gool, ACCV 2014): adjusted anchored neighbourhood regression.

For every atom of a dictionary of patches a linear map takes a patch's features to what the bicubic
enlargement lacks there. A patch takes the map of the atom it correlates with most, and overlapping
patches are averaged. Everything is computed in one pass over the pairs (:func:`fit_closed_form`).

As in the authors' code: patches of 3x3 LR pixels that overlap by 2, the border pixel left out; the
features are four filters (first and second differences over one and two LR pixels, both directions)
of the bicubic enlargement, reduced by principal components that keep 99.9 % of the energy; 1,024
atoms of 3 non-zeros in 20 iterations; samples of unit norm, with the residual divided by the same
norm where that is at least 0.1; per atom ridge regression (0.1) on its 2,048 nearest samples; on
luminance.

Where the code and this module differ:

- the dictionary is learnt by the method of optimal directions (Engan et al., 1999) on orthogonal
  matching pursuit, which updates all atoms at once, where K-SVD updates one after another; atoms
  that no sample uses become samples;
- samples are drawn from the training faces at their own size, 200,000 at most, a fixed number a
  face: not 5 million from 12 reduced sizes of 91 images;
- 8x is ours, with the same filters over one and two LR pixels;
- the number of components is at most 40 (``paper``), so that networks have one size;
- of an RGB face the luminance is restored, and what is added to it is added to all colours, so that
  Cb and Cr are those of the bicubic enlargement.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lrface.degrade import resize
from lrface.errors import LrfaceError
from lrface.models.recipe import Recipe
from lrface.models.sr.cbn import luminance

VERSION = 1
SCALES = (2, 3, 4, 8)
RECIPE = Recipe(
    steps=1,
    loss="mse",
    schedule="constant",
    source="none: computed in one pass",
    patch=None,
)
SIZES = {
    "paper": {"atoms": 1024, "components": 40, "neighbours": 2048, "samples": 200_000},
    "small": {"atoms": 128, "components": 24, "neighbours": 512, "samples": 20_000},
}
WINDOW = 3
RIDGE = 0.1
ENERGY = 0.999
LEAST_NORM = 0.1
ITERATIONS, NON_ZEROS = 20, 3
A_FACE = 512
"""At most this many samples are drawn from a face."""


class APlus(nn.Module):
    """Components, atoms and the map of each atom: buffers, as no parameter is trained.

    Parameters
    ----------
    scale : int
    atoms, components, neighbours, samples : int
        The sizes of the dictionary, of the features and of an atom's neighbourhood, and the most
        samples that all are computed from.
    """

    def __init__(self, scale: int, atoms: int, components: int, neighbours: int, samples: int):
        super().__init__()
        self.scale, self.neighbours, self.samples = scale, neighbours, samples
        area = (WINDOW * scale) ** 2
        self.register_buffer("components", torch.zeros(4 * area, components))
        self.register_buffer("atoms", torch.zeros(atoms, components))
        self.register_buffer("maps", torch.zeros(atoms, area, components))

    def patches(self, x: Tensor) -> Tensor:
        """Patches of maps (N, C, H, W) at HR size: (N, C * area, number), without the border of
        one LR pixel."""
        s = self.scale
        return F.unfold(x[..., s:-s, s:-s], WINDOW * s, stride=s)

    def features(self, enlarged: Tensor) -> Tensor:
        """Patches of the four filters' responses to (N, 1, H, W): (N, 4 * area, number)."""
        s = self.scale
        first = torch.zeros(1, 1, 1, s + 1, device=enlarged.device)
        first[..., 0], first[..., -1] = 1, -1
        second = torch.zeros(1, 1, 1, 2 * s + 1, device=enlarged.device)
        second[..., 0], second[..., s], second[..., -1] = 0.5, -1, 0.5
        filters = (first, first.mT, second, second.mT)
        return torch.cat([self.patches(_filtered(enlarged, one)) for one in filters], 1)

    def forward(self, lr: Tensor) -> Tensor:
        h, w = (side * self.scale for side in lr.shape[-2:])
        if min(lr.shape[-2:]) < WINDOW + 2:
            raise LrfaceError(
                f"A+ restores faces of at least {WINDOW + 2}x{WINDOW + 2} pixels, and this one is "
                f"{lr.shape[-1]}x{lr.shape[-2]}"
            )
        enlarged = resize(lr, (h, w))
        features = self.features(luminance(enlarged)).mT @ self.components
        nearest = (features @ self.atoms.T).abs().argmax(2)
        details = features @ self.maps[0].T  # which atom decides the numbers, not the cost
        for atom in [] if nearest.is_meta else nearest.unique().tolist():
            chosen = nearest == atom
            details[chosen] = features[chosen] @ self.maps[atom].T
        s = self.scale
        inner = (h - 2 * s, w - 2 * s)
        added = F.fold(details.mT, inner, WINDOW * s, stride=s)
        added = added / F.fold(torch.ones_like(details.mT), inner, WINDOW * s, stride=s)
        return enlarged + F.pad(added, (s, s, s, s))


def _filtered(x: Tensor, kernel: Tensor) -> Tensor:
    """Correlation of the same size, the border replicated."""
    h, w = kernel.shape[-2:]
    padded = F.pad(x, (w // 2, (w - 1) // 2, h // 2, (h - 1) // 2), "replicate")
    return F.conv2d(padded, kernel)


def sparse_codes(x: Tensor, atoms: Tensor, non_zeros: int = NON_ZEROS) -> Tensor:
    """Orthogonal matching pursuit: codes (n, k) of at most ``non_zeros`` non-zeros, so that ``codes
    @ atoms`` is about ``x``.

    ``x`` is (n, d), ``atoms`` (k, d) of unit norm.

    Examples
    --------
    >>> x = torch.tensor([[0.0, 2.0, 1.0]])
    >>> sparse_codes(x, torch.eye(3), 2).tolist()
    [[0.0, 2.0, 1.0]]
    """
    codes, rest = torch.zeros(len(x), len(atoms), dtype=x.dtype), x
    chosen = torch.zeros(len(x), 0, dtype=torch.long)
    for _ in range(non_zeros):
        correlation = (rest @ atoms.T).abs().scatter(1, chosen, -1.0)
        chosen = torch.cat([chosen, correlation.argmax(1, keepdim=True)], 1)
        taken = atoms[chosen]
        gram = taken @ taken.mT + 1e-8 * torch.eye(chosen.shape[1], dtype=x.dtype)
        weights = torch.linalg.solve(gram, taken @ x[..., None])
        rest = x - (weights * taken).sum(1)
    return codes.scatter(1, chosen, weights[..., 0])


def dictionary(x: Tensor, count: int) -> Tensor:
    """Atoms (count, d) of unit norm for samples (n, d), by the method of optimal directions from
    samples drawn with a fixed seed."""
    random = torch.Generator().manual_seed(0)

    def drawn(some: int) -> Tensor:
        found = x[torch.randint(len(x), (some,), generator=random)]
        return F.normalize(found, dim=1)

    atoms = drawn(count)
    for _ in range(ITERATIONS):
        gram = torch.zeros(count, count, dtype=x.dtype)
        product = torch.zeros_like(atoms)
        for some in x.split(8192):
            codes = sparse_codes(some, atoms)
            gram += codes.T @ codes
            product += codes.T @ some
        used = gram.diagonal() > 1e-8
        gram.diagonal().add_(1e-6 * gram.diagonal().mean())
        atoms = F.normalize(torch.linalg.solve(gram, product), dim=1)
        atoms = torch.where(used[:, None], atoms, drawn(count))
    return atoms


def _samples(net: APlus, pairs: Iterator[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """Features (n, 4 * area) and residuals (n, area) of patches drawn with a fixed seed."""
    random, features, residuals, count = torch.Generator().manual_seed(0), [], [], 0
    for lr, hr in pairs:
        enlarged = luminance(resize(lr, tuple(hr.shape[-2:])))
        x = net.features(enlarged)
        y = net.patches(luminance(hr) - enlarged)
        for face_x, face_y in zip(x, y, strict=True):
            order = torch.randperm(face_x.shape[1], generator=random)[:A_FACE]
            features.append(face_x[:, order].T)
            residuals.append(face_y[:, order].T)
            count += len(order)
        if count >= net.samples:
            break
    return torch.cat(features)[: net.samples], torch.cat(residuals)[: net.samples]


@torch.no_grad()
def fit_closed_form(net: APlus, pairs: Iterator[tuple[Tensor, Tensor]]) -> None:
    """Compute the network from batches (lr, hr) of faces.

    The same faces in the same order give the same bytes.
    """
    features, residuals = (x.double() for x in _samples(net, pairs))
    energy, vectors = torch.linalg.eigh(features.T @ features)
    energy, vectors = energy.flip(0).clamp_min(0), vectors.flip(1)
    count = int((energy.cumsum(0) < ENERGY * energy.sum()).sum()) + 1
    count = min(count, net.components.shape[1])
    x = features @ vectors[:, :count]
    atoms = dictionary(x, len(net.atoms))
    norm = x.norm(dim=1, keepdim=True)
    scale = torch.where(norm >= LEAST_NORM, norm, 1)
    x, y = x / norm.clamp_min(1e-12), residuals / scale
    neighbours = min(net.neighbours, len(x))
    for buffer in net.buffers():
        buffer.zero_()
    net.components[:, :count] = vectors[:, :count]
    net.atoms[:, :count] = atoms
    for i, atom in enumerate(atoms):
        # both are of unit norm: the nearest has the largest product
        near = (x @ atom).topk(neighbours).indices
        gram = x[near].T @ x[near]
        gram.diagonal().add_(RIDGE)
        net.maps[i, :, :count] = torch.linalg.solve(gram, x[near].T @ y[near]).T


def build(scale: int, size: str) -> APlus:
    return APlus(scale, **SIZES[size])
