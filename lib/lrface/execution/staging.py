"""Staging: a run writes beside the earlier results and replaces them once all its outputs exist.

The kernel writes into ``<out>/.lrface/<data>.<preset>.<study>/``. When the run has succeeded, its
record is written there too (:meth:`Stage.mark_complete`); from then on the run counts. Then
:meth:`Stage.promote` renames the files into ``results/`` and ``figures/``, the record last. A
process killed before the record leaves the earlier results as they were; one killed during the
renaming leaves the stage with its record, and the next run's ``promote`` finishes the job.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from filelock import FileLock
from PIL import Image

from lrface.files import (
    KINDS,
    output_folder,
    output_root,
    project_root,
    sha256,
    slug,
    study_folders,
    write_atomic,
    write_text,
)


@dataclass(frozen=True)
class Stage:
    """The staging folder of one study on one data set at one preset."""

    data: str
    preset: str
    study: str
    variant: str = ""
    """Names parameters of a user's own, if there are any: their results have a folder apart."""

    @property
    def _name(self) -> str:
        return f"{self.study}@{self.variant}" if self.variant else self.study

    @property
    def folder(self) -> Path:
        """The kernel's LRFACE_OUT."""
        name = f"{slug(self.data)}.{self.preset}.{self._name}"
        return output_root().absolute() / ".lrface" / name

    @property
    def final(self) -> tuple[Path, Path]:
        """The study's results folder and figures folder, where readers look."""
        return study_folders(self.data, self.preset, self._name)

    @property
    def staged(self) -> tuple[Path, Path]:
        """The results folder and the figures folder inside the stage."""
        inside = Path(slug(self.data), self.preset, self.study)
        return tuple(self.folder / kind / inside for kind in KINDS)

    def place(self, name: str) -> Path:
        """Where a file that a record names (``results/<data>/<preset>/<study>/NAME``) lies."""
        kind, *_, file = name.split("/")
        return self.final[KINDS.index(kind)] / file

    @property
    def notes(self) -> Path:
        """The file in which the kernel notes what it reads and writes (:func:`files.note`)."""
        return self.folder / "notes.jsonl"

    def lock(self) -> FileLock:
        """Held by the process that runs this study; a second one waits."""
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        return FileLock(self.folder.with_name(f"{self.folder.name}.lock"))

    def record(self) -> dict[str, Any]:
        """The record of the current results; empty if it is absent or damaged."""
        record = _read_json(self.final[0] / "record.json")
        return record if isinstance(record.get("outputs"), dict) else {}

    def prepare(self) -> None:
        """Empty the stage and link the outputs of all other studies into it.

        A notebook may read what other studies wrote, here or else in the reference. Writing
        atomically replaces a link, so the other study's file cannot be changed from here.
        """
        self.discard()
        for place in self.staged:
            place.mkdir(parents=True)
        for kind in KINDS:
            for root in dict.fromkeys([output_folder(kind), project_root() / kind]):
                for file in sorted(root.glob("*/*/*/*")):
                    link = self.folder / kind / file.relative_to(root)
                    free = not link.exists() and link.parent not in self.staged
                    if free and file.is_file() and not file.name.startswith("."):
                        link.parent.mkdir(parents=True, exist_ok=True)
                        link.symlink_to(file.absolute())

    def discard(self) -> None:
        """Remove the stage; the current results stay."""
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(self.folder)

    def noted(self, kind: str) -> dict[str, str]:
        """The kernel's notes of one kind, by name; of several values the first."""
        try:
            lines = self.notes.read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            return {}
        notes = [json.loads(line) for line in lines]
        return {name: value for one, name, value in reversed(notes) if one == kind}

    def missing(self) -> list[str]:
        """Outputs that the kernel began to write and that are absent or unreadable."""
        own = {place.relative_to(self.folder) for place in self.staged}
        # cells of another study may have been tried in the kernel; their outputs lie elsewhere
        expected = {name for name in self.noted("output") if Path(name).parent in own}
        return sorted(name for name in expected if not readable(self.folder / name))

    def outputs(self) -> dict[str, str]:
        """Every file in the stage and its sha256."""
        files = [f for place in self.staged for f in sorted(place.iterdir())]
        return {
            f.relative_to(self.folder).as_posix(): sha256(f)
            for f in files
            if f.is_file() and not f.name.startswith(".")
        }

    def mark_complete(self, record: dict[str, Any]) -> None:
        """Write the record into the stage: the run now counts and will be promoted."""
        write_text(self.folder / "record.json", json.dumps(record, indent=1))

    def promote(self) -> bool:
        """Move a complete run to its final folders, also one whose promotion was interrupted.

        Call it with the :meth:`lock` held. An incomplete run is discarded.

        Returns
        -------
        bool
            Whether there was a complete run.
        """
        record = _read_json(self.folder / "record.json")
        outputs = record.get("outputs", {})
        staged = {name for name, digest in outputs.items() if _has(self.folder / name, digest)}
        moved = [name for name in outputs if name not in staged]
        if not outputs or not all(_has(self.place(name), outputs[name]) for name in moved):
            self.discard()
            return False
        for place in self.final:
            place.mkdir(parents=True, exist_ok=True)
            for partial in place.glob(".*.part*"):  # of a writer that was killed
                partial.unlink()
        for name in sorted(staged):
            _move(self.folder / name, self.place(name))
        for file in self._superseded(outputs):
            file.unlink(missing_ok=True)
        if self.preset != "smoke" and any(name.endswith("/findings.csv") for name in outputs):
            from lrface.report import ledger  # imports torch, which a reused run does not need

            ledger.write()
        for place in self.final:  # no record may survive a power cut without the files it names
            _flush(place)
        _move(self.folder / "record.json", self.final[0] / "record.json")
        self.discard()
        return True

    def _superseded(self, outputs: dict[str, str]) -> Iterator[Path]:
        """Files of the previous run that this one did not write, and the trace of a failed run."""
        yield self.final[0] / "failed.ipynb"
        yield from map(self.place, {*self.record().get("outputs", {})} - {*outputs})


def readable(file: Path) -> bool:
    """Whether a file exists and opens as its suffix says: CSV as a table, PNG as a picture."""
    try:
        if file.suffix == ".csv":
            with contextlib.suppress(pd.errors.EmptyDataError):  # an empty frame is one empty line
                pd.read_csv(file)
        elif file.suffix == ".png":
            with Image.open(file) as image:
                image.load()
        elif file.suffix == ".pdf":
            return file.read_bytes().startswith(b"%PDF")
        return file.stat().st_size > 0
    except (OSError, ValueError, SyntaxError):  # Pillow raises SyntaxError for a broken PNG
        return False


def _read_json(file: Path) -> dict[str, Any]:
    with contextlib.suppress(OSError, ValueError):
        found = json.loads(file.read_text(encoding="utf-8"))
        return found if isinstance(found, dict) else {}
    return {}


def _has(file: Path, digest: str) -> bool:
    return file.is_file() and sha256(file) == digest


def _move(source: Path, target: Path) -> None:
    try:
        os.replace(source, target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        # results or figures are on another disk than the stage
        write_atomic(target, lambda path: shutil.copyfile(source, path))
        source.unlink()


def _flush(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
