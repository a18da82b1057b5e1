"""Writing a rendered set: in parallel, resumable at any moment, and always the same bytes.

Workers write parts of a few identities or clips to ``.parts``; the parts are then joined into few
Parquet files, the protocols and descriptions are written, and the manifest last.
"""

from __future__ import annotations

import json
import os
import shutil
import threading
import time
from collections.abc import Mapping
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from pathlib import Path

import cv2
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock, Timeout
from joblib import Parallel, delayed

from lrface.data import splits
from lrface.data.synthetic import protocols
from lrface.data.synthetic.clips import clip
from lrface.data.synthetic.croissant import croissant
from lrface.data.synthetic.identities import GENERATIONS, identity
from lrface.data.synthetic.person import Person, person
from lrface.data.synthetic.prevalence import Prevalence
from lrface.data.synthetic.render import render
from lrface.data.synthetic.rows import SCHEMA, camera_for, row, to_table
from lrface.data.synthetic.truth import landmarks
from lrface.data.synthetic.views import view
from lrface.errors import LrfaceError, UsageError
from lrface.files import progress, sha256, write_atomic, write_text

VERSIONS = {1: 2, 2: 3}
"""By generation; to be raised when the same parameters give other pictures."""
PER_PART = 4
"""Identities (or clips) a part: what each worker can lose when a run is killed."""
PER_FILE = 6000
"""Most pictures in a finished file."""


@dataclass(frozen=True)
class Plan:
    """All that determines the content of the files; stored with them as ``plan.json``."""

    identities: int
    per_identity: int
    """Pictures of each identity."""
    seed: int = 0
    size: int = 128
    """Width and height of the HR pictures, 32 to 1024 pixels."""
    quality: int = 92
    """WebP quality of the HR pictures; 0: lossless PNG. Native captures are always lossless."""
    native: bool = True
    """Capture each moment with a low-quality camera too."""
    clips: int = 0
    frames: int = 7
    """Frames of each clip."""
    aligned: bool = True
    """Whether clips are warped to fixed eyes (:func:`.clips.clip`)."""
    first: int = 0
    """Number of the first identity."""
    prevalence: Mapping[str, float] = field(default_factory=dict)
    """Shares of attributes that are set (:class:`.prevalence.Prevalence`)."""
    jitter: float = 0.0
    """How far the crop of each frame of a clip is off, as that of a face detector is
    (:func:`.clips.clip_views`)."""
    clip_height: int = 0
    """Rows and columns of the native captures of clips, which are then framed and exposed as the
    HR frame is; 0: each clip has a random low-quality camera, as each still has."""
    generation: int = 1
    """Which renderer draws the people (:func:`.identities.identity`)."""

    def __post_init__(self) -> None:
        pictures = max(self.per_identity, self.clips)
        least = min(self.identities - 1, pictures - 1, self.frames - 1)
        rest = min(self.per_identity, self.clips, self.first, self.jitter, self.clip_height)
        if min(least, rest) < 0 or not 0 <= self.quality <= 100:
            raise UsageError(
                "a set needs at least one identity and one picture each (or clips), and a quality "
                f"from 0 to 100: {asdict(self)}"
            )
        if self.generation not in GENERATIONS:
            raise UsageError(f"there is no generation {self.generation} of rendered faces: 1 or 2")
        if not 32 <= self.size <= 1024:
            raise UsageError(f"pictures are rendered at 32 to 1024 pixels, not {self.size}")
        Prevalence(self.prevalence)

    @property
    def version(self) -> int:
        """Of the pictures (:data:`VERSIONS`); stored with the fields."""
        return VERSIONS[self.generation]

    def facts(self) -> dict:
        """The fields that are stored: those that came later only where they are used."""
        found = asdict(self) | {"version": self.version}
        unused = {"jitter": 0.0, "clip_height": 0, "generation": 1}
        return {k: v for k, v in found.items() if k not in unused or v != unused[k]}

    @property
    def parts(self) -> list[tuple[str, int]]:
        """The parts as (kind, number): ``images`` of groups of identities, then ``clips``."""
        groups = -(-self.identities // PER_PART) if self.per_identity else 0
        images = [("images", i) for i in range(groups)]
        return images + [("clips", i) for i in range(-(-self.clips // PER_PART))]


def _person(plan: Plan, number: int, prevalence: Prevalence) -> Person:
    return person(identity(plan.seed, number, prevalence, plan.generation))


def _image_rows(plan: Plan, i: int) -> list[dict]:
    """The rows of all pictures of the ``i``-th identity."""
    prevalence = Prevalence(plan.prevalence)
    who, rows = _person(plan, plan.first + i, prevalence), []
    for number in range(1, plan.per_identity + 1):
        one = view(who.identity, number, prevalence)
        frame = render(who, one, plan.size)
        truth = frame.picture(), *landmarks(who, frame)
        camera = camera_for(who, number) if plan.native else None
        rows.append(
            row(who, one, frame, *truth, seed=plan.seed, quality=plan.quality, camera=camera)
        )
    return rows


def _clip_rows(plan: Plan, c: int) -> list[dict]:
    """The rows of all frames of the ``c``-th clip."""
    prevalence, rows = Prevalence(plan.prevalence), []
    # clips are spread over the identities; where there are more, people have several
    i, number = c * plan.identities // plan.clips, 0
    if plan.clips > plan.identities:
        i, number = c % plan.identities, c // plan.identities
    who = _person(plan, plan.first + i, prevalence)
    frames = clip(who, number, plan.size, plan.frames, plan.aligned, prevalence, plan.jitter)
    for k, one in enumerate(frames):
        truth = one.picture, one.landmarks, one.visible
        camera = camera_for(who, one.view.scenery) if plan.native else None
        if camera is not None and plan.clip_height:
            camera = replace(camera, height=plan.clip_height).without("framing", "exposure")
        place = {"clip": c, "number": k, "seed": plan.seed, "quality": plan.quality}
        rows.append(row(who, one.view, one.frame, *truth, camera=camera, **place))
    return rows


def _write_part(plan: Plan, kind: str, part: int, target: Path) -> int:
    """Render one part into a file; returns the number of its rows."""
    rows_of, count = (
        (_image_rows, plan.identities) if kind == "images" else (_clip_rows, plan.clips)
    )
    numbers = range(part * PER_PART, min((part + 1) * PER_PART, count))
    table = to_table([row for i in numbers for row in rows_of(plan, i)])
    write_atomic(target, lambda temporary: pq.write_table(table, temporary, compression="zstd"))
    return table.num_rows


def _count(file: Path) -> int:
    """Rows of a part; 0 if the file is missing or damaged."""
    try:
        return pq.ParquetFile(file).metadata.num_rows
    except (OSError, pa.ArrowInvalid):
        return 0


def _write_in_worker(parent: int, *part) -> int:
    """:func:`_write_part` in a worker, which ends with its parent."""
    cv2.setNumThreads(1)
    if os.getpid() != parent:  # within a worker of another pool joblib starts no processes
        _end_with(parent)
    return _write_part(*part)


@lru_cache(maxsize=1)  # one thread a worker
def _end_with(parent: int) -> None:
    def wait() -> None:  # a worker whose parent was killed would wait for work for ever
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def _render(plan: Plan, parts: Path, workers: int) -> None:
    """Render the parts that are missing in a folder."""
    missing, done = [], 0
    for kind, i in plan.parts:
        count = _count(parts / f"{kind}-{i:05d}.parquet")
        done += count
        if not count:
            missing.append((kind, i))
    total = plan.identities * plan.per_identity + plan.clips * plan.frames
    with progress("synthetic faces", total) as advance:
        if done:
            advance(done)
        if workers == 1:
            for kind, i in missing:
                advance(_write_part(plan, kind, i, parts / f"{kind}-{i:05d}.parquet"))
            return
        # Compile once here, if this is the first run, and not in every worker: compiling takes more
        # memory than rendering.
        who = person(identity(0, 0))
        landmarks(who, render(who, view(who.identity, 1), 32))
        call = delayed(_write_in_worker)
        jobs = [
            call(os.getpid(), plan, kind, i, parts / f"{kind}-{i:05d}.parquet")
            for kind, i in missing
        ]
        try:
            for count in Parallel(workers, return_as="generator_unordered", batch_size=1)(jobs):
                advance(count)
        except BrokenProcessPool:
            raise LrfaceError(
                "a worker died, most likely for want of memory: "
                "run the same command with fewer workers, it goes on"
            ) from None


def _merge(plan: Plan, parts: Path, out: Path) -> list[Path]:
    """Join the parts into few files, each part a row group, so that little memory is needed."""
    files = []
    for kind in ("images", "clips"):
        numbers = [i for k, i in plan.parts if k == kind]
        if not numbers:
            continue
        per_part = PER_PART * (plan.per_identity if kind == "images" else plan.frames)
        room = max(PER_FILE // per_part, 1)
        groups = [numbers[i : i + room] for i in range(0, len(numbers), room)]
        for g, group in enumerate(groups):
            target = out / f"{kind}-{g:05d}-of-{len(groups):05d}.parquet"

            def write(temporary: Path, kind=kind, group=group) -> None:
                with pq.ParquetWriter(temporary, SCHEMA, compression="zstd") as writer:
                    for i in group:
                        part = parts / f"{kind}-{i:05d}.parquet"
                        writer.write_table(pq.read_table(part, schema=SCHEMA))

            if not target.exists():
                write_atomic(target, write)
            files.append(target)
    return files


def _finished(out: Path) -> dict | None:
    """The manifest of a complete set; else None, and damaged files are removed."""
    path = out / "manifest.json"
    if not path.exists():
        return None
    manifest = json.loads(path.read_text(encoding="utf-8"))
    damaged = [
        name
        for name, file in manifest["files"].items()
        if not (out / name).exists() or (out / name).stat().st_size != file["bytes"]
    ]
    if not damaged:
        return manifest
    for name in damaged:
        (out / name).unlink(missing_ok=True)
    path.unlink()
    return None


PROTOCOLS = ("pairs", "pairs_hard", "identification")


def _write_protocols(plan: Plan, out: Path, files: list[Path]) -> dict:
    """Write the lists of the protocols; returns their hashes, and why any could not be made."""
    columns = ["key", "identity", "split", "group", "gender", "yaw", "pitch"]
    # the protocols are of stills; a set without any has at least its splits
    stills = [file for file in files if file.name.startswith("images")] or files
    tables = [pd.read_parquet(file, columns=columns) for file in stills]
    table = pd.concat(tables, ignore_index=True)
    test = table[table["split"] == "test"]
    made, reasons = {}, {} if plan.per_identity else dict.fromkeys(PROTOCOLS, "no stills")
    builders = {
        "pairs": lambda: protocols.verification_pairs(test, plan.seed),
        "pairs_hard": lambda: protocols.verification_pairs(test, plan.seed, hard=True),
        "identification": lambda: protocols.identification_lists(table, plan.seed),
    }
    for name, build in builders.items() if plan.per_identity else ():
        try:
            listing = build()
        except UsageError as reason:
            reasons[name] = str(reason)
            continue
        write_text(out / f"{name}.csv", listing.to_csv(index=False, lineterminator="\n"))
        made[name] = {"rows": len(listing), "sha256": protocols.table_hash(listing)}
    return {
        "splits": splits.manifest(table, protocols.RULE),
        "protocols": made,
        "not_made": reasons,
    }


def make(
    out_dir: str | Path,
    identities: int,
    per_identity: int,
    seed: int = 0,
    size: int = 128,
    workers: int | None = None,
    quality: int = 92,
    native: bool = True,
    clips: int = 0,
    frames: int = 7,
    aligned: bool = True,
    first: int = 0,
    prevalence: Mapping[str, float] | None = None,
    jitter: float = 0.0,
    clip_height: int = 0,
    generation: int = 1,
) -> dict:
    """Render a set into a folder.

    Killed at any moment and called again, it continues, and ends with the same hashes.

    Parameters
    ----------
    out_dir : path
        The folder: ``images-*.parquet`` and ``clips-*.parquet`` (columns: :data:`.rows.SCHEMA`),
        ``pairs.csv``, ``pairs_hard.csv``, ``identification.csv``, ``plan.json``,
        ``croissant.json``, and last ``manifest.json`` with the sha256 of every file.
    workers : int, optional
        Processes, by default one a core; the result does not depend on it.
    identities, per_identity, seed, size, quality, native, clips, frames, aligned, first, \
prevalence, jitter, clip_height, generation
        The fields of :class:`Plan`.

    Returns
    -------
    dict
        The manifest.

    Raises
    ------
    UsageError
        A parameter is out of its range, or the folder holds a set with other parameters.
    LrfaceError
        The folder cannot be made or is in use, or a worker died.
    """
    plan = Plan(
        identities,
        per_identity,
        seed,
        size,
        quality,
        native,
        clips,
        frames,
        aligned,
        first,
        dict(sorted((prevalence or {}).items())),
        jitter=jitter,
        clip_height=clip_height,
        generation=generation,
    )
    out = Path(out_dir)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LrfaceError(
            f"cannot make the folder {out} ({error.strerror}): choose another"
        ) from None
    parts, stored = out / ".parts", json.dumps(plan.facts(), indent=1, sort_keys=True) + "\n"
    lock = FileLock(out / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise LrfaceError(
            f"another process is writing {out}: wait for it, or choose another folder"
        ) from None
    try:
        plan_file = out / "plan.json"
        if plan_file.exists() and plan_file.read_text(encoding="utf-8") != stored:
            raise UsageError(
                f"{out} holds a set made with other parameters (see its plan.json): "
                "choose another folder or remove it"
            )
        write_text(plan_file, stored)
        # temporary files of a killed run: no other process writes here while the lock is held
        for leftover in [*out.glob(".*.part*"), *parts.glob(".*.part*")]:
            leftover.unlink()
        if (manifest := _finished(out)) is not None:
            shutil.rmtree(parts, ignore_errors=True)
            return manifest
        _render(plan, parts, max(workers or os.cpu_count() or 1, 1))
        files = _merge(plan, parts, out)
        manifest = {"plan": plan.facts(), **_write_protocols(plan, out, files)}
        listed = sorted([*files, *out.glob("*.csv"), plan_file])
        manifest["files"] = {
            file.name: {"bytes": file.stat().st_size, "sha256": sha256(file)} for file in listed
        }
        write_text(out / "croissant.json", json.dumps(croissant(manifest), indent=1) + "\n")
        write_text(out / "manifest.json", json.dumps(manifest, indent=1, sort_keys=True) + "\n")
        shutil.rmtree(parts)
        return manifest
    finally:
        lock.release()
        (out / ".lock").unlink(missing_ok=True)
