"""PSNR and SSIM against scikit-image, luminance against MATLAB's printed coefficients."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lrface import metrics
from lrface.errors import UsageError
from lrface.metrics.fidelity import luma
from skimage.metrics import peak_signal_noise_ratio, structural_similarity


def pair(seed, n=3, h=40, w=36):
    random = np.random.default_rng(seed)
    hr = random.integers(0, 256, (n, 3, h, w)).astype(np.uint8)
    sr = np.clip(hr + random.normal(0, 20, hr.shape), 0, 255).astype(np.uint8)
    return torch.from_numpy(sr), torch.from_numpy(hr)


def plain_luma(image):
    """rgb2ycbcr's Y of a uint8 (3, H, W), in [0, 1]."""
    r, g, b = image.astype(np.float64) / 255
    return (65.481 * r + 128.553 * g + 24.966 * b + 16) / 255


@settings(max_examples=20)
@given(st.integers(0, 10**6), st.integers(0, 6), st.sampled_from(["rgb", "y"]))
def test_equal_to_scikit_image(seed, border, space):
    sr, hr = pair(seed)
    cut = slice(border, -border or None)
    psnr, ssim = (metric(sr, hr, space, border) for metric in (metrics.psnr, metrics.ssim))
    window = dict(gaussian_weights=True, sigma=1.5, use_sample_covariance=False)
    plain = plain_luma if space == "y" else lambda image: image / 255
    for i in range(len(hr)):
        a, b = (plain(x[i].numpy())[..., cut, cut] for x in (sr, hr))
        if space == "y":
            a, b = a[None], b[None]
        assert abs(float(psnr[i]) - peak_signal_noise_ratio(b, a, data_range=1)) < 1e-6
        theirs = structural_similarity(b, a, channel_axis=0, data_range=1, **window)
        assert abs(float(ssim[i]) - theirs) < 1e-6


def test_one_value_an_image_never_of_a_batch():
    sr, hr = pair(1)
    assert torch.equal(metrics.psnr(sr, hr)[1:2], metrics.psnr(sr[1:2], hr[1:2]))
    assert metrics.psnr(sr, hr).dtype == torch.float64 and metrics.psnr(sr, hr).shape == (3,)


def test_known_answers():
    hr = torch.zeros(1, 3, 16, 16)
    assert float(metrics.psnr(hr + 0.1, hr)) == pytest.approx(20, abs=1e-5)
    assert torch.isinf(metrics.psnr(hr, hr)).all()
    assert float(metrics.ssim(hr, hr)) == pytest.approx(1)
    white, black = torch.ones(1, 3, 1, 1), torch.zeros(1, 3, 1, 1)
    assert float(luma(white)) * 255 == pytest.approx(235, abs=1e-4)
    assert float(luma(black)) * 255 == pytest.approx(16, abs=1e-4)


def test_uint8_and_float_agree():
    sr, hr = pair(2)
    assert torch.allclose(metrics.psnr(sr, hr), metrics.psnr(sr.double() / 255, hr.double() / 255))


def test_wrong_use_is_said_in_a_sentence():
    sr, hr = pair(3)
    with pytest.raises(UsageError, match="of one shape"):
        metrics.psnr(sr[..., :-1], hr)
    with pytest.raises(UsageError, match="unknown colour space"):
        metrics.ssim(sr, hr, space="lab")
    with pytest.raises(UsageError, match="leaves nothing"):
        metrics.psnr(sr, hr, border=18)
    with pytest.raises(UsageError, match="window has 11"):
        metrics.ssim(sr, hr, border=14)


def test_psnr_of_a_part_of_the_picture():
    random = torch.Generator().manual_seed(0)
    a, b = (torch.rand(2, 3, 12, 10, generator=random) for _ in range(2))
    mask = torch.zeros(2, 12, 10, dtype=torch.bool)
    mask[:, 2:9, 3:8] = True
    cut = metrics.psnr(a[..., 2:9, 3:8], b[..., 2:9, 3:8], space="y")
    torch.testing.assert_close(metrics.psnr(a, b, space="y", mask=mask), cut)
    torch.testing.assert_close(metrics.psnr(a, b, mask=torch.ones_like(mask)), metrics.psnr(a, b))
    assert metrics.psnr(a, b, mask=torch.zeros_like(mask)).isnan().all()
    with pytest.raises(UsageError, match="want no border and a mask of shape"):
        metrics.psnr(a, b, border=1, mask=mask)
    with pytest.raises(UsageError, match="want no border and a mask of shape"):
        metrics.psnr(a, b, mask=mask[:, :5])
