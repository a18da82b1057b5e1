"""FRNET as Table 2 prints it, and faces turned upright for it."""

import cv2
import numpy as np
import pytest
import torch
from lrface import degrade, models, runs
from lrface.data.landmarks import MIRRORED
from lrface.errors import UsageError
from lrface.models.recognition.align import SIZE, TEMPLATE, align, five_of_68


def points68(five):
    """68 landmarks whose five are ``five`` (5, 2)."""
    points = torch.zeros(68, 2, dtype=torch.float64)
    for rows, point in zip((range(36, 42), range(42, 48), [30], [48], [54]), five, strict=True):
        points[list(rows)] = point
    return points


def test_the_printed_layers():
    with torch.device("meta"):
        net = models.recogniser("FRNET", 10, "paper")
    convolutions = [m for m in net.modules() if isinstance(m, torch.nn.Conv2d)]
    assert len(convolutions) == 4 + 2 * (1 + 2 + 5 + 3)
    assert sum(isinstance(m, torch.nn.PReLU) for m in net.modules()) == len(convolutions) and net.feature.out_features == 512
    # 124 -> 122 -> 61 -> 59 -> 30 -> 28 -> 14 -> 12 -> 6 rows, 108 -> 106 -> 53 -> 51 -> 26 -> 24 -> 12 -> 10 -> 5 columns
    assert net.feature.in_features == 512 * 6 * 5


def test_features_and_logits():
    net = models.recogniser("FRNET", 7)
    faces = torch.rand(2, 3, *SIZE)
    features, logits = net.train()(faces)
    assert features.shape == (2, 256) and logits.shape == (2, 7)
    assert torch.equal(net.eval()(faces), features)
    with pytest.raises(UsageError, match="unknown recognition network"):
        models.recogniser("ArcFace", 7)


def test_landmarks_land_on_the_template_and_agree_with_opencv():
    random = np.random.default_rng(0)
    image = torch.from_numpy(cv2.GaussianBlur(random.random((128, 128, 3)), (0, 0), 3)).permute(2, 0, 1)[None].double()
    angle, size = 0.3, 0.8
    turn = size * torch.tensor([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    five = (TEMPLATE - TEMPLATE.mean(0)) @ turn.T + torch.tensor([64.0, 60.0], dtype=torch.float64)
    ours = align(image, points68(five)[None])
    matrix = np.concatenate([turn.numpy(), (five[0] - turn @ TEMPLATE[0]).numpy()[:, None]], 1)
    # OpenCV rounds places to 1/32 pixel
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    theirs = cv2.warpAffine(image[0].permute(1, 2, 0).numpy(), matrix, SIZE[::-1], flags=flags, borderMode=cv2.BORDER_REPLICATE)
    assert np.abs(ours[0].permute(1, 2, 0).numpy() - theirs).max() < 0.01


def test_an_unknown_face_is_taken_whole_and_gradients_flow():
    image = torch.rand(2, 3, 128, 128, requires_grad=True)
    points = torch.stack([torch.full((68, 2), torch.nan), points68(TEMPLATE).float()])
    out = align(image, points)
    assert out.isfinite().all()
    # corners stay corners
    assert torch.allclose(out[0, :, 0, 0], image[0, :, 0, 0]) and torch.allclose(out[0, :, -1, -1], image[0, :, -1, -1], atol=1e-5)
    out.sum().backward()
    assert image.grad[0].abs().sum() > 0 and image.grad[1].abs().sum() > 0


def test_the_mirror_image_has_the_mirrored_five():
    points = torch.rand(1, 68, 2)
    five = five_of_68(points[:, MIRRORED] * torch.tensor([-1.0, 1.0]))
    assert torch.allclose(five[:, [1, 0, 2, 4, 3]] * torch.tensor([-1.0, 1.0]), five_of_68(points))


def test_it_trains_through_the_same_fit_and_learns_its_identities():
    # Faces of the drawn set differ by colour: a few steps suffice to tell a few apart.
    fields = {"degradation": degrade.HR, "data": "celeba", "n_train": 12, "steps": 30, "batch": 12, "lr": 2e-3, "schedule": "constant"}
    run = runs.fit(runs.Config(method="FRNET", loss="softmax", **fields))
    losses = [row["loss"] for row in run.log]
    assert losses[-1] < 0.5 * losses[0]
    assert run.record["classes"] == run.model().identity.out_features
    assert runs.fit(runs.Config(method="FRNET", loss="softmax", **fields)).source == "cached"
