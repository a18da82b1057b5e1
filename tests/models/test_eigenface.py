"""Eigenface against an eigentransformation written out in numpy."""

import numpy as np
import pytest
import torch
from lrface import degrade, models
from lrface.errors import LrfaceError
from lrface.models.sr import eigenface


@pytest.fixture(scope="module")
def pairs():
    """Twelve smooth 8-bit images of 128x128 at 8x."""
    random = torch.Generator().manual_seed(0)
    hr = (
        degrade.resize(torch.rand(12, 3, 24, 24, generator=random), (128, 128))
        .clamp(0, 1)
        .mul(255)
        .round()
        .div(255)
    )
    return degrade.setting("8x")(hr), hr


def fitted(pairs, components, bound=None):
    net = eigenface.Eigenface(8, components, bound)
    eigenface.fit_closed_form(
        net, iter([(pairs[0][:5], pairs[1][:5]), (pairs[0][5:], pairs[1][5:])])
    )
    return net


def test_a_training_face_comes_back(pairs):
    torch.testing.assert_close(fitted(pairs, 32)(pairs[0]), pairs[1], atol=2e-4, rtol=0)


@pytest.mark.parametrize("components", [3, 6])
def test_it_is_the_papers_combination_of_training_faces(pairs, components):
    low, high = (t.flatten(1).double().numpy() for t in pairs)
    other = degrade.setting("8x")(pairs[1].flip(3))  # faces that are not in the training set
    lr_mean, hr_mean = low.mean(0), high.mean(0)
    variance, vectors = np.linalg.eigh((low - lr_mean) @ (low - lr_mean).T)
    variance, vectors = variance[::-1][:components], vectors[:, ::-1][:, :components]
    faces = (low - lr_mean).T @ vectors / np.sqrt(variance)
    weights = (other.flatten(1).double().numpy() - lr_mean) @ faces
    combination = weights / np.sqrt(variance) @ vectors.T
    expected = (
        torch.from_numpy(hr_mean + combination @ (high - hr_mean)).float().view(-1, 3, 128, 128)
    )
    torch.testing.assert_close(fitted(pairs, components)(other), expected, atol=2e-4, rtol=0)


def test_coefficients_have_unit_variance_and_can_be_bounded(pairs):
    net = fitted(pairs, 6, bound=1.5)
    z = (pairs[0].flatten(1) - net.lr_mean) @ net.lr_basis
    torch.testing.assert_close(z.T @ z / len(z), torch.eye(6), atol=1e-3, rtol=0)
    torch.testing.assert_close(
        net.hr_basis @ net.hr_basis.T, torch.diag(net.hr_basis.square().sum(1)), atol=2e-2, rtol=0
    )
    assert z.abs().max() > 1.5
    torch.testing.assert_close(
        net(pairs[0]).flatten(1), net.hr_mean + z.clamp(-1.5, 1.5) @ net.hr_basis
    )


def test_two_fits_are_equal_to_the_byte(pairs):
    first, second = fitted(pairs, 6).state_dict(), fitted(pairs, 6).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_of_too_many_faces_a_uniform_sample_is_used(monkeypatch):
    monkeypatch.setattr(eigenface, "FACES", 50)
    grey = torch.linspace(0, 1, 400).view(-1, 1, 1, 1)
    net = eigenface.Eigenface(8, 1)
    pairs = ((g.expand(-1, 3, 16, 16), g.expand(-1, 3, 128, 128)) for g in grey.split(30))
    eigenface.fit_closed_form(net, pairs)
    assert net.hr_mean.mean().item() == pytest.approx(0.5, abs=0.15)  # the first 50: 0.06
    torch.testing.assert_close(net.hr_mean.mean(), net.lr_mean.mean(), atol=1 / 510, rtol=0)


def test_another_size_is_refused_in_a_sentence():
    with pytest.raises(LrfaceError, match="faces of 32x32 pixels only, and this picture is 12x8"):
        models.restorer("Eigenface", 4)(torch.rand(1, 3, 8, 12))
