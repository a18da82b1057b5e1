"""CBN (Zhu, Liu, Loy and Tang, ECCV 2016): a cascade of gated bi-networks that double a face.

Each cascade enlarges the face of the one before it by 2 (bicubic) and adds what is missing:
``face = enlarged + (1 - g) A + g B``. Network A, the common branch, sees the enlarged face only;
network B, the high-frequency branch, sees also where the face has details: the high-frequency
prior, warped to this face by the dense correspondence that was estimated in the face before. The
gate g weights the two at every pixel; it has no activation. What estimates the correspondence is a
:class:`Guide`'s matter, in :mod:`lrface.models.sr.field_guide`.

Layers and learning rates are those of the authors' slides, tables 1 and 2, the blend is the slides'
and the released code's. The released network is not the paper's: it is the form ``pure`` here,
where 14 channels with the curves of landmarks stand in place of the prior, the gate has three
layers of 64 instead of five, from the third cascade on network B is alone, and every network gives
the face itself, to which nothing is added. Its second cascade reads also the enlarged input.

At 3x, which the paper reports too, a cascade of 2 and one of 1.5 follow one another (ours: how the
paper does it is not published).

Not published, and ours:

- the gate's input: both results, the enlarged face and the prior, as in the released code;
- the initialisation: He et al.'s, last layers N(0, 0.001) and the gate's last bias 0.5, so that
  training begins with the bicubic enlargement and both branches learn. The released code has
  Caffe's ``xavier``, from which 24 layers need a very long training.

The paper restores luminance. So does this module: of an RGB face the networks see the luminance
(BT.601), and what they add is added to all three colours, which leaves Cb and Cr those of the
bicubic enlargement. A grey face (one channel) is accepted too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from lrface.degrade import resize
from lrface.errors import LrfaceError, UsageError
from lrface.models.layers import conv3

FACTORS = {2: (2,), 3: (2, 1.5), 4: (2, 2), 8: (2, 2, 2), 16: (2, 2, 2, 2)}
"""By how much each cascade enlarges, by scale."""
CONTOURS = 10
"""Channels of the high-frequency prior."""
CURVES = 14
"""Channels of landmark curves in the released network."""
LAYERS = {
    "first": (*[64] * 4, *[128] * 16, *[32] * 3),
    "later": (*[64] * 4, *[128] * 4, *[32] * 3),
}
"""Widths of a branch's layers but the last, which has one channel: 24 and 12 layers."""
FORMS = {
    "paper": {"channels": CONTOURS, "gate_layers": 5, "residual": True, "gated": None},
    "pure": {"channels": CURVES, "gate_layers": 3, "residual": False, "gated": 2},
}
"""``gated``: how many cascades have both branches and a gate (None: all)."""
LUMINANCE = (0.299, 0.587, 0.114)


def luminance(face: Tensor) -> Tensor:
    """BT.601 luminance (N, 1, H, W) of a face (N, 3, H, W); a grey one is returned as it is."""
    if face.shape[1] == 1:
        return face
    weights = torch.tensor(LUMINANCE, dtype=face.dtype, device=face.device)
    return (face * weights[:, None, None]).sum(1, keepdim=True)


def _network(n_in: int, widths: tuple[int, ...], bias: float = 0.0) -> nn.Sequential:
    """3x3 convolutions with ReLU, and a last one to one channel without."""
    layers: list[nn.Module] = []
    for n_out in widths:
        layers += [conv3(n_in, n_out), nn.ReLU(inplace=True)]
        nn.init.kaiming_normal_(layers[-2].weight, nonlinearity="relu")
        nn.init.zeros_(layers[-2].bias)
        n_in = n_out
    last = conv3(n_in, 1)
    nn.init.normal_(last.weight, std=0.001)
    nn.init.constant_(last.bias, bias)
    return nn.Sequential(*layers, last)


class BiNetwork(nn.Module):
    """The gated bi-network of one cascade.

    Parameters
    ----------
    cascade : {"first", "later"}
        24 or 12 layers a branch.
    form : {"paper", "pure"}
    width : float
        The fraction of the paper's widths.
    inputs : int
        Channels of the face: 1, or 2 with the enlarged input of ``pure``.
    branches : {"both", "common", "high-frequency"}
        A single branch has no gate.

    Examples
    --------
    >>> net = BiNetwork("later", width=0.125)
    >>> blend, a, b, g = net(torch.rand(2, 1, 8, 8), torch.rand(2, 10, 8, 8))
    >>> torch.allclose(blend, (1 - g) * a + g * b)
    True
    """

    def __init__(
        self,
        cascade: str,
        form: str = "paper",
        width: float = 1.0,
        inputs: int = 1,
        branches: str = "both",
    ):
        super().__init__()
        options = FORMS[form]
        widths = tuple(round(n * width) for n in LAYERS[cascade])
        guided = inputs + options["channels"]
        self.common = self.high_frequency = self.gate = None
        if branches != "high-frequency":
            self.common = _network(inputs, widths)
        if branches != "common":
            self.high_frequency = _network(guided, widths)
        if branches == "both":
            gate = (round(64 * width),) * options["gate_layers"]
            self.gate = _network(guided + 2, gate, bias=0.5)

    def forward(
        self, face: Tensor, prior: Tensor | None
    ) -> tuple[Tensor, Tensor | None, Tensor | None, Tensor]:
        """The blend, the results of A and B, and the gate, all (N, 1, H, W); of a single branch its
        result in place of the blend, None for the other, and 0 (A alone) or 1 for the gate."""
        if self.high_frequency is None:
            a = self.common(face)
            return a, a, None, torch.zeros_like(a)
        guided = torch.cat([face, prior], 1)
        b = self.high_frequency(guided)
        if self.common is None:
            return b, None, b, torch.ones_like(b)
        a = self.common(face)
        g = self.gate(torch.cat([b, a, guided], 1))
        return (1 - g) * a + g * b, a, b, g


Guide = Callable[[int, Tensor, Any, tuple[int, int]], tuple[Tensor, Any]]
"""What gives the prior: from the number of a cascade, the face before it, float (N, 1 or 3, h, w),
the guide's own state (None at the start; the coefficients p) and the cascade's size (H, W), to the
maps, float (N, C, H, W), and the new state."""


Window = Callable[[tuple[int, int]], tuple[slice, slice]]
"""From the size of a face to the rows and columns that are trained on."""


class Step(NamedTuple):
    """A cascade's result: the face, the enlargement it began with, both branches, gate, prior, and
    the guide's state (the coefficients p)."""

    face: Tensor
    enlarged: Tensor
    a: Tensor | None
    b: Tensor | None
    gate: Tensor
    prior: Tensor | None
    state: Any = None


class Part(NamedTuple):
    """Of one stage of training, in a window of the face: the luminance of the enlarged face, what
    is added to it (in form ``pure`` what takes its place), and the prior, all (N, C, H, W); the
    whole face's size, and the window's rows and columns."""

    enlarged: Tensor
    result: Tensor
    prior: Tensor | None
    size: tuple[int, int]
    window: tuple[slice, slice]


class CBN(nn.Module):
    """The cascade: log2(scale) gated bi-networks, at 8x from 16 to 128 pixels.

    In form ``paper`` at ``paper`` size 5,071,043 parameters in the first cascade and 1,529,027 in
    each later one. In evaluation mode it maps float (N, 3, h, w) or (N, 1, h, w) in [0, 1] to (N,
    3, H, W) or (N, 1, H, W); in training mode it returns every cascade's :class:`Step`.

    Parameters
    ----------
    scale : int
        A key of :data:`FACTORS`; 5 pixels between the eyes are restored at 8x or 16x.
    form : {"paper", "pure"}
        The paper's network, or the one that was released.
    width : float
        The fraction of the paper's widths.
    guide : callable, optional
        A :data:`Guide`; it can also be set later, as the attribute ``guide``. The common branch
        alone needs none.
    branches : {"both", "common", "high-frequency"}
        Of each cascade.
    single : bool
        One cascade straight to full size.

    Examples
    --------
    >>> net = CBN(4, width=0.125, guide=lambda k, face, state, size: (
    ...     torch.zeros(len(face), 10, *size), state))
    >>> net.eval()(torch.rand(1, 3, 8, 8)).shape
    torch.Size([1, 3, 32, 32])
    """

    def __init__(
        self,
        scale: int,
        form: str = "paper",
        width: float = 1.0,
        guide: Guide | None = None,
        branches: str = "both",
        single: bool = False,
    ):
        super().__init__()
        if scale not in FACTORS:
            raise UsageError(
                f"CBN doubles a face again and again: choose a scale of "
                f"{', '.join(map(str, FACTORS))}, not {scale}"
            )
        if form not in FORMS:
            raise UsageError(f"unknown form {form!r} of CBN: choose one of {', '.join(FORMS)}")
        self.scale, self.form = scale, form
        self.factors = (scale,) if single else FACTORS[scale]
        self.guide = guide
        gated = FORMS[form]["gated"]
        self.cascades = nn.ModuleList(
            BiNetwork(
                "later" if k else "first",
                form,
                width,
                # the second cascade of the released network sees also the enlarged input
                inputs=2 if form == "pure" and k == 1 else 1,
                branches=branches if gated is None or k < gated else "high-frequency",
            )
            for k in range(len(self.factors))
        )

    @property
    def guided(self) -> bool:
        """Whether a branch looks at the guide's maps."""
        return any(one.high_frequency is not None for one in self.cascades)

    def enlarged(self, k: int, face: Tensor) -> Tensor:
        """The bicubic enlargement that cascade ``k`` begins with."""
        return resize(face, self.size(k, face))

    def size(self, k: int, face: Tensor) -> tuple[int, int]:
        """The size that cascade ``k`` brings a face to."""
        h, w = face.shape[-2:]
        return round(self.factors[k] * h), round(self.factors[k] * w)

    def step(self, k: int, face: Tensor, prior: Tensor | None, start: Tensor | None = None) -> Step:
        """One cascade: from the face before it and the prior at its size.

        ``start`` is the cascade's input before the first, which the second cascade of form ``pure``
        reads, enlarged.
        """
        enlarged, seen = self.seen(k, face, start)
        blend, a, b, gate = self.cascades[k](seen, prior)
        added = blend if FORMS[self.form]["residual"] else blend - luminance(enlarged)
        return Step(enlarged + added, enlarged, a, b, gate, prior)

    def seen(self, k: int, face: Tensor, start: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The enlarged face, and what the branches of cascade ``k`` see of it."""
        enlarged = self.enlarged(k, face)
        grey = luminance(enlarged)
        if self.form != "pure" or k != 1:
            return enlarged, grey
        if start is None:
            raise UsageError("the second cascade of the form 'pure' needs the first's input")
        return enlarged, torch.cat([grey, luminance(resize(start, enlarged.shape[-2:]))], 1)

    def steps(self, lr: Tensor, count: int | None = None, guide: Guide | None = None) -> list[Step]:
        """The first ``count`` cascades (None: all), under the network's own guide or another."""
        guide = guide or self.guide
        if guide is None and self.guided:
            raise LrfaceError(
                "CBN needs a guide that says where a face's details are: set its attribute guide"
            )
        face, state, prior, found = lr, None, None, []
        for k in range(len(self.cascades) if count is None else count):
            if guide is not None:
                prior, state = guide(k, face, state, self.size(k, face))
            found.append(self.step(k, face, prior, lr)._replace(state=state))
            face = found[-1].face
        return found

    def forward(
        self, lr: Tensor, k: int | None = None, stage: str = "joint", window: Window | None = None
    ) -> Tensor | list[Step] | Part:
        if k is not None:
            return self.part(lr, k, stage, window)
        found = self.steps(lr)
        return found if self.training else found[-1].face

    def part(self, lr: Tensor, k: int, stage: str, window: Window | None = None) -> Part:
        """What a stage of the training of cascade ``k`` sees: the cascades before it without
        gradients, then in a window of the face (None: all) network A, network B or, in stage
        ``joint``, the blend."""
        with torch.no_grad():
            before, prior = self.steps(lr, k), None
            face, state = (before[-1].face, before[-1].state) if before else (lr, None)
            size = self.size(k, face)
            if stage != "A" and self.guide is not None:
                prior, state = self.guide(k, face, state, size)
            enlarged, seen = self.seen(k, face, lr)
            rows, columns = window(size) if window else (slice(None), slice(None))
            seen = seen[..., rows, columns]
            prior = None if prior is None else prior[..., rows, columns]
        networks = self.cascades[k]
        if stage == "A":
            result = networks.common(seen)
        elif stage == "B":
            result = networks.high_frequency(torch.cat([seen, prior], 1))
        else:
            result = networks(seen, prior)[0]
        return Part(luminance(enlarged)[..., rows, columns], result, prior, size, (rows, columns))
