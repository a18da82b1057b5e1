"""Degradations against slow references written from the formulas, and their properties."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lrface import degrade
from lrface.errors import UsageError


def cubic(x):
    x = abs(x)
    if x <= 1:
        return 1.5 * x**3 - 2.5 * x**2 + 1
    return -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2 if x < 2 else 0.0


def slow_imresize(line, n_out):
    """MATLAB's bicubic along one axis, one output sample at a time, straight from its 1-based
    definition."""
    n_in = len(line)
    scale = n_out / n_in
    stretch = min(1.0, scale)
    out = []
    for i in range(1, n_out + 1):
        u = i / scale + 0.5 * (1 - 1 / scale)
        left = math.floor(u - 2 / stretch)
        total = weight = 0.0
        for p in range(left, left + math.ceil(4 / stretch) + 2):
            w = stretch * cubic(stretch * (u - p))
            q = (p - 1) % (2 * n_in)
            total += w * line[q if q < n_in else 2 * n_in - 1 - q]
            weight += w
        out.append(total / weight)
    return np.array(out)


@pytest.mark.parametrize(
    "n_in, n_out", [(128, 64), (128, 32), (128, 16), (96, 32), (32, 128), (16, 128), (50, 100)]
)
def test_bicubic_is_matlabs(n_in, n_out):
    line = np.random.default_rng(n_in + n_out).random(n_in)
    assert (
        np.abs(degrade.resize_matrix(n_in, n_out) @ line - slow_imresize(line, n_out)).max() < 1e-10
    )


@pytest.mark.parametrize("scale", [2, 4, 8])
def test_float32_is_within_a_ten_thousandth_of_a_grey_level(scale):
    hr = torch.rand(3, 3, 128, 128, generator=torch.Generator().manual_seed(scale))
    d = degrade.setting(f"{scale}x", rounding="none")
    assert (d(hr).double() - d(hr.double())).abs().max() * 255 < 1e-4


def slow_blur_down(image, scale):
    """The RDN/RCAN script, even scale: a 12x12 Gaussian as a full two-dimensional sum, replicated
    border, 1-based sampling."""
    h, w = image.shape
    kernel = np.array(
        [
            [math.exp(-((a - 5.5) ** 2 + (b - 5.5) ** 2) / (2 * 1.6**2)) for b in range(12)]
            for a in range(12)
        ]
    )
    kernel[kernel < np.finfo(float).eps * kernel.max()] = 0
    kernel /= kernel.sum()
    out = np.zeros((h // scale, w // scale))
    for i in range(h // scale):
        for j in range(w // scale):
            y, x = scale // 2 - 1 + i * scale, scale // 2 - 1 + j * scale
            for a in range(12):
                for b in range(12):
                    out[i, j] += (
                        kernel[a, b]
                        * image[min(max(y + a - 5, 0), h - 1), min(max(x + b - 5, 0), w - 1)]
                    )
    return out


def test_blur_down_is_the_published_script():
    image = np.random.default_rng(0).random((24, 32))
    d = degrade.setting("4x_BD", rounding="none")
    ours = d(torch.from_numpy(image).expand(1, 3, -1, -1))
    assert np.abs(ours[0, 1].numpy() - slow_blur_down(image, 4)).max() < 1e-12


def test_blur_down_samples_the_cell_centres():
    ramp = torch.arange(64, dtype=torch.float64).expand(1, 3, 64, 64) / 255
    lr = degrade.setting("4x_BD", rounding="none")(ramp) * 255
    assert torch.allclose(lr[0, 0, 0, 3:13], torch.arange(3, 13).double() * 4 + 1.5, atol=1e-9)


def test_blur_then_bicubic_is_one_after_the_other():
    image = np.random.default_rng(1).random((24, 32))
    d = degrade.Degradation("mine", 4, "gaussian+bicubic", 7, 1.2, rounding="none")
    taps = np.exp(-((np.arange(7) - 3) ** 2) / (2 * 1.2**2))
    taps /= taps.sum()
    padded = np.pad(image, 3, mode="edge")
    blurred = sum(taps[a] * padded[a : a + 24] for a in range(7))
    blurred = sum(taps[b] * blurred[:, b : b + 32] for b in range(7))
    expected = np.stack([slow_imresize(column, 6) for column in blurred.T], 1)
    expected = np.stack([slow_imresize(row, 8) for row in expected])
    ours = d(torch.from_numpy(image).expand(1, 3, -1, -1))
    assert np.abs(ours[0, 1].numpy() - expected).max() < 1e-12


def test_a_narrow_gaussian_before_bicubic_changes_nothing():
    hr = torch.rand(1, 3, 32, 48, dtype=torch.float64)
    narrow = degrade.setting("4x_BD", kernel="gaussian+bicubic", kernel_size=3, sigma=0.05)
    assert torch.equal(narrow(hr), degrade.setting("4x")(hr))


def test_noise_has_its_level_and_belongs_to_the_image_not_to_the_batch():
    grey = torch.full((40, 3, 128, 128), 0.5)
    clean, noisy = (
        degrade.setting("4x", rounding="none"),
        degrade.setting("4x_DN", rounding="none", seed=3),
    )
    noise = (noisy(grey) - clean(grey)) * 255
    assert abs(float(noise.std()) - 30) < 0.15 and abs(float(noise.mean())) < 0.15
    alone = noisy(grey[:1], torch.tensor([17]))
    assert torch.equal(alone[0], noisy(grey)[17])
    assert not torch.equal(noisy(grey)[0], noisy(grey)[1])
    assert not torch.equal(noisy(grey), degrade.setting("4x_DN", rounding="none", seed=4)(grey))


@settings(max_examples=30)
@given(st.sampled_from(list(degrade.SETTINGS)), st.integers(0, 2**32 - 1))
def test_every_setting_gives_what_an_8_bit_file_can_hold(name, seed):
    hr = torch.rand(2, 3, 32, 48, generator=torch.Generator().manual_seed(seed))
    d = degrade.setting(name, seed=seed)
    lr = d(hr)
    assert lr.shape == (2, 3, 32 // d.scale, 48 // d.scale)
    levels = lr * 255
    assert (levels - levels.round()).abs().max() < 1e-4 and lr.min() >= 0 and lr.max() <= 1
    assert torch.equal(lr, d(hr))


@given(st.floats(0, 1), st.sampled_from([2, 4, 8]))
def test_a_flat_image_stays_flat(value, scale):
    hr = torch.full((1, 3, 32, 32), value, dtype=torch.float64)
    lr = degrade.setting(f"{scale}x", rounding="none")(hr)
    assert (lr - value).abs().max() < 1e-12
    assert (degrade.resize(lr, (32, 32)) - value).abs().max() < 1e-12


def test_rounding_goes_up_at_a_half():
    assert torch.equal(
        degrade.round_uint8(torch.tensor([0.5 / 255, 1.5 / 255, -1, 2])) * 255,
        torch.tensor([1.0, 2.0, 0.0, 255.0]),
    )


def test_wrong_use_is_said_in_a_sentence():
    with pytest.raises(UsageError, match="unknown degradation setting '5x'"):
        degrade.setting("5x")
    with pytest.raises(UsageError, match="divides by 4, but an image side is 30"):
        degrade.setting("4x")(torch.rand(1, 3, 30, 32))
    with pytest.raises(UsageError, match="wants float"):
        degrade.setting("4x")(torch.zeros(1, 3, 32, 32, dtype=torch.uint8))
    with pytest.raises(UsageError, match="not valid"):
        degrade.Degradation("mine", 4, noise=-1)
    with pytest.raises(UsageError, match="kernel_size 0"):
        degrade.Degradation("mine", 4, kernel="gaussian")
    with pytest.raises(UsageError, match="give an odd kernel_size"):
        degrade.setting("4x_BD", kernel="gaussian+bicubic")
    with pytest.raises(UsageError, match="not valid"):
        degrade.setting("4x", kernel="lanczos")
