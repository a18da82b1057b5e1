"""lrface: an executable companion to five works on face hallucination and LR face recognition."""

from __future__ import annotations

import os
import sysconfig
import warnings
from pathlib import Path
from types import ModuleType

__version__ = "0.1.0"

# joblib replaces a worker that has grown by 300 MB, as a training does, between two jobs: nothing
# is lost.
warnings.filterwarnings("ignore", "A worker stopped while some jobs", UserWarning)

# umap and others compile with Numba, which keeps the result beside their files or else in HOME:
# where neither can be written it would fail.
_homes = sysconfig.get_paths()["purelib"], os.path.expanduser("~")
if os.environ.get("LRFACE_CACHE") and not any(os.access(place, os.W_OK) for place in _homes):
    os.environ.setdefault("NUMBA_CACHE_DIR", str(Path(os.environ["LRFACE_CACHE"], "numba")))


def __getattr__(name: str) -> ModuleType:
    """``from lrface import runs`` is short for ``from lrface.training import runs``."""
    if name == "runs":
        from lrface.training import runs

        return runs
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
