"""A training in stages: stopped anywhere it ends with the same weights; what its log says."""

import numpy as np
import pytest
import torch
from conftest import face_shapes, weights_of
from conftest import tiny_config as config
from lrface import data, degrade, models, runs
from lrface.errors import LrfaceError, UsageError
from lrface.models.objective import Objective
from lrface.models.stages import TrainingStage
from lrface.training import distributed, loop, stages
from torch import nn

PARTS = ("first", "second")


class Toy(nn.Module):
    """The pixels' nearest neighbours, plus two convolutions that are trained one after the other,
    each around the mean colour of training faces."""

    def __init__(self):
        super().__init__()
        self.parts = nn.ModuleDict({name: nn.Conv2d(3, 3, 3, padding=1) for name in PARTS})
        self.register_buffer("means", torch.zeros(2, 3, 1, 1))

    def forward(self, lr, only=None):
        big = nn.functional.interpolate(lr, scale_factor=4)
        for number, name in enumerate(PARTS):
            if only in (None, name):
                big = big + self.parts[name](big - self.means[number])
        return big


class Part(Objective):
    needs_whole_batch = True

    def __init__(self, name):
        super().__init__()
        self.name = name

    def groups(self, net):
        weights, biases = net.parts[self.name].weight, net.parts[self.name].bias
        return [{"params": [weights]}, {"params": [biases], "rate": 0.1}]

    def forward(self, net, batch):
        loss = (net(batch.lr, self.name) - batch.hr).square().mean()
        return {"loss": loss, "trivial": batch.hr.square().mean()}


def of_toy(net, loss, patch):
    def fit(net, faces, number):
        total = torch.stack([batch.hr.mean((0, 2, 3)) for batch in faces(4)]).mean(0)
        net.means[number] = total.view(3, 1, 1) * (1 + net.parts["first"].bias.detach().mean())

    found = []
    for number, name in enumerate(PARTS):
        found.append(TrainingStage(f"mean {name}", fit=lambda n, f, i=number: fit(n, f, i)))
        last = number == len(PARTS) - 1
        found.append(TrainingStage(name, Part(name), share=1 + number, restores=last))
    return found


STAGES, STEPS = 4, 12


@pytest.fixture(autouse=True)
def toy(monkeypatch):
    monkeypatch.setattr(models, "METHODS", dict(models.METHODS))
    how = dict(source="a test", stages=of_toy, objectives={"paper": lambda net: Part("second")})
    models.register("Toy", lambda scale, size: Toy(), **how)
    monkeypatch.setattr(loop, "SAVE_SECONDS", 0.0)


def toys(**changes):
    fields = {"method": "Toy", "loss": "paper", "patch": None, "steps": STEPS, "batch": 2}
    return config(**(fields | {"n_train": 6, "lr": 1e-2} | changes))


@pytest.fixture
def whole(own_places, monkeypatch):
    """A training that nothing interrupts, in a cache of its own."""
    monkeypatch.setattr(runs, "_validation", lambda *_: data.load("celeba", "test", 4))
    with monkeypatch.context() as patch:
        patch.setenv("LRFACE_CACHE", str(own_places / "whole"))
        run = runs.fit(toys())
        return weights_of(run), run.log, run.record


def test_the_log_names_the_stages_and_their_trivial_losses(whole):
    _, log, record = whole
    assert [row["stage"] for row in log] == ["first"] * 4 + ["second"] * 8
    assert [row["step"] for row in log] == list(range(1, STEPS + 1))
    assert all(row["trivial"] > 0 and np.isfinite(row["loss"]) for row in log)
    assert np.isfinite([row["val_psnr"] for row in log]).tolist() == [False] * 11 + [True]
    assert record["resumed"] == 0 and record["loss"] == log[-1]["loss"]
    assert log[0]["lr"] == log[4]["lr"]  # a schedule for each stage


def test_a_groups_rate_multiplies_the_learning_rate():
    net = Toy()
    learner = loop._Learner(net, Part("first"), loop.Hyperparameters(1, 2, None, 1e-3))
    loop._set_lr(learner.optimiser, 0.5)
    assert [group["lr"] for group in learner.optimiser.param_groups] == [0.5, 0.05]


def same(run, whole):
    weights = weights_of(run)
    return all(torch.equal(w, whole[0][name]) for name, w in weights.items())


@pytest.mark.parametrize("boundary", range(1, STAGES + 1))
def test_killed_between_two_stages(whole, boundary, monkeypatch):
    save = stages._save

    def stop(net, done, file):
        save(net, done, file)
        if done.stages == boundary:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(stages, "_save", stop)
        runs.fit(toys())
    fitted = []
    fit_field = stages._whole_faces
    monkeypatch.setattr(stages, "_whole_faces", lambda *a: fitted.append(1) or fit_field(*a))
    run = runs.fit(toys())
    assert same(run, whole) and run.record["resumed"] == 1
    assert [row["stage"] for row in run.log] == [row["stage"] for row in whole[1]]
    assert len(fitted) == 2 - (boundary >= 1) - (boundary >= 3)


@pytest.mark.parametrize("at", [1, 6])
def test_killed_inside_a_stage(whole, at, monkeypatch):
    seen, step = [], loop._step_in_memory

    def stop(*arguments):
        seen.append(1)
        if len(seen) == at + 1:
            raise KeyboardInterrupt
        return step(*arguments)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(loop, "_step_in_memory", stop)
        runs.fit(toys())
    run = runs.fit(toys())
    assert same(run, whole) and run.record["resumed"] == 1
    assert not list(run.folder.glob("*.pt"))


def test_a_damaged_checkpoint_starts_again(whole, own_places, monkeypatch, capsys):
    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(stages, "_save", stop)
        runs.fit(toys())
    (work,) = own_places.glob("cache/runs/*.training")
    (work / "finished.pt").write_bytes(b"PK\x03\x04 half a checkpoint")
    assert same(runs.fit(toys()), whole)
    assert "starts again from the first stage" in capsys.readouterr().out


def test_several_processes_are_refused(monkeypatch, tmp_path):
    monkeypatch.setattr(distributed, "rank_and_world_size", lambda: (0, 2))
    net = models.restorer("CBN", 2)
    with pytest.raises(LrfaceError, match="train it in one process"):
        stages.train(net, None, [], None, folder=tmp_path, label="CBN")


def test_a_run_of_faces_at_one_distance_wants_such_faces():
    with pytest.raises(UsageError, match="bring them there"):
        runs.fit(toys(degradation=degrade.setting("5px")), data.load("celeba", "train", 6))


@pytest.mark.slow
def test_cbn_killed_before_its_second_cascade(own_places, monkeypatch):
    monkeypatch.setattr(runs, "landmarks", lambda faces: face_shapes(len(faces), 128, 128))
    cbn = toys(method="CBN", size="narrow", loss="even", steps=6, lr=1e-5)
    run = runs.fit(cbn)
    expected, stages_of = (weights_of(run),), [row["stage"] for row in run.log]
    assert stages_of == [f"cascade {k}, {part}" for k in (1, 2) for part in ("A", "B", "joint")]
    save = stages._save

    def stop(net, done, file):
        save(net, done, file)
        if done.stages == 5:
            raise KeyboardInterrupt

    monkeypatch.setenv("LRFACE_CACHE", str(own_places / "again"))
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(stages, "_save", stop)
        runs.fit(cbn)
    again = runs.fit(cbn)
    assert again.record["resumed"] == 1 and same(again, expected)
    loaded = runs.load_run(run.record["key"]).model()
    lr = torch.rand(2, 3, 32, 32)
    assert torch.equal(loaded(lr), again.model()(lr))
