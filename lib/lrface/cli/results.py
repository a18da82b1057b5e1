"""Commands that check and gather results: ``verify``, ``why`` and ``report``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lrface.cli.console import app, console
from lrface.errors import UsageError


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
        Path | None, typer.Option(help="Also write the findings to this Markdown file.")
    ] = None,
) -> None:
    """Check committed numbers, figures and verdicts against their records or another run.

    Exit code 1: something drifted.
    """
    from lrface.checks import verify as checks
    from lrface.files import write_text

    found = checks.run(study, data, preset, against, fresh)
    for line in found.lines():
        console.print(line)
    if report:
        write_text(report, found.markdown())
    raise typer.Exit(1 if found.drifts else 0)


@app.command()
def why(
    name: Annotated[
        str,
        typer.Argument(
            help="A table or figure: its path, or a name such as 01/table2 or learning_curves; or "
            "a finding, such as csri-best."
        ),
    ],
) -> None:
    """Say what made a table, a figure or a finding, and whether it was changed since.

    That is the command, notebook, parameters, commit, faces and versions; of a finding also what
    the paper prints, what was measured, and the reasons of the verdict. Of several sets, the
    rendered faces are meant.
    """
    from lrface.checks import lineage

    if known := lineage.finding(name):
        for label, text in known.items():
            console.print(f"{label:<12}{text}")
        return
    found = lineage.find(name)
    if len(found) > 1:
        for one in found:
            console.print(one)
        raise UsageError(f"{name} may be any of these {len(found)}: name one, with its folder")
    for one, place in found.items():
        for label, text in lineage.explain(one, place).items():
            console.print(f"{label:<12}{text}")


@app.command()
def report(
    data: Annotated[
        str, typer.Argument(help="The face set, as for reproduce: folder:PATH, celeba, synthetic.")
    ],
    out: Annotated[
        Path | None,
        typer.Option(help="The file; default: report.html in the folder of the set's results."),
    ] = None,
) -> None:
    """Write one HTML file of everything that was measured on a face set.

    Published, committed and your own numbers side by side, figures, and the record of each study.
    The file needs no network. Figures may show your faces: look before you pass it on.
    """
    from lrface.site import own_report

    file = own_report.write(data, out)
    console.print(f"{file}: {file.stat().st_size / 1e6:.1f} MB")
