"""A training in stages: stopped anywhere it ends with the same weights; what its log says."""

from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import face_shapes, weights_of
from conftest import tiny_config as config
from lrface import data, degrade, models, runs
from lrface.errors import LrfaceError, UsageError
from lrface.training import distributed, loop, stages

STEPS = 12


@pytest.fixture(autouse=True)
def with_landmarks(monkeypatch):
    """The drawn faces get landmarks: nothing is detected in them."""
    monkeypatch.setattr(runs, "landmarks", lambda faces: face_shapes(len(faces), 128, 128))
    monkeypatch.setattr(loop, "SAVE_SECONDS", 0.0)


def cbn(**changes):
    fields = {"method": "CBN", "size": "narrow", "loss": "even", "patch": None, "steps": STEPS}
    return config(**(fields | {"batch": 2, "n_train": 6} | changes))


@pytest.fixture(scope="module")
def whole(tmp_path_factory, drawn_root):
    """The weights and the log of a training that nothing interrupts."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LRFACE_DATA", str(drawn_root))
        patch.setenv("LRFACE_CACHE", str(tmp_path_factory.mktemp("whole")))
        patch.setattr(runs, "landmarks", lambda faces: face_shapes(len(faces), 128, 128))
        run = runs.fit(cbn())
        return weights_of(run), run.log, run.record


@pytest.mark.slow
def test_the_log_names_the_stages_and_their_trivial_losses(whole):
    _, log, record = whole
    parts = [f"cascade {k}, {part}" for k in (1, 2) for part in ("A", "B", "joint")]
    assert [row["stage"] for row in log] == [part for part in parts for _ in range(2)]
    assert [row["step"] for row in log] == list(range(1, STEPS + 1))
    assert all(row["trivial"] > 0 and np.isfinite(row["loss"]) for row in log)
    assert [np.isfinite(row["val_psnr"]) for row in log if row["step"] % 6 == 0] == [True, True]
    assert record["resumed"] == 0 and record["loss"] == log[-1]["loss"]
    assert not list(Path(record["key"]).glob("*.pt"))


def same(run, whole):
    weights = weights_of(run)
    return all(torch.equal(w, whole[0][name]) for name, w in weights.items())


@pytest.mark.slow
@pytest.mark.parametrize("boundary", range(1, 9))
def test_killed_between_two_stages(whole, boundary, monkeypatch):
    """Two of a cascade's four stages at a time: after a field's step, A, B and the joint stage."""
    save = stages._save

    def stop(net, done, file):
        save(net, done, file)
        if done.stages == boundary:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(stages, "_save", stop)
        runs.fit(cbn())
    fitted = []
    fit_field = stages._whole_faces
    monkeypatch.setattr(stages, "_whole_faces", lambda *a: fitted.append(1) or fit_field(*a))
    run = runs.fit(cbn())
    assert same(run, whole) and run.record["resumed"] == 1
    assert [row["stage"] for row in run.log] == [row["stage"] for row in whole[1]]
    assert len(fitted) == 2 - (boundary >= 1) - (boundary >= 5)


@pytest.mark.slow
@pytest.mark.parametrize("at", [1, 7])
def test_killed_inside_a_stage(whole, at, monkeypatch):
    seen, step = [], loop._step_in_memory

    def stop(*arguments):
        seen.append(1)
        if len(seen) == at + 1:
            raise KeyboardInterrupt
        return step(*arguments)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(loop, "_step_in_memory", stop)
        runs.fit(cbn())
    run = runs.fit(cbn())
    assert same(run, whole) and run.record["resumed"] == 1
    assert not list(run.folder.glob("*.pt"))


@pytest.mark.slow
def test_a_damaged_checkpoint_starts_again(whole, own_places, monkeypatch, capsys):
    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(stages, "_save", stop)
        runs.fit(cbn())
    (work,) = own_places.glob("cache/runs/*.training")
    (work / "finished.pt").write_bytes(b"PK\x03\x04 half a checkpoint")
    assert same(runs.fit(cbn()), whole)
    assert "starts again from the first stage" in capsys.readouterr().out


def test_several_processes_are_refused(monkeypatch, tmp_path):
    monkeypatch.setattr(distributed, "rank_and_world_size", lambda: (0, 2))
    net = models.restorer("CBN", 2)
    with pytest.raises(LrfaceError, match="train it in one process"):
        stages.train(net, None, [], None, folder=tmp_path, label="CBN")


@pytest.mark.slow
def test_a_run_of_faces_at_one_distance_wants_such_faces():
    with pytest.raises(UsageError, match="bring them there"):
        runs.fit(cbn(degradation=degrade.setting("5px")), data.load("celeba", "train", 6))
