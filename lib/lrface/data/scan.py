"""Look at every file once: which can be read, and what pixels it holds. The answer is kept until
the file changes."""

from __future__ import annotations

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd

from lrface.data.images import BadImage, Crop, located, read_rgb
from lrface.files import cache_dir, progress, write_atomic

COLUMNS = ["path", "size", "mtime_ns", "height", "digest", "problem"]
CHUNK = 512


def _look(root: Path, path: str, crop: Crop) -> tuple:
    file, square = located(path)
    try:
        stat = (root / file).stat()
        size, mtime = stat.st_size, stat.st_mtime_ns
    except OSError:
        return path, -1, -1, 0, "", "the file is missing"
    try:
        image = read_rgb(root / file)
        digest = hashlib.sha256(
            crop(image, square).tobytes() + (f"{square}".encode() if square else b"")
        )
        return path, size, mtime, len(image), digest.hexdigest()[:16], ""
    except BadImage as problem:
        return path, size, mtime, 0, "", str(problem)


def scan(
    name: str, root: Path, paths: list[str], crop: Crop, limit: int | None = None
) -> pd.DataFrame:
    """A row a path, in order: ``path, height, digest, problem``; stops once ``limit`` usable images
    are found.

    ``height`` is the whole picture's, in pixels, 0 where it cannot be used. ``digest`` is 16 hex
    digits of the sha256 of the crop (and its square, where the path names one), ``problem`` is
    empty for a usable image. Files already seen with the same size and time are not read again.
    Interrupted, it goes on with the next unread chunk.
    """
    # The name is hashed because a folder set's name is a path; it would not do as a file name.
    key = hashlib.sha256(f"{name}\n{root.resolve()}\n{crop}".encode()).hexdigest()[:16]
    store = cache_dir("scans") / f"{key}.parquet"
    known: dict[str, tuple] = {}
    if store.exists():
        try:
            # stores from before heights were kept are of sets that do not ask for them
            stored = pd.read_parquet(store).reindex(columns=COLUMNS, fill_value=0)
            known = {row[0]: row for row in stored.itertuples(index=False, name=None)}
        except (OSError, ValueError):
            store.unlink()

    def fresh(path: str) -> tuple:
        row = known.get(path)
        if row:
            try:
                stat = os.stat(root / located(path)[0])
                if (stat.st_size, stat.st_mtime_ns) == row[1:3]:
                    return row
            except OSError:
                pass
        return _look(root, path, crop)

    found: list[tuple] = []
    usable = changed = 0
    with (
        ThreadPoolExecutor(os.cpu_count()) as pool,
        progress(f"checking {name}", min(limit or len(paths), len(paths))) as advance,
    ):
        for start in range(0, len(paths), CHUNK):
            for row in pool.map(fresh, paths[start : start + CHUNK]):
                changed += known.get(row[0]) != row
                known[row[0]] = row
                if limit is None or usable < limit:
                    found.append(row)
                    usable += not row[-1]
                    advance(1)
            if changed >= 20 * CHUNK or (
                changed and (start + CHUNK >= len(paths) or usable == limit)
            ):
                table = pd.DataFrame(known.values(), columns=COLUMNS)
                write_atomic(
                    store, lambda temporary, table=table: table.to_parquet(temporary, index=False)
                )
                changed = 0
            if limit is not None and usable >= limit:
                break
    return pd.DataFrame(found, columns=COLUMNS)[["path", "height", "digest", "problem"]]
