"""Commands that execute studies: ``reproduce``, ``list``, ``publish``."""

from __future__ import annotations

import contextlib
import json
import os
import signal
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from lrface import settings
from lrface.cli.console import app, console, problems
from lrface.errors import LrfaceError, UsageError

if TYPE_CHECKING:  # torch takes seconds to import
    from lrface.execution.runner import Outcome

Work = list[tuple[Path, dict[str, Any]]]
"""Notebooks and their parameters."""

Studies = Annotated[str, typer.Option(help="Study number or name, several with commas, or 'all'.")]
Parameters = Annotated[
    list[str],
    typer.Option(
        "-p",
        "--param",
        help="A notebook parameter, name=value; may be repeated. trained_on=synthetic takes the "
        "released networks, trains nothing and tests on all people of --data.",
    ),
]


def _selected(study: str) -> list[Path]:
    from lrface.execution import notebooks
    from lrface.files import notebooks_folder

    if study == "all":
        if not (found := notebooks.every()):
            raise UsageError(
                f"no study found: {notebooks_folder()} holds none; set LRFACE_ROOT to a copy "
                "of the repository"
            )
        return found
    return [notebooks.find(name.strip()) for name in study.split(",")]


def _pairs(given: list[str]) -> dict[str, str]:
    pairs = {}
    for text in given:
        name, sign, value = text.partition("=")
        if not sign or not name:
            raise UsageError(f"-p {text}: write it as name=value")
        pairs[name] = value
    return pairs


def _fit(work: list[tuple[Path, dict[str, Any]]]) -> list[tuple[Path, dict[str, Any]]]:
    """The studies that can be made of their set; of each other it is said why not."""
    from lrface.execution import fitness

    kept, reasons = [], []
    for path, values in work:
        try:
            fitness.check(path.stem, values)
            kept.append((path, values))
        except fitness.Unfit as reason:
            reasons.append(reason)
    if not kept:
        raise reasons[0]
    for reason in reasons:
        console.print(f"passed over, {reason}")
    return kept


@app.command()
def reproduce(
    study: Studies = "all",
    data: Annotated[
        str, typer.Option(help="synthetic, celeba, lfw, ytf, folder:PATH or synthetic:PATH.")
    ] = "synthetic",
    preset: Annotated[str, typer.Option(help="smoke, quick, gpu or paper.")] = "quick",
    param: Parameters = [],  # noqa: B006  (typer copies it)
    force: Annotated[
        bool,
        typer.Option(help="Execute even if nothing changed; trained networks are still reused."),
    ] = False,
    retrain: Annotated[
        bool, typer.Option(help="Train networks here instead of using the released ones.")
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Check the request and the faces, and say what training would cost; no more.",
        ),
    ] = False,
    jobs: Annotated[
        str,
        typer.Option(
            help="Where networks train: here, local, or slurm (several studies: a job each). "
            "Default: LRFACE_JOBS."
        ),
    ] = "",
    timeout: Annotated[
        float | None,
        typer.Option(help="Seconds that one cell may take; default: no limit.", min=1),
    ] = None,
) -> None:
    """Execute studies, and say where their tables and figures are."""
    from lrface.checks import reproduced
    from lrface.execution import notebooks, runner
    from lrface.training import slurm

    # the notebooks' kernels inherit both
    if jobs:
        os.environ["LRFACE_JOBS"] = jobs
    if retrain:
        os.environ["LRFACE_RETRAIN"] = "1"
    where = slurm.launcher()
    given = {"data": data, "preset": preset} | _pairs(param)
    work = [(path, notebooks.parameters(path, given)) for path in _selected(study)]
    if study == "all":
        work = _fit(work)
    if dry_run:
        for path, values in work:
            runner.check_names(path, values)
        from lrface.cli import plans

        for path, values in work:
            plans.show(path, values)
        return
    current = {path: None if force else runner.reusable(path, values) for path, values in work}
    for path, values in work:
        if current[path] is None:
            runner.check(path, values)
    if where.kind == "slurm" and len(work) > 1:
        options = ["--data", data, "--preset", preset, *(o for p in param for o in ("-p", p))]
        options += ["--force"] * force + ["--retrain"] * retrain
        options += ["--timeout", f"{timeout:g}"] if timeout else []
        _reproduce_as_jobs(work, options)
    # batch systems interrupt with SIGTERM
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    outcomes = []
    for path, values in work:
        outcome = current[path] or runner.run(path, values, force, timeout)
        outcomes.append(outcome)
        _show(outcome)
    counts = {s: sum(o.status == s for o in outcomes) for s in ("computed", "reused", "failed")}
    console.print(", ".join(f"{name} {n}" for name, n in counts.items()))
    whole = [outcome for outcome in outcomes if outcome.status != "failed"]
    for line in reproduced.lines(reproduced.study(o.results, o.figures) for o in whole):
        console.print(line)
    raise typer.Exit(1 if counts["failed"] else 0)


def _reproduce_as_jobs(work: Work, options: list[str]) -> None:
    from lrface.training import slurm

    words = {path.stem: ["reproduce", "--study", path.stem, *options] for path, _ in work}
    codes = []
    for _, code, printed in slurm.run_studies(words):
        codes.append(code)
        console.print(printed, end="")
    raise typer.Exit(1 if any(codes) else 0)


def _show(outcome: Outcome) -> None:
    if outcome.status == "failed":
        how = f"failed after {outcome.seconds:.0f} s, {outcome.kind}"
        problems.print(f"{outcome.study} {how}: {outcome.reason}", style="red")
        return
    reason = f" ({outcome.reason})" if outcome.reason else ""
    console.print(f"{outcome.study}: {outcome.status} in {outcome.seconds:.1f} s{reason}")
    for folder, suffix in ((outcome.results, ".md"), (outcome.figures, ".png")):
        kind = "results" if suffix == ".md" else "figures"
        outputs = [Path(name) for name in outcome.outputs if name.endswith(suffix)]
        names = [path.name for path in outputs if path.parts[0] == kind]
        if names:
            console.print(f"  {folder}: {', '.join(names)}")


@app.command("list")
def list_() -> None:
    """Show the studies with their parameters and last run times, and the data sets at hand."""
    from lrface import data as sets
    from lrface.data.readers import clip_folder, folder, video
    from lrface.execution import notebooks
    from lrface.files import KINDS, output_folder, project_root

    places = dict.fromkeys([output_folder(KINDS[0]), project_root() / KINDS[0]])
    table = Table("study", "parameters (defaults)", "last runs", title="Studies")
    for path in notebooks.every():
        fields = notebooks.contract(path).model_fields
        runs = []
        found = (sorted(place.glob(f"*/*/{path.stem}*/record.json")) for place in places)
        for record in chain.from_iterable(found):
            with contextlib.suppress(OSError, ValueError, KeyError):
                seconds = json.loads(record.read_text())["seconds"]
                variant = record.parts[-2].removeprefix(path.stem)
                runs.append(f"{record.parts[-4]}/{record.parts[-3]}{variant}: {seconds:.0f} s")
        defaults = "\n".join(f"{name} = {field.default!r}" for name, field in fields.items())
        table.add_row(path.stem, defaults, "\n".join(runs) or "–")
    console.print(table)
    root = settings.current().data or "not set"
    table = Table("data set", "at hand", "layout", title=f"Data sets (LRFACE_DATA: {root})")
    for name, reader in sets.READERS.items():
        try:
            sets.check_name(name)
            at_hand = "yes"
        except LrfaceError:
            at_hand = "no"
        table.add_row(name, at_hand, reader.LAYOUT)
    table.add_row("folder:PATH", "yours", folder.LAYOUT)
    table.add_row("folder:PATH of clips", "yours", clip_folder.LAYOUT)
    table.add_row("video:PATH", "yours", video.LAYOUT)
    console.print(table)


@app.command()
def publish(
    study: Studies = "all",
    manifests: Annotated[
        bool, typer.Option("--manifests", help="Execute nothing; write the manifests anew.")
    ] = False,
) -> None:
    """Execute notebooks with their own defaults, and commit them executed: the new reference.

    At the end the hash of everything that is committed is written to manifests.
    """
    from lrface.files import project_root

    with settings.override(out=project_root()):
        _publish(study, manifests)


def _publish(study: str, manifests: bool) -> None:
    from lrface.execution import notebooks, publishing, runner
    from lrface.report import ledger

    executed = []
    for path in [] if manifests else _selected(study):
        values = notebooks.parameters(path, {})
        runner.check(path, values)
        outcome = _computed(path, values)
        if publishing.release(outcome):
            # released weights are rounded: the tables must rest on them, and so must the scores
            outcome = _computed(path, values, force=True)
            publishing.release(outcome)
        executed.append((path, outcome))
    # Last, as a changed notebook would make the next study's record say "dirty".
    for path, outcome in executed:
        publishing.publish(path, outcome)
    ledger.write_front_page()
    _write_manifests()


def _write_manifests() -> None:
    from lrface.checks import manifest, study_results
    from lrface.files import project_root

    root = project_root()
    written = manifest.write(study_results.find(root), root)
    console.print(f"{len(written)} manifests, the last is {written[-1].relative_to(root)}")


def _computed(path: Path, values: dict[str, Any], force: bool = False) -> Outcome:
    from lrface.execution import runner

    outcome = runner.run(path, values, force=force)
    _show(outcome)
    if outcome.status == "failed":
        raise typer.Exit(1)
    return outcome
