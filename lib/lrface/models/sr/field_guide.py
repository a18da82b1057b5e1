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

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lrface.errors import UsageError
from lrface.models.sr.cbn import CONTOURS, Guide
from lrface.models.sr.correspondence import NON_RIGID, Correspondence, with_similarity
from lrface.models.sr.field_regression import FieldRegressor
from lrface.models.sr.high_frequency_prior import channels, to_faces
from lrface.numerics import ieee_float32

SIDE = 128
"""Side in pixels of the face that template, bases and priors are stored for."""
DESCRIBED = 64
"""Side in pixels to which a face is brought before it is described."""
WINDOWS = (1.0, 0.7, 0.5)
"""Side of the descriptors' windows in eye distances, in the first, second and later cascades."""

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

    Its template, bases, priors and steps are buffers, each stored once and for a face of
    :data:`SIDE` pixels; :meth:`field` brings them to any square face. They are zero until
    :func:`lrface.models.sr.cbn_training.fit_field` computes them; until then the maps are zero.

    Parameters
    ----------
    cascades : int
        The number K of steps, and of priors.
    curves : bool
        Give curves of landmarks, not the prior.
    fixed : bool
        Take all steps in the input, before the first cascade, and leave the field as it is then.
    """

    def __init__(self, cascades: int, curves: bool = False, fixed: bool = False):
        super().__init__()
        self.curves, self.fixed = curves, fixed
        self.register_buffer("fitted", torch.tensor(0))
        self.register_buffer("mean", torch.zeros(68, 2))
        self.register_buffer("shapes", torch.zeros(68, 2, NON_RIGID))
        steps = (FieldRegressor(4 + NON_RIGID, WINDOWS[min(k, 2)]) for k in range(cascades))
        self.regressors = nn.ModuleList(steps)
        if not curves:
            self.register_buffer("magnitude", torch.zeros(cascades, SIDE, SIDE))
            labels = torch.zeros(cascades, SIDE, SIDE, dtype=torch.uint8)
            self.register_buffer("labels", labels)
        self._made: dict[tuple, Correspondence | Tensor] = {}

    def _load_from_state_dict(self, *arguments) -> None:
        self._made.clear()
        super()._load_from_state_dict(*arguments)

    def set_template(self, field: Correspondence) -> None:
        """Take the template and the bases of a correspondence of :data:`SIDE` pixels."""
        shapes = field.shapes[..., 4:]
        self.shapes.zero_()[..., : shapes.shape[-1]] = shapes
        self.mean.copy_(field.mean)
        self._made.clear()

    def set_prior(self, k: int, smooth: Tensor, labels: Tensor) -> None:
        """Take the prior of cascade ``k``, as :mod:`~lrface.models.sr.high_frequency_prior` gives
        it for a template of :data:`SIDE` pixels."""
        self.magnitude[k].copy_(smooth)
        self.labels[k].copy_(labels)
        self._made.clear()

    def field(self, side: int) -> Correspondence:
        """The correspondence for faces of this side in pixels."""
        key = side, self.mean.device
        if key not in self._made:
            ratio, shapes = side / SIDE, with_similarity(self.mean, self.shapes)
            mean = (self.mean + 0.5) * ratio - 0.5
            self._made[key] = Correspondence(mean, shapes * ratio, (side, side))
        return self._made[key]

    def prior(self, k: int, side: int) -> Tensor:
        """The prior of cascade ``k`` in a template of this side: float (C, side, side)."""
        key = k, side, self.mean.device
        if key not in self._made:
            whole = channels(self.magnitude[k], self.labels[k])[None]
            if side != SIDE:
                whole = F.interpolate(whole, (side, side), mode="bilinear", antialias=True)
            self._made[key] = whole[0]
        return self._made[key]

    def forward(
        self, k: int, face: Tensor, state: Tensor | None, size: tuple[int, int]
    ) -> tuple[Tensor, Tensor]:
        p = face.new_zeros(len(face), 4 + NON_RIGID) if state is None else state
        if k == 0 or not self.fixed:
            p = self.estimate(k, face, p)
        return self.maps(k, p, size), p

    @torch.no_grad()
    def estimate(self, k: int, face: Tensor, p: Tensor) -> Tensor:
        """Better coefficients: by the step of cascade ``k``, or if ``fixed`` by all steps."""
        if face.is_meta:  # where nothing is computed
            return p
        last = len(self.regressors) - 1 if self.fixed else k
        with ieee_float32(face.device):
            for step in list(self.regressors[k : min(last + 1, int(self.fitted))]):
                p = step(self.field(DESCRIBED), face.float(), p)
        return p

    def astray(self, p_error: Tensor) -> Guide:
        """A guide that is wrong: maps are drawn for coefficients that are off by ``p_error`` (N,
        n), whatever the cascade; what the next step starts from is right."""

        def give(k: int, face: Tensor, state: Tensor | None, size: tuple[int, int]):
            _, p = self(k, face, state, size)
            return self.maps(k, p + p_error, size), p

        return give

    @torch.no_grad()
    def maps(self, k: int, p: Tensor, size: tuple[int, int]) -> Tensor:
        """What the high-frequency branch of cascade ``k`` sees beside the face of coefficients
        p, at a size."""
        h, w = size
        if p.is_meta or k >= int(self.fitted):
            return p.new_zeros(len(p), len(CURVES) if self.curves else CONTOURS, h, w)
        if h != w:
            raise UsageError(f"CBN finds its way on square faces, and this one is {w}x{h} pixels")
        field = self.field(h)
        with ieee_float32(p.device):
            if self.curves:
                return curve_maps(field.points(p), size)
            return to_faces(self.prior(k, h), field, field.unfolded(p))
