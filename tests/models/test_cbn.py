"""CBN: the slides' tables counted by hand, losses against loops, the gate, and what each stage
trains."""

import pytest
import torch
from lrface import degrade
from lrface.errors import LrfaceError, UsageError
from lrface.models.objective import Batch
from lrface.models.sr import cbn, cbn_training
from torch import nn

FIRST, LATER = 5_071_043, 1_529_027
"""Parameters of a cascade: both branches and the gate, biases included."""


def guide(channels=10):
    """A prior of stripes, and the number of the cascade as state."""

    def give(k, face, state, size):
        assert state == (None if k == 0 else k - 1)
        random = torch.Generator().manual_seed(k)
        return torch.rand(len(face), channels, *size, generator=random), k

    return give


def tiny(scale=4, form="paper"):
    torch.manual_seed(0)
    net = cbn.CBN(scale, form, 0.0625, guide(cbn.FORMS[form]["channels"]))
    for cascade in net.cascades:  # the last layers start near zero, which would hide the others
        for network in cascade.children():
            nn.init.normal_(network[-1].weight, std=0.2)
    return net


def twice(lr):
    """Bicubic, two doublings."""
    h, w = lr.shape[2:]
    return degrade.resize(degrade.resize(lr, (2 * h, 2 * w)), (4 * h, 4 * w))


def hand(n_in, *widths):
    """Parameters of 3x3 convolutions of these widths."""
    return sum(9 * a * b + b for a, b in zip((n_in, *widths), widths, strict=False))


def count(module):
    return sum(p.numel() for p in module.parameters())


def test_the_slides_tables():
    first = [64] * 4 + [128] * 16 + [32] * 3 + [1]
    later = [64] * 4 + [128] * 4 + [32] * 3 + [1]
    gate = [64] * 5 + [1]
    assert len(first) == 24 and len(later) == 12 and len(gate) == 6
    with torch.device("meta"):
        net = cbn_training.build(8, "paper")
    assert len(net.cascades) == 3
    for k, cascade in enumerate(net.cascades):
        widths = later if k else first
        assert count(cascade.common) == hand(1, *widths)
        assert count(cascade.high_frequency) == hand(1 + 10, *widths)
        assert count(cascade.gate) == hand(1 + 10 + 2, *gate)
    assert [count(cascade) for cascade in net.cascades] == [FIRST, LATER, LATER]


def test_narrow_has_all_layers():
    with torch.device("meta"):
        narrow, paper = cbn_training.build(8, "narrow"), cbn_training.build(8, "paper")
    shapes = [
        [m.out_channels for m in net.modules() if isinstance(m, nn.Conv2d)]
        for net in (narrow, paper)
    ]
    assert shapes[0] == [n if n == 1 else n // 4 for n in shapes[1]]


def test_the_released_form():
    with torch.device("meta"):
        net = cbn_training.build(16, "paper", "pure")
    first, second, third, fourth = net.cascades
    assert count(first.common) == hand(1, *cbn.LAYERS["first"], 1)
    assert count(first.gate) == hand(17, 64, 64, 64, 1)
    assert second.common[0].in_channels == 2 and second.high_frequency[0].in_channels == 16
    for cascade in (third, fourth):
        assert cascade.common is None and cascade.gate is None
        assert count(cascade) == hand(15, *cbn.LAYERS["later"], 1)
    net = tiny(8, "pure")
    face = net.eval()(torch.rand(1, 3, 4, 6))
    assert face.shape == (1, 3, 32, 48)
    # every network gives the luminance itself
    step = net.steps(torch.rand(1, 3, 4, 6))[-1]
    torch.testing.assert_close(cbn.luminance(step.face), step.b, atol=1e-5, rtol=0)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("scale", [2, 8])
def test_shapes_and_the_sum(scale, channels):
    net, lr = tiny(scale), torch.rand(2, channels, 5, 4)
    steps = net.train()(lr)
    assert len(steps) == scale.bit_length() - 1
    face = lr
    for step in steps:
        h, w = face.shape[2:]
        torch.testing.assert_close(step.enlarged, degrade.resize(face, (2 * h, 2 * w)))
        blend = (1 - step.gate) * step.a + step.gate * step.b
        torch.testing.assert_close(step.face, step.enlarged + blend)
        face = step.face
    assert face.shape == (2, channels, 5 * scale, 4 * scale)
    torch.testing.assert_close(net.eval()(lr), face)


def test_colours_are_those_of_the_enlargement():
    step = tiny(2).steps(torch.rand(1, 3, 6, 6))[0]
    for face in (step.face, step.enlarged):
        y = cbn.luminance(face)
        chroma = face - y
        if face is step.face:
            first = chroma
    torch.testing.assert_close(first, chroma, atol=1e-5, rtol=0)
    assert (step.face - step.enlarged).abs().max() > 1e-3


@pytest.mark.parametrize("value, branch", [(0.0, "a"), (1.0, "b")])
def test_a_gate_of_zero_or_one_gives_one_branch(value, branch):
    net = tiny(2)
    last = net.cascades[0].gate[-1]
    nn.init.zeros_(last.weight)
    nn.init.constant_(last.bias, value)
    step = net.steps(torch.rand(2, 1, 6, 6))[0]
    torch.testing.assert_close(step.face, step.enlarged + getattr(step, branch))
    assert (step.a - step.b).abs().max() > 1e-4


def test_the_common_branch_does_not_see_the_prior():
    net, lr = tiny(2), torch.rand(1, 1, 6, 6)
    first = net.step(0, lr, torch.zeros(1, 10, 12, 12))
    second = net.step(0, lr, torch.ones(1, 10, 12, 12))
    assert torch.equal(first.a, second.a)
    assert not torch.allclose(first.b, second.b) and not torch.allclose(first.gate, second.gate)


def test_gradients_reach_both_branches_and_the_gate():
    net = tiny(4)
    lr, hr = torch.rand(2, 3, 4, 4), torch.rand(2, 3, 16, 16)
    cbn_training.Stage(1, "joint")(net, Batch(lr, hr))["loss"].backward()
    for name in ("common", "high_frequency", "gate"):
        parts = [p for p in getattr(net.cascades[1], name).parameters()]
        assert all(
            p.grad.abs().sum() > 0 for p in parts[::2]
        )  # a bias of a dead unit may have none
    assert all(p.grad is None for p in net.cascades[0].parameters())


def test_losses_are_the_slides_sums():
    random = torch.Generator().manual_seed(3)
    truth, enlarged, result = (torch.rand(2, 1, 3, 4, generator=random) for _ in range(3))
    prior = torch.rand(2, 5, 3, 4, generator=random)
    a = b = 0.0
    for n in range(2):
        for y in range(3):
            for x in range(4):
                wrong = (truth - enlarged - result)[n, 0, y, x].item()
                a += wrong**2
                b += sum((prior[n, c, y, x].item() * wrong) ** 2 for c in range(5))
    assert cbn_training.loss_a(truth, enlarged, result).item() == pytest.approx(a, rel=1e-5)
    assert cbn_training.loss_b(truth, enlarged, result, prior).item() == pytest.approx(b, rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("stage", cbn_training.STAGES)
@pytest.mark.parametrize("form", cbn.FORMS)
def test_a_stage_trains_its_own_part_and_its_loss_falls(stage, form):
    net = tiny(4, form)
    lr, hr = torch.rand(2, 3, 4, 4), torch.rand(2, 3, 16, 16)
    before = {name: p.clone() for name, p in net.named_parameters()}
    groups = cbn_training.rates(net, 1, stage)
    optimiser = torch.optim.Adam([group | {"lr": 1e-3} for group in groups])
    objective, found = cbn_training.Stage(1, stage), []
    for _ in range(10):
        optimiser.zero_grad()
        loss = objective(net, Batch(lr, hr))["loss"]
        loss.backward()
        optimiser.step()
        found.append(loss.item())
    assert found[-1] < found[0]
    moved = {
        name.split(".")[2] for name, p in net.named_parameters() if not torch.equal(p, before[name])
    }
    parts = {
        "A": {"common"},
        "B": {"high_frequency"},
        "joint": {"common", "high_frequency", "gate"},
    }
    assert moved == parts[stage]
    assert all(
        name.startswith("cascades.1")
        for name, p in net.named_parameters()
        if not torch.equal(p, before[name])
    )


def test_the_stages_losses():
    net = tiny(2)
    lr, hr = torch.rand(1, 3, 4, 4), torch.rand(1, 3, 8, 8)
    net.train()
    step = net.steps(lr)[0]
    wrong = cbn.luminance(hr) - cbn.luminance(step.enlarged)
    expected = {
        "A": (wrong - step.a).square().sum(),
        "B": (step.prior * (wrong - step.b)).square().sum(),
        "joint": (cbn.luminance(hr) - cbn.luminance(step.face)).square().sum(),
    }
    for stage, value in expected.items():
        found = cbn_training.Stage(0, stage)(net, Batch(lr, hr))
        torch.testing.assert_close(found["loss"], value)
        mask = step.prior if stage == "B" else 1
        torch.testing.assert_close(found["trivial"], (mask * wrong).square().sum())


def test_learning_rates_are_the_tables():
    net = tiny(4)

    def rates(k, stage):
        return [group["lr"] for group in cbn_training.rates(net, k, stage)]

    assert rates(0, "A") == rates(0, "B") == [1e-4, 1e-5]
    assert rates(1, "A") == rates(1, "B") == [1e-5, 1e-6]
    assert rates(0, "joint") == [1e-5, 1e-6, 1e-5, 1e-6, 1e-4, 1e-5]
    assert rates(1, "joint") == [1e-6, 1e-7, 1e-6, 1e-7, 1e-5, 1e-6]
    for rate in cbn_training.LEARNING_RATES.values():
        # jointly at a tenth, the gate at ten times that
        assert rate.joint == pytest.approx(rate.pretrain / 10)
        assert rate.gate == pytest.approx(10 * rate.joint)
    joint = [p for group in cbn_training.rates(net, 0, "joint") for p in group["params"]]
    assert len(joint) == len({id(p) for p in joint}) == len([*net.cascades[0].parameters()])


def test_wrong_calls_are_said():
    with pytest.raises(UsageError, match="choose a scale of 2, 3, 4, 8, 16, not 5"):
        cbn_training.build(5, "paper")
    with pytest.raises(UsageError, match="unknown form 'code'"):
        cbn_training.build(2, "paper", "code")
    with pytest.raises(LrfaceError, match="set its attribute guide"):
        cbn.CBN(2, width=0.0625)(torch.rand(1, 1, 4, 4))
    with pytest.raises(UsageError, match="unknown stage"):
        cbn_training.Stage(0, "C")
    with pytest.raises(UsageError, match="has no common branch"):
        cbn_training.rates(tiny(8, "pure"), 2, "A")
    with pytest.raises(UsageError, match="needs the first's input"):
        tiny(4, "pure").step(1, torch.rand(1, 1, 4, 4), torch.rand(1, 14, 8, 8))


def test_training_starts_from_bicubic():
    torch.manual_seed(0)
    net = cbn_training.build(4, "narrow")
    lr = torch.rand(1, 3, 8, 8)
    steps = net.steps(lr)
    assert (steps[-1].face - twice(lr)).square().mean().sqrt() < 0.05
    assert all((s.gate - 0.5).abs().mean() < 0.05 for s in steps)
