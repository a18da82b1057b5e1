"""Nothing is lost: a run writes beside the results, which it replaces once all that it declared is
there; what was killed is finished.

The record is the last thing to be renamed, and until then the earlier results stand. A complete run
that was killed while its files were renamed is found by its record in the stage, and put in place
by whoever comes next.
"""

from __future__ import annotations

import ast
import contextlib
import errno
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from filelock import FileLock
from PIL import Image

from lrface.execution import notebooks
from lrface.files import output_root, places, sha256, slug, write_atomic, write_text

WRITES = {
    "table": ("results/{}.csv", "results/{}.md"),
    "listing": ("results/{}.csv",),
    "figure": ("figures/{}.csv", "figures/{}.pdf", "figures/{}.png"),
    "claims": ("results/claims.csv",),
}
"""What each method of :class:`lrface.report.Study` leaves behind."""


@dataclass(frozen=True)
class Stage:
    """Where one study, on one set, at one preset, is written before it counts."""

    data: str
    preset: str
    study: str

    @property
    def folder(self) -> Path:
        """What LRFACE_OUT names for the kernel."""
        return (
            output_root().absolute() / ".lrface" / f"{slug(self.data)}.{self.preset}.{self.study}"
        )

    @property
    def places(self) -> tuple[Path, Path]:
        """The results folder and the figures folder inside the stage."""
        return tuple(self.folder / place.relative_to(output_root()) for place in self.results)

    @property
    def results(self) -> tuple[Path, Path]:
        """The results folder and the figures folder that count."""
        return places(self.data, self.preset, self.study)

    @property
    def notes(self) -> Path:
        """Where the kernel notes what it uses and writes (:func:`lrface.files.note`)."""
        return self.folder / "notes.jsonl"

    def lock(self) -> FileLock:
        """Held by whoever runs this study; a second one waits."""
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        return FileLock(self.folder.with_name(f"{self.folder.name}.lock"))

    def record(self) -> dict[str, Any]:
        """The record of the results that count; empty if there is none, or none that can be
        believed."""
        record = _json(self.results[0] / "record.json")
        return record if isinstance(record.get("outputs"), dict) else {}

    def prepare(self) -> None:
        """Empty the stage. A notebook may read what other studies left, so that is seen here too;
        written over here, it stays as it is."""
        self.discard()
        for place in self.places:
            place.mkdir(parents=True)
        root = output_root().absolute()
        for file in (
            f for kind in ("results", "figures") for f in sorted(root.glob(f"{kind}/*/*/*/*"))
        ):
            seen = self.folder / file.relative_to(root)
            if file.is_file() and not file.name.startswith(".") and seen.parent not in self.places:
                seen.parent.mkdir(parents=True, exist_ok=True)
                seen.symlink_to(file)

    def discard(self) -> None:
        """Remove the stage. The results that count do not change."""
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(self.folder)

    def told(self, kind: str) -> dict[str, str]:
        """What the kernel noted of a kind, and the value it was noted with first."""
        try:
            lines = [
                json.loads(line) for line in self.notes.read_text(encoding="utf-8").splitlines()
            ]
        except FileNotFoundError:
            return {}
        return {name: value for one, name, value in reversed(lines) if one == kind}

    def missing(self, path: Path) -> list[str]:
        """Outputs that the notebook at ``path`` declares, or asked to write, and that are not there
        or cannot be read."""
        own = dict(
            zip(
                ("results", "figures"),
                (place.relative_to(self.folder) for place in self.places),
                strict=True,
            )
        )
        declared = {
            (own[kind] / name).as_posix()
            for kind, _, name in (output.partition("/") for output in declares(path))
        }
        # another study's cells may have been tried out in the kernel, with their outputs elsewhere
        asked = {name for name in self.told("output") if Path(name).parent in own.values()}
        return sorted(name for name in declared | asked if not readable(self.folder / name))

    def outputs(self) -> dict[str, str]:
        """Every file in the stage and its sha256."""
        files = (
            f
            for place in self.places
            for f in sorted(place.iterdir())
            if f.is_file() and not f.name.startswith(".")
        )
        return {f.relative_to(self.folder).as_posix(): sha256(f) for f in files}

    def complete(self, record: dict[str, Any]) -> None:
        """Make the run count: with its record in the stage, it will be put in place, by this
        process or by the next."""
        write_text(self.folder / "record.json", json.dumps(record, indent=1))

    def finish(self) -> bool:
        """Put a complete run in its place, wherever a process that did so was stopped; remove an
        incomplete one.

        Returns whether there was a complete one. Only for who holds the :meth:`lock`.
        """
        record, root = _json(self.folder / "record.json"), output_root()
        outputs = record.get("outputs", {})
        staged = {name for name, digest in outputs.items() if _is(self.folder / name, digest)}
        if not outputs or any(
            not _is(root / name, digest) for name, digest in outputs.items() if name not in staged
        ):
            self.discard()
            return False
        for place in self.results:
            place.mkdir(parents=True, exist_ok=True)
            for left in place.glob(".*.part*"):  # by a writer that was killed
                left.unlink()
        for name in sorted(staged):
            _move(self.folder / name, root / name)
        # What the last run wrote must not pass for this one's: with fewer settings, say, it may
        # write fewer files.
        for name in {
            *self.record().get("outputs", {}),
            (self.results[0] / "failed.ipynb").relative_to(root).as_posix(),
        } - {*outputs}:
            (root / name).unlink(missing_ok=True)
        if self.preset != "smoke" and any(name.endswith("/claims.csv") for name in outputs):
            from lrface import report  # it needs torch, which a run that is reused does not

            report.ledger()
        for (
            place
        ) in self.results:  # after a power cut there is no record without the files it names
            _flush(place)
        _move(self.folder / "record.json", self.results[0] / "record.json")
        self.discard()
        return True


def declares(path: Path) -> list[str]:
    """Files that a notebook writes whatever its parameters, as ``results/NAME`` or
    ``figures/NAME``, read from its code.

    They are those of the calls ``study.table("name", ...)``, ``figure``, ``listing`` and ``claims``
    with a literal name that stand outside of every branch, loop and function. What is called
    elsewhere is known only once it has been called.
    """
    found = []
    for source, _ in notebooks.cells(path):
        with contextlib.suppress(SyntaxError):  # %magic
            found += [name for statement in ast.parse(source).body for name in _writes(statement)]
    return sorted(set(found))


def _writes(node: ast.AST) -> list[str]:
    sometimes = (
        ast.If,
        ast.IfExp,
        ast.BoolOp,
        ast.For,
        ast.While,
        ast.Try,
        ast.With,
        ast.FunctionDef,
        ast.ClassDef,
        ast.Lambda,
        ast.Match,
    )
    if isinstance(node, (*sometimes, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)):
        return []
    found = [name for child in ast.iter_child_nodes(node) for name in _writes(child)]
    if (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and ast.unparse(node.func.value) == "study"
    ):
        name = node.args[0].value if node.args and isinstance(node.args[0], ast.Constant) else None
        if node.func.attr == "claims" or (node.func.attr in WRITES and name):
            found += [file.format(name) for file in WRITES[node.func.attr]]
    return found


def readable(file: Path) -> bool:
    """Whether an output is there and can be opened as what its name says: a table as a table, a
    picture as a picture."""
    try:
        if file.suffix == ".csv":
            with contextlib.suppress(
                pd.errors.EmptyDataError
            ):  # a frame of nothing is one empty line, and no broken file
                pd.read_csv(file)
        elif file.suffix == ".png":
            with Image.open(file) as image:
                image.load()
        elif file.suffix == ".pdf":
            return file.read_bytes().startswith(b"%PDF")
        return file.stat().st_size > 0
    except (OSError, ValueError, SyntaxError):  # the last is Pillow's word for a broken PNG
        return False


def _json(file: Path) -> dict[str, Any]:
    with contextlib.suppress(OSError, ValueError):
        found = json.loads(file.read_text(encoding="utf-8"))
        return found if isinstance(found, dict) else {}
    return {}


def _is(file: Path, digest: str) -> bool:
    return file.is_file() and sha256(file) == digest


def _move(source: Path, target: Path) -> None:
    try:
        os.replace(source, target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        write_atomic(
            target, lambda path: shutil.copyfile(source, path)
        )  # results or figures on a disk of their own
        source.unlink()


def _flush(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
