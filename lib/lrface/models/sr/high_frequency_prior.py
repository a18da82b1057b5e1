"""The high-frequency prior of CBN (Zhu et al., ECCV 2016): where faces have details.

The paper takes, for each training face, what the bicubic enlargement of the low-resolution face
lacks, warps it to the template, averages its magnitude over all faces and clusters this map into 10
continuous contours, a channel each. A face's prior is these channels warped to the face.

How the map is clustered, and what a channel carries, is not published. Ours:

- the residual is that of the luminance, and only the template's face (the convex hull of its
  landmarks) counts;
- the map is smoothed by a Gaussian of 1 % of its width and divided by its maximum;
- the clusters are scikit-learn's k-means of position and magnitude; the three features have unit
  variance, and the magnitude counts as much as both coordinates together;
- a channel carries the map's magnitude in its own cluster, and 0 elsewhere. With ones instead, L_B
  would be the plain squared error of the whole face.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from sklearn.cluster import KMeans
from torch import Tensor
from torchvision.transforms.functional import gaussian_blur

from lrface.degrade import resize
from lrface.errors import LrfaceError
from lrface.models.sr.cbn import CONTOURS, luminance
from lrface.models.sr.correspondence import Correspondence, warp


def residual_magnitude(lr: Tensor, hr: Tensor, p: Tensor, field: Correspondence) -> Tensor:
    """The magnitude, in the template, of what the bicubic enlargement of faces lacks.

    Parameters
    ----------
    lr, hr : Tensor
        float (N, 1 or 3, h, w) and (N, 1 or 3, H, W) in [0, 1]; H by W may be any size of the
        template's shape.
    p : Tensor
        float (N, n): the faces' coefficients.
    field : Correspondence

    Returns
    -------
    Tensor
        float (N, H, W), of the template's size.
    """
    size = tuple(hr.shape[-2:])
    residual = luminance(hr) - luminance(resize(lr, size))
    where = (field.field(p) + 0.5) * (size[0] / field.size[0]) - 0.5
    return warp(residual, where).abs()[:, 0]


def contours(magnitude: Tensor, region: Tensor, count: int = CONTOURS) -> tuple[Tensor, Tensor]:
    """A map of magnitudes, clustered.

    Parameters
    ----------
    magnitude : Tensor
        float (H, W), not negative.
    region : Tensor
        bool (H, W): the pixels that are clustered; the others have magnitude 0.
    count : int

    Returns
    -------
    smooth : Tensor
        float (H, W) in [0, 1].
    labels : Tensor
        uint8 (H, W): the contour of each pixel; that of most detail on average is 0.

    Examples
    --------
    >>> magnitude = torch.zeros(16, 16)
    >>> magnitude[4:8, 4:8], magnitude[8:12, 8:12] = 1, 0.5
    >>> smooth, labels = contours(magnitude, torch.ones(16, 16, dtype=torch.bool), 3)
    >>> labels[5, 5].item(), smooth.max().item()
    (0, 1.0)
    """
    sigma = 0.01 * magnitude.shape[1]
    size = 2 * max(1, round(3 * sigma)) + 1
    smooth = gaussian_blur(magnitude[None], size, sigma)[0] * region
    if int(region.sum()) < count or not smooth.max() > 0:
        raise LrfaceError(
            f"the {count} contours of a high-frequency prior need as many pixels of a face, and "
            "faces that differ from their bicubic enlargements"
        )
    smooth = smooth / smooth.max()
    place = region.nonzero().double()
    features = torch.cat([place, smooth[region][:, None].double()], 1)
    features = (features - features.mean(0)) / features.std(0).clamp_min(1e-12)
    features[:, 2] *= 2**0.5
    found = KMeans(count, n_init=4, random_state=0).fit_predict(features.numpy())
    found, values = torch.from_numpy(found).long(), smooth[region].double()
    totals = torch.zeros(count, dtype=torch.float64).index_add(0, found, values)
    means = totals / torch.bincount(found, minlength=count).clamp_min(1)
    labels = torch.zeros(region.shape, dtype=torch.uint8)
    labels[region] = means.argsort(descending=True).argsort()[found].to(torch.uint8)
    return smooth * region, labels


def channels(smooth: Tensor, labels: Tensor, count: int = CONTOURS) -> Tensor:
    """A channel a contour: float (count, H, W), the map's magnitude in its own contour, else 0.

    Examples
    --------
    >>> channels(torch.tensor([[0.5, 1.0]]), torch.tensor([[1, 0]]), 2).tolist()
    [[[0.0, 1.0]], [[0.5, 0.0]]]
    """
    which = torch.arange(count, device=labels.device).view(-1, 1, 1)
    return torch.where(labels == which, smooth, 0)


def high_frequency_prior(
    faces: Iterable[tuple[Tensor, Tensor, Tensor]], field: Correspondence, count: int = CONTOURS
) -> tuple[Tensor, Tensor]:
    """The prior of training faces, in the template, as :func:`contours` gives it.

    Parameters
    ----------
    faces : iterable
        Batches (lr, hr, p), as :func:`residual_magnitude` takes them. Faces whose coefficients are
        NaN are left out.
    field : Correspondence
    count : int
        Number of contours.
    """
    total, known_faces = torch.zeros(field.size, dtype=torch.float64), 0
    for lr, hr, p in faces:
        known = p.isfinite().all(1)
        total += residual_magnitude(lr[known], hr[known], p[known], field).double().sum(0).cpu()
        known_faces += int(known.sum())
    return contours((total / max(known_faces, 1)).float(), face_region(field), count)


def face_region(field: Correspondence) -> Tensor:
    """bool (H, W): the template's face, without the outermost pixels, so that a warped prior is 0
    beyond the template."""
    region = field.inside()
    region[[0, -1]] = False
    region[:, [0, -1]] = False
    return region


def to_faces(prior: Tensor, field: Correspondence, p: Tensor) -> Tensor:
    """The prior (C, H, W) of the field's size, warped to faces of coefficients p (N, n): float (N,
    C, H, W)."""
    return warp(prior.expand(len(p), -1, -1, -1), field.inverse(p))
