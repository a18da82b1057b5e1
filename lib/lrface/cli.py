"""The command line: ``lrface reproduce | list | verify | why | data | hallucinate | degrade |
publish``.

Exit codes: 0 all done; 1 something failed or drifted, the rest ran and is kept; 2 the request was
wrong and nothing was started.
"""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from lrface import settings
from lrface.errors import LrfaceError, UsageError

app = typer.Typer(
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__
)
console = Console(soft_wrap=True, markup=False)
problems = Console(stderr=True, soft_wrap=True, highlight=False, markup=False)

INTERRUPTED = 130
"""How typer ends what was interrupted."""

Given = Annotated[
    list[str],
    typer.Option("-p", "--param", help="A notebook parameter, name=value; may be repeated."),
]


@app.callback()
def _check_settings() -> None:
    settings.current()


def _pairs(given: list[str]) -> dict[str, str]:
    pairs = {}
    for text in given:
        name, sign, value = text.partition("=")
        if not sign or not name:
            raise UsageError(f"-p {text}: write it as name=value")
        pairs[name] = value
    return pairs


@app.command()
def reproduce(
    study: Annotated[
        str, typer.Option(help="Study number or name, several with commas, or 'all'.")
    ] = "all",
    data: Annotated[
        str, typer.Option(help="synthetic, celeba, lfw, ytf, folder:PATH or synthetic:PATH.")
    ] = "synthetic",
    preset: Annotated[str, typer.Option(help="smoke, quick, gpu or paper.")] = "quick",
    param: Given = [],  # noqa: B006  (typer copies it)
    force: Annotated[
        bool,
        typer.Option(
            help="Execute again even if nothing changed (trained networks are still reused)."
        ),
    ] = False,
    retrain: Annotated[
        bool,
        typer.Option(
            help="Leave the released networks aside: train them here (what is trained here is kept)."
        ),
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Check the request and the faces, count what training would cost; train and write nothing.",
        ),
    ] = False,
    jobs: Annotated[
        str,
        typer.Option(
            help="Where networks train: here, local, or slurm (several studies: each a job); LRFACE_JOBS says it, too."
        ),
    ] = "",
    timeout: Annotated[
        float | None,
        typer.Option(help="Seconds that one cell may take; by default as many as it needs.", min=1),
    ] = None,
) -> None:
    """Execute studies and say where their tables and figures are."""
    import os
    import signal

    from lrface.execution import notebooks, runner
    from lrface.training import slurm as jobs_

    if jobs:  # the notebooks' kernels inherit it
        os.environ["LRFACE_JOBS"] = jobs
    where = jobs_.chosen()
    if retrain:  # the notebooks' kernels inherit it
        os.environ["LRFACE_RETRAIN"] = "1"
    if study == "all":
        paths = [path for path in sorted(notebooks.folder().glob("[0-9][0-9]_*.ipynb"))]
    else:
        paths = [notebooks.find(s.strip()) for s in study.split(",")]
    work = [
        (path, notebooks.parameters(path, {"data": data, "preset": preset} | _pairs(param)))
        for path in paths
    ]
    if dry_run:
        for path, values in work:
            runner.check_names(path, values)
        for path, values in work:
            _plan(path, values)
        return
    there = {path: None if force else runner.reusable(path, values) for path, values in work}
    for path, values in work:
        if there[path] is None:
            runner.check(path, values)
    if where.kind == "slurm" and len(work) > 1:
        options = (
            [o for p in param for o in ("-p", p)] + ["--force"] * force + ["--retrain"] * retrain
        )
        options += ["--timeout", f"{timeout:g}"] if timeout else []
        words = {
            path.stem: [
                "reproduce",
                "--study",
                path.stem,
                "--data",
                data,
                "--preset",
                preset,
                *options,
            ]
            for path, _ in work
        }
        codes = []
        for _, code, said in jobs_.studies(words):
            codes.append(code)
            console.print(said, end="")
        raise typer.Exit(1 if any(codes) else 0)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a batch system's way to interrupt
    outcomes = []
    for path, values in work:
        outcome = there[path] or runner.run(path, values, force, timeout)
        outcomes.append(outcome)
        _tell(outcome)
    counts = {s: sum(o.status == s for o in outcomes) for s in ("computed", "reused", "failed")}
    console.print(", ".join(f"{name} {n}" for name, n in counts.items()))
    raise typer.Exit(1 if counts["failed"] else 0)


def _plan(path: Path, values: dict) -> None:
    import pandas as pd

    from lrface.execution import notebooks
    from lrface.files import clock
    from lrface.training import cost_model

    found = notebooks.planned(path, values)
    if found is None or not found[0]:
        console.print(f"{path.stem}: it trains nothing")
        return
    configs, train = found
    frames = []
    for data, faces in train.items() if isinstance(train, dict) else [(None, train)]:
        identities = faces.table["identity"].nunique()
        console.print(
            f"{path.stem}: {faces.name}, {len(faces):,} training faces of {identities:,} identities, fingerprint {faces.fingerprint}"
        )
        frames.append(
            cost_model.plan(
                [c for c in configs.values() if data in (None, c.data)],
                len(faces),
                identities,
                len(faces.attributes),
            )
        )
    frame = pd.concat(frames)
    shown = {
        "epochs": "{:.4g}".format,
        "parameters": "{:,}".format,
        "macs": lambda n: f"{n / 1e9:.2f}e9",
        "memory_gb": "{:.2f}".format,
    }
    shown |= {name: clock for name in cost_model.SECONDS}
    console.print(frame.to_string(index=False, formatters=shown), highlight=False)
    one, eight = (clock(frame[name].sum()) for name in cost_model.SECONDS)
    console.print(
        f"{frame['steps'].sum():,} steps: {one} on one GPU, {eight} on eight; at most {frame['memory_gb'].max():.2f} GB"
    )
    console.print(f"({cost_model.ASSUMPTION})")


def _tell(outcome) -> None:
    if outcome.status == "failed":
        problems.print(
            f"{outcome.study} failed after {outcome.seconds:.0f} s, {outcome.kind}: {outcome.reason}",
            style="red",
        )
        return
    console.print(
        f"{outcome.study}: {outcome.status} in {outcome.seconds:.1f} s"
        + (f" ({outcome.reason})" if outcome.reason else "")
    )
    for place, suffix in ((outcome.results, ".md"), (outcome.figures, ".png")):
        names = [
            Path(o).name
            for o in outcome.outputs
            if o.endswith(suffix)
            and Path(o).parent.parts[0] == ("results" if suffix == ".md" else "figures")
        ]
        if names:
            console.print(f"  {place}: {', '.join(names)}")


@app.command("list")
def list_() -> None:
    """Show the studies with their parameters and last cost, and the data sets at hand."""
    import json

    from lrface import data as faces
    from lrface.execution import notebooks
    from lrface.files import output_root

    table = Table("study", "parameters (defaults)", "last runs", title="Studies")
    for path in sorted(notebooks.folder().glob("[0-9][0-9]_*.ipynb")):
        fields = notebooks.contract(path).model_fields
        runs = []
        for record in sorted(output_root().glob(f"results/*/*/{path.stem}/record.json")):
            with contextlib.suppress(OSError, ValueError, KeyError):
                runs.append(
                    f"{record.parts[-4]}/{record.parts[-3]}: {json.loads(record.read_text())['seconds']:.0f} s"
                )
        table.add_row(
            path.stem,
            "\n".join(f"{n} = {f.default!r}" for n, f in fields.items()),
            "\n".join(runs) or "–",
        )
    console.print(table)
    root = settings.current().data
    table = Table(
        "data set", "at hand", "layout", title=f"Data sets (LRFACE_DATA: {root or 'not set'})"
    )
    for name, reader in faces.READERS.items():
        try:
            faces.check_name(name)
            at_hand = "yes"
        except LrfaceError:
            at_hand = "no"
        table.add_row(name, at_hand, reader.LAYOUT)
    table.add_row("folder:PATH", "yours", faces.folder.LAYOUT)
    console.print(table)


@app.command()
def verify(
    study: Annotated[
        str | None,
        typer.Option(
            help="Study number or name, several with commas; default: all that have results."
        ),
    ] = None,
    data: Annotated[str | None, typer.Option(help="Only results on this set.")] = None,
    preset: Annotated[str | None, typer.Option(help="Only results at this preset.")] = None,
    against: Annotated[
        Path | None, typer.Option(help="Compare with the results in another output folder.")
    ] = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Execute the studies now, elsewhere, and compare.")
    ] = False,
    report: Annotated[
        Path | None, typer.Option(help="Write what was found to this Markdown file, too.")
    ] = None,
) -> None:
    """Check every committed number, figure and verdict: against its record and second sources, or
    another run. Exit 1: drift."""
    from lrface.checks import verify as verification
    from lrface.files import write_text

    found = verification.run(study, data, preset, against, fresh)
    for line in found.lines():
        console.print(line, highlight=False)
    if report:
        write_text(report, found.markdown())
    raise typer.Exit(1 if found.drifts else 0)


@app.command()
def why(
    name: Annotated[
        str,
        typer.Argument(
            help="A table or figure: its path, or a name such as 01/table2 or figure6_strangers."
        ),
    ],
) -> None:
    """Say what made a table or figure: command, notebook, parameters, commit, faces, versions, and
    whether it was changed since."""
    from lrface.checks import lineage as lineage

    found = lineage.find(name)
    if len(found) > 1:
        for one in found:
            console.print(one, highlight=False)
        raise UsageError(f"{name} may be any of these {len(found)}: name one, with its folder")
    for one, place in found.items():
        for label, text in lineage.explain(one, place).items():
            console.print(f"{label:<12}{text}", highlight=False)


data_app = typer.Typer(no_args_is_help=True, help="Look after face sets.")
app.add_typer(data_app, name="data")


@data_app.command("check")
def data_check(
    name: Annotated[
        str,
        typer.Argument(
            help="synthetic, celeba, lfw, ytf, tinyface, folder:PATH or synthetic:PATH."
        ),
    ],
) -> None:
    """Read every image of a set once; name the files that cannot be used; show splits, crop rule
    and fingerprint."""
    from lrface import data as faces

    found = faces.load(name)
    counts = found.manifest["counts"]
    console.print(
        f"{name}: {len(found)} usable faces of {found.table['identity'].nunique()} identities"
    )
    for split in ("train", "val", "test"):
        if split in counts:
            console.print(
                f"  {split}: {counts[split]['images']} images, {counts[split]['identities']} identities"
            )
    console.print(f"  splits by {found.split_rule}, manifest {found.manifest['sha256'][:16]}")
    if "role" in found.table:
        console.print(
            f"  1:N search: {', '.join(f'{n} {role}' for role, n in found.table['role'].value_counts().sort_index().items())}"
        )
    rule = found.crop.box or (
        "a square around each face" if "side" in found.table else "largest centred square"
    )
    rule = "the whole picture, made square," if found.crop.pad else rule
    console.print(
        f"  crop {rule} to {found.crop.size}x{found.crop.size}, fingerprint {found.fingerprint}"
    )
    for key, reason in found.skipped.items():
        problems.print(f"  skipped {key}: {reason}")
    raise typer.Exit(1 if found.skipped else 0)


@data_app.command("make")
def data_make(
    target: Annotated[
        Path, typer.Argument(help="Folder for the Parquet files, lists and manifest.")
    ],
    identities: Annotated[int, typer.Option(min=1)] = 400,
    per_identity: Annotated[int, typer.Option(min=1)] = 12,
    clips: Annotated[int, typer.Option(min=0, help="Clips of seven frames.")] = 0,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="Processes; default: all cores. Changes nothing but the time."),
    ] = None,
) -> None:
    """Render synthetic faces with their exact truth; interrupted, the same command goes on."""
    from lrface.data import synthetic

    manifest = synthetic.make(target, identities, per_identity, seed, clips=clips, workers=workers)
    console.print(
        f"{identities} identities x {per_identity} faces in {target}: {', '.join(manifest['files'])}"
    )


def _report(written: list[Path], failed: dict[str, str], target: Path) -> None:
    for name, reason in failed.items():
        problems.print(f"{name}: {reason}")
    console.print(
        f"{len(written)} written to {target}" + (f", {len(failed)} failed" if failed else "")
    )
    raise typer.Exit(1 if failed else 0)


@app.command()
def hallucinate(
    source: Annotated[Path, typer.Argument(help="A low-resolution face, or a folder of them.")],
    target: Annotated[
        Path,
        typer.Argument(help="Where the results go: a folder, or an image file for a single face."),
    ],
    method: Annotated[str, typer.Option(help="bicubic, SRCNN, EDSR, RCAN, ...")] = "EDSR",
    scale: Annotated[int, typer.Option(help="2, 4 or 8.")] = 4,
    setting: Annotated[
        str,
        typer.Option(
            help="Degradation the network was trained for, such as 4x_DN; default: plain SCALEx."
        ),
    ] = "",
) -> None:
    """Enlarge your own faces with a network trained here (see `reproduce`), or with bicubic
    interpolation."""
    from lrface import degrade, models
    from lrface import inference as hallucination
    from lrface.training import runs

    setting = setting or f"{scale}x"
    chosen = degrade.setting(setting)
    if chosen.scale != scale:
        raise UsageError(f"--setting {setting} enlarges {chosen.scale}x, --scale says {scale}")
    hallucination.images_in(source)
    if models.method(method).trainable:
        run = runs.best_run(method, setting)
        console.print(f"{run.config.label}, {run.config.steps} steps")
        net = run.model()
    else:
        net = models.restorer(method, scale)
    _report(
        *hallucination.apply(source, target, lambda image, _: hallucination.restore(net, image)),
        target,
    )


@app.command("degrade")
def degrade_(
    source: Annotated[Path, typer.Argument(help="A high-resolution face, or a folder of them.")],
    target: Annotated[Path, typer.Argument(help="Where the low-resolution images go.")],
    setting: Annotated[str, typer.Option(help="2x, 4x, 4x_BD, 4x_DN or 8x.")] = "4x",
    seed: Annotated[int, typer.Option(help="Seed of the noise.", min=0)] = 0,
) -> None:
    """Make low-resolution faces exactly as the studies do; sides are cut to a multiple of the
    scale."""
    import torch

    from lrface import degrade
    from lrface import inference as hallucination

    chosen = degrade.setting(setting, seed=seed)

    def transform(image, position):
        h, w = (side // chosen.scale * chosen.scale for side in image.shape[1:])
        if not h or not w:
            raise LrfaceError(
                f"{image.shape[2]}x{image.shape[1]} pixels are too few to divide by {chosen.scale}"
            )
        return (
            chosen(image[None, :, :h, :w].float() / 255, torch.tensor([position]))[0]
            .mul(255)
            .round()
            .byte()
        )

    _report(*hallucination.apply(source, target, transform), target)


@app.command()
def publish(
    study: Annotated[
        str, typer.Option(help="Study number or name, several with commas, or 'all'.")
    ] = "all",
) -> None:
    """Execute notebooks with their own defaults and store them, executed, as the committed ones."""
    from lrface.execution import notebooks, publishing, runner

    executed = []
    for path in (
        sorted(notebooks.folder().glob("[0-9][0-9]_*.ipynb"))
        if study == "all"
        else [notebooks.find(s) for s in study.split(",")]
    ):
        values = notebooks.parameters(path, {})
        runner.check(path, values)
        outcome = runner.run(path, values)
        _tell(outcome)
        if outcome.status == "failed":
            raise typer.Exit(1)
        if publishing.release(
            outcome
        ):  # the tables are to stand on what is released, to the last digit
            outcome = runner.run(path, values, force=True)
            _tell(outcome)
            publishing.release(
                outcome
            )  # a released network has 8 bits, which may have moved its scores
        executed.append((path, outcome))
    for (
        path,
        outcome,
    ) in (
        executed
    ):  # last: a record says that its code was committed, and a notebook just stored is not
        publishing.publish(path, outcome)


def main() -> None:
    """Entry point: turns an expected error into one sentence and its exit code."""
    try:
        app()
    except UsageError as error:
        problems.print(f"lrface: {error}")
        sys.exit(2)
    except LrfaceError as error:
        problems.print(f"lrface: {error}")
        sys.exit(1)
    except SystemExit as end:
        if end.code == INTERRUPTED:
            problems.print("lrface: interrupted; the same command goes on where it stopped")
        raise
