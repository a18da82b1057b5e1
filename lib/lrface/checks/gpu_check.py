"""``lrface gpu-check``: an acceptance run on one GPU, a verdict a line, kept as JSON.

Each part is a process of its own (:mod:`lrface.checks.gpu_parts`): one that crashes fails, and the
others still run. On a machine without a GPU the parts run on the phantom, a device that is not
there (:mod:`lrface.checks.phantom`).
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from lrface.errors import UsageError
from lrface.execution import notebooks
from lrface.files import output_root, write_text

PARTS = {
    "probe": "the GPU can be used",
    "steps": "the first steps of every method, GPU against CPU",
    "study": "a study at smoke",
    "scores": "released scores of study 01, computed again",
    "speed": "faces a second, busy share and memory of six networks",
    "resumed": "killed and resumed",
    "memory": "out of memory",
    "processes": "two processes",
}
"""The parts in their order, and what each shows."""
SECONDS = 900
"""The longest that a part may take."""


def run(
    parts: Iterable[str] = (), say: Callable[[str], None] = print, phantom: bool | None = None
) -> dict[str, Any]:
    """Run the parts, or all of them, and say the verdict of each.

    Parameters
    ----------
    parts : iterable of str
        Names of :data:`PARTS`; ``study`` may name one, as ``study:04``. All by default.
    say : callable
        Is given each line.
    phantom : bool, optional
        Run on the phantom; by default where PyTorch sees no GPU.

    Returns
    -------
    dict
        ``passed`` (no part failed), ``phantom``, and ``parts``, with the name, verdict, text,
        seconds and facts of each. Stored by :func:`keep`.

    Raises
    ------
    UsageError
        For an unknown part.
    """
    asked = list(parts) or list(PARTS)
    if unknown := [name for name in asked if name.partition(":")[0] not in PARTS]:
        raise UsageError(f"no part {unknown[0]!r}: choose from {', '.join(PARTS)}")
    if phantom is None:
        import torch

        phantom = not torch.cuda.device_count()
    found = [_part(name, phantom, say) for name in _with_studies(asked)]
    return {
        "passed": all(part["verdict"] != "FAIL" for part in found),
        "phantom": phantom,
        "parts": found,
    }


def keep(result: dict[str, Any], file: Path | None = None) -> Path:
    """Store a result as JSON, by default as ``results/local/gpu-check.json``."""
    file = file or output_root() / "results" / "local" / "gpu-check.json"
    return write_text(file, json.dumps(result, indent=1) + "\n")


def _with_studies(asked: list[str]) -> list[str]:
    found: list[str] = []
    for name in asked:
        studies = [f"study:{path.stem[:2]}" for path in notebooks.every()]
        found += studies if name == "study" else [name]
    return found


def _part(name: str, phantom: bool, say: Callable[[str], None]) -> dict[str, Any]:
    words = [sys.executable, "-m", "lrface.checks.gpu_parts", *name.split(":")]
    words += ["--phantom"] * phantom
    began = time.monotonic()
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=SECONDS)
        found = json.loads(done.stdout.strip().splitlines()[-1])
    except subprocess.TimeoutExpired:
        found = {"verdict": "FAIL", "text": f"took longer than {SECONDS} s", "facts": None}
    except (IndexError, ValueError):
        last = (done.stderr.strip().splitlines() or ["no output"])[-1]
        found = {"verdict": "FAIL", "text": f"exit code {done.returncode}: {last}", "facts": None}
    seconds = round(time.monotonic() - began, 1)
    say(f"{found['verdict']}  {name}: {found['text']} ({seconds:.0f} s)")
    return {"name": name, "seconds": seconds} | found
