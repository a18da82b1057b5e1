"""A+: its features and patches by plain formulas, the dictionary, and drawn faces."""

import numpy as np
import pytest
import torch
from conftest import draw
from lrface import degrade
from lrface.errors import LrfaceError
from lrface.models.sr import aplus
from lrface.models.sr.cbn import luminance


def pairs(seeds, scale=2, side=48):
    pictures = [torch.from_numpy(draw(seed)).permute(2, 0, 1) for seed in seeds]
    hr = degrade.resize(torch.stack(pictures).float() / 255, (side, side)).clamp(0, 1)
    return degrade.resize(hr, (side // scale, side // scale)), hr


def tiny(scale=2):
    return aplus.APlus(scale, atoms=32, components=24, neighbours=256, samples=4_000)


@pytest.fixture(scope="module")
def fitted():
    net = tiny()
    lr, hr = pairs(range(10))
    aplus.fit_closed_form(net, iter([(lr[:6], hr[:6]), (lr[6:], hr[6:])]))
    return net


@pytest.mark.slow
@pytest.mark.parametrize("scale", aplus.SCALES)
def test_it_beats_bicubic_on_faces_it_learnt_from(scale):
    net, side = tiny(scale), 24 * scale
    lr, hr = pairs(range(8), scale, side)
    aplus.fit_closed_form(net, iter([(lr, hr)]))
    assert net(lr).shape == hr.shape
    # the border of one LR pixel is bicubic in both
    wrong = [luminance(x - hr).square().mean() for x in (degrade.resize(lr, (side, side)), net(lr))]
    assert wrong[1] < 0.95 * wrong[0]


@pytest.mark.slow
def test_it_beats_bicubic_on_other_faces(fitted):
    lr, hr = pairs(range(20, 26))
    wrong = [
        (luminance(x - hr)).square().mean() for x in (degrade.resize(lr, (48, 48)), fitted(lr))
    ]
    assert wrong[1] < wrong[0]


def test_two_fits_are_equal_to_the_byte(fitted):
    again, (lr, hr) = tiny(), pairs(range(10))
    aplus.fit_closed_form(again, iter([(lr[:6], hr[:6]), (lr[6:], hr[6:])]))
    assert all(torch.equal(a, b) for a, b in zip(fitted.buffers(), again.buffers(), strict=True))


def test_colours_are_those_of_the_enlargement(fitted):
    lr, _ = pairs([30])
    added = fitted(lr) - degrade.resize(lr, (48, 48))
    torch.testing.assert_close(added[:, 0], added[:, 2], atol=1e-5, rtol=0)
    assert (added[..., :2, :] == 0).all() and added.abs().max() > 1e-3


def test_the_filters_are_differences_over_lr_pixels():
    net = aplus.APlus(3, 4, 4, 4, 4)
    picture = torch.rand(1, 1, 21, 24)
    found = net.features(picture)[0].view(4, 81, -1)
    x = picture[0, 0].numpy()
    # the middle of the first patch: rows and columns 3 to 11; filters of 4 and 7 pixels about it
    row = column = 7
    middle = found[:, 4 * 9 + 4, 0]
    expected = [
        x[row, column - 2] - x[row, column + 1],
        x[row - 2, column] - x[row + 1, column],
        (x[row, column - 3] + x[row, column + 3]) / 2 - x[row, column],
        (x[row - 3, column] + x[row + 3, column]) / 2 - x[row, column],
    ]
    np.testing.assert_allclose(middle.numpy(), expected, atol=1e-6)
    assert found.shape[2] == (7 - 2 - 2) * (8 - 2 - 2)  # every LR pixel begins a patch


def test_the_codes_are_orthogonal_matching_pursuit():
    from sklearn.linear_model import orthogonal_mp

    random = torch.Generator().manual_seed(0)
    atoms = torch.nn.functional.normalize(torch.randn(20, 8, generator=random).double(), dim=1)
    x = torch.randn(30, 8, generator=random).double()
    found = aplus.sparse_codes(x, atoms, 3)
    expected = orthogonal_mp(atoms.T.numpy(), x.T.numpy(), n_nonzero_coefs=3)
    np.testing.assert_allclose(found.T.numpy(), expected, atol=1e-6)


def test_the_dictionary_codes_better_than_samples():
    random = torch.Generator().manual_seed(1)
    basis = torch.randn(12, 10, generator=random).double()
    codes = torch.zeros(600, 12).double()
    codes.scatter_(1, torch.rand(600, 12, generator=random).topk(2).indices, 1.0)
    x = codes @ basis + 0.01 * torch.randn(600, 10, generator=random)
    atoms = aplus.dictionary(x, 24)
    torch.testing.assert_close(atoms.norm(dim=1), torch.ones(24).double())

    def wrong(atoms):
        return (x - aplus.sparse_codes(x, atoms) @ atoms).square().mean()

    assert wrong(atoms) < 0.5 * wrong(torch.nn.functional.normalize(x[:24], dim=1))


def test_a_tiny_face_is_refused():
    with pytest.raises(LrfaceError, match="at least 5x5 pixels, and this one is 4x6"):
        tiny()(torch.rand(1, 3, 6, 4))


def test_sizes():
    net = aplus.build(2, "paper")
    assert net.atoms.shape == (1024, 40) and net.maps.shape == (1024, 36, 40)
    assert net.neighbours == 2048
