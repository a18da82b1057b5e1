"""lrface: an executable companion to five works on face hallucination and LR face recognition."""

from __future__ import annotations

import warnings
from types import ModuleType

__version__ = "0.1.0"

# joblib replaces a worker that has grown by 300 MB, as a training does, between two jobs: nothing
# is lost.
warnings.filterwarnings("ignore", "A worker stopped while some jobs", UserWarning)


def __getattr__(name: str) -> ModuleType:
    """``from lrface import runs`` is short for ``from lrface.training import runs``."""
    if name == "runs":
        from lrface.training import runs

        return runs
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
