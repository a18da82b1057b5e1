"""What a notebook would train, found out without training or scoring anything.

A notebook hands its networks to ``sweep.fit`` (or ``runs.fit``). Only the statements that these
calls depend on are executed (:mod:`lrface.execution.slicing`): loading faces and writing configs,
not the figures, searches and scores that stand between them.
"""

from __future__ import annotations

import ast
import contextlib
import copy
import io
import json
import tempfile
from collections.abc import Collection, Hashable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import pandas as pd

from lrface.data import ClipSet, FaceSet, SceneSet, TrainingSet
from lrface.errors import LrfaceError
from lrface.execution import slicing
from lrface.files import project_root, slug
from lrface.metrics import score_cache
from lrface.settings import current, override
from lrface.training import runs, sweep
from lrface.training.config import Config

Networks = dict[Hashable, tuple[Config, TrainingSet]]
"""By the name that the notebook gives them."""
FITS = ("sweep.fit", "runs.fit")


@dataclass
class Plan:
    """What a notebook would train, and what it tests on."""

    networks: Networks = field(default_factory=dict)
    needed: set[Hashable] = field(default_factory=set)
    """The names of those that must be at hand; the scores of the others are stored."""
    tested: FaceSet | ClipSet | SceneSet | None = None

    def missing(self) -> Networks:
        """The networks that would be trained: those not at hand, and those that these start from.

        One that the notebook gives no name has its config's label.
        """
        keys = {name: runs.key_for(*one) for name, one in self.networks.items()}
        known = {keys[name]: one for name, one in self.networks.items()}
        asked = [keys[name] for name in self.networks if name in self.needed]
        absent = sweep.missing(asked, known)
        parents = {one[0].label: one for key, one in absent.items() if key not in known}
        first = {key: name for name, key in reversed(keys.items())}  # of equal ones the first
        return parents | {n: one for n, one in self.networks.items() if n in _named(absent, first)}


def _named(keys: Collection[str], names: dict[str, Hashable]) -> set[Hashable]:
    return {names[key] for key in keys if key in names}


class _Planned(Exception):
    """Raised in place of training."""


class _NeedsScores(Exception):
    """Raised in place of scoring."""


def of(path: Path, values: dict[str, Any]) -> Plan:
    """What a notebook with these parameters (checked) would train.

    What the executed statements show is dropped, what they write goes to a temporary folder.

    Raises
    ------
    LrfaceError
        A statement fails.
    """
    plan = Plan()
    with (
        tempfile.TemporaryDirectory() as elsewhere,
        override(out=elsewhere),
        contextlib.chdir(project_root()),
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
        _recorded(plan),
    ):
        try:
            _execute(path, values, plan, lambda node: node)
        except (
            _NeedsScores
        ):  # which networks are needed depends on scores: all are but those it lists
            plan.networks.clear()
            plan.needed.clear()
            _execute(path, values, plan, slicing.first_argument_alone)
            plan.needed -= _scored(path, values, plan.networks)
    return plan


def _execute(path: Path, values: dict[str, Any], plan: Plan, target: Any) -> None:
    """Execute what a plan needs; :class:`_NeedsScores` if that needs scores."""
    statements = slicing.statements(path)
    fits = {
        i: target(slicing.until_call(one.node, FITS))
        for i, one in enumerate(statements)
        if slicing.calls(one.node, FITS)
    }
    studies = [i for i, one in enumerate(statements) if slicing.assigns(one.node, "study")]
    wanted = {i: statements[i].node for i in studies[:1]} | fits
    last = max((i for i, one in enumerate(statements) if one.parameters), default=-1)
    wanted |= {i: one.node for i, one in enumerate(statements) if one.parameters}
    space: dict[str, Any] = {}
    for i in sorted(slicing.needed([one.node for one in statements], wanted)):
        place = f"{path.name}, code cell {statements[i].cell}"
        node = wanted.get(i, statements[i].node)
        code = compile(ast.Module([node], []), place, "exec", dont_inherit=True)
        try:
            exec(code, space)
        except _Planned:
            pass
        except (_NeedsScores, LrfaceError):
            raise
        except Exception as error:
            first = (str(error).strip() or "no message").splitlines()[0]
            raise LrfaceError(f"{place}: {type(error).__name__}: {first}") from error
        if i == last:
            space |= copy.deepcopy(values)
    tested = getattr(space.get("study"), "faces", None)
    plan.tested = tested if isinstance(tested, FaceSet | ClipSet | SceneSet) else None


@contextlib.contextmanager
def _recorded(plan: Plan) -> Iterator[None]:
    """Note what is handed to the functions that train, and end where scores would be computed."""

    def sweep_fit(wanted: Networks, only: Collection[Hashable] | None = None) -> None:
        plan.networks |= wanted
        plan.needed |= {*wanted} if only is None else {*only} & {*wanted}
        raise _Planned

    def runs_fit(config: Config, faces: TrainingSet, *_: Any, **__: Any) -> Any:
        plan.networks[config.label] = (config, faces)
        plan.needed.add(config.label)
        return SimpleNamespace()

    def compute(*_: Any, **__: Any) -> None:
        raise _NeedsScores

    with (
        mock.patch.object(sweep, "fit", sweep_fit),
        mock.patch.object(runs, "fit", runs_fit),
        mock.patch.object(score_cache, "compute", compute),
    ):
        yield


def _scored(path: Path, values: dict[str, Any], networks: Mapping[Hashable, Any]) -> set[Hashable]:
    """Networks that are not at hand and whose scores a run with the same parameters has stored.

    They are the rows of its ``scores.csv`` that hold all parts of the network's name.
    """
    folder = project_root() / "results" / slug(values["data"]) / values["preset"] / path.stem
    try:
        record = json.loads((folder / "record.json").read_text(encoding="utf-8"))
        listed = pd.read_csv(folder / "scores.csv", dtype=str, keep_default_na=False)
    except (OSError, ValueError):
        return set()
    if current().retrain or record.get("parameters") != values:
        return set()
    found = set()
    for name, one in networks.items():
        if runs.load_run(runs.key_for(*one)) is not None:
            continue
        parts = {str(part) for part in (name if isinstance(name, tuple) else (name,))}
        rows = [row for row in listed.to_dict("records") if parts <= {*row.values()}]
        if rows and all(score_cache.load(row["key"]) is not None for row in rows):
            found.add(name)
    return found
