"""Networks from elsewhere judged on one's own faces: released, or trained on another set.

Nothing is trained here, so that everybody in a set is a test person, after the check that the
networks have not seen them.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Mapping
from typing import NamedTuple

from lrface import data
from lrface.data import FaceSet
from lrface.errors import LrfaceError, UsageError
from lrface.training.run_store import Run, best_run, load_run


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
        gone = f"; {len(self.absent)} not at hand" if self.absent else ""
        return f"networks trained elsewhere: {listed}{gone}"


def networks(trained_on: str, cells: Mapping[Hashable, tuple[str, str]]) -> Found:
    """Trained networks of the methods and settings of a study.

    Parameters
    ----------
    trained_on : str
        The face set that they were trained on (``synthetic``: those that are released), or the key
        of one run.
    cells : mapping
        Cell -> (method, setting), as ``("EDSR", "4x_BD")``.

    Returns
    -------
    Found
        Of each cell the best-trained run (:func:`lrface.training.runs.best_run`).

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
    'networks trained elsewhere: 1 on synthetic (3,384 faces, released); 1 not at hand'
    """
    runs, absent = {}, {}
    one = _of_key(trained_on)
    for cell, (method, setting) in cells.items():
        try:
            if one is None:
                runs[cell] = best_run(method, setting, data.absolute(trained_on))
            elif (one.config.method, one.config.degradation.name) == (method, setting):
                runs[cell] = one
            else:
                absent[cell] = f"{trained_on} is {one.config.label}"
        except LrfaceError as reason:
            absent[cell] = str(reason)
    if not runs:
        first = next(iter(absent.values()), "nothing was asked for")
        raise LrfaceError(f"trained_on={trained_on}: none of the networks is at hand ({first})")
    return Found(runs, absent)


def _of_key(text: str) -> Run | None:
    if not re.fullmatch(r"[0-9a-f]{16}", text):
        return None
    if (run := load_run(text)) is None:
        raise UsageError(f"trained_on={text}: no run of this key is at hand")
    return run


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
        They share people or pictures with the training faces, as far as these are at hand.

    Examples
    --------
    >>> found = networks("synthetic", {"a": ("EDSR", "4x")})
    >>> faces_for("synthetic", found, limit=20).table["split"].unique().tolist()
    ['test']
    """
    sets = {run.config.data: run.config for run in found.runs.values()}
    own = data.absolute(name) in sets
    faces = data.load(name, "test" if own else None, limit, seed)
    for config in sets.values():
        try:
            learnt = data.load(config.data, "train", seed=config.split_seed)
        except LrfaceError as reason:
            print(f"whether {name} shares people with {config.data} is not known: {reason}")
            continue
        data.check_leakage(learnt.table, faces.table)
    return faces
