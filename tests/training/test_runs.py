"""Fit once, keep, reuse; and whatever happens in between, the same weights at the end."""

import json
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from conftest import Still, noise, train_tiny
from lrface import data, degrade, files, models, runs
from lrface.data.landmarks import MIRRORED
from lrface.errors import LrfaceError
from lrface.models.objective import Objective
from lrface.training import config as config_module
from lrface.training import quantize
from lrface.training.batches import TrainingData, batch_indices, batches
from lrface.training.hyperparameters import Hyperparameters, learning_rate
from pydantic import ValidationError
from safetensors.torch import load_file


def config(**changes):
    fields = {
        "method": "SRCNN",
        "degradation": degrade.setting("4x"),
        "data": "celeba",
        "n_train": 32,
        "steps": 6,
        "batch": 4,
        "patch": 32,
    }
    return runs.Config(**(fields | changes))


def weights(run):
    # load_file maps the file: a copy survives what the tests then do to it
    return {
        name: tensor.clone() for name, tensor in load_file(run.folder / "model.safetensors").items()
    }


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


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


def test_the_same_seed_trains_the_same_weights_and_another_does_not():
    first = weights(runs.fit(config()))
    assert same(first, weights(runs.fit(config(), retrain=True)))
    assert not same(first, weights(runs.fit(config(seed=1))))


@pytest.mark.parametrize(
    "change",
    [
        {"lr": 2e-4},
        {"steps": 7},
        {"degradation": degrade.setting("4x", seed=1)},
        {"loss": "mse"},
        {"n_train": 31},
        {"size": "paper"},
    ],
)
def test_any_changed_hyperparameter_is_another_run(change):
    assert runs.key(config(), "f") != runs.key(config(**change), "f")


def test_data_and_versions_are_in_the_key(monkeypatch):
    before = runs.key(config(), "f")
    assert runs.key(config(), "g") != before
    monkeypatch.setattr(config_module, "LOOP_VERSION", config_module.LOOP_VERSION + 1)
    assert runs.key(config(), "f") != before
    monkeypatch.undo()
    old = models.METHODS["SRCNN"]
    monkeypatch.setitem(
        models.METHODS, "SRCNN", models.Method(old.name, old.build, old.source, old.version + 1)
    )
    assert runs.key(config(), "f") != before


def test_a_config_refuses_what_it_does_not_know():
    for wrong in (
        {"learning_rate": 1e-3},
        {"steps": 0},
        {"steps": "10"},
        {"lr": -1.0},
        {"loss": "l3"},
    ):
        with pytest.raises(ValidationError):
            config(**wrong)


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


def test_a_released_run_comes_before_the_cache(own_places, monkeypatch):
    run = runs.fit(config())
    released = own_places / "project" / "results" / "celeba" / "quick" / "checkpoints"
    released.mkdir(parents=True)
    run.folder.rename(released / run.folder.name)
    monkeypatch.setenv("LRFACE_ROOT", str(own_places / "project"))
    assert runs.fit(config()).source == "released"
    assert runs.best_run("SRCNN", "4x").source == "released"


def test_a_released_run_may_be_stored_in_half_precision():
    run = runs.fit(config())
    from safetensors.torch import save_file

    file = run.folder / "model.safetensors"
    save_file({k: v.half() for k, v in weights(run).items()}, file)
    record = json.loads((run.folder / "record.json").read_text()) | {"sha256": files.sha256(file)}
    (run.folder / "record.json").write_text(json.dumps(record))
    assert all(p.dtype == torch.float32 for p in runs.fit(config()).model().parameters())


TRAIN = """
import sys
from lrface import degrade, runs
from lrface.training import loop
loop.SAVE_SECONDS = 0.0
c = runs.Config(method="SRCNN", degradation=degrade.setting("4x_DN"), data="celeba", n_train=32, steps=100, batch=4, patch=32)
run = runs.fit(c)
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
def test_two_processes_train_once(own_places):
    both = [run_training() for _ in range(2)]
    said = sorted(p.communicate()[0].split()[0] for p in both)
    assert said == ["cached", "trained"]


def test_a_loss_that_is_not_finite_stops_with_a_sentence():
    with pytest.raises(LrfaceError, match="the loss is (nan|inf) near step"):
        runs.fit(config(lr=1e30, schedule="constant", loss="mse", steps=50))


def test_every_epoch_shows_every_face_once():
    rows = np.concatenate([batch_indices(10, 4, step, seed=0) for step in range(5)])
    assert sorted(rows[:10]) == sorted(rows[10:]) == list(range(10))
    assert not np.array_equal(rows[:10], rows[10:])


def test_batches_are_aligned_pairs_whatever_the_start():
    faces, d = data.load("celeba", "train", 16), degrade.setting("4x", rounding="none")
    training, hyper = TrainingData(faces, d), Hyperparameters(steps=5, batch=4, patch=64, lr=1.0)
    all_of_them, later = list(batches(training, hyper)), batches(training, hyper, 3)
    for (lr, hr, *_), (lr2, hr2, *_) in zip(all_of_them[3:], later, strict=True):
        assert torch.equal(lr, lr2) and torch.equal(hr, hr2)
    lr, hr, *_ = all_of_them[0]
    assert lr.shape == (4, 3, 16, 16) and hr.shape == (4, 3, 64, 64)
    # away from the border of the cut, the patch degrades to its own LR patch
    assert torch.allclose(d(hr)[..., 3:-3, 3:-3], lr[..., 3:-3, 3:-3], atol=1e-5)


@pytest.mark.parametrize("patch", [None, 64])
def test_landmarks_follow_the_mirror_and_the_cut(patch):
    """A dark dot at every landmark: whatever a batch did to the picture, the dots are where the
    landmarks say."""

    points = np.random.default_rng(3).integers(8, 120, (3, 68, 2)).astype(np.float32)
    pictures = torch.full((3, 3, 128, 128), 255, dtype=torch.uint8)
    for i in range(3):
        pictures[i, :, points[i, :, 1].astype(int), points[i, :, 0].astype(int)] = 0
    training = TrainingData(Still(pictures), degrade.setting("4x"), points)
    hyper = Hyperparameters(steps=3, batch=6, patch=patch, lr=1.0)
    for _, hr, marks, *_ in batches(training, hyper):
        inside = ((marks >= 0) & (marks < hr.shape[2])).all(2)
        assert inside.any() and (patch is not None or inside.all())
        for i in range(6):
            x, y = marks[i][inside[i]].long().T
            assert (hr[i, :, y, x] == 0).all()


def test_the_mirror_image_of_the_landmarks_has_their_names():
    # left and right change places; twice mirrored is unchanged; the middle of the face stays
    assert sorted(MIRRORED) == list(range(68)) and (MIRRORED[MIRRORED] == np.arange(68)).all()
    assert all(MIRRORED[i] == i for i in (8, 27, 28, 29, 30, 33, 51, 57, 62, 66))
    assert (
        MIRRORED[36] == 45
        and MIRRORED[17] == 26
        and MIRRORED[48] == 54
        and MIRRORED[60] == 64
        and MIRRORED[31] == 35
    )


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


def test_a_run_can_start_from_another_and_says_so_in_its_key():
    first = runs.fit(config(steps=4))
    later = config(steps=1, init=config(steps=4), lr=1e-12)
    weights = torch.cat([p.flatten() for p in runs.fit(later).model().parameters()])
    start = torch.cat([p.flatten() for p in first.model().parameters()])
    assert torch.allclose(weights, start, atol=1e-9)
    assert runs.key(later, "x") != runs.key(config(steps=1, lr=1e-12), "x")
    with pytest.raises(LrfaceError, match="no weight in common"):
        runs.fit(config(method="EDSR", steps=1, init=config(steps=4)))


def test_a_recogniser_can_stand_behind_a_frozen_restorer():
    fields = {"method": "FRNET", "loss": "paper", "n_train": 8, "steps": 1, "patch": None}
    front = config(n_train=8, steps=2)
    fitted = [runs.fit(config(**fields, preprocessor=given)) for given in (None, "bicubic", front)]
    assert len({run.record["key"] for run in fitted}) == 3
    assert len({run.record["loss"] for run in fitted}) == 3  # each saw other faces
    fingerprint = fitted[0].record["data"]["fingerprint"]
    assert (
        runs.load_run(runs.key(front, fingerprint)).config == front
    )  # it was trained on the way, as a run of its own
    again = runs.fit(config(**fields, preprocessor=front))
    assert (
        again.source == "cached"
        and again.config.preprocessor == front
        and runs.fit(config(**fields, preprocessor="bicubic")).source == "cached"
    )
    other = config(**fields, preprocessor=config(n_train=8, steps=3))
    assert runs.key(other, fingerprint) != again.record["key"]


@pytest.mark.parametrize(
    "changes, sentence",
    [
        ({"front": "bicubic"}, "SRCNN restores faces itself"),
        ({"method": "Joint", "loss": "paper", "front": "bicubic"}, "Joint restores faces itself"),
        (
            {
                "method": "FRNET",
                "loss": "paper",
                "front": config(degradation=degrade.setting("8x")),
            },
            "must restore at 4x",
        ),
        (
            {"method": "FRNET", "loss": "paper", "front": config(method="FRNET", loss="softmax")},
            "must restore at 4x",
        ),
        ({"method": "FRNET", "loss": "paper", "front": "nearest"}, "front"),
    ],
)
def test_a_front_that_does_not_fit_is_refused(changes, sentence):
    with pytest.raises(ValidationError, match=sentence):
        config(**changes)


def test_a_computed_network_goes_through_the_same_fit(monkeypatch):
    monkeypatch.setattr(models, "METHODS", dict(models.METHODS))

    class Mean(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("mean", torch.zeros(1, 3, 128, 128))

        def forward(self, lr):
            return self.mean.expand(len(lr), -1, -1, -1)

    def solve(net, pairs):
        net.mean.copy_(torch.cat([hr for _, hr in pairs]).mean(0, keepdim=True))

    models.register(
        "mean face", lambda scale, size: Mean(), source="a student", fit_closed_form=solve
    )
    run = runs.fit(config(method="mean face"))
    faces = data.load("celeba", "train", 32)
    expected = torch.cat([b.float() / 255 for b in faces.batches(4)]).mean(0)
    assert torch.allclose(run.model()(torch.zeros(1, 3, 32, 32))[0], expected, atol=1e-5)
    assert runs.fit(config(method="mean face")).source == "cached"


def test_a_released_run_comes_first_in_half_precision(tmp_path, monkeypatch):
    monkeypatch.setenv("LRFACE_ROOT", str(tmp_path))
    run = runs.fit(config())
    released = runs.release(run, tmp_path / "results" / "synthetic" / "quick" / "checkpoints")
    assert (
        runs.fit(config()).source == "released"
        and runs.load_run(run.record["key"]).source == "released"
    )
    assert (released.folder / "model.safetensors").stat().st_size < 0.6 * (
        run.folder / "model.safetensors"
    ).stat().st_size
    lr = torch.rand(1, 3, 16, 16)
    assert torch.allclose(released.model()(lr), run.model()(lr), atol=2e-3)
    assert released.record["trained_sha256"] == run.record["sha256"]
    assert [row["step"] for row in released.log] == [row["step"] for row in run.log]
    with monkeypatch.context() as patch:
        patch.setenv("LRFACE_RETRAIN", "1")
        assert runs.fit(config()).source == "cached"
    with open(
        released.folder / "model.safetensors", "r+b"
    ) as file:  # a damaged release is left aside for the cache
        file.write(b"damage")
    assert runs.fit(config()).source == "cached"
    assert runs.load_run("0" * 16) is None


def test_nothing_trained_is_said_with_the_way_out():
    with pytest.raises(LrfaceError, match="make reproduce"):
        runs.best_run("Eigenface", "8x")  # never released
    with pytest.raises(LrfaceError, match="nothing to train"):
        runs.fit(config(method="bicubic"))


def test_schedules():
    rates = [learning_rate("cosine", 1.0, s, 100) for s in range(100)]
    assert rates[0] == 0.5 and max(rates) == 1.0 and rates[-1] < 0.001
    assert [learning_rate("halve", 1.0, s, 10) for s in (0, 2, 9)] == [1.0, 0.5, 0.0625]
    assert [learning_rate("halve-once", 1.0, s, 300) for s in (0, 199, 200, 299)] == [
        1.0,
        1.0,
        0.5,
        0.5,
    ]  # EDSR: epoch 200 of 300
    early = [
        learning_rate("halve-early", 1.0, s, 150_000)
        for s in (9_999, 10_000, 20_000, 40_000, 80_000)
    ]
    assert early == [1.0, 0.5, 0.25, 0.125, 0.0625]  # DICNet's printed milestones
    drops = [
        learning_rate("drops", 1e-5, s, 28_000) for s in (0, 15_999, 16_000, 23_999, 24_000, 27_999)
    ]
    assert drops == pytest.approx(
        [1e-5, 1e-5, 1e-6, 1e-6, 1e-7, 1e-7], rel=1e-12
    )  # the joint model's printed steps
    assert [learning_rate("drops", 1.0, s, 7) for s in (3, 4, 5, 6)] == pytest.approx(
        [1, 0.1, 0.1, 0.01]
    )
    assert [learning_rate("tail", 1.0, s, 50) for s in (0, 29, 30, 40, 49)] == [
        1.0,
        1.0,
        1.0,
        0.5,
        0.05,
    ]  # HiFaceGAN: 30 + 20 epochs


def test_bf16_trains_too():
    assert np.isfinite(runs.fit(config(precision="bf16-mixed")).record["loss"])


def test_large_weights_are_released_in_eight_bits_and_restore_alike(tmp_path):
    run = runs.fit(config(method="EDSR", steps=2))
    released = runs.release(run, tmp_path)
    stored = load_file(released.folder / "model.safetensors")
    assert {w.dtype for w in stored.values() if w.ndim > 1 and w.numel() >= 300} == {
        torch.int8
    } and quantize.SCALES in stored
    assert (released.folder / "model.safetensors").stat().st_size < 0.3 * (
        run.folder / "model.safetensors"
    ).stat().st_size
    true, back = weights(run), dict(released.model().state_dict())
    assert true.keys() == back.keys()
    for name, w in true.items():
        step = (
            w.abs().amax(tuple(range(1, w.ndim)), keepdim=True) / 127
            if w.ndim > 1
            else w.abs().max() / 1000
        )
        assert ((back[name] - w).abs() <= 0.57 * step + 1e-6).all(), (
            name
        )  # half a step, and the scale's own rounding
    lr = torch.rand(2, 3, 16, 16)
    assert torch.allclose(released.model()(lr), run.model()(lr), atol=5e-3)
