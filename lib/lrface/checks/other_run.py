"""Stored results against those of another run: one made before, or one made now."""

from __future__ import annotations

import platform
import tempfile
from pathlib import Path
from typing import Any

from lrface.checks import pictures
from lrface.checks.compare import Drift, absent_sets, compare, read, without_sets
from lrface.checks.outcome import Report
from lrface.checks.study_results import StudyResults
from lrface.errors import LrfaceError, UsageError
from lrface.settings import override


def against(chosen: list[StudyResults], other: Path) -> Report:
    """Compare results with those under another output folder, by ``compare.TOLERANCE``.

    Raises
    ------
    UsageError
        The two have no data set and preset in common.
    """
    report = Report(f"committed results against {other.name or other}", [])
    there = {(p.parts[-2], p.parts[-1]) for p in other.glob("results/*/*") if p.is_dir()}
    for one in chosen:
        if (one.data, one.preset) in there:
            _against(one, StudyResults(other, one.data, one.preset, one.study), report)
        else:
            absent = f"{one.data}/{one.preset}"
            report.left_out.append(f"{one.name} (there is no {absent} in the other folder)")
    if not report.checked:
        raise UsageError(
            f"{other} holds no results to compare with: it needs results/<data>/<preset>/<study>, "
            "as LRFACE_OUT has them"
        )
    report.machine = list(dict.fromkeys(report.machine))
    return report


def _against(one: StudyResults, now: StudyResults, report: Report) -> None:
    """Add to the report how one study's results differ from those of the other run."""
    report.checked.append(one.name)
    record, new = one.record(), now.record()
    if new is None:
        why = "the other run left no record: it did not complete"
        report.drifts.append(Drift(f"results/{now.name}/record.json", why))
        return
    report.machine.append(machine(new, record))
    if record and record.get("parameters") != new.get("parameters"):
        why = "the two runs had different parameters"
        report.drifts.append(Drift(f"results/{one.name}/record.json", why))
    here, there = one.tables(), now.tables()
    absent, rows = absent_sets(record, new), 0
    for name in dict.fromkeys([*here, *there]):
        if name not in here and name.startswith("figures/") and not one.figures.is_dir():
            continue  # a figure of people, not committed
        try:
            frame = read(here[name]) if name in here else None
            now_frame = read(there[name]) if name in there else None
        except (OSError, ValueError):
            report.drifts.append(Drift(name, "it cannot be read as a table"))
            continue
        if absent and frame is not None:
            frame, dropped = without_sets(absent, frame)
            now_frame = None if now_frame is None else without_sets(absent, now_frame)[0]
            rows += dropped
            if frame.empty and name not in there:
                continue
        if frame is None or now_frame is None:
            why = "this table was added" if frame is None else "this table is missing now"
            report.drifts.append(Drift(name, why))
        else:
            report.drifts += compare(name, frame, now_frame)
    report.drifts += pictures.between(one.figures, now.figures, f"figures/{one.name}")
    if rows:
        sets = ", ".join(absent)
        why = "not at hand in the other run"
        report.left_out.append(f"{rows} rows of {one.name} on {sets} ({why})")


def fresh(chosen: list[StudyResults]) -> Report:
    """Execute the studies now with their records' parameters, and compare (:func:`against`).

    They are executed into a temporary folder, with released networks and scores as always. A study
    that cannot be executed here (its faces are not at hand) is named and left out.

    Raises
    ------
    UsageError
        No study can be executed here.
    """
    from lrface.execution import notebooks, runner

    left_out, failed, ran = [], [], []
    with tempfile.TemporaryDirectory(prefix="lrface-verify-") as folder:
        with override(out=folder):
            for one in chosen:
                record = one.record()
                if record is None:
                    why = "missing or damaged: nothing says how to make it again"
                    failed.append(Drift(f"results/{one.name}/record.json", why))
                    continue
                try:
                    path = notebooks.find(one.study)
                    values = notebooks.contract(path)(**record["parameters"]).model_dump()
                    runner.check(path, values)
                except (LrfaceError, ValueError) as error:
                    left_out.append(f"{one.name} ({' '.join(str(error).split())})")
                    continue
                outcome = runner.run(path, values)
                ran.append(one)
                if outcome.status == "failed":
                    why = f"executing it again failed: {outcome.reason}"
                    failed.append(Drift(f"results/{one.name}", why))
        if not ran and not failed:
            raise UsageError(f"nothing can be executed here: {'; '.join(left_out)}")
        gone = {drift.file for drift in failed}
        again = [one for one in ran if f"results/{one.name}" not in gone]
        report = against(again, Path(folder)) if again else Report("", [machine()])
    report.how = "committed results against a run made now"
    report.checked = [one.name for one in ran]
    report.left_out += left_out
    report.drifts = failed + report.drifts
    return report


def machine(made: dict[str, Any] | None = None, committed: dict[str, Any] | None = None) -> str:
    """A line on where numbers were made, with the versions that the committed record does not have.

    Parameters
    ----------
    made : dict, optional
        The record of a run; None: this machine, on which stored results are checked.
    committed : dict, optional
        The record that it is compared with.
    """
    if made is None:
        here = f"{platform.system()} {platform.machine()}, Python {platform.python_version()}"
        return f"checked on {here}"
    line = f"made on {_processor(made)}, commit {str(made.get('commit', '?'))[:8]}"
    if committed is None:
        return line
    now, then = made.get("versions", {}), committed.get("versions", {})
    changed = [name for name in {**then, **now} if now.get(name) != then.get(name)]
    other = [
        f"{name} {now.get(name, 'none')} (committed with {then.get(name, 'none')})"
        for name in changed
    ]
    if _processor(made) != _processor(committed):
        other.append(f"committed on {_processor(committed)}")
    return f"{line}; {', '.join(other) or 'versions and processor as committed'}"


def _processor(record: dict[str, Any]) -> str:
    return f"{record.get('platform', '?')}, {record.get('cpu_capability', '?')}"
