"""MuCAN at 8x: sizes, and its search against loops over pixels."""

import pytest
import torch
from lrface.models.objective import Batch
from lrface.models.video import mucan
from lrface.models.video.cost import cost
from torch.nn import functional as F

THIRD_STAGE = 64 * 256 * 9 + 256


def net(size="narrow", **changes):
    torch.manual_seed(0)
    return mucan.build(8, size, **changes).eval()


def clips(n=1, h=8, w=8):
    return torch.rand(n, 7, 3, h, w, generator=torch.Generator().manual_seed(0))


@pytest.mark.slow
def test_sizes():
    with torch.device("meta"):
        made, narrow = mucan.build(8, "paper"), mucan.build(8, "narrow")
        reds = mucan.build(8, "paper", frames=5, blocks=40)
    found = cost(made)
    assert found["parameters"] == 19_888_291 + THIRD_STAGE == 20_036_003
    assert sum(p.numel() for p in reds.parameters()) - THIRD_STAGE == 25_660_579
    # the search over bands of rows, whose products are summed over 3x3 afterwards
    places = [(16 * 12, 12, 15), (8 * 6, 6, 11), (4 * 3, 3, 7), (16 * 12, 12, 7)]
    search = 7 * 128 * sum(n * window * (w + window - 1) for n, w, window in places)
    assert (found["macs"] - search) / 1e9 == pytest.approx(28.58, abs=0.005)
    # the released search computes the nine products of every patch apart
    windows = [(192, 15), (48, 11), (12, 7), (192, 7)]
    released = 7 * 128 * 9 * sum(n * window**2 for n, window in windows)
    assert released / 1e9 == pytest.approx(0.48, abs=0.005) and search < released / 4
    assert [n for n, _ in narrow.named_parameters()] == [n for n, _ in made.named_parameters()]
    assert 0.3 < cost(narrow)["macs"] / 1e9 < 0.6


def at(x, row, column):
    """The channels of (C, h, w) at a place, zeros outside."""
    inside = 0 <= row < x.shape[1] and 0 <= column < x.shape[2]
    return x[:, row, column] if inside else torch.zeros(len(x))


@pytest.mark.parametrize("h, w, window", [(3, 4, 3), (2, 3, 5), (4, 3, 7)])
def test_correlation_by_loops(h, w, window):
    generator = torch.Generator().manual_seed(0)
    reference, frame = (torch.randn(2, 3, h, w, generator=generator) for _ in range(2))
    found = mucan.correlation(reference, frame, window)
    assert found.shape == (2, window**2, h, w)
    near = [(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)]
    for n in range(2):
        for number in range(window**2):
            down, across = number // window - window // 2, number % window - window // 2
            for row in range(h):
                for column in range(w):
                    expected = sum(
                        at(reference[n], row + dy, column + dx)
                        @ at(frame[n], row + dy + down, column + dx + across)
                        for dy, dx in near
                    )
                    assert found[n, number, row, column].item() == pytest.approx(
                        float(expected), abs=1e-4
                    )


def test_patches_by_loops():
    generator = torch.Generator().manual_seed(0)
    frame = torch.randn(2, 3, 4, 5, generator=generator)
    chosen = torch.randint(0, 25, (2, 2, 4, 5), generator=generator)
    found = mucan.patches(frame, chosen, 5).view(2, 4, 5, 2, 3, 3, 3)
    for n in range(2):
        for k in range(2):
            for row in range(4):
                for column in range(5):
                    number = int(chosen[n, k, row, column])
                    y, x = row + number // 5 - 2, column + number % 5 - 2
                    for dy in (-1, 0, 1):
                        for dx in (-1, 0, 1):
                            expected = at(frame[n], y + dy, x + dx)
                            assert torch.equal(
                                found[n, row, column, k, :, dy + 1, dx + 1], expected
                            )


def test_a_shifted_frame_is_found_where_it_went():
    x = torch.randn(1, 16, 8, 8, generator=torch.Generator().manual_seed(0))
    moved = torch.roll(x, (2, -1), (2, 3))
    similar = mucan.correlation(F.normalize(x), F.normalize(moved), 7)
    best = similar.argmax(1)[0, 2:5, 3:6]
    assert (best == (2 + 3) * 7 + (-1 + 3)).all()


def test_the_search_passes_gradients_to_what_it_chose():
    torch.manual_seed(0)
    level = mucan.Level(8, 3, coarser=False)
    frame = torch.randn(1, 8, 4, 4, requires_grad=True)
    found, _ = level(frame, torch.randn(1, 8, 4, 4))
    found.sum().backward()
    assert found.shape == (1, 8, 4, 4) and frame.grad.isfinite().all() and (frame.grad != 0).any()


def test_cross_scale_takes_the_most_similar_place():
    torch.manual_seed(0)
    layer, x = mucan.CrossScale(8), torch.randn(2, 8, 8, 8)
    taken = []
    for attend in layer.attend:
        attend.register_forward_hook(lambda m, given, out: taken.append(given[0]))
    layer(x)
    own, coarse = taken[0], F.avg_pool2d(taken[0], 3, 2, 1)
    keys = coarse.flatten(2)
    for row in range(4):
        for column in range(4):
            query = own[1, :, row, column]
            cosines = F.cosine_similarity(query[:, None], keys[1], dim=0)
            expected = F.normalize(keys[1, :, cosines.argmax()], dim=0)
            assert torch.allclose(taken[1][1, :, row, column], expected, atol=1e-6)


def test_the_reference_frame_comes_out_and_another_changes_places_with_it():
    made, lr = net(), clips(2)
    with torch.no_grad():
        found = made(lr)
        assert found.shape == (2, 3, 64, 64) and torch.equal(found, made(lr, reference=3))
        assert torch.equal(made(lr, reference=1), made(lr[:, [0, 3, 2, 1, 4, 5, 6]]))
        base = F.interpolate(lr[:, 3], scale_factor=8, mode="bilinear")
    assert (found - base).std() < 0.2


@pytest.mark.slow
@pytest.mark.parametrize("size", ["narrow", "paper"])
def test_a_few_steps_lower_the_loss(size):
    made = net(size).train()
    hr = torch.rand(1, 7, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    lr = F.avg_pool2d(hr[0], 8)[None]
    objective = mucan.OBJECTIVES["paper"](made)
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


def test_the_mean_charbonnier_loss():
    hr = torch.full((2, 7, 3, 8, 8), 0.5)
    answers = torch.nn.Module()
    answers.forward = lambda lr: hr[:, 3]
    objective = mucan.OBJECTIVES["paper"](net())
    assert objective(answers, Batch(hr, hr))["loss"].item() == pytest.approx(1e-3, rel=1e-4)
