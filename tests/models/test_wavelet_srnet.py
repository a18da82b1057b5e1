"""WaveletSRNet: the transform against sums over blocks, its losses against loops."""

import itertools

import pytest
import torch
from lrface import models
from lrface.models.objective import Batch
from lrface.models.sr.wavelet_srnet import PaperLoss, inverse_wavelet_packet, wavelet_packet


def by_blocks(x, depth):
    """Each band as a signed sum over blocks: at every step a band is even or odd in rows and in
    columns."""
    side = 2**depth
    n, _, h, w = x.shape
    bands = []
    for steps in itertools.product(
        range(4), repeat=depth
    ):  # the first step decides between neighbouring pixels
        signs = torch.ones(side, side, dtype=x.dtype)
        for row, column in itertools.product(range(side), repeat=2):
            for level, band in enumerate(steps):
                odd = (band >> 1 & row >> level) ^ (band & column >> level)
                signs[row, column] *= -1 if odd & 1 else 1
        blocks = x.view(n, 3, h // side, side, w // side, side)
        bands.append((blocks * signs.view(1, 1, 1, side, 1, side)).sum((3, 5)) / side)
    return torch.cat(bands, 1)


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_the_packet_is_haars_and_orthonormal(depth):
    x = torch.rand(
        2, 3, 16, 24, dtype=torch.float64, generator=torch.Generator().manual_seed(depth)
    )
    bands = wavelet_packet(x, depth)
    assert bands.shape == (2, 3 * 4**depth, 16 // 2**depth, 24 // 2**depth)
    torch.testing.assert_close(bands, by_blocks(x, depth))
    torch.testing.assert_close(inverse_wavelet_packet(bands, depth), x)
    torch.testing.assert_close(
        wavelet_packet(inverse_wavelet_packet(bands.flip(1), depth), depth), bands.flip(1)
    )
    torch.testing.assert_close(bands.square().sum(), x.square().sum())


def test_the_printed_sizes():
    for scale, millions in {2: "46.33", 4: "51.35", 8: "75.00"}.items():
        with torch.device("meta"):
            net = models.restorer("WaveletSRNet", scale, "paper")
        assert f"{sum(p.numel() for p in net.parameters()) / 1e6:.2f}" == millions


def test_the_network_predicts_bands_and_a_band_reads_its_own_group():
    net = models.restorer("WaveletSRNet", 4).eval()
    assert [branch[-1].out_channels for branch in net.branches] == [3, 9, 36]
    assert [branch[-1].groups for branch in net.branches] == [1, 3, 12]
    lr = torch.rand(1, 3, 8, 8)
    for branch in net.branches:
        torch.nn.init.normal_(branch[-1].weight, std=0.1)  # it starts at zero
    low, *detail = (branch(net.trunk(lr)) for branch in net.branches)
    bands = torch.cat(
        [low + 4 * lr, *detail], 1
    )  # small corrects the LR face; 4 is the mean of a 4x4 square in an orthonormal transform
    torch.testing.assert_close(wavelet_packet(net(lr), 2), bands, atol=1e-5, rtol=1e-4)


def test_the_four_losses_by_loops():
    torch.manual_seed(0)
    lr, hr, sr = (
        torch.rand(2, 3, 4, 4).double(),
        torch.rand(2, 3, 8, 8).double(),
        torch.rand(2, 3, 8, 8).double(),
    )
    objective = PaperLoss(models.restorer("WaveletSRNet", 2))
    terms = objective(lambda _: sr, Batch(lr, hr))
    ours, true = by_blocks(sr, 1), by_blocks(hr, 1)
    squares = {"low": 0.0, "detail": 0.0, "image": float(((sr - hr) ** 2).sum()) / 4}
    for channel in range(12):
        squares["low" if channel < 3 else "detail"] += (
            float(((ours - true)[:, channel] ** 2).sum()) / 4
        )
    missing = []
    for face, band, row, column in itertools.product(range(2), range(1, 4), range(4), range(4)):
        ours_energy, true_energy = (
            float((t[face, 3 * band : 3 * band + 3, row, column] ** 2).sum())
            for t in (ours.float(), true.float())
        )
        missing.append(max(0.0, 1.2 * true_energy - ours_energy))
    texture = sum(missing) / len(missing)
    for name, value in (squares | {"texture": texture}).items():
        assert float(terms[name]) == pytest.approx(value, rel=1e-5)
    expected = 0.99 * squares["detail"] + 0.01 * squares["low"] + 0.1 * squares["image"] + texture
    assert float(terms["loss"]) == pytest.approx(expected, rel=1e-5)
    assert squares["detail"] + squares["low"] == pytest.approx(
        squares["image"]
    )  # what the normalisation is for
    assert objective.adam == {"weight_decay": 5e-4}
