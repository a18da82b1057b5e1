"""The joint model: which gradient reaches which network, what it is without either of its losses,
and what a checkpoint must hold."""

import copy

import numpy as np
import pytest
import torch
from conftest import noise, train_tiny
from lrface import degrade, models, runs
from lrface.models import joint
from lrface.models.objective import Batch, Objective
from lrface.models.recognition import frnet
from lrface.models.recognition.align import align
from lrface.models.sr import srnet
from torch.nn import functional as F

ALPHA, BETA1, BETA2 = 0.7, 1.3, 0.6


def tiny(seed=0, classes=3):
    torch.manual_seed(seed)
    restorer = srnet.SRNET(4, (4, 3))
    return joint.Joint(restorer, frnet.FRNET(classes, (2, 2, 3, 3), (1, 1, 1, 1), 5))


def landmarks(n, side):
    """Landmarks of upright faces, each of its own place and size; the last unknown."""
    random = np.random.default_rng(3)
    points = np.full((n, 68, 2), np.nan, np.float32)
    face = random.random((68, 2))
    for rows, x, y in (
        (slice(36, 42), 0.3, 0.4),
        (slice(42, 48), 0.7, 0.4),
        (30, 0.5, 0.6),
        (48, 0.35, 0.8),
        (54, 0.65, 0.8),
    ):
        face[rows] = x, y
    for i in range(n - 1):
        points[i] = side * (face * random.uniform(0.7, 0.9) + random.uniform(0, 0.1, 2))
    return points


def double_batch(n=4):
    random = torch.Generator().manual_seed(5)
    lr, hr = (
        torch.rand(n, 3, side, side, generator=random, dtype=torch.float64) for side in (8, 32)
    )
    return Batch(lr, hr, torch.from_numpy(landmarks(n, 32)), torch.tensor([0, 2, 2, 1][:n]))


def with_centres(net):
    """A float64 objective whose centres are somewhere."""
    objective = joint.PaperLoss(net, ALPHA, BETA1, BETA2).double()
    random = torch.Generator().manual_seed(7)
    objective.state.centres.copy_(
        torch.randn(objective.state.centres.shape, generator=random, dtype=torch.float64)
    )
    return objective


def test_paper_size():
    with torch.device("meta"):
        net = models.recogniser("Joint", 10, "paper", 4)
        alone = models.restorer("SRNET", 4, "paper"), models.recogniser("FRNET", 10, "paper")
    assert sum(p.numel() for p in net.parameters()) == sum(
        p.numel() for part in alone for p in part.parameters()
    )
    assert [sum(p.numel() for p in part.parameters()) for part in (net.restorer, *alone[:1])] == [
        17_795
    ] * 2
    weights = {name: w.shape for name, w in net.state_dict().items()}
    assert weights == {
        f"{part}.{name}": w.shape
        for part, one in zip(("restorer", "recogniser"), alone, strict=True)
        for name, w in one.state_dict().items()
    }
    objective = joint.PaperLoss(net)
    assert (objective.alpha, objective.beta1, objective.beta2) == (
        1,
        1,
        0.008,
    ) and objective.state.centres.shape == (10, 512)


def test_it_restores_and_recognises():
    net, lr = models.recogniser("Joint", 7, scale=4), torch.rand(2, 3, 16, 16)
    assert net.scale == 4
    with torch.no_grad():
        assert torch.equal(net.eval()(lr), net.restorer(lr))
        points = torch.from_numpy(landmarks(2, 64))
        sr, features, logits = net.train()(lr, points)
        assert sr.shape == (2, 3, 64, 64) and features.shape == (2, 256) and logits.shape == (2, 7)
        assert torch.equal(
            frnet.describe(net.recogniser.eval(), align(sr, points))[:, :256], features
        )


def test_the_gradients_are_equations_7_to_12():
    net, batch = tiny().double(), double_batch()
    objective = with_centres(net)
    centres, n = objective.state.centres.clone(), len(batch.hr)
    objective(net, batch)["loss"].backward()
    grads = {name: p.grad for name, p in net.named_parameters()}

    sr = net.restorer(batch.lr)
    restored = sr.detach().requires_grad_()
    features, logits = net.recogniser(align(restored, batch.points))
    x, head = features.detach(), net.recogniser.identity
    wrong = torch.softmax(logits.detach(), 1) - F.one_hot(
        batch.labels, 3
    )  # of equation 3: probability minus truth
    assert torch.allclose(grads["recogniser.identity.weight"], BETA1 * wrong.T @ x / n)
    assert torch.allclose(grads["recogniser.identity.bias"], BETA1 * wrong.sum(0) / n)
    by_feature = (
        BETA1 * wrong @ head.weight + BETA2 * (x - centres[batch.labels])
    ) / n  # equations 8 and 9
    named = [
        (f"recogniser.{name}", p)
        for name, p in net.recogniser.named_parameters()
        if "identity" not in name
    ]
    *own, by_face = torch.autograd.grad(
        features, [*(p for _, p in named), restored], by_feature.detach()
    )  # equation 7
    for (name, _), expected in zip(named, own, strict=True):
        assert torch.allclose(grads[name], expected, atol=1e-12), name
    by_pixel = (
        2 * (sr - batch.hr).detach() * (255 / 128) ** 2 / n
    )  # equation 12, from the paper's scale to [0, 1]
    gradient = ALPHA * by_pixel + by_face  # equation 11
    for (name, p), expected in zip(
        net.restorer.named_parameters(),
        torch.autograd.grad(sr, [*net.restorer.parameters()], gradient),
        strict=True,
    ):  # equation 10
        assert torch.allclose(grads[f"restorer.{name}"], expected, rtol=1e-9, atol=1e-12), name
        assert p.grad.abs().sum() > 0
    assert by_face.abs().sum() > 0


@pytest.mark.parametrize("part", ["restorer", "recogniser"])
def test_the_gradients_are_the_slopes_of_the_loss(part):
    net, batch = tiny().double(), double_batch()
    for w in net.recogniser.parameters():
        torch.nn.init.normal_(
            w, std=0.3
        )  # residual branches start so small that their PReLU has a kink everywhere
    start = with_centres(net)
    start_loss = copy.deepcopy(start)(net, batch)["loss"]
    weights = [*getattr(net, part).parameters()]
    random = torch.Generator().manual_seed(11)
    along = [torch.randn(w.shape, generator=random, dtype=torch.float64) for w in weights]
    slope = sum(
        (g * v).sum() for g, v in zip(torch.autograd.grad(start_loss, weights), along, strict=True)
    )

    def moved(by):
        with torch.no_grad():
            for w, v in zip(weights, along, strict=True):
                w += by * v
            found = copy.deepcopy(start)(net, batch)[
                "loss"
            ]  # a step moves the centres: each takes its own
            for w, v in zip(weights, along, strict=True):
                w -= by * v
        return found

    assert ((moved(1e-8) - moved(-1e-8)) / 2e-8).item() == pytest.approx(slope.item(), rel=1e-5)


POINTS, LABELS = landmarks(6, 48), np.array([0, 0, 1, 1, 2, 2])


def trained(net, objective, checkpoint, steps=5, precision="32-true"):
    fields = {
        "batch": 4,
        "patch": None,
        "lr": 1e-2,
        "schedule": "drops",
        "precision": precision,
        "steps": steps,
        "landmarks": POINTS,
        "labels": LABELS,
    }
    return train_tiny(net, noise(6, 48), "4x", objective, checkpoint, **fields)


def same(a, b):
    return all(torch.equal(p, q) for p, q in zip(a.parameters(), b.parameters(), strict=True))


def test_without_the_recognition_losses_it_is_srnet_alone(tmp_path):
    both = tiny()
    alone = copy.deepcopy(both.restorer)
    start = copy.deepcopy(alone)
    both, log, _ = trained(both, joint.PaperLoss(both, 1, 0, 0), tmp_path / "a")
    alone, other, _ = trained(alone, srnet.PaperLoss(), tmp_path / "b")
    assert (
        same(both.restorer, alone)
        and not same(alone, start)
        and [r["loss"] for r in log] == [r["loss"] for r in other]
    )


def test_with_one_seed_srnet_starts_as_it_does_alone():
    starts = []
    for build in (
        lambda: models.restorer("SRNET", 4),
        lambda: models.recogniser("Joint", 5, scale=4).restorer,
    ):
        torch.manual_seed(0)
        starts.append(build())
    assert same(*starts)


class OnSRNET(Objective):
    """FRNET's own objective, on what an SRNET that learns with it makes of the face."""

    adam = frnet.PaperLoss.adam

    def __init__(self, net):
        super().__init__()
        self.plain = frnet.PaperLoss(net.recogniser)
        self.state = self.plain.state

    def forward(self, net, batch):
        sr, *found = net(batch.lr, batch.points)

        def recogniser(faces):
            assert torch.equal(faces, align(sr, batch.points))
            return found

        return self.plain(recogniser, batch._replace(hr=sr))


def test_without_the_hallucination_loss_it_is_frnet_on_srnet(tmp_path):
    both, cascade = tiny(), tiny()
    without, plain = joint.PaperLoss(both, 0), OnSRNET(cascade)
    both, log, _ = trained(both, without, tmp_path / "a")
    cascade, other, _ = trained(cascade, plain, tmp_path / "b")
    assert same(both, cascade) and torch.equal(without.state.centres, plain.state.centres)
    assert not same(both.restorer, tiny().restorer) and [r["loss"] for r in log] == [
        r["loss"] for r in other
    ]


@pytest.mark.slow
def test_with_all_losses_it_is_neither(tmp_path):
    three = []
    for i, weights in enumerate([(1, 1, 0.008), (1, 0, 0), (0, 1, 0.008)]):
        net = tiny()
        three.append(trained(net, joint.PaperLoss(net, *weights), tmp_path / str(i))[0].restorer)
    assert not same(three[0], three[1]) and not same(three[0], three[2])


@pytest.mark.slow
def test_an_interrupted_run_ends_with_the_same_weights_and_centres(interrupted):
    def run(checkpoint):
        net = tiny()
        objective = joint.PaperLoss(net)
        net, _, facts = trained(net, objective, checkpoint)
        return net, objective.state.centres, facts["resumed"]

    (uninterrupted, centres, _), stopped = interrupted(run, 3)
    again, found, resumed = run(stopped)
    assert (
        resumed == 1
        and same(uninterrupted, again)
        and torch.equal(centres, found)
        and centres.any()
    )


def test_half_precision_trains_it_too(tmp_path):
    net = tiny()
    objective = joint.PaperLoss(net)
    assert np.isfinite(trained(net, objective, tmp_path / "a", 2, "bf16-mixed")[1][-1]["loss"])
    assert objective.state.centres.dtype == torch.float32


@pytest.mark.slow
def test_it_goes_through_the_same_fit_and_both_networks_come_out():
    fields = {
        "degradation": degrade.setting("4x"),
        "data": "celeba",
        "n_train": 8,
        "steps": 2,
        "batch": 4,
        "lr": 1e-3,
    }
    run = runs.fit(runs.Config(method="Joint", loss="paper", **fields))
    assert run.record["classes"] == run.model().recogniser.identity.out_features
    net = run.model()
    assert isinstance(net.restorer, srnet.SRNET) and isinstance(net.recogniser, frnet.FRNET)
    assert net(torch.rand(1, 3, 32, 32)).shape == (1, 3, 128, 128)
    assert runs.fit(runs.Config(method="Joint", loss="paper", **fields)).source == "cached"
