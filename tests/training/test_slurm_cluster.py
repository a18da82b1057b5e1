"""Job arrays on a Slurm cluster: the networks of a study, a cancelled job, two studies.

Skipped without Slurm; ``SLURM_START`` names a script that starts a cluster of one node.
"""

import json
import os
import shutil
import subprocess
import threading
import time
from pathlib import Path

import pytest
from conftest import tiny_config as config
from lrface import data, files, report, runs
from lrface.errors import LrfaceError
from lrface.training import slurm, sweep

CLUSTER = Path(
    os.environ.get(
        "SLURM_START", Path(__file__).parents[3] / "shared" / "tools" / "slurm-one-node.sh"
    )
)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not shutil.which("sbatch"), reason="there is no Slurm here"),
]
STUDY = ["--preset", "smoke", "-p", "methods=bicubic,EDSR,SRCNN,Eigenface", "-p", "settings=4x,8x"]


@pytest.fixture(scope="module", autouse=True)
def cluster():
    """The cluster that this machine belongs to, else one of one node."""
    if subprocess.run(["sinfo"], capture_output=True).returncode == 0:
        yield
        return
    if not CLUSTER.exists():
        pytest.skip("Slurm does not answer, and SLURM_START names no script that starts it")
    subprocess.run([CLUSTER, "start"], check=True, capture_output=True)
    yield
    subprocess.run([CLUSTER, "stop"], check=True)


@pytest.fixture(autouse=True)
def on_slurm(own_places, monkeypatch):
    root = files.project_root()
    for name in (
        "lib",
        "notebooks",
        "requirements.lock",
        "pyproject.toml",
    ):  # the project without what it releases
        (own_places / "project").mkdir(exist_ok=True)
        (own_places / "project" / name).symlink_to(root / name)
    monkeypatch.setenv("LRFACE_ROOT", str(own_places / "project"))
    monkeypatch.setenv("LRFACE_RETRAIN", "1")
    monkeypatch.setenv("LRFACE_JOBS", "slurm:time=30,cpus=1")


def cancel_what_runs(network, times):
    """Cancel ``times`` jobs, each as soon as it trains this network."""
    key, cancelled = runs.key_for(network, data.load("celeba", "train", 32)), []

    def watch():
        while len(cancelled) < times:
            time.sleep(0.2)
            work = files.cache_dir("runs") / f"{key}.training"
            listed = subprocess.run(
                ["squeue", "--me", "-h", "-o", "%A %T"], capture_output=True, text=True
            ).stdout.split("\n")
            running = [line.split()[0] for line in listed if line.endswith(" RUNNING")]
            if work.exists() and running and running[0] not in cancelled:
                # submitit ignores the polite signal, and in the half minute until Slurm insists a
                # training may end well
                subprocess.run(["scancel", "--signal=KILL", f"{running[0]}.0"])
                subprocess.run(["scancel", running[0]])
                cancelled.append(running[0])

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    return cancelled


def test_a_studys_networks_as_a_job_array_are_byte_equal_to_local_ones(
    own_places, monkeypatch, lrface
):
    monkeypatch.setenv("LRFACE_OUT", str(own_places / "slurm"))
    code, out, err = lrface("reproduce", "--study", "01", *STUDY)
    assert code == 0, out + err
    of_jobs = {
        run.name: run
        for run in (own_places / "cache" / "runs").iterdir()
        if (run / "record.json").exists()
    }
    assert len(list((own_places / "cache" / "jobs").glob("*_0_log.out"))) >= 7
    monkeypatch.setenv("LRFACE_OUT", str(own_places / "here"))
    monkeypatch.setenv("LRFACE_CACHE", str(own_places / "other"))
    code, out, err = lrface("reproduce", "--study", "01", *STUDY, "--jobs", "here")
    assert code == 0, out + err
    alone = {
        run.name: run
        for run in (own_places / "other" / "runs").iterdir()
        if (run / "record.json").exists()
    }
    assert of_jobs.keys() == alone.keys() and len(alone) >= 7
    for name, run in alone.items():
        for file in ("model.safetensors", "log.csv", "config.json"):
            assert (run / file).read_bytes() == (of_jobs[name] / file).read_bytes()
    results, _ = report.study_folders("synthetic", "smoke", "01_degradation_settings")
    tables = [
        f for f in results.glob("*.csv") if f.stem not in ("runs", "cost", "scores")
    ]  # these hold times
    assert len(tables) >= 4
    for table in tables:
        assert (
            table.read_bytes()
            == (own_places / "slurm" / table.relative_to(own_places / "here")).read_bytes()
        ), table.name


@pytest.mark.parametrize("times", [1, 2])
def test_a_cancelled_job_is_submitted_once_more_and_then_reported(times, monkeypatch):
    faces = data.load("celeba", "train", 32)
    long = config(steps=4000)
    monkeypatch.setattr(
        slurm, "DEFAULTS", slurm.DEFAULTS | {"cpus": os.cpu_count()}
    )  # one at a time
    cancelled = cancel_what_runs(long, times)
    if times == 1:
        found, diverged = sweep.fit({"long": (long, faces)})
        assert not diverged and found["long"].source == "trained"
    else:
        with pytest.raises(
            LrfaceError,
            match="1 of 1 networks to train failed.* its job ended twice without a result",
        ):
            sweep.fit({"long": (long, faces)})
        assert runs.load_run(runs.key_for(long, faces)) is None
    assert (
        len(cancelled) == times and len(list(files.cache_dir("jobs").glob("*_submission.sh"))) == 2
    )


def test_two_studies_as_an_array():
    words = {
        "00_data_and_degradations": ["reproduce", "--study", "00", "--preset", "smoke"],
        "01_degradation_settings": [
            "reproduce",
            "--study",
            "01",
            *STUDY[:2],
            "-p",
            "methods=bicubic,SRCNN",
            "-p",
            "settings=4x",
        ],
    }
    for study, code, output in slurm.run_studies(words):
        results, _ = report.study_folders("synthetic", "smoke", study)
        assert code == 0 and f"{study}: computed" in output, output
        assert json.loads((results / "record.json").read_text())["study"] == study
        words.pop(study)
    assert not words
