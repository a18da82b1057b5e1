"""Runs write beside the reference, whatever starts them, and say how they compare with it."""

import json
import sys

import pytest
from conftest import in_process
from lrface import report, settings
from lrface.checks import reproduced
from lrface.data import load
from lrface.execution import kernel, notebooks, runner
from lrface.report import ledger

SHORT = {"train": "loss = 0.5 * steps / 3"}


@pytest.fixture
def root(project, own_places, monkeypatch):
    """A project whose runs write where they do without LRFACE_OUT; no kernel is started."""
    project(**SHORT)
    monkeypatch.delenv("LRFACE_OUT")
    monkeypatch.setattr(kernel, "execute", in_process)
    return own_places / "project"


def run(root, **given):
    path = root / "notebooks" / "07_tiny.ipynb"
    values = notebooks.parameters(path, given)
    runner.check(path, values)
    return runner.run(path, values)


def files_of(place):
    return {file.name for file in place.iterdir()}


def test_a_run_leaves_the_reference_as_it_is_and_is_compared_with_it(root, lrface):
    with settings.override(out=root):
        reference = run(root)
    assert reference.results == root / "results" / "celeba" / "quick" / "07_tiny"
    before = {file: file.read_bytes() for file in reference.results.iterdir()}
    own = run(root)
    assert own.results == root / "results" / "local" / "celeba" / "quick" / "07_tiny"
    assert own.figures == root / "figures" / "local" / "celeba" / "quick" / "07_tiny"
    assert files_of(own.results) == files_of(reference.results)
    assert {file: file.read_bytes() for file in reference.results.iterdir()} == before
    assert (root / "results" / "local" / "findings.csv").is_file()
    found = reproduced.study(own.results, own.figures)
    assert found.count > 5 and not found.drifts and found.largest.off == 0
    code, out, _ = lrface("reproduce", "--study", "07", "--data", "celeba")
    assert code == 0 and "reused 1" in out
    said = f"reproduced: {found.count} numbers, no difference, 0 beyond tolerance"
    assert said in out and "07_tiny: " in out
    table = own.results / "table1.csv"
    table.write_text(table.read_text().replace("30.5", "30.6"))
    found = reproduced.study(own.results, own.figures)
    assert len(found.drifts) == 1 and found.largest.off == pytest.approx(0.1)
    assert "largest difference 0.1 (of 0.02 that SRCNN, 4x, psnr, value may be off)" in str(found)


def test_rows_on_a_set_that_is_not_at_hand_are_left_out(root):
    with settings.override(out=root):
        reference = run(root).results
    record = json.loads((reference / "record.json").read_text())
    record["provenance"]["data lfw"] = "0123456789abcdef"
    (reference / "record.json").write_text(json.dumps(record))
    table = (reference / "table1.csv").read_text()
    row = table.splitlines()[-1].replace("SRCNN", "SRCNN on lfw")
    (reference / "table1.csv").write_text(f"{table}{row}\n")
    own = run(root)
    found = reproduced.study(own.results, own.figures)
    assert not found.drifts and str(found).endswith("; 1 rows on lfw left out: not at hand")


def test_other_parameters_have_a_folder_of_their_own(root):
    usual, other = run(root), run(root, steps="4")
    assert other.results.parent == usual.results.parent
    assert other.results.name.startswith("07_tiny@") and other.results != usual.results
    assert run(root).status == run(root, steps="4").status == "reused"
    assert files_of(usual.results) == files_of(other.results)
    found = ledger.read(root / "results" / "local" / "findings.csv")
    own = found[found["data"] == "celeba"]
    assert len(own) and own["id"].is_unique  # the findings of the usual run alone
    assert reproduced.lines([reproduced.study(other.results, other.figures)]) == []


def test_a_notebook_that_nobody_runs_for_us_writes_there_too(root):
    faces = load("celeba", "test", 4)
    study = report.Study("07_tiny", faces, "quick")
    study.listing("list", faces.table[["key"]])
    place = root / "results" / "local" / "celeba" / "quick" / "07_tiny"
    assert (place / "list.csv").is_file() and not (root / "results" / "celeba").exists()


def test_no_study_is_an_error(root, lrface):
    (root / "notebooks" / "07_tiny.ipynb").unlink()
    code, _, err = lrface("reproduce")
    assert code == 2 and "no study found" in err


def test_a_kernel_is_this_python_with_plain_figures(monkeypatch):
    monkeypatch.setenv("MATPLOTLIBRC", "/home/me/matplotlibrc")
    monkeypatch.setenv("MPLBACKEND", "TkAgg")
    given = kernel._environment()
    assert "MPLBACKEND" not in given and given["MATPLOTLIBRC"] == str(kernel.MATPLOTLIBRC)


def test_kernels_compile_into_the_cache_where_nothing_else_can_be_written(monkeypatch, own_places):
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    assert "NUMBA_CACHE_DIR" not in kernel._environment()
    monkeypatch.setattr(kernel.os, "access", lambda *_: False)
    assert kernel._environment()["NUMBA_CACHE_DIR"] == str(own_places / "cache" / "numba")


@pytest.mark.slow
def test_another_kernelspec_and_a_matplotlibrc_of_the_users_change_nothing(
    project, tmp_path, monkeypatch
):
    spec = tmp_path / "kernels" / "python3"
    spec.mkdir(parents=True)
    argv = {"argv": ["/bin/false"], "display_name": "mine", "language": "python"}
    (spec / "kernel.json").write_text(json.dumps(argv))
    (tmp_path / "matplotlibrc").write_text("text.usetex: True\n")
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
    monkeypatch.setenv("MATPLOTLIBRC", str(tmp_path / "matplotlibrc"))
    monkeypatch.setenv("MPLBACKEND", "TkAgg")
    same = "import sys\nassert sys.executable == " + repr(sys.executable)
    path = project(train=f"loss = 0.5\n{same}")
    values = notebooks.parameters(path, {})
    found = runner.run(path, values)
    assert found.status == "computed", found.reason
