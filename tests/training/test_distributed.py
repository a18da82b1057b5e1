"""Two processes train as one does: the same gradients, the same network, also after a kill."""

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from lrface import data, degrade, models, runs
from lrface.errors import LrfaceError
from lrface.models.objective import Batch
from lrface.training import distributed
from safetensors.torch import load_file

LINE = re.search(
    r"^(\.venv/bin/torchrun .*?config\.json)\b",
    (Path(__file__).parents[2] / "README.md").read_text(),
    re.M,
)[1]
SPY = """
import sys, torch
from lrface.training import __main__
step = torch.optim.Adam.step
def spied(self, *arguments, **options):
    gradients = [p.grad for group in self.param_groups for p in group["params"]]
    torch.save(gradients, sys.argv[1] + ".gradients")
    return step(self, *arguments, **options)
torch.optim.Adam.step = spied
raise SystemExit(__main__.main())
"""
OFTEN = (
    "from lrface.training import __main__, loop\n"
    "loop.SAVE_SECONDS = 0.0\n"
    "raise SystemExit(__main__.main())\n"
)


def config(**changes):
    fields = {
        "method": "EDSR",
        "degradation": degrade.setting("4x_DN"),
        "data": "celeba",
        "n_train": 32,
    }
    return runs.Config(
        **(fields | {"steps": 60, "batch": 8, "patch": 32, "lr": 1e-3, "seed": 3} | changes)
    )


@pytest.fixture
def torchrun(tmp_path, monkeypatch):
    """Start README's command on a config; ``script`` is run instead of the module."""
    monkeypatch.setenv("LRFACE_DEVICE", "cpu")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")

    def start(one, script=None):
        (tmp_path / "config.json").write_text(one.model_dump_json())
        words = shlex.split(LINE)
        words[0] = str(Path(sys.executable).with_name("torchrun"))
        if script:
            (tmp_path / "script.py").write_text(script)
            words = [*words[: words.index("-m")], "script.py", "config.json"]
        return subprocess.Popen(
            words, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    return start


def weights(run):
    return load_file(run.folder / "model.safetensors")


def done(process):
    out, err = process.communicate(timeout=600)
    assert process.returncode == 0, err[-3000:]
    return out


@pytest.mark.slow
def test_two_processes_have_the_gradients_of_one(torchrun, tmp_path, monkeypatch):
    one = config(steps=1)
    done(torchrun(one, SPY))
    ours, true = torch.load(tmp_path / "config.json.gradients", weights_only=True), []
    step = torch.optim.Adam.step

    def spied(self, *arguments, **options):
        true.extend(p.grad.clone() for p in self.param_groups[0]["params"])
        return step(self, *arguments, **options)

    monkeypatch.setattr(torch.optim.Adam, "step", spied)
    runs.fit(one, retrain=True)
    ours, true = (torch.cat([g.flatten() for g in some]) for some in (ours, true))
    assert float((ours - true).norm() / true.norm()) < 1e-4 and float(true.norm()) > 0


@pytest.mark.slow
def test_the_readme_s_command_trains_the_network_of_one_process_under_its_key(
    torchrun, own_places, monkeypatch
):
    one = config(data="synthetic")
    assert "EDSR-small 4x_DN on synthetic: trained" in done(torchrun(one))
    both = runs.fit(one)
    assert both.source == "cached" and both.record["processes"] == 2
    monkeypatch.setenv("LRFACE_CACHE", str(own_places / "alone"))
    alone = runs.fit(one)
    assert alone.source == "trained" and "processes" not in alone.record
    assert abs(both.record["val_psnr"] - alone.record["val_psnr"]) < 0.05
    assert [row["step"] for row in both.log] == [row["step"] for row in alone.log]
    assert np.allclose(
        [row["loss"] for row in both.log], [row["loss"] for row in alone.log], rtol=1e-3
    )


@pytest.mark.slow
def test_after_a_kill_the_same_command_ends_with_the_same_weights(
    torchrun, own_places, monkeypatch
):
    one = config(steps=150)
    first = torchrun(one, OFTEN)
    working, deadline = own_places / "cache" / "runs", time.monotonic() + 300
    while not list(working.glob("*.training/last.pt")) and time.monotonic() < deadline:
        time.sleep(0.05)
    children = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(first.pid)], capture_output=True, text=True
    ).stdout.split()
    assert len(children) == 2
    for pid in children:
        os.kill(int(pid), signal.SIGKILL)
    first.communicate()
    assert first.returncode != 0 and not [
        p for p in working.iterdir() if (p / "record.json").exists()
    ]
    done(torchrun(one, OFTEN))
    resumed = runs.fit(one)
    assert resumed.source == "cached" and resumed.record["resumed"] == 1
    monkeypatch.setenv("LRFACE_CACHE", str(own_places / "undisturbed"))
    done(torchrun(one))
    whole = runs.fit(one)
    assert whole.record["resumed"] == 0
    assert (whole.folder / "log.csv").read_bytes() == (resumed.folder / "log.csv").read_bytes()
    assert all(torch.equal(w, weights(whole)[name]) for name, w in weights(resumed).items())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"batch": 5}, "a batch of 5 cannot be shared equally by 2 processes"),
        ({"method": "WaveletSRNet"}, "batch normalisation would see a share of each batch"),
    ],
)
def test_what_cannot_be_shared_is_refused_in_one_sentence(torchrun, changes, why):
    process = torchrun(config(**changes))
    out, err = process.communicate(timeout=600)
    assert (
        process.returncode == 1 and len(re.findall(f"^lrface: .*{why}", err, re.M)) == 1 and not out
    )


@pytest.mark.parametrize("method", [*models.METHODS, *models.RECOGNISERS])
def test_an_objective_is_shared_only_if_it_is_a_mean_over_faces(method, monkeypatch):
    """Of four faces the loss is the mean of those of two pairs.

    One face has no landmarks.
    """
    known = models.find(method)
    for name, make in known.objectives.items():
        torch.manual_seed(0)
        net = models.build(method, 4, classes=7)
        objective, n = make(net), 4
        with monkeypatch.context() as patch:
            patch.setattr(distributed, "rank_and_world_size", lambda: (0, 2))
            try:
                distributed.check_split(net, objective, n, method)
            except LrfaceError:
                continue
        labels = torch.rand(n, 7).round() if known.labels == "attributes" else torch.arange(n)
        points = 20 + 88 * torch.rand(n, 68, 2)
        points[0] = torch.nan if known.restores else points[0]
        native = torch.tensor([True, False, False, False])
        whole = Batch(torch.rand(n, 3, 32, 32), torch.rand(n, 3, 128, 128), points, labels, native)
        parts = [Batch(*(part[i::2] for part in whole)) for i in range(2)]
        with torch.no_grad():
            # a new one for each: some count the steps they have seen
            losses = [float(make(net)(net, batch)["loss"]) for batch in (whole, *parts)]
        assert losses[0] == pytest.approx(sum(losses[1:]) / 2, rel=1e-4), name


def test_a_file_that_is_no_config_is_refused_in_one_sentence(tmp_path, monkeypatch, capsys):
    from lrface.training import __main__

    (tmp_path / "config.json").write_text('{"method": "SRCNN"}')
    for file, why in (
        (tmp_path / "config.json", "is no config: degradation: field required"),
        (tmp_path / "none.json", "cannot read"),
    ):
        monkeypatch.setattr(sys, "argv", ["fit", str(file)])
        assert __main__.main() == 2 and why in capsys.readouterr().err
    (tmp_path / "config.json").write_text(config(method="SRCNN", steps=1).model_dump_json())
    monkeypatch.setattr(sys, "argv", ["fit", str(tmp_path / "config.json")])
    assert __main__.main() == 0 and ": trained, " in capsys.readouterr().out
    assert (
        runs.load_run(
            runs.key_for(config(method="SRCNN", steps=1), data.load("celeba", "train", 32))
        )
        is not None
    )
