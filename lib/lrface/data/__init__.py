"""Face sets: ``load(name)`` gives a :class:`FaceSet` of a published set or of your own folder."""

from __future__ import annotations

from lrface.data.catalogue import (
    OFFICIAL,
    OWN,
    READERS,
    SCENES,
    SPLITS,
    absent,
    absolute,
    check_name,
    data_root,
    state,
    state_or_absent,
)
from lrface.data.clips import ClipSet
from lrface.data.faceset import FaceSet
from lrface.data.lists import LEAST_PEOPLE, cannot, identification_lists, pairs
from lrface.data.loading import (
    held_out,
    load,
    load_clips,
    load_part_windows,
    load_scenes,
    load_windows,
    scenes_of,
)
from lrface.data.scenes import SceneSet
from lrface.data.splits import check_leakage
from lrface.data.windows import WindowSet

__all__ = [
    "LEAST_PEOPLE",
    "OFFICIAL",
    "OWN",
    "READERS",
    "SCENES",
    "SPLITS",
    "ClipSet",
    "FaceSet",
    "SceneSet",
    "TrainingSet",
    "WindowSet",
    "absent",
    "absolute",
    "cannot",
    "check_leakage",
    "check_name",
    "data_root",
    "held_out",
    "identification_lists",
    "load",
    "load_clips",
    "load_part_windows",
    "load_scenes",
    "load_windows",
    "pairs",
    "scenes_of",
    "state",
    "state_or_absent",
]

TrainingSet = FaceSet | ClipSet | WindowSet
"""What a network can be trained on."""
