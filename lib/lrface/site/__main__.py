"""``python -m lrface.site [FOLDER]``: what ``make site`` runs once everything is installed."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import torch

from lrface import site
from lrface.errors import LrfaceError
from lrface.files import clock, project_root


def main() -> None:
    """Build the site in ``site/``, or in the folder that is named."""
    began = time.perf_counter()
    torch.set_num_threads(1)  # on one small face several threads only wait for one another
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else project_root() / "site"
    try:
        site.build(target, project_root() / "docs" / "_build", lambda said: print(said, flush=True))
    except LrfaceError as error:
        sys.exit(f"lrface: {error}")
    size = sum(file.stat().st_size for file in target.rglob("*") if file.is_file())
    print(f"{size / 1e6:.0f} MB in {clock(time.perf_counter() - began)}")


if __name__ == "__main__":
    main()
