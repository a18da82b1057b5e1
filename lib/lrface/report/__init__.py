"""What a study leaves behind: tables, figures and claims, each under ``<data>/<preset>/<study>``
and nowhere else."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from filelock import FileLock
from IPython.display import Image, Markdown, display
from matplotlib.figure import Figure

from lrface.data import FaceSet
from lrface.errors import UsageError
from lrface.files import note, noting, output_root, slug, study_folders, write_atomic, write_text
from lrface.report import figures
from lrface.report.claims import COLUMNS as CLAIM_COLUMNS
from lrface.report.claims import Claim, verdict
from lrface.report.summary import Summary, words
from lrface.report.tables import long, pivot, published, row

__all__ = [
    "Claim",
    "Study",
    "Summary",
    "figures",
    "ledger",
    "long",
    "output_root",
    "pivot",
    "study_folders",
    "published",
    "row",
    "slug",
    "verdict",
    "words",
]


def _promised(path: Path) -> Path:
    """The path of an output, which the command line now expects to find."""
    note("output", path.relative_to(output_root()).as_posix())
    return path


def ledger() -> None:
    """Write the project's ledger, ``results/claims.csv``, anew from the claims of all studies;
    smoke runs stay out."""
    target = output_root() / "results" / "claims.csv"
    with FileLock(target.with_name(".claims.lock")):
        for left in target.parent.glob(".claims.*.part.csv"):  # by a writer that was killed
            left.unlink()
        parts = [
            pd.read_csv(p)
            for p in sorted(target.parent.glob("*/*/*/claims.csv"))
            if p.parts[-3] != "smoke"
        ]
        if parts:
            whole = pd.concat(parts, ignore_index=True)[CLAIM_COLUMNS]
            write_atomic(target, lambda path: whole.to_csv(path, index=False, float_format="%.6g"))


@dataclass(frozen=True)
class Study:
    """One notebook's outputs on one set at one preset. Everything is written atomically as soon as
    it exists.

    ``faces`` are those it is tested on; ``data`` is the set it was asked for, where that is another
    (None: it is theirs).
    """

    name: str
    faces: FaceSet
    preset: str
    data: str | None = None

    @property
    def asked(self) -> str:
        return slug(self.data or self.faces.name)

    @property
    def results(self) -> Path:
        return study_folders(self.asked, self.preset, self.name)[0]

    @property
    def figures(self) -> Path:
        return study_folders(self.asked, self.preset, self.name)[1]

    @property
    def footer(self) -> str:
        tested = slug(self.faces.name)
        return f"{self.asked} / {self.preset}, {'' if tested == self.asked else f'{tested}, '}fingerprint {self.faces.fingerprint}"

    def _csv(self, path: Path, frame: pd.DataFrame) -> None:
        write_atomic(
            _promised(path), lambda path: frame.to_csv(path, index=False, float_format="%.6g")
        )

    def table(
        self, name: str, frame: pd.DataFrame, metrics: list[str] | None = None, note: str = ""
    ) -> None:
        """Save a long table as CSV and as Markdown for people, and show it."""
        self._csv(self.results / f"{name}.csv", frame)
        text = pivot(frame, metrics).to_markdown(index=False, disable_numparse=True)
        text += f"\n\nMeasured [95 % interval] (published). {note + ' ' if note else ''}{self.footer}.\n"
        write_text(_promised(self.results / f"{name}.md"), text)
        display(Markdown(text))

    def summary(self, text: str) -> str:
        """Save the filled sentences of a :class:`Summary` as ``summary.md``; returns its text."""
        text = f"{text}\n\n{self.footer}.\n"
        write_text(_promised(self.results / "summary.md"), text)
        return text

    def listing(self, name: str, frame: pd.DataFrame) -> pd.DataFrame:
        """Save a plain list (of trained networks, of pairs) as CSV, and give it back to be shown."""
        self._csv(self.results / f"{name}.csv", frame)
        return frame

    def figure(
        self, name: str, figure: Figure, frame: pd.DataFrame, faces: bool = False, *, alt: str
    ) -> None:
        """Save a figure as PNG, PDF and the CSV it was drawn from, and show it.

        Parameters
        ----------
        name : str
            Of the files, without a suffix.
        figure : Figure
            Drawn in the style of :mod:`lrface.report.figures`. A footer is added to it.
        frame : DataFrame
            The numbers it was drawn from.
        faces : bool
            It shows faces of the set. A figure with real people's faces is marked in the notebook,
            so that publishing the notebook can leave it out.
        alt : str
            What it shows, in words, for readers who do not see it. It is stored with the notebook's
            output, in the PNG and in the PDF.

        Raises
        ------
        UsageError
            ``alt`` is empty.
        """
        if not alt.strip():
            raise UsageError(f"figure {name} needs alt text: say in words what it shows")
        figure.text(0.995, 0.005, self.footer, ha="right", va="bottom", fontsize=5, color="#666666")
        self._csv(self.figures / f"{name}.csv", frame)
        # No date and no version: the same figure is the same file.
        metadata = {
            "pdf": {"CreationDate": None, "Subject": alt},
            "png": {"Software": None, "Description": alt},
        }
        with figures.theme():
            for suffix, about in metadata.items():
                write_atomic(
                    _promised(self.figures / f"{name}.{suffix}"),
                    lambda path, about=about: figure.savefig(path, dpi=200, metadata=about),
                )
            shown = io.BytesIO()
            format = "jpeg" if faces else "png"  # faces take ten times as much space as PNG
            figure.savefig(shown, format=format, dpi=110)
        mark = {"lrface": {"figure": name, "photos": faces and self.faces.photos}}
        mark[f"image/{format}"] = {"alt": alt}
        display(Image(shown.getvalue(), format=format), metadata=mark)

    def claims(self, claims: list[Claim]) -> None:
        """Save the study's claims, refresh the project's :func:`ledger`, and show them."""
        frame = pd.DataFrame(
            [claim.row(self.asked, self.preset) for claim in claims], columns=CLAIM_COLUMNS
        )
        self._csv(self.results / "claims.csv", frame)
        if (
            self.preset != "smoke" and not noting()
        ):  # the command line does it itself, once the results are in their place
            ledger()
        shown = frame[["id", "sentence", "contrast", "effect", "low", "high", "n", "verdict"]]
        display(Markdown(shown.to_markdown(index=False, floatfmt=".4g")))
