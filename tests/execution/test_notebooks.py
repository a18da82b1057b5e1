"""Notebooks: their parameters, smoke runs through papermill, reuse, nbval, and publishing."""

import ast
import json
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import nbformat
import numpy as np
import pandas as pd
import pytest
from conftest import REAL, needs_real
from lrface import data, report
from lrface.checks import recompute
from lrface.checks.study_results import StudyResults
from lrface.errors import LrfaceError, UsageError
from lrface.execution import kernel, notebooks, provenance, publishing, runner
from scipy.stats import binomtest

ALL = sorted(Path(__file__).parents[2].glob("notebooks/[0-9][0-9]_*.ipynb"))


@pytest.mark.parametrize("path", ALL, ids=lambda p: p.stem)
def test_the_committed_notebook_is_executed_with_its_defaults_and_shows_nobody(path):
    notebook = nbformat.read(path, 4)
    nbformat.validate(notebook)
    code = [c for c in notebook.cells if c.cell_type == "code"]
    assert [c.execution_count for c in code] == list(range(1, len(code) + 1))
    assert not [c for c in notebook.cells if "injected-parameters" in c.metadata.get("tags", [])]
    default = notebooks.contract(path)()
    for cell in code:
        for output in cell.outputs:
            assert (
                output.output_type != "error" and output.get("name") != "stderr"
            )  # a warning would show a machine's paths
            if any(kind.startswith("image/") for kind in output.get("data", {})):
                mark = output.metadata["lrface"]
                assert not mark["photos"], f"{path.name} shows real people in {mark['figure']}"
    assert default.preset == "quick"


@pytest.mark.parametrize("path", ALL, ids=lambda p: p.stem)
def test_every_name_of_the_library_that_a_notebook_uses_is_there(path):
    trees = [ast.parse(source) for source, _ in notebooks.cells(path)]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    imports = [node for node in nodes if isinstance(node, ast.Import | ast.ImportFrom)]
    space = {}
    exec(compile(ast.Module(imports, []), path.name, "exec"), space)
    own = {
        node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    }
    modules = {
        name: value
        for name, value in space.items()
        if isinstance(value, ModuleType) and value.__name__.startswith("lrface") and name not in own
    }
    used = [
        (node.value.id, node.attr)
        for node in nodes
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
    ]
    asked = [(name, attribute) for name, attribute in used if name in modules]
    assert asked and not [pair for pair in asked if not hasattr(modules[pair[0]], pair[1])]


def test_a_contract_is_typed_and_checked():
    path = notebooks.find("1")
    values = notebooks.parameters(
        path, {"methods": "EDSR, RCAN", "n_test": "20", "settings": "['4x']", "data": "nan"}
    )
    assert (
        values["methods"] == ["EDSR", "RCAN"]
        and values["n_test"] == 20
        and values["settings"] == ["4x"]
    )
    assert values["data"] == "nan" and values["seed"] == 0
    assert notebooks.parameters(path, {"n_test": "null"})["n_test"] is None
    attributes = [
        notebooks.parameters(notebooks.find("04"), given)["attributes"]
        for given in ({}, {"attributes": "Bald, Male"})
    ]
    assert attributes == [None, ["Bald", "Male"]]
    for wrong in (
        "n_test=1e3",
        "n_test=yes",
        "n_test=0",
        "seed=-1",
        "preset=Quick",
        "Seed=1",
        "settings=1",
    ):
        with pytest.raises(UsageError):
            notebooks.parameters(path, dict([wrong.split("=")]))


def test_a_notebook_without_one_parameters_cell_is_refused(tmp_path):
    path = tmp_path / "02_x.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("x = 1")]), path)
    with pytest.raises(LrfaceError, match="has 0 cells tagged 'parameters'"):
        notebooks.contract(path)


@pytest.fixture(scope="module")
def smoke(tmp_path_factory, drawn_root):
    """Notebook 01 at smoke on drawn faces, executed once for the tests of this module."""
    places = tmp_path_factory.mktemp("smoke")
    patch = pytest.MonkeyPatch()
    for name, value in (
        ("LRFACE_DATA", drawn_root),
        ("LRFACE_CACHE", places / "cache"),
        ("LRFACE_OUT", places / "out"),
    ):
        patch.setenv(name, str(value))
    path = notebooks.find("01")
    values = notebooks.parameters(
        path, {"data": "celeba", "preset": "smoke", "methods": "bicubic,SRCNN,EDSR,DICNet"}
    )
    runner.check(path, values)
    outcome = runner.run(path, values)
    patch.undo()
    return path, values, outcome, places


def computed(path, **given):
    """Run a notebook as the command line does, with parameters as texts; it must succeed."""
    values = notebooks.parameters(path, given)
    runner.check(path, values)
    outcome = runner.run(path, values)
    assert outcome.status == "computed", outcome.reason
    return outcome


@pytest.fixture
def there(smoke, monkeypatch):
    """The environment of the smoke run."""
    monkeypatch.setenv("LRFACE_CACHE", str(smoke[3] / "cache"))
    monkeypatch.setenv("LRFACE_OUT", str(smoke[3] / "out"))


@pytest.mark.slow
def test_smoke_leaves_tables_figures_findings_and_a_record(smoke):
    _, values, outcome, places = smoke
    assert outcome.status == "computed", outcome.reason
    names = {Path(o).name for o in outcome.outputs}
    tables = {"table2_fidelity", "table3_alignment_identity", "cost", "figure6_strangers"}
    figures = {"scores", "learning_curves", "figure6_strangers", "by_group"} | {
        f"faces_{s}" for s in values["settings"]
    }
    assert {f"{t}.{x}" for t in tables for x in ("csv", "md")} | {
        f"{f}.{x}" for f in figures for x in ("png", "pdf", "csv")
    } <= names
    assert {"findings.csv", "contrasts.csv", "by_group.csv", "gaps.csv", "runs.csv"} <= names
    assert not (places / "out" / "results" / "findings.csv").exists()
    record = json.loads((outcome.results / "record.json").read_text())
    assert (
        record["parameters"] == values
        and record["versions"]["torch"]
        and record["outputs"].keys() == set(outcome.outputs)
    )


@pytest.mark.slow
def test_smoke_tables_are_whole(smoke):
    _, values, outcome, _ = smoke
    table = pd.read_csv(outcome.results / "table2_fidelity.csv")
    assert list(table.columns[:10]) == [
        "study",
        "table",
        "method",
        "setting",
        "metric",
        "value",
        "low",
        "high",
        "n",
        "published",
    ]
    ours = table[table["value"].notna()]
    assert set(zip(ours["method"], ours["setting"], ours["metric"], strict=True)) == {
        (m, s, x)
        for m in values["methods"]
        for s in values["settings"]
        for x in ("psnr", "ssim")
        if (m, s) != ("DICNet", "2x")
    }
    assert (
        (ours["low"] <= ours["value"]).all()
        and (ours["value"] <= ours["high"]).all()
        and (ours["n"] >= 2).all()
    )
    assert ours["spec"].notna().all() and ours["degradation"].str.contains("kernel=").all()
    rdn = table[
        (table["method"] == "RDN") & (table["setting"] == "8x") & (table["metric"] == "psnr")
    ]
    assert rdn["value"].isna().all() and rdn["published"].tolist() == [23.74]


@pytest.mark.slow
def test_psnr_in_the_table_is_psnr(smoke, there):
    """The table's bicubic PSNR equals scikit-image's, computed from the image files."""
    from lrface import degrade
    from PIL import Image
    from skimage.metrics import peak_signal_noise_ratio

    _, _, outcome, _ = smoke
    faces = data.load("celeba", "test", 12)
    values = []
    for row in range(len(faces)):
        hr = np.asarray(Image.open(faces.root / faces.table["path"][row]))[57:185, 25:153]
        up = degrade.resize_matrix(64, 128)
        down = degrade.resize_matrix(128, 64)
        lr = (
            np.floor(
                np.clip(np.einsum("ih,hwc,jw->ijc", down, hr / 255, down, optimize=True), 0, 1)
                * 255
                + 0.5
            )
            / 255
        )
        sr = np.floor(
            np.clip(np.einsum("ih,hwc,jw->ijc", up, lr, up, optimize=True), 0, 1) * 255 + 0.5
        ).astype(np.uint8)
        values.append(peak_signal_noise_ratio(hr, sr))
    table = pd.read_csv(outcome.results / "table2_fidelity.csv")
    cell = table[
        (table["method"] == "bicubic") & (table["setting"] == "2x") & (table["metric"] == "psnr")
    ]
    assert float(cell["value"].iloc[0]) == pytest.approx(np.mean(values), abs=2e-3)


@pytest.mark.slow
def test_the_same_command_reuses_and_a_change_computes(smoke, there, monkeypatch):
    path, values, outcome, _ = smoke
    again = runner.run(path, values)
    assert again.status == "reused" and again.outputs == outcome.outputs
    record = json.loads((outcome.results / "record.json").read_text())
    parts = provenance.parts(path, values)
    assert (
        record["source"] == provenance.key(record["provenance"])
        and parts.items() <= record["provenance"].items()
    )
    monkeypatch.setattr(provenance, "data_state", lambda name: "other files")
    assert provenance.difference(provenance.parts(path, values), parts) == "data celeba changed"


@pytest.mark.slow
def test_an_output_changed_by_hand_is_not_reused(smoke, there, monkeypatch, tmp_path):
    path, values, outcome, places = smoke
    shutil.copytree(places / "out", tmp_path / "out")
    monkeypatch.setenv("LRFACE_OUT", str(tmp_path / "out"))
    table = tmp_path / "out" / outcome.results.relative_to(places / "out") / "table2_fidelity.csv"
    assert runner.run(path, values).status == "reused"
    table.write_text(table.read_text().replace("bicubic", "magic", 1))
    executed = []
    monkeypatch.setattr(
        kernel,
        "execute",
        lambda *arguments: executed.append(arguments) or kernel.Failure("exception", "a stand-in"),
    )
    assert runner.reusable(path, values) is None
    again = runner.run(path, values)
    assert again.status == "failed" and executed and again.kind == "exception"


@pytest.mark.slow
def test_nbval_accepts_the_executed_notebook(smoke, there, tmp_path):
    """nbval executes every cell again and compares the outputs of marked cells."""
    _, _, outcome, _ = smoke
    notebook = nbformat.read(outcome.results / "notebook.ipynb", 4)
    checked = [c for c in notebook.cells if "NBVAL_CHECK_OUTPUT" in c.source]
    assert checked and all(c.execution_count and c.outputs for c in checked)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "--nbval-lax",
        "-q",
        "-p",
        "no:cacheprovider",
        "--nbval-cell-timeout=600",
    ]
    done = subprocess.run(
        [*command, str(outcome.results / "notebook.ipynb")],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stdout[-3000:]


@pytest.mark.slow
def test_publishing_leaves_pictures_of_people_out(smoke, there, tmp_path):
    path, _, outcome, _ = smoke
    copy = tmp_path / path.name
    copy.write_text(path.read_text())
    before = nbformat.read(outcome.results / "notebook.ipynb", 4)
    shown = [
        o
        for c in before.cells
        for o in c.get("outputs", [])
        if o.get("metadata", {}).get("lrface", {}).get("photos")
    ]
    assert len(shown) == 5
    publishing.publish(copy, outcome)
    after = nbformat.read(copy, 4)
    pictures = [
        o
        for c in after.cells
        for o in c.get("outputs", [])
        if any(kind.startswith("image/") for kind in o.get("data", {}))
    ]
    assert pictures and not any(o.metadata["lrface"]["photos"] for o in pictures)
    assert [c.source for c in after.cells] == [c.source for c in nbformat.read(path, 4).cells]


@pytest.mark.slow
def test_a_student_adds_a_method_in_one_cell_and_a_broken_one_stops_nobody(smoke, there, tmp_path):
    """The cell that the notebook's last section offers, and a network whose loss is NaN."""
    notebook = nbformat.read(smoke[0], 4)
    offered = notebook.cells[-1].source.split("```python\n")[1].split("```")[0]
    broken = """
class Broken(Mine):
    def forward(self, lr):
        return super().forward(lr) * float("nan")

models.register("Broken", lambda scale, size: Broken(scale), source="me")
methods = [*methods, "Broken"]
"""
    at = next(i for i, c in enumerate(notebook.cells) if "parameters" in c.metadata.get("tags", []))
    notebook.cells.insert(at + 1, nbformat.v4.new_code_cell(offered + broken))
    path = tmp_path / "01_degradation_settings.ipynb"
    nbformat.write(notebook, path)
    outcome = computed(path, data="celeba", preset="smoke", methods="bicubic", settings="4x,8x")
    tables = {
        name: pd.read_csv(file)
        for name in outcome.outputs
        if (file := report.output_root() / name).suffix == ".csv"
    }
    per_method = {
        Path(name).stem: set(t["method"])
        for name, t in tables.items()
        if "method" in t and Path(name).parts[0] == "results"
    }
    assert {
        "table2_fidelity",
        "table3_alignment_identity",
        "cost",
        "by_group",
        "gaps",
        "runs",
        "figure6_strangers",
    } <= per_method.keys()
    for name, methods in per_method.items():
        assert "Mine" in methods or name == "rank_agreement", name
        assert "Broken" not in methods, name
    printed = "".join(
        o.get("text", "")
        for c in nbformat.read(outcome.results / "notebook.ipynb", 4).cells
        for o in c.get("outputs", [])
    )
    assert printed.count("Broken-small 4x on celeba: the loss is nan near step 1") == 1


@pytest.mark.slow
def test_smoke_of_every_method_on_rendered_faces(own_places, monkeypatch):
    """All of study 01, twice: from stored scores, one of them damaged, the tables are the same."""
    monkeypatch.delenv("LRFACE_DATA")
    path = notebooks.find("01")
    outcome = computed(path, preset="smoke")
    table = pd.read_csv(outcome.results / "table2_fidelity.csv")
    # what is missing is missing in the paper, too
    assert table["value"].notna().all() and len(table) == 2 * (9 * 5 + 2 * 4)
    assert {"figure5_native", "skewed_training", "figure6_strangers", "rank_agreement"} <= {
        Path(o).stem for o in outcome.outputs
    }
    skewed = pd.read_csv(outcome.results / "skewed_training.csv")
    assert set(skewed["method"]) == {"EDSR", "Eigenface"} and skewed["setting"].nunique() == 4
    tables = [
        "table2_fidelity",
        "table3_alignment_identity",
        "figure6_strangers",
        "gaps",
        "skewed_training",
        "contrasts",
        "findings",
        "scores",
    ]
    before = {name: (outcome.results / f"{name}.csv").read_text() for name in tables}
    stored = sorted((own_places / "cache" / "scores").glob("*.parquet"))
    assert len(stored) == len(set(pd.read_csv(outcome.results / "scores.csv")["key"]))
    wrong = pd.read_parquet(stored[0])
    wrong.assign(psnr=wrong["psnr"] + 1).to_parquet(stored[0])
    again = runner.run(path, notebooks.parameters(path, {"preset": "smoke"}), force=True)
    assert again.status == "computed", again.reason
    assert {name: (again.results / f"{name}.csv").read_text() for name in tables} == before
    assert np.allclose(pd.read_parquet(stored[0])["psnr"], wrong["psnr"], atol=1e-3)


@pytest.mark.slow
def test_smoke_of_training_size(own_places, monkeypatch):
    monkeypatch.delenv("LRFACE_DATA")
    outcome = computed(notebooks.find("02"), preset="smoke")
    table = pd.read_csv(outcome.results / "table4_epochs.csv")
    assert (
        table["value"].notna().all()
        and (table["published"].notna() == table["method"].str.startswith("DICNet")).all()
    )
    assert table["seeds"].groupby(table["setting"]).max().to_dict() == {
        "4x": 1,
        "4x_BD": 1,
        "4x_DN": 1,
        "8x": 2,
    }
    both = pd.read_csv(outcome.results / "table4_steps.csv").merge(
        table, on=["method", "setting", "metric"]
    )
    whole = both[both["method"].str.endswith("1.35")]
    # the network of the whole training set is the same one in both tables
    assert (whole["value_x"] == whole["value_y"]).all() and len(whole) == 16
    assert {"trend", "figure7_faces", "findings", "runs", "scores"} <= {
        Path(o).stem for o in outcome.outputs
    }


@pytest.mark.slow
def test_smoke_of_recognition(own_places, monkeypatch):
    """All of study 03, twice: the second time from stored vectors, one file damaged."""
    monkeypatch.delenv("LRFACE_DATA")
    path = notebooks.find("03")
    outcome = computed(path, preset="smoke")
    table = {
        Path(o).stem: pd.read_csv(report.output_root() / o)
        for o in outcome.outputs
        if o.endswith(".csv")
    }
    settings = [
        "HR / HR",
        "HR / LR",
        "HR / hallucinated",
        "LR / LR",
        "hallucinated / hallucinated",
        "Joint",
    ]
    measured = table["table4_six_settings"].query("value == value")
    assert (
        list(measured["method"]) == [s for s in settings for _ in range(2)]
        and measured["value"].between(0, 1).all()
    )
    judged = table["pretrained_judge"].set_index(["method", "setting", "metric"])
    assert judged.loc[("HR", "synthetic HR", "accuracy"), "value"] > 0.8
    compared = judged.query("metric.str.startswith('p (McNemar')")
    assert len(compared) == 6 and (compared["better"] + compared["worse"] == compared["n"]).all()
    for row in compared.itertuples():  # a sign test by scipy
        p = binomtest(int(row.better), int(row.n)).pvalue if row.n else 1.0
        assert row.value == pytest.approx(p, rel=1e-4)
    psnr = table["table5_psnr"].query("value == value").set_index("method")["value"]
    assert abs(psnr["bicubic"] - 27) < 1 and {"SRCNN", "SRNET", "Joint SRNET"} <= set(psnr.index)
    assert {
        "resolution",
        "roc",
        "figure1_pairs",
        "joint_bayesian",
        "identity_loss",
        "contrasts",
        "findings",
        "table3_published",
    } <= table.keys()
    tables = [name for name in table if name != "runs"]
    before = {
        o: (report.output_root() / o).read_text()
        for o in outcome.outputs
        if Path(o).stem in tables and o.endswith(".csv")
    }
    vectors = [
        f
        for f in (own_places / "cache" / "scores").glob("*.parquet")
        if "vector 0" in pd.read_parquet(f)
    ]
    assert len(vectors) > 10
    true = pd.read_parquet(vectors[0])
    true.sample(frac=1, random_state=0).reset_index(drop=True).to_parquet(vectors[0])
    again = runner.run(path, notebooks.parameters(path, {"preset": "smoke"}), force=True)
    assert again.status == "computed", again.reason
    assert {o: (report.output_root() / o).read_text() for o in before} == before
    assert np.allclose(pd.read_parquet(vectors[0]), true, atol=1e-3)


def recomputed(outcome, places):
    """How many numbers of the tables follow from the score files; they must agree."""
    scores = outcome.results.parent / "scores"
    shutil.copytree(places / "cache" / "scores", scores)
    one = StudyResults(places / "out", "synthetic", "smoke", outcome.results.name)
    drifts, count = recompute.check(one)
    shutil.rmtree(scores)
    assert drifts == []
    return count


@pytest.mark.slow
def test_smoke_of_the_cascaded_bi_network(own_places, monkeypatch):
    """All of study 07: the whole published table, and each ablation."""
    monkeypatch.delenv("LRFACE_DATA")
    outcome = computed(notebooks.find("07"), preset="smoke")
    names = {Path(o).stem for o in outcome.outputs}
    assert {"quantitative", "ablation", "alignment", "verification", "astray", "speed"} <= names
    assert {"field", "dense_field", "folding", "pose", "faces", "runs", "scores"} <= names
    assert {"branches", "prior", "pose_faces", "lower_bound", "roc", "learning_curves"} <= names
    table = pd.read_csv(outcome.results / "quantitative.csv")
    printed = report.published().query("paper == 'slides' and table == 'cbn'")
    assert table["published"].notna().sum() == len(printed)
    ours = table[table["value"].notna()]
    assert {"bicubic", "PCA", "A+", "SRCNN", "CBN"} <= set(ours["method"])
    settings = [f"PubFig {s}" for s in ("2x", "3x", "4x", "8px", "5px")]
    assert set(settings) <= set(ours.query("method == 'CBN'")["setting"])
    ablation = pd.read_csv(outcome.results / "ablation.csv").query("metric == 'psnr'")
    assert len(ablation) == 6 and ablation["published"].notna().sum() == 5
    found = report.ledger.read(outcome.results / "findings.csv").set_index("id")
    registered = report.register.registered().query("study == '07'")["id"]
    assert set(found.index) == set(registered)
    assert found.loc["cbn-best-very-low", "contrast"].startswith("CBN minus the highest of 5")
    assert found.loc["fsrcnn-faster", "verdict"] in ("supported", "not supported")
    assert "paper depth" not in found.loc["cbn-both-branches", "lacks"]  # CBN has all layers
    assert recomputed(outcome, own_places) > 50


@pytest.mark.slow
def test_smoke_of_faces_in_the_wild(own_places, monkeypatch):
    """All of study 08; boxes that were tampered with are searched for again."""
    monkeypatch.delenv("LRFACE_DATA")
    path = notebooks.find("08")
    outcome = computed(path, preset="smoke", stock="Haar,HOG")  # dlib's network takes a minute
    names = {Path(o).stem for o in outcome.outputs}
    assert {"average_precision", "found_by_height", "proposals", "chain", "seconds"} <= names
    assert {"losses", "sets", "detections", "precision_recall", "runs", "scores"} <= names
    losses = pd.read_csv(outcome.results / "losses.csv").set_index("network")
    assert "partness" in names and losses["on_test_windows"].notna()["Faceness"]
    table = pd.read_csv(outcome.results / "average_precision.csv").set_index(["method", "setting"])
    assert table["published"]["multi-scale cascade", "hard"] == 0.4
    assert table["published"]["Faceness", "easy"] == 0.705
    assert table["value"]["HOG", "easy"] > table["value"]["random boxes", "easy"]
    found = report.ledger.read(outcome.results / "findings.csv").set_index("id")
    assert found.loc["wider-training-helps-fddb", "lacks"] == "not run"
    assert found.loc["faceness-on-fddb", "contrast"].endswith("Faceness minus Viola-Jones")
    sources = set(pd.read_csv(outcome.results / "proposals.csv")["source"])
    assert {"Faceness", "two-stage CNN, by Faceness", "dense windows"} <= sources
    assert found.loc["wider-hard-is-harder", "published"] == pytest.approx(0.413 - 0.137)
    tables = ("average_precision", "chain", "proposals")
    before = {name: (outcome.results / f"{name}.csv").read_text() for name in tables}
    listed = pd.read_csv(outcome.results / "scores.csv", dtype={"key": str})
    for cell, column in (("HOG", "x"), ("true box", "vector 0")):
        (key,) = listed.loc[listed["cell"] == cell, "key"]
        file = own_places / "cache" / "scores" / f"{key}.parquet"
        frame = pd.read_parquet(file)
        frame.assign(**{column: frame[column] + 9}).to_parquet(file)
    given = {"preset": "smoke", "stock": "Haar,HOG"}
    again = runner.run(path, notebooks.parameters(path, given), force=True)
    assert again.status == "computed", again.reason
    assert {name: (again.results / f"{name}.csv").read_text() for name in before} == before


@pytest.mark.slow
def test_smoke_of_imbalance(own_places, monkeypatch):
    monkeypatch.delenv("LRFACE_DATA")
    chosen = dict(attributes="Smiling,Male,Eyeglasses", swept="Wearing_Hat")
    outcome = computed(notebooks.find("04"), preset="smoke", **chosen)
    table = pd.read_csv(outcome.results / "attributes_balanced.csv")
    ours = table[~table["method"].isin(["PANDA", "ANet"])]
    assert ours["value"].between(0, 1).all() and set(ours["setting"]) == {
        "average",
        "Smiling",
        "Male",
        "Eyeglasses",
    }
    assert ours["method"].nunique() == 9 and table.query(
        "setting == 'Eyeglasses' and method == 'ANet'"
    )["published"].tolist() == [0.95]
    sweep = pd.read_csv(outcome.results / "controlled_sweep.csv")
    assert (
        sweep.groupby(["metric", "method"]).size().tolist() == [5] * 27
        and sweep["value"].notna().all()
    )
    assert {"gain", "sensitivity", "embedding", "prevalence", "findings", "scores"} <= {
        Path(o).stem for o in outcome.outputs
    }
    # stored decisions are reused, and inverted ones are noticed
    before = {
        name: (outcome.results / f"{name}.csv").read_text()
        for name in ("attributes_balanced", "controlled_sweep")
    }
    listed = pd.read_csv(outcome.results / "scores.csv", dtype={"key": str})
    (key,) = listed.query("method == 'softmax'")["key"]
    file = own_places / "cache" / "scores" / f"{key}.parquet"
    wrong = 1 - pd.read_parquet(file)
    wrong.to_parquet(file)
    again = runner.run(
        notebooks.find("04"),
        notebooks.parameters(notebooks.find("04"), {"preset": "smoke", **chosen}),
        force=True,
    )
    assert again.status == "computed", again.reason
    assert {name: (again.results / f"{name}.csv").read_text() for name in before} == before


@pytest.mark.slow
@needs_real
def test_smoke_on_real_faces(own_places, monkeypatch):
    """CelebA's own files, as in the README: the detector and the judge on real faces."""
    monkeypatch.setenv("LRFACE_DATA", REAL)
    outcome = computed(
        notebooks.find("01"),
        data="celeba",
        preset="smoke",
        methods="bicubic,SRCNN",
        settings="2x,8x",
    )
    table = pd.read_csv(outcome.results / "table3_alignment_identity.csv").query(
        "method == 'bicubic' and value == value"
    )
    got = table.set_index(["setting", "metric"])["value"]
    assert got["2x", "identity"] > got["8x", "identity"] > 0.5
    assert got["8x", "alignment"] > got["2x", "alignment"] > 0


@pytest.mark.slow
def test_smoke_of_the_faces_themselves(own_places, monkeypatch):
    """Notebook 00 on the embedded faces, without LRFACE_DATA."""
    monkeypatch.delenv("LRFACE_DATA")
    outcome = computed(notebooks.find("00"), preset="smoke")
    found = pd.read_csv(outcome.results / "detection.csv").set_index(["setting", "metric"])["value"]
    assert found["all", "detected"] > 0.9 and found["all", "landmark_error"] < 0.04
    bicubic = pd.read_csv(outcome.results / "interpolation.csv").set_index("setting")["value"]
    # as hard to enlarge as CelebA's crops
    assert abs(bicubic["4x"] - 27.0) < 1 and abs(bicubic["8x"] - 22.7) < 1
    names = {Path(o).name for o in outcome.outputs}
    tables = {
        "table1_sets",
        "composition",
        "tinyface_table1_sets",
        "tinyface_table2_partition",
        "spectrum",
        "recognition",
    }
    figures = {"pose_age_resolution", "examples", "atlas_settings", "atlas_camera", "spectrum"}
    assert {f"{t}.csv" for t in tables} | {f"{f}.png" for f in figures} <= names


def test_a_folder_set_has_a_folder_name():
    assert report.slug("celeba") == "celeba" and report.slug("folder:/a/My faces").startswith(
        "folder-My-faces-"
    )
    assert report.slug("folder:/a/faces") != report.slug("folder:/b/faces")
