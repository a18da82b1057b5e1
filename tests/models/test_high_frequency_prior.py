"""The high-frequency prior of known pictures, its contours, and curves of landmarks."""

import pytest
import torch
from conftest import face_shapes
from lrface.degrade import resize
from lrface.errors import LrfaceError
from lrface.models.sr import cbn, correspondence, field_guide, high_frequency_prior
from lrface.models.sr.correspondence import pixel_grid, warp


@pytest.fixture(scope="module")
def field():
    return correspondence.fit(face_shapes(40, 64, 64), (64, 64), 4)


@pytest.fixture(scope="module")
def faces(field):
    """Smooth faces with fine stripes about the template's mouth, and their coefficients."""
    p = field.parameters_of(torch.from_numpy(face_shapes(8, 64, 64, seed=3)))
    x, y = pixel_grid(64, 64)
    centre = field.mean[48:].mean(0)
    mouth = (-((x - centre[0]) ** 2 + (y - centre[1]) ** 2) / 18).exp()
    stripes = warp((mouth * torch.cos(torch.pi * x)).expand(8, 1, -1, -1), field.inverse(p))
    hr = 0.5 + 0.2 * torch.sin(x / 20) + 0.2 * stripes
    return resize(hr, (16, 16)), hr, p


def channels_of(faces, field):
    found = high_frequency_prior.high_frequency_prior(faces, field)
    return high_frequency_prior.channels(*found)


def test_the_map_is_where_the_details_are(field, faces):
    lr, hr, p = faces
    found = high_frequency_prior.residual_magnitude(lr, hr, p, field)
    assert found.shape == (8, 64, 64) and found.min() >= 0
    assert field.inside()[found.mean(0) > 0.5 * found.mean(0).max()].all()
    y, x = divmod(int(found.mean(0).argmax()), 64)
    assert (field.mean[48:].mean(0) - torch.tensor([x, y])).norm() < 4
    # one face at p = 0 by a plain formula
    plain = (hr[:1] - resize(lr[:1], (64, 64))).abs()[:, 0]
    none = torch.zeros(1, field.count)
    torch.testing.assert_close(
        high_frequency_prior.residual_magnitude(lr[:1], hr[:1], none, field),
        plain,
        atol=1e-4,
        rtol=0,
    )


def test_contours_share_the_map_among_them(field, faces):
    lr, hr, p = faces
    both = channels_of([(lr[:5], hr[:5], p[:5]), (lr[5:], hr[5:], p[5:])], field)
    once = channels_of([faces], field)
    torch.testing.assert_close(both, once)
    assert once.shape == (10, 64, 64) and once.min() == 0 and once.max() == 1
    assert ((once > 0).sum(0) <= 1).all()  # disjoint
    assert (once.amax((1, 2)) > 0).all()
    region = high_frequency_prior.face_region(field)
    assert (once[:, ~region] == 0).all()
    y, x = divmod(int(once[0].argmax()), 64)  # the first channel has most detail
    assert (field.mean[48:].mean(0) - torch.tensor([x, y])).norm() < 4


def test_a_cluster_is_near_in_place_and_magnitude():
    magnitude = torch.full((32, 32), 0.2)
    magnitude[4:10, 4:10] = magnitude[20:26, 20:26] = 1
    whole = torch.ones(32, 32, dtype=torch.bool)
    found = high_frequency_prior.channels(*high_frequency_prior.contours(magnitude, whole, 6), 6)
    first, second = found[0], found[1]
    places = {tuple(int(n > 16) for n in divmod(int(c.argmax()), 32)) for c in (first, second)}
    assert places == {(0, 0), (1, 1)}
    assert first[:16, 16:].max() == 0 and second[:16, 16:].max() == 0


def test_unknown_faces_are_left_out_and_nothing_is_refused(field, faces):
    lr, hr, p = faces
    some = p.clone()
    some[2] = torch.nan
    keep = torch.arange(8) != 2
    torch.testing.assert_close(
        channels_of([(lr, hr, some)], field),
        channels_of([(lr[keep], hr[keep], p[keep])], field),
    )
    with pytest.raises(LrfaceError, match="differ from their bicubic"):
        high_frequency_prior.high_frequency_prior([], field)


def test_the_prior_moves_with_the_face(field, faces):
    prior = channels_of([faces], field)
    shifted = torch.zeros(2, field.count)
    shifted[1, 2:4] = torch.tensor([3.0, -2.0])
    there = high_frequency_prior.to_faces(prior, field, shifted)
    torch.testing.assert_close(there[0], prior, atol=1e-3, rtol=0)
    torch.testing.assert_close(there[1][:, :-2, 3:], prior[:, 2:, :-3], atol=1e-3, rtol=0)


def test_curves_pass_through_the_landmarks():
    points = torch.from_numpy(face_shapes(2, 64, 64))
    maps = field_guide.curve_maps(points, (64, 64))
    assert maps.shape == (2, 14, 64, 64) and set(maps.unique().tolist()) == {0.0, 1.0}
    assert len(field_guide.CURVES) == cbn.CURVES
    assert {i for curve in field_guide.CURVES for i in curve} == set(range(68))
    for channel, curve in enumerate(field_guide.CURVES):
        x, y = points[0, list(curve)].round().long().T
        assert (maps[0, channel, y, x] == 1).all()
    line = points.clone()
    line[:, 17:22] = torch.tensor([[10.0, 20.0]])  # a brow of one point is a square of 7
    assert field_guide.curve_maps(line, (64, 64))[0, 2].sum() == 49
    assert field_guide.curve_maps(points + 500, (64, 64)).sum() == 0
