"""The stored results of a study: a folder under ``results/`` and one under ``figures/``."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lrface.errors import UsageError


@dataclass(frozen=True)
class StudyResults:
    """The results of one study on one data set at one preset, under an output folder."""

    root: Path
    data: str
    preset: str
    study: str

    @property
    def name(self) -> str:
        return f"{self.data}/{self.preset}/{self.study}"

    @property
    def results(self) -> Path:
        return self.root / "results" / self.name

    @property
    def figures(self) -> Path:
        return self.root / "figures" / self.name

    def record(self) -> dict[str, Any] | None:
        """Its ``record.json``; None if that is missing or damaged."""
        try:
            record = json.loads((self.results / "record.json").read_text())
            return record if isinstance(record["outputs"], dict) else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def tables(self) -> dict[str, Path]:
        """Every CSV, by its path below the output folder."""
        files = [*sorted(self.results.glob("*.csv")), *sorted(self.figures.glob("*.csv"))]
        return {file.relative_to(self.root).as_posix(): file for file in files}


def find(
    root: Path, studies: list[str] | None = None, data: str | None = None, preset: str | None = None
) -> list[StudyResults]:
    """The results under ``root``; of some studies (number or name), one data set, one preset.

    Raises
    ------
    UsageError
        There are none, or none of a study that was asked for.
    """
    found = []
    for folder in sorted(root.glob("results/*/*/[0-9][0-9]_*")):
        one = StudyResults(root, *folder.parts[-3:])
        asked = studies is None or any(_names(text, one.study) for text in studies)
        if asked and data in (None, one.data) and preset in (None, one.preset):
            found += [one] if one.tables() or one.record() else []
    absent = [text for text in studies or () if not any(_names(text, one.study) for one in found)]
    if absent or not found:
        of_study = absent and f"of study {', '.join(absent)}"
        asked = [of_study, data and f"on {data}", preset and f"at {preset}"]
        words = " ".join(["results", *filter(None, asked)])
        raise UsageError(
            f"{root} holds no {words} to verify: run `make reproduce` first, or choose others"
        )
    return found


def _names(text: str, study: str) -> bool:
    return text == study or text.zfill(2) == study[:2]
