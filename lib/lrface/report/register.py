"""The register of findings: the sentences of the five works that a study can put to the test.

``findings.csv`` has a row per finding, with the columns :data:`COLUMNS`. A published contrast is
not typed but read from ``published.csv``: its columns ``more`` and ``less`` name the two sides, and
the contrast is the first minus the second, so that a positive number favours the sentence. A side
is one term, or several joined by `` ; ``, and is the mean of all the numbers that its terms name:

``table/setting/method/metric``
    A number of the finding's paper. A slash with spaces around it belongs to a name (``HR / LR``).
``table/4x|8x/RCAN|HAN/psnr``
    Several settings or methods: all their numbers.
``max table/4x|8x/RCAN|HAN/psnr``
    In each setting the largest over the methods alone (``min``: the smallest).

Where a paper prints no number both are empty, and ``quoted`` has its own words.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from lrface.report import needs
from lrface.report.tables import published

COLUMNS = [
    *("id", "paper", "table", "sentence", "metric", "unit", "more", "less", "quoted", "margin"),
    *("null", "needs", "study", "where", "note"),
]
"""Of ``findings.csv``. ``margin``: for a sentence of no loss, the loss that counts as none;
``null``: the model that must not pass the test too; ``needs``: what a test must have varied or
kept, words of :data:`lrface.report.needs.NEEDS` joined by ``; ``; ``where``: section and line of
the paper's text; ``note``: where the paper contradicts itself, or what its evidence leaves open."""
PAPERS = ("edface", "slides", "vidface", "joint", "csri")
STUDIES = ("00", "01", "02", "03", "04", "05", "06", "07", "08")
NULLS = (
    *("", "bicubic", "random order", "majority class", "chance"),
    *("mean face", "random boxes", "shuffled labels"),
)
"""Null models: of restorers, searches, attributes, verification, landmarks, detectors, and of
sentences on groups (of people, or families of methods); ``""``: statistics and speed."""
QUOTED_WORDS = 14


class Term(NamedTuple):
    """Numbers of one table (see the module's text).

    Examples
    --------
    >>> Term.parse("max 2/4x|8x/RCAN|HAN/psnr")
    Term(pick='max', table='2', settings=['4x', '8x'], methods=['RCAN', 'HAN'], metric='psnr')
    """

    pick: str
    table: str
    settings: list[str]
    methods: list[str]
    metric: str

    @classmethod
    def parse(cls, text: str) -> Term:
        """A term from its text."""
        pick, rest = (text[:3], text[4:]) if text.startswith(("max ", "min ")) else ("", text)
        parts = re.split(r"(?<! )/(?! )", rest)
        if len(parts) != 4:
            raise ValueError(f"{text!r} is not table/setting/method/metric")
        table, settings, methods, metric = parts
        return cls(pick, table, settings.split("|"), methods.split("|"), metric)

    def cells(self) -> list[list[tuple[str, str, str, str]]]:
        """The numbers it names, as (table, setting, method, metric): a list per setting."""
        return [[(self.table, s, m, self.metric) for m in self.methods] for s in self.settings]


@lru_cache(maxsize=8)
def _numbers(paper: str) -> dict[tuple[str, str, str, str], float]:
    rows = published().query("paper == @paper").fillna({"setting": ""})
    by = ["table", "setting", "method", "metric"]
    return {tuple(row[:4]): row[4] for row in rows[[*by, "value"]].itertuples(index=False)}


def terms(side: str) -> list[Term]:
    """The terms of a side of a contrast.

    Examples
    --------
    >>> [term.methods for term in terms("4/lfw/HR / LR/accuracy ; 4/ytf/Joint/accuracy")]
    [['HR / LR'], ['Joint']]
    """
    return [Term.parse(text) for text in side.split(" ; ")] if side else []


def missing(paper: str, side: str) -> list[str]:
    """What a side names and ``published.csv`` lacks.

    Examples
    --------
    >>> missing("edface", "2/2x/DICNet|RCAN/psnr")
    ['2/2x/DICNet/psnr']
    """
    keys = [key for term in terms(side) for cell in term.cells() for key in cell]
    return ["/".join(key) for key in keys if key not in _numbers(paper)]


class Slot(NamedTuple):
    """A number of a contrast: of one cell, or the largest or smallest of several."""

    weight: float
    """Its share of the contrast; negative on the side that is subtracted."""
    pick: str
    cells: tuple[tuple[str, str, str, str], ...]


def slots(more: str, less: str) -> list[Slot]:
    """The numbers that a contrast is the weighted sum of.

    Examples
    --------
    >>> [(slot.weight, slot.pick) for slot in slots("2/2x|4x/RCAN/psnr", "max 2/4x/HAN|RDN/psnr")]
    [(0.5, ''), (0.5, ''), (-1.0, 'max')]
    """
    found = []
    for sign, side in ((1.0, more), (-1.0, less)):
        numbers = []
        for term in terms(side):
            for cells in term.cells():
                parts = [tuple(cells)] if term.pick else [(cell,) for cell in cells]
                numbers += [(term.pick, part) for part in parts]
        found += [Slot(sign / len(numbers), pick, part) for pick, part in numbers]
    return found


def within(side: str, settings: Collection[str]) -> str:
    """A side with these settings alone; empty if it has none of them.

    Examples
    --------
    >>> within("max 2/2x|4x/RCAN|HAN/psnr ; 2/8x/RCAN/psnr", ["4x"])
    'max 2/4x/RCAN|HAN/psnr'
    """
    kept = (t._replace(settings=[s for s in t.settings if s in settings]) for t in terms(side))
    return written(term for term in kept if term.settings)


def among(side: str, methods: Collection[str]) -> str:
    """A side with these methods in place of its own.

    Examples
    --------
    >>> among("max 2/2x|4x/RCAN|HAN/psnr", ["EDSR"])
    'max 2/2x|4x/EDSR/psnr'
    """
    return written(term._replace(methods=list(methods)) for term in terms(side))


def written(parts: Iterable[Term]) -> str:
    """Terms as the register has them."""
    return " ; ".join(
        f"{t.pick} {t.table}/{'|'.join(t.settings)}/{'|'.join(t.methods)}/{t.metric}".strip()
        for t in parts
    )


def difference(paper: str, more: str, less: str) -> float:
    """What one side of a paper's numbers has over another.

    Parameters
    ----------
    paper : str
        One of :data:`PAPERS`.
    more, less : str
        The two sides, in the notation of the register.

    Returns
    -------
    float
        The mean of the first minus the mean of the second; NaN if a side is empty, or a number of
        it is not entered in ``published.csv``.

    Examples
    --------
    >>> round(difference("edface", "2/4x/RCAN/psnr", "2/4x_DN/RCAN/psnr"), 2)
    0.98
    """
    if not (more and less) or missing(paper, more) or missing(paper, less):
        return float("nan")
    known, picks = _numbers(paper), {"": max, "max": max, "min": min}
    parts = slots(more, less)
    return sum(s.weight * picks[s.pick](known[cell] for cell in s.cells) for s in parts)


@lru_cache(maxsize=1)
def _register() -> pd.DataFrame:
    file = Path(__file__).with_name("findings.csv")
    frame = pd.read_csv(file, dtype=str, keep_default_na=False)
    found = [difference(f.paper, f.more, f.less) for f in frame.itertuples()]
    found = [round(value, 6) for value in found]
    margin = pd.to_numeric(frame["margin"], errors="raise")
    return frame.assign(published=found, margin=margin)


def registered() -> pd.DataFrame:
    """The findings of the five works.

    Returns
    -------
    DataFrame
        A row per finding: :data:`COLUMNS`, text (empty: ``""``) but for ``margin``, and
        ``published``, the contrast that the paper prints, in ``unit``; NaN if it prints none.

    Examples
    --------
    >>> finding = registered().set_index("id").loc["vidface-above-edvr"]
    >>> finding["sentence"], f"{finding['published']:+.2f} {finding['unit']}"
    ('VidFace restores clips better than EDVR', '+0.38 dB')
    """
    return _register().copy()


def published_contrast(finding: str) -> float:
    """The contrast that a paper prints for one of its findings.

    Parameters
    ----------
    finding : str
        Its id.

    Returns
    -------
    float
        Positive: for the sentence. NaN where no number is printed.

    Examples
    --------
    >>> published_contrast("csri-best"), published_contrast("strangers-grow-alike")
    (0.127, nan)
    """
    rows = _register().set_index("id")["published"]
    if finding not in rows.index:
        raise KeyError(f"no finding {finding!r} in the register")
    return float(rows[finding])


def problems(findings: pd.DataFrame) -> list[str]:
    """What is wrong with a register.

    Parameters
    ----------
    findings : DataFrame
        As from :func:`registered`.

    Returns
    -------
    list of str
        A line per fault: an id used twice, an unknown paper, study or null model, a contrast of
        another metric than the finding's, neither a contrast nor a quotation, a quotation too
        long, a reference that is not in ``published.csv``, a sentence that its published contrast
        contradicts.

    Examples
    --------
    >>> problems(registered())
    []
    """
    faults = [f"{name} stands twice" for name in findings["id"][findings["id"].duplicated()]]
    for f in findings.itertuples():
        lacking = [name for side in (f.more, f.less) for name in missing(f.paper, side)]
        faults += [f"{f.id}: not entered: {name}" for name in lacking]
        faults += [f"{f.id}: {fault}" for fault in _faults(f)]
    return faults


def _faults(f) -> list[str]:
    wrong = {
        f"paper {f.paper!r}": f.paper not in PAPERS,
        f"study {f.study!r}": f.study not in STUDIES,
        f"null model {f.null!r}": f.null not in NULLS,
        "id": not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", f.id),
        "no sentence, metric, unit, needs or line": not all((f.sentence, f.metric, f.unit, f.needs))
        or not re.search(r"lines? \d+", f.where),
        "one side alone": bool(f.more) != bool(f.less),
        "a contrast or a quotation, not both or neither": bool(f.more) == bool(f.quoted),
        "quotation too long": len(f.quoted.split()) > QUOTED_WORDS,
        "another metric": any(term.metric != f.metric for term in terms(f.more)),
        f"its contrast contradicts it: {f.published:g}": f.published <= 0,
    }
    return [fault for fault, true in wrong.items() if true] + needs.problems(f.needs)
