"""Restorers: their papers' sizes, their shapes, and a fingerprint of their behaviour that guards
released checkpoints."""

import json
import sys
import tempfile
from pathlib import Path

import pytest
import torch
from conftest import noise, train_tiny
from lrface import models
from lrface.degrade import resize_matrix
from lrface.errors import UsageError
from lrface.models import losses
from lrface.models.objective import Batch
from lrface.training.config import LOOP_VERSION

PARAMETERS = {  # the papers' released codes, or their tables, counted
    ("SRCNN", 2): 20_099,
    ("SRCNN", 8): 20_099,
    ("SRNET", 4): 17_795,
    ("EDSR", 2): 1_369_859,
    ("EDSR", 3): 1_554_499,
    ("EDSR", 4): 1_517_571,
    ("EDSR", 8): 1_665_283,
    ("RCAN", 2): 15_444_643,
    ("RCAN", 3): 15_629_283,
    ("RCAN", 4): 15_592_355,
    ("RCAN", 8): 15_740_067,
    ("RDN", 2): 22_123_395,
    ("RDN", 3): 22_308_035,
    ("RDN", 4): 22_271_107,
    ("HAN", 2): 15_924_033,
    ("HAN", 4): 16_071_745,
    ("HAN", 8): 16_219_457,
    ("WaveletSRNet", 2): 46_327_372,
    ("WaveletSRNet", 4): 51_353_968,
    ("WaveletSRNet", 8): 74_999_296,
    ("DICNet", 4): 17_389_434,
    ("DICNet", 8): 21_803_849,
    ("HiFaceGAN", 4): 130_568_012,
    ("VDSR", 2): 668_227,
    ("VDSR", 8): 668_227,
    ("DRRN", 4): 297_216
    + 2 * 2 * 9 * 128
    + 3 * 128
    + 3
    + 2 * (3 + 19 * 128),  # colours, biases, normalisations
}
NEAR_BICUBIC = ("VDSR", "DRRN")
TRAINED = [name for name, m in models.METHODS.items() if m.trainable]
STORED = Path(__file__).with_name("behaviour.json")


@pytest.mark.slow
@pytest.mark.parametrize("name, scale", PARAMETERS)
def test_paper_sizes(name, scale):
    with torch.device("meta"):
        net = models.method(name).build(scale, "paper")
    assert sum(p.numel() for p in net.parameters()) == PARAMETERS[name, scale]


@pytest.mark.parametrize(
    "name, scale",
    [
        (name, scale)
        for name, m in models.METHODS.items()
        for scale in (m.scales[:1] if name.startswith("CBN-") else m.scales)
    ],
)
def test_shapes_of_faces_that_are_not_square(name, scale):
    net, face = models.restorer(name, scale).eval(), models.method(name).face_size
    h, w = (face // scale, face // scale) if face else (8, 12)  # some work at one size only
    assert net.scale == scale
    assert net(torch.rand(2, 3, h, w)).shape == (2, 3, h * scale, w * scale)


def test_drrn_shares_its_convolutions_and_counts_them_once():
    with torch.device("meta"):
        net = models.restorer("DRRN", 4, "paper")
    weights = {id(m): m.weight for m in net.modules() if isinstance(m, torch.nn.Conv2d)}.values()
    assert (
        sum(w.numel() for w in weights) == 297_216 + 2 * 2 * 9 * 128 == 301_824
    )  # of one channel, and two more in and out
    # and twenty convolutions a pixel are computed with them
    assert models.cost(net, 8)["macs"] >= (2 * 27 * 128 + 18 * 9 * 128 * 128) * 32 * 32


@pytest.mark.parametrize("size", ["paper", "small"])
@pytest.mark.parametrize("name", NEAR_BICUBIC)
def test_a_residual_network_starts_near_bicubic(name, size):
    torch.manual_seed(0)
    net, lr = models.restorer(name, 2, size).eval(), torch.rand(1, 3, 16, 16)
    difference = net(lr) - models.restorer("bicubic", 2)(lr)
    assert 0 < difference.square().mean().sqrt() < 0.05


def test_bicubic_is_the_matrix():
    lr = torch.rand(1, 3, 16, 16, dtype=torch.float64)
    up = torch.from_numpy(resize_matrix(16, 64).copy())
    assert torch.allclose(models.restorer("bicubic", 4)(lr), up @ lr @ up.T, atol=1e-12)


def test_cost_of_srcnn():
    # SRCNN's multiply-accumulates at 128x128: (81*3*64 + 64*32 + 25*32*3) a pixel, and at most the
    # whole matrices of the enlargement
    cost = models.cost(models.restorer("SRCNN", 4, "paper"), 32)
    convolutions = (81 * 3 * 64 + 64 * 32 + 25 * 32 * 3) * 128 * 128
    assert cost["parameters"] == 20_099
    dense = 3 * (32 * 32 * 128 + 128 * 32 * 128)
    assert convolutions < cost["macs"] <= convolutions + dense


def test_wrong_names_and_scales_are_said():
    with pytest.raises(UsageError, match="did you mean 'EDSR'"):
        models.restorer("EDRS", 4)
    with pytest.raises(UsageError, match="does not work at 3x: choose one of 2x, 4x, 8x"):
        models.restorer("WaveletSRNet", 3)
    with pytest.raises(UsageError, match="unknown size"):
        models.restorer("EDSR", 4, "huge")
    with pytest.raises(UsageError, match="unknown embedder"):
        models.embedder("arcface")


def test_a_method_of_ones_own(monkeypatch):
    monkeypatch.setattr(models, "METHODS", dict(models.METHODS))
    models.register(
        "nearest", lambda scale, size: torch.nn.Upsample(scale_factor=scale), source="a student"
    )
    assert models.restorer("nearest", 2)(torch.rand(1, 3, 4, 4)).shape == (1, 3, 8, 8)


def behaviour(name, scale=4):
    """One forward and one training step at a fixed seed, as a few numbers."""
    method = models.method(name)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = models.restorer(name, scale)
        side = method.face_size // scale if method.face_size else 8
        lr, hr = torch.rand(2, 3, side, side), torch.rand(2, 3, side * scale, side * scale)
        points = torch.rand(2, 68, 2) * side * scale if method.needs_landmarks else None
        objective = (
            method.objectives["paper"](net)
            if "paper" in method.objectives
            else losses.Pixelwise("l1")
        )
    before = net.eval()(lr).detach()
    if method.fit_closed_form:
        method.fit_closed_form(net, iter([(lr, hr)]))
        found = {}
    else:
        optimiser = torch.optim.Adam([p for p in net.parameters() if p.requires_grad], 1e-3)
        found = objective(net.train(), Batch(lr, hr, points))
        found["loss"].backward()
        optimiser.step()
    after = net.eval()(lr).detach()
    numbers = [
        before.mean(),
        before.std(),
        before[0, 1, 3, 5],
        *(v.detach() for v in found.values()),
        after.mean(),
        after[1, 2, 7, 30],
    ]
    return {"version": method.version, "numbers": [float(f"{float(v):.6g}") for v in numbers]}


def recogniser_behaviour(name):
    """A training step of each of a recogniser's objectives at a fixed seed, as a few numbers."""
    method, numbers = models.RECOGNISERS[name], []
    for build in method.objectives.values():
        with torch.random.fork_rng():
            torch.manual_seed(0)
            net = models.recogniser(name, 3, scale=4)
            lr, hr, points = (
                torch.rand(2, 3, 8, 8),
                torch.rand(2, 3, 32, 32),
                torch.rand(2, 68, 2) * 32,
            )
            objective = build(net)
        labels = (
            torch.tensor([2, 0])
            if method.labels == "identity"
            else torch.tensor([[0.0, 0, 1], [1, 0, 1]])
        )
        optimiser = torch.optim.Adam(net.parameters(), 1e-4)
        for _ in range(2):  # of the centres only the second step sees anything
            found = objective(net.train(), Batch(lr, hr, points, labels))
            optimiser.zero_grad()
            found["loss"].backward()
            optimiser.step()
            numbers += [v.detach() for v in found.values()]
        numbers += [w.detach().abs().mean() for w in (*net.parameters(),)[::16]]
    return {"version": method.version, "numbers": [float(f"{float(v):.6g}") for v in numbers]}


def loop_behaviour():
    """Five steps of the training loop itself: order, mirroring, cutting, noise, schedule,
    optimiser."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = models.restorer("EDSR", 4)
    fields = {
        "batch": 2,
        "patch": 32,
        "lr": 1e-3,
        "schedule": "cosine",
        "seed": 5,
        "steps": 5,
    }
    with tempfile.TemporaryDirectory() as folder:
        objective, checkpoint = losses.Pixelwise("l1"), Path(folder, "c")
        net, log, _ = train_tiny(net, noise(3, 64), "4x_DN", objective, checkpoint, **fields)
    weights = torch.cat([p.detach().flatten() for p in net.parameters()])
    numbers = (
        [row["loss"] for row in log]
        + [row["lr"] for row in log]
        + [weights.abs().sum(), weights.std()]
    )
    return {"version": LOOP_VERSION, "numbers": [float(f"{float(v):.6g}") for v in numbers]}


def all_behaviour():
    recognisers = {name: recogniser_behaviour(name) for name in models.RECOGNISERS}
    return {name: behaviour(name) for name in TRAINED} | recognisers | {"loop": loop_behaviour()}


def test_the_loop_changes_only_with_its_version():
    stored, now = json.loads(STORED.read_text())["loop"], loop_behaviour()
    assert now["version"] == stored["version"], (
        "store the loop's behaviour with `PYTHONPATH=tests python tests/models/test_restorers.py`"
    )
    assert now["numbers"] == pytest.approx(stored["numbers"], rel=2e-4, abs=2e-5), (
        "the loop changed: raise loop.VERSION"
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", [*TRAINED, *models.RECOGNISERS])
def test_behaviour_changes_only_with_the_version(name):
    now = recogniser_behaviour(name) if name in models.RECOGNISERS else behaviour(name)
    stored = json.loads(STORED.read_text())[name]
    if now["version"] != stored["version"]:
        pytest.fail(
            f"{name} is now version {now['version']}: "
            "store it with `PYTHONPATH=tests python tests/models/test_restorers.py`"
        )
    assert now["numbers"] == pytest.approx(stored["numbers"], rel=2e-4, abs=2e-5), (
        f"{name} behaves otherwise than version {stored['version']} did: "
        "raise VERSION in its module (trained networks are then retired)"
    )


if __name__ == "__main__":
    STORED.write_text(json.dumps(all_behaviour(), indent=1) + "\n")
    sys.stdout.write(STORED.read_text())
