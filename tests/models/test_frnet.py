"""FRNET as Table 2 prints it, and faces turned upright for it."""

import cv2
import numpy as np
import pytest
import torch
from conftest import noise, train_tiny
from lrface import degrade, models, runs
from lrface.data.landmarks import MIRRORED
from lrface.errors import UsageError
from lrface.models.losses import WithPreprocessor
from lrface.models.objective import Batch
from lrface.models.recognition import frnet
from lrface.models.recognition.align import SIZE, TEMPLATE, align, five_points


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
    assert (
        sum(isinstance(m, torch.nn.PReLU) for m in net.modules()) == len(convolutions)
        and net.feature.out_features == 512
    )
    # 124 -> 122 -> 61 -> 59 -> 30 -> 28 -> 14 -> 12 -> 6 rows, 108 -> 106 -> 53 -> 51 -> 26 -> 24
    # -> 12 -> 10 -> 5 columns
    assert net.feature.in_features == 512 * 6 * 5
    expected, n_in = 0, 3
    for width, units in (
        (64, 1),
        (128, 2),
        (256, 5),
        (512, 3),
    ):  # Table 2, with a slope a channel for each PReLU
        expected += 9 * n_in * width + 2 * width + 2 * units * (9 * width * width + 2 * width)
        n_in = width
    expected += 512 * (512 * 6 * 5) + 512 + 10 * 512 + 10
    assert sum(p.numel() for p in net.parameters()) == expected


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
    image = (
        torch.from_numpy(cv2.GaussianBlur(random.random((128, 128, 3)), (0, 0), 3))
        .permute(2, 0, 1)[None]
        .double()
    )
    angle, size = 0.3, 0.8
    turn = size * torch.tensor([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    five = (TEMPLATE - TEMPLATE.mean(0)) @ turn.T + torch.tensor([64.0, 60.0], dtype=torch.float64)
    ours = align(image, points68(five)[None])
    matrix = np.concatenate([turn.numpy(), (five[0] - turn @ TEMPLATE[0]).numpy()[:, None]], 1)
    # OpenCV rounds places to 1/32 pixel
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    theirs = cv2.warpAffine(
        image[0].permute(1, 2, 0).numpy(),
        matrix,
        SIZE[::-1],
        flags=flags,
        borderMode=cv2.BORDER_REPLICATE,
    )
    assert np.abs(ours[0].permute(1, 2, 0).numpy() - theirs).max() < 0.01


def test_a_face_without_landmarks_is_not_aligned_and_gradients_flow():
    image = torch.rand(2, 3, 128, 128, requires_grad=True)
    points = torch.stack([torch.full((68, 2), torch.nan), points68(TEMPLATE).float()])
    out = align(image, points)
    assert out.isfinite().all()
    # corners stay corners
    assert torch.allclose(out[0, :, 0, 0], image[0, :, 0, 0]) and torch.allclose(
        out[0, :, -1, -1], image[0, :, -1, -1], atol=1e-5
    )
    out.sum().backward()
    assert image.grad[0].abs().sum() > 0 and image.grad[1].abs().sum() > 0


def test_the_mirror_image_has_the_mirrored_five():
    points = torch.rand(1, 68, 2)
    five = five_points(points[:, MIRRORED] * torch.tensor([-1.0, 1.0]))
    assert torch.allclose(five[:, [1, 0, 2, 4, 3]] * torch.tensor([-1.0, 1.0]), five_points(points))


@pytest.mark.slow
def test_it_trains_through_the_same_fit_and_learns_its_identities():
    # faces of this set differ by colour: a few steps are enough to tell a few of them apart
    config = runs.Config(
        method="FRNET",
        loss="softmax",
        degradation=degrade.HR,
        data="celeba",
        n_train=6,
        steps=16,
        batch=6,
        lr=2e-3,
        schedule="constant",
    )
    run = runs.fit(config)
    losses = [row["loss"] for row in run.log]
    assert losses[-1] < 0.5 * losses[0]
    assert run.record["classes"] == run.model().identity.out_features
    assert runs.fit(config).source == "cached"


def tiny(classes=3):
    return frnet.FRNET(classes, (2, 2, 3, 3), (1, 1, 1, 1), 4)


def test_centres_move_by_equations_13_and_14():
    memory = frnet.Centres(tiny(5)).double()
    assert (
        not list(memory.parameters())
        and memory.centres.shape == (5, 4)
        and (memory.centres == 0).all()
    )
    random = torch.Generator().manual_seed(0)
    memory.centres.copy_(torch.randn(5, 4, generator=random, dtype=torch.float64))
    features, labels = (
        torch.randn(6, 4, generator=random, dtype=torch.float64, requires_grad=True),
        torch.tensor([0, 2, 2, 4, 2, 0]),
    )
    before = memory.centres.clone()
    expected = before.clone()
    for j in range(5):
        total, count = torch.zeros(4, dtype=torch.float64), 0
        for x, c in zip(features.detach(), labels.tolist(), strict=True):
            if c == j:
                total, count = total + before[j] - x, count + 1
        expected[j] = before[j] - 0.5 * total / (1 + count)
    loss = memory(features, labels)
    assert torch.equal(memory.centres, before)  # the loss alone moves nothing
    memory.update(features, labels)
    assert torch.allclose(memory.centres, expected, atol=1e-12)
    assert torch.equal(memory.centres[[1, 3]], before[[1, 3]]) and not memory.centres.requires_grad
    assert loss.item() == pytest.approx(
        sum((features[i] - before[labels[i]]).square().sum().item() for i in range(6)) / 12
    )
    loss.backward()
    assert torch.allclose(
        features.grad, (features.detach() - before[labels]) / 6
    )  # equation 9, over the batch


def test_the_paper_objective_adds_the_centre_loss_of_the_centres_before_the_step():
    net = tiny().train()
    objective = frnet.PaperLoss(net)
    batch = Batch(
        torch.rand(4, 3, 8, 8),
        torch.rand(4, 3, 32, 32),
        torch.full((4, 68, 2), torch.nan),
        torch.tensor([0, 1, 1, 2]),
    )
    features, logits = net(align(batch.hr, batch.points))
    for _ in range(2):
        before = objective.state.centres.clone()
        distance = (features - before[batch.labels]).square().sum(1).mean() / 2
        expected = torch.nn.functional.cross_entropy(logits, batch.labels) + 0.008 * distance
        assert objective(net, batch)["loss"].item() == pytest.approx(expected.item(), rel=1e-6)
        assert not torch.equal(objective.state.centres, before)


def test_behind_a_frozen_restorer_it_sees_that_ones_faces():
    torch.manual_seed(0)
    net, front = tiny().train(), models.restorer("SRNET", 4)
    batch = Batch(
        torch.rand(2, 3, 8, 8),
        torch.rand(2, 3, 32, 32),
        torch.full((2, 68, 2), torch.nan),
        torch.tensor([0, 2]),
    )
    restored = degrade.round_uint8(front(batch.lr).detach())
    objective = WithPreprocessor(front, frnet.PaperLoss(net))
    losses = objective(net, batch)
    assert torch.equal(
        losses["loss"], frnet.PaperLoss(net)(net, batch._replace(hr=restored))["loss"]
    )
    losses["loss"].backward()
    assert all(p.grad is None for p in front.parameters()) and all(
        p.grad is not None for p in net.parameters()
    )
    assert objective.adam == frnet.Softmax.adam and objective.state.centres.any()
    assert WithPreprocessor(front, frnet.Softmax()).state is None


@pytest.mark.slow
def test_an_interrupted_run_ends_with_the_same_weights_and_centres(interrupted):
    def run(checkpoint):
        torch.manual_seed(0)
        net = tiny()
        objective = WithPreprocessor(models.restorer("SRNET", 4), frnet.PaperLoss(net))
        fields = {
            "batch": 4,
            "patch": None,
            "lr": 1e-2,
            "schedule": "drops",
            "steps": 6,
        }
        points, labels = np.full((6, 68, 2), np.nan, np.float32), np.array([0, 0, 1, 1, 2, 2])
        fields |= {"landmarks": points, "labels": labels}
        net, _, facts = train_tiny(net, noise(6, 32), "4x", objective, checkpoint, **fields)
        return torch.cat(
            [p.detach().flatten() for p in [*net.parameters(), objective.state.centres]]
        ), facts

    (uninterrupted, _), stopped = interrupted(run, 4)
    assert torch.load(stopped, weights_only=True)["state"]["centres"].any()
    again, facts = run(stopped)
    assert facts["resumed"] == 1 and torch.equal(uninterrupted, again)
