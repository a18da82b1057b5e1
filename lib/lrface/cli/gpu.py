"""The command that accepts a GPU: ``gpu-check``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lrface.cli.console import app, console


@app.command("gpu-check")
def gpu_check(
    part: Annotated[
        list[str],
        typer.Option(
            help="Only this part; may be repeated. probe, steps, study (or study:04), scores, "
            "speed, resumed, memory or processes."
        ),
    ] = [],  # noqa: B006  (typer copies it)
    out: Annotated[
        Path | None,
        typer.Option(help="Where the JSON goes; default: results/local/gpu-check.json."),
    ] = None,
) -> None:
    """Accept a GPU: every method and study on it, against the CPU and the released scores.

    Under ten minutes on one GPU. Without a GPU the same runs on a device that is not there.
    Exit code 1: a line says FAIL.
    """
    from lrface.checks import gpu_check as check

    result = check.run(part, console.print)
    file = check.keep(result, out)
    console.print(f"{'PASS' if result['passed'] else 'FAIL'}: {file}")
    raise typer.Exit(0 if result["passed"] else 1)
