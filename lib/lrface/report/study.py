"""The outputs of one notebook: each under ``<data>/<preset>/<study>``, and nowhere else."""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pandas as pd
from IPython.display import Image, Markdown, display
from matplotlib.figure import Figure
from matplotlib.text import Text

from lrface import settings
from lrface.data import FaceSet
from lrface.errors import UsageError
from lrface.files import (
    note,
    noting,
    output_root,
    slug,
    study_folders,
    variant,
    write_atomic,
    write_text,
)
from lrface.report import figures, ledger, own_parameters, page
from lrface.report.findings import Found
from lrface.report.tables import pivot

FORMAT = "%.6g"
"""Of numbers in CSV files."""


@dataclass(frozen=True)
class Study:
    """One notebook's outputs on one data set at one preset.

    Each output is written atomically, and at once. Its footer names data set, preset and faces.

    Parameters
    ----------
    name : str
        Of the notebook: ``"01_degradation_settings"``.
    faces : FaceSet
        The faces it is tested on.
    preset : {"smoke", "quick", "gpu", "paper"}
    data : str, optional
        The data set that it was asked for, if it is tested on another.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> faces = SimpleNamespace(name="synthetic", fingerprint="0123abcd", photos=False)
    >>> study = Study("01_degradation_settings", faces, "smoke")
    >>> study.footer
    'synthetic / smoke, fingerprint 0123abcd'
    >>> listed = study.listing("runs", pd.DataFrame({"method": ["EDSR"], "key": ["0123"]}))
    >>> study.results.joinpath("runs.csv").read_text()
    'method,key\\nEDSR,0123\\n'
    """

    name: str
    faces: FaceSet
    preset: str
    data: str | None = None

    @property
    def folder_name(self) -> str:
        """The data set as a folder is named after it."""
        return slug(self.data or self.faces.name)

    @cached_property
    def _folders(self) -> tuple[Path, Path]:
        """In ``results/local`` a run with other parameters has a folder apart."""
        own = own_parameters.changed(self.name) if settings.current().out is None else {}
        name = f"{self.name}@{variant(own)}" if own else self.name
        return study_folders(self.folder_name, self.preset, name)

    @property
    def results(self) -> Path:
        """The folder of its tables and findings."""
        return self._folders[0]

    @property
    def figures(self) -> Path:
        """The folder of its figures."""
        return self._folders[1]

    @property
    def footer(self) -> str:
        """Data set, preset and fingerprint of the faces, which stand under each output."""
        tested = slug(self.faces.name)
        other = "" if tested == self.folder_name else f"{tested}, "
        fingerprint = f"fingerprint {self.faces.fingerprint}"
        return f"{self.folder_name} / {self.preset}, {other}{fingerprint}"

    def table(
        self, name: str, frame: pd.DataFrame, metrics: list[str] | None = None, note: str = ""
    ) -> None:
        """Save a long table as CSV and, for people, as Markdown, and show that.

        Parameters
        ----------
        name : str
            Of the files, without a suffix.
        frame : DataFrame
            A long table (:func:`lrface.report.long`).
        metrics : list of str, optional
            Those that people are shown, in order. Default: all.
        note : str
            A sentence below the table.

        Examples
        --------
        >>> from types import SimpleNamespace
        >>> from lrface.report import long, row
        >>> faces = SimpleNamespace(name="synthetic", fingerprint="0123abcd", photos=False)
        >>> study = Study("01_degradation_settings", faces, "smoke")
        >>> rows = [row("bicubic", "4x", "psnr", 26.5), row("EDSR", "4x", "psnr", 28.1)]
        >>> study.table("table2", long(rows, study.name, "2", "edface", ("2",)))
        <IPython.core.display.Markdown object>
        >>> print(study.results.joinpath("table2.md").read_text())
        | setting   | metric   | n   | bicubic   | EDSR              |
        |:----------|:---------|:----|:----------|:------------------|
        | 4x        | psnr     |     | 26.50     | **28.10** (26.99) |
        <BLANKLINE>
        Measured [95 % interval] (published). synthetic / smoke, fingerprint 0123abcd.
        <BLANKLINE>
        """
        self._csv(self.results / f"{name}.csv", frame)
        text = pivot(frame, metrics).to_markdown(index=False, disable_numparse=True)
        below = " ".join(filter(None, ["Measured [95 % interval] (published).", note, self.footer]))
        text = f"{text}\n\n{below}.\n"
        write_text(_output(self.results / f"{name}.md"), text)
        display(Markdown(text))

    def summary(self, text: str) -> str:
        """Save the filled sentences of a :class:`Summary` as ``summary.md``; returns its text."""
        text = f"{text}\n\n{self.footer}.\n"
        write_text(_output(self.results / "summary.md"), text)
        return text

    def listing(self, name: str, frame: pd.DataFrame) -> pd.DataFrame:
        """Save any other table (networks, score files, pairs) as CSV; returns it, to be shown.

        Parameters
        ----------
        name : str
            Of the file, without a suffix. The runner and ``lrface verify`` know ``runs`` (released
            networks) and ``scores`` (score files, with a column ``key``).
        frame : DataFrame
        """
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

        Examples
        --------
        >>> from types import SimpleNamespace
        >>> faces = SimpleNamespace(name="synthetic", fingerprint="0123abcd", photos=False)
        >>> study = Study("01_degradation_settings", faces, "smoke")
        >>> picture, [ax] = figures.axes(size=(2, 1))
        >>> steps = pd.DataFrame({"step": [0, 100], "psnr": [24.0, 27.0]})
        >>> _ = ax.plot(steps["step"], steps["psnr"])
        >>> study.figure("curve", picture, steps, alt="PSNR rises with training.")
        <IPython.core.display.Image object>
        >>> sorted(file.name for file in study.figures.iterdir())
        ['curve.csv', 'curve.pdf', 'curve.png']
        """
        if not alt.strip():
            raise UsageError(f"figure {name} needs alt text: say in words what it shows")
        for text in figure.findobj(Text):  # a figure made outside the theme may ask for LaTeX
            text.set_usetex(False)
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
                    _output(self.figures / f"{name}.{suffix}"),
                    lambda path, about=about: figure.savefig(path, dpi=200, metadata=about),
                )
            shown = io.BytesIO()
            format = "jpeg" if faces else "png"  # as PNG, faces take ten times as much space
            figure.savefig(shown, format=format, dpi=110)
        mark = {"lrface": {"figure": name, "photos": faces and self.faces.photos}}
        mark[f"image/{format}"] = {"alt": alt}
        display(Image(shown.getvalue(), format=format), metadata=mark)

    def findings(self, found: Found) -> None:
        """Save what the study found as ``findings.csv`` and ``contrasts.csv``, and show it.

        The tables of all studies (:mod:`lrface.report.ledger`) are written anew.

        Parameters
        ----------
        found : Found
            From :func:`lrface.report.findings.evaluate`.
        """
        frames = found.frames(self.name, self.folder_name, self.preset)
        for name, frame in zip(ledger.NAMES, frames, strict=True):
            self._csv(self.results / f"{name}.csv", frame)
        # When the command line runs a notebook, the runner writes them at the end.
        if self.preset != "smoke" and not noting():
            ledger.write()
        display(Markdown(page.of_study(ledger.read(self.results / "findings.csv"))))

    def _csv(self, path: Path, frame: pd.DataFrame) -> None:
        write_atomic(
            _output(path), lambda path: frame.to_csv(path, index=False, float_format=FORMAT)
        )


def _output(path: Path) -> Path:
    """The path, noted for the runner: a run has succeeded only if all its outputs are there."""
    if noting():
        note("output", path.relative_to(output_root()).as_posix())
    return path
