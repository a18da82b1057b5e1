"""Rendered sets: the embedded one, or one made by ``lrface data make`` (``synthetic:PATH``)."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq

from lrface.data import packed
from lrface.data.images import Crop
from lrface.data.synthetic.prevalence import ATTRIBUTES
from lrface.errors import LrfaceError
from lrface.files import sha256

LAYOUT = "embedded: nothing to fetch; or a folder made by `lrface data make PATH`"
CROP = Crop(source=(128, 128), box=(0, 0, 128, 128), face=(0.16, 0.2, 0.84, 0.95))
CROPS = {1: CROP, 2: replace(CROP, face=(0.14, 0.21, 0.84, 0.90))}
"""By generation: where dlib's detector finds the faces, on average."""
EMBEDDED = Path(__file__).parents[1] / "embedded"
LEFT_ON_DISK = ("image", "native", "landmarks", "landmarks_visible")
"""Columns that are not read into the table."""
CHECKED = 200 << 20
"""Bytes in all up to which files are compared with their sha256; of larger sets only the sizes."""


def generation(root: Path) -> int:
    """Which renderer drew the set in a folder; 1 where the folder holds no rendered set."""
    plan = root / "plan.json"
    known = json.loads(plan.read_text(encoding="utf-8")) if plan.is_file() else {}
    return known.get("generation", 1)


def read(root: Path, kind: str = "images") -> pd.DataFrame:
    """The table of a rendered set: all columns but ``LEFT_ON_DISK``, and ``path``.

    ``path`` is the address of the row (:func:`lrface.data.packed.address`), ``official`` the set's
    own split. ``kind`` is ``images`` (stills) or ``clips`` (one row a frame).
    """
    table = _read(root, kind, checked_manifest(root)).copy()
    if table.empty:
        raise LrfaceError(
            f"{root} holds no {kind}: make it again with `lrface data make {root} --clips N`"
        )
    return table


def protocol(root: Path, which: str) -> pd.DataFrame:
    """A list that was made with the set: ``pairs``, ``pairs_hard`` or ``identification``."""
    manifest = json.loads(checked_manifest(root))
    if f"{which}.csv" not in manifest["files"]:
        reason = manifest["not_made"].get(which, "not made")
        raise LrfaceError(f"{root} has no {which}.csv ({reason})")
    return pd.read_csv(root / f"{which}.csv", dtype={"same": bool})


def checked_manifest(root: Path) -> str:
    """The manifest's text, after a check that every file it names is there and undamaged."""
    try:
        text = (root / "manifest.json").read_text(encoding="utf-8")
        files = json.loads(text)["files"]
    except (OSError, ValueError, KeyError):
        raise LrfaceError(
            f"{root} is not a finished synthetic set (no readable manifest.json): "
            f"run `lrface data make {root}`"
        ) from None
    total = sum(file["bytes"] for file in files.values())
    for name, file in files.items():
        path = root / name
        whole = path.is_file() and path.stat().st_size == file["bytes"]
        if not whole or (total < CHECKED and sha256(path) != file["sha256"]):
            raise LrfaceError(
                f"{path} is missing or damaged (its manifest says otherwise): "
                "fetch the file again or make the set again"
            )
    return text


@lru_cache(maxsize=4)
def _read(root: Path, kind: str, manifest: str) -> pd.DataFrame:
    parts = []
    for name in sorted(json.loads(manifest)["files"]):
        if not (name.startswith(kind) and name.endswith(".parquet")):
            continue
        columns = [c for c in pq.read_schema(root / name).names if c not in LEFT_ON_DISK]
        part = pd.read_parquet(root / name, columns=columns)
        part["path"] = [packed.address(name, row) for row in range(len(part))]
        parts.append(part)
    if not parts:
        return pd.DataFrame(columns=["key", "identity", "split", "path", "digest"])
    table = pd.concat(parts, ignore_index=True).rename(columns={"split": "official"})
    return table.sort_values("key", ignore_index=True)


def attributes(table: pd.DataFrame) -> tuple[str, ...]:
    """The set's binary attributes, which have CelebA's names where the meaning agrees."""
    return tuple(name for name in ATTRIBUTES if name in table)
