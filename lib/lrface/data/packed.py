"""Pictures inside Parquet files: one row at a time, by address, with a bounded share of memory
however large the set."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from lrface.errors import LrfaceError

HELD = 48 << 20
"""Bytes of encoded pictures kept in memory: a 128x128 WebP is 4-8 kB, so this is some thousands of
faces."""
_kept: OrderedDict[tuple, list[bytes | None]] = OrderedDict()
_open: dict[tuple, tuple[pq.ParquetFile, np.ndarray]] = {}
_lock = threading.Lock()


def address(file: str, row: int) -> str:
    """How a table's ``path`` column names row ``row`` of a Parquet file."""
    return f"{file}#{row}"


def is_packed(path: str) -> bool:
    """Whether a table's path is an address inside a Parquet file."""
    return ".parquet#" in path


def _file(path: Path) -> tuple[pq.ParquetFile, np.ndarray]:
    stat = path.stat()
    key = (path, stat.st_mtime_ns, stat.st_size)
    if key not in _open:
        file = pq.ParquetFile(path)
        sizes = [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]
        _open[key] = file, np.cumsum([0, *sizes])
    return _open[key]


def fetch(root: Path, where: str, column: str = "image") -> bytes | None:
    """The encoded picture at an address; None where the column is empty in that row. Safe to call
    from several threads.

    A file that is missing or damaged raises :class:`LrfaceError`.
    """
    name, row = where.rsplit("#", 1)
    try:
        with _lock:  # a ParquetFile is not made for several readers at once
            file, starts = _file(root / name)
            group = int(np.searchsorted(starts, int(row), side="right")) - 1
            key = (id(file), group, column)
            if key not in _kept:
                pictures = (
                    file.read_row_group(group, columns=[f"{column}.bytes"])[column]
                    .combine_chunks()
                    .field("bytes")
                )
                _kept[key] = pictures.to_pylist()
                while (
                    len(_kept) > 1
                    and sum(len(b or b"") for pictures in _kept.values() for b in pictures) > HELD
                ):
                    _kept.popitem(last=False)
            _kept.move_to_end(key)
            return _kept[key][int(row) - int(starts[group])]
    except (OSError, pa.ArrowException, IndexError) as error:
        raise LrfaceError(
            f"cannot read {root / name} ({str(error).splitlines()[0]}): make or fetch the set again"
        ) from None


def columns(root: Path, addresses: pd.Series, names: list[str]) -> pd.DataFrame:
    """Columns of the rows at these addresses, in their order: what a set's table leaves on disk."""
    file, row = (
        addresses.str.rsplit("#", n=1).str[0],
        addresses.str.rsplit("#", n=1).str[1].astype(int),
    )
    parts = []
    for name in file.unique():
        here = np.flatnonzero(file == name)
        parts.append(
            pd.read_parquet(root / name, columns=names).iloc[row.to_numpy()[here]].set_index(here)
        )
    return pd.concat(parts).sort_index() if parts else pd.DataFrame(columns=names)


def sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
