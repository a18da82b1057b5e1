"""Write a synthetic set of any size: in parallel, resumable after being killed at any moment, the
same bytes every time."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import shutil
import threading
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, field
from pathlib import Path

import cv2
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock, Timeout

from lrface.data import splits
from lrface.data.synthetic import protocols
from lrface.data.synthetic.clips import clip
from lrface.data.synthetic.croissant import croissant
from lrface.data.synthetic.identities import identity
from lrface.data.synthetic.person import person
from lrface.data.synthetic.prevalence import Prevalence
from lrface.data.synthetic.render import render
from lrface.data.synthetic.rows import SCHEMA, camera_for, row, to_table
from lrface.data.synthetic.truth import landmarks
from lrface.data.synthetic.views import view
from lrface.errors import LrfaceError, UsageError
from lrface.files import progress, write_atomic, write_text

VERSION = 2
"""Raised when the same parameters make other pictures."""
PER_PART = 4
"""Identities a work item renders: what a killed run can lose, a worker at most."""
PER_FILE = 6000
"""Pictures a finished file holds at most."""


@dataclass(frozen=True)
class Plan:
    """Everything that decides what the files hold; stored beside them as ``plan.json``."""

    identities: int
    per_identity: int
    seed: int = 0
    size: int = 128
    quality: int = 92
    """WebP quality of the high-resolution pictures; 0: lossless PNG. Native captures are always
    lossless."""
    native: bool = True
    """Also capture each moment with a poor camera."""
    clips: int = 0
    frames: int = 7
    aligned: bool = True
    first: int = 0
    """Number of the first identity."""
    prevalence: Mapping[str, float] = field(default_factory=dict)
    version: int = VERSION

    def __post_init__(self) -> None:
        if (
            self.identities < 1
            or self.per_identity < 1
            or self.clips < 0
            or self.frames < 1
            or self.first < 0
            or not 0 <= self.quality <= 100
        ):
            raise UsageError(
                f"a set needs at least one identity and one picture each, and a quality from 0 to 100: {asdict(self)}"
            )
        if not 32 <= self.size <= 1024:
            raise UsageError(f"pictures are rendered at 32 to 1024 pixels, not {self.size}")
        Prevalence(self.prevalence)

    @property
    def parts(self) -> list[tuple[str, int]]:
        """Work items as (kind, number): ``images`` by groups of identities, ``clips`` by groups of
        clips."""
        return [("images", i) for i in range(-(-self.identities // PER_PART))] + [
            ("clips", i) for i in range(-(-self.clips // PER_PART))
        ]


def _part_rows(plan: Plan, kind: str, part: int) -> list[dict]:
    prevalence, rows = Prevalence(plan.prevalence), []
    keep = {"seed": plan.seed, "quality": plan.quality}
    if kind == "images":
        for i in range(part * PER_PART, min((part + 1) * PER_PART, plan.identities)):
            who = person(identity(plan.seed, plan.first + i, prevalence))
            for number in range(1, plan.per_identity + 1):
                one = view(who.identity, number, prevalence)
                frame = render(who, one, plan.size)
                points, visible = landmarks(who, frame)
                camera = camera_for(who, number) if plan.native else None
                rows.append(
                    row(who, one, frame, frame.picture(), points, visible, camera=camera, **keep)
                )
    else:
        for c in range(part * PER_PART, min((part + 1) * PER_PART, plan.clips)):
            # Clips are spread over the identities; a second round gives a person a second clip.
            i, turn = (
                (c * plan.identities // plan.clips, 0)
                if plan.clips <= plan.identities
                else (c % plan.identities, c // plan.identities)
            )
            who = person(identity(plan.seed, plan.first + i, prevalence))
            for k, seen in enumerate(
                clip(who, turn, plan.size, plan.frames, plan.aligned, prevalence)
            ):
                camera = camera_for(who, seen.view.scenery) if plan.native else None
                rows.append(
                    row(
                        who,
                        seen.view,
                        seen.frame,
                        seen.picture,
                        seen.landmarks,
                        seen.visible,
                        clip=c,
                        number=k,
                        camera=camera,
                        **keep,
                    )
                )
    return rows


def _write_part(plan: Plan, kind: str, part: int, target: Path) -> int:
    table = to_table(_part_rows(plan, kind, part))
    write_atomic(target, lambda temporary: pq.write_table(table, temporary, compression="zstd"))
    return table.num_rows


def _count(file: Path) -> int:
    """Rows of a finished part; 0 if the file is not whole."""
    try:
        return pq.ParquetFile(file).metadata.num_rows
    except (OSError, pa.ArrowInvalid):
        return 0


def _start_worker() -> None:
    cv2.setNumThreads(1)
    # A worker whose parent was killed would wait for work for ever.
    threading.Thread(target=_leave_with_parent, daemon=True).start()


def _leave_with_parent() -> None:
    multiprocessing.parent_process().join()
    os._exit(1)


def _render(plan: Plan, parts: Path, workers: int) -> None:
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
        # Compile once here, if this is the first run, instead of once in every worker; it takes
        # more memory than rendering does.
        who = person(identity(0, 0))
        landmarks(who, render(who, view(who.identity, 1), 32))
        # Spawned, not forked: a forked child inherits the locks of the parent's threads.
        with ProcessPoolExecutor(
            workers, mp_context=multiprocessing.get_context("spawn"), initializer=_start_worker
        ) as pool:
            jobs = [
                pool.submit(_write_part, plan, kind, i, parts / f"{kind}-{i:05d}.parquet")
                for kind, i in missing
            ]
            try:
                for job in as_completed(jobs):
                    advance(job.result())
            except BrokenProcessPool:
                raise LrfaceError(
                    "a worker died, most likely for want of memory: run the same command with fewer workers, it goes on"
                ) from None
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise


def _merge(plan: Plan, parts: Path, out: Path) -> list[Path]:
    """Join parts into few files, a row group a part, so that memory stays small."""
    files = []
    for kind in ("images", "clips"):
        numbers = [i for k, i in plan.parts if k == kind]
        room = max(
            PER_FILE // (PER_PART * (plan.per_identity if kind == "images" else plan.frames)), 1
        )
        groups = [numbers[i : i + room] for i in range(0, len(numbers), room)]
        for g, group in enumerate(groups):
            target = out / f"{kind}-{g:05d}-of-{len(groups):05d}.parquet"

            def write(temporary: Path, kind=kind, group=group) -> None:
                with pq.ParquetWriter(temporary, SCHEMA, compression="zstd") as writer:
                    for i in group:
                        writer.write_table(
                            pq.read_table(parts / f"{kind}-{i:05d}.parquet", schema=SCHEMA)
                        )

            if not target.exists():
                write_atomic(target, write)
            files.append(target)
    return files


def _finished(out: Path) -> dict | None:
    """The manifest of a set that is whole; None, with the damaged files removed, for one that is
    not."""
    note = out / "manifest.json"
    if not note.exists():
        return None
    manifest = json.loads(note.read_text(encoding="utf-8"))
    torn = [
        name
        for name, file in manifest["files"].items()
        if not (out / name).exists() or (out / name).stat().st_size != file["bytes"]
    ]
    if not torn:
        return manifest
    for name in torn:
        (out / name).unlink(missing_ok=True)
    note.unlink()
    return None


def _sha256(file: Path) -> str:
    with open(file, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _write_protocols(plan: Plan, out: Path, files: list[Path]) -> dict:
    """Pairs of test identities, 1:N lists and their hashes; a protocol the set is too small for is
    named with the reason."""
    columns = ["key", "identity", "split", "group", "gender", "yaw", "pitch"]
    table = pd.concat(
        [
            pd.read_parquet(file, columns=columns)
            for file in files
            if file.name.startswith("images")
        ],
        ignore_index=True,
    )
    test = table[table["split"] == "test"]
    made, reasons = {}, {}
    builders = {
        "pairs": lambda: protocols.verification_pairs(test, plan.seed),
        "pairs_hard": lambda: protocols.verification_pairs(test, plan.seed, hard=True),
        "identification": lambda: protocols.identification_lists(table, plan.seed),
    }
    for name, build in builders.items():
        try:
            listing = build()
        except UsageError as reason:
            reasons[name] = str(reason)
            continue
        write_atomic(
            out / f"{name}.csv",
            lambda temporary, listing=listing: listing.to_csv(
                temporary, index=False, lineterminator="\n"
            ),
        )
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
) -> dict:
    """Make a synthetic set in ``out_dir`` and return its manifest.

    Writes ``images-*.parquet`` and ``clips-*.parquet`` (columns: :data:`rows.SCHEMA`),
    ``pairs.csv``, ``pairs_hard.csv``, ``identification.csv``, ``plan.json``, ``croissant.json`` and
    last ``manifest.json`` with the sha256 of every file. Killed at any moment and called again, it
    goes on and ends with the same hashes; the number of ``workers`` (default: all cores) changes
    nothing but the time. Raises :class:`UsageError` if the folder holds a set with other
    parameters.
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
    )
    out = Path(out_dir)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LrfaceError(
            f"cannot make the folder {out} ({error.strerror}): choose another"
        ) from None
    parts, stored = out / ".parts", json.dumps(asdict(plan), indent=1, sort_keys=True) + "\n"
    lock = FileLock(out / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise LrfaceError(
            f"another process is writing {out}: wait for it, or choose another folder"
        ) from None
    try:
        note = out / "plan.json"
        if note.exists() and note.read_text(encoding="utf-8") != stored:
            raise UsageError(
                f"{out} holds a set made with other parameters (see its plan.json): choose another folder or remove it"
            )
        write_text(note, stored)
        # A killed writer leaves its temporary file behind; nobody else writes here while the lock
        # is held.
        for stray in [*out.glob(".*.part*"), *parts.glob(".*.part*")]:
            stray.unlink()
        if (manifest := _finished(out)) is not None:
            shutil.rmtree(parts, ignore_errors=True)
            return manifest
        _render(plan, parts, max(workers or os.cpu_count() or 1, 1))
        files = _merge(plan, parts, out)
        manifest = {"plan": asdict(plan), **_write_protocols(plan, out, files)}
        listed = sorted([*files, *out.glob("*.csv"), note])
        manifest["files"] = {
            file.name: {"bytes": file.stat().st_size, "sha256": _sha256(file)} for file in listed
        }
        write_text(out / "croissant.json", json.dumps(croissant(manifest), indent=1) + "\n")
        write_text(out / "manifest.json", json.dumps(manifest, indent=1, sort_keys=True) + "\n")
        shutil.rmtree(parts)
        return manifest
    finally:
        lock.release()
        (out / ".lock").unlink(missing_ok=True)
