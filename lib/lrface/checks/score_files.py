"""Released score files: each that a study lists is there with the sha256 that its record states.

A study computes its tables from score files (:mod:`lrface.metrics.score_cache`). It lists their
keys in ``scores.csv``; its record states the sha256 of each; the files are released in
``results/<data>/<preset>/scores``. Those of real faces are not.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lrface.checks.compare import Drift, read
from lrface.files import sha256


def of_study(root: Path, name: str, record: dict[str, Any]) -> Iterator[Drift]:
    """What is wrong with the score files of a study.

    Parameters
    ----------
    root : Path
        The output folder.
    name : str
        ``<data>/<preset>/<study>``.
    record : dict
        The study's record. Its field ``scores`` states the sha256 of each key.
    """
    folder = Path("results", name)
    listing, released = (folder / "scores.csv").as_posix(), folder.parent / "scores"
    recorded, listed = record.get("scores"), _keys(root / listing)
    if not (root / released).is_dir():
        return
    if recorded is None:
        if listed:
            yield Drift(f"{folder}/record.json", "it states no sha256 of score files")
        recorded = {}
    for key in dict.fromkeys([*listed, *recorded]):
        file = (released / f"{key}.parquet").as_posix()
        if key not in listed:
            yield Drift(listing, "the record names this score file, and the list does not", key)
        elif not (root / file).is_file():
            yield Drift(file, f"missing: scores.csv of {folder.name} lists it")
        elif key in recorded and sha256(root / file) != recorded[key]:
            yield Drift(file, f"its sha256 is not the one in the record of {folder.name}")
        elif recorded and key not in recorded:
            yield Drift(file, f"the record of {folder.name} states no sha256 of it")


def unlisted(root: Path, preset: str) -> Iterator[Drift]:
    """Files among the released scores of ``<data>/<preset>`` that no study lists."""
    folder = root / "results" / preset
    listed = {key for listing in folder.glob("*/scores.csv") for key in _keys(listing)}
    for file in sorted((folder / "scores").glob("*")):
        if file.suffix != ".parquet" or file.stem not in listed:
            name = file.relative_to(root).as_posix()
            yield Drift(name, f"no scores.csv of {preset} lists it")


def count_private(root: Path, name: str) -> int:
    """How many score files a study lists that are not released."""
    folder = root / "results" / name
    released = (folder.parent / "scores").is_dir()
    return 0 if released else len(_keys(folder / "scores.csv"))


def _keys(listing: Path) -> list[str]:
    return read(listing)["key"].tolist() if listing.is_file() else []
