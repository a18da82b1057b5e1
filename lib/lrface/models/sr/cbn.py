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

Not published, and ours:

- the gate's input: both results, the enlarged face and the prior, as in the released code;
- the loss of the joint training: L_A of the blend; the batch, sums over faces;
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
from lrface.models.objective import Batch, Objective

VERSION = 1
SCALES = (2, 4, 8, 16)
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
SIZES = {"paper": 1.0, "narrow": 0.25}
"""The fraction of the paper's widths; ``narrow`` has all layers."""
LUMINANCE = (0.299, 0.587, 0.114)


class Rates(NamedTuple):
    """Learning rates of a cascade (slides, tables 1 and 2); the last layer of a network has its
    own."""

    pretrain: float
    pretrain_last: float
    joint: float
    joint_last: float
    gate: float
    gate_last: float


LEARNING_RATES = {
    "first": Rates(1e-4, 1e-5, 1e-5, 1e-6, 1e-4, 1e-5),
    "later": Rates(1e-5, 1e-6, 1e-6, 1e-7, 1e-5, 1e-6),
}
"""They belong to losses that are sums, not means, over pixels."""
STAGES = ("A", "B", "joint")
"""The order in which a cascade is trained: A by L_A, B by L_B, then both with the gate."""


def luminance(face: Tensor) -> Tensor:
    """BT.601 luminance (N, 1, H, W) of a face (N, 3, H, W); a grey one is returned as it is."""
    if face.shape[1] == 1:
        return face
    weights = torch.tensor(LUMINANCE, dtype=face.dtype, device=face.device)
    return (face * weights[:, None, None]).sum(1, keepdim=True)


def double(face: Tensor) -> Tensor:
    """The bicubic enlargement by 2."""
    h, w = face.shape[-2:]
    return resize(face, (2 * h, 2 * w))


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
    gated : bool
        False: the high-frequency branch alone.

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
        gated: bool = True,
    ):
        super().__init__()
        options = FORMS[form]
        widths = tuple(round(n * width) for n in LAYERS[cascade])
        guided = inputs + options["channels"]
        self.common = _network(inputs, widths) if gated else None
        self.high_frequency = _network(guided, widths)
        gate = (round(64 * width),) * options["gate_layers"]
        self.gate = _network(guided + 2, gate, bias=0.5) if gated else None

    def forward(self, face: Tensor, prior: Tensor) -> tuple[Tensor, Tensor | None, Tensor, Tensor]:
        """The blend, the results of A and B, and the gate, all (N, 1, H, W); of the high-frequency
        branch alone, its result, None, its result and ones."""
        guided = torch.cat([face, prior], 1)
        b = self.high_frequency(guided)
        if self.gate is None:
            return b, None, b, torch.ones_like(b)
        a = self.common(face)
        g = self.gate(torch.cat([b, a, guided], 1))
        return (1 - g) * a + g * b, a, b, g


Guide = Callable[[int, Tensor, Any], tuple[Tensor, Any]]
"""What gives the prior: from the number of a cascade, the face before it, float (N, 1 or 3, h, w),
and the guide's own state (None at the start; the coefficients p), to the maps, float (N, C, 2h,
2w), and the new state."""


class Step(NamedTuple):
    """A cascade's result: the face, the enlargement it began with, both branches, gate, prior."""

    face: Tensor
    enlarged: Tensor
    a: Tensor | None
    b: Tensor
    gate: Tensor
    prior: Tensor


class CBN(nn.Module):
    """The cascade: log2(scale) gated bi-networks, at 8x from 16 to 128 pixels.

    In form ``paper`` at ``paper`` size 5,071,043 parameters in the first cascade and 1,529,027 in
    each later one. In evaluation mode it maps float (N, 3, h, w) or (N, 1, h, w) in [0, 1] to (N,
    3, H, W) or (N, 1, H, W); in training mode it returns every cascade's :class:`Step`.

    Parameters
    ----------
    scale : int
        A power of 2; 5 pixels between the eyes are restored at 8x or 16x.
    form : {"paper", "pure"}
        The paper's network, or the one that was released.
    width : float
        The fraction of the paper's widths.
    guide : callable, optional
        A :data:`Guide`; it can also be set later, as the attribute ``guide``.

    Examples
    --------
    >>> net = CBN(4, width=0.125, guide=lambda k, face, state: (
    ...     torch.zeros(len(face), 10, 2 * face.shape[2], 2 * face.shape[3]), state))
    >>> net.eval()(torch.rand(1, 3, 8, 8)).shape
    torch.Size([1, 3, 32, 32])
    """

    def __init__(
        self, scale: int, form: str = "paper", width: float = 1.0, guide: Guide | None = None
    ):
        super().__init__()
        if scale not in SCALES:
            raise UsageError(
                f"CBN doubles a face again and again: choose a scale of "
                f"{', '.join(map(str, SCALES))}, not {scale}"
            )
        if form not in FORMS:
            raise UsageError(f"unknown form {form!r} of CBN: choose one of {', '.join(FORMS)}")
        self.scale, self.form = scale, form
        self.guide = guide
        gated = FORMS[form]["gated"]
        self.cascades = nn.ModuleList(
            BiNetwork(
                "later" if k else "first",
                form,
                width,
                # the second cascade of the released network sees also the enlarged input
                inputs=2 if form == "pure" and k == 1 else 1,
                gated=gated is None or k < gated,
            )
            for k in range(scale.bit_length() - 1)
        )

    def step(self, k: int, face: Tensor, prior: Tensor, start: Tensor | None = None) -> Step:
        """One cascade: from the face before it and the prior at twice its size.

        ``start`` is the cascade's input before the first, which the second cascade of form ``pure``
        reads, enlarged.
        """
        enlarged = double(face)
        seen = grey = luminance(enlarged)
        if self.form == "pure" and k == 1:
            if start is None:
                raise UsageError("the second cascade of the form 'pure' needs the first's input")
            seen = torch.cat([grey, luminance(double(double(start)))], 1)
        blend, a, b, gate = self.cascades[k](seen, prior)
        added = blend if FORMS[self.form]["residual"] else blend - grey
        return Step(enlarged + added, enlarged, a, b, gate, prior)

    def steps(self, lr: Tensor, count: int | None = None) -> list[Step]:
        """The first ``count`` cascades (None: all)."""
        if self.guide is None:
            raise LrfaceError(
                "CBN needs a guide that says where a face's details are: set its attribute guide"
            )
        face, state, found = lr, None, []
        for k in range(len(self.cascades) if count is None else count):
            prior, state = self.guide(k, face, state)
            found.append(self.step(k, face, prior, lr))
            face = found[-1].face
        return found

    def forward(self, lr: Tensor) -> Tensor | list[Step]:
        found = self.steps(lr)
        return found if self.training else found[-1].face


def loss_a(truth: Tensor, enlarged: Tensor, result: Tensor) -> Tensor:
    """L_A, the squared Frobenius norm of ``truth - enlarged - result`` (slides, 1).

    All are luminance, (N, 1, H, W). Summed over faces, without 1/N.

    Examples
    --------
    >>> loss_a(torch.ones(1, 1, 2, 2), torch.zeros(1, 1, 2, 2), torch.zeros(1, 1, 2, 2)).item()
    4.0
    """
    return (truth - enlarged - result).square().sum()


def loss_b(truth: Tensor, enlarged: Tensor, result: Tensor, prior: Tensor) -> Tensor:
    """L_B, the sum over the prior's channels c of the squared Frobenius norm of ``prior_c * (truth
    - enlarged - result)`` (slides, 2); otherwise as :func:`loss_a`.

    Examples
    --------
    >>> one, zero = torch.ones(1, 1, 2, 2), torch.zeros(1, 1, 2, 2)
    >>> loss_b(one, zero, zero, 2 * torch.ones(1, 3, 2, 2)).item()
    48.0
    """
    return (prior * (truth - enlarged - result)).square().sum()


def trained(net: CBN, k: int, stage: str) -> list[dict]:
    """The parameters that a stage of cascade ``k`` trains, in groups with their learning rates.

    Of each network the layers but the last, then the last, at the rates of :data:`LEARNING_RATES`;
    a value for ``torch.optim.Optimizer``.

    Examples
    --------
    >>> [group["lr"] for group in trained(CBN(2, width=0.125), 0, "A")]
    [0.0001, 1e-05]
    """
    _check_stage(stage)
    bi_network, rates = net.cascades[k], LEARNING_RATES["later" if k else "first"]
    if bi_network.gate is None and stage == "A":
        raise UsageError(f"cascade {k + 1} of this CBN has no common branch: train stage 'B'")
    pretrain, joint = rates[:2], rates[2:4]
    networks = {
        "A": [(bi_network.common, pretrain)],
        "B": [(bi_network.high_frequency, pretrain)],
        "joint": [
            (bi_network.common, joint),
            (bi_network.high_frequency, joint),
            (bi_network.gate, rates[4:]),
        ],
    }[stage]
    groups = []
    for network, (rate, last_rate) in networks:
        if network is not None:
            groups.append({"params": [*network[:-1].parameters()], "lr": rate})
            groups.append({"params": [*network[-1].parameters()], "lr": last_rate})
    return groups


def _check_stage(stage: str) -> None:
    if stage not in STAGES:
        raise UsageError(f"unknown stage {stage!r} of CBN: choose one of {', '.join(STAGES)}")


class Stage(Objective):
    """The objective of one stage of one cascade.

    The cascades before it are run without gradients, and the truth is the HR face reduced to this
    cascade's size. Stage ``A`` descends L_A of the common branch, ``B`` L_B of the high-frequency
    branch, ``joint`` L_A of the blend. The form ``pure`` has no published losses: all three are L_A
    there, of the face itself.
    """

    def __init__(self, k: int, stage: str):
        super().__init__()
        _check_stage(stage)
        self.k, self.stage = k, stage

    def forward(self, net: CBN, batch: Batch) -> dict[str, Tensor]:
        face, state = batch.lr, None
        with torch.no_grad():
            for k in range(self.k):
                prior, state = net.guide(k, face, state)
                face = net.step(k, face, prior, batch.lr).face
            prior, state = net.guide(self.k, face, state)
        step = net.step(self.k, face, prior, batch.lr)
        truth = luminance(resize(batch.hr, tuple(step.enlarged.shape[-2:])))
        base = luminance(step.enlarged)
        pure = not FORMS[net.form]["residual"]
        start = torch.zeros_like(base) if pure else base
        if self.stage == "A":
            loss = loss_a(truth, start, step.a)
        elif self.stage == "B":
            loss = loss_a(truth, start, step.b) if pure else loss_b(truth, base, step.b, step.prior)
        else:
            loss = loss_a(truth, base, luminance(step.face) - base)
        return {"loss": loss}


def build(scale: int, size: str, form: str = "paper", guide: Guide | None = None) -> CBN:
    return CBN(scale, form, SIZES[size], guide)
