"""What guides CBN's high-frequency branch: the prior, or curves of landmarks, at each face.

A guide alternates with the networks, as :data:`lrface.models.sr.cbn.Guide` says: before each
cascade it improves the coefficients p on the face so far, by that cascade's step of
:class:`lrface.models.sr.field_regression.FieldRegressor`, and gives maps at twice the face's size.

The released network's 14 curves are of 105 landmarks (brows 4, eyes 4, nose 1, lips 4, jaw 1).
With 68 landmarks a brow is one line; ours are the jaw's two sides, both brows, the nose's bridge
and base, the lids (4) and the lips' edges (4). They are straight between landmarks, where the
released code draws cubic curves; their thickness is that code's.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lrface.degrade import resize
from lrface.errors import UsageError
from lrface.models.sr.correspondence import Correspondence
from lrface.models.sr.field_regression import FieldRegressor
from lrface.models.sr.high_frequency_prior import high_frequency_prior, to_faces

CURVES = (
    range(9),
    range(8, 17),
    range(17, 22),
    range(22, 27),
    range(27, 31),
    range(31, 36),
    range(36, 40),
    (39, 40, 41, 36),
    range(42, 46),
    (45, 46, 47, 42),
    range(48, 55),
    (*range(54, 60), 48),
    range(60, 65),
    (*range(64, 68), 60),
)
"""Landmarks (iBUG 300-W order) of each of the 14 curves."""


def curve_maps(points: Tensor, size: tuple[int, int]) -> Tensor:
    """The 14 curves of landmarks, a channel each.

    Parameters
    ----------
    points : Tensor
        float (N, 68, 2) in pixels.
    size : tuple of int
        Height and width of the maps in pixels.

    Returns
    -------
    Tensor
        float (N, 14, h, w): 1 within 1, 3, 5 or 7 pixels of the curve at heights up to 32, 64, 128
        and beyond, else 0.

    Examples
    --------
    >>> curve_maps(torch.rand(1, 68, 2) * 32, (32, 32)).shape
    torch.Size([1, 14, 32, 32])
    """
    h, w = size
    half = next((half for height, half in ((32, 1), (64, 3), (128, 5)) if h <= height), 7)
    maps = torch.zeros(len(points), len(CURVES), h * w, device=points.device)
    along = torch.linspace(0, 1, max(size), device=points.device)[:, None]
    for channel, curve in enumerate(CURVES):
        line = points[:, list(curve)]
        dense = line[:, :-1, None] + along * (line[:, 1:] - line[:, :-1])[:, :, None]
        x, y = dense.flatten(1, 2).round().long().unbind(-1)
        seen = ((x >= 0) & (x < w) & (y >= 0) & (y < h)).float()
        place = y.clamp(0, h - 1) * w + x.clamp(0, w - 1)
        maps[:, channel] = maps[:, channel].scatter_reduce(1, place, seen, "amax")
    return F.max_pool2d(maps.view(-1, len(CURVES), h, w), 2 * half + 1, 1, half)


class FieldGuide(nn.Module):
    """The guide of the paper's CBN, or with curves of landmarks that of the form ``pure``.

    Parameters
    ----------
    field : Correspondence
        Of the last face's size.
    regressors : sequence of FieldRegressor
        A step for each cascade.
    priors : sequence of Tensor, optional
        For each cascade its prior in the template, float (C, h, w), as :func:`priors` gives them.
        None: curves of landmarks.
    """

    def __init__(
        self,
        field: Correspondence,
        regressors: Sequence[FieldRegressor],
        priors: Sequence[Tensor] | None = None,
    ):
        super().__init__()
        if priors is not None and len(priors) != len(regressors):
            raise UsageError(
                f"each cascade has a step and a prior: got {len(regressors)} and {len(priors)}"
            )
        self.count = field.count
        cascades = len(regressors)
        self.fields = nn.ModuleList(field.at(size) for size in sizes(field, cascades))
        self.regressors = nn.ModuleList(regressors)
        self.curves = priors is None
        for k, prior in enumerate(priors or ()):
            self.register_buffer(f"prior{k}", prior)

    def forward(self, k: int, face: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor]:
        p = face.new_zeros(len(face), self.count) if state is None else state
        p = self.regressors[k](face, p)
        return self.maps(k, p), p

    def maps(self, k: int, p: Tensor) -> Tensor:
        """What the high-frequency branch of cascade ``k`` sees beside the face of coefficients
        p."""
        field = self.fields[k]
        if self.curves:
            return curve_maps(field.points(p), field.size)
        return to_faces(getattr(self, f"prior{k}"), field, p)


def sizes(field: Correspondence, cascades: int) -> list[tuple[int, int]]:
    """The size of the face after each cascade, if after the last it is the template's."""
    h, w = field.size
    if h % 2**cascades or w % 2**cascades:
        raise UsageError(f"a template of {w}x{h} pixels is no {cascades} doublings of another")
    return [(h >> k, w >> k) for k in range(cascades - 1, -1, -1)]


def priors(
    lr: Tensor, hr: Tensor, p: Tensor, field: Correspondence, cascades: int, **options
) -> list[Tensor]:
    """For each cascade the prior of training faces, at its size.

    Parameters
    ----------
    lr, hr : Tensor
        float (N, 1 or 3, h, w) and (N, 1 or 3, H, W) in [0, 1].
    p : Tensor
        float (N, n): the faces' coefficients.
    field : Correspondence
        Of the size of ``hr``.
    cascades : int
    **options
        ``count``, the number of contours.

    Returns
    -------
    list of Tensor
        float (C, h, w) of doubling sizes, the last of the template's.
    """
    found = []
    for size in sizes(field, cascades):
        batches = zip(lr.split(64), hr.split(64), p.split(64), strict=True)
        reduced = ((low, resize(high, size), some) for low, high, some in batches)
        found.append(high_frequency_prior(reduced, field.at(size), **options))
    return found
