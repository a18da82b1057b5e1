"""Every released network loads under its key, whatever the code around it is called by now."""

import json
from pathlib import Path

import pytest
from lrface import models, runs

CHECKPOINTS = sorted((Path(__file__).parents[2] / "results").glob("*/*/checkpoints/*/"))


@pytest.mark.parametrize("folder", CHECKPOINTS, ids=lambda folder: folder.name)
def test_a_released_network_loads_under_its_key(folder):
    run = runs.load_run(folder.name)
    assert run is not None and run.source == "released"
    data = run.record["data"]
    if models.find(run.config.method).labels == "identity":
        assert runs.key(run.config, data["fingerprint"]) == folder.name
    net = run.model()
    assert sum(p.numel() for p in net.parameters()) == run.record["parameters"]


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
