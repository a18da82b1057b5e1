"""Release a study's networks and scores beside its results, and commit its executed notebook."""

from __future__ import annotations

import shutil
from pathlib import Path

import nbformat
import pandas as pd

from lrface import models
from lrface.errors import LrfaceError
from lrface.execution.runner import Outcome
from lrface.files import output_root, write_atomic
from lrface.metrics import score_cache
from lrface.training import runs

KERNELSPEC = {"display_name": "Python 3", "language": "python", "name": "python3"}


def release(outcome: Outcome) -> int:
    """Copy the networks and the score files of a study of rendered faces beside its results.

    Networks that are computed in closed form (Eigenface) are left out: they are far larger than
    the seconds that they save. What no study of the preset lists any more is removed.

    Returns
    -------
    int
        The number of newly released networks. If there are any, the study must be executed again:
        released weights have 8 or 16 bits, and the tables must rest on what is released. So no
        score is released then, and those that came from the unrounded weights are forgotten.
    """
    preset = outcome.results.parent
    if not preset.parent.name.startswith("synthetic"):
        return 0
    networks, scores = (_listed(preset, kind) for kind in ("runs", "scores"))
    found = [run for key in networks if (run := runs.load_run(key)) and run.source == "cached"]
    new = [run for run in found if models.find(run.config.method).fit_closed_form is None]
    if new:  # before they are released: what is interrupted here is scored again, too
        score_cache.forget(scores, preset / "scores")
    else:
        score_cache.release(scores, preset / "scores")
    for run in new:
        runs.release(run, preset / "checkpoints")
    for old in [*preset.glob("checkpoints/*"), *preset.glob("scores/*")]:
        if old.stem not in {*networks, *scores}:
            shutil.rmtree(old) if old.is_dir() else old.unlink()
    return len(new)


def _listed(preset: Path, kind: str) -> list[str]:
    """The keys that the studies of a preset list in their ``runs.csv`` or ``scores.csv``."""
    files = sorted(preset.glob(f"*/{kind}.csv"))
    keys = [key for file in files for key in pd.read_csv(file, dtype={"key": str})["key"]]
    return list(dict.fromkeys(keys))


def publish(path: Path, outcome: Outcome) -> None:
    """Put the outputs of an executed notebook under the cells of the committed one.

    Prose and comments may have changed since the execution, as they are no reason to execute again.
    Pictures of real people are replaced by a line of text.

    Raises
    ------
    LrfaceError
        A cell printed a warning: warnings show paths of this machine.
    """
    notebook = nbformat.read(path, 4)
    executed = nbformat.read(outcome.results / "notebook.ipynb", 4)
    outputs = [
        cell.outputs
        for cell in executed.cells
        if cell.cell_type == "code" and "injected-parameters" not in cell.metadata.get("tags", [])
    ]
    _refuse_warnings(path, outputs)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    for number, (cell, shown) in enumerate(zip(code, outputs, strict=True), 1):
        cell.execution_count, cell.outputs = number, shown
        cell.metadata.pop("execution", None)
        for output in cell.outputs:
            if output.output_type == "execute_result":
                output.execution_count = number
            mark = output.get("metadata", {}).get("lrface", {})
            if mark.get("photos"):
                where = outcome.figures.relative_to(output_root()) / f"{mark['figure']}.png"
                text = f"{where}: real people's faces, drawn on your machine and not published"
                output.data = {"text/plain": text}
    notebook.metadata.kernelspec = KERNELSPEC
    notebook.metadata.language_info = executed.metadata.language_info
    write_atomic(path, lambda temporary: nbformat.write(notebook, temporary))


def _refuse_warnings(path: Path, outputs: list[list]) -> None:
    for number, shown in enumerate(outputs, 1):
        for output in shown:
            if output.get("name") == "stderr":
                first = output["text"].strip().splitlines()[0]
                raise LrfaceError(
                    f"cell {number} of {path.name} printed a warning ({first}); mend its cause, "
                    f"then `lrface reproduce --study {path.name[:2]} --force` and publish again"
                )
