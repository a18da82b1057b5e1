"""The key of a config changes with all that decides the weights; what does not fit is refused."""

import pytest
from conftest import tiny_config as config
from lrface import degrade, models, runs
from lrface.training import config as config_module
from pydantic import ValidationError


@pytest.mark.parametrize(
    "change",
    [
        {"lr": 2e-4},
        {"steps": 7},
        {"degradation": degrade.setting("4x", seed=1)},
        {"loss": "mse"},
        {"n_train": 31},
        {"size": "paper"},
    ],
)
def test_any_changed_hyperparameter_is_another_run(change):
    assert runs.key(config(), "f") != runs.key(config(**change), "f")


def test_data_and_versions_are_in_the_key(monkeypatch):
    before = runs.key(config(), "f")
    assert runs.key(config(), "g") != before
    monkeypatch.setattr(config_module, "LOOP_VERSION", config_module.LOOP_VERSION + 1)
    assert runs.key(config(), "f") != before
    monkeypatch.undo()
    old = models.METHODS["SRCNN"]
    monkeypatch.setitem(
        models.METHODS, "SRCNN", models.Method(old.name, old.build, old.source, old.version + 1)
    )
    assert runs.key(config(), "f") != before


def test_a_config_refuses_what_it_does_not_know():
    for wrong in (
        {"learning_rate": 1e-3},
        {"steps": 0},
        {"steps": "10"},
        {"lr": -1.0},
        {"loss": "l3"},
    ):
        with pytest.raises(ValidationError):
            config(**wrong)


@pytest.mark.parametrize(
    "changes, sentence",
    [
        ({"preprocessor": "bicubic"}, "SRCNN restores faces itself"),
        (
            {"method": "Joint", "loss": "paper", "preprocessor": "bicubic"},
            "Joint restores faces itself",
        ),
        (
            {
                "method": "FRNET",
                "loss": "paper",
                "preprocessor": config(degradation=degrade.setting("8x")),
            },
            "must restore at 4x",
        ),
        (
            {
                "method": "FRNET",
                "loss": "paper",
                "preprocessor": config(method="FRNET", loss="softmax"),
            },
            "must restore at 4x",
        ),
        ({"method": "FRNET", "loss": "paper", "preprocessor": "nearest"}, "preprocessor"),
    ],
)
def test_a_preprocessor_that_does_not_fit_is_refused(changes, sentence):
    with pytest.raises(ValidationError, match=sentence):
        config(**changes)
