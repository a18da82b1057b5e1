"""What a test of a finding needs, and the facts that answer for it.

A finding of the register names its needs by the words of :data:`NEEDS`. Each is answered by a
fact: computed by :mod:`lrface.report.findings` from the scores, or stated by the study in one line,
mostly by a function of this module. A need that is not met, or that no fact answers, makes the
finding *not tested*, with the reason in words.

A fact is ``""`` (met), a reason why it is not, or reasons by arm: a mapping whose keys are methods
or (setting, method), for arms that do not meet it. ``facts[need, finding]`` answers for one
finding alone.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import pandas as pd

from lrface.files import output_folder, project_root, slug
from lrface.metrics.intervals import Estimate

if TYPE_CHECKING:
    from lrface.training.runs import Run

Arm = tuple[str, str]
"""Setting and method, as the paper names them."""
Fact = str | Mapping[Hashable, str]
Facts = Mapping[str | tuple[str, str], Fact]

RISE_DB, FALL = 0.1, 0.02
"""A training has converged if over the last fifth of its steps the PSNR on validation faces rises
by no more than so many dB, or the loss falls by no more than this share of its trivial value."""
TRIVIAL_SHARE = 0.9
"""A loss that ends above this share of its trivial value has learnt nothing."""
MIN_PEOPLE = 20
DEEP_SIZES = ("narrow", "paper")


class Need(NamedTuple):
    """A need: what it asks for, and what answers it."""

    meaning: str
    computed: bool = False
    """Whether :mod:`lrface.report.findings` answers it from the scores."""


NEEDS = {
    "trainings": Need("three trainings, or an effect of twice their standard deviation", True),
    "people": Need(f"{MIN_PEOPLE} people or more (of attributes: in either class)", True),
    "faces kept": Need("more than half of the faces have the metric under every method", True),
    "above chance": Need("every arm lies above chance", True),
    "margin": Need("the difference that counts as none is stated beforehand", True),
    "converged": Need("every training has converged"),
    "above bicubic": Need("every network restores better than bicubic interpolation"),
    "paper depth": Need("the networks have their papers' depth and topology"),
    "paper size": Need("the networks have the size that was published"),
    "equal training": Need("all methods learn from the same, for as long"),
    "distinct faces": Need("the larger training set is seen whole"),
    "factor varied": Need("what the sentence names was varied"),
    "one factor": Need("nothing else was varied"),
    "parts told apart": Need("the two things that may explain it are told apart"),
    "rival": Need("what the sentence compares with was run"),
    "people apart": Need("training and test share nobody"),
    "judge apart": Need("the judge of identity stands in no training loss"),
    "native captures": Need("faces that were small when they were captured"),
    "clips": Need("clips, frame by frame"),
    "published protocol": Need("the published protocol of the test"),
    "truth known": Need("the truth (landmarks, groups, identities) is known"),
    "own lists": Need("the official lists of the sets"),
    "second set": Need("a second set of faces"),
}
"""The closed vocabulary of the register's column ``needs``."""


def depth(size: str) -> str:
    """The fact ``paper depth`` of networks of a size (``small``, ``narrow`` or ``paper``).

    Examples
    --------
    >>> depth("narrow"), depth("small")
    ('', 'small networks have not the depth of their papers')
    """
    return "" if size in DEEP_SIZES else f"{size} networks have not the depth of their papers"


def unsettled(
    log: Sequence[Mapping[str, float]], classes: int | None = None, trivial: float | None = None
) -> str:
    """Why a training has not converged, by its learning curve; ``""`` if it has.

    Parameters
    ----------
    log : sequence of mappings
        Rows with ``step``, ``loss`` and, for restorers, ``val_psnr`` (dB; NaN where not measured);
        of a training in stages also ``stage`` and ``trivial``, its loss if it adds nothing.
    classes : int, optional
        Of a classifier: the trivial value of its loss is the logarithm of their number.
    trivial : float, optional
        The value of the loss that a collapsed network has, if it is another. Default: that of the
        first row, by which a fall is measured; a loss may then end anywhere.

    Returns
    -------
    str
        A restorer is judged by ``val_psnr`` where it has three values, a classifier by its loss,
        the mean of the last fifth of the steps against that of the fifth before, a network that
        restores and recognises by both.

    Examples
    --------
    >>> rising = [{"step": i, "loss": 1.0, "val_psnr": 20 + i} for i in range(1, 11)]
    >>> unsettled(rising)
    'its PSNR rises by 2.00 dB in the last fifth of the training'
    >>> unsettled([{"step": i, "loss": 1.2} for i in range(10)], trivial=1.2)
    'its loss ends at 100 % of its trivial value'
    """
    frame = pd.DataFrame(log)
    if frame.empty or not math.isfinite(frame["loss"].iloc[-1]):
        return ""  # computed in one pass
    if "stage" in frame:
        return _of_stages(frame)
    end = frame["step"].max()
    last, before = frame["step"] > 0.8 * end, frame["step"] <= 0.8 * end
    psnr = frame["val_psnr"].dropna() if "val_psnr" in frame else frame["loss"][:0]
    if len(psnr):
        enough = len(psnr) > 2 and before[psnr.index].any()
        rises = psnr.iloc[-1] - psnr[before[psnr.index]].iloc[-1] if enough else 0.0
        if _rises(rises) or (enough and not classes):  # a restorer; else it recognises as well
            return _rises(rises)
        classes = None  # its loss has a part of the restorer's, and no trivial value
    known = trivial or (math.log(classes) if classes and classes > 1 else None)
    loss = frame["loss"][last].mean()
    if known and loss > TRIVIAL_SHARE * known:
        return f"its loss ends at {loss / known:.0%} of its trivial value".replace("%", " %")
    fourth = frame["loss"][before & (frame["step"] > 0.6 * end)].mean()
    fall = (fourth - loss) / (known or abs(frame["loss"].iloc[0]))
    if math.isnan(fall):
        return "its learning curve has too few points"
    of = "its trivial value" if known else "its first value"
    words = f"its loss falls by {100 * fall:.1f} % of {of} in the last fifth of the training"
    return words if fall > FALL else ""


def _of_stages(frame: pd.DataFrame) -> str:
    """As :func:`unsettled` of a training in stages, whose losses differ: the first that has not."""
    for name, part in frame.groupby("stage", sort=False):
        share = part["loss"] / part["trivial"]
        if share.iloc[-1] > 1:
            return f"{name}: its loss ends above that of adding nothing"
        begins = part["step"].iloc[0]
        rows = part.assign(loss=share, step=part["step"] - begins).drop(columns="stage")
        if why := unsettled(rows.to_dict("records")):
            return f"{name}: {why}"
    return ""


def _rises(rise: float) -> str:
    words = f"its PSNR rises by {rise:.2f} dB in the last fifth of the training"
    return words if rise > RISE_DB else ""


def converged(
    runs: Mapping[Hashable, Run], also: Sequence[Hashable] = (), trivial: float | None = None
) -> dict[Hashable, str]:
    """The fact ``converged`` of trainings, by their logs.

    Parameters
    ----------
    runs : mapping
        Arm (a method, or setting and method) -> its run.
    also : sequence
        Arms whose run is not at hand: their learning curve is not known.
    trivial : float, optional
        As in :func:`unsettled`.

    Returns
    -------
    dict
        Arm -> why it has not converged; arms that have are left out.
    """
    found = {
        arm: unsettled(run.log, run.record.get("classes"), trivial) for arm, run in runs.items()
    }
    found |= {arm: "its learning curve is not at hand" for arm in also if arm not in runs}
    return {arm: reason for arm, reason in found.items() if reason}


def above(gains: Mapping[Hashable, Estimate], what: str) -> dict[Hashable, str]:
    """Arms that do not lie above a reference, for ``above bicubic`` and the like.

    Parameters
    ----------
    gains : mapping
        Arm -> its value minus the reference's, with an interval.
    what : str
        The reference.

    Examples
    --------
    >>> above({"EDSR": Estimate(1, 0.9, 1.1, 9), "SRCNN": Estimate(0, -1, 1, 9)}, "bicubic")
    {'SRCNN': 'not surely above bicubic'}
    """
    return {arm: f"not surely above {what}" for arm, e in gains.items() if not e.low > 0}


def faces_seen(steps: int, batch: int, n_train: int) -> str:
    """The fact ``distinct faces``: whether a training sees all the faces it is given.

    Examples
    --------
    >>> faces_seen(steps=300, batch=4, n_train=3384)
    '1,200 faces are seen of 3,384'
    >>> faces_seen(steps=900, batch=4, n_train=3384)
    ''
    """
    seen = steps * batch
    return "" if seen >= n_train else f"{seen:,} faces are seen of {n_train:,}"


def remarks(people: Sequence[Hashable]) -> list[str]:
    """What cannot be said of a set of test faces because it is small, in sentences.

    Parameters
    ----------
    people : sequence
        The identity of every face.

    Examples
    --------
    >>> for sentence in remarks(["a", "b", "c"]):
    ...     print(sentence)
    3 people: findings are decided from 20 on, so that here none is
    nobody has two pictures: whether a person is known again cannot be told
    """
    pictures, found = pd.Series(people).value_counts(), []
    if len(pictures) < MIN_PEOPLE:
        found.append(
            f"{len(pictures)} people: findings are decided from {MIN_PEOPLE} on, so that here "
            "none is"
        )
    if pictures.max() < 2:
        found.append("nobody has two pictures: whether a person is known again cannot be told")
    return found


class Spread(NamedTuple):
    """How much trainings differ: the standard deviation of a metric between them."""

    sd: float
    source: str


def spread_between_trainings(data: str, preset: str, *tables: str) -> dict[str, Spread]:
    """The standard deviation between trainings, as another study measured it.

    Parameters
    ----------
    data, preset : str
        Those of this study. Where the set has no such table, that of the rendered faces is taken.
    *tables : str
        ``<study>/<table>``: long tables with a column ``seed_sd``.

    Returns
    -------
    dict
        Metric -> the largest standard deviation in these tables, and where it stands; empty where
        nothing was measured.
    """
    found: dict[str, Spread] = {}
    for name in tables:
        file = next(
            (
                file
                for place in dict.fromkeys((slug(data), "synthetic"))
                for results in (output_folder("results"), project_root() / "results")
                if (file := results / place / preset / f"{name}.csv").is_file()
            ),
            None,
        )
        if file is None:
            continue
        source = "/".join(file.parts[-4:]).removesuffix(".csv")
        frame = pd.read_csv(file).dropna(subset=["seed_sd"])
        for metric, sd in frame.groupby("metric")["seed_sd"].max().items():
            if sd > found.get(str(metric), Spread(0.0, "")).sd:
                found[str(metric)] = Spread(float(sd), source)
    return found


def reason(need: str, fact: Fact | None, arms: Sequence[Arm]) -> str:
    """Why a need is not met; ``""`` if it is.

    Parameters
    ----------
    need : str
        Of :data:`NEEDS`.
    fact : str, mapping or None
        Its answer; None: the study states none.
    arms : sequence of (setting, method)
        Those that are compared.

    Examples
    --------
    >>> reason("converged", {"RCAN": "it rises"}, [("4x", "RCAN"), ("8x", "RCAN"), ("4x", "HAN")])
    'RCAN (4x, 8x): it rises'
    >>> reason("clips", None, [])
    'not stated: clips, frame by frame'
    """
    if fact is None:
        return f"not stated: {NEEDS[need].meaning}"
    if isinstance(fact, str):
        return fact
    settings: dict[tuple[str, str], list[str]] = {}
    for setting, method in arms:
        if why := fact.get((setting, method)) or fact.get(method):
            settings.setdefault((method, why), []).append(setting)
    by_why: dict[str, list[str]] = {}
    for (method, why), where in settings.items():
        named = ", ".join(dict.fromkeys(filter(None, where)))
        by_why.setdefault(why, []).append(f"{method} ({named})" if named else method)
    return "; ".join(f"{', '.join(names)}: {why}" for why, names in by_why.items())


def problems(text: str) -> list[str]:
    """The needs of a register's cell that are not in :data:`NEEDS`."""
    return [f"need {one!r}" for one in text.split("; ") if one not in NEEDS]


def answer(facts: Facts, need: str, finding: str) -> Any:
    """The fact that answers a need of a finding; None if none does."""
    return facts.get((need, finding), facts.get(need))
