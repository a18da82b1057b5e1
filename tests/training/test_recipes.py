"""Recipes give every method the training it has in the studies, so that released networks keep
their keys."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from lrface import degrade, models
from lrface.errors import UsageError
from lrface.training import config as configs
from lrface.training import recipes

STORED = json.loads(Path(__file__).with_name("study_configs.json").read_text())
"""Made by the cells of studies 01 and 02 that used to hold the recipes, before they moved here."""
N_TRAIN = {"smoke": 16}


@pytest.mark.parametrize("name", STORED["study 01"])
def test_study_01(name):
    preset, setting, method = name.split()
    found = recipes.config(
        method,
        degrade.setting(setting),
        "synthetic",
        preset,
        n_train=N_TRAIN.get(preset),
        n_faces=STORED["faces"],
    )
    key, *stored = STORED["study 01"][name]
    assert [getattr(found, column) for column in STORED["columns"][1:]] == stored
    assert configs.key(found, STORED["fingerprint"]) == key
    start = models.method(method).recipe and models.method(method).recipe.start
    assert (found.init and found.init.method) == start


def test_every_method_preset_and_setting_is_covered():
    trained = {m.name: m for m in models.METHODS.values() if m.trainable}
    pairs = {(m.name, s) for m in trained.values() for s in degrade.SETTINGS}
    pairs = {(m, s) for m, s in pairs if degrade.setting(s).scale in trained[m].scales}
    assert {(preset, m, s) for preset in recipes.SIZES for m, s in pairs} == {
        (preset, m, s) for preset, s, m in map(str.split, STORED["study 01"])
    }


def test_the_released_networks_of_study_01_have_these_keys():
    folder = Path(__file__).parents[2] / "results" / "synthetic" / "quick"
    listed = pd.read_csv(folder / "01_degradation_settings" / "runs.csv")
    stored = {key for name, (key, *_) in STORED["study 01"].items() if name.startswith("quick")}
    whole = listed["train_fingerprint"] == STORED["fingerprint"]  # others: one group's people
    assert set(listed.loc[whole & (listed["method"] != "FRNET"), "key"]) <= stored


@pytest.mark.parametrize("name", STORED["study 02"])
def test_study_02_changes_the_steps_alone(name):
    preset, setting, method = name.split()[:3]
    key, n_train, steps = STORED["study 02"][name]
    short = preset in ("smoke", "quick")
    found = recipes.config(
        method,
        degrade.setting(setting),
        "synthetic",
        "quick" if short else "paper",
        n_train=n_train,
        steps=steps,
        lr=1e-3 if short else 1e-4,
    )
    assert configs.key(found, STORED["fingerprint"]) == key


def test_narrow_networks_are_trained_by_their_method_s_own_numbers(monkeypatch):
    at_8x, narrow = degrade.setting("8x"), dict(size="narrow")
    plain = recipes.config("RCAN", at_8x, "synthetic", "quick")
    same = recipes.config("RCAN", at_8x, "synthetic", "quick", **narrow, steps=plain.steps)
    assert same.size == "narrow" and plain.size == "small"
    own = replace(models.METHODS["RCAN"].recipe, narrow={"steps": 70, "lr": 5e-4})
    changed = replace(models.METHODS["RCAN"], recipe=own)
    monkeypatch.setitem(models.METHODS, "RCAN", changed)
    assert recipes.config("RCAN", at_8x, "synthetic", "quick") == plain
    found = recipes.config("RCAN", at_8x, "synthetic", "quick", **narrow)
    assert (found.steps, found.lr, found.loss) == (140, 5e-4, "l1")
    assert recipes.config("RCAN", at_8x, "synthetic", "smoke", **narrow).steps == 4
    row = recipes.table(["RCAN"], "quick", "narrow").loc["RCAN"]
    assert (row["steps"], row["learning rate"]) == ("70 (140 at 8x)", 5e-4)


def test_a_change_leaves_the_start_as_it_is():
    at_8x = degrade.setting("8x")
    found = recipes.config("DICGAN", at_8x, "synthetic", "quick", steps=7, seed=3)
    assert found.steps == 7 and found.seed == found.init.seed == 3
    assert found.init == recipes.config("DICNet", at_8x, "synthetic", "quick", seed=3)
    assert recipes.config("DICGAN", at_8x, "synthetic", "quick", init=None).init is None


def test_wrong_calls_are_refused():
    at_4x = degrade.setting("4x")
    with pytest.raises(UsageError, match="choose one of smoke, quick, gpu, paper"):
        recipes.config("EDSR", at_4x, "synthetic", "fast")
    with pytest.raises(UsageError, match="choose one of smoke, quick, gpu, paper"):
        recipes.config("EDSR", at_4x, "synthetic", "fast", size="paper")
    with pytest.raises(UsageError, match="n_faces"):
        recipes.config("EDSR", at_4x, "synthetic", "paper")
    with pytest.raises(UsageError, match="did you mean 'EDSR'"):
        recipes.config("EDRS", at_4x, "synthetic", "quick")


def test_the_table_says_what_config_gives():
    table = recipes.table(models.METHODS, "quick")
    assert "bicubic" not in table.index
    assert table.loc["EDSR", ["steps", "patch", "loss"]].tolist() == [
        "1,800 (3,600 at 8x)",
        64,
        "l1",
    ]
    assert table.loc["Eigenface", "steps"] == "one pass"
    assert table.loc["DICGAN", "starts from"] == "DICNet"
    assert table["source"].str.len().min() > 0
    nothing_trained = recipes.table(["bicubic"], "quick")
    assert nothing_trained.empty and [*nothing_trained] == [*table]
    assert set(recipes.table(["EDSR", "RCAN"], "paper")["steps"]) == {"20 epochs"}
    assert recipes.table(["WaveletSRNet"], "gpu")["learning rate"].item() == 2e-4
