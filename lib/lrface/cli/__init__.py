"""The command line: ``lrface reproduce``, ``list``, ``verify``, ``hallucinate`` and others.

``studies``, ``results``, ``faces``, ``photos`` and ``gpu`` hold the commands, ``console`` what they
share.
"""

from __future__ import annotations

import io
import sys

from lrface.cli.console import app, problems
from lrface.errors import LrfaceError, UsageError

# they register the commands, in the order of the help text
from lrface.cli import studies, results, faces, photos, gpu  # noqa: F401  # isort: skip

INTERRUPTED = 130
"""Typer's exit code of an interrupted command."""


def main() -> None:
    """Entry point: turns an expected error into one sentence and its exit code."""
    for stream in (sys.stdout, sys.stderr):  # a terminal may not know every character
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
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
