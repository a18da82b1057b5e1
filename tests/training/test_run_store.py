"""Runs as folders: damaged ones are refused, released ones come first, in 16 or 8 bits."""

import json

import pytest
import torch
from conftest import tiny_config as config
from conftest import weights_of as weights
from lrface import files, runs
from lrface.errors import LrfaceError
from lrface.training import quantize
from safetensors.torch import load_file, save_file


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

    file = run.folder / "model.safetensors"
    save_file({k: v.half() for k, v in weights(run).items()}, file)
    record = json.loads((run.folder / "record.json").read_text()) | {"sha256": files.sha256(file)}
    (run.folder / "record.json").write_text(json.dumps(record))
    assert all(p.dtype == torch.float32 for p in runs.fit(config()).model().parameters())


@pytest.mark.slow
def test_a_small_network_is_released_in_half_precision(tmp_path, monkeypatch):
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


def test_a_large_network_is_released_in_eight_bits(tmp_path):
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


def test_where_nothing_is_trained_the_sentence_has_advice():
    with pytest.raises(LrfaceError, match="make reproduce"):
        runs.best_run("Eigenface", "8x")  # never released
    with pytest.raises(LrfaceError, match="nothing to train"):
        runs.fit(config(method="bicubic"))
