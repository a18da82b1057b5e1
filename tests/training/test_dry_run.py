"""Dry runs say what the trainings of a study would cost, and write nothing."""

import os

import nbformat
import papermill
import pytest
from lrface.execution import notebooks, plan
from lrface.metrics import score_cache
from lrface.training import loop

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
    """``dry(*words, cells=...)``: exit code, stdout and stderr of a dry run of these cells."""

    def refuse(*_, **__):
        raise AssertionError("a notebook was executed, or a network trained")

    monkeypatch.setattr(papermill, "execute_notebook", refuse)
    monkeypatch.setattr(loop, "train", refuse)
    monkeypatch.setenv("LRFACE_ROOT", str(own_places))

    def call(*words, cells=CELLS):
        written = [nbformat.v4.new_markdown_cell("# Toy"), *map(nbformat.v4.new_code_cell, cells)]
        written[1].metadata["tags"] = ["parameters"]
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
    assert lines[0] == "07_toy: 2 networks needed, 0 of them at hand; 2 networks to train"
    assert "celeba, 20 training faces of " in lines[1] and "fingerprint" in lines[1]
    words = ["SRCNN-small", "4x", "on", "celeba", "SRCNN", "small", "4x", "5", "8", "2"]
    assert lines[2].split()[-1] == "seconds_1_core" and lines[3].split()[:10] == words
    assert lines[4].split()[0] == "EDSR-small"
    assert lines[5].startswith("10 steps: ") and "on one core of this machine" in lines[5]
    assert lines[6].startswith("scoring: 20 faces by each new network")
    assert "40 TFLOP/s" in lines[7] and "GFLOP/s" in lines[7] and len(lines) == 8
    assert not (own_places / "out").exists()


def test_a_study_may_learn_from_several_sets(dry):
    sets = 'train = {name: lrface.data.load(name, "train", 20) for name in ("celeba", "synthetic")}'
    chosen = """
from lrface.training import sweep
fields = dict(method="SRCNN", degradation=degrade.setting("4x"), n_train=20, batch=10)
configs = {name: runs.Config(data=name, steps=4 + 2 * i, **fields) for i, name in enumerate(train)}
"""
    fit = "sweep.fit({('net', n): (configs[n], train[n]) for n in train})"
    code, out, _ = dry(cells=[*CELLS[:3], sets, chosen, fit])
    lines = out.splitlines()
    assert code == 0
    assert "celeba, 20 training" in lines[1] and "synthetic, 20 training" in lines[2]
    rows = [line.split() for line in lines[4:6]]
    assert [row[:2] for row in rows] == [["net", "celeba"], ["net", "synthetic"]]
    assert [row[5:8] for row in rows] == [["4", "10", "2"], ["6", "10", "3"]]
    assert lines[6].startswith("10 steps: ")


def test_a_study_that_fits_nothing_trains_nothing(dry):
    assert dry(cells=CELLS[:5])[:2] == (0, "07_toy: it trains nothing\n")
    assert dry("-p", "methods=bicubic")[:2] == (0, "07_toy: it trains nothing\n")


SCORED = """
scores = score_cache.compute(configs, key=str, score=None, rows=3)
needed = [name for name in configs if name not in scores]
"""


def test_where_needed_depends_on_scores_all_count_and_nothing_is_scored(dry):
    imports = (
        f"{CELLS[2]}\nfrom lrface.metrics import score_cache\nfrom lrface.training import sweep"
    )
    fit = "sweep.fit({m: (c, train) for m, c in configs.items()}, needed)"
    code, out, err = dry(cells=[*CELLS[:2], imports, *CELLS[3:5], SCORED, fit])
    assert (code, err) == (0, "")
    assert out.startswith("07_toy: 2 networks needed, 0 of them at hand; 2 networks to train")


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["smoke", "quick", "gpu", "paper"])
@pytest.mark.parametrize("path", notebooks.every(), ids=lambda path: path.stem[:2])
def test_every_study_is_planned_without_training_or_scoring(monkeypatch, path, preset):
    def refuse(*_, **__):
        raise AssertionError("a network was trained, or faces were scored")

    monkeypatch.setattr(loop, "train", refuse)
    monkeypatch.setattr(score_cache, "compute", refuse)
    found = plan.of(path, notebooks.parameters(path, {"preset": preset}))
    assert found.needed and found.tested is not None
    if preset == "quick":  # what is released is not counted; what is fitted in closed form is not
        methods = {config.method for config, _ in found.missing().values()}
        assert methods <= {"Eigenface"}


@pytest.mark.parametrize(
    "words, cells, code, sentence",
    [
        (["-p", "methods=SRCN"], CELLS, 2, "did you mean 'SRCNN'?"),
        (["--preset", "paper"], CELLS, 2, "parameter preset"),
        (
            [],
            [*CELLS[:3], "train = 1 / 0", *CELLS[4:]],
            1,
            "07_toy.ipynb, code cell 4: ZeroDivisionError: division by zero",
        ),
        ([], [*CELLS[:4], "configs = [1]", CELLS[5]], 1, "code cell 6: AttributeError"),
    ],
)
def test_a_dry_run_that_cannot_work_is_one_sentence(dry, words, cells, code, sentence):
    given, out, err = dry(*words, cells=cells)
    assert given == code and sentence in err and out == "" and len(err.strip().splitlines()) == 1


def test_a_plan_leaves_the_environment_as_it_was(dry, monkeypatch, own_places):
    monkeypatch.delenv("LRFACE_OUT")
    before = dict(os.environ), os.getcwd()
    dry()
    path = own_places / "notebooks" / "07_toy.ipynb"
    found = plan.of(path, notebooks.parameters(path, {"methods": "EDSR"}))
    assert (dict(os.environ), os.getcwd()) == before
    (config, train) = found.networks["EDSR-small 4x on celeba"]
    assert config.steps == 50 and len(train) == 40
