"""SRNET as Table 1 prints it, and the loss of equation 2."""

import pytest
import torch
from lrface import degrade, models, runs
from lrface.models.objective import Batch
from lrface.models.sr import srnet

TABLE_1 = [(9, 64), (1, 32), (1, 3)]
"""Kernel and channels; padding 0 and stride 1 throughout."""


def test_the_printed_layers():
    net = models.restorer("SRNET", 4, "paper")
    layers = [m for m in net.modules() if isinstance(m, torch.nn.Conv2d)]
    assert [(m.kernel_size, m.out_channels) for m in layers] == [((k, k), n) for k, n in TABLE_1]
    assert {(m.padding, m.stride) for m in layers} == {((0, 0), (1, 1))}
    n_in = [3, *(n for _, n in TABLE_1)]
    expected = sum(k * k * i * n + n for i, (k, n) in zip(n_in, TABLE_1, strict=False))
    assert sum(p.numel() for p in net.parameters()) == expected == 17_795


@pytest.mark.parametrize("size, parameters", [("paper", 17_795), ("small", 8_387)])
def test_a_border_of_four_pixels_keeps_the_size(size, parameters):
    net = models.restorer("SRNET", 4, size)
    assert sum(p.numel() for p in net.parameters()) == parameters
    lr = torch.rand(2, 3, 31, 27)  # a quarter of 124x108
    enlarged = degrade.resize(lr, (124, 108))
    inner = (net.layers((enlarged * 255 - 127.5) / 128) * 128 + 127.5) / 255
    assert inner.shape == (2, 3, 116, 100)  # what Table 1 leaves of the paper's crop
    assert net(lr).shape == enlarged.shape and torch.allclose(
        net(lr)[:, :, 4:-4, 4:-4], inner, atol=1e-5
    )


def test_it_can_hand_a_face_through():
    net = models.restorer("SRNET", 2)
    for layer in net.layers[::2]:
        torch.nn.init.zeros_(layer.weight)
        torch.nn.init.zeros_(layer.bias)
    with torch.no_grad():
        for c in range(3):
            (
                net.layers[0].weight[c, c, 4, 4],
                net.layers[2].weight[c, c],
                net.layers[4].weight[c, c],
            ) = 1, 1, 1
            net.layers[0].bias[c], net.layers[4].bias[c] = 2, -2  # past ReLU
    lr = torch.rand(1, 3, 6, 6)
    assert torch.allclose(net(lr), models.restorer("bicubic", 2)(lr), atol=1e-5)


def test_the_hallucination_loss_by_a_slow_formula():
    random = torch.Generator().manual_seed(0)
    sr, hr = torch.rand(2, 2, 3, 4, 5, generator=random)
    total = 0.0
    for i in range(2):
        for a, b in zip(sr[i].flatten().tolist(), hr[i].flatten().tolist(), strict=True):
            total += ((255 * a - 127.5) / 128 - (255 * b - 127.5) / 128) ** 2
    assert srnet.hallucination_loss(sr, hr).item() == pytest.approx(total / 2, rel=1e-5)
    net = srnet.SRNET(1)
    losses = srnet.PaperLoss()(net, Batch(sr, hr))
    assert torch.equal(losses["loss"], srnet.hallucination_loss(net(sr), hr))


@pytest.mark.slow
def test_it_learns_through_the_same_fit():
    fields = {
        "degradation": degrade.setting("4x"),
        "data": "celeba",
        "n_train": 16,
        "steps": 20,
        "batch": 4,
        "patch": 32,
    }
    run = runs.fit(runs.Config(method="SRNET", loss="paper", lr=1e-3, schedule="drops", **fields))
    losses = [row["loss"] for row in run.log]
    assert losses[-1] < 0.5 * losses[0]
    assert [row["lr"] for row in run.log[::11]] == pytest.approx([1e-3, 1e-3]) and run.log[-1][
        "lr"
    ] == pytest.approx(1e-5)
