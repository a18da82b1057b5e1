"""The card of every released network: one table, from the records of their trainings."""

from __future__ import annotations

import math
from collections import defaultdict
from html import escape

import pandas as pd

from lrface import models
from lrface.checks import study_results
from lrface.files import clock, project_root
from lrface.site.networks import Exported
from lrface.training.run_store import Run, load_run

HEADS = (
    *("method", "setting", "learnt from", "loss", "steps", "took", "parameters", "validation"),
    *("used in", "in the browser", "key"),
)
MEANT = (
    "These are the weights that come with the repository. They make every study run on a laptop, "
    "and show what a method does. How large each is, what it learnt from and for how long, stands "
    "below; the people of the embedded sets do not exist."
)
NOT_MEANT = (
    "**Not for** telling who somebody is, nor for evidence of any kind: what a restorer adds to a "
    "face is what it has learnt to expect. Not for statements about groups of people, nor about "
    "a paper's network at its own size, nor for photographs where anything depends on the result: "
    "what they lose there, the studies measure."
)


def page(exported: list[Exported]) -> str:
    """The page ``networks``.

    Parameters
    ----------
    exported : list of Exported
        The networks that run in the browser, with their differences from PyTorch.
    """
    differences = {one.run.record["key"]: one.difference for one in exported}
    used = _used()
    runs = [run for run in map(load_run, _keys()) if run]
    runs.sort(key=lambda run: (used[run.record["key"]], run.config.method, run.config.label))
    head = "".join(f'<th scope="col">{one}</th>' for one in HEADS)
    rows = "".join(_row(run, used[run.record["key"]], differences) for run in runs)
    return "\n\n".join(
        [
            "# Released networks",
            MEANT,
            NOT_MEANT,
            f"{len(runs)} networks. *Validation* is the PSNR of faces held out from training, or "
            "none for a recogniser; *in the browser* is the largest difference, of 1, between a "
            "face by its ONNX file and by PyTorch. The faces are described by their "
            "[datasheet](datasheet.html).",
            '```{raw} html\n<table class="lr-table" data-table="networks">'
            '<caption class="lr-hidden">Released networks</caption>'
            f"<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>\n```",
        ]
    )


def _keys() -> list[str]:
    folders = project_root().glob("results/*/*/checkpoints/*/config.json")
    return sorted(folder.parent.name for folder in folders)


def _used() -> defaultdict[str, str]:
    """Run -> the numbers of the studies whose tables rest on it."""
    studies = defaultdict(set)
    for one in study_results.find(project_root()):
        file = one.results / "runs.csv"
        if file.is_file():
            for key in pd.read_csv(file, dtype=str, usecols=["key"])["key"]:
                studies[key].add(one.study[:2])
    return defaultdict(str, {key: ", ".join(sorted(found)) for key, found in studies.items()})


def _row(run: Run, used: str, differences: dict[str, float]) -> str:
    config, record = run.config, run.record
    key, psnr = record["key"], record["val_psnr"]
    about = record["data"]
    cells = [
        f"{config.method}, {config.size}"
        f'<span class="lr-source">{escape(models.find(config.method).source)}</span>',
        config.degradation.name,
        f"{about['name']}, {about['n']:,} faces"
        f'<span class="lr-source">{about["fingerprint"]}</span>',
        config.loss,
        f"{config.steps:,}",
        clock(record["seconds"]),
        f"{record['parameters']:,}",
        "–" if psnr is None or math.isnan(psnr) else f"{psnr:.2f} dB",
        used or "–",
        f"{differences[key]:.0e}" if key in differences else "–",
        f'<code title="sha256 {record["sha256"]}">{key}</code>',
    ]
    first, *rest = cells
    return (
        f'<tr id="{key}"><th scope="row">{first}</th>'
        + "".join(f"<td>{cell}</td>" for cell in rest)
        + "</tr>"
    )
