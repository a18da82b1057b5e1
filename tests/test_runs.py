"""Fit once, keep, reuse; and whatever happens in between, the same weights at the end."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from lrface import data, degrade, models, runs, train
from lrface.errors import LrfaceError
from pydantic import ValidationError
from safetensors.torch import load_file


def config(**changes):
    fields = {"method": "SRCNN", "degradation": degrade.setting("4x"), "data": "celeba", "n_train": 32, "steps": 6, "batch": 4, "patch": 32}
    return runs.Config(**(fields | changes))


def weights(run):
    # load_file maps the file: a copy survives what the tests then do to it
    return {name: tensor.clone() for name, tensor in load_file(run.folder / "model.safetensors").items()}


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def test_trained_then_cached_with_a_record():
    first = runs.fit(config())
    again = runs.fit(config())
    assert (first.source, again.source) == ("trained", "cached") and first.folder == again.folder
    assert sorted(p.name for p in first.folder.iterdir()) == ["config.json", "log.csv", "model.safetensors", "record.json"]
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
    [{"lr": 2e-4}, {"steps": 7}, {"degradation": degrade.setting("4x", seed=1)}, {"loss": "mse"}, {"n_train": 31}, {"size": "paper"}],
)
def test_any_changed_hyperparameter_is_another_run(change):
    assert runs.key(config(), "f") != runs.key(config(**change), "f")


def test_data_and_versions_are_in_the_key(monkeypatch):
    before = runs.key(config(), "f")
    assert runs.key(config(), "g") != before
    monkeypatch.setattr(train, "VERSION", train.VERSION + 1)
    assert runs.key(config(), "f") != before
    monkeypatch.undo()
    old = models.METHODS["SRCNN"]
    monkeypatch.setitem(models.METHODS, "SRCNN", models.Method(old.name, old.build, old.source, old.version + 1))
    assert runs.key(config(), "f") != before


def test_a_config_refuses_what_it_does_not_know():
    for wrong in ({"learning_rate": 1e-3}, {"steps": 0}, {"steps": "10"}, {"lr": -1.0}, {"loss": "l3"}):
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
    assert runs.trained("SRCNN", "4x").source == "released"


def test_a_released_run_may_be_stored_in_half_precision():
    run = runs.fit(config())
    from safetensors.torch import save_file

    file = run.folder / "model.safetensors"
    save_file({k: v.half() for k, v in weights(run).items()}, file)
    record = json.loads((run.folder / "record.json").read_text()) | {"sha256": runs._sha256(file)}
    (run.folder / "record.json").write_text(json.dumps(record))
    assert all(p.dtype == torch.float32 for p in runs.fit(config()).model().parameters())


TRAIN = """
import sys
from lrface import degrade, runs, train
train.SAVE_SECONDS = 0.0
c = runs.Config(method="SRCNN", degradation=degrade.setting("4x_DN"), data="celeba", n_train=32, steps=100, batch=4, patch=32)
run = runs.fit(c)
print(run.source, run.record["resumed"])
"""


def run_training(**options):
    return subprocess.Popen([sys.executable, "-c", TRAIN], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)


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
        assert not [p for p in work.iterdir() if p.is_dir() and not p.name.endswith(".training")] or process.returncode == 0
    out, err = run_training().communicate()
    assert out.split()[-2:-1] in (["trained"], ["cached"]) and int(out.split()[-1]) >= 1, err
    (resumed,) = [p for p in work.iterdir() if (p / "model.safetensors").exists()]
    assert not list(work.glob("*.training"))
    monkeypatch.setenv("LRFACE_CACHE", str(own_places / "uninterrupted"))
    out, err = run_training().communicate()
    assert out.split() == ["trained", "0"], err
    (whole,) = [p for p in (own_places / "uninterrupted" / "runs").iterdir() if (p / "model.safetensors").exists()]
    assert resumed.name == whole.name
    assert (resumed / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()
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


def test_two_processes_train_once(own_places):
    both = [run_training() for _ in range(2)]
    said = sorted(p.communicate()[0].split()[0] for p in both)
    assert said == ["cached", "trained"]


def test_a_loss_that_is_not_finite_stops_with_a_sentence():
    with pytest.raises(LrfaceError, match="the loss is (nan|inf) near step"):
        runs.fit(config(lr=1e30, schedule="constant", loss="mse", steps=50))


def test_every_epoch_shows_every_face_once():
    rows = np.concatenate([train.drawn(10, 4, step, seed=0) for step in range(5)])
    assert sorted(rows[:10]) == sorted(rows[10:]) == list(range(10))
    assert not np.array_equal(rows[:10], rows[10:])


def test_batches_are_aligned_pairs_whatever_the_start():
    faces, d = data.load("celeba", "train", 16), degrade.setting("4x", rounding="none")
    all_of_them = list(train.batches(faces, d, 4, 64, 0, 0, 5))
    for (lr, hr), (lr2, hr2) in zip(all_of_them[3:], train.batches(faces, d, 4, 64, 0, 3, 5), strict=True):
        assert torch.equal(lr, lr2) and torch.equal(hr, hr2)
    lr, hr = all_of_them[0]
    assert lr.shape == (4, 3, 16, 16) and hr.shape == (4, 3, 64, 64)
    # away from the border of the cut, the patch degrades to its own LR patch
    assert torch.allclose(d(hr)[..., 3:-3, 3:-3], lr[..., 3:-3, 3:-3], atol=1e-5)


def test_nothing_trained_is_said_with_the_way_out():
    with pytest.raises(LrfaceError, match="make reproduce"):
        runs.trained("EDSR", "8x")
    with pytest.raises(LrfaceError, match="nothing to train"):
        runs.fit(config(method="bicubic"))


def test_schedules():
    rates = [train.learning_rate("cosine", 1.0, s, 100) for s in range(100)]
    assert rates[0] == 0.5 and max(rates) == 1.0 and rates[-1] < 0.001
    assert [train.learning_rate("halve", 1.0, s, 10) for s in (0, 2, 9)] == [1.0, 0.5, 0.0625]


@pytest.mark.skipif(os.cpu_count() == 1, reason="one core")
def test_bf16_trains_too():
    assert np.isfinite(runs.fit(config(precision="bf16-mixed")).record["loss"])
