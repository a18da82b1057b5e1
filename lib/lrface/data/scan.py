"""One look at every image file: is it usable, and what are its pixels? Cached until it changes."""

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
    """One row of ``COLUMNS``, from the file itself."""
    file, square = located(path)
    try:
        stat = (root / file).stat()
        size, mtime = stat.st_size, stat.st_mtime_ns
    except OSError:
        return path, -1, -1, 0, "", "the file is missing"
    try:
        image = read_rgb(root / file)
        pixels = crop(image, square).tobytes()
        digest = hashlib.sha256(pixels + (f"{square}".encode() if square else b""))
        return path, size, mtime, len(image), digest.hexdigest()[:16], ""
    except BadImage as problem:
        return path, size, mtime, 0, "", str(problem)


def scan(
    name: str, root: Path, paths: list[str], crop: Crop, limit: int | None = None
) -> pd.DataFrame:
    """One row a path, in order: ``path, height, digest, problem``.

    Rows of files whose size and modification time are those of an earlier scan come from the cache
    and are not read again; a scan that was interrupted continues where it was.

    Parameters
    ----------
    name : str
        The set's name.
    root : Path
        The folder that ``paths`` are relative to.
    paths : list of str
        Files, or squares of files (:func:`lrface.data.images.address`).
    crop : Crop
        The set's crop rule.
    limit : int, optional
        Stop after this many usable images.

    Returns
    -------
    DataFrame
        ``height`` is the whole image's in pixels, 0 if it is unusable. ``digest`` is 16 hex digits
        of the sha256 of the crop (and of its square, where the path names one). ``problem`` is
        empty for a usable image.
    """
    # Hashed, since the name of a folder set is a path, which cannot be a file name.
    key = hashlib.sha256(f"{name}\n{root.resolve()}\n{crop}".encode()).hexdigest()[:16]
    store = cache_dir("scans") / f"{key}.parquet"
    known: dict[str, tuple] = {}
    if store.exists():
        try:
            # caches from before there were heights are of sets that do not need them
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
            last = start + CHUNK >= len(paths) or usable == limit
            if changed >= 20 * CHUNK or (changed and last):
                table = pd.DataFrame(known.values(), columns=COLUMNS)
                write_atomic(store, lambda file, table=table: table.to_parquet(file, index=False))
                changed = 0
            if limit is not None and usable >= limit:
                break
    return pd.DataFrame(found, columns=COLUMNS)[["path", "height", "digest", "problem"]]
