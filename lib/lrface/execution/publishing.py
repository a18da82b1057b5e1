"""What the project publishes: a study's networks and scores beside its results, and its notebook,
executed, in its place."""

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


def release(outcome: Outcome) -> int:
    """Put the networks a study of rendered faces was computed with, and its faces' scores, beside
    its results.

    Returns the number of networks not there before: the study's tables are to be made again with
    what was released. A network that is computed in seconds rather than trained (Eigenface) is left
    out: it is far larger than the time it saves. What no study of the preset lists any more is
    removed.
    """
    preset = outcome.results.parent
    if not preset.parent.name.startswith("synthetic"):
        return 0
    listed = {
        kind: [
            pd.read_csv(f, dtype={"key": str})["key"] for f in sorted(preset.glob(f"*/{kind}.csv"))
        ]
        for kind in ("runs", "scores")
    }
    networks, scored = (
        list(dict.fromkeys(pd.concat(keys))) if keys else [] for keys in listed.values()
    )
    new = 0
    for key in networks:
        run = runs.load_run(key)
        if (
            run is not None
            and run.source == "cached"
            and models.find(run.config.method).fit_closed_form is None
        ):
            runs.release(run, preset / "checkpoints")
            new += 1
    score_cache.release(scored, preset / "scores")
    for old in [*preset.glob("checkpoints/*"), *preset.glob("scores/*")]:
        if old.stem not in {*networks, *scored}:
            shutil.rmtree(old) if old.is_dir() else old.unlink()
    return new


def publish(path: Path, outcome: Outcome) -> None:
    """Make the executed notebook the committed one: its outputs under the cells as they are written
    now, with the defaults as parameters.

    Prose and comments may have changed since it was executed, for they are no reason to execute it
    again. No picture of a real person is taken over. A warning is nothing to publish, and it shows
    paths of this machine: :class:`LrfaceError` names the cell.
    """
    notebook = nbformat.read(path, 4)
    executed = nbformat.read(outcome.results / "notebook.ipynb", 4)
    outputs = [
        c.outputs
        for c in executed.cells
        if c.cell_type == "code" and "injected-parameters" not in c.metadata.get("tags", [])
    ]
    for number, shown in enumerate(outputs, 1):
        warned = [o["text"].strip() for o in shown if o.get("name") == "stderr"]
        if warned:
            raise LrfaceError(
                f"cell {number} of {path.name} printed a warning ({warned[0].splitlines()[0]}); mend its cause, then "
                f"`lrface reproduce --study {path.name[:2]} --force` and publish again"
            )
    code = [c for c in notebook.cells if c.cell_type == "code"]
    for number, (cell, shown) in enumerate(zip(code, outputs, strict=True), 1):
        cell.execution_count, cell.outputs = number, shown
        cell.metadata.pop("execution", None)
        for output in cell.outputs:
            if output.output_type == "execute_result":
                output.execution_count = number
            mark = output.get("metadata", {}).get("lrface", {})
            if mark.get("photos"):
                where = outcome.figures.relative_to(output_root()) / f"{mark['figure']}.png"
                output.data = {
                    "text/plain": f"{where}: real people's faces, drawn on your machine and not published"
                }
    notebook.metadata.kernelspec = {
        "display_name": "Python 3",
        "language": "python",
        "name": "python3",
    }
    notebook.metadata.language_info = executed.metadata.language_info
    write_atomic(path, lambda temporary: nbformat.write(notebook, temporary))
