"""DeepID2, ANet-like and PANDA-like: their layers, and what they learn."""

import numpy as np
import pytest
import torch
from conftest import noise
from lrface import data, degrade, models, runs
from lrface.errors import LrfaceError, UsageError
from lrface.models.layers import LocallyShared
from lrface.models.objective import Batch
from lrface.models.recognition import deepid2
from torch.nn import functional as F


@pytest.mark.parametrize("regions", [(1, 1), (2, 2), (3, 2), (5, 4)])
def test_each_region_has_a_kernel_of_its_own(regions):
    torch.manual_seed(0)
    layer, x = LocallyShared(3, 4, 2, regions).double(), torch.rand(2, 3, 6, 5, dtype=torch.float64)
    found = layer(x)
    assert found.shape == (2, 4, 5, 4)
    kernels = layer.conv.weight.unflatten(0, (*regions, 4))
    biases = layer.conv.bias.unflatten(0, (*regions, 4))
    for row in range(5):
        for column in range(4):
            own = row * regions[0] // 5, column * regions[1] // 4
            here = F.conv2d(x[:, :, row : row + 2, column : column + 2], kernels[own], biases[own])
            assert torch.allclose(found[:, :, row, column], here[:, :, 0, 0], atol=1e-12)


def test_the_layers_of_deepid2():
    net = models.recogniser("DeepID2", 10, "paper")
    # 4x4x3x20; 3x3x20x40; four quarters of 3x3x40x60; twelve places of 2x2x60x80; 160 from 5x4x60
    # and 4x3x80; with their biases
    expected = (
        980
        + 7240
        + 4 * 21_660
        + 12 * 19_280
        + (1200 * 160 + 160)
        + (960 * 160 + 160)
        + (160 * 10 + 10)
    )
    assert sum(p.numel() for p in net.parameters()) == expected
    features, logits = net.train()(torch.rand(2, 3, *deepid2.SIZE))
    assert features.shape == (2, 160) and logits.shape == (2, 10) and (features >= 0).all()


def test_the_verification_signal_against_loops():
    torch.manual_seed(1)
    features, labels = (
        torch.randn(9, 5, dtype=torch.float64),
        torch.tensor([0, 1, 0, 2, 2, 2, 3, 4, 0]),
    )
    same, different = [], []
    for i in range(9):
        for j in range(i):
            distance = float(
                (features[i] / features[i].norm() - features[j] / features[j].norm()).norm()
            )
            (same if labels[i] == labels[j] else different).append(
                distance**2 / 2 if labels[i] == labels[j] else max(0, 1 - distance) ** 2 / 2
            )
    assert float(deepid2.verification(features, labels)) == pytest.approx(
        (np.mean(same) + np.mean(different)) / 2
    )
    alike = torch.ones(
        4, 3, requires_grad=True
    )  # as dead units make them: the slope of a distance of 0 must not spread
    deepid2.verification(alike, torch.tensor([0, 0, 1, 1])).backward()
    assert alike.grad.isfinite().all()
    assert (
        float(deepid2.verification(features[:2], labels[:2])) >= 0
    )  # no pair of the same person in the batch


@pytest.mark.slow
@pytest.mark.parametrize("method", ["ANet-like", "PANDA-like"])
def test_attributes_can_be_learnt(method):
    torch.manual_seed(0)
    net = models.recogniser(method, 2)
    hr, points = noise(16, 64).pictures.float() / 255, torch.full((16, 68, 2), torch.nan)
    labels = torch.stack([torch.arange(16) % 2, torch.arange(16) // 8], 1).float()
    hr = hr * 0.2 + 0.8 * labels[:, :1, None, None]  # the first is how bright the face is
    objective = models.find(method).objectives["logistic"](net)
    optimiser = torch.optim.Adam(net.parameters(), 1e-3)
    for _ in range(30):
        loss = objective(net.train(), Batch(hr, hr, points, labels))["loss"]
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    _, logits = net(hr, points)
    assert ((logits[:, 0] > 0) == labels[:, 0].bool()).all()
    assert net.eval()(hr, points).shape[0] == 16


def test_a_run_learns_the_sets_attributes_and_its_key_knows_them(own_places):
    faces = data.load("celeba", "train")
    names, labels = faces.classes("attributes")
    assert (
        names == list(faces.attributes)
        and labels.shape == (len(faces), len(names))
        and set(np.unique(labels)) <= {0, 1}
    )
    config = runs.Config(
        method="ANet-like", degradation=degrade.HR, data="celeba", steps=2, batch=2, loss="logistic"
    )
    run = runs.fit(config, faces)
    assert run.record["classes"] == len(names) and run.model().attribute.out_features == len(names)
    changed = faces.where(np.ones(len(faces), bool))
    changed.table[names[0]] = ~changed.table[names[0]]
    assert (
        changed.fingerprint == faces.fingerprint
        and runs.key_for(config, changed) != runs.key_for(config, faces) == run.record["key"]
    )
    who = config.model_copy(update={"method": "FRNET", "loss": "softmax"})
    assert runs.key_for(who, changed) == runs.key_for(who, faces)


def test_a_set_without_attributes_is_refused(own_places):
    faces = data.load("celeba", "train")
    nothing = faces.where(np.ones(len(faces), bool))
    object.__setattr__(nothing, "attributes", ())
    with pytest.raises(LrfaceError, match="knows no attributes"):
        nothing.classes("attributes")
    with pytest.raises(UsageError, match="unknown recognition network"):
        models.recogniser("ANet", 4)
