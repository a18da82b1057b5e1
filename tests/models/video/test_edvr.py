"""EDVR at 8x: sizes, and its alignment against loops over pixels."""

import math

import pytest
import torch
from lrface.errors import UsageError
from lrface.models.objective import Batch
from lrface.models.video import edvr
from lrface.models.video.cost import cost
from torch.nn import functional as F

THIRD_STAGE = 64 * 256 * 9 + 256


def net(size="narrow", **changes):
    torch.manual_seed(0)
    return edvr.build(8, size, **changes).eval()


def clips(n=1, t=7, h=8, w=8):
    return torch.rand(n, t, 3, h, w, generator=torch.Generator().manual_seed(0))


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes, at_4x, macs", [({}, 3_316_515, 2.91), (edvr.LARGE, 20_699_363, 9.56)]
)
def test_both_sizes_and_what_the_third_stage_adds(changes, at_4x, macs):
    with torch.device("meta"):
        made = edvr.build(8, "paper", **changes)
        released = edvr.build(8, "paper", **changes, frames=5)
    found = cost(made)
    assert found["parameters"] == at_4x + THIRD_STAGE
    assert found["macs"] / 1e9 == pytest.approx(macs, abs=0.005)
    # the released networks take five frames
    five = sum(p.numel() for p in released.parameters()) - THIRD_STAGE
    assert five == {3_316_515: 3_300_131, 20_699_363: 20_633_827}[at_4x]


def test_the_narrow_network_has_the_same_depth():
    with torch.device("meta"):
        made, paper = edvr.build(8, "narrow"), edvr.build(8, "paper")
    assert [name for name, _ in made.named_parameters()] == [n for n, _ in paper.named_parameters()]
    assert 0.3 < cost(made)["macs"] / 1e9 < 0.6


def sample(image, y, x):
    """Bilinear, zeros outside."""
    total, (height, width) = 0.0, image.shape
    for row in (math.floor(y), math.floor(y) + 1):
        for column in (math.floor(x), math.floor(x) + 1):
            if 0 <= row < height and 0 <= column < width:
                weight = (1 - abs(y - row)) * (1 - abs(x - column))
                total += weight * image[row, column].item()
    return total


def test_deformable_convolution_by_loops():
    torch.manual_seed(0)
    layer = edvr.DeformableConv(4, groups=2)
    torch.nn.init.normal_(layer.offsets.weight, std=0.5)
    torch.nn.init.normal_(layer.offsets.bias)
    x, other = torch.randn(1, 4, 3, 4), torch.randn(1, 4, 3, 4)
    with torch.no_grad():
        found, predicted = layer(x, other)[0], layer.offsets(other)[0]
    offsets, mask = (
        predicted[:36].unflatten(0, (2, 9, 2)),
        predicted[36:].sigmoid().unflatten(0, (2, 9)),
    )
    for row in range(3):
        for column in range(4):
            expected = layer.bias.tolist()
            for channel in range(4):
                group = channel // 2
                for tap in range(9):
                    dy, dx = offsets[group, tap, :, row, column].tolist()
                    y, x_ = row + tap // 3 - 1 + dy, column + tap % 3 - 1 + dx
                    value = sample(x[0, channel], y, x_) * mask[group, tap, row, column].item()
                    for out in range(4):
                        weight = layer.weight[out, channel, tap // 3, tap % 3].item()
                        expected[out] += weight * value
            assert found[:, row, column].tolist() == pytest.approx(expected, abs=1e-4)


def test_an_alignment_starts_without_offsets():
    torch.manual_seed(0)
    layer, x = edvr.DeformableConv(8), torch.randn(1, 8, 4, 4)
    plain = F.conv2d(x, layer.weight / 2, layer.bias, padding=1)  # masks of one half
    assert torch.allclose(layer(x, torch.randn(1, 8, 4, 4)), plain, atol=1e-5)


def test_a_shift_is_undone_where_the_offsets_say_so():
    layer = edvr.DeformableConv(8)
    layer.weight.data.zero_()
    layer.weight.data[range(8), range(8), 1, 1] = 2.0  # the middle tap; masks are one half
    layer.offsets.bias.data[:144].view(8, 9, 2)[:] = torch.tensor([1.0, -2.0])
    x = torch.randn(1, 8, 6, 6)
    moved = torch.roll(x, (1, -2), (2, 3))
    found = layer(moved, torch.zeros(1, 8, 6, 6))
    assert torch.allclose(found[..., :4, 2:], x[..., :4, 2:], atol=1e-5)


@pytest.mark.parametrize("attention", [True, False])
def test_the_reference_frame_comes_out_and_another_changes_places_with_it(attention):
    made, lr = net(attention=attention), clips(2)
    with torch.no_grad():
        found = made(lr)
        assert found.shape == (2, 3, 64, 64) and torch.equal(found, made(lr, reference=3))
        swapped = lr[:, [0, 3, 2, 1, 4, 5, 6]]
        assert torch.equal(made(lr, reference=1), made(swapped))
        base = F.interpolate(lr[:, 3], scale_factor=8, mode="bilinear")
    assert (found - base).std() < 0.2
    first = net(reference=0, attention=attention)
    with torch.no_grad():
        assert (first(lr) - F.interpolate(lr[:, 0], scale_factor=8, mode="bilinear")).std() < 0.2


@pytest.mark.slow
@pytest.mark.parametrize("size", ["narrow", "paper"])
def test_a_few_steps_lower_the_loss(size):
    made = net(size).train()
    hr = torch.rand(1, 7, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    lr = F.avg_pool2d(hr[0], 8)[None]
    objective = edvr.OBJECTIVES["paper"](made)
    optimiser = torch.optim.Adam(made.parameters(), 4e-4, **objective.adam)
    values = []
    for _ in range(5):
        loss = objective(made, Batch(lr, hr))["loss"]
        values.append(loss.item())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert values[-1] < values[0]
    assert all(p.grad.isfinite().all() for p in made.parameters())


def test_charbonniers_loss():
    hr = torch.full((2, 7, 3, 8, 8), 0.5)
    answers = torch.nn.Module()
    answers.forward = lambda lr: hr[:, 3] + 0.1
    objective = edvr.OBJECTIVES["paper"](net())
    assert objective(answers, Batch(hr, hr))["loss"].item() == pytest.approx(19.2, rel=1e-4)


def test_what_does_not_fit_is_refused_in_one_sentence():
    with pytest.raises(UsageError, match=r"^this network restores clips \(N, 7, 3, h, w\), got 5"):
        net()(clips(t=5))
    with pytest.raises(UsageError, match="sides that 4 divides, not 8x6$"):
        net()(clips(w=6))
