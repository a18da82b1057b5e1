"""CSRI: equation 4 and its parts, what native faces add, and what it is without either of its
losses."""

import copy

import numpy as np
import pytest
import torch
from conftest import noise, train_tiny
from lrface import degrade, models, runs
from lrface.models import csri
from lrface.models.objective import Batch
from lrface.models.recognition import centreface
from lrface.models.recognition.align import unaligned_crop
from lrface.models.sr import vdsr
from lrface.training.batches import TrainingData, batches
from lrface.training.hyperparameters import Hyperparameters, learning_rate
from torch import nn
from torch.nn import functional as F

NATIVE = torch.tensor([False, True, False, True, True])


def parts(seed=0, classes=3):
    torch.manual_seed(seed)
    restorer = vdsr.VDSR(4, 3, 4)
    return restorer, centreface.CentreFace(classes, (28, 24), (2, 2, 3), (1, 1), 5)


def tiny(seed=0):
    return csri.CSRI(*parts(seed))


def batch(native=None, n=5):
    random = torch.Generator().manual_seed(5)
    lr, hr = (
        torch.rand(n, 3, side, side, generator=random, dtype=torch.float64) for side in (8, 32)
    )
    return Batch(lr, hr, None, torch.tensor([0, 2, 2, 1, 0][:n]), native)


def gradients(objective, net, one):
    net.zero_grad()
    objective(net, one)["loss"].backward()
    return [torch.zeros_like(p) if p.grad is None else p.grad.clone() for p in net.parameters()]


def same(a, b):
    return all(torch.equal(p, q) for p, q in zip(a.parameters(), b.parameters(), strict=True))


def test_paper_size_is_that_of_its_parts():
    with torch.device("meta"):
        net = models.recogniser("CSRI", 10, "paper", 4)
        alone = models.restorer("VDSR", 4, "paper"), models.recogniser("CentreFace", 10, "paper")
    for part, one in zip((net.restorer, net.recogniser), alone, strict=True):
        assert {name: w.shape for name, w in part.state_dict().items()} == {
            name: w.shape for name, w in one.state_dict().items()
        }
    assert csri.PaperLoss().weight == 0.003


def test_it_restores_and_recognises():
    net, lr = models.recogniser("CSRI", 7, scale=2), torch.rand(2, 3, 32, 32)
    assert net.scale == 2 and models.RECOGNISERS["CSRI"].restores
    with torch.no_grad():
        assert torch.equal(net.eval()(lr), net.restorer(lr))
        sr, features, logits = net.train()(lr)
        assert sr.shape == (2, 3, 64, 64) and features.shape == (2, 128) and logits.shape == (2, 7)
        assert torch.equal(
            net.recogniser.eval()(unaligned_crop(sr, net.recogniser.input_size)), features
        )


def test_equation_4_by_hand():
    net, one = tiny().double(), batch(NATIVE)
    sr, _, logits = (x.detach() for x in net(one.lr))
    terms = {"synthetic": [], "native": [], "hallucination": []}
    for i in range(5):
        terms["native" if NATIVE[i] else "synthetic"].append(
            -float(torch.log_softmax(logits[i], 0)[one.labels[i]])
        )
        if not NATIVE[i]:
            terms["hallucination"].append(float(((sr[i] - one.hr[i]) ** 2).sum()))
    mean = {name: np.mean(values) for name, values in terms.items()}
    found = csri.PaperLoss(0.02)(net, one)
    assert float(found["loss"].detach()) == pytest.approx(
        mean["synthetic"] + mean["native"] + 0.02 * mean["hallucination"], rel=1e-9
    )
    assert {name: float(v) for name, v in found.items() if name != "loss"} == pytest.approx(
        mean, rel=1e-9
    )


def test_its_gradient_is_the_sum_of_those_of_its_parts():
    net, one = tiny().double(), batch(NATIVE)
    synthetic, native = (
        Batch(one.lr[rows], one.hr[rows], None, one.labels[rows]) for rows in (~NATIVE, NATIVE)
    )

    class Pixels(nn.Module):
        def forward(self, net, one):
            return {"loss": ((net(one.lr)[0] - one.hr) ** 2).sum((1, 2, 3)).mean()}

    def descend(objective, faces):
        return gradients(objective, net, faces)

    together = descend(csri.PaperLoss(0.02), one)
    by_part = zip(
        descend(csri.PaperLoss(0), synthetic),
        descend(csri.PaperLoss(0), native),
        descend(Pixels(), synthetic),
        strict=True,
    )
    for found, (a, b, c) in zip(together, by_part, strict=True):
        assert torch.allclose(found, a + b + 0.02 * c, rtol=1e-9, atol=1e-12)
    # both kinds reach both networks
    for single in (csri.PaperLoss(0), native), (Pixels(), synthetic):
        assert any(g.any() for g in descend(*single)[: len([*net.restorer.parameters()])])


def test_a_native_face_has_no_super_resolution_error():
    net, one = tiny().double(), batch(NATIVE)
    other = one._replace(hr=torch.where(NATIVE.view(-1, 1, 1, 1), 1 - one.hr, one.hr))
    loss = csri.PaperLoss(1.0)
    assert all(
        torch.equal(a, b)
        for a, b in zip(gradients(loss, net, one), gradients(loss, net, other), strict=True)
    )
    moved = one._replace(hr=torch.where(NATIVE.view(-1, 1, 1, 1), one.hr, 1 - one.hr))
    assert not torch.equal(gradients(loss, net, one)[0], gradients(loss, net, moved)[0])


@pytest.mark.parametrize("objective", [csri.PaperLoss(), csri.PaperLoss(0)], ids=["paper", "mixed"])
def test_a_batch_of_one_kind_has_nothing_of_the_other(objective):
    net, one = tiny().double(), batch()
    step_one = objective(net, one)
    marked = objective(net, one._replace(native=torch.zeros(5, dtype=torch.bool)))
    assert float(marked["loss"].detach()) == pytest.approx(
        float(step_one["loss"].detach()), rel=1e-12
    )
    assert marked["native"] == 0 and "native" not in step_one
    only = objective(net, one._replace(native=torch.ones(5, dtype=torch.bool)))
    assert only["synthetic"] == 0 and only.get("hallucination", 0) == 0
    assert torch.equal(only["loss"].detach(), only["native"])


LABELS = np.array([0, 0, 1, 1, 2, 2])
FIELDS = {"batch": 4, "patch": None, "lr": 1e-2, "schedule": "drops", "seed": 0}


def trained(net, objective, checkpoint, steps=4, precision="32-true"):
    more = {"steps": steps, "labels": LABELS, "precision": precision}
    return train_tiny(net, noise(6, 32), "4x", objective, checkpoint, **more, **FIELDS)


def test_without_super_resolution_and_natives_it_is_the_plain_chain(tmp_path):
    net, _, _ = trained(tiny(), csri.PaperLoss(0), tmp_path / "a")

    restorer, recogniser = parts()
    for module in (restorer, recogniser):
        module.to(memory_format=torch.channels_last)
    start = copy.deepcopy(restorer)
    adam = torch.optim.Adam(
        [*restorer.parameters(), *recogniser.parameters()], FIELDS["lr"], weight_decay=5e-4
    )
    some = TrainingData(noise(6, 32), degrade.setting("4x"), labels=LABELS)
    hyper = Hyperparameters(steps=4, **FIELDS)
    for step, one in enumerate(batches(some, hyper)):
        one = one.to(torch.device("cpu"))
        adam.param_groups[0]["lr"] = learning_rate("drops", FIELDS["lr"], step, 4)
        _, logits = recogniser(unaligned_crop(restorer(one.lr), recogniser.input_size))
        adam.zero_grad()
        F.cross_entropy(logits, one.labels).backward()
        adam.step()
    assert (
        same(net.restorer, restorer)
        and same(net.recogniser, recogniser)
        and not same(restorer, start)
    )


def test_with_all_its_losses_it_is_not(tmp_path):
    plain, _, _ = trained(tiny(), csri.PaperLoss(0), tmp_path / "a")
    paper, _, _ = trained(tiny(), csri.PaperLoss(), tmp_path / "b")
    assert not same(plain.restorer, paper.restorer)


def test_the_recogniser_learns_alone_while_the_restorer_is_held_still(tmp_path):
    net = tiny()
    start = copy.deepcopy(net)
    trained(net, csri.RecogniserLoss(), tmp_path / "a")
    assert same(net.restorer, start.restorer) and not same(net.recogniser, start.recogniser)
    assert all(p.requires_grad and p.grad is None for p in net.restorer.parameters())
    trained(net, csri.PaperLoss(), tmp_path / "b")  # and goes on together afterwards
    assert not same(net.restorer, start.restorer)


def test_with_one_seed_vdsr_starts_as_it_does_alone():
    starts = []
    for build in (
        lambda: models.restorer("VDSR", 4),
        lambda: models.recogniser("CSRI", 5, scale=4).restorer,
    ):
        torch.manual_seed(0)
        starts.append(build())
    assert same(*starts)


def test_an_interrupted_run_ends_with_the_same_weights(interrupted):
    def run(checkpoint):
        net, _, facts = trained(tiny(), csri.PaperLoss(), checkpoint)
        return net, facts["resumed"]

    (unbroken, _), stopped = interrupted(run, 2)
    again, resumed = run(stopped)
    assert resumed == 1 and same(unbroken, again)


def test_half_precision_trains_it_too(tmp_path):
    _, log, _ = trained(tiny(), csri.PaperLoss(), tmp_path / "a", 2, "bf16-mixed")
    assert np.isfinite(log[-1]["loss"])


@pytest.mark.slow
def test_both_steps_go_through_the_same_fit():
    fields = {
        "method": "CSRI",
        "degradation": degrade.setting("4x"),
        "data": "celeba",
        "n_train": 8,
        "steps": 2,
        "batch": 4,
        "lr": 1e-3,
    }
    first = runs.Config(loss="paper", **fields)
    run = runs.fit(runs.Config(loss="recogniser", init=first, **fields))
    assert np.isfinite(run.record["loss"]) and run.model()(torch.rand(1, 3, 32, 32)).shape == (
        1,
        3,
        128,
        128,
    )
    assert same(run.model().restorer, runs.fit(first).model().restorer)
