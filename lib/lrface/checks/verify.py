"""Is every committed number still what it was? Against its record and its second sources, another
run, or one made now.

A study's results are its folder ``results/<data>/<preset>/<study>`` and the one of the same name
under ``figures/``.
"""

from __future__ import annotations

import json
import platform
import re
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from lrface.checks import cross_checks
from lrface.checks.compare import NOT_COMPARED, OTHER, TOLERANCE, Drift, compare, read
from lrface.errors import LrfaceError, UsageError
from lrface.files import output_root, project_root, slug
from lrface.settings import override


@dataclass(frozen=True)
class Place:
    """One study on one set at one preset, under an output root."""

    root: Path
    data: str
    preset: str
    study: str

    @property
    def name(self) -> str:
        return f"{self.data}/{self.preset}/{self.study}"

    @property
    def results(self) -> Path:
        return self.root / "results" / self.name

    @property
    def figures(self) -> Path:
        return self.root / "figures" / self.name

    def record(self) -> dict[str, Any] | None:
        """The study's ``record.json``; None if there is none, or it cannot be read."""
        try:
            record = json.loads((self.results / "record.json").read_text())
            return record if isinstance(record["outputs"], dict) else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def tables(self) -> dict[str, Path]:
        """Every CSV of the study, by its path below the root."""
        files = [*sorted(self.results.glob("*.csv")), *sorted(self.figures.glob("*.csv"))]
        return {file.relative_to(self.root).as_posix(): file for file in files}


@dataclass
class Report:
    """What was looked at, what was left out and why, on which machine, and what drifted."""

    how: str
    machine: list[str]
    checked: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    drifts: list[Drift] = field(default_factory=list)

    def lines(self) -> list[str]:
        """For a terminal: one line a drift, then what was checked, where."""
        verdict = f"{len(self.drifts)} drifts" if self.drifts else "no drift"
        left_out = [f"not compared: {line}" for line in self.left_out]
        return [
            *map(str, self.drifts),
            *left_out,
            *self.machine,
            f"{', '.join(self.checked)}: {verdict} ({self.how})",
        ]

    def markdown(self) -> str:
        """For an issue: the same as a table, with the tolerances."""
        off = [
            ("", "") if d.off is None else (f"{d.off:.3g}", f"{d.tolerance:.3g}")
            for d in self.drifts
        ]
        cells = [
            (d.file, d.row, d.column, d.committed, d.now, *by, d.why)
            for d, by in zip(self.drifts, off, strict=True)
        ]
        columns = ["file", "row", "column", "committed", "now", "off by", "tolerance", "why"]
        frame = pd.DataFrame(
            [[cell.replace("|", "/") for cell in row] for row in cells], columns=columns
        )
        parts = [
            f"# {len(self.drifts)} drifts in {len(self.checked)} studies",
            f"{self.how}. Checked: {', '.join(self.checked)}.",
        ]
        parts += [
            "\n".join(
                f"- {line}"
                for line in [*self.machine, *(f"not compared: {line}" for line in self.left_out)]
            )
        ]
        parts += [frame.to_markdown(index=False, disable_numparse=True)] if len(frame) else []
        share = {
            name: f", or {t.share:g} of its interval" if t.share else ""
            for name, t in TOLERANCE.items()
        }
        allowed = [
            f"- {name}: {t.amount:g}{share[name]}; {t.reason}" for name, t in TOLERANCE.items()
        ]
        skipped = [
            f"- {name.strip(' (')}: not compared, {reason}" for name, reason in NOT_COMPARED.items()
        ]
        parts += ["## Tolerances", "\n".join([*allowed, f"- the rest: {OTHER}", *skipped])]
        return "\n\n".join(parts) + "\n"


def committed(
    root: Path, studies: list[str] | None = None, data: str | None = None, preset: str | None = None
) -> list[Place]:
    """The studies that have results under ``root``, narrowed by number or name, set and preset.

    Raises :class:`UsageError` if there is none.
    """
    found = []
    for folder in sorted(root.glob("results/*/*/[0-9][0-9]_*")):
        place = Place(root, *folder.parts[-3:])
        wanted = studies is None or any(
            place.study in (s, s[:2]) or place.study[:2] == s.zfill(2) for s in studies
        )
        if (
            wanted
            and data in (None, place.data)
            and preset in (None, place.preset)
            and (place.tables() or place.record())
        ):
            found.append(place)
    missing = [
        s
        for s in studies or []
        if not any(p.study == s or p.study[:2] == s.zfill(2) for p in found)
    ]
    if missing or not found:
        what = " ".join(
            filter(
                None,
                [
                    f"of study {', '.join(missing)}" if missing else "",
                    data and f"on {data}",
                    preset and f"at {preset}",
                ],
            )
        )
        raise UsageError(
            f"{root} holds no results{f' {what}' if what else ''} to verify: run `make reproduce` first, or choose others"
        )
    return found


def stored(root: Path, places: list[Place]) -> Report:
    """Check what is committed against its records and its second sources
    (:mod:`lrface.checks.cross_checks`). Computes nothing."""
    report = Report("stored results against their records and second sources", [machine()])
    absent: dict[str, int] = {}
    for place in places:
        report.drifts += _once(_stored(place, absent))
        report.checked.append(place.name)
    if absent:
        report.left_out.append(
            f"{sum(absent.values())} figure files of {', '.join(absent)} (they may show people, and are not committed)"
        )
    if len(places) == len(committed(root)):
        report.drifts += [*_tried("results/claims.csv", _ledger(root)), *_without_results(root)]
        report.drifts += _tried("results", cross_checks.unnamed_scores(root))
    return report


def _once(found: Iterable[Drift]) -> list[Drift]:
    """The first finding of each number; that a file is another one, only where nothing says what is
    other in it."""
    kept: dict[tuple[str, ...], Drift] = {}
    for drift in found:
        kept.setdefault(
            (drift.file, drift.row, drift.column, "" if drift.column else drift.why), drift
        )
    said = {drift.file for drift in kept.values() if drift.why != CHANGED}
    return [drift for drift in kept.values() if drift.why != CHANGED or drift.file not in said]


CHANGED = "it is not the file that its record names (sha256)"


def _stored(place: Place, absent: dict[str, int]) -> Iterator[Drift]:
    folders = {kind: f"{kind}/{place.name}" for kind in ("results", "figures")}
    record = place.record()
    if record is None:
        yield Drift(
            f"{folders['results']}/record.json",
            "missing or damaged: nothing says what made these results",
        )
        record = {"outputs": {}}
    photos = not place.data.startswith("synthetic") and not place.figures.is_dir()
    for name, digest in record["outputs"].items():
        file = place.root / name
        if file.is_file():
            if cross_checks.sha256(file) != digest:
                yield Drift(name, CHANGED)
                yield from _tried(name, cross_checks.against_history(place.root, name, digest))
        elif photos and name.startswith("figures/"):
            absent[place.name] = absent.get(place.name, 0) + 1
        elif not name.endswith(
            ".ipynb"
        ):  # executed notebooks stay where they ran; the committed one is among the second sources
            yield Drift(name, "the record names it, and it is missing")
    for file in sorted([*place.results.glob("[!.]*"), *place.figures.glob("[!.]*")]):
        name = file.relative_to(place.root).as_posix()
        if (
            record["outputs"]
            and name not in record["outputs"]
            and file.suffix in (".csv", ".md", ".png", ".pdf")
        ):
            yield Drift(name, "no record names it")
    candidates = [
        place.results / "notebook.ipynb",
        project_root() / "notebooks" / f"{place.study}.ipynb",
    ]
    notebook = cross_checks.executed(candidates, place.data, place.preset)
    if place.data.startswith("synthetic") and record["outputs"]:
        stated = record.get("scores", {})
        name = folders["results"]
        yield from _tried(name, cross_checks.score_files(place.results, name, stated))
    yield from _tables(place)
    yield from _tried(
        folders["figures"], cross_checks.pictures(place.figures, folders["figures"], notebook)
    )
    yield from _tried(
        folders["figures"], cross_checks.drawn(place.figures, place.results, folders["figures"])
    )
    if notebook:
        yield from _tried(
            folders["results"],
            cross_checks.notebook_tables(notebook, place.results, folders["results"]),
        )


def _tried(name: str, found: Iterator[Drift]) -> Iterator[Drift]:
    """What a second source says; where a file is so mangled that it cannot be asked, that."""
    try:
        yield from found
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        yield Drift(
            name,
            f"it cannot be compared with its second sources ({type(error).__name__}: {str(error).splitlines()[0][:80]})",
        )


def _tables(place: Place) -> Iterator[Drift]:
    """What the second sources of the study's tables say."""
    for name, file in place.tables().items():
        try:
            frame = read(file)
        except (OSError, ValueError):
            yield Drift(name, "it cannot be read as a table")
            continue
        yield from _tried(name, cross_checks.papers(name, frame))
        if name.startswith("results/") and file.with_suffix(".md").is_file():
            yield from _tried(name, cross_checks.markdown(file, name))
        if file.name == "runs.csv":
            yield from _tried(
                name, cross_checks.networks(name, frame, place.results.parent / "checkpoints")
            )
        if name == f"results/{place.name}/claims.csv":
            yield from _tried(name, cross_checks.verdicts(name, frame))


def _ledger(root: Path) -> Iterator[Drift]:
    """How ``results/claims.csv`` differs from the claims of the studies it is made of."""
    name = "results/claims.csv"
    parts = [
        read(file)
        for file in sorted(root.glob("results/*/*/*/claims.csv"))
        if file.parts[-3] != "smoke"
    ]
    if not parts:
        return
    if not (root / name).is_file():
        yield Drift(name, "missing: the studies have claims")
        return
    ledger = read(root / name)
    yield from cross_checks.verdicts(name, ledger)
    for drift in compare(name, pd.concat(parts, ignore_index=True), ledger, exact=True):
        yield Drift(
            **vars(drift)
            | {"why": drift.why if not drift.column else "committed: the study's own claims.csv"}
        )


def _without_results(root: Path) -> Iterator[Drift]:
    """Notebooks of this version that nobody ran on the default faces, where others were."""
    default = root / "results" / "synthetic" / "quick"
    if root != project_root() or not default.is_dir():
        return
    for notebook in sorted((root / "notebooks").glob("[0-9][0-9]_*.ipynb")):
        if not (default / notebook.stem / "record.json").exists():
            yield Drift(
                f"results/synthetic/quick/{notebook.stem}/record.json",
                "missing: the notebook has no committed results",
            )


def against(places: list[Place], other: Path) -> Report:
    """Compare committed results with those under another output root, by ``TOLERANCE``; verdicts
    must agree.

    Raises :class:`UsageError` if the two have no set and preset in common.
    """
    report = Report(f"committed results against {other.name or other}", [])
    there = {(p.parts[-2], p.parts[-1]) for p in other.glob("results/*/*") if p.is_dir()}
    for place in places:
        if (place.data, place.preset) in there:
            _against(place, Place(other, place.data, place.preset, place.study), report)
        else:
            report.left_out.append(
                f"{place.name} (there is no {place.data}/{place.preset} in the other folder)"
            )
    if not report.checked:
        raise UsageError(
            f"{other} holds no results to compare with: it needs results/<data>/<preset>/<study>, as LRFACE_OUT has them"
        )
    report.machine = list(dict.fromkeys(report.machine))
    return report


def _against(place: Place, now: Place, report: Report) -> None:
    report.checked.append(place.name)
    here, there, record, new = place.tables(), now.tables(), place.record(), now.record()
    if new is None:
        report.drifts.append(
            Drift(
                f"results/{now.name}/record.json",
                "the other run left no record: it did not complete",
            )
        )
        return
    report.machine.append(machine(new, record))
    if record and record.get("parameters") != new.get("parameters"):
        report.drifts.append(
            Drift(f"results/{place.name}/record.json", "the two runs had different parameters")
        )
    drawn, absent, rows = place.figures.is_dir(), _absent(record, new), 0
    for name in dict.fromkeys([*here, *there]):
        if name not in here and name.startswith("figures/") and not drawn:
            continue  # a figure of people, not committed
        try:
            frame, now_frame = (
                read(files[name]) if name in files else None for files in (here, there)
            )
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
            report.drifts.append(
                Drift(
                    name, "this table was added" if frame is None else "this table is missing now"
                )
            )
            continue
        report.drifts += compare(name, frame, now_frame)
    if rows:
        report.left_out.append(
            f"{rows} rows of {place.name} on {', '.join(absent)} (not at hand in the other run)"
        )


def _without(sets: list[str], table: pd.DataFrame) -> tuple[pd.DataFrame, int]:
    """The table less the rows that name one of the sets, and how many those were."""
    on_them = table.apply(
        lambda column: column.str.contains(rf"\b(?:{'|'.join(map(re.escape, sets))})\b")
    ).any(axis=1)
    return table[~on_them].reset_index(drop=True), int(on_them.sum())


def _absent(record: dict[str, Any] | None, new: dict[str, Any]) -> list[str]:
    """The face sets besides its own that a study used where they are at hand, and that were not at
    hand when it ran again."""
    then, now = ((made or {}).get("provenance", {}) for made in (record, new))
    there = {
        name.removeprefix("data "): state
        for name, state in then.items()
        if name.startswith("data ") and state != "absent"
    }
    return [name for name in there if now.get(f"data {name}", "absent") == "absent"]


def fresh(places: list[Place]) -> Report:
    """Execute the studies now, with their records' parameters, into a temporary folder, and compare
    (see :func:`against`).

    Released networks and scores are used as ever. What cannot be executed here (faces not at hand)
    is named and left out; raises :class:`UsageError` if that is everything.
    """
    from lrface.execution import notebooks, runner

    left_out, failed = [], []
    with tempfile.TemporaryDirectory(prefix="lrface-verify-") as folder:
        ran = []
        with override(out=folder):
            for place in places:
                record = place.record()
                if record is None:
                    failed.append(
                        Drift(
                            f"results/{place.name}/record.json",
                            "missing or damaged: nothing says how to make it again",
                        )
                    )
                    continue
                try:
                    path = notebooks.find(place.study)
                    values = notebooks.contract(path)(**record["parameters"]).model_dump()
                    runner.check(path, values)
                except (LrfaceError, ValueError) as error:
                    left_out.append(f"{place.name} ({' '.join(str(error).split())})")
                    continue
                outcome = runner.run(path, values)
                ran.append(place)
                if outcome.status == "failed":
                    failed.append(
                        Drift(
                            f"results/{place.name}", f"executing it again failed: {outcome.reason}"
                        )
                    )
        if not ran and not failed:
            raise UsageError(f"nothing can be executed here: {'; '.join(left_out)}")
        gone = {drift.file for drift in failed}
        again = [place for place in ran if f"results/{place.name}" not in gone]
        report = against(again, Path(folder)) if again else Report("", [machine()])
    report.how = "committed results against a run made now"
    report.checked = [place.name for place in ran]
    report.left_out += left_out
    report.drifts = failed + report.drifts
    return report


def machine(made: dict[str, Any] | None = None, committed: dict[str, Any] | None = None) -> str:
    """One line on where numbers were made: platform, processor, and the versions that are not the
    committed record's."""
    if made is None:
        return f"checked on {platform.system()} {platform.machine()}, Python {platform.python_version()}"
    line = f"made on {made.get('platform', '?')}, {made.get('cpu_capability', '?')}, commit {str(made.get('commit', '?'))[:8]}"
    if committed is None:
        return line
    now, then = made.get("versions", {}), committed.get("versions", {})
    changed = [name for name in {**then, **now} if now.get(name) != then.get(name)]
    other = [
        f"{name} {now.get(name, 'none')} (committed with {then.get(name, 'none')})"
        for name in changed
    ]
    processors = [
        f"{record.get('platform', '?')}, {record.get('cpu_capability', '?')}"
        for record in (made, committed)
    ]
    other += [f"committed on {processors[1]}"] if processors[0] != processors[1] else []
    return f"{line}; {', '.join(other) or 'versions and processor as committed'}"


def run(
    studies: str | None, data: str | None, preset: str | None, other: Path | None, again: bool
) -> Report:
    """The check that was asked for (see the command line)."""
    if other and again:
        raise UsageError(
            "--fresh and --against exclude one another: compare with a run made now, or with one made before"
        )
    root = output_root()
    chosen = [s.strip() for s in studies.split(",")] if studies and studies != "all" else None
    places = committed(root, chosen, slug(data) if data else None, preset)
    if other:
        if not (other / "results").is_dir() or other.resolve() == root.resolve():
            raise UsageError(
                f"--against {other}: give another output folder than this one, with results/ in it"
            )
        return against(places, other)
    return fresh(places) if again else stored(root, places)
