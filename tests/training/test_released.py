"""Every released network loads under its key, whatever the code around it is called by now."""

import json
from pathlib import Path

import pytest
from lrface import data, models, runs

CHECKPOINTS = sorted((Path(__file__).parents[2] / "results").glob("*/*/checkpoints/*/"))


@pytest.mark.parametrize("folder", CHECKPOINTS, ids=lambda folder: folder.name)
def test_a_released_network_loads_under_its_key(folder):
    run = runs.load_run(folder.name)
    assert run is not None and run.source == "released"
    fingerprint, config = run.record["data"]["fingerprint"], run.config
    if models.find(config.method).labels != "attributes":
        assert runs.key(config, fingerprint) == folder.name
    else:  # its key is over the labels, too, which the record does not state
        faces = data.load(config.data, "train", config.n_train)
        assert config.data == "synthetic" and faces.fingerprint == fingerprint
        assert runs.key_for(config, faces) == folder.name
    net = run.model()
    assert sum(p.numel() for p in net.parameters()) == run.record["parameters"]
    assert all(p.isfinite().all() for p in net.parameters())


def test_the_runs_that_a_released_one_starts_from_are_released_under_their_keys():
    """All but the first stage of CSRI, which no table needs."""
    found = []
    for folder in CHECKPOINTS:
        run = runs.load_run(folder.name)
        for parent in run.config.parents:
            if isinstance(parent, runs.RunRef):
                config, key = parent.config, parent.key
            else:
                config, key = parent, runs.key(parent, run.record["data"]["fingerprint"])
            found.append(config.method)
            if config.method != "CSRI":
                assert runs.load_run(key).config == config
    assert {"EDSR", "SRNET", "DICNet", "CentreFace", "CSRI"} <= set(found)


def test_the_old_name_of_a_field_is_read_and_written():
    stored = next(
        text
        for folder in CHECKPOINTS
        if '"front": {' in (text := (folder / "config.json").read_text())
    )
    config = runs.Config.model_validate_json(stored)
    assert isinstance(config.preprocessor, runs.Config | runs.RunRef)
    assert json.loads(config.model_dump_json())["front"] == json.loads(stored)["front"]
    given = {"preprocessor": "bicubic", "method": "FRNET", "loss": "paper"}
    fields = json.loads(stored) | given
    fields.pop("front")
    assert runs.Config.model_validate_json(json.dumps(fields)).preprocessor == "bicubic"
