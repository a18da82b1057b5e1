"""The Typer application, and the consoles for results and for problems."""

from __future__ import annotations

import typer
from rich.console import Console

from lrface import settings

HELP = """Reproduce the studies, check their results, and restore your own faces.

Exit codes: 0 all done; 1 something failed or drifted, the rest was done and is kept; \
2 the request was wrong and nothing was started.
"""

app = typer.Typer(
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=HELP
)
console = Console(soft_wrap=True, markup=False, highlight=False)
problems = Console(stderr=True, soft_wrap=True, markup=False, highlight=False)


@app.callback()
def _check_settings() -> None:
    settings.fix_paths()
