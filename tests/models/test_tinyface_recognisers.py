"""The recognition networks that study 05 compares, on unaligned faces: their tables of layers,
their losses, and that they learn."""

import math

import numpy as np
import pytest
import torch
import torchvision
from conftest import noise, train_tiny
from lrface import degrade, models, runs
from lrface.degrade import resize, resize_matrix
from lrface.errors import UsageError
from lrface.files import cache_dir
from lrface.models.layers import PReLUUnit
from lrface.models.losses import Classification, WithPreprocessor
from lrface.models.objective import Batch
from lrface.models.recognition import centreface, deepid2, rpcn, sphereface
from lrface.models.recognition.align import unaligned_crop
from lrface.training import cost_model
from torch import nn
from torch.nn import functional as F

NAMES = ("CentreFace", "SphereFace", "VGG-Face-like", "RPCN-like", "CSRI", "DeepID2")
OBJECTIVES = [
    (name, loss)
    for name in NAMES
    for loss in models.RECOGNISERS[name].objectives
    if (name, loss) != ("DeepID2", "paper")
]


def meta(name, classes=10):
    with torch.device("meta"):
        return models.recogniser(name, classes, "paper", 4)


def count(net):
    return sum(p.numel() for p in net.parameters())


def faces():
    """Eight faces of smooth noise, each another person's."""
    hr = resize(
        torch.rand(8, 3, 16, 16, generator=torch.Generator().manual_seed(2)), (64, 64)
    ).clamp(0, 1)
    return Batch(degrade.setting("2x")(hr), hr, None, torch.arange(8))


# --- unaligned faces ---


@pytest.mark.parametrize("size", [(112, 96), (55, 47), (124, 108), (64, 64)])
def test_an_unaligned_crop_is_the_middle_of_the_resized_square(size):
    picture = torch.rand(2, 3, 64, 64, dtype=torch.float64)
    matrix = torch.from_numpy(resize_matrix(64, max(size)).copy())
    square = torch.einsum("hi,ncij,wj->nchw", matrix, picture, matrix)
    left = (size[0] - size[1]) // 2
    assert torch.allclose(
        unaligned_crop(picture, size), square[:, :, :, left : left + size[1]], atol=1e-12
    )


def test_a_wide_size_loses_top_and_bottom():
    picture = torch.arange(8.0).view(1, 1, 8, 1).expand(1, 3, 8, 8)
    assert torch.allclose(
        unaligned_crop(picture, (4, 8))[0, 0, :, 0], torch.arange(2.0, 6.0), atol=1e-6
    )


def test_a_crop_that_is_not_square_is_refused_and_gradients_flow():
    with pytest.raises(UsageError, match="square crops"):
        unaligned_crop(torch.rand(1, 3, 64, 60), (56, 48))
    picture = torch.rand(1, 3, 64, 64, requires_grad=True)
    unaligned_crop(picture, (56, 48)).sum().backward()
    columns = picture.grad.abs().sum((0, 1, 2))
    assert columns[32] > 0 and columns[0] == 0  # an eighth of the width is cut off


def test_native_travels_with_the_batch():
    one = faces()._replace(native=torch.arange(8) > 3)
    assert (
        torch.equal(one.to(torch.device("cpu")).native, one.native)
        and faces().to(torch.device("cpu")).native is None
    )


# --- layers, from the tables ---


def test_centreface_is_caffe_faces_table():
    net = meta("CentreFace")
    # convolution, its inputs and outputs, whether it has a bias: conv1a, conv1b, then the units,
    # section by section
    table = [
        (3, 32, True),
        (32, 64, True),
        *[(64, 64, False)] * 2,
        (64, 128, True),
        *[(128, 128, False)] * 4,
    ]
    table += [
        (128, 256, True),
        *[(256, 256, False)] * 10,
        (256, 512, True),
        *[(512, 512, False)] * 6,
    ]
    assert len(table) == 27
    # 112 -> 110 -> 108 -> 54 -> 52 -> 26 -> 24 -> 12 -> 10 -> 5 rows, 96 -> 94 -> 92 -> 46 -> 44 ->
    # 22 -> 20 -> 10 -> 8 -> 4 columns
    expected = sum(9 * n_in * n_out + bias * n_out + n_out for n_in, n_out, bias in table)
    expected += 512 * 5 * 4 * 512 + 512 + 512 * 10 + 10
    assert count(net) == expected
    assert net.input_size == (112, 96) and sum(isinstance(m, nn.PReLU) for m in net.modules()) == 27


def test_sphereface_20_is_its_table():
    net = meta("SphereFace")
    expected, n_in = 0, 3
    for width, units in ((64, 1), (128, 2), (256, 4), (512, 1)):
        expected += 9 * n_in * width + 2 * width + 2 * units * (9 * width * width + width)
        n_in = width
    # 112x96 halved four times is 7x6; directions have no bias
    assert count(net) == expected + 512 * 7 * 6 * 512 + 512 + 512 * 10
    assert net.input_size == (112, 96) and net.identity.bias is None


def test_vgg_face_is_vgg_16_and_its_normalisations():
    net = meta("VGG-Face-like")
    convolutions = [m for m in net.modules() if isinstance(m, nn.Conv2d)]
    assert sum(p.numel() for m in convolutions for p in m.parameters()) == 14_714_688
    norms = 2 * (2 * 64 + 2 * 128 + 3 * 256 + 6 * 512)
    dense = 512 * 7 * 7 * 4096 + 4096 + 4096 * 4096 + 4096 + 4096 * 10 + 10
    assert count(net) == 14_714_688 + norms + dense
    # 138,357,544 with ImageNet's thousand classes and no normalisation
    assert count(meta("VGG-Face-like", 1000)) - norms == 138_357_544


@pytest.mark.slow
def test_vgg_face_computes_what_torchvisions_vgg_16_does():
    net = models.recogniser("VGG-Face-like", 3)
    theirs = torchvision.models.VGG(
        torchvision.models.vgg.make_layers(
            [8, 8, "M", 16, 16, "M", *[32] * 3, "M", *[64] * 3, "M", *[64] * 3, "M"],
            batch_norm=True,
        )
    ).features
    theirs.load_state_dict(net.body.state_dict())
    x = torch.rand(2, 3, 64, 64)
    middle = x * 255 - torch.tensor([129.1863, 104.7624, 93.5940]).view(1, 3, 1, 1)
    expected = net.feature(theirs.eval()(middle).flatten(1))
    assert (
        torch.allclose(net.eval()(x), expected, atol=1e-5)
        and expected.shape == (2, 128)
        and (expected >= 0).all()
    )


@pytest.mark.parametrize("name", ["CentreFace", "SphereFace"])
def test_residual_branches_really_start_near_zero(name):
    torch.manual_seed(0)
    net = models.recogniser(name, 3, "paper" if name == "CentreFace" else "small")
    inner = {
        id(m)
        for unit in net.modules()
        if isinstance(unit, PReLUUnit)
        for m in unit.modules()
        if isinstance(m, nn.Conv2d)
    }
    for m in net.modules():
        if isinstance(m, nn.Conv2d):
            fan_in = m.weight[0].numel()
            expected = 0.01 if id(m) in inner else fan_in**-0.5
            assert m.weight.std().item() == pytest.approx(
                expected, rel=4 / math.sqrt(m.weight.numel())
            ), tuple(m.weight.shape)
            assert (m.bias is None) == (id(m) in inner)
    x = torch.rand(1, 16, 7, 6)
    torch.manual_seed(0)
    assert (PReLUUnit(16)(x) - x).abs().max() < 0.05


@pytest.mark.parametrize("name", NAMES[:4])
def test_features_logits_and_sizes(name):
    net = models.recogniser(name, 7)
    assert not models.RECOGNISERS[name].restores and not models.RECOGNISERS[name].needs_landmarks
    x = torch.rand(2, 3, *net.input_size)
    features = net.eval()(x)
    assert features.shape == (2, 128) and torch.allclose(
        features[:1], net(x[:1]), rtol=1e-5, atol=1e-3
    )
    if name == "RPCN-like":
        small, large = net.train()(x, x)
        assert [t.shape for t in small] == [t.shape for t in large] == [x.shape, (2, 128), (2, 7)]
        assert torch.equal(small[1], features)
    else:
        mine, logits = net.train()(x)
        assert mine.shape == (2, 128) and logits.shape == (2, 7)


# --- A-Softmax ---


def brute(angle, m=4):
    """psi as section 3.2 defines it, by looking for the piece that holds the angle."""
    k = next(k for k in range(m) if k * math.pi / m <= angle <= (k + 1) * math.pi / m)
    return (-1) ** k * math.cos(m * angle) - 2 * k


def test_psi_is_the_papers_and_so_is_its_slope():
    angles = np.linspace(0.01, math.pi - 0.01, 97)
    cosines = torch.tensor(np.cos(angles), requires_grad=True)
    found = sphereface.psi(cosines)
    assert found.tolist() == pytest.approx([brute(t) for t in angles], abs=1e-9)
    found.sum().backward()
    step = 1e-6
    slopes = [
        (brute(math.acos(math.cos(t) + step)) - brute(math.acos(math.cos(t) - step))) / (2 * step)
        for t in angles
    ]
    assert cosines.grad.tolist() == pytest.approx(slopes, rel=1e-4, abs=1e-4)
    ends = sphereface.psi(torch.tensor([1.0, -1.0, 1.0000001]))
    assert ends.tolist() == pytest.approx([1, -7, 1], abs=1e-5)
    assert (np.diff([brute(t) for t in angles]) < 0).all()


def test_the_margin_is_on_the_own_identity_alone():
    random = torch.Generator().manual_seed(3)
    features, weight = (torch.randn(n, 6, generator=random, dtype=torch.float64) for n in (4, 5))
    labels, plain = torch.tensor([0, 4, 2, 2]), 7.0
    logits = features @ (weight / weight.norm(dim=1, keepdim=True)).T
    found = sphereface.margin_logits(features, logits, labels, plain)
    for i in range(4):
        length = float(features[i].norm())
        for j in range(5):
            cosine = float(features[i] @ weight[j] / (features[i].norm() * weight[j].norm()))
            own = (brute(math.acos(cosine)) + plain * cosine) / (1 + plain)
            assert float(found[i, j]) == pytest.approx(
                length * (own if j == labels[i] else cosine), rel=1e-9
            )


def test_logits_are_length_times_cosine_whatever_the_weights_length():
    net = models.recogniser("SphereFace", 3).train()
    x = torch.rand(2, 3, 56, 48)
    features, logits = net(x)
    with torch.no_grad():
        net.identity.weight.mul_(3)
    assert torch.allclose(net(x)[1], logits, atol=1e-5)
    cosines = F.cosine_similarity(features[:, None], net.identity.weight[None], dim=2)
    assert torch.allclose(logits, features.norm(dim=1, keepdim=True) * cosines, atol=1e-5)


def test_the_annealing_counts_steps_and_stops_at_five():
    memory = sphereface.Annealing()
    assert [float(memory()) for _ in range(3)] == pytest.approx(
        [1000 / (1 + 0.12 * s) for s in (1, 2, 3)]
    )
    assert memory.state_dict()["step"] == 3 and not [*memory.parameters()]
    memory.step.fill_(1657)
    assert float(memory()) > 5 and float(memory()) == 5


# --- objectives ---


def test_centreface_adds_the_centre_loss_to_the_softmax_of_unaligned_faces():
    torch.manual_seed(0)
    net, one = centreface.CentreFace(8, (28, 24), (2, 2, 3), (1, 1), 5).train(), faces()
    features, logits = (x.detach() for x in net(unaligned_crop(one.hr, (28, 24))))
    plain = F.cross_entropy(logits, one.labels)
    assert torch.equal(Classification()(net, one)["loss"].detach(), plain)
    objective = centreface.PaperLoss(net)
    first = objective(net, one)
    assert float(first["loss"].detach()) == pytest.approx(
        float(plain + 0.004 * features.square().sum(1).mean()), rel=1e-5
    )
    # eight identities, a face each: the centres went a quarter of the way
    assert torch.allclose(objective.state.centres, features / 4, atol=1e-5)


def test_deepid2_on_unaligned_faces_has_the_same_losses():
    torch.manual_seed(0)
    net, one = models.recogniser("DeepID2", 8).train(), faces()
    objectives = models.RECOGNISERS["DeepID2"].objectives
    aligned, unaligned = objectives["paper"](net), objectives["whole"](net)
    features, logits = net(unaligned_crop(one.hr, deepid2.SIZE))
    expected = F.cross_entropy(logits, one.labels) + 0.05 * deepid2.verification(
        features, one.labels
    )
    assert float(unaligned(net, one)["loss"].detach()) == pytest.approx(
        float(expected.detach()), rel=1e-6
    )
    assert aligned.needs_landmarks and not unaligned.needs_landmarks
    assert (
        WithPreprocessor(models.restorer("bicubic", 2), aligned).needs_landmarks
        and not WithPreprocessor(models.restorer("bicubic", 2), unaligned).needs_landmarks
    )


def test_rpcn_shares_a_part_of_each_layers_filters():
    torch.manual_seed(0)
    net = models.recogniser("RPCN-like", 3)
    assert [(layer.shared.out_channels, layer.own[0].out_channels) for layer in net.layers] == [
        (3, 9),
        (4, 4),
        (6, 2),
    ]
    x = torch.rand(2, 3, 64, 64)
    (small, _, _), (large, _, _) = net.train()(x, x)
    assert not torch.allclose(small, large)
    for layer in net.layers:
        layer.own[1].load_state_dict(layer.own[0].state_dict())
    (small, _, _), (large, _, _) = net(x, x)
    assert torch.equal(small, large)


def touched(net, objective, one):
    """Names of the parameters that the objective's loss gives a gradient other than zero."""
    net.zero_grad()
    objective(net, one)["loss"].backward()
    return {name for name, p in net.named_parameters() if p.grad is not None and p.grad.any()}


def test_rpcn_leaves_native_faces_out_where_they_have_no_truth():
    torch.manual_seed(0)
    net, one = rpcn.RPCN(8, (4, 4, 4), 6).train(), faces()
    native = torch.arange(8) % 2 == 0
    marked = one._replace(native=native)
    other = marked._replace(hr=torch.where(native.view(-1, 1, 1, 1), 1 - one.hr, one.hr))
    part = Batch(one.lr[~native], one.hr[~native], None, one.labels[~native])
    sr, paper = rpcn.SuperResolution(), rpcn.PaperLoss()
    assert torch.equal(sr(net, marked)["loss"], sr(net, other)["loss"])
    assert sr(net, marked)["loss"].item() == pytest.approx(sr(net, part)["loss"].item(), rel=1e-5)
    found = paper(net, marked)
    assert found["hr_branch"].item() == pytest.approx(
        paper(net, part)["hr_branch"].item(), rel=1e-5
    )
    assert found["lr_branch"].item() == pytest.approx(paper(net, one)["lr_branch"].item(), rel=1e-6)
    everything = {name for name, _ in net.named_parameters()}
    head = {name for name in everything if name.startswith(("feature", "identity"))}
    picture = {name for name in everything if name.startswith("picture")}
    assert (
        touched(net, sr, marked) == everything - head
        and touched(net, paper, marked) == everything - picture
    )
    natives = touched(net, paper, one._replace(native=torch.ones(8, dtype=torch.bool)))
    assert natives == {name for name in everything - picture if ".own.1." not in name}


def test_rpcn_pays_hubers_loss_for_both_faces():
    torch.manual_seed(0)
    net, one = models.recogniser("RPCN-like", 8).train(), faces()
    small, large = (
        unaligned_crop(resize(one.lr, (64, 64)), (64, 64)),
        unaligned_crop(one.hr, (64, 64)),
    )
    expected = 0
    for face, _, _ in net(small, large):
        difference = (face - large).abs()
        expected += torch.where(
            difference < 0.1, difference**2 / 2, 0.1 * (difference - 0.05)
        ).mean()
    assert rpcn.SuperResolution()(net, one)["loss"].item() == pytest.approx(
        expected.item(), rel=1e-5
    )


@pytest.mark.slow
@pytest.mark.parametrize("name, loss", OBJECTIVES)
def test_it_learns_eight_faces_of_noise(name, loss):
    torch.manual_seed(0)
    net, one = models.recogniser(name, 8, scale=2).train(), faces()
    objective = models.RECOGNISERS[name].objectives[loss](net)
    optimiser = torch.optim.Adam(net.parameters(), 1e-3, **objective.adam)
    losses = []
    for _ in range(12):
        found = objective(net, one)
        losses.append(float(found["loss"].detach()))
        optimiser.zero_grad()
        found["loss"].backward()
        optimiser.step()
    assert np.isfinite(losses).all() and losses[-1] < 0.85 * losses[0], losses


@pytest.mark.slow
@pytest.mark.parametrize("name, loss", OBJECTIVES)
def test_a_step_is_planned_without_a_number_native_faces_or_not(name, loss):
    config = runs.Config(
        method=name,
        degradation=degrade.setting("4x"),
        data="celeba",
        steps=3,
        batch=4,
        loss=loss,
        size="paper",
    )
    found = cost_model.cost(config, 10)
    assert found.parameters == count(meta(name)) and found.macs > 0
    with torch.device("meta"):
        net = config.build(10)
        one = Batch(
            torch.zeros(4, 3, 32, 32),
            torch.zeros(4, 3, 128, 128),
            None,
            torch.zeros(4, dtype=torch.int64),
        )
        one = one._replace(native=torch.zeros(4, dtype=torch.bool))
        models.RECOGNISERS[name].objectives[loss](net)(net, one)["loss"].backward()


@pytest.mark.slow
@pytest.mark.parametrize(
    "name, loss", [("SphereFace", "paper"), ("VGG-Face-like", "softmax"), ("CentreFace", "paper")]
)
def test_an_interrupted_run_ends_with_the_same_weights_and_memory(name, loss, interrupted):
    def run(checkpoint):
        torch.manual_seed(0)
        net = models.recogniser(name, 3)
        objective = models.RECOGNISERS[name].objectives[loss](net)
        fields = {
            "batch": 4,
            "patch": None,
            "lr": 1e-3,
            "schedule": "constant",
        }
        fields |= {"labels": np.array([0, 0, 1, 1, 2, 2]), "steps": 3}
        faces = noise(6, 64)
        net, _, facts = train_tiny(net, faces, "2x", objective, checkpoint, **fields)
        state = objective.state or nn.Identity()
        tensors = [*net.state_dict().values(), *state.buffers()]
        return torch.cat([t.double().flatten() for t in tensors]), facts["resumed"]

    (unbroken, _), stopped = interrupted(run, 2)
    again, resumed = run(stopped)
    assert resumed == 1 and torch.equal(unbroken, again)


def test_a_method_says_which_losses_it_has():
    with pytest.raises(
        ValueError, match="VGG-Face-like has no loss 'paper': choose one of softmax"
    ):
        runs.Config(
            method="VGG-Face-like", degradation=degrade.HR, data="celeba", steps=1, loss="paper"
        )


@pytest.mark.slow
@pytest.mark.parametrize("loss, aligns", [("paper", True), ("whole", False)])
def test_landmarks_are_detected_only_for_the_objective_that_aligns(loss, aligns):
    fields = {"degradation": degrade.HR, "data": "celeba", "n_train": 4, "steps": 1, "batch": 4}
    assert np.isfinite(runs.fit(runs.Config(method="DeepID2", loss=loss, **fields)).record["loss"])
    assert any(cache_dir("landmarks").glob("*.npy")) == aligns
