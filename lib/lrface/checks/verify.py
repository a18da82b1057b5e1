"""Is every stored number still what it was?

:func:`stored` compares results with their manifests, their records and their second sources, and
computes again what needs no training; :mod:`lrface.checks.other_run` compares them with another
run, and makes that run.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import pandas as pd

from lrface.checks import (
    cross_checks,
    executed,
    labels,
    manifest,
    networks,
    other_run,
    pictures,
    prose,
    recompute,
    records,
    score_files,
)
from lrface.checks.compare import Drift, compare, read
from lrface.checks.outcome import Report
from lrface.checks.study_results import StudyResults, find
from lrface.errors import UsageError
from lrface.files import output_root, project_root, sha256, slug
from lrface.report.ledger import EVERY_SET, NAMES

CHANGED = "it is not the file that its record names (sha256)"


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
        return other_run.against(chosen, other)
    return other_run.fresh(chosen) if again else stored(root, chosen)


def stored(root: Path, chosen: list[StudyResults]) -> Report:
    """Compare results with their manifests, records and second sources; trains and scores nothing.

    Tables are computed again from released score files, and a few faces are restored again by
    released networks. If all results under ``root`` are chosen, what is no study's is checked, too:
    the tables of all findings and contrasts, the prose of notebooks and README, files that nothing
    lists. Manifests are asked for in the repository; in another output folder nobody has written
    any.
    """
    how = "stored results against manifests, records and second sources"
    report = Report(how, [other_run.machine()])
    found: list[Drift] = []
    private: dict[str, dict[str, int]] = {}
    numbers = networks_asked = 0
    ours = root.resolve() == project_root().resolve()
    for one in chosen:
        found += _stored(one, private)
        if ours:
            found += _readable(f"results/{one.name}/{manifest.NAME}", manifest.check_study(one))
        again, n = recompute.check(one)
        restored, asked = networks.check(one, one.record() or {})
        found += [*again, *restored]
        numbers, networks_asked = numbers + n, networks_asked + asked
        report.checked.append(one.name)
    for what, counts in private.items():
        report.left_out.append(f"{sum(counts.values())} {what.format(', '.join(counts))}")
    for preset in dict.fromkeys(f"{one.data}/{one.preset}" for one in chosen):
        found += _readable(f"results/{preset}/scores", score_files.unlisted(root, preset))
    every = find(root)
    if len(chosen) == len(every):
        found += of_rest(root, every)
    if ours and not records.history(root):
        report.left_out.append("commits (git has no whole history here)")
    report.computed = f"{numbers} numbers from score files, {networks.FACES} faces each by "
    report.computed += f"{networks_asked} networks"
    report.drifts = _deduplicated(found)
    return report


def of_rest(root: Path, every: list[StudyResults]) -> Iterator[Drift]:
    """What is wrong with what is no study's: the ledger, and in the repository prose and inputs."""
    for name in NAMES:
        yield from _readable(f"results/{name}.csv", _ledger(root, name))
    yield from _without_results(root)
    if root.resolve() == project_root().resolve():
        yield from _readable(f"results/{manifest.NAME}", manifest.check_rest(root, every))
        for file in [root / "README.md", *manifest.notebook_files()]:
            yield from _readable(file.name, prose.check(file))


def _deduplicated(found: Iterable[Drift]) -> list[Drift]:
    """Each difference once; that a file was changed only where nothing says what was changed."""
    first: dict[tuple[str, ...], Drift] = {}
    for drift in found:
        why = "" if drift.column else drift.why
        first.setdefault((drift.file, drift.row, drift.column, why), drift)
    generic = (CHANGED, *manifest.GENERIC)
    explained = {drift.file for drift in first.values() if drift.why not in generic}
    kept: dict[str, Drift] = {}
    for drift in first.values():
        if drift.why not in generic:
            kept[str(drift)] = drift
        elif drift.file not in explained:
            kept.setdefault(drift.file, drift)
    return list(kept.values())


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
    yield from _readable(f"{results}/record.json", records.check(one))
    yield from _readable(f"{results}/runs.csv", networks.parameters(one))
    yield from _readable(f"{results}/tests.csv", labels.check(one))
    committed = project_root() / "notebooks" / f"{one.study}.ipynb"
    candidates = [one.results / "notebook.ipynb", committed]
    notebook = executed.executed_notebook(candidates, one.data, one.preset)
    yield from _readable(figures, pictures.figure_images(one.figures, figures, notebook))
    yield from _readable(figures, pictures.documents(one.figures, figures))
    tables = cross_checks.figure_tables(one.figures, one.results, figures)
    yield from _readable(figures, tables)
    if notebook:
        shown = cross_checks.notebook_tables(notebook, one.results, results)
        yield from _readable(results, shown)
        yield from _readable(results, executed.tables_without_file(notebook, one))
    if committed.is_file():
        yield from _readable(results, executed.outputs(committed, one))


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
