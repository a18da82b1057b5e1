"""A run is trained once and reused; whatever happens in between, its weights are the same."""

import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from conftest import noise, same, train_tiny
from conftest import tiny_config as config
from conftest import weights_of as weights
from lrface import data, models, runs
from lrface.errors import LrfaceError
from lrface.models.objective import Objective


def test_trained_then_cached_with_a_record():
    first = runs.fit(config())
    again = runs.fit(config())
    assert (first.source, again.source) == ("trained", "cached") and first.folder == again.folder
    assert sorted(p.name for p in first.folder.iterdir()) == [
        "config.json",
        "log.csv",
        "model.safetensors",
        "record.json",
    ]
    assert again.config == config()
    record = again.record
    assert record["data"]["n"] == 32 and record["parameters"] == 9539 and record["seconds"] > 0
    assert {"versions", "commit", "device", "sha256", "threads", "val_psnr"} <= record.keys()
    assert [row["step"] for row in again.log] == [1, 2, 3, 4, 5, 6]
    lr = torch.rand(1, 3, 16, 16)
    assert torch.equal(first.model()(lr), again.model()(lr)) and not first.model().training


@pytest.mark.slow
def test_the_same_seed_trains_the_same_weights_and_another_does_not():
    first = weights(runs.fit(config()))
    assert same(first, weights(runs.fit(config(), retrain=True)))
    assert not same(first, weights(runs.fit(config(seed=1))))


@pytest.mark.slow
@pytest.mark.parametrize("harm", ["truncate", "flip", "record", "missing"])
def test_a_damaged_run_is_never_used(harm, capsys):
    run = runs.fit(config())
    good, file = weights(run), run.folder / "model.safetensors"
    content = bytearray(file.read_bytes())
    if harm == "truncate":
        file.write_bytes(content[: len(content) // 2])
    elif harm == "flip":
        content[-5] ^= 255
        file.write_bytes(content)
    elif harm == "record":
        (run.folder / "record.json").write_text("{")
    else:
        file.unlink()
    again = runs.fit(config())
    assert again.source == "trained" and same(weights(again), good)
    assert "damaged" in capsys.readouterr().out


TRAIN = """
import sys
from lrface import degrade, runs
from lrface.training import loop
loop.SAVE_SECONDS = 0.0
fields = dict(method="SRCNN", degradation=degrade.setting("4x_DN"), data="celeba", n_train=32)
run = runs.fit(runs.Config(steps=100, batch=4, patch=32, **fields))
print(run.source, run.record["resumed"])
"""


def run_training(**options):
    return subprocess.Popen(
        [sys.executable, "-c", TRAIN],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


@pytest.mark.slow
def test_killed_at_any_moment_it_ends_with_the_same_weights(own_places, monkeypatch):
    work = own_places / "cache" / "runs"
    random = np.random.default_rng()
    for _ in range(2):
        process = run_training()
        for _ in range(1500):
            if list(work.glob("*.training/last.pt")) or process.poll() is not None:
                break
            time.sleep(0.02)
        time.sleep(random.uniform(0, 0.2))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert (
            not [p for p in work.iterdir() if p.is_dir() and not p.name.endswith(".training")]
            or process.returncode == 0
        )
    out, err = run_training().communicate()
    assert out.split()[-2:-1] in (["trained"], ["cached"]) and int(out.split()[-1]) >= 1, err
    (resumed,) = [p for p in work.iterdir() if (p / "model.safetensors").exists()]
    assert not list(work.glob("*.training"))
    monkeypatch.setenv("LRFACE_CACHE", str(own_places / "uninterrupted"))
    out, err = run_training().communicate()
    assert out.split() == ["trained", "0"], err
    (whole,) = [
        p
        for p in (own_places / "uninterrupted" / "runs").iterdir()
        if (p / "model.safetensors").exists()
    ]
    assert resumed.name == whole.name
    assert (resumed / "model.safetensors").read_bytes() == (
        whole / "model.safetensors"
    ).read_bytes()
    logs = [(p / "log.csv").read_text() for p in (resumed, whole)]
    assert logs[0] == logs[1]


def test_a_truncated_checkpoint_starts_again(own_places, monkeypatch, capsys):
    whole = weights(runs.fit(config()))
    monkeypatch.setenv("LRFACE_CACHE", str(own_places / "other"))
    name = runs.key(config(), data.load("celeba", "train", 32).fingerprint)
    work = own_places / "other" / "runs" / f"{name}.training"
    work.mkdir(parents=True)
    (work / "last.pt").write_bytes(b"PK\x03\x04 half a checkpoint")
    assert same(weights(runs.fit(config())), whole)
    assert "cannot read last.pt" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.slow
def test_two_processes_train_once(own_places):
    both = [run_training() for _ in range(2)]
    sources = sorted(p.communicate()[0].split()[0] for p in both)
    assert sources == ["cached", "trained"]


def test_a_loss_that_is_not_finite_raises_a_sentence():
    with pytest.raises(LrfaceError, match="the loss is (nan|inf) near step"):
        runs.fit(config(lr=1e30, schedule="constant", loss="mse", steps=50))


class Adversary(Objective):
    """The smallest adversarial objective: a discriminator that sees the mean."""

    adam, discriminator_lr_ratio = {"betas": (0.0, 0.9)}, 4.0

    def __init__(self, net):
        super().__init__()
        self.discriminator = torch.nn.Conv2d(3, 1, 3)

    def forward(self, net, batch):
        sr, hr = net(batch.lr), batch.hr
        loss = torch.nn.functional.l1_loss(sr, hr) - 0.01 * self.discriminator(sr).mean()
        return {
            "loss": loss,
            "discriminator": self.discriminator(sr.detach()).mean()
            - self.discriminator(hr).mean()
            + self.discriminator.weight.square().sum(),
        }


def test_an_adversarial_run_resumes_to_the_same_weights(interrupted):
    def run(checkpoint):
        torch.manual_seed(0)
        net = models.restorer("SRCNN", 4)
        fields = {
            "batch": 2,
            "patch": 32,
            "lr": 1e-3,
            "schedule": "constant",
            "steps": 8,
        }
        objective = Adversary(net)
        start = objective.discriminator.weight.detach().clone()
        net, _, facts = train_tiny(net, noise(3, 128), "4x", objective, checkpoint, **fields)
        assert not torch.equal(objective.discriminator.weight, start)
        return torch.cat(
            [
                p.detach().flatten()
                for p in [*net.parameters(), *objective.discriminator.parameters()]
            ]
        ), facts

    (whole, _), stopped = interrupted(run, 5)
    again, facts = run(stopped)
    assert facts["resumed"] == 1 and torch.equal(whole, again)


@pytest.mark.slow
def test_a_run_initialised_from_another_has_its_weights_and_a_key_of_its_own():
    first = runs.fit(config(steps=4))
    later = config(steps=1, init=config(steps=4), lr=1e-12)
    weights = torch.cat([p.flatten() for p in runs.fit(later).model().parameters()])
    start = torch.cat([p.flatten() for p in first.model().parameters()])
    assert torch.allclose(weights, start, atol=1e-9)
    assert runs.key(later, "x") != runs.key(config(steps=1, lr=1e-12), "x")
    with pytest.raises(LrfaceError, match="no weight in common"):
        runs.fit(config(method="EDSR", steps=1, init=config(steps=4)))


@pytest.mark.slow
def test_a_recogniser_is_trained_behind_a_frozen_preprocessor():
    fields = {"method": "CentreFace", "loss": "paper", "n_train": 8, "steps": 1, "patch": None}
    restorer = config(n_train=8, steps=2)
    given = (None, "bicubic", restorer)
    fitted = [runs.fit(config(**fields, preprocessor=one)) for one in given]
    assert len({run.record["key"] for run in fitted}) == 3
    assert len({run.record["loss"] for run in fitted}) == 3  # each saw other faces
    fingerprint = fitted[0].record["data"]["fingerprint"]
    # the restorer was trained on the way, as a run of its own
    assert runs.load_run(runs.key(restorer, fingerprint)).config == restorer
    again = runs.fit(config(**fields, preprocessor=restorer))
    assert again.source == "cached" and again.config.preprocessor == restorer
    assert runs.fit(config(**fields, preprocessor="bicubic")).source == "cached"
    other = config(**fields, preprocessor=config(n_train=8, steps=3))
    assert runs.key(other, fingerprint) != again.record["key"]


def test_a_closed_form_is_fitted_and_cached_as_any_run(monkeypatch):
    monkeypatch.setattr(models, "METHODS", dict(models.METHODS))

    class Mean(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("mean", torch.zeros(1, 3, 128, 128))

        def forward(self, lr):
            return self.mean.expand(len(lr), -1, -1, -1)

    def fit_closed_form(net, pairs):
        net.mean.copy_(torch.cat([hr for _, hr in pairs]).mean(0, keepdim=True))

    models.register(
        "mean face", lambda scale, size: Mean(), source="a student", fit_closed_form=fit_closed_form
    )
    run = runs.fit(config(method="mean face"))
    faces = data.load("celeba", "train", 32)
    expected = torch.cat([b.float() / 255 for b in faces.batches(4)]).mean(0)
    assert torch.allclose(run.model()(torch.zeros(1, 3, 32, 32))[0], expected, atol=1e-5)
    assert runs.fit(config(method="mean face")).source == "cached"


@pytest.mark.slow
def test_bf16_trains_too():
    assert np.isfinite(runs.fit(config(precision="bf16-autocast")).record["loss"])
