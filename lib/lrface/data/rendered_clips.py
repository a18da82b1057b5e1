"""Clips that are rendered when they are first needed: ``data.load_clips("rendered-clips", ...)``.

They are made as VidFace's TUFS-145K is: every frame is cropped by itself, as a face detector would,
and not aligned. A crop is off by 2 % of its side in position and 3 % in size (standard deviations),
about what two detectors' boxes of one face differ by. Each clip has seven frames of about a second
with changes of pose, expression and light, and of each frame a capture by a poor camera with 16x16
pixels (16x12 of them are used), framed and exposed as the HR frame is.

The second generation's renderer draws the people, who are not in the embedded sets. Splits are by
person.
"""

from __future__ import annotations

import hashlib
import json
from functools import partial

import pandas as pd
from filelock import FileLock

from lrface.data.clips import ClipSet
from lrface.data.faceset import FaceSet
from lrface.data.readers import rendered
from lrface.data.synthetic.make import Plan, make
from lrface.data.synthetic.rows import name_of
from lrface.files import cache_dir

NAME, GENERATION = "rendered-clips", 2
PEOPLE = {"train": 400, "val": 12, "test": 60}
FIRST = {"train": 100_000, "val": 110_000, "test": 120_000}
"""Number of the first person of each split."""
CLIPS_EACH = {"train": 2, "val": 1, "test": 1}
JITTER = 0.02
HEIGHT = 16
"""Rows of the native captures."""


def plan(split: str, limit: int | None = None) -> Plan:
    """What a split, or the clips of its first people, is rendered by."""
    clips = min(PEOPLE[split] * CLIPS_EACH[split], limit or 1 << 30)
    return Plan(
        identities=min(PEOPLE[split], clips),
        per_identity=0,
        clips=clips,
        aligned=False,
        first=FIRST[split],
        jitter=JITTER,
        clip_height=HEIGHT,
        generation=GENERATION,
    )


def load(split: str, limit: int | None, frames: int) -> ClipSet:
    """Clips of a split; nothing is rendered before a frame is asked for."""
    chosen = plan(split, limit)
    recipe = json.dumps(chosen.facts(), sort_keys=True)
    how = dict(recipe=recipe, listed=_listed(chosen, split))
    return ClipSet(NAME, partial(_rendered, chosen, split), frames, **how)


def _listed(chosen: Plan, split: str) -> pd.DataFrame:
    """The table of the clips: clip c is of person c, beginning again after the last."""
    identity = [name_of(chosen.first + c % chosen.identities) for c in range(chosen.clips)]
    table = pd.DataFrame({"identity": identity, "clip": [str(c) for c in range(chosen.clips)]})
    table = table.sort_values(["identity", "clip"])
    index = pd.MultiIndex.from_frame(table)
    key = (table["identity"] + "/" + table["clip"]).to_numpy()
    return pd.DataFrame(
        {"key": key, "identity": table["identity"].to_numpy(), "split": split}, index=index
    )


def _rendered(chosen: Plan, split: str) -> FaceSet:
    facts = chosen.facts()
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]
    folder = cache_dir("clips") / f"{split}-{digest}"
    with FileLock(folder.with_suffix(".lock")):  # several trainings may ask for it at once
        if not (folder / "manifest.json").exists():
            del facts["version"]
            make(folder, **facts)
    crop = rendered.CROPS[GENERATION]
    table = rendered.read(folder, "clips").drop(columns="official").assign(split=split)
    return FaceSet(NAME, folder, table, crop, photos=False, split_rule="by person")


def held_out() -> pd.DataFrame:
    """``key, identity, split`` of the clips that are not trained on; renders nothing."""
    parts = [_listed(plan(split), split) for split in ("val", "test")]
    return pd.concat(parts, ignore_index=True)
