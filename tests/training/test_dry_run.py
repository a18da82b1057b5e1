"""Dry runs say what the trainings of a study would cost, and write nothing."""

import os

import nbformat
import papermill
import pytest
from lrface.execution import notebooks

PARAMETERS = """
from typing import Literal
data: str = "celeba"
preset: Literal["smoke", "quick"] = "quick"
methods: list[str] = ["bicubic", "SRCNN", "EDSR"]
"""
BUDGET = """
budget = {"smoke": dict(n_train=20, steps=5), "quick": dict(n_train=40, steps=50)}[preset]
budget
"""
IMPORTS = """
import lrface.data
import pandas as pd
from IPython.display import display
from lrface import degrade, models, report, runs
"""
FACES = """
train = lrface.data.load(data, "train", budget["n_train"])
study = report.Study("07_toy", train, preset)
display(study.listing("faces", pd.DataFrame({"n": [len(train)]})))
print("loaded")
"""
CONFIGS = """
configs = {
    method: runs.Config(
        method=method, degradation=degrade.setting("4x"), data=data, batch=8, **budget
    )
    for method in methods
    if models.method(method).trainable
}
"""
TRAIN = """
nets = {name: runs.fit(c, train) for name, c in configs.items()}
"""
CELLS = [text.strip() for text in (PARAMETERS, BUDGET, IMPORTS, FACES, CONFIGS, TRAIN)]


@pytest.fixture
def dry(monkeypatch, lrface, own_places):
    """``dry(*words, cells=..., tagged=True)``: exit code, stdout and stderr of a dry run.

    Of a study of these cells; ``tagged``: the cell before the last has the tag ``plan``.
    """

    def refuse(*_, **__):
        raise AssertionError("a notebook was executed")

    monkeypatch.setattr(papermill, "execute_notebook", refuse)
    monkeypatch.setenv("LRFACE_ROOT", str(own_places))

    def call(*words, cells=CELLS, tagged=True):
        written = [nbformat.v4.new_markdown_cell("# Toy"), *map(nbformat.v4.new_code_cell, cells)]
        written[1].metadata["tags"] = ["parameters"]
        if tagged:
            written[-2].metadata["tags"] = ["plan"]
        (own_places / "notebooks").mkdir(exist_ok=True)
        path = own_places / "notebooks" / "07_toy.ipynb"
        nbformat.write(nbformat.v4.new_notebook(cells=written), path)
        answer = lrface("reproduce", "--dry-run", "--data", "celeba", *words)
        assert not [p for p in (own_places / "out").rglob("*") if p.is_file()]
        assert not [p for p in (own_places / "cache" / "runs").rglob("*") if p.is_file()]
        return answer

    return call


def test_a_dry_run_says_what_it_would_cost_and_leaves_nothing(dry, own_places):
    code, out, err = dry("--preset", "smoke", "-p", "methods=SRCNN,EDSR,bicubic")
    lines = out.splitlines()
    assert code == 0 and err == ""
    assert "celeba, 20 training faces of " in lines[0] and "fingerprint" in lines[0]
    assert lines[2].split()[:6] == ["SRCNN", "small", "4x", "5", "8", "2"]
    assert lines[3].split()[0] == "EDSR"
    assert lines[4].startswith("10 steps: ") and lines[5].startswith("scoring 1,000 faces")
    assert "40 TFLOP/s" in lines[6] and len(lines) == 7
    assert not (own_places / "out").exists()


def test_a_study_may_learn_from_several_sets(dry):
    sets = 'train = {name: lrface.data.load(name, "train", 20) for name in ("celeba", "synthetic")}'
    chosen = """
fields = dict(method="SRCNN", degradation=degrade.setting("4x"), n_train=20, batch=10)
configs = {name: runs.Config(data=name, steps=4 + 2 * i, **fields) for i, name in enumerate(train)}
"""
    code, out, _ = dry(cells=[*CELLS[:3], sets, chosen, CELLS[5]])
    lines = out.splitlines()
    assert code == 0
    assert "celeba, 20 training" in lines[0] and "synthetic, 20 training" in lines[1]
    assert [line.split()[3:6] for line in lines[3:5]] == [["4", "10", "2"], ["6", "10", "3"]]
    assert lines[5].startswith("10 steps: ")


def test_a_study_without_a_plan_trains_nothing(dry):
    assert dry(tagged=False)[:2] == (0, "07_toy: it trains nothing\n")
    assert dry("-p", "methods=bicubic")[:2] == (0, "07_toy: it trains nothing\n")


@pytest.mark.parametrize(
    "words, cells, code, sentence",
    [
        (["-p", "methods=SRCN"], CELLS, 2, "did you mean 'SRCNN'?"),
        (["--preset", "paper"], CELLS, 2, "parameter preset"),
        (
            [],
            [*CELLS[:3], "1 / 0", *CELLS[4:]],
            1,
            "07_toy.ipynb, code cell 4: ZeroDivisionError: division by zero",
        ),
        ([], [*CELLS[:4], "configs = [1]", CELLS[5]], 1, "must leave configs"),
    ],
)
def test_a_dry_run_that_cannot_work_is_one_sentence(dry, words, cells, code, sentence):
    given, out, err = dry(*words, cells=cells)
    assert given == code and sentence in err and out == "" and len(err.strip().splitlines()) == 1


def test_planned_leaves_the_environment_as_it_was(dry, monkeypatch, own_places):
    monkeypatch.delenv("LRFACE_OUT")
    before = dict(os.environ), os.getcwd()
    dry()
    path = own_places / "notebooks" / "07_toy.ipynb"
    configs, train = notebooks.planned(path, notebooks.parameters(path, {"methods": "EDSR"}))
    assert (dict(os.environ), os.getcwd()) == before
    assert list(configs) == ["EDSR"] and configs["EDSR"].steps == 50 and len(train) == 40
