"""The power spectrum of pictures whose spectrum is known."""

import math

import pytest
import torch
from lrface.errors import UsageError
from lrface.metrics import power_spectrum


def test_white_noise_is_flat_at_its_variance():
    noise = torch.randn(64, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    frequency, power = power_spectrum(0.1 * noise.expand(-1, 3, -1, -1))
    assert power.shape == (64, 32) and frequency[-1] == 0.5
    # The mean is removed, which the window spreads over the first two rings.
    assert torch.allclose(power.mean(0)[2:], torch.full((30,), 0.01, dtype=torch.float64), rtol=0.1)


def test_a_wave_stands_at_its_frequency_whatever_its_direction():
    y, x = torch.meshgrid(torch.arange(64), torch.arange(64), indexing="ij")
    for along in (x, 0.6 * x + 0.8 * y):
        wave = torch.sin(2 * math.pi * 8 / 64 * along)
        frequency, power = power_spectrum(wave.expand(1, 3, -1, -1) / 4 + 0.5)
        assert frequency[power[0].argmax()] == 8 / 64
        assert power[0, 5:10].sum() > 0.99 * power[0].sum()


def test_a_flat_picture_has_none_and_an_oblong_one_is_refused():
    assert power_spectrum(torch.full((1, 3, 32, 32), 0.7))[1].max() < 1e-20
    with pytest.raises(UsageError, match="square"):
        power_spectrum(torch.zeros(1, 3, 32, 16))
