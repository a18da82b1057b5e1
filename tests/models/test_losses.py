"""The identity objective, by hand and on a face."""

import numpy as np
import pytest
import torch
from lrface import data, degrade, metrics, models, runs
from lrface.models import losses
from lrface.models.objective import Batch
from lrface.training import cost_model
from torch.nn import functional as F


@pytest.fixture(scope="module")
def face():
    faces = data.load("synthetic", "test", 2)
    hr = faces.stack([0, 1])
    return hr, torch.from_numpy(
        np.stack(faces.stored("landmarks")["landmarks"].to_numpy())
        .astype(np.float32)
        .reshape(-1, 68, 2)
    )


@pytest.mark.slow
def test_the_five_points_are_dlibs(face):
    hr, points = face
    landmarker = metrics.Landmarker(threads=1)
    boxes = landmarker.detect(hr)
    five = landmarker.landmarks5(hr, boxes)
    assert (
        np.nanmean(
            np.linalg.norm(five - landmarker.landmarks68(hr, boxes)[:, losses.FIVE_OF_68], axis=2)
        )
        < 2
    )


@pytest.mark.slow
def test_identity_is_one_minus_the_cosine_of_the_judge(face):
    hr, points = face[0].float() / 255, face[1]
    net, objective = models.restorer("bicubic", 4), losses.IdentityLoss()
    lr = degrade.setting("4x")(hr)
    found = objective(net, Batch(lr, hr, points))
    judge = models.embedder("dlib")
    vectors = [judge(models.chips(x * 255, points[:, losses.FIVE_OF_68])) for x in (net(lr), hr)]
    distance = np.mean(
        [1 - float(F.cosine_similarity(a, b, 0)) for a, b in zip(*vectors, strict=True)]
    )
    pixels = float((net(lr) - hr).abs().mean())
    assert float(found["identity"]) == pytest.approx(distance, rel=1e-4) and distance > 0.005
    assert float(found["loss"]) == pytest.approx(pixels + objective.weight * distance, rel=1e-5)
    assert float(objective(lambda lr: hr, Batch(lr, hr, points))["loss"]) == pytest.approx(
        0, abs=1e-6
    )


def test_a_face_without_landmarks_counts_for_its_pixels_alone(face):
    hr, points = face[0].float() / 255, face[1].clone()
    net, objective = models.restorer("SRCNN", 4), losses.IdentityLoss()
    lr = degrade.setting("4x")(hr)
    one = objective(net, Batch(lr, hr, points))["identity"]
    points[1] = torch.nan
    found = objective(net, Batch(lr, hr, points))
    assert 0 < float(found["identity"]) < float(one)
    found["loss"].backward()
    assert all(p.grad.isfinite().all() and p.grad.any() for p in net.parameters())
    assert not any(p.requires_grad for p in objective.parameters())
    points[:] = torch.nan
    assert float(objective(net, Batch(lr, hr, points))["identity"]) == 0


@pytest.mark.slow
def test_it_trains_through_fit_with_dlibs_landmarks():
    fields = dict(degradation=degrade.setting("4x"), data="celeba", n_train=8, steps=1, batch=2)
    run = runs.fit(runs.Config(method="SRNET", loss="identity", **fields))
    assert np.isfinite(run.record["loss"])


def test_a_step_can_be_planned_without_numbers():
    fields = dict(degradation=degrade.setting("4x"), data="celeba", steps=1, batch=2)
    assert cost_model.cost(runs.Config(method="EDSR", loss="identity", **fields)).macs > 0
