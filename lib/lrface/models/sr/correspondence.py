"""Dense face correspondence of CBN (Zhu et al., ECCV 2016): W(z) = z + B(z) p.

A point z of the mean face (the template) lies at W(z) in a face's image. The bases B are fixed and
shared by all faces, and a face is described by its coefficients p alone: p = 0 is the mean face.
The paper (equation 1) chooses the bases as active appearance models do: four for the similarity
transform, the rest for non-rigid deformation.

The paper takes the non-rigid bases from dense face scans. Ours are the principal components of
shapes of 68 landmarks, spread to every pixel by thin-plate splines (exact at the landmarks, with
an affine part). Their number is not published; ours is 20. Shapes are aligned by generalised
Procrustes analysis, and the template is their mean, in the mean position of the training faces,
or, where ``eyes`` are given, with its eye centres there.

Coordinates are x and y in pixels, the centre of the first pixel at 0. Template and image have one
size. Every basis moves the 68 landmarks by 1 pixel (root mean square), so that p is in pixels, and
:meth:`Correspondence.at` gives the bases for a coarser or finer image with the same p.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy.interpolate import RBFInterpolator
from scipy.spatial import Delaunay
from torch import Tensor, nn
from torch.nn import functional as F

from lrface.errors import LrfaceError, UsageError
from lrface.models.video.registration import similarity

NON_RIGID = 20
RELAXATION = 0.6
LEFT_EYE, RIGHT_EYE = slice(36, 42), slice(42, 48)
CBN_EYES = ((5 / 14, 2 / 7), (9 / 14, 2 / 7))
"""Eye centres in the window of the authors' demo, as fractions of its sides; 4.57 pixels apart in
a window of 16."""


def pixel_grid(h: int, w: int) -> Tensor:
    """The pixels' own coordinates, float (2, h, w): x, then y.

    Examples
    --------
    >>> pixel_grid(2, 3)[0].tolist()
    [[0.0, 1.0, 2.0], [0.0, 1.0, 2.0]]
    """
    y, x = torch.meshgrid(torch.arange(float(h)), torch.arange(float(w)), indexing="ij")
    return torch.stack([x, y])


def warp(images: Tensor, where: Tensor) -> Tensor:
    """Images looked up at given positions, bilinearly; the border is replicated.

    Parameters
    ----------
    images : Tensor
        float (N, C, H, W).
    where : Tensor
        float (N, 2, h, w): x and y in pixels of the images.

    Returns
    -------
    Tensor
        float (N, C, h, w).

    Examples
    --------
    >>> image = torch.arange(6.0).view(1, 1, 2, 3)
    >>> warp(image, pixel_grid(2, 3)[None] + 0.5).round(decimals=3).flatten().tolist()
    [2.0, 3.0, 3.5, 3.5, 4.5, 5.0]
    """
    size = torch.tensor(images.shape[:1:-1], dtype=where.dtype, device=where.device)
    grid = (2 * where.movedim(1, -1) + 1) / size - 1
    return F.grid_sample(images, grid, "bilinear", "border", align_corners=False)


def _centre_and_size(mean: Tensor) -> tuple[Tensor, Tensor]:
    """Centre (2,) of a shape (68, 2), and the root mean square distance of its points from it."""
    centre = mean.mean(0)
    return centre, (mean - centre).square().sum(1).mean().sqrt()


def _rigid(z: Tensor, mean: Tensor) -> Tensor:
    """The four similarity bases at points z (2, ...): (2, ..., 4), growing, turning, right, down,
    each of a root mean square of 1 over the shape ``mean`` (68, 2)."""
    centre, size = _centre_and_size(mean)
    x, y = (z - centre.view(2, *[1] * (z.ndim - 1))) / size
    zero, one = torch.zeros_like(x), torch.ones_like(x)
    return torch.stack(
        [torch.stack(basis) for basis in ((x, y), (-y, x), (one, zero), (zero, one))], -1
    )


def with_similarity(mean: Tensor, shapes: Tensor) -> Tensor:
    """The four bases of the similarity of landmarks (68, 2), before others, float (68, 2, n)."""
    return torch.cat([_rigid(mean.T, mean).movedim(0, 1), shapes], -1)


class Correspondence(nn.Module):
    """The template and its bases; :func:`fit` makes one of training faces.

    Its buffers are not part of a state dict: a network stores the template's landmarks and the
    bases there once, whatever the sizes of faces it works on, and the dense bases follow from them.

    Parameters
    ----------
    mean : Tensor
        float (68, 2): the template's landmarks in pixels.
    shapes : Tensor
        float (68, 2, n): the bases at the landmarks, the four of the similarity first. A basis of
        zeros moves nothing.
    size : tuple of int
        Height and width of the template, and of the images it fits, in pixels.

    Attributes
    ----------
    bases : Tensor
        float (2, h, w, n): the bases at every pixel of the template.

    Examples
    --------
    >>> faces = torch.rand(30, 68, 2) * 20
    >>> field = fit(faces, (20, 24), non_rigid=3)
    >>> field.bases.shape, field.parameters_of(faces).shape
    (torch.Size([2, 20, 24, 7]), torch.Size([30, 7]))
    """

    def __init__(self, mean: Tensor, shapes: Tensor, size: tuple[int, int]):
        super().__init__()
        points, values = mean.double().cpu(), shapes.double().cpu()
        unit = values[0, 0, 2]  # what a coefficient of 1 moves the face by, in pixels
        rigid = unit * _rigid(pixel_grid(*size).double(), points)
        bases = torch.cat([rigid, spread(points, values[..., 4:], size)], -1)
        for name, buffer in {"mean": mean, "shapes": shapes, "bases": bases}.items():
            self.register_buffer(name, buffer.to(mean.device, torch.float32), persistent=False)
        # found once: a training asks for both at every step
        inside = self.covers(pixel_grid(*size).flatten(1).T).view(size).to(mean.device)
        right, down = torch.gradient(self.bases[..., 4:], dim=(2, 1))
        self.register_buffer("_inside", inside, persistent=False)
        self.register_buffer("_slopes", torch.stack([right, down], 1)[:, :, inside], False)

    @property
    def count(self) -> int:
        """The number n of bases."""
        return self.shapes.shape[-1]

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the template, and of the images it fits, in pixels."""
        return tuple(self.bases.shape[1:3])

    @property
    def eye_distance(self) -> float:
        """Distance of the template's eye centres in pixels."""
        left, right = self.mean[LEFT_EYE].mean(0), self.mean[RIGHT_EYE].mean(0)
        return float((left - right).norm())

    def parameters_of(self, points: Tensor) -> Tensor:
        """Coefficients p, float (N, n), that fit landmarks (N, 68, 2) in pixels best, by least
        squares; NaN where a landmark is NaN."""
        known = points.isfinite().flatten(1).all(1)
        away = torch.where(known[:, None, None], points - self.mean, 0).flatten(1)
        bases = self.shapes.flatten(0, 1)  # orthogonal
        p = away @ bases / bases.square().sum(0).clamp_min(1e-12)
        return torch.where(known[:, None], p, torch.nan)

    def points(self, p: Tensor) -> Tensor:
        """Landmarks (N, 68, 2) in pixels of faces of coefficients p (N, n)."""
        return self.mean + torch.einsum("kdn,bn->bkd", self.shapes, p)

    def linear(self, p: Tensor) -> Tensor:
        """The similarity in p (N, n): float (N, 2, 3), as
        :func:`lrface.models.video.registration.similarity` gives it."""
        centre, size = _centre_and_size(self.mean)
        p = p[:, :4] * self.shapes[0, 0, 2]  # what a coefficient of 1 moves the face by, in pixels
        grow, turn = p[:, 0] / size + 1, p[:, 1] / size
        matrix = torch.stack([grow, -turn, turn, grow], -1).unflatten(-1, (2, 2))
        return torch.cat([matrix, (p[:, 2:] + centre - matrix @ centre)[..., None]], -1)

    def field(self, p: Tensor) -> Tensor:
        """W(z) at every pixel z of the template: float (N, 2, h, w), pixels of the image."""
        z = pixel_grid(*self.size).to(p)
        return z + torch.einsum("dhwn,bn->bdhw", self.bases, p)

    def inverse(self, p: Tensor, iterations: int = 30) -> Tensor:
        """The point of the template at every pixel x of the image: float (N, 2, h, w).

        By fixed-point iteration. W(z) is a similarity plus a non-rigid part D(z); z goes 0.6 of the
        way to the point that the similarity takes to x - D(z), and so on: the whole way diverges
        where a face is stretched to twice its size or more. D is interpolated between pixels, and
        beyond the template it is that at its border. Where the field folds (a cheek that turns away
        lies behind the nose) several points of the template are at x, and one of them is found.
        """
        x = pixel_grid(*self.size).to(p).expand(len(p), -1, -1, -1)
        similar = self.linear(p)
        undo, shift = torch.linalg.inv(similar[..., :2]), similar[..., 2, None, None]
        deform = torch.einsum("dhwn,bn->bdhw", self.bases[..., 4:], p[:, 4:])
        z = torch.einsum("bij,bjhw->bihw", undo, x - shift)
        for _ in range(iterations):
            goal = torch.einsum("bij,bjhw->bihw", undo, x - shift - warp(deform, z))
            z = z + RELAXATION * (goal - z)
        return z

    def inside(self) -> Tensor:
        """bool (h, w): the template's pixels within the convex hull of its landmarks."""
        return self._inside.cpu().clone()

    def covers(self, points: Tensor) -> Tensor:
        """bool (V,): which points (V, 2) of the template lie within that hull."""
        hull = Delaunay(self.mean.cpu().numpy())
        return torch.from_numpy(hull.find_simplex(points.cpu().numpy()) >= 0)

    def at(self, size: tuple[int, int]) -> Correspondence:
        """The same template and bases for images of another size (h, w) of the same shape.

        Coefficients keep their meaning and stay in pixels of this size.
        """
        ratio = size[0] / self.size[0]
        if abs(size[1] / self.size[1] - ratio) > 1e-6:
            raise UsageError(
                f"a template of {self.size[1]}x{self.size[0]} pixels cannot become "
                f"{size[1]}x{size[0]}: give a size of the same shape"
            )
        return Correspondence((self.mean + 0.5) * ratio - 0.5, self.shapes * ratio, size)

    def unfolded(self, p: Tensor, least: float = 0.05) -> Tensor:
        """Coefficients whose field does not fold: float (N, n).

        Where a face turns away, its cheek lies behind its nose, and two points of the template are
        at one of the image. The non-rigid part of p is shortened, the whole of it by one factor,
        until the field keeps ``least`` of the similarity's area everywhere within the face.
        """
        inverse = torch.linalg.inv(self.linear(p)[..., :2])
        bent = torch.einsum("ijzn,bn->bzij", self._slopes, p[:, 4:])
        bent = torch.einsum("bij,bzjk->bzik", inverse, bent)
        # the area at a factor t is 1 + b t + c t^2; it is `least` at the smaller positive root
        b, c = bent.diagonal(dim1=-2, dim2=-1).sum(-1), torch.linalg.det(bent)
        root = (b.square() - 4 * c * (1 - least)).clamp_min(0).sqrt() - b
        meets = (b.square() >= 4 * c * (1 - least)) & (root > 1e-9)
        factor = torch.where(meets, 2 * (1 - least) / root.clamp_min(1e-9), 1)
        factor = factor.amin(1, keepdim=True).clamp_max(1)
        return torch.cat([p[:, :4], factor * p[:, 4:]], 1)


def procrustes(points: Tensor, rounds: int = 5) -> tuple[Tensor, Tensor]:
    """Shapes aligned to their mean by similarities (generalised Procrustes analysis).

    Parameters
    ----------
    points : Tensor
        float (N, K, 2).
    rounds : int
        How often the mean is taken anew.

    Returns
    -------
    aligned : Tensor
        float (N, K, 2).
    mean : Tensor
        float (K, 2), at the mean position, size and turn of the shapes.

    Examples
    --------
    >>> square = torch.tensor([[0.0, 0], [1, 0], [1, 1], [0, 1]])
    >>> aligned, mean = procrustes(torch.stack([square, 3 * square]))
    >>> mean[2].tolist()
    [2.0, 2.0]
    """
    start = mean = points.mean(0)
    for _ in range(rounds):
        aligned = _moved(points, mean.expand_as(points))
        # the mean of shapes is smaller than they are: it is put back on the plain mean
        mean = aligned.mean(0)
        mean = _moved(mean, start)
    return _moved(points, mean.expand_as(points)), mean


def _moved(points: Tensor, goal: Tensor) -> Tensor:
    move = similarity(points, goal)
    return points @ move[..., :2].mT + move[..., None, :, 2]


def fit(
    points: Tensor,
    size: tuple[int, int],
    non_rigid: int = NON_RIGID,
    eyes: tuple[tuple[float, float], tuple[float, float]] | None = None,
) -> Correspondence:
    """The template and the bases of training faces.

    Parameters
    ----------
    points : Tensor
        float (N, 68, 2): landmarks in pixels. Faces with a NaN are left out.
    size : tuple of int
        Height and width of the images in pixels.
    non_rigid : int
        Number of non-rigid bases, at most 132 and at most one less than the faces.
    eyes : tuple, optional
        Where the template's eye centres (mean of six landmarks each) lie, as fractions of width and
        height, :data:`CBN_EYES` for instance. By default the template has the mean position of the
        training faces, so that p = 0 is a good start for faces that are cropped as they are.

    Raises
    ------
    LrfaceError
        If too few faces have landmarks.
    """
    points = torch.as_tensor(points, dtype=torch.float64)
    points = points[points.isfinite().flatten(1).all(1)]
    if len(points) <= non_rigid or non_rigid > 132:
        raise LrfaceError(
            f"{non_rigid} deformation bases need at least {non_rigid + 1} faces with landmarks and "
            f"are at most 132: there are {len(points)} such faces"
        )
    aligned, mean = procrustes(points)
    h, w = size
    goal = None if eyes is None else torch.tensor(eyes).to(mean) * torch.tensor([w, h]) - 0.5
    if goal is not None:
        move = similarity(torch.stack([mean[LEFT_EYE].mean(0), mean[RIGHT_EYE].mean(0)]), goal)
        mean, aligned = (x @ move[:, :2].T + move[:, 2] for x in (mean, aligned))
    away = (aligned - mean).flatten(1)
    # what a similarity explains to first order is taken out, so that all bases are orthogonal
    rigid = _rigid(mean.T, mean).movedim(0, 1)
    along = rigid.flatten(0, 1) / len(mean) ** 0.5
    away = away - away @ along @ along.T
    shapes = torch.linalg.svd(away - away.mean(0), full_matrices=False).Vh[:non_rigid]
    # a sign does not depend on the linear algebra's library
    largest = shapes.gather(1, shapes.abs().argmax(1, keepdim=True))
    shapes = (shapes * largest.sign() * len(mean) ** 0.5).T.unflatten(0, (-1, 2))
    mean, shapes = mean.float(), shapes.float()
    return Correspondence(mean, with_similarity(mean, shapes), size)


def spread(mean: Tensor, values: Tensor, size: tuple[int, int]) -> Tensor:
    """Displacements (K, 2, n) of landmarks (K, 2) at every pixel, (2, h, w, n), by thin-plate
    splines."""
    if not values.shape[-1]:
        return torch.zeros(2, *size, 0, dtype=mean.dtype)
    spline = RBFInterpolator(
        np.asarray(mean), np.asarray(values.flatten(1)), kernel="thin_plate_spline", degree=1
    )
    dense = torch.from_numpy(spline(pixel_grid(*size).flatten(1).T.double().numpy()))
    return dense.view(*size, 2, -1).permute(2, 0, 1, 3).contiguous()
