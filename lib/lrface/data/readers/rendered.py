"""The synthetic face world: the embedded set, or one of your own made by ``lrface data make``
(``synthetic:PATH``)."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path

import pandas as pd

from lrface.data import packed
from lrface.data.images import Crop
from lrface.data.synthetic.prevalence import ATTRIBUTES
from lrface.errors import LrfaceError

LAYOUT = "embedded: nothing to fetch; or a folder made by `lrface data make PATH`"
CROP = Crop(source=(128, 128), box=(0, 0, 128, 128), face=(0.16, 0.2, 0.84, 0.95))
EMBEDDED = Path(__file__).parents[1] / "embedded"
LEFT_ON_DISK = ("image", "native", "landmarks", "landmarks_visible")
CHECKED = 200 << 20
"""Files are compared with their sha256 up to this size in all, larger sets by their lengths alone."""


def read(root: Path, kind: str = "images") -> pd.DataFrame:
    """The table of a made set: every column but the pictures and the landmarks, and ``path``, the
    address of each row's picture.

    ``kind`` is ``images`` (stills) or ``clips`` (a row a frame). The split is the set's own, so it
    counts as official.
    """
    table = _read(root, kind, whole(root)).copy()
    if table.empty:
        raise LrfaceError(
            f"{root} holds no {kind}: make it again with `lrface data make {root} --clips N`"
        )
    return table


def protocol(root: Path, which: str) -> pd.DataFrame:
    """One of the lists made with the set: ``pairs``, ``pairs_hard`` or ``identification``."""
    text = whole(root)
    if f"{which}.csv" not in json.loads(text)["files"]:
        raise LrfaceError(
            f"{root} has no {which}.csv ({json.loads(text)['not_made'].get(which, 'not made')})"
        )
    return pd.read_csv(root / f"{which}.csv", dtype={"same": bool})


def whole(root: Path) -> str:
    """The manifest's text, once every file it names is there and whole."""
    try:
        text = (root / "manifest.json").read_text(encoding="utf-8")
        files = json.loads(text)["files"]
    except (OSError, ValueError, KeyError):
        raise LrfaceError(
            f"{root} is not a finished synthetic set (no readable manifest.json): run `lrface data make {root}`"
        ) from None
    total = sum(file["bytes"] for file in files.values())
    for name, file in files.items():
        path = root / name
        if (
            not path.is_file()
            or path.stat().st_size != file["bytes"]
            or (total < CHECKED and packed.sha256(path) != file["sha256"])
        ):
            raise LrfaceError(
                f"{path} is missing or damaged (its manifest says otherwise): fetch the file again or make the set again"
            )
    return text


@lru_cache(maxsize=4)
def _read(root: Path, kind: str, manifest: str) -> pd.DataFrame:
    parts = []
    for name in sorted(
        name
        for name in json.loads(manifest)["files"]
        if name.startswith(kind) and name.endswith(".parquet")
    ):
        schema = packed.pq.read_schema(root / name)
        part = pd.read_parquet(
            root / name, columns=[c for c in schema.names if c not in LEFT_ON_DISK]
        )
        part["path"] = [packed.address(name, row) for row in range(len(part))]
        parts.append(part)
    if not parts:
        return pd.DataFrame(columns=["key", "identity", "split", "path", "digest"])
    table = pd.concat(parts, ignore_index=True).rename(columns={"split": "official"})
    return table.sort_values("key", ignore_index=True)


def attributes(table: pd.DataFrame) -> tuple[str, ...]:
    """The set's binary attributes, under CelebA's names where the meaning agrees."""
    return tuple(name for name in ATTRIBUTES if name in table)
