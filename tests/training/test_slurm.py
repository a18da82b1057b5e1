"""Job arrays, run by processes of this machine: no Slurm is needed.

The weights are those of local training; a lost job is submitted once more and then reported.
"""

import os
import signal
import sys
import time

import cloudpickle
import pytest
import submitit
import torch
from conftest import tiny_config as config
from lrface import data, models, runs
from lrface.errors import LrfaceError, UsageError
from lrface.training import slurm, sweep


@pytest.fixture
def submitted(monkeypatch):
    """Local processes instead of Slurm; gives a list of the sizes of the arrays submitted."""
    counts = []

    class Local(submitit.LocalExecutor):
        def update_parameters(self, **parameters):
            super().update_parameters(timeout_min=5)

        def submit_array(self, calls):
            counts.append(len(calls))
            return super().submit_array(calls)

    monkeypatch.setattr(submitit, "SlurmExecutor", Local)
    monkeypatch.setattr(submitit.LocalJob, "_results_timeout_s", 0)
    monkeypatch.setattr(slurm.shutil, "which", lambda name: name)
    monkeypatch.setenv("LRFACE_JOBS", "slurm")
    cloudpickle.register_pickle_by_value(sys.modules[__name__])  # a job finds no tests to import
    yield counts
    cloudpickle.unregister_pickle_by_value(sys.modules[__name__])


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def mine(scale, size):
    return torch.nn.Sequential(
        torch.nn.Conv2d(3, 3 * scale**2, 3, padding=1), torch.nn.PixelShuffle(scale)
    )


def deadly(scale, size):
    return die() if "SUBMITIT_EXECUTOR" in os.environ else mine(scale, size)


def die_once(mark):
    if not mark.exists():
        mark.touch()
        die()
    return "at last"


def test_one_setting_says_where(monkeypatch):
    monkeypatch.delenv("LRFACE_JOBS", raising=False)
    assert slurm.launcher() == slurm.Launcher("local")
    monkeypatch.setenv("LRFACE_JOBS", "here")
    assert slurm.launcher().kind == "here"
    monkeypatch.setattr(slurm.shutil, "which", lambda name: name)
    monkeypatch.setenv("LRFACE_JOBS", "slurm:partition=a_b,time=60,gpus=1")
    assert slurm.launcher() == slurm.Launcher("slurm", {"partition": "a_b", "time": 60, "gpus": 1})


@pytest.mark.parametrize(
    "text", ["cloud", "here:time=3", "slurm:time", "slurm:time=long", "slurm:hours=3"]
)
def test_a_setting_that_cannot_be_read_is_refused(text, monkeypatch):
    monkeypatch.setattr(slurm.shutil, "which", lambda name: name)
    monkeypatch.setenv("LRFACE_JOBS", text)
    with pytest.raises(UsageError, match=f"LRFACE_JOBS={text}: "):
        sweep.fit({})


def test_slurm_is_asked_for_before_anything_else(monkeypatch):
    monkeypatch.setattr(slurm.shutil, "which", lambda name: None)
    monkeypatch.setenv("LRFACE_JOBS", "slurm")
    with pytest.raises(UsageError, match="not on this machine"):
        sweep.fit({"a": (config(), data.load("celeba", "train", 32))})


def test_here_means_one_after_another_in_this_process(monkeypatch):
    built = []

    def build(scale, size):
        built.append(os.getpid())
        return mine(scale, size)

    monkeypatch.setenv("LRFACE_JOBS", "here")
    monkeypatch.setitem(models.METHODS, "Mine", models.Method("Mine", build, "a test"))
    faces = data.load("celeba", "train", 32)
    wanted = {seed: (config(method="Mine", seed=seed, steps=1), faces) for seed in range(2)}
    found, _ = sweep.fit(wanted)
    assert [run.source for run in found.values()] == ["trained", "trained"]
    assert built == [os.getpid()] * 2


@pytest.mark.slow
def test_jobs_give_the_files_of_local_training(submitted, monkeypatch, tmp_path):
    """With a method that only the notebook knows, a parent, and a training that diverges."""
    faces = data.load("celeba", "train", 32)
    monkeypatch.setitem(models.METHODS, "Mine", models.Method("Mine", mine, "a test"))
    wanted = {
        "mine": (config(method="Mine"), faces),
        "goes on": (config(seed=1, init=config()), faces.where(torch.arange(32) < 30)),
        "diverges": (config(lr=1e30, schedule="constant", loss="mse", steps=50), faces),
    }
    found, diverged = sweep.fit(wanted)
    assert submitted == [3, 1]  # the parent of "goes on" is a training of its own
    assert list(found) == ["mine", "goes on"] and "the loss is" in diverged["diverges"]
    assert {run.source for run in found.values()} == {"trained"}
    monkeypatch.setenv("LRFACE_JOBS", "here")
    monkeypatch.setenv("LRFACE_CACHE", str(tmp_path))
    alone, _ = sweep.fit(wanted)
    for name, run in alone.items():
        assert run.folder.is_relative_to(tmp_path) and run.folder != found[name].folder
        for file in ("model.safetensors", "log.csv", "config.json"):
            assert (run.folder / file).read_bytes() == (found[name].folder / file).read_bytes()
    assert submitted == [3, 1]


@pytest.mark.slow
def test_a_lost_job_is_submitted_once_more_and_then_reported(submitted, tmp_path):
    calls = {
        "a": die,
        "b": lambda: "b",
        "c": lambda: die_once(tmp_path / "mark"),
        "d": lambda: 1 / 0,
    }
    ended = dict(slurm.job_array("test", calls, {}))
    assert submitted == [4, 3]
    assert (ended["b"], ended["c"]) == ("b", "at last")
    for name, why in (
        ("a", "ended twice without a result"),
        ("d", "ZeroDivisionError: division by zero"),
    ):
        assert (
            isinstance(ended[name], LrfaceError)
            and why in str(ended[name])
            and "_log.out" in str(ended[name])
        )


@pytest.mark.slow
def test_a_lost_network_is_an_error_after_the_others_have_ended(submitted, monkeypatch):
    faces = data.load("celeba", "train", 32)
    monkeypatch.setitem(models.METHODS, "Mine", models.Method("Mine", deadly, "a test"))
    killed = config(method="Mine")
    with pytest.raises(
        LrfaceError,
        match="1 of 2 networks to train failed, the others are kept: Mine-small .* ended twice",
    ):
        sweep.fit({"dies": (killed, faces), "lives": (config(), faces)})
    assert submitted == [2, 1]
    assert runs.load_run(runs.key_for(config(), faces)) and not runs.load_run(
        runs.key_for(killed, faces)
    )


def test_a_run_that_this_machine_cannot_see_is_an_error(monkeypatch):
    faces = data.load("celeba", "train", 32)
    run = runs.Run(runs.cache_dir("elsewhere"), config(), {}, "trained")
    monkeypatch.setattr(
        slurm, "job_array", lambda label, calls, settings: [(key, (run, "")) for key in calls]
    )
    monkeypatch.setattr(slurm, "launcher", lambda: slurm.Launcher("slurm"))
    with pytest.raises(LrfaceError, match="put LRFACE_CACHE where all nodes see it"):
        sweep.fit({"a": (config(), faces)})


@pytest.mark.slow
def test_after_an_interrupt_the_jobs_go_on_and_the_same_call_waits_for_them(
    submitted, monkeypatch, capsys
):
    def stopped(*arguments, **options):
        raise KeyboardInterrupt

    calls = {"a": lambda: time.sleep(3) or "a"}
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(slurm, "as_completed", stopped)
        dict(slurm.job_array("test", calls, {}))
    assert "goes on (scancel ends it)" in capsys.readouterr().err
    assert dict(slurm.job_array("test", calls, {})) == {"a": "a"} and submitted == [1]
    assert dict(slurm.job_array("test", calls, {})) == {"a": "a"} and submitted == [1, 1]


@pytest.mark.slow
def test_studies_give_their_exit_codes_and_output(submitted):
    ended = {
        study: (code, output)
        for study, code, output in slurm.run_studies(
            {"00": ["--help"], "01": ["reproduce", "--study", "1000"]}
        )
    }
    assert ended["00"][0] == 0 and "reproduce" in ended["00"][1]
    assert ended["01"][0] == 2 and "no study '1000'" in ended["01"][1]


def test_several_studies_of_one_command_are_an_array(submitted, monkeypatch, lrface):
    asked = {}
    monkeypatch.setattr(
        slurm,
        "run_studies",
        lambda words: asked.update(words) or [("a", 0, "a: computed\n"), ("b", 1, "b failed\n")],
    )
    monkeypatch.setenv("LRFACE_JOBS", "local")
    options = ["--preset", "smoke", "-p", "data=celeba", "--force"]
    code, out, err = lrface("reproduce", "--study", "00,01", *options, "--jobs", "slurm:time=5")
    assert (code, out) == (1, "a: computed\nb failed\n") and os.environ[
        "LRFACE_JOBS"
    ] == "slurm:time=5"
    assert list(asked) == ["00_data_and_degradations", "01_degradation_settings"]
    assert asked["01_degradation_settings"][:3] == [
        "reproduce",
        "--study",
        "01_degradation_settings",
    ]
    assert {"-p", "data=celeba", "--force", "--preset", "smoke"} <= set(
        asked["00_data_and_degradations"]
    )
    assert lrface("reproduce", "--jobs", "cloud")[0] == 2


def test_squeue_is_called_for_all_jobs_at_once_and_not_too_often(monkeypatch):
    asked = []
    monkeypatch.setattr(
        "submitit.core.core.subprocess.check_output",
        lambda command, shell: asked.append(command) or b"7_0|RUNNING\n8|PENDING\n",
    )
    queue = slurm._QueueWatcher()
    for job in ("7_0", "7_1", "8"):
        queue.register_job(job)
    assert [queue.is_done(job) for job in ("7_0", "7_1", "8")] == [False, True, False]
    assert len(asked) == 1 and asked[0][0] == "squeue"
    queue._last_status_check -= slurm.POLL_SECONDS - 1
    assert queue.get_state("7_1") == "GONE" and len(asked) == 1
    queue._last_status_check -= 2
    assert queue.get_state("7_0") == "RUNNING" and len(asked) == 2
