"""A user's own networks, judges, checkpoints and degradations: never mistaken for others."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from lrface import degrade, models, runs
from lrface.errors import LrfaceError, UsageError
from lrface.models import own
from lrface.models.recognition import judges
from lrface.training.config import key
from safetensors.torch import save_file
from torch import nn


class Mine(nn.Module):
    def __init__(self, scale, gain=1.0, drop=0.0):
        super().__init__()
        self.conv = nn.Conv2d(3, 3 * scale**2, 3, padding=1)
        self.gain, self.up, self.drop = gain, nn.PixelShuffle(scale), nn.Dropout(drop)

    def forward(self, lr):
        return self.gain * self.up(self.drop(self.conv(lr)))


class Squared(nn.Module):
    needs_landmarks = False

    def __init__(self, weight):
        super().__init__()
        self.weight = weight

    def forward(self, net, batch):
        return {"loss": self.weight * (net(batch.lr) - batch.hr).square().mean()}


@pytest.fixture
def register():
    """``register(build, **fields)`` adds the method Mine, and it is gone after the test."""
    yield lambda build, **fields: models.register("Mine", build, source="a test", **fields)
    models.METHODS.pop("Mine", None)


def key_of(**changes):
    fields = dict(method="Mine", degradation=degrade.setting("4x"), data="celeba", steps=1)
    return key(runs.Config(**(fields | changes)), "faces")


def test_code_that_behaves_otherwise_is_another_run(register):
    found = []
    for options in ({}, {"gain": 1.01}, {"drop": 0.1}, {}):
        register(lambda scale, size, options=options: Mine(scale, **options))
        found.append(key_of())
    assert found[0] == found[3] and len({*found}) == 3
    for weight in (1, 2):
        losses = {"mine": lambda net, weight=weight: Squared(weight)}
        register(lambda scale, size: Mine(scale), objectives=losses)
        found.append(key_of(loss="mine"))
    assert len({*found}) == 5


def test_a_method_of_the_library_is_known_by_its_version_alone(monkeypatch):
    monkeypatch.setattr(models, "behaviour", None)
    assert key_of(method="SRCNN") == "58aeb13e216a394e"


def test_a_run_of_changed_code_is_trained_again(register):
    fields = dict(data="celeba", n_train=8, steps=1, batch=2, patch=32)
    config = runs.Config(method="SRCNN", degradation=degrade.setting("4x"), **fields)
    config = config.model_copy(update={"method": "Mine"})
    register(lambda scale, size: Mine(scale))
    first = runs.fit(config)
    assert first.source == "trained" and runs.fit(config).source == "cached"
    register(lambda scale, size: Mine(scale, gain=2.0))
    assert runs.fit(config).source == "trained"


def test_behaviour_does_not_hang_on_rounding_or_random_state():
    torch.manual_seed(1)
    one = own.of_method(lambda scale, size: Mine(scale), 4, "small")
    before = torch.rand(1)
    torch.manual_seed(1)
    torch.rand(1)
    assert one == own.of_method(lambda scale, size: Mine(scale), 4, "small")
    torch.manual_seed(1)
    assert torch.rand(1) == before


class OnlyFloat32(Mine):
    def forward(self, lr):
        return super().forward(lr) + torch.ones(1, dtype=torch.float32) @ self.conv.bias[:1]


def test_code_that_knows_float32_alone_has_a_behaviour_too():
    one = own.of_method(lambda scale, size: OnlyFloat32(scale), 4, "small")
    assert one != own.of_method(lambda scale, size: OnlyFloat32(scale, 1.5), 4, "small")


def test_a_ready_made_network_is_in_evaluation_mode_and_known_by_its_weights(register):
    net = nn.Sequential(Mine(4), nn.BatchNorm2d(3))
    register(lambda scale, size: net.train(), trainable=False)
    found = models.restorer("Mine", 4)
    faces = torch.rand(3, 3, 8, 8)
    assert not found.training
    torch.testing.assert_close(found(faces)[:1], found(faces[:1]))
    before = models.known_as("Mine", found)
    with torch.no_grad():
        net[0].conv.bias += 0.1
    assert models.known_as("Mine", found) != before != "Sequential"
    assert models.known_as("bicubic", models.restorer("bicubic", 4)) == "Bicubic"


@dataclass(frozen=True)
class Darker(degrade.Degradation):
    by: float = 0.9

    def __call__(self, hr, index=None):
        return super().__call__(hr, index) * self.by


@dataclass(frozen=True)
class AlsoDarker(degrade.Degradation):
    def __call__(self, hr, index=None):
        return super().__call__(hr, index) * 0.9


def test_a_subclass_of_degradation_is_known_by_what_it_does():
    plain = degrade.setting("4x")
    found = [Darker("4x", 4), Darker("4x", 4, by=0.8), AlsoDarker("4x", 4)]
    keys = [key_of(method="SRCNN", degradation=d) for d in (plain, *found)]
    assert len({*keys[:3]}) == 3 and keys[1] == keys[3]
    # what scores are stored beside
    assert vars(found[0])["code"] != vars(found[1])["code"] and "code" not in vars(plain)


def test_own_kernels_noise_and_jpeg_count_only_where_they_are_used():
    assert {*vars(degrade.setting("4x"))} == {
        *("name", "scale", "kernel", "kernel_size", "sigma", "noise", "rounding", "seed")
    }
    config = dict(method="SRCNN", data="celeba", steps=1)
    usual = runs.Config(degradation=degrade.setting("4x"), **config).model_dump_json()
    assert "jpeg" not in usual and "values" not in usual
    for one in (
        degrade.with_kernel(np.eye(3), 4, noise=5.0),
        degrade.setting("4x_JPEG60"),
        degrade.setting("8x_DN10_JPEG60"),
    ):
        stored = runs.Config(degradation=one, **config)
        assert runs.Config.model_validate_json(stored.model_dump_json()) == stored
    names = ("4x", "4x_JPEG60", "4x_JPEG61", "4x_DN10", "4x_DN")
    assert len({key_of(method="SRCNN", degradation=degrade.setting(name)) for name in names}) == 5


@pytest.fixture
def checkpoint(tmp_path):
    """A small ESRGAN at 4x, as its authors' code names the weights."""
    from spandrel.architectures.ESRGAN import ESRGAN

    torch.manual_seed(0)
    net = ESRGAN(num_filters=8, num_blocks=1, scale=4)
    save_file(dict(net.state_dict()), tmp_path / "tiny.safetensors")
    torch.save(net.state_dict(), tmp_path / "tiny.pth")
    return tmp_path, net.eval()


def test_a_checkpoint_that_spandrel_knows_is_a_method(checkpoint):
    folder, net = checkpoint
    faces = torch.rand(2, 3, 9, 12)
    try:
        for name in ("tiny.pth", "tiny.safetensors"):
            method = models.foreign(folder / name, name="ESRGAN")
            assert (
                method.scales == (4,) and not method.trainable and "ESRGAN, tiny" in method.source
            )
            found = models.restorer("ESRGAN", 4)
            with torch.no_grad():
                torch.testing.assert_close(found(faces), net(faces).clamp(0, 1))
        before = models.known_as("ESRGAN", found)
        state = torch.load(folder / "tiny.pth", weights_only=True)
        torch.save({k: v * 1.01 for k, v in state.items()}, folder / "tiny.pth")
        models.foreign(folder / "tiny.pth", name="ESRGAN")
        assert models.known_as("ESRGAN", models.restorer("ESRGAN", 4)) != before
        with pytest.raises(UsageError, match="does not work at 2x"):
            models.restorer("ESRGAN", 2)
    finally:
        models.METHODS.pop("ESRGAN", None)


def test_a_checkpoint_that_is_none_is_one_sentence(tmp_path):
    torch.save({"a": torch.zeros(1)}, tmp_path / "unknown.pth")
    torch.save(nn.Conv2d(1, 1, 1), tmp_path / "code.pth")
    (tmp_path / "broken.safetensors").write_bytes(b"x")
    (tmp_path / "net.onnx").touch()
    for name, sentence in (
        ("unknown.pth", "spandrel knows no architecture"),
        ("code.pth", "cannot be opened as a checkpoint"),
        ("broken.safetensors", "cannot be opened as a checkpoint"),
        ("net.onnx", "is no checkpoint"),
        ("gone.pth", "is no checkpoint"),
    ):
        with pytest.raises(LrfaceError, match=sentence):
            models.foreign(tmp_path / name)


def test_a_judge_of_ones_own(tmp_path):
    def build(bias):
        return nn.Sequential(nn.AvgPool2d(8), nn.Flatten(), nn.Dropout(0.5), Shifted(bias))

    names = []
    try:
        for bias in (0.0, 1.0):
            models.register_embedder("pooled", lambda bias=bias: build(bias), "a test")
            judge = models.embedder("pooled")
            assert (judge.distance, judge.label, judge.training) == ("cosine", "pooled", False)
            names.append(judges.known_as("pooled", judge))
        crops = judge.crop(torch.zeros(2, 3, 128, 128, dtype=torch.uint8), torch.rand(2, 68, 2))
        assert crops.shape == (2, 3, 112, 96) and names[0] != names[1]
        assert names[0].startswith("pooled ")
    finally:
        judges.EMBEDDERS.pop("pooled", None)
    assert judges.known_as("dlib", models.embedder("dlib")) == "dlib"
    with pytest.raises(UsageError, match="unknown embedder 'pooled': known are dlib, register"):
        models.embedder("pooled")


class Shifted(nn.Module):
    def __init__(self, bias):
        super().__init__()
        self.bias = bias

    def forward(self, x):
        return x + self.bias * torch.arange(x.shape[1])


@pytest.mark.slow
@pytest.mark.parametrize("name", [m for m in models.METHODS if models.METHODS[m].tiles])
def test_tiles_join_without_a_seam(name, monkeypatch):
    """A method that says that it may be restored in tiles gives what it gives of the whole."""
    from lrface import inference

    monkeypatch.setattr(inference, "TILE", 64)
    torch.manual_seed(0)
    net = models.restorer(name, 4).eval()
    picture = torch.randint(0, 256, (3, 72, 68), dtype=torch.uint8)
    tiled, whole = (inference.restore(net, picture, tiles).int() for tiles in (True, False))
    assert (tiled - whole).abs().max() <= 3
