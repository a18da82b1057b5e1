"""Networks from elsewhere judged on one's own faces: released, or trained on another set.

Nothing is trained here, so that everybody in a set is a test person, after the check that the
networks have not seen them.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Mapping
from typing import NamedTuple

from lrface import data
from lrface.data import FaceSet, TrainingSet
from lrface.errors import LrfaceError, UsageError
from lrface.training.config import Config, key_for
from lrface.training.run_store import Run, best_run, load_run

SIZES = ("small", "narrow", "paper", "large")


class Found(NamedTuple):
    """The networks that were asked for, as far as they are at hand."""

    runs: dict[Hashable, Run]
    absent: dict[Hashable, str]
    """Of each other one why it is not there."""

    @property
    def whose(self) -> str:
        """A sentence on whose networks these are."""
        kinds = {}
        for run in self.runs.values():
            on = f"{run.config.data} ({run.record['data']['n']:,} faces, {run.source})"
            kinds[on] = kinds.get(on, 0) + 1
        listed = "; ".join(f"{n} on {on}" for on, n in kinds.items()) or "none"
        names = list(dict.fromkeys(c[0] if isinstance(c, tuple) else c for c in self.absent))
        named = "; ".join(names[:3]) + ("; ..." if len(names) > 3 else "")
        gone = f"; {len(self.absent)} not at hand ({named})" if self.absent else ""
        return f"networks trained elsewhere: {listed}{gone}"

    @property
    def size(self) -> str:
        """The smallest size among the networks; ``paper`` if none was asked for."""
        sizes = [run.config.size for run in self.runs.values()]
        return min(sizes, key=SIZES.index, default="paper")

    def apart(self, name: str) -> str:
        """Why it is not known that the networks have not seen the people of a set; else ``""``."""
        for learnt in sorted({run.config.data for run in self.runs.values()}):
            if reason := data.absent(learnt):
                return f"whether {name} shares people with {learnt} is not known: {reason}"
        return ""


Asked = tuple[str, str] | tuple[Config, TrainingSet]


def networks(trained_on: str, cells: Mapping[Hashable, Asked]) -> Found:
    """Trained networks of the methods and settings of a study.

    Parameters
    ----------
    trained_on : str
        The face set that they were trained on (``synthetic``: those that are released), or the key
        of one run.
    cells : mapping
        Cell -> (method, setting), as ``("EDSR", "4x_BD")``, for the best-trained run
        (:func:`lrface.training.runs.best_run`); or (config, training faces), for that very one.

    Returns
    -------
    Found

    Raises
    ------
    UsageError
        There is no run of this key.
    LrfaceError
        None of the networks is at hand.

    Examples
    --------
    >>> found = networks("synthetic", {"a": ("EDSR", "4x"), "b": ("VDSR", "4x")})
    >>> list(found.runs), list(found.absent)
    (['a'], ['b'])
    >>> found.whose
    'networks trained elsewhere: 1 on synthetic (3,384 faces, released); 1 not at hand (b)'
    """
    runs, absent = {}, {}
    one = _of_key(trained_on)
    for cell, asked in cells.items():
        try:
            runs[cell] = _found(data.absolute(trained_on), one, *asked)
        except LrfaceError as reason:
            absent[cell] = str(reason)
    if absent and not runs:
        first = next(iter(absent.values()))
        raise LrfaceError(f"trained_on={trained_on}: none of the networks is at hand ({first})")
    return Found(runs, absent)


def _found(name: str, one: Run | None, method: str | Config, setting: str | TrainingSet) -> Run:
    """The run that is asked for, if it is of this set or is ``one``; else an LrfaceError."""
    if isinstance(method, Config):
        key = key_for(method, setting)
        run = load_run(key) if one is None or one.record["key"] == key else None
        if run is None:
            raise LrfaceError(f"no run {key} ({method.label}) is at hand")
        return run
    if one is None:
        return best_run(method, setting, name)
    if (one.config.method, one.config.degradation.name) != (method, setting):
        raise LrfaceError(f"{one.record['key']} is {one.config.label}")
    return one


def _of_key(text: str) -> Run | None:
    if not re.fullmatch(r"[0-9a-f]{16}", text):
        return None
    if (run := load_run(text)) is None:
        raise UsageError(f"trained_on={text}: no run of this key is at hand")
    return run


def learnt_set(trained_on: str) -> str:
    """The face set that networks learnt from: ``trained_on`` itself, or that of the run's key.

    Raises
    ------
    UsageError
        No set has this name, there is no run of this key.

    Examples
    --------
    >>> learnt_set("synthetic")
    'synthetic'
    """
    one = _of_key(trained_on)
    if one is not None:
        return one.config.data
    try:
        data.check_name(trained_on)
    except UsageError:
        raise
    except LrfaceError:
        pass  # known, and not at hand: networks that learnt from it may be
    return data.absolute(trained_on)


def faces_for(name: str, found: Found, limit: int | None = None, seed: int = 0) -> FaceSet:
    """All faces of a set, as the test faces of networks that were trained on others.

    Parameters
    ----------
    name : str
        The face set (:func:`lrface.data.load`).
    found : Found
        The networks.
    limit, seed : int
        As of :func:`lrface.data.load`.

    Returns
    -------
    FaceSet
        Of the set that the networks learnt from only those outside its training split.

    Raises
    ------
    LrfaceError
        They share people or pictures with the training faces, as far as these are at hand, or
        there are fewer than three people.

    Examples
    --------
    >>> found = networks("synthetic", {"a": ("EDSR", "4x")})
    >>> faces_for("synthetic", found, limit=20).table["split"].unique().tolist()
    ['test']
    """
    sets = {run.config.data: run.config for run in found.runs.values()}
    own = data.absolute(name) in sets
    faces = data.load(name, "test" if own else None, limit, seed)
    if (people := faces.table["identity"].nunique()) < data.LEAST_PEOPLE:
        raise LrfaceError(f"{name} has {people} people to test on, and three are needed: add some")
    if unknown := found.apart(name):
        print(unknown)
    for config in sets.values():
        if data.absent(config.data) is None:
            learnt = data.load(config.data, "train", seed=config.split_seed)
            data.check_leakage(learnt.table, faces.table)
    return faces
