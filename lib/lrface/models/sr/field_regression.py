"""Estimation of the dense correspondence in CBN (Zhu et al., ECCV 2016): one linear step a cascade.

``p + R (phi(image, p) - mean phi)``: descriptors phi of the current face at the 68 landmarks that p
gives, and a matrix R that was fitted to training faces. That the paper's step has this form, and
that its p starts at 0, the mean face, is from memory of the paper, not checked. There phi are SIFT
descriptors and R is the Gauss-Newton project-out solution. Here

- phi are gradient histograms in SIFT's layout (4x4 cells of 8 directions, divided by their norm,
  cut at 0.2 and divided again), without SIFT's Gaussian window; the windows are turned and scaled
  with the face, by the similarity in p;
- R is ridge regression in closed form from starts that the caller chooses, as in the supervised
  descent method (Xiong and De la Torre, CVPR 2013) and the authors' own CFSS.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from lrface.degrade import resize
from lrface.errors import LrfaceError
from lrface.models.sr.cbn import luminance
from lrface.models.sr.correspondence import Correspondence, warp

LANDMARKS, CELLS, DIRECTIONS = 68, 4, 8
SAMPLES = 4
"""Samples a side of a cell."""


def gradient_histograms(images: Tensor, points: Tensor, turn: Tensor, window: float) -> Tensor:
    """Gradient histograms of square windows, in the layout of SIFT.

    Parameters
    ----------
    images : Tensor
        float (N, 1, H, W).
    points : Tensor
        float (N, K, 2): the windows' centres in pixels, x and y.
    turn : Tensor
        float (N, 2, 2): what the windows are turned and scaled by.
    window : float
        Side of a window in pixels before that.

    Returns
    -------
    Tensor
        float (N, K, 4 * 4 * 8), of norm 1, or 0 where the window has no gradient: cells by row and
        column, then directions from 0 (to the right) in steps of 45 degrees.

    Examples
    --------
    >>> ramp = torch.arange(32.0).expand(1, 1, 32, 32) / 32
    >>> found = gradient_histograms(ramp, torch.full((1, 1, 2), 16.0), torch.eye(2)[None], 12)
    >>> found.view(16, 8).mean(0).round(decimals=2).tolist()  # all gradients point to the right
    [0.25, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]
    """
    n, k = points.shape[:2]
    side = CELLS * SAMPLES
    step = window / side
    # a sample more on each side for the differences
    line = (torch.arange(side + 2, device=points.device) - (side + 1) / 2).to(points) * step
    y, x = torch.meshgrid(line, line, indexing="ij")
    offsets = torch.einsum("nij,jhw->nihw", turn, torch.stack([x, y]))
    where = points[..., None, None] + offsets[:, None]
    patches = warp(images, where.movedim(2, 1).flatten(2, 3)).view(n, k, side + 2, side + 2)
    right = (patches[..., 1:-1, 2:] - patches[..., 1:-1, :-2]) / 2
    down = (patches[..., 2:, 1:-1] - patches[..., :-2, 1:-1]) / 2
    length = (right.square() + down.square()).sqrt()
    angle = torch.atan2(down, right) / (2 * math.pi) * DIRECTIONS
    directions = torch.arange(DIRECTIONS, device=angle.device)
    # a gradient is shared between its two nearest directions
    away = (angle[..., None] - directions + DIRECTIONS / 2).remainder(DIRECTIONS) - DIRECTIONS / 2
    shares = (1 - away.abs()).clamp_min(0) * length[..., None]
    cells = shares.view(n, k, CELLS, SAMPLES, CELLS, SAMPLES, DIRECTIONS).sum((3, 5)).flatten(2)
    cells = cells / cells.norm(dim=2, keepdim=True).clamp_min(1e-6)
    cells = cells.clamp_max(0.2)
    return cells / cells.norm(dim=2, keepdim=True).clamp_min(1e-6)


class FieldRegressor(nn.Module):
    """One step of the regression of p.

    Parameters
    ----------
    count : int
        The number n of bases.
    window : float
        Side of a descriptor's window in distances between the template's eyes. Large for the first
        steps, smaller for the later; the authors' CFSS halves it after the first.

    Notes
    -----
    Calling it maps a field, faces, float (N, 1 or 3, h, w) in [0, 1] of any size of the template's
    shape, and coefficients (N, n) to better coefficients (N, n). Faces are brought to the field's
    size before descriptors are taken. A step that was not fitted leaves p as it is.
    """

    def __init__(self, count: int, window: float = 1.0):
        super().__init__()
        self.window = window
        length = LANDMARKS * CELLS**2 * DIRECTIONS
        self.register_buffer("mean", torch.zeros(length))
        self.register_buffer("matrix", torch.zeros(count, length))

    def describe(self, field: Correspondence, images: Tensor, p: Tensor) -> Tensor:
        """phi: float (N, 68 * 128)."""
        grey = luminance(images)
        if tuple(grey.shape[-2:]) != field.size:
            grey = resize(grey, field.size)
        window, turn = self.window * field.eye_distance, field.linear(p)[..., :2]
        return gradient_histograms(grey, field.points(p), turn, window).flatten(1)

    @torch.no_grad()
    def fit(
        self,
        field: Correspondence,
        images: Tensor,
        starts: Tensor,
        goals: Tensor,
        ridge: float = 0.1,
        batch: int = 32,
    ) -> FieldRegressor:
        """Compute the matrix by ridge regression of ``goals - starts``.

        Parameters
        ----------
        field : Correspondence
        images : Tensor
            float (N, 1 or 3, h, w) in [0, 1].
        starts, goals : Tensor
            float (S, N, n) or (N, n), and float (N, n): coefficients from which and to which the
            step is to lead; S starts a face. Faces with a NaN are left out.
        ridge : float
            Times the mean square of phi - mean phi, a face, added to the diagonal.
        batch : int
            So many faces are described at a time.

        Returns
        -------
        FieldRegressor
            This one.
        """
        known = goals.isfinite().all(1)
        if int(known.sum()) < 2:
            raise LrfaceError("a step of the field's regression needs at least two faces' goals")
        starts = starts.reshape(-1, *goals.shape)[:, known]
        images, goals = images[known], goals[known]
        found = [
            self.describe(field, some, p)
            for round_starts in starts
            for some, p in zip(images.split(batch), round_starts.split(batch), strict=True)
        ]
        phi = torch.cat(found)
        self.mean.copy_(phi.mean(0))
        phi = (phi - self.mean).double()
        away = (goals - starts).flatten(0, 1).double()
        # as many unknowns as descriptors have numbers, or as there are faces, whichever is less
        dual = len(phi) < phi.shape[1]
        gram = phi @ phi.T if dual else phi.T @ phi
        gram.diagonal().add_(ridge * phi.square().sum(1).mean())
        if dual:
            matrix = torch.linalg.solve(gram, away).T @ phi
        else:
            matrix = torch.linalg.solve(gram, phi.T @ away).T
        self.matrix.copy_(matrix)
        return self

    def forward(self, field: Correspondence, images: Tensor, p: Tensor) -> Tensor:
        return p + (self.describe(field, images, p) - self.mean) @ self.matrix.T


def perturbed(goals: Tensor, rounds: int, size: float, seed: int = 0) -> Tensor:
    """Starts around known coefficients, to fit a later step from.

    ``goals`` (N, n), NaN where unknown, plus normal noise of ``size`` times the standard deviation
    of each coefficient over the faces: float (rounds, N, n).

    Examples
    --------
    >>> perturbed(torch.rand(5, 6), rounds=3, size=0.5).shape
    torch.Size([3, 5, 6])
    """
    random = torch.Generator().manual_seed(seed)
    known = goals[goals.isfinite().all(1)]
    deviation = (known - known.mean(0)).square().mean(0).sqrt()
    return goals + size * deviation * torch.randn(rounds, *goals.shape, generator=random).to(goals)
