"""Images inside Parquet files, read one row at a time by address, with bounded memory."""

from __future__ import annotations

import re
import threading
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from lrface.errors import LrfaceError

CACHE_BYTES = 48 << 20
"""Encoded images in memory: a 128x128 WebP has 4-8 kB, so this is some thousands of faces."""
_cache: OrderedDict[tuple, list[bytes | None]] = OrderedDict()
_open: dict[tuple, tuple[pq.ParquetFile, np.ndarray]] = {}
_lock = threading.Lock()


def address(file: str, row: int) -> str:
    """The entry of a table's ``path`` column for a row of a Parquet file."""
    return f"{file}#{row}"


def is_packed(path: str) -> bool:
    """Whether a path is the address of a row of a Parquet file."""
    return re.fullmatch(r".+\.parquet#\d+", path, re.DOTALL) is not None


def _file(path: Path) -> tuple[pq.ParquetFile, np.ndarray]:
    """An open file, and the number of the first row of each of its row groups."""
    stat = path.stat()
    key = (path, stat.st_mtime_ns, stat.st_size)
    if key not in _open:
        file = pq.ParquetFile(path)
        sizes = [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]
        _open[key] = file, np.cumsum([0, *sizes])
    return _open[key]


def fetch(root: Path, where: str, column: str = "image") -> bytes | None:
    """The encoded image at an address, or None where the row has none; thread-safe.

    Raises :class:`LrfaceError` if the file is missing or damaged.
    """
    name, row = where.rsplit("#", 1)
    try:
        with _lock:  # a ParquetFile serves one reader at a time
            file, starts = _file(root / name)
            group = int(np.searchsorted(starts, int(row), side="right")) - 1
            key = (id(file), group, column)
            if key not in _cache:
                table = file.read_row_group(group, columns=[f"{column}.bytes"])
                _cache[key] = table[column].combine_chunks().field("bytes").to_pylist()
                while len(_cache) > 1 and _cached_bytes() > CACHE_BYTES:
                    _cache.popitem(last=False)
            _cache.move_to_end(key)
            return _cache[key][int(row) - int(starts[group])]
    except (OSError, pa.ArrowException, IndexError) as error:
        raise LrfaceError(
            f"cannot read {root / name} ({str(error).splitlines()[0]}): make or fetch the set again"
        ) from None


def _cached_bytes() -> int:
    return sum(len(image or b"") for group in _cache.values() for image in group)


def columns(root: Path, addresses: pd.Series, names: list[str]) -> pd.DataFrame:
    """Columns of the rows at these addresses, in their order."""
    parts = addresses.str.rsplit("#", n=1)
    file, row = parts.str[0], parts.str[1].astype(int).to_numpy()
    found = []
    for name in file.unique():
        here = np.flatnonzero(file == name)
        table = pd.read_parquet(root / name, columns=names)
        found.append(table.iloc[row[here]].set_index(here))
    return pd.concat(found).sort_index() if found else pd.DataFrame(columns=names)
