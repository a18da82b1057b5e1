"""Generations of the rendered faces by name: ``synthetic-1`` and ``synthetic-2``.

Both hold the same 400 people: identity, group, age, hair and attributes agree, the pictures do not.
The stills of both are embedded. The clips of the second, ``synthetic-clips-2``, are rendered when
they are first loaded (some two minutes on two cores) and kept in the cache.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from filelock import FileLock

from lrface.data.readers.rendered import EMBEDDED
from lrface.data.synthetic.make import Plan, make
from lrface.files import cache_dir

FIRST, SECOND, CLIPS = "synthetic-1", "synthetic-2", "synthetic-clips-2"
STILLS = Plan(identities=400, per_identity=12, seed=2026, generation=2)
"""What the second generation's stills are rendered by."""
OF_CLIPS = Plan(identities=400, per_identity=0, seed=2026, clips=120, generation=2)
"""What its clips are rendered by: the same people."""


def folder(name: str) -> Path:
    """Where a set of this module, or the default one, lies or will lie once it is rendered."""
    if name == CLIPS:
        recipe = json.dumps(OF_CLIPS.facts(), sort_keys=True)
        return cache_dir("faces") / f"{CLIPS}-{hashlib.sha256(recipe.encode()).hexdigest()[:16]}"
    return EMBEDDED.with_name("embedded_2") if name == SECOND else EMBEDDED


def ready(name: str) -> None:
    """Render the second generation's clips if ``name`` asks for them and they are not at hand."""
    if name != CLIPS:
        return
    place = folder(name)
    with FileLock(place.with_suffix(".lock")):  # several trainings may ask for it at once
        if not (place / "manifest.json").exists():
            facts = OF_CLIPS.facts()
            del facts["version"]
            make(place, **facts)
