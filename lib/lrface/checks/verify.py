"""Is every stored number still what it was?

Three answers: :func:`stored` compares results with their records and second sources, and computes
nothing; :func:`against` compares them with another run; :func:`fresh` makes that run.
"""

from __future__ import annotations

import platform
import re
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from lrface.checks import cross_checks, score_files
from lrface.checks.compare import NOT_COMPARED, OTHER, TOLERANCE, Drift, compare, read
from lrface.checks.study_results import StudyResults, find
from lrface.errors import LrfaceError, UsageError
from lrface.files import output_root, project_root, sha256, slug
from lrface.report.ledger import EVERY_SET, NAMES
from lrface.settings import override

CHANGED = "it is not the file that its record names (sha256)"


@dataclass
class Report:
    """What was checked and how, what was left out and why, and what differs."""

    how: str
    machine: list[str]
    """A line for each machine that the numbers come from."""
    checked: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    drifts: list[Drift] = field(default_factory=list)

    def lines(self) -> list[str]:
        """For a terminal: a line per difference, then what was checked."""
        count = f"{len(self.drifts)} drifts" if self.drifts else "no drift"
        return [
            *map(str, self.drifts),
            *self._notes(),
            f"{', '.join(self.checked)}: {count} ({self.how})",
        ]

    def _notes(self) -> list[str]:
        return [*(f"not compared: {line}" for line in self.left_out), *self.machine]

    def markdown(self) -> str:
        """For an issue: the differences as a table, and the tolerances."""
        rows = []
        for d in self.drifts:
            off = ["", ""] if d.off is None else [f"{d.off:.3g}", f"{d.tolerance:.3g}"]
            cells = [d.file, d.row, d.column, d.committed, d.now, *off, d.why]
            rows.append([cell.replace("|", "/") for cell in cells])
        columns = ["file", "row", "column", "committed", "now", "off by", "tolerance", "why"]
        table = pd.DataFrame(rows, columns=columns).to_markdown(index=False, disable_numparse=True)
        parts = [
            f"# {len(self.drifts)} drifts in {len(self.checked)} studies",
            f"{self.how}. Checked: {', '.join(self.checked)}.",
            "\n".join(f"- {line}" for line in self._notes()),
            *([table] if rows else []),
            "## Tolerances",
            _tolerances(),
        ]
        return "\n\n".join(parts) + "\n"


def _tolerances() -> str:
    lines = []
    for name, entry in TOLERANCE.items():
        share = f", or {entry.share:g} of its interval" if entry.share else ""
        lines.append(f"- {name}: {entry.amount:g}{share}; {entry.reason}")
    lines.append(f"- {OTHER}")
    for name, reason in NOT_COMPARED.items():
        lines.append(f"- {name.strip(' (')}: not compared, {reason}")
    return "\n".join(lines)


def run(
    studies: str | None, data: str | None, preset: str | None, other: Path | None, again: bool
) -> Report:
    """The check that the command line asks for.

    Parameters
    ----------
    studies : str, optional
        Numbers or names, with commas between them; ``"all"`` or None for all that have results.
    data, preset : str, optional
        Only results on this data set, at this preset.
    other : Path, optional
        Compare with the results under this output folder.
    again : bool
        Execute the studies now, and compare.

    Raises
    ------
    UsageError
        Nothing can be checked as asked.
    """
    if other and again:
        raise UsageError(
            "--fresh and --against exclude one another: compare with a run made now, or with one "
            "made before"
        )
    root = output_root()
    asked = [s.strip() for s in studies.split(",")] if studies and studies != "all" else None
    chosen = find(root, asked, slug(data) if data else None, preset)
    if other:
        if not (other / "results").is_dir() or other.resolve() == root.resolve():
            raise UsageError(
                f"--against {other}: give another output folder than this one, with results/ in it"
            )
        return against(chosen, other)
    return fresh(chosen) if again else stored(root, chosen)


def stored(root: Path, chosen: list[StudyResults]) -> Report:
    """Compare results with their records and second sources; computes nothing.

    The second sources are those of :mod:`lrface.checks.cross_checks`, the released score files
    (:mod:`lrface.checks.score_files`), and, if all results under ``root`` are chosen, the tables
    of all findings and contrasts.
    """
    report = Report("stored results against their records and second sources", [machine()])
    found: list[Drift] = []
    private: dict[str, dict[str, int]] = {}
    for one in chosen:
        found += _stored(one, private)
        report.checked.append(one.name)
    for what, counts in private.items():
        report.left_out.append(f"{sum(counts.values())} {what.format(', '.join(counts))}")
    for preset in dict.fromkeys(f"{one.data}/{one.preset}" for one in chosen):
        found += _readable(f"results/{preset}/scores", score_files.unlisted(root, preset))
    if len(chosen) == len(find(root)):
        for name in NAMES:
            found += _readable(f"results/{name}.csv", _ledger(root, name))
        found += _without_results(root)
    report.drifts = _deduplicated(found)
    return report


def _deduplicated(found: Iterable[Drift]) -> list[Drift]:
    """Each difference once; that a file was changed only where nothing says what was changed."""
    first: dict[tuple[str, ...], Drift] = {}
    for drift in found:
        why = "" if drift.column else drift.why
        first.setdefault((drift.file, drift.row, drift.column, why), drift)
    explained = {drift.file for drift in first.values() if drift.why != CHANGED}
    return [d for d in first.values() if d.why != CHANGED or d.file not in explained]


PRIVATE_FIGURES = "figure files of {} (they may show people, and are not committed)"
PRIVATE_SCORES = "score files of {} (those of real faces are not committed)"


def _stored(one: StudyResults, private: dict[str, dict[str, int]]) -> Iterator[Drift]:
    """What is wrong with the results of a study. ``private`` counts what may be absent."""
    results, figures = f"results/{one.name}", f"figures/{one.name}"
    record = one.record()
    if record is None:
        why = "missing or damaged: nothing says what made these results"
        yield Drift(f"{results}/record.json", why)
        record = {"outputs": {}}
    yield from _outputs(one, record["outputs"], private)
    yield from _readable(f"{results}/scores.csv", score_files.of_study(one.root, one.name, record))
    if absent := score_files.count_private(one.root, one.name):
        private.setdefault(PRIVATE_SCORES, {})[one.name] = absent
    for name, file in one.tables().items():
        yield from _table(one, name, file)
    committed = project_root() / "notebooks" / f"{one.study}.ipynb"
    candidates = [one.results / "notebook.ipynb", committed]
    notebook = cross_checks.executed_notebook(candidates, one.data, one.preset)
    images = cross_checks.figure_images(one.figures, figures, notebook)
    yield from _readable(figures, images)
    tables = cross_checks.figure_tables(one.figures, one.results, figures)
    yield from _readable(figures, tables)
    if notebook:
        shown = cross_checks.notebook_tables(notebook, one.results, results)
        yield from _readable(results, shown)


def _outputs(
    one: StudyResults, outputs: dict[str, str], private: dict[str, dict[str, int]]
) -> Iterator[Drift]:
    """Files that are not the ones that the record names."""
    photos = not one.data.startswith("synthetic") and not one.figures.is_dir()
    for name, digest in outputs.items():
        file = one.root / name
        if file.is_file():
            if sha256(file) != digest:
                yield Drift(name, CHANGED)
                original = cross_checks.against_history(one.root, name, digest)
                yield from _readable(name, original)
        elif photos and name.startswith("figures/"):
            counts = private.setdefault(PRIVATE_FIGURES, {})
            counts[one.name] = counts.get(one.name, 0) + 1
        elif not name.endswith(".ipynb"):  # the executed notebook may stay where it ran
            yield Drift(name, "the record names it, and it is missing")
    for file in sorted([*one.results.glob("[!.]*"), *one.figures.glob("[!.]*")]):
        name = file.relative_to(one.root).as_posix()
        output = file.suffix in (".csv", ".md", ".png", ".pdf")
        if outputs and output and name not in outputs:
            yield Drift(name, "no record names it")


def _readable(name: str, found: Iterator[Drift]) -> Iterator[Drift]:
    """The findings of a check; one more if a file is too damaged to be compared."""
    try:
        yield from found
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        what = f"{type(error).__name__}: {str(error).splitlines()[0][:80]}"
        yield Drift(name, f"it cannot be compared with its second sources ({what})")


def _table(one: StudyResults, name: str, file: Path) -> Iterator[Drift]:
    """What the second sources of a table say."""
    try:
        frame = read(file)
    except (OSError, ValueError):
        yield Drift(name, "it cannot be read as a table")
        return
    yield from _readable(name, cross_checks.published_values(name, frame))
    if name.startswith("results/") and file.with_suffix(".md").is_file():
        yield from _readable(name, cross_checks.markdown_tables(file, name))
    if file.name == "runs.csv":
        checkpoints = one.results.parent / "checkpoints"
        yield from _readable(name, cross_checks.released_networks(name, frame, checkpoints))
    if name in {f"results/{one.name}/{table}.csv" for table in NAMES}:
        yield from _readable(name, cross_checks.verdicts(name, frame))


def _ledger(root: Path, table: str) -> Iterator[Drift]:
    """How the table of all findings, or of all contrasts, differs from the studies' own."""
    name = f"results/{table}.csv"
    files = [f for f in sorted(root.glob(f"results/*/*/*/{table}.csv")) if f.parts[-3] != "smoke"]
    if not files:
        return
    if not (root / name).is_file():
        yield Drift(name, f"missing: the studies have {table}")
        return
    whole = read(root / name)
    whole = whole[whole["data"] != EVERY_SET].reset_index(drop=True)
    yield from cross_checks.verdicts(name, whole)
    rows = pd.concat(map(read, files), ignore_index=True)
    for drift in compare(name, rows, whole, exact=True):
        why = f"committed: the study's own {table}.csv" if drift.column else drift.why
        yield Drift(**vars(drift) | {"why": why})


def _without_results(root: Path) -> Iterator[Drift]:
    """Notebooks that were not executed on the default faces, if others were."""
    default = root / "results" / "synthetic" / "quick"
    if root != project_root() or not default.is_dir():
        return
    for notebook in sorted((root / "notebooks").glob("[0-9][0-9]_*.ipynb")):
        if not (default / notebook.stem / "record.json").exists():
            name = f"results/synthetic/quick/{notebook.stem}/record.json"
            yield Drift(name, "missing: the notebook has no committed results")


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
    absent, rows = _absent_sets(record, new), 0
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
            frame, dropped = _without(absent, frame)
            now_frame = None if now_frame is None else _without(absent, now_frame)[0]
            rows += dropped
            if frame.empty and name not in there:
                continue
        if frame is None or now_frame is None:
            why = "this table was added" if frame is None else "this table is missing now"
            report.drifts.append(Drift(name, why))
        else:
            report.drifts += compare(name, frame, now_frame)
    if rows:
        sets = ", ".join(absent)
        why = "not at hand in the other run"
        report.left_out.append(f"{rows} rows of {one.name} on {sets} ({why})")


def _without(sets: list[str], table: pd.DataFrame) -> tuple[pd.DataFrame, int]:
    """The table without the rows that name one of the sets, and the number of those."""
    named = rf"\b(?:{'|'.join(map(re.escape, sets))})\b"
    rows = table.apply(lambda column: column.str.contains(named)).any(axis=1)
    return table[~rows].reset_index(drop=True), int(rows.sum())


def _absent_sets(record: dict[str, Any] | None, new: dict[str, Any]) -> list[str]:
    """The face sets that the first run had beside its own, and the second had not."""
    before, after = ((made or {}).get("provenance", {}) for made in (record, new))
    states = {name: state for name, state in before.items() if name.startswith("data ")}
    had = [name for name, state in states.items() if state != "absent"]
    return [n.removeprefix("data ") for n in had if after.get(n, "absent") == "absent"]


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
