"""The linear restorer against scikit-learn, and what settings cost with it."""

import numpy as np
import pytest
import torch
from lrface import data, degrade
from lrface.degrade import resize
from lrface.metrics.calibration import linear_psnr
from lrface.models.sr import linear
from sklearn.linear_model import Ridge
from torch.nn import functional as F


def pairs(n=6, side=32, scale=2, seed=0):
    hr = torch.rand(n, 3, side, side, generator=torch.Generator().manual_seed(seed))
    hr = F.avg_pool2d(F.pad(hr, (2,) * 4, mode="replicate"), 5, 1)
    return degrade.setting(f"{scale}x")(hr), hr


def test_the_map_is_scikit_learns():
    lr, hr = pairs()
    net = linear.Linear(2)
    linear.fit_closed_form(net, iter([(lr[:4], hr[:4]), (lr[4:], hr[4:])]))
    padded = F.pad(lr, (3,) * 4, mode="replicate")
    rows = [padded[n, :, y : y + 7, x : x + 7].flatten() for n in range(6) for y in range(16)
            for x in range(16)]  # fmt: skip
    lacking = (hr - resize(lr, (32, 32)))[:, :, 1::2, ::2]  # the lower left of each 2x2 pixels
    reference = Ridge(alpha=linear.RIDGE * len(rows))
    reference.fit(torch.stack(rows).double().numpy(), lacking.permute(0, 2, 3, 1).reshape(-1, 3))
    np.testing.assert_allclose(net.weight[2::4].flatten(1), reference.coef_, atol=2e-4)
    np.testing.assert_allclose(net.bias[2::4], reference.intercept_, atol=2e-4)


def test_it_finds_a_linear_map_exactly():
    lr, _ = pairs(scale=4, side=64)
    kernel = torch.randn(48, 3, 5, 5, generator=torch.Generator().manual_seed(1)) / 20
    padded = F.pad(lr, (2,) * 4, mode="replicate")
    hr = resize(lr, (64, 64)) + F.pixel_shuffle(F.conv2d(padded, kernel), 4)
    net = linear.Linear(4)
    linear.fit_closed_form(net, iter([(lr, hr)]))
    assert (net(lr) - hr).abs().max() < 0.02 * (hr - resize(lr, (64, 64))).abs().max()


@pytest.mark.slow
def test_the_more_noise_the_larger_the_cost():
    train, test = data.load("synthetic", "train", 64), data.load("synthetic", "test", 32)
    levels = [
        linear_psnr(degrade.setting("4x_DN", noise=n), train, test).mean() for n in (0, 7, 30)
    ]
    assert levels[0] - levels[1] > 0.5 and levels[1] - levels[2] > 1.5
    assert levels[0] == linear_psnr(degrade.setting("4x"), train, test).mean()
