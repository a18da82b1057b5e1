"""A notebook's networks, trained side by side: the same weights as one after another, whatever goes
wrong in one of them."""

import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
import torch
from lrface import data, degrade, models, runs
from lrface.training import sweep
from safetensors.torch import load_file

MINE = """
from torch import nn
class Mine(nn.Module):
    def __init__(self, scale):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 3 * scale**2, 3, padding=1), nn.PixelShuffle(scale))
    def forward(self, lr):
        return self.body(lr)
"""


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


@pytest.fixture
def faces():
    return data.load("celeba", "train", 32)


def weights(run):
    return torch.cat(
        [w.flatten() for _, w in sorted(load_file(run.folder / "model.safetensors").items())]
    )


@pytest.fixture
def cores(monkeypatch):
    """Set how many cores there seem to be."""
    return lambda n: monkeypatch.setattr(sweep.os, "cpu_count", lambda: n)


def test_side_by_side_gives_the_weights_of_one_after_another(faces, cores, monkeypatch, tmp_path):
    wanted = {s: (config(seed=s), faces) for s in range(3)}
    cores(1)
    before = torch.get_num_threads()
    alone, _ = sweep.fit(wanted)
    assert torch.get_num_threads() == before
    monkeypatch.setenv("LRFACE_CACHE", str(tmp_path))
    cores(2)
    together, given_up = sweep.fit(wanted | {"again": wanted[0]})
    assert (
        not given_up and list(together) == [0, 1, 2, "again"] and together["again"] == together[0]
    )
    for s in wanted:
        assert (
            together[s].folder.is_relative_to(tmp_path)
            and together[s].record["threads"] == alone[s].record["threads"] == 1
        )
        assert torch.equal(weights(together[s]), weights(alone[s]))
    assert {run.source for run in sweep.fit(wanted)[0].values()} == {"cached"}
    assert "LRFACE_PROGRESS" not in os.environ


def test_a_method_of_the_notebook_and_a_start_and_a_divergence(faces, cores, monkeypatch, capsys):
    """What a notebook registers is known to the workers; who starts from another waits for it; who
    diverges stops nobody."""
    cores(2)
    space = {"__name__": "__main__"}
    exec(MINE, space)
    monkeypatch.setitem(
        models.METHODS,
        "Mine",
        models.Method("Mine", lambda scale, size, made=space["Mine"]: made(scale), "a test"),
    )
    wanted = {
        "mine": (config(method="Mine"), faces),
        "start": (config(), faces),
        "goes on": (config(seed=1, init=config()), faces),
        "goes on too": (config(seed=2, init=config()), faces),
        "diverges": (config(lr=1e30, schedule="constant", loss="mse", steps=50), faces),
    }
    trained, given_up = sweep.fit(wanted)
    assert list(trained) == ["mine", "start", "goes on", "goes on too"] and list(given_up) == [
        "diverges"
    ]
    assert (
        "the loss is" in given_up["diverges"]
        and capsys.readouterr().out.count(given_up["diverges"]) == 1
    )
    assert trained["mine"].model()(torch.rand(1, 3, 8, 8)).shape == (1, 3, 32, 32)
    assert trained["goes on"].record["started"] >= trained["start"].record["started"]


def test_paper_size_networks_take_all_cores_in_turn(faces, cores, monkeypatch):
    cores(2)
    monkeypatch.setattr(sweep, "Parallel", None)
    trained, _ = sweep.fit(
        {size: (config(size=size, steps=1), faces) for size in ("small", "paper")}
    )
    assert (
        trained["paper"].record["threads"] == torch.get_num_threads()
        and trained["small"].record["threads"] == 1
    )


def test_a_chain_of_any_depth_in_any_order(faces, cores):
    """A recogniser behind a restorer that starts from another, and one parent that nobody named."""
    cores(2)
    few = faces.where(torch.arange(32) < 30)
    first = config(steps=2)
    second = config(steps=3, init=runs.RunRef(config=first, faces=few.fingerprint))
    restorer = runs.RunRef(config=second, faces=faces.fingerprint)
    fields = {"method": "FRNET", "loss": "softmax", "patch": None, "steps": 1}
    unnamed = config(steps=1, seed=5)
    wanted = {
        "third": (config(**fields, preprocessor=restorer), few),
        "child of an unnamed one": (config(steps=4, init=unnamed), few),
        "second": (second, faces),
        "first": (first, few),
    }
    found, diverged = sweep.fit(wanted)
    assert list(found) == list(wanted) and not diverged
    assert {run.source for run in found.values()} == {"trained"}
    assert runs.load_run(runs.key_for(unnamed, few)) is not None
    ended = [run.record["started"] for run in (found["first"], found["second"], found["third"])]
    assert ended == sorted(ended)
    again, _ = sweep.fit(wanted)
    assert {name: run.folder for name, run in again.items()} == {
        name: run.folder for name, run in found.items()
    }


def test_only_what_is_needed_is_trained(faces, cores):
    cores(1)
    fingerprint = faces.fingerprint
    first, other = config(steps=2), config(steps=2, seed=1)
    second = config(steps=3, init=runs.RunRef(config=first, faces=fingerprint))
    third = config(steps=4, init=runs.RunRef(config=second, faces=fingerprint))
    chain = {"first": first, "second": second, "third": third, "other": other}
    wanted = {name: (one, faces) for name, one in chain.items()}
    found, _ = sweep.fit(wanted, only=["third"])
    assert list(found) == ["first", "second", "third"]
    for name in ("first", "second"):
        shutil.rmtree(found[name].folder)
    again, _ = sweep.fit(wanted, only=["third"])  # at hand, so its parents need not be
    assert list(again) == ["third"] and again["third"].source == "cached"
    assert not found["first"].folder.exists() and not found["second"].folder.exists()
    assert sweep.fit(wanted, only=[]) == ({}, {})
    assert runs.load_run(runs.key_for(other, faces)) is None


def test_a_run_whose_parent_diverged_is_not_trained(faces, cores, monkeypatch):
    cores(1)
    bad = config(lr=1e30, schedule="constant", loss="mse", steps=50)
    child = config(init=bad)
    wanted = {
        "grandchild": (config(init=child, seed=1), faces),
        "child": (child, faces),
        "bad": (bad, faces),
        "good": (config(), faces),
    }
    found, diverged = sweep.fit(wanted)
    assert list(found) == ["good"] and set(diverged) == {"bad", "child", "grandchild"}
    assert "its parent failed" in diverged["child"] and "the loss is" in diverged["grandchild"]


SCRIPT = """
import sys
from lrface import data, degrade, runs
from lrface.training import loop, sweep
loop.SAVE_SECONDS = 0.0
fields = dict(method="SRCNN", degradation=degrade.setting("4x"), data="celeba", n_train=32)
fields |= dict(steps=4000, batch=4, patch=32)
faces = data.load("celeba", "train", 32)
sweep.os.cpu_count = lambda: 2
sweep.fit({s: (runs.Config(seed=s, **fields), faces) for s in range(2)})
"""


@pytest.mark.slow
def test_a_killed_parent_takes_its_workers_along(own_places):
    parent = subprocess.Popen([sys.executable, "-c", SCRIPT])
    working = own_places / "cache" / "runs"
    deadline = (
        time.monotonic() + 600
    )  # two processes import torch first, which takes minutes on a machine that is busy
    while len(list(working.glob("*.training/last.pt"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.1)
    workers = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(parent.pid)], capture_output=True, text=True
    ).stdout.split()
    assert len(list(working.glob("*.training/last.pt"))) == 2 and len(workers) >= 2
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and any(os.path.exists(f"/proc/{pid}") for pid in workers):
        time.sleep(0.1)
    assert not [pid for pid in workers if os.path.exists(f"/proc/{pid}")]
    assert not [p for p in working.iterdir() if (p / "record.json").exists()]
