"""Estimation of the dense correspondence: descriptors of known pictures, ridge regression, and
landmarks of rendered faces step by step."""

import math

import pytest
import torch
from conftest import face_shapes
from lrface import data
from lrface.data.landmarks import landmarks
from lrface.degrade import resize
from lrface.errors import LrfaceError
from lrface.models.sr import correspondence
from lrface.models.sr.cbn import luminance
from lrface.models.sr.field_regression import FieldRegressor, gradient_histograms, perturbed


def ramp(degrees, side=32):
    y, x = torch.meshgrid(torch.arange(float(side)), torch.arange(float(side)), indexing="ij")
    turn = math.radians(degrees)
    return ((math.cos(turn) * x + math.sin(turn) * y) / side)[None, None]


@pytest.mark.parametrize("degrees, direction", [(0, 0), (90, 2), (180, 4), (225, 5)])
def test_a_ramp_has_one_direction(degrees, direction):
    found = gradient_histograms(ramp(degrees), torch.full((1, 1, 2), 15.0), torch.eye(2)[None], 10)
    cells = found.view(16, 8)
    assert found.norm() == pytest.approx(1, abs=1e-5)
    torch.testing.assert_close(cells[:, direction], torch.full((16,), 0.25), atol=1e-3, rtol=0)


def test_between_two_directions_a_gradient_is_shared():
    found = gradient_histograms(ramp(22.5), torch.full((1, 1, 2), 15.0), torch.eye(2)[None], 10)
    cells = found.view(16, 8)
    torch.testing.assert_close(cells[:, 0], cells[:, 1], atol=1e-3, rtol=0)
    assert cells[:, 2:].abs().max() < 1e-3


def test_windows_turn_with_the_face():
    turn = math.radians(45)
    matrix = torch.tensor([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
    point = torch.full((1, 1, 2), 15.0)
    turned = gradient_histograms(ramp(45), point, matrix[None], 10)
    upright = gradient_histograms(ramp(0), point, torch.eye(2)[None], 10)
    torch.testing.assert_close(turned, upright, atol=1e-3, rtol=0)


def test_flat_pictures_have_no_gradient_and_contrast_does_not_matter():
    point, eye = torch.full((1, 1, 2), 15.0), torch.eye(2)[None]
    assert gradient_histograms(torch.full((1, 1, 32, 32), 0.5), point, eye, 10).abs().max() < 1e-2
    picture = torch.rand(1, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(
        gradient_histograms(picture, point, eye, 10),
        gradient_histograms(0.3 * picture + 0.2, point, eye, 10),
        atol=1e-4,
        rtol=0,
    )


@pytest.fixture(scope="module")
def field():
    return correspondence.fit(face_shapes(30, 32, 32), (32, 32), 2)


@pytest.mark.parametrize("starts", [1, 3])
def test_the_step_is_ridge_regression(field, starts):
    step, n = FieldRegressor(field.count), 6
    random = torch.Generator().manual_seed(0)
    images = torch.rand(n, 1, 32, 32, generator=random)
    goals = torch.randn(n, field.count, generator=random)
    first = torch.randn(starts, n, field.count, generator=random)
    step.fit(field, images, first, goals, ridge=0.5, batch=4)
    phi = torch.cat([step.describe(field, images, p) for p in first]).double()
    x, y = phi - phi.mean(0), (goals - first).flatten(0, 1).double()
    ridge = 0.5 * x.square().sum(1).mean()
    # the matrix is where the gradient of the ridge regression is zero
    matrix = step.matrix.double().T
    gradient = x.T @ (x @ matrix - y) + ridge * matrix
    assert matrix.abs().max() > 1e-3
    torch.testing.assert_close(gradient, torch.zeros_like(gradient), atol=1e-4, rtol=0)
    torch.testing.assert_close(
        step(field, images, first[0]), first[0] + (x[:n] @ matrix).float(), atol=1e-4, rtol=0
    )


def test_faces_without_landmarks_are_left_out(field):
    images, goals = torch.rand(5, 1, 32, 32), torch.randn(5, field.count)
    start, step = torch.zeros(5, field.count), FieldRegressor(field.count)
    without = FieldRegressor(field.count).fit(field, images[1:], start[1:], goals[1:]).matrix
    goals[0] = torch.nan
    torch.testing.assert_close(step.fit(field, images, start, goals).matrix, without)
    with pytest.raises(LrfaceError, match="at least two"):
        step.fit(field, images[:2], start[:2], goals[:2])


def test_a_step_that_was_not_fitted_changes_nothing(field):
    p = torch.randn(2, field.count)
    assert torch.equal(FieldRegressor(field.count)(field, torch.rand(2, 1, 32, 32), p), p)


@pytest.mark.slow
def test_the_landmarks_of_rendered_faces_improve_at_each_step():
    def known(split, limit):
        faces = data.load("synthetic", split, limit)
        images = torch.cat([*faces.batches(64)]).float() / 255
        points = torch.from_numpy(landmarks(faces))
        return resize(luminance(images), (64, 64)), (points + 0.5) / 2 - 0.5

    (images, points), (others, truth) = known("train", 160), known("val", 32)
    field = correspondence.fit(points, (64, 64), 8)
    goals = field.parameters_of(points)
    trained, p = torch.zeros_like(goals), torch.zeros(len(others), field.count)

    def error(p):
        """Mean distance of the 68 landmarks over that between the eyes."""
        return ((field.points(p) - truth).norm(dim=2).mean() / field.eye_distance).item()

    errors = [error(p)]
    for k, (side, window) in enumerate(((16, 1.0), (32, 0.7), (64, 0.5))):
        step = FieldRegressor(field.count, window)
        low, other = (resize(x, (side, side)) for x in (images, others))
        starts = torch.cat([trained[None], perturbed(goals, 1, 0.5)]) if k else trained
        step.fit(field, low, starts, goals)
        trained, p = step(field, low, trained), step(field, other, p)
        errors.append(error(p))
    assert errors[0] > errors[1] > errors[2] > errors[3]
    assert errors[0] > 0.15 and errors[3] < 0.09
