"""Further captures of rendered moments: distractors for a large gallery, and other cameras.

A moment is (seed, number of the person, number of the view), which determines it entirely; so a
moment of the embedded set can be rendered again and captured by another camera, or by the same with
a stage switched off.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path

import cv2
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from joblib import Parallel, delayed

from lrface.data import packed
from lrface.data.synthetic.camera import capture, sample_camera
from lrface.data.synthetic.identities import identity
from lrface.data.synthetic.make import VERSIONS
from lrface.data.synthetic.person import person
from lrface.data.synthetic.render import render
from lrface.data.synthetic.rows import decode, encode, name_of
from lrface.data.synthetic.streams import stream
from lrface.data.synthetic.views import view
from lrface.files import progress, write_atomic

Moment = tuple[int, int, int]
"""(seed, number of the person, number of the view)."""
PER_PART = 40
"""Moments a file: what each worker can lose when a run is killed."""
SIZE, QUALITY = 128, 92
VERSION = VERSIONS[1]
"""Of captures of the first generation, the embedded set's: study 05 has it in its scores' keys."""
_PICTURE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
_SCHEMA = pa.schema(
    [
        *((name, pa.string()) for name in ("key", "identity", "way", "digest", "native_digest")),
        *(("native_height", pa.int16()), ("image", _PICTURE), ("native", _PICTURE)),
    ]
)


@dataclass(frozen=True)
class Way:
    """How a moment is captured."""

    name: str
    camera: int = 0
    """0: the low-quality camera that the set has for the moment; others are further random ones."""
    without: tuple[str, ...] = ()
    """Stages of the camera that are off (:data:`lrface.data.synthetic.camera.STAGES`)."""


def captured(
    folder: Path, moments: Sequence[Moment], ways: Sequence[Way], generation: int = 1
) -> pd.DataFrame:
    """Capture every moment in every way; what is in ``folder`` already is not rendered again.

    Parameters
    ----------
    folder : Path
        Where the images are stored. A call that was interrupted continues there.
    moments : sequence of (seed, person, view)
    ways : sequence of Way
    generation : {1, 2}
        Which renderer draws the people.

    Returns
    -------
    DataFrame
        One row a capture, by moment and within it by way: ``key`` (``s000003_002/NAME``),
        ``identity``, ``way``, ``native_height``, ``path`` (address of the HR picture, under
        ``folder``), ``native_path`` (of the capture), and ``digest``, ``native_digest`` of their
        pixels. Captures of camera 0 with every stage on have the pixels that ``lrface data make``
        writes for the moment.
    """
    version, captured_as = VERSIONS[generation], [asdict(way) for way in ways]
    facts = (version, SIZE, QUALITY, list(moments), captured_as)
    text = repr(facts if generation == 1 else (*facts, generation))
    place = folder / hashlib.sha256(text.encode()).hexdigest()[:16]
    parts = [moments[i : i + PER_PART] for i in range(0, len(moments), PER_PART)]
    files = [place / f"captures-{i:05d}.parquet" for i in range(len(parts))]
    missing = [(file, part) for file, part in zip(files, parts, strict=True) if not file.exists()]
    with progress("captures", len(moments)) as advance:
        advance(len(moments) - sum(len(part) for _, part in missing))
        jobs = [delayed(_write)(file, part, ways, generation) for file, part in missing]
        workers = min(os.cpu_count() or 1, max(1, len(jobs)))
        for count in Parallel(workers, return_as="generator_unordered", batch_size=1)(jobs):
            advance(count)
    columns = [name for name in _SCHEMA.names if name not in ("image", "native")]
    tables = []
    for file in files:
        table = pd.read_parquet(file, columns=columns)
        rows = range(len(table))
        name = file.relative_to(folder).as_posix()
        # the HR picture is stored once a moment, in the row of its first way
        path = [packed.address(name, row - row % len(ways)) for row in rows]
        native_path = [packed.address(name, row) for row in rows]
        tables.append(table.assign(path=path, native_path=native_path))
    return pd.concat(tables, ignore_index=True)


def _write(file: Path, moments: Sequence[Moment], ways: Sequence[Way], generation: int) -> int:
    """Render and capture some moments into one file; returns their number."""
    cv2.setNumThreads(1)
    rows = []
    for (seed, number), views in groupby(moments, key=lambda moment: moment[:2]):
        who = person(identity(seed, number, generation=generation))
        for _, _, view_number in views:
            frame = render(who, view(who.identity, view_number), SIZE)
            image = encode(frame.picture(), QUALITY)
            digest = _digest(decode(image))
            key = f"{name_of(number)}_{view_number:03d}"
            for position, way in enumerate(ways):
                # a further camera is that of a view which is not rendered
                key_of_camera = seed, number, view_number + 1000 * way.camera
                camera = sample_camera(stream(*key_of_camera, "camera")).without(*way.without)
                native = capture(frame, camera, stream(*key_of_camera, "sensor"))
                rows.append(
                    {
                        "key": f"{key}/{way.name}",
                        "identity": name_of(number),
                        "way": way.name,
                        "digest": digest,
                        "native_digest": _digest(native),
                        "native_height": len(native),
                        "image": None if position else {"bytes": image, "path": key},
                        "native": {"bytes": encode(native, 0), "path": key},
                    }
                )
    table = pa.Table.from_pylist(rows, schema=_SCHEMA)
    write_atomic(file, lambda temporary: pq.write_table(table, temporary, compression="zstd"))
    return len(moments)


def _digest(picture) -> str:
    return hashlib.sha256(picture.tobytes()).hexdigest()[:16]
