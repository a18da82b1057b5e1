"""Dense correspondence: known similarities and deformations, and the inverse field, in pixels."""

import math

import numpy as np
import pytest
import torch
from conftest import face_shapes
from lrface.errors import LrfaceError, UsageError
from lrface.models.sr import correspondence
from lrface.models.sr.correspondence import pixel_grid, warp


@pytest.fixture(scope="module")
def shapes():
    return face_shapes(60)


@pytest.fixture(scope="module")
def field(shapes):
    return correspondence.fit(shapes, (96, 80), non_rigid=4)


def bent(field, n=4):
    """Coefficients of faces that the bases were not made of."""
    return field.parameters_of(torch.from_numpy(face_shapes(n, seed=5)))


def test_bases_are_orthogonal_and_move_the_face_by_a_pixel(field):
    flat = field.shapes.flatten(0, 1)
    torch.testing.assert_close(flat.T @ flat / 68, torch.eye(8), atol=1e-5, rtol=0)
    assert field.bases.shape == (2, 96, 80, 8) and field.size == (96, 80) and field.count == 8


def test_the_dense_field_takes_the_templates_landmarks_to_the_faces(field):
    p = bent(field)
    x = warp(field.field(p), field.mean.T[None, :, None].expand(4, -1, -1, -1))[:, :, 0]
    torch.testing.assert_close(x.mT, field.points(p), atol=0.1, rtol=0)


def test_nothing_moves_at_zero(field):
    p = torch.zeros(1, field.count)
    torch.testing.assert_close(field.field(p)[0], pixel_grid(96, 80))
    torch.testing.assert_close(field.inverse(p)[0], pixel_grid(96, 80), atol=1e-4, rtol=0)
    torch.testing.assert_close(field.points(p)[0], field.mean)


@pytest.mark.parametrize(
    "angle, scale, shift", [(0, 1, (3, -2)), (25, 1.3, (0, 5)), (-40, 0.6, (4, 1))]
)
def test_a_similarity_is_recovered_exactly(field, angle, scale, shift):
    turn = math.radians(angle)
    matrix = scale * torch.tensor(
        [[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]]
    )
    shift = torch.tensor(shift, dtype=torch.float32)
    p = field.parameters_of((field.mean @ matrix.T + shift)[None])
    assert p[:, 4:].abs().max() < 1e-4
    expected = torch.einsum("ij,jhw->ihw", matrix, pixel_grid(96, 80)) + shift[:, None, None]
    torch.testing.assert_close(field.field(p)[0], expected, atol=2e-4, rtol=0)
    torch.testing.assert_close(
        field.linear(p)[0], torch.cat([matrix, shift[:, None]], 1), atol=1e-4, rtol=0
    )


def test_coefficients_in_the_span_are_recovered(field):
    p = bent(field)
    torch.testing.assert_close(field.parameters_of(field.points(p)), p, atol=1e-4, rtol=0)


def test_more_bases_fit_training_faces_better(shapes):
    errors = []
    for count in (0, 4, 16):
        field = correspondence.fit(shapes, (96, 80), count)
        found = field.points(field.parameters_of(torch.from_numpy(shapes)))
        errors.append((found - torch.from_numpy(shapes)).norm(dim=2).mean())
    assert errors[0] > errors[1] > errors[2]


def test_warp_and_inverse_undo_each_other_inside_the_face(field):
    p = bent(field)
    x, z = field.field(p), field.inverse(p)
    inside = field.inside()
    assert 0.1 < inside.float().mean() < 0.8
    within = ((x >= 0) & (x <= torch.tensor([79.0, 95])[:, None, None])).all(1) & inside
    back = warp(z, x) - pixel_grid(96, 80)
    assert back.norm(dim=1)[within].max() < 0.1
    again = warp(x, z) - pixel_grid(96, 80)
    face = warp(inside[None, None].float().expand(len(p), -1, -1, -1), z)[:, 0] == 1
    assert again.norm(dim=1)[face].max() < 1e-3
    assert (x - pixel_grid(96, 80)).norm(dim=1)[within].max() > 2  # there was something to undo


def test_a_picture_goes_to_the_template_and_back(field):
    p = bent(field, 2)
    y, x = torch.meshgrid(torch.arange(96.0), torch.arange(80.0), indexing="ij")
    picture = (torch.sin(x / 9) + torch.cos(y / 7)).expand(2, 1, -1, -1)
    flat = warp(picture, field.field(p))
    back = warp(flat, field.inverse(p))
    face = warp(field.inside()[None, None].float().expand(2, -1, -1, -1), field.inverse(p)) == 1
    # of a range of 4; what remains is the bilinear interpolation
    assert (back - picture).abs()[face].max() < 0.03


def test_smaller_images_share_the_coefficients(field):
    small, p = field.at((48, 40)), bent(field)
    assert small.size == (48, 40)
    torch.testing.assert_close(small.points(p), (field.points(p) + 0.5) / 2 - 0.5)
    # a pixel of the small template is the middle of four
    four = torch.nn.functional.avg_pool2d(field.field(p), 2)
    torch.testing.assert_close(small.field(p), (four + 0.5) / 2 - 0.5, atol=0.02, rtol=0)
    torch.testing.assert_close(
        small.parameters_of((field.points(p) + 0.5) / 2 - 0.5), p, atol=1e-4, rtol=0
    )
    back = warp(small.inverse(p), small.field(p)) - pixel_grid(48, 40)
    assert back.norm(dim=1)[:, small.inside()].max() < 0.2
    with pytest.raises(UsageError, match="give a size of the same shape"):
        field.at((48, 48))


def test_the_template_stands_at_the_mean_face_or_in_the_demos_window(shapes, field):
    centre = torch.from_numpy(shapes).mean((0, 1))
    torch.testing.assert_close(field.mean.mean(0), centre.float(), atol=0.5, rtol=0)
    window = correspondence.fit(shapes, (64, 64), 4, correspondence.CBN_EYES)
    left, right = window.mean[36:42].mean(0), window.mean[42:48].mean(0)
    torch.testing.assert_close(left, torch.tensor([5 / 14, 2 / 7]) * 64 - 0.5)
    torch.testing.assert_close(right, torch.tensor([9 / 14, 2 / 7]) * 64 - 0.5)
    assert window.eye_distance == pytest.approx(4 * 4.57, abs=0.01)


def test_unknown_landmarks(shapes):
    some = shapes.copy()
    some[3, 5] = np.nan
    field = correspondence.fit(some, (48, 40), 3)
    p = field.parameters_of(torch.from_numpy(some))
    assert p[3].isnan().all() and p[[0, 1, 2, 4]].isfinite().all()
    with pytest.raises(LrfaceError, match="need at least 9 faces"):
        correspondence.fit(some[:6], (48, 40), 8)
