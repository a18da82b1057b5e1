"""Studies with networks from elsewhere, on a user's own faces: few people, no training."""

from pathlib import Path

import pandas as pd
import pytest
from conftest import draw
from lrface import runs
from lrface.cli import plans
from lrface.execution import notebooks, plan, runner
from lrface.training import loop
from PIL import Image

ROOT = Path(__file__).parents[2]


@pytest.fixture
def faces(tmp_path):
    """``faces(people)``: the name of a folder of drawn faces, two of each person."""

    def make(people):
        for person in range(people):
            for k in range(2):
                file = tmp_path / f"{people}" / f"P{person}" / f"{k}.png"
                file.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(draw(500 + 10 * person + k, 130, 130)).save(file)
        return f"folder:{tmp_path / str(people)}"

    return make


@pytest.fixture
def nothing_starts(monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("a kernel was started")

    monkeypatch.setattr(runner.kernel, "execute", refuse)


@pytest.mark.parametrize(
    ("study", "people", "trained_on", "sentence"),
    [
        ("01", 2, "synthetic", "is not for testing: it has 2 people, and three are needed"),
        ("01", 3, "", "three are needed (with -p trained_on=synthetic all its people are test"),
        ("01", 3, "synthetc", "unknown data set 'synthetc': did you mean 'synthetic'?"),
        ("01", 3, "0" * 16, "no run of this key is at hand"),
        ("02", 12, "synthetic", "02_training_size has no parameter 'trained_on': it is the"),
        ("03", 3, "synthetic", "not for verification: folder:"),
        ("04", 12, "synthetic", "not for attributes: none are known of its faces"),
        ("05", 12, "synthetic", "not for native faces: it has no native low-resolution faces"),
    ],
)
def test_what_cannot_be_done_is_one_sentence_before_a_kernel_starts(
    faces, lrface, nothing_starts, study, people, trained_on, sentence
):
    words = ["reproduce", "--study", study, "--data", faces(people), "--preset", "smoke"]
    words += ["-p", f"trained_on={trained_on}"] if trained_on else []
    for more in ([], ["--dry-run"]):
        code, out, err = lrface(*words, *more)
        assert code == 2 and sentence in " ".join(err.split()) and "Traceback" not in out + err


def test_data_check_and_the_studies_agree(faces, lrface, nothing_starts):
    for people, fit in ((2, None), (3, "testing"), (12, "testing and verification")):
        code, out, _ = lrface("data", "check", faces(people))
        said = "with trained_on=synthetic all its people are test people: fit for "
        assert code == 0 and (f"{said}{fit}\n" in out if fit else said not in out)
    values = {"data": faces(12), "trained_on": "synthetic", "tests": None}
    for study in ("01", "03"):
        runner.fitness.check(notebooks.find(study).stem, values)


def computed(study, **given):
    path = notebooks.find(study)
    values = notebooks.parameters(path, {"preset": "smoke", "trained_on": "synthetic"} | given)
    runner.check(path, values)
    outcome = runner.run(path, values)
    assert outcome.status == "computed", outcome.reason
    tables = {file.stem: pd.read_csv(file) for file in outcome.results.glob("*.csv")}
    return tables, (outcome.results / "summary.md").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("people", (3, 12))
def test_study_01_judges_released_networks_on_everybody(faces, own_places, people):
    own = dict(methods="bicubic,SRCNN,EDSR,DICNet", settings="4x,8x")
    tables, summary = computed("01", data=faces(people), **own)
    assert not [p for p in (own_places / "cache" / "runs").glob("*") if p.is_dir()]
    psnr = tables["table2_fidelity"].query("metric == 'psnr' and value == value")
    assert len(psnr) == 8 and set(psnr["n"]) == {min(2 * people, 12)}
    assert len(tables["runs"]) == 7 and set(tables["runs"]["n_train"]) == {3384}
    assert "networks trained elsewhere: 6 on synthetic (3,384 faces, released))" in summary
    assert (tables["findings"]["verdict"] == "not tested").all()
    assert "skewed_training" not in tables


@pytest.mark.slow
def test_study_03_verifies_everybody_of_a_folder(faces, own_places):
    tables, summary = computed("03", data=faces(12), methods="bicubic,SRCNN,EDSR", settings="4x,8x")
    assert not [p for p in (own_places / "cache" / "runs").glob("*") if p.is_dir()]
    six = tables["table4_six_settings"].query("value == value")
    assert six["method"].nunique() == 6 and six["value"].between(0, 1).all()
    assert tables["tests"]["people"].tolist() == [12] and tables["tests"]["list"].tolist() == [
        "made here"
    ]
    assert set(tables["table5_psnr"]["method"]) == {"bicubic", "SRCNN", "SRNET", "Joint SRNET"}
    assert "released" in summary and "not at hand" not in summary


@pytest.mark.slow
@pytest.mark.parametrize("study", ("01", "03", "04", "05"))
def test_without_it_networks_have_the_keys_that_are_released(study, monkeypatch):
    monkeypatch.setattr(loop, "train", None)
    monkeypatch.delenv("LRFACE_DATA")
    path = notebooks.find(study)
    found = plan.of(path, notebooks.parameters(path, {}))
    keys = {runs.key_for(*one) for one in found.networks.values()}
    listed = pd.read_csv(ROOT / "results" / "synthetic" / "quick" / path.stem / "runs.csv")
    assert set(listed["key"]) <= keys


def test_of_all_studies_those_that_a_set_is_not_fit_for_are_passed_over(
    faces, lrface, nothing_starts, monkeypatch
):
    monkeypatch.setattr(plans, "show", lambda path, values: print(f"{path.stem} is planned"))
    words = ["--data", faces(12), "--preset", "smoke", "--dry-run"]
    code, out, err = lrface("reproduce", "--study", "08", *words)
    assert code == 2 and "08_faces_in_the_wild: it finds faces in whole pictures" in err
    code, out, err = lrface("reproduce", *words)
    said = " ".join(out.split())
    assert code == 0 and "01_degradation_settings is planned" in said, err
    assert "passed over, 08_faces_in_the_wild: it finds faces in whole pictures" in said
    assert "passed over, 04_imbalance_embeddings: folder:" in said
