"""How CBN and its ablations are built and trained (Zhu et al., ECCV 2016): part after part.

For every cascade: the field's step and, before the first, template, bases and priors, in closed
form from landmarks of training faces; then network A by L_A, B by L_B, and both with the gate.

The order, the losses and the learning rates are those of the authors' slides. Their tables print a
rate for each network and another for its last layer, and these belong to losses that are sums over
pixels: they are the loss ``paper``. The loss ``even`` has the same sums and one rate for all
layers, for a training of minutes. The optimiser is Adam in both: it is ours, as are the loss of
the joint training (L_A of the blend), the batch, and how steps are shared: equally among cascades,
and within one among A, B and both together. A branch that is alone (ablation 1) has the whole
cascade's steps, the high-frequency one a third of them by L_B.

The ablations: ``CBN-common`` and ``CBN-high-frequency`` have one branch (1a, 1b); ``CBN-fixed``
takes all steps of the field in the enlarged input, before the first cascade (2); ``CBN-single`` is
one cascade of 24 layers straight to full size, after one step of the field (3). That 2 and 3 are
what the paper's rows of that name are is from memory of the paper, not checked. ``CBN-pure`` is the
network that the authors released: curves of landmarks in place of the prior.

The field is fitted to :data:`FIELD_FACES` training faces and their mirror images. The first step
starts at the mean face, a later one where the steps before it have led, and at the goal with half
of the coefficients' standard deviation as noise.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from lrface.data.landmarks import MIRRORED
from lrface.degrade import resize
from lrface.errors import LrfaceError, UsageError
from lrface.models.objective import Batch, Objective
from lrface.models.recipe import Recipe
from lrface.models.sr import correspondence
from lrface.models.sr.cbn import CBN, FACTORS, FORMS, luminance
from lrface.models.sr.field_guide import DESCRIBED, SIDE, FieldGuide
from lrface.models.sr.field_regression import perturbed
from lrface.models.sr.high_frequency_prior import high_frequency_prior
from lrface.models.stages import Faces, TrainingStage

VERSION = 1
SCALES = tuple(FACTORS)
SIZES = {"narrow": 0.25, "paper": 1.0}
"""The fraction of the paper's widths; ``narrow`` has all layers."""
ARMS: dict[str, dict] = {
    "CBN": {},
    "CBN-pure": {"form": "pure"},
    "CBN-common": {"branches": "common"},
    "CBN-high-frequency": {"branches": "high-frequency"},
    "CBN-fixed": {"fixed": True},
    "CBN-single": {"single": True},
}
"""CBN, its released form and its ablations: what :func:`build` is given for each."""
FIELD_FACES = 1000
STAGES = ("A", "B", "joint")
"""The order in which a cascade is trained: A by L_A, B by L_B, then both with the gate."""
RECIPE = Recipe(
    steps=600,
    loss="even",
    paper_loss="paper",
    schedule="constant",
    source="slides, tables 1 and 2: a rate for each network, its last layer and the gate, without "
    "steps or batch; at quick one rate for all layers, a cosine in each stage",
    batch=8,
    lr=1e-3,
)


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


def rates(net: CBN, k: int, stage: str) -> list[dict]:
    """The parameters that a stage of cascade ``k`` trains, in groups with their learning rates.

    Of each network the layers but the last, then the last, at the rates of :data:`LEARNING_RATES`.

    Examples
    --------
    >>> [group["lr"] for group in rates(CBN(2, width=0.125), 0, "A")]
    [0.0001, 1e-05]
    """
    _check_stage(stage)
    networks, tables = net.cascades[k], LEARNING_RATES["later" if k else "first"]
    if networks.common is None and stage == "A":
        raise UsageError(f"cascade {k + 1} of this CBN has no common branch: train stage 'B'")
    pretrain, joint = tables[:2], tables[2:4]
    parts = {
        "A": [(networks.common, pretrain)],
        "B": [(networks.high_frequency, pretrain)],
        "joint": [
            (networks.common, joint),
            (networks.high_frequency, joint),
            (networks.gate, tables[4:]),
        ],
    }[stage]
    groups = []
    for network, (rate, last_rate) in parts:
        if network is not None:
            groups.append({"params": [*network[:-1].parameters()], "lr": rate})
            groups.append({"params": [*network[-1].parameters()], "lr": last_rate})
    return groups


def _check_stage(stage: str) -> None:
    if stage not in STAGES:
        raise UsageError(f"unknown stage {stage!r} of CBN: choose one of {', '.join(STAGES)}")


class Stage(Objective):
    """The objective of one stage of one cascade.

    The truth is the HR face reduced to this cascade's size. Stage ``A`` descends L_A of the common
    branch, ``B`` L_B of the high-frequency branch, ``joint`` L_A of the blend. The form ``pure``
    has no published losses: all three are L_A there, of the face itself. Beside the loss stands its
    ``trivial`` value, that of the bicubic enlargement.

    Parameters
    ----------
    k : int
    stage : {"A", "B", "joint"}
    even : bool
        One learning rate for all layers, not the tables'.
    patch : int, optional
        Train on a window of this side in the cascade's face; the cascades before it and the guide
        see whole faces. Where it lies follows from the batch's pixels. None: the whole face.
    """

    needs_whole_batch = True

    def __init__(self, k: int, stage: str, even: bool = False, patch: int | None = None):
        super().__init__()
        _check_stage(stage)
        self.k, self.stage, self.even, self.patch = k, stage, even, patch

    def groups(self, net: CBN) -> list[dict]:
        """Rates as multiples of the largest of the tables, 1e-4."""
        largest = LEARNING_RATES["first"].pretrain
        return [
            {"params": group["params"], "rate": 1.0 if self.even else group["lr"] / largest}
            for group in rates(net, self.k, self.stage)
        ]

    def forward(self, net: CBN, batch: Batch) -> dict[str, Tensor]:
        part = net(batch.lr, self.k, self.stage, lambda size: self._window(batch, size))
        base, nothing = part.enlarged, torch.zeros_like(part.enlarged)
        rows, columns = part.window
        truth = luminance(resize(batch.hr, part.size))[..., rows, columns]
        pure = not FORMS[net.form]["residual"]
        if self.stage == "B" and not pure:
            loss = loss_b(truth, base, part.result, part.prior)
            trivial = loss_b(truth, base, nothing, part.prior)
        else:
            loss = loss_a(truth, nothing if pure else base, part.result)
            trivial = loss_a(truth, base, nothing)
        return {"loss": loss, "trivial": trivial}

    def _window(self, batch: Batch, size: tuple[int, int]) -> tuple[slice, slice]:
        """Rows and columns of a face of this size that are trained on."""
        if self.patch is None or batch.lr.is_meta:
            return tuple(slice(min(side, self.patch or side)) for side in size)
        seed = int(batch.lr.mul(255).round().long().sum())
        random = torch.Generator().manual_seed(seed)
        spare = (max(side - self.patch, 0) for side in size)
        first = (int(torch.randint(more + 1, (1,), generator=random)) for more in spare)
        return tuple(slice(at, at + self.patch) for at in first)


def stages(net: CBN, loss: str, patch: int | None = None) -> list[TrainingStage]:
    """The stages in which a network is trained, by the tables' rates (``paper``) or ``even``.

    Examples
    --------
    >>> [stage.name for stage in stages(build(2, "narrow"), "even")]
    ['field 1', 'cascade 1, A', 'cascade 1, B', 'cascade 1, joint']
    """
    fields, found = [], []
    if net.guide is not None:
        fields = [
            TrainingStage(f"field {k + 1}", fit=partial(fit_field, k=k))
            for k in range(len(net.cascades))
        ]
        if net.guide.fixed:
            found, fields = fields, []
    for k, networks in enumerate(net.cascades):
        found += fields[k : k + 1]
        shares = {"A": 1, "B": 1, "joint": 1}
        if networks.high_frequency is None:
            shares = {"A": 3}
        elif networks.common is None:
            shares = {"B": 1, "joint": 2}
        last = [*shares][-1]
        for stage, share in shares.items():
            objective = Stage(k, stage, loss == "even", patch)
            name = f"cascade {k + 1}, {stage}"
            found.append(TrainingStage(name, objective, share, restores=stage == last))
    return found


def last_objective(net: CBN, loss: str) -> Objective:
    """That of the last stage, which is the dearest."""
    return stages(net, loss)[-1].objective


OBJECTIVES = {loss: partial(last_objective, loss=loss) for loss in ("even", "paper")}


@torch.no_grad()
def fit_field(net: CBN, faces: Faces, k: int) -> None:
    """Compute the field's step of cascade ``k``; before the first also template, bases, priors.

    Raises
    ------
    LrfaceError
        Fewer than two faces have landmarks.
    """
    guide, (lr, hr, points) = net.guide, _faces(faces(FIELD_FACES))
    if k == 0:
        guide.fitted.zero_()
        non_rigid = min(correspondence.NON_RIGID, len(points) - 1)
        guide.set_template(correspondence.fit(points.cpu(), (SIDE, SIDE), non_rigid))
    goals = guide.field(SIDE).parameters_of(points.float())
    if k == 0 and not guide.curves:
        for number in range(len(guide.regressors)):
            batches = zip(lr.split(64), hr.split(64), goals.split(64), strict=True)
            sized = ((low, resize(high, _size(net, number, low)), p) for low, high, p in batches)
            guide.set_prior(number, *high_frequency_prior(sized, guide.field(SIDE)))
    seen, starts = zip(*(_before(net, k, low) for low in lr.split(32)), strict=True)
    seen, starts = torch.cat(seen), torch.cat(starts)[None]
    if k:
        starts = torch.cat([starts, perturbed(goals, 1, 0.5, seed=k)])
    guide.regressors[k].fit(guide.field(DESCRIBED), seen, starts, goals)
    guide.fitted.fill_(k + 1)


def _faces(batches: Iterator[Batch]) -> tuple[Tensor, Tensor, Tensor]:
    """Grey faces with landmarks, and their mirror images: LR, HR, and float64 (N, 68, 2) in pixels
    of a face of :data:`SIDE`."""
    parts = []
    for batch in batches:
        known = batch.points.isfinite().flatten(1).all(1)
        points = (batch.points[known].double() + 0.5) * (SIDE / batch.hr.shape[-1]) - 0.5
        parts.append((luminance(batch.lr[known]), luminance(batch.hr[known]), points))
    lr, hr, points = (torch.cat(part) for part in zip(*parts, strict=True))
    if len(lr) < 2:
        raise LrfaceError(f"CBN learns from faces with landmarks, and {len(lr)} have them")
    mirrored = points[:, MIRRORED] * points.new_tensor([-1, 1]) + points.new_tensor([SIDE - 1, 0])
    return torch.cat([lr, lr.flip(3)]), torch.cat([hr, hr.flip(3)]), torch.cat([points, mirrored])


def _size(net: CBN, k: int, lr: Tensor) -> tuple[int, int]:
    """The size of a face after cascade ``k``."""
    for number in range(k + 1):
        lr = lr.new_empty(1, 1, *net.size(number, lr))
    return tuple(lr.shape[-2:])


def _before(net: CBN, k: int, lr: Tensor) -> tuple[Tensor, Tensor]:
    """The face in which the field's step of cascade ``k`` looks, and the coefficients so far."""
    guide = net.guide
    if k == 0:
        return lr, lr.new_zeros(len(lr), guide.field(SIDE).count)
    if guide.fixed:
        return lr, guide.estimate(0, lr, lr.new_zeros(len(lr), guide.field(SIDE).count))
    last = net.steps(lr, k)[-1]
    return last.face, last.state


def build(
    scale: int,
    size: str,
    form: str = "paper",
    branches: str = "both",
    fixed: bool = False,
    single: bool = False,
) -> CBN:
    """CBN or one of its :data:`ARMS`, with a guide unless the common branch is alone."""
    net = CBN(scale, form, SIZES[size], None, branches, single)
    if net.guided:
        net.guide = FieldGuide(len(net.cascades), curves=form == "pure", fixed=fixed)
    return net
