"""Generations of the rendered faces by name: ``synthetic-1``, as embedded, and ``synthetic-2``.

The second is rendered when it is first loaded (some 15 minutes on two cores) and kept in the cache.
Both hold the same 400 people: identity, group, age, hair and attributes agree, the pictures do not.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from filelock import FileLock

from lrface.data.synthetic.make import Plan, make
from lrface.files import cache_dir

FIRST, SECOND = "synthetic-1", "synthetic-2"
OF_SECOND = (SECOND, "synthetic-clips-2")
"""Names of what is rendered when first loaded: the stills and the clips of one folder."""
PLAN = Plan(identities=400, per_identity=12, seed=2026, clips=120, generation=2)
"""What the second generation is rendered by: the embedded set's plan but for the generation."""


def folder() -> Path:
    """Where the second generation lies, or will lie once it is rendered."""
    recipe = json.dumps(PLAN.facts(), sort_keys=True)
    return cache_dir("faces") / f"{SECOND}-{hashlib.sha256(recipe.encode()).hexdigest()[:16]}"


def ready(name: str) -> None:
    """Render the second generation if ``name`` asks for it and it is not at hand."""
    if name not in OF_SECOND:
        return
    place = folder()
    with FileLock(place.with_suffix(".lock")):  # several trainings may ask for it at once
        if not (place / "manifest.json").exists():
            facts = PLAN.facts()
            del facts["version"]
            make(place, **facts)
