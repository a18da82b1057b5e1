"""Sweeps: the same weights in one process and in several, parents first, only what is needed."""

import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
import torch
from conftest import tiny_config as config
from lrface import data, models, runs
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


@pytest.fixture
def faces():
    return data.load("celeba", "train", 32)


def weights(run):
    return torch.cat(
        [w.flatten() for _, w in sorted(load_file(run.folder / "model.safetensors").items())]
    )


@pytest.fixture
def cores(monkeypatch):
    """``cores(n)``: the machine seems to have so many."""
    return lambda n: monkeypatch.setattr(sweep.os, "cpu_count", lambda: n)


@pytest.mark.slow
def test_several_processes_give_the_weights_of_one(faces, cores, monkeypatch, tmp_path):
    wanted = {s: (config(seed=s), faces) for s in range(3)}
    cores(1)
    before = torch.get_num_threads()
    alone, _ = sweep.fit(wanted)
    assert torch.get_num_threads() == before
    monkeypatch.setenv("LRFACE_CACHE", str(tmp_path))
    cores(2)
    found, diverged = sweep.fit(wanted | {"again": wanted[0]})
    assert not diverged
    assert list(found) == [0, 1, 2, "again"] and found["again"] == found[0]
    for s in wanted:
        assert found[s].folder.is_relative_to(tmp_path)
        assert found[s].record["threads"] == alone[s].record["threads"] == 1
        assert torch.equal(weights(found[s]), weights(alone[s]))
    assert {run.source for run in sweep.fit(wanted)[0].values()} == {"cached"}
    assert "LRFACE_PROGRESS" not in os.environ


def test_small_networks_share_a_gpu_while_they_fit(faces, cores, monkeypatch):
    cores(16)
    monkeypatch.setattr(sweep.runs, "device", lambda: torch.device("cuda"))
    trainings = {str(s): (config(seed=s), faces) for s in range(8)}

    def at_once(free, these=trainings):
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (free, 0))
        return sweep._workers(these)

    host = sweep.psutil.virtual_memory()._replace(available=100 * sweep.MEMORY)
    monkeypatch.setattr(sweep.psutil, "virtual_memory", lambda: host)
    assert at_once(80 << 30) == sweep.PER_GPU and at_once(1 << 30) == 1 and at_once(0) == 1
    assert at_once(80 << 30, dict(list(trainings.items())[:2])) == 2
    large = {"large": (config(size="paper"), faces)}
    assert at_once(80 << 30, trainings | large) == 1
    cores(4)
    assert at_once(80 << 30) == 2  # each has its faces to decode


@pytest.mark.slow
def test_workers_know_the_notebook_s_methods_and_one_may_diverge(faces, cores, monkeypatch, capsys):
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
    found, diverged = sweep.fit(wanted)
    assert list(found) == ["mine", "start", "goes on", "goes on too"]
    assert list(diverged) == ["diverges"] and "the loss is" in diverged["diverges"]
    assert capsys.readouterr().out.count(diverged["diverges"]) == 1
    assert found["mine"].model()(torch.rand(1, 3, 8, 8)).shape == (1, 3, 32, 32)
    assert found["goes on"].record["started"] >= found["start"].record["started"]


@pytest.mark.slow
def test_large_networks_take_all_cores_after_the_others(faces, cores):
    cores(2)
    kinds = {"large": ("EDSR", "paper"), "small": ("EDSR", "small"), "tiny": ("SRCNN", "paper")}
    wanted = {n: (config(method=m, size=size, steps=1), faces) for n, (m, size) in kinds.items()}
    found, _ = sweep.fit(wanted)
    assert found["large"].record["threads"] == torch.get_num_threads()
    assert found["small"].record["threads"] == found["tiny"].record["threads"] == 1
    began = {name: run.record["started"] for name, run in found.items()}
    assert began["large"] >= max(began["small"], began["tiny"])


@pytest.mark.slow
def test_a_chain_of_any_depth_in_any_order(faces, cores):
    """A recogniser behind a restorer that starts from another, and a parent that nobody named."""
    cores(1)
    few = faces.where(torch.arange(32) < 30)
    first = config(steps=2)
    second = config(steps=3, init=runs.RunRef(config=first, faces=few.fingerprint))
    restorer = runs.RunRef(config=second, faces=faces.fingerprint)
    fields = {"method": "CentreFace", "loss": "softmax", "patch": None, "steps": 1}
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


@pytest.mark.slow
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


@pytest.mark.slow
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
