"""What a study found: each finding of the register, measured as the paper measured it, and judged.

A notebook gives a *lookup* of its scores by table, setting, method and metric as the paper names
them, and the facts that answer the register's needs (:mod:`lrface.report.needs`). The contrast that
a paper prints is then computed from these scores by the register's own notation, so that measured
and published are one quantity in one unit; where it names the best or the worst of several, the
rival is chosen on one half of the people and tested on the other, both ways.

=============  =====================================================================================
verdict        when
=============  =====================================================================================
not tested     a need is not met, or a cell was not run; ``reason`` says which
supported      the 95 % interval, over people and trainings, lies above zero (with a margin: above
               minus the margin). With one training the effect must also exceed twice the standard
               deviation between trainings, as measured where there are several
not supported  the same on the other side
inconclusive   anything else
=============  =====================================================================================

``trivial``: the null model passes the test too. It is not counted among the supported.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd

from lrface.metrics.intervals import (
    Estimate,
    halves,
    people_and_trainings,
    resampled_means,
    widened,
)
from lrface.report import needs, register
from lrface.report.needs import Arm, Facts, Spread
from lrface.report.register import Slot

Verdict = Literal["supported", "not supported", "inconclusive", "not tested"]
VERDICTS: tuple[Verdict, ...] = ("supported", "not supported", "inconclusive", "not tested")
RESAMPLES = 2000
ROUNDING = 1e-9
"""A null model that lies above zero by less passes by rounding alone."""
UNITS = {"psnr": "dB", "ssim": "SSIM", "alignment": "NRMSE", "identity": "cosine"}
"""Of metrics, by the beginning of their name; all others are fractions."""
NULL_ROWS = {"random order": "chance"}
"""Null models whose cells a lookup gives under another name."""
JUDGED = (
    *("metric", "unit", "published", "contrast", "effect", "low", "high", "margin"),
    *("people", "trainings", "null", "null_low", "null_high", "verdict", "trivial"),
    *("lacks", "reason"),
)
COLUMNS = ["id", "paper", "table", "sentence", *JUDGED, "study", "figure", "data", "preset"]
"""Of ``findings.csv``."""
EVIDENCE = ["finding", "sentence", "setting", "method", *JUDGED, "study", "data", "preset"]
"""Of ``contrasts.csv``. ``finding`` is empty for a question of ours."""

Key = tuple[str, str, str, str]


class Cell(NamedTuple):
    """The scores of one method at one setting: what a number of a table is the mean of."""

    values: np.ndarray
    """float (trainings, N); NaN where there is no score."""
    units: np.ndarray
    """(N,): what is resampled, the person of each face, or the fold of each pair."""
    people: int
    """The number of people behind it."""
    trained: bool = True
    """Whether the rows of ``values`` are trainings: not of a null model or of chance."""


def cell(values: Any, units: Sequence, people: int | None = None, trained: bool = True) -> Cell:
    """A :class:`Cell`.

    Parameters
    ----------
    values : float (trainings, N) or (N,)
    units : sequence (N,)
    people : int, optional
        Default: the number of different units.
    trained : bool
        Whether a network was trained for it.

    Examples
    --------
    >>> cell([30.0, 31.0, 29.0], ["a", "a", "b"]).people
    2
    """
    values, units = np.atleast_2d(np.asarray(values, np.float64)), np.asarray(units)
    people = len(np.unique(units)) if people is None else people
    return Cell(values, units, people, trained)


Lookup = Callable[[str, str, str, str], Cell | None]
"""(table, setting, method, metric) -> its scores; None if it was not run. Beside the paper's
methods it is asked for the null model (``bicubic``, ``majority class``) and for ``chance``."""


class Unmet(NamedTuple):
    """A need that is not met (of :data:`lrface.report.needs.NEEDS`, or ``not run``), and why."""

    need: str
    reason: str


@dataclass(frozen=True)
class Contrast:
    """A difference that was measured, and what it says of a sentence."""

    finding: str
    """Its id in the register; ``""`` for a question of ours."""
    sentence: str
    contrast: str
    """What is subtracted from what; positive values favour the sentence."""
    metric: str
    unit: str
    estimate: Estimate
    people: int
    trainings: int
    """Trainings of each network behind it; 0: nothing was trained for it."""
    setting: str = ""
    method: str = ""
    published: float = math.nan
    margin: float = math.nan
    null: Estimate | None = None
    unmet: tuple[Unmet, ...] = ()
    """Why it does not test the sentence."""
    spread: Spread | None = None
    """The standard deviation of this contrast between trainings, as another study measured it."""
    random_labels: bool = False
    """The null model deals the methods into families at random: it passes by reaching the effect,
    not by lying above zero."""

    @property
    def judged(self) -> tuple[Verdict, str]:
        """The verdict, and its reason."""
        if self.unmet:
            return "not tested", "; ".join(dict.fromkeys(one.reason for one in self.unmet))
        e, margin = self.estimate, 0.0 if math.isnan(self.margin) else self.margin
        if math.isnan(e.low + e.high):
            return "not tested", "it has no interval"  # e.g. one person
        if not (e.low > -margin or e.high < -margin):
            return "inconclusive", "its interval lies on both sides"
        if self.trainings == 1:
            if self.spread is None:
                return "inconclusive", f"one training: how far two differ in {self.metric} is open"
            if abs(e.value + margin) <= 2 * self.spread.sd:
                sd = f"{2 * self.spread.sd:.2g} {self.unit}, {self.spread.source}"
                return "inconclusive", f"one training, and trainings differ by as much ({sd})"
        return ("supported" if e.low > -margin else "not supported"), ""

    @property
    def trivial(self) -> bool:
        """Whether the null model passes the test as well."""
        if self.null is None:
            return False
        if self.random_labels:
            return self.estimate.value <= self.null.high
        return self.null.low > ROUNDING - (0.0 if math.isnan(self.margin) else self.margin)

    def row(self) -> dict[str, Any]:
        """The columns :data:`JUDGED`, and its sentence, setting and method."""
        verdict, reason = self.judged
        null = self.null or Estimate(math.nan, math.nan, math.nan, 0)
        return {
            **{name: getattr(self, name) for name in ("finding", "sentence", "setting", "method")},
            **{name: getattr(self, name) for name in ("metric", "unit", "published", "contrast")},
            **{"effect": self.estimate.value, "low": self.estimate.low},
            **{"high": self.estimate.high, "margin": self.margin},
            **{"people": self.people, "trainings": self.trainings, "null": null.value},
            **{"null_low": null.low, "null_high": null.high, "verdict": verdict},
            **{"trivial": self.trivial, "reason": reason},
            "lacks": ", ".join(dict.fromkeys(one.need for one in self.unmet)),
        }


def allowed(
    low: float | None, high: float | None, margin: float | None, lacking: bool
) -> tuple[Verdict, ...]:
    """The verdicts that an interval leaves open, for checks of stored tables.

    Parameters
    ----------
    low, high : float or None
        The interval.
    margin : float or None
        The loss that counts as none.
    lacking : bool
        Whether a need is not met.

    Examples
    --------
    >>> allowed(0.1, 0.3, None, lacking=False)
    ('supported', 'inconclusive')
    >>> allowed(0.1, 0.3, None, lacking=True)
    ('not tested',)
    """
    if lacking or low is None or high is None:
        return ("not tested",)
    least = -(margin or 0.0)
    if low > least:
        return ("supported", "inconclusive")
    return ("not supported", "inconclusive") if high < least else ("inconclusive",)


@dataclass(frozen=True)
class Found:
    """What a study found: a contrast for each finding, and the evidence."""

    findings: dict[str, Contrast]
    """Id -> the contrast that decides."""
    contrasts: list[Contrast]
    """By method, setting and judge, and our own questions."""
    figures: Mapping[str, str] = field(default_factory=dict)
    """Id -> the name of the figure that shows it."""

    def frames(self, study: str, data: str, preset: str) -> tuple[pd.DataFrame, pd.DataFrame]:
        """The tables ``findings.csv`` (:data:`COLUMNS`) and ``contrasts.csv``."""
        place = {"study": study, "data": data, "preset": preset}
        rows, entered = [], register.registered().set_index("id")
        for name, contrast in self.findings.items():
            about = {key: entered.loc[name, key] for key in ("paper", "table")}
            about |= {"id": name, "figure": self.figures.get(name, "")}
            rows.append(contrast.row() | about | place)
        evidence = [contrast.row() | place for contrast in self.contrasts]
        return pd.DataFrame(rows, columns=COLUMNS), pd.DataFrame(evidence, columns=EVIDENCE)


def unit_of(metric: str) -> str:
    """The unit of a metric.

    Examples
    --------
    >>> unit_of("identity_dlib"), unit_of("rank20")
    ('cosine', 'fraction')
    """
    return next((u for name, u in UNITS.items() if metric.startswith(name)), "fraction")


def given(
    finding: str,
    contrast: str,
    draws: Any,
    *,
    people: int,
    units: int | None = None,
    trainings: int | None = None,
    arms: Sequence[Arm] = (),
    null: Any = None,
    metric: str | None = None,
    sentence: str = "",
    unit: str = "",
    setting: str = "",
    method: str = "",
    published: float = math.nan,
) -> Given:
    """A contrast that the study computes itself: for a finding of which no number is printed, for
    further evidence, or (``finding`` empty) for a question of ours.

    Parameters
    ----------
    finding : str
        Its id, or ``""``.
    contrast : str
        What is subtracted from what.
    draws : float (trainings, 1 + R) or (1 + R,)
        As measured, then on resamples (:func:`lrface.metrics.resampled_means`).
    people, units : int
        The number of people, and of the units that are resampled (default: people).
    trainings : int, optional
        Default: the rows of ``draws``; 0 if nothing was trained.
    arms : sequence of (setting, method)
        What is compared, for facts by arm.
    null : draws, optional
        Of the null model.
    metric, unit, sentence : str
        Default: the finding's; of another metric :func:`unit_of` it.
    setting, method : str
        For the table of contrasts.
    published : float
        The part of the printed contrast that is measured, by
        :func:`lrface.report.register.difference`. Default: the whole.
    """
    unit = unit or (unit_of(metric) if metric else "")
    about = {"metric": metric or "", "unit": unit, "sentence": sentence}
    if finding:
        entered = register.registered().set_index("id").loc[finding]
        about = {name: value or entered[name] for name, value in about.items()}
    draws, units = np.atleast_2d(np.asarray(draws, np.float64)), units or people
    contrast_ = Contrast(
        **about,
        finding=finding,
        contrast=contrast,
        estimate=_estimate(draws, units),
        people=people,
        trainings=len(draws) if trainings is None else trainings,
        setting=setting,
        method=method,
        published=published,
        null=None if null is None else _estimate(np.atleast_2d(null), units),
    )
    return Given(contrast_, tuple(arms))


class Given(NamedTuple):
    """From :func:`given`."""

    contrast: Contrast
    arms: tuple[Arm, ...]


def evaluate(
    study: str,
    lookup: Lookup,
    facts: Facts,
    more: Sequence[Given] = (),
    *,
    also: Mapping[str, Sequence[str]] | None = None,
    spread: Mapping[str, Spread] | None = None,
    figures: Mapping[str, str] | None = None,
    called: Mapping[str, str] | None = None,
    rivals: Mapping[str, Sequence[str]] | None = None,
    absent: str | Mapping[str, str] = "not run here",
) -> Found:
    """Measure and judge the findings of a study.

    Parameters
    ----------
    study : str
        Its number: ``"01"``. All findings that the register gives to it are judged.
    lookup : callable
        The scores (:data:`Lookup`).
    facts : mapping
        Need, or (need, finding) -> the fact that answers it (:mod:`lrface.report.needs`).
    more : sequence of Given
        Contrasts that the study computes itself. Of a finding without a printed number, or whose
        cells were not run, the first one decides.
    also : mapping, optional
        Metric -> further metrics by which the printed contrasts are measured, as evidence.
    spread : mapping, optional
        Metric -> how much trainings differ, for contrasts with one training
        (:func:`lrface.report.needs.spread_between_trainings`).
    figures : mapping, optional
        Id -> the figure that shows the finding.
    called : mapping, optional
        Setting of the paper -> what stands for it here, in words: another test set.
    rivals : mapping, optional
        Id -> the methods that stand here for those that the paper compares with, where not all of
        these can be run. The published contrast stays the paper's.
    absent : str or mapping
        The reason where nothing of a finding was measured; by id, where the reasons differ.

    Returns
    -------
    Found
    """
    findings, contrasts, also, rivals = {}, [], also or {}, rivals or {}
    for f in register.registered().query("study == @study").itertuples():
        own = [one for one in more if one.contrast.finding == f.id]
        judge = _Judge(f, lookup, facts, spread or {}, rivals.get(f.id, ()))
        why = absent if isinstance(absent, str) else absent.get(f.id, "not run here")
        primary, evidence = judge.printed(why) if f.more else (None, [])
        for metric in also.get(f.metric, ()) if f.more else ():
            evidence += judge.by(metric)
        own = [judge.own(one) for one in own]
        if primary is None or (own and primary.people == 0):
            primary, own = (own[0], own[1:]) if own else (judge.nothing(why), own)
        findings[f.id] = primary
        contrasts += [*evidence, *own]
    contrasts += [
        replace(
            _of_two_networks(one.contrast, spread or {}), unmet=_few_people(one.contrast.people)
        )
        for one in more
        if not one.contrast.finding
    ]
    findings = {name: _renamed(one, called or {}) for name, one in findings.items()}
    return Found(findings, [_renamed(one, called or {}) for one in contrasts], figures or {})


def _renamed(contrast: Contrast, called: Mapping[str, str]) -> Contrast:
    """A contrast in whose words the settings have the names that they have here."""

    def words(text: str) -> str:
        for printed, here in called.items():
            text = re.sub(rf"\b{re.escape(printed)}\b", here, text)
        return text

    unmet = tuple(Unmet(one.need, words(one.reason)) for one in contrast.unmet)
    setting = words(contrast.setting)
    return replace(contrast, contrast=words(contrast.contrast), setting=setting, unmet=unmet)


def _of_two_networks(contrast: Contrast, spread: Mapping[str, Spread]) -> Contrast:
    """A contrast that a study computed itself, with the spread of a difference of two networks."""
    sd = spread.get(contrast.metric)
    return replace(contrast, spread=sd and Spread(math.sqrt(2) * sd.sd, sd.source))


def _few_people(people: int) -> tuple[Unmet, ...]:
    few = people < needs.MIN_PEOPLE
    return (Unmet("people", f"{people} people, fewer than {needs.MIN_PEOPLE}"),) if few else ()


class _Measured(NamedTuple):
    draws: np.ndarray
    units: int
    people: int
    trainings: int
    kept: dict[str, float]
    """Setting -> the share of its faces that have the metric under every method."""


class _Judge:
    """The contrasts of one finding."""

    def __init__(
        self,
        finding: Any,
        lookup: Lookup,
        facts: Facts,
        spread: Mapping[str, Spread],
        rivals: Sequence[str] = (),
    ):
        self.f, self.lookup, self.facts, self.spread = finding, lookup, facts, spread
        self.less = register.among(finding.less, rivals) if rivals else finding.less

    def nothing(self, why: str) -> Contrast:
        nan = Estimate(math.nan, math.nan, math.nan, 0)
        return self._contrast("", nan, 0, 0, (Unmet("not run", why),))

    def own(self, one: Given) -> Contrast:
        """A contrast that the study computed itself, judged."""
        known, part = _of_two_networks(one.contrast, self.spread), one.contrast.published
        published = self.f.published if math.isnan(part) else part
        return replace(known, published=published, unmet=self.unmet(*one))

    def printed(self, absent: str) -> tuple[Contrast, list[Contrast]]:
        """The contrast that the paper prints, at the settings that were run, and its parts."""
        more, less, lacking = self._at_hand(self.f.more, self.less)
        if lacking:
            whole = self.nothing("; ".join([absent, *lacking] if lacking != [""] else [absent]))
        else:
            whole = self._measure(more, less)
        parts = []
        for setting, method, some_more, some_less in _parts(self.f.more, self.less):
            keys = [key for s in register.slots(some_more, some_less) for key in s.cells]
            if all(self.lookup(*key) is not None for key in keys):
                part = self._measure(some_more, some_less)
                parts.append(replace(part, setting=setting, method=method))
        return whole, parts

    def by(self, metric: str) -> list[Contrast]:
        """The printed contrast by another metric."""
        sides = (_with_metric(side, metric) for side in (self.f.more, self.less))
        more, less, lacking = self._at_hand(*sides)
        return [] if lacking else [self._measure(more, less)]

    def _at_hand(self, *sides: str) -> tuple[str, str, list[str]]:
        """The two sides at the settings that were run, and what they lack there."""
        settings = [dict.fromkeys(s for t in register.terms(x) for s in t.settings) for x in sides]
        absent: dict[str, list[str]] = {}
        for side in sides:
            for slot in register.slots(side, side)[: len(register.slots(side, side)) // 2]:
                for key in slot.cells:
                    if self.lookup(*key) is None:
                        absent.setdefault(key[1], []).append(key[2])
        whole = {s for s in settings[0] if s in settings[1] and s in absent}
        kept = {s for s in [*settings[0], *settings[1]] if s not in whole}
        both = [register.within(side, kept) for side in sides]
        named = [f"{', '.join(dict.fromkeys(m))} at {s}" for s, m in absent.items()]
        if not all(both) or (set(absent) - whole):
            return *sides, named or [""]
        return *both, []

    def _measure(self, more: str, less: str) -> Contrast:
        slots = register.slots(more, less)
        keys = dict.fromkeys(key for slot in slots for key in slot.cells)
        cells = {key: self.lookup(*key) for key in keys}
        found, metric = _measured(slots, cells), next(iter(keys))[3]
        arms = list(dict.fromkeys((key[1], key[2]) for key in keys))
        null, dealt = self._null(slots, cells)
        sd = self.spread.get(metric)
        weight = math.sqrt(sum(s.weight**2 for s in slots))
        contrast = self._contrast(
            _words(more, less),
            _estimate(found.draws, found.units),
            found.people,
            found.trainings,
            (),
            metric=metric,
            published=self._printed_as(more, less),
            null=null,
            random_labels=dealt,
            spread=sd and Spread(sd.sd * weight, sd.source),
        )
        few = [
            f"{100 * share:.0f} % of the faces are kept at {setting}"
            for setting, share in found.kept.items()
            if share <= 0.5
        ]
        return replace(contrast, unmet=self.unmet(contrast, arms, few, self._at_chance(cells)))

    def _printed_as(self, more: str, less: str) -> float:
        """What the paper prints for a contrast, also where others stand for its rivals."""
        if self.less == self.f.less or not less:
            return register.difference(self.f.paper, more, less)
        theirs = register.among(less, register.terms(self.f.less)[0].methods)
        return register.difference(self.f.paper, more, theirs)

    def _contrast(
        self,
        words: str,
        estimate: Estimate,
        people: int,
        trainings: int,
        unmet: tuple[Unmet, ...],
        **more: Any,
    ) -> Contrast:
        about = {"metric": self.f.metric, "published": self.f.published} | more
        same = about["metric"] == self.f.metric
        about |= {"unit": self.f.unit if same else unit_of(about["metric"])}
        return Contrast(
            self.f.id,
            self.f.sentence,
            words,
            estimate=estimate,
            people=people,
            trainings=trainings,
            margin=self.f.margin,
            unmet=unmet,
            **about,
        )

    def unmet(
        self,
        contrast: Contrast,
        arms: Sequence[Arm],
        few: Sequence[str] = (),
        chance: Sequence[str] = (),
    ) -> tuple[Unmet, ...]:
        """The needs of the finding that a contrast does not meet."""
        found = []
        for need in self.f.needs.split("; "):
            fact = needs.answer(self.facts, need, self.f.id)
            if need == "people":
                found += _few_people(contrast.people)
            elif need == "faces kept":
                found += [Unmet(need, line) for line in few]
            elif need == "above chance" and fact is None:
                found += [Unmet(need, line) for line in chance]
            elif need not in ("trainings", "margin"):
                found.append(Unmet(need, needs.reason(need, fact, arms)))
        return tuple(one for one in found if one.reason)

    def _at_chance(self, cells: Mapping[Key, Cell]) -> list[str]:
        """Arms whose interval does not lie above chance."""
        if "above chance" not in self.f.needs.split("; "):
            return []
        found = []
        for key, one in cells.items():
            chance = self.lookup(*key[:2], "chance", key[3])
            if chance is None:
                return [f"not stated: {needs.NEEDS['above chance'].meaning}"]
            level = (*key[:2], "chance", key[3])
            slots = [Slot(1.0, "", (key,)), Slot(-1.0, "", (level,))]
            gain = _measured(slots, {key: one, level: chance})
            if not _estimate(gain.draws, gain.units).low > 0:
                found.append(f"{key[2]} at {key[1]} is not surely above chance")
        return found

    def _null(self, slots: list[Slot], cells: Mapping[Key, Cell]) -> tuple[Estimate | None, bool]:
        """What the null model gets in the same contrast."""
        name = NULL_ROWS.get(self.f.null, self.f.null)
        if not name:
            return None, False
        if name == "shuffled labels":
            return _dealt(slots, cells), True
        sides = [{k[2] for s in slots if s.weight * sign > 0 for k in s.cells} for sign in (1, -1)]
        picked = [any(s.pick for s in slots if s.weight * sign > 0) for sign in (1, -1)]
        everywhere = sides[0] == sides[1] or name == "chance"
        champion = -1 if picked[0] and not picked[1] else 1
        replaced, known = [], dict(cells)
        for slot in slots:
            if everywhere or slot.weight * champion > 0:
                keys = tuple(dict.fromkeys((k[0], k[1], name, k[3]) for k in slot.cells))
                known |= {key: self.lookup(*key) for key in keys}
                slot = slot._replace(pick="", cells=keys[:1])
            replaced.append(slot)
        if any(known[key] is None for slot in replaced for key in slot.cells):
            return None, False
        found = _measured(replaced, known)
        return _estimate(found.draws, found.units), False


def _with_metric(side: str, metric: str) -> str:
    return register.written(term._replace(metric=metric) for term in register.terms(side))


def _parts(more: str, less: str) -> list[tuple[str, str, str, str]]:
    """The contrasts that a contrast is the mean of: (setting, method, more, less) each.

    Pairs of cells if both sides name as many, else setting by setting; none if there is but one.
    """
    slots = register.slots(more, less)
    first = [s for s in slots if s.weight > 0]
    second = [s for s in slots if s.weight < 0]
    found = []
    if len(first) == len(second) and not any(s.pick for s in slots):
        for a, b in zip(first, second, strict=True):
            (x,), (y,) = a.cells, b.cells
            setting = x[1] if x[1] == y[1] else f"{x[1]}, {y[1]}"
            method = x[2] if x[2] == y[2] else f"{x[2]}, {y[2]}"
            found.append((setting, method, "/".join(x), "/".join(y)))
    else:
        settings = dict.fromkeys(t for s in slots for k in s.cells for t in [k[1]])
        for setting in settings:
            some = register.within(more, [setting]), register.within(less, [setting])
            if all(some):
                found.append((setting, "", *some))
    return found if len(found) > 1 else []


def _words(more: str, less: str) -> str:
    """What is subtracted from what, in words."""

    def side(text: str) -> tuple[str, str]:
        parts = register.terms(text)
        methods = list(dict.fromkeys(m for term in parts for m in term.methods))
        settings = ", ".join(dict.fromkeys(s for term in parts for s in term.settings))
        picked = {"max": "the highest of", "min": "the lowest of"}.get(parts[0].pick)
        if picked:
            return f"{picked} {len(methods)} others", settings
        few = ", ".join(methods) if len(methods) < 4 else f"the mean of {len(methods)} methods"
        return (f"{parts[0].metric} of {few}" if two_metrics else few), settings

    two_metrics = len({term.metric for text in (more, less) for term in register.terms(text)}) > 1
    (a, at), (b, there) = side(more), side(less)
    if at == there:
        return f"{a} minus {b} at {at}" if at else f"{a} minus {b}"
    return f"{a} at {at} minus {b} at {there}"


def _measured(slots: Sequence[Slot], cells: Mapping[Key, Cell]) -> _Measured:
    """The contrast on resamples of people, the same for all cells of the same people."""
    sets: list[np.ndarray] = []  # the different sets of people: each has resamples of its own
    place = {}
    for key in dict.fromkeys(key for slot in slots for key in slot.cells):
        units = cells[key].units
        same = [i for i, other in enumerate(sets) if np.array_equal(other, units)]
        place[key] = same[0] if same else len(sets)
        sets += [] if same else [units]
    keys = list(place)
    known: dict[tuple[str, int], np.ndarray] = {}
    for key in keys:
        at, finite = (key[1], place[key]), np.isfinite(cells[key].values).all(0)
        known[at] = known.get(at, True) & finite
    # of cells that were trained more often than others their mean, or as many trainings, count
    trainings = min((len(cells[k].values) for k in keys if cells[k].trained), default=0)
    kept = {}
    for (setting, _), rows in known.items():
        kept[setting] = min(kept.get(setting, 1.0), float(rows.mean()))

    def total(part: int | None, chosen: Mapping[Slot, Key]) -> np.ndarray:
        # of everyone, or of one half of the people
        drawn = []
        for slot in slots:
            key = chosen.get(slot, slot.cells[0])
            one, rows = cells[key], known[key[1], place[key]]
            if part is not None:
                rows = rows & (first[place[key]] == (part == 0))
            where = 2 * place[key] + (part or 0)
            if rows.any():
                some = resampled_means(one.values[:, rows], one.units[rows], RESAMPLES, where)
            else:  # no face has the metric under every method
                some = np.full((len(one.values), 1 + RESAMPLES), math.nan)
            if trainings == 1 or not one.trained:
                some = np.broadcast_to(some.mean(0), (max(trainings, 1), some.shape[1]))
            drawn.append(slot.weight * some[: max(trainings, 1)])
        return sum(drawn)

    def choose(part: int) -> dict[Slot, Key]:
        # the best rivals of one half of the people
        best = {"max": np.argmax, "min": np.argmin}
        found = {}
        for slot in [s for s in slots if s.pick]:
            rows = [known[k[1], place[k]] & (first[place[k]] == (part == 0)) for k in slot.cells]
            means = [  # 0: nobody is in this half
                cells[k].values[:, r].mean() if r.any() else 0.0
                for k, r in zip(slot.cells, rows, strict=True)
            ]
            found[slot] = slot.cells[int(best[slot.pick](means))]
        return found

    if any(slot.pick for slot in slots):
        first = [halves(units) for units in sets]
        found = (total(1, choose(0)) + total(0, choose(1))) / 2
    else:
        found = total(None, {})
    units = min(len(np.unique(cells[key].units)) for key in keys)
    units = units // 2 if any(slot.pick for slot in slots) else units
    return _Measured(found, units, min(cells[k].people for k in keys), trainings, kept)


def _estimate(draws: np.ndarray, units: int) -> Estimate:
    """The contrast with its interval over people and trainings, wider where units are few."""
    return people_and_trainings(widened(draws, units), units)


def _dealt(slots: Sequence[Slot], cells: Mapping[Key, Cell]) -> Estimate:
    """The contrast of two families of methods, the methods dealt into families at random.

    The 2.5th, 50th and 97.5th percentile over all deals.
    """
    first = {k[2] for s in slots if s.weight > 0 for k in s.cells}
    names = sorted(first | {k[2] for s in slots for k in s.cells})
    means = {
        key[1:3]: float(np.nanmean(one.values)) if np.isfinite(one.values).any() else math.nan
        for key, one in cells.items()
    }
    # sides of equal sign in their first appearance: a deal may be turned round, not the measure
    found = []
    settings = dict.fromkeys(setting for setting, _ in means)
    for deal in combinations(names, len(first)):
        gaps = []
        for setting in settings:
            a = [v for (s, m), v in means.items() if s == setting and m in deal]
            b = [v for (s, m), v in means.items() if s == setting and m not in deal]
            if a and b:
                gaps.append(np.mean(a) - np.mean(b))
        found.append(np.mean(gaps))
    low, middle, high = np.quantile(found, [0.025, 0.5, 0.975])
    return Estimate(float(middle), float(low), float(high), len(found))
