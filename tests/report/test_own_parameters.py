"""A notebook that is started by hand writes beside the usual results if its parameters differ."""

import subprocess
import sys

import nbformat
import pytest
from lrface.execution import notebooks, runner
from lrface.report import own_parameters

CELL = 'data: str = "synthetic"\nn_test: int | None = None\nmethods: list[str] = [\n    "EDSR",\n]'


@pytest.fixture
def tiny(own_places, monkeypatch):
    """A project with one study, whose results go to ``results/local``."""
    monkeypatch.setenv("LRFACE_ROOT", str(own_places))
    monkeypatch.delenv("LRFACE_OUT")
    source = f'from pydantic import Field\n\n{CELL}\npreset: str = "smoke"'
    cells = [nbformat.v4.new_code_cell(source, metadata={"tags": ["parameters"]})]
    code = """
from types import SimpleNamespace
import pandas as pd
from lrface.report import Study
n_test = n_test or 300
faces = SimpleNamespace(name="synthetic", fingerprint="0123abcd", photos=False)
study = Study("07_tiny", faces, preset)
study.listing("n", pd.DataFrame({"n": [n_test]}))
"""
    cells.append(nbformat.v4.new_code_cell(code))
    path = own_places / "notebooks" / "07_tiny.ipynb"
    path.parent.mkdir()
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    book = nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel})
    nbformat.write(book, path)
    return path


def test_what_was_executed_counts_not_what_was_made_of_it():
    usual = {"data": "synthetic", "n_test": None, "methods": ["EDSR"]}
    differing = own_parameters._differing
    assert differing(usual, ["", CELL, "n_test = n_test or 300", "n_test = 300"]) == {}
    assert differing(usual, [CELL.replace("None = None", "None = 40")]) == {"n_test": 40}
    injected = '# Parameters\nmethods = ["bicubic"]\ndata = "celeba"\nextra = 1\n'
    assert differing(usual, [CELL, injected]) == {"methods": ["bicubic"]}
    assert differing(usual, [CELL, injected, CELL]) == {}  # run again
    assert differing(usual, ["%matplotlib inline", "x = (1"]) == {}
    assert own_parameters.changed("07_tiny") == {}  # no kernel


@pytest.mark.slow
def test_papermill_and_the_command_line_name_one_folder(tiny, own_places):
    words = [sys.executable, "-m", "papermill", str(tiny), "out.ipynb"]
    for given in ([], ["-p", "n_test", "40"]):
        subprocess.run([*words, *given], check=True, capture_output=True, cwd=own_places)
    folder = own_places / "results" / "local" / "synthetic" / "smoke"
    values = notebooks.parameters(tiny, {"n_test": "40", "preset": "smoke"})
    usual, other = folder / "07_tiny", runner.stage_of(tiny, values).final[0]
    assert {usual, other} == {*folder.iterdir()} and "@" in other.name
    assert (usual / "n.csv").read_text() == "n\n300\n"
    assert (other / "n.csv").read_text() == "n\n40\n"
