"""Publishing an executed notebook: outputs go under the current cells; no photos, no warnings."""

from pathlib import Path

import nbformat
import pytest
from conftest import make_project, tiny_config
from lrface import runs
from lrface.errors import LrfaceError
from lrface.execution import publishing
from lrface.execution.runner import Outcome
from lrface.files import cache_dir, study_folders
from nbformat.v4 import new_code_cell, new_output


def picture(name: str, photos: bool):
    mark = {"lrface": {"figure": name, "photos": photos}}
    return new_output("display_data", data={"image/png": "iVBORw0KGgo="}, metadata=mark)


@pytest.fixture
def executed(own_places):
    """``executed(outputs)``: the notebook of a project, and an outcome whose cells have these."""

    def make(outputs: list[list]) -> tuple[Path, Outcome]:
        path = make_project(own_places / "project")
        notebook = nbformat.read(path, 4)
        for number, (cell, shown) in enumerate(zip(notebook.cells, outputs, strict=True), 1):
            cell.outputs, cell.execution_count = shown, number + 7
        injected = new_code_cell("x = 1", metadata={"tags": ["injected-parameters"]})
        notebook.cells.insert(1, injected)
        notebook.metadata.language_info = {"name": "python"}
        results, figures = study_folders("celeba", "quick", "07_tiny")
        results.mkdir(parents=True)
        nbformat.write(notebook, results / "notebook.ipynb")
        return path, Outcome("07_tiny", "computed", 1.0, results, figures)

    return make


def test_outputs_go_under_the_current_cells_without_photos(executed):
    shown = [picture("faces", True), picture("curve", False)]
    result = new_output("execute_result", data={"text/plain": "4"}, execution_count=10)
    path, outcome = executed([[], [result], shown, []])
    text = path.read_text().replace("import pandas as pd", "import pandas as pd  # since commented")
    path.write_text(text)
    publishing.publish(path, outcome)
    cells = nbformat.read(path, 4).cells
    assert "# since commented" in cells[1].source
    assert [cell.execution_count for cell in cells] == [1, 2, 3, 4]
    assert cells[1].outputs[0].execution_count == 2
    photo, curve = (output.data for output in cells[2].outputs)
    assert list(photo) == ["text/plain"] and "real people's faces" in photo["text/plain"]
    assert "faces.png" in photo["text/plain"] and "image/png" in curve


def test_no_score_of_unrounded_weights_is_released(own_places, monkeypatch):
    monkeypatch.setenv("LRFACE_OUT", str(own_places / "project"))
    monkeypatch.setenv("LRFACE_ROOT", str(own_places / "project"))
    run = runs.fit(tiny_config(data="synthetic", steps=2))
    results, figures = study_folders("synthetic", "quick", "07_tiny")
    results.mkdir(parents=True)
    for kind, key in (("runs", run.folder.name), ("scores", "abc")):
        (results / f"{kind}.csv").write_text(f"key\n{key}\n")
    outcome = Outcome("07_tiny", "computed", 1.0, results, figures)
    cached = cache_dir("scores") / "abc.parquet"
    cached.write_bytes(b"by unrounded weights")
    assert publishing.release(outcome) == 1
    assert runs.load_run(run.folder.name).source == "released"
    released = results.parent / "scores" / "abc.parquet"
    assert not cached.exists() and not released.exists()
    cached.write_bytes(b"by released weights")
    assert publishing.release(outcome) == 0
    assert released.read_bytes() == b"by released weights"


def test_a_warning_is_not_published(executed):
    warning = new_output("stream", name="stderr", text="/home/me/x.py:1: UserWarning: it leaks\n")
    path, outcome = executed([[], [], [warning], []])
    before = path.read_text()
    with pytest.raises(LrfaceError, match="cell 3 of 07_tiny.ipynb printed a warning .*it leaks"):
        publishing.publish(path, outcome)
    assert path.read_text() == before
