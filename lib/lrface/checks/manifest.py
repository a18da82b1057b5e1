"""Manifests: the hash of everything that the committed results consist of, and rest on.

``results/<data>/<preset>/<study>/manifest.json`` lists what a study wrote (tables, pictures, its
record), the score files and networks that it used, and inputs that are less than a file: the code
of its notebook, the published values that it shows, the faces, the library's version.
``results/manifest.json`` lists all else: the studies' manifests, the files at the top of
``results/``, published values, embedded faces, what the committed notebooks show, and the numbers
in the prose of notebooks and README. ``lrface publish --manifests`` writes them; it executes
nothing.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

from lrface.checks import prose
from lrface.checks.compare import Drift, read
from lrface.checks.study_results import StudyResults
from lrface.data import rendered_scenes
from lrface.data.readers import rendered
from lrface.errors import LrfaceError
from lrface.execution import provenance
from lrface.files import project_root, sha256, write_text

NAME = "manifest.json"
TOP_FILES = ("README.md", "findings.csv", "contrasts.csv")
"""The files that may lie at the top of ``results/``, beside its manifest."""
NOT_COMMITTED = ("local", "smoke")
"""Folders of results, by data set or preset, that are a user's own."""
INSIDE = "lib/lrface"
PUBLISHED, REGISTER = f"{INSIDE}/report/published.csv", f"{INSIDE}/report/findings.csv"
EMBEDDED = {
    "synthetic": f"{INSIDE}/data/embedded",
    "synthetic-2": f"{INSIDE}/data/embedded_2",
    "rendered-crowds": f"{INSIDE}/data/embedded_crowds",
}
"""The folders of the face sets that ship with the library."""

OTHER_FILE = "it is not the file that the manifest lists (sha256)"
ABSENT = "the manifest lists it, and it is missing"
UNLISTED = "no manifest lists it"
REMEDY = "`lrface publish --manifests` writes it"
GENERIC = (OTHER_FILE, ABSENT, UNLISTED)
"""What a manifest alone says of a file: another check may say more."""


class Parts(NamedTuple):
    """What a manifest lists: hashes of files by path, and of other things by what they are."""

    files: dict[str, str]
    inputs: dict[str, str]


def published_file() -> Path:
    """The table of published values: the repository's, or that of the installed package."""
    file = project_root() / PUBLISHED
    return file if file.is_file() else Path(__file__).parents[1] / "report" / "published.csv"


def faces(name: str) -> str:
    """The state of an embedded set, as records have it; ``damaged`` if a file is."""
    folder = project_root() / EMBEDDED[name]
    try:
        if name in rendered_scenes.SCENES:
            return rendered_scenes.state(name, rendered_scenes.checked(folder))
        return hashlib.sha256(rendered.checked_manifest(folder).encode()).hexdigest()
    except LrfaceError:
        return "damaged"


def of_study(one: StudyResults) -> Parts:
    """What the manifest of a study must list.

    A file that is not here, as pictures and scores of real people are not committed, has the hash
    that the study's record states.
    """
    record = one.record() or {"outputs": {}}
    outputs = {n: d for n, d in record["outputs"].items() if not n.endswith(".ipynb")}
    scores = {_score_file(one, key): digest for key, digest in record.get("scores", {}).items()}
    stated = outputs | scores
    names = [*outputs, (one.results / "record.json").relative_to(one.root).as_posix()]
    names += [_score_file(one, key) for key in _keys(one, "scores")]
    for key in _keys(one, "runs"):
        folder = one.results.parent / "checkpoints" / key
        names += [f.relative_to(one.root).as_posix() for f in sorted(folder.glob("*"))]
    files = {}
    for name in dict.fromkeys(names):
        file = one.root / name
        if file.is_file() or name in stated:
            files[name] = sha256(file) if file.is_file() else stated[name]
    return Parts(files, _inputs(one))


def _score_file(one: StudyResults, key: str) -> str:
    return f"results/{one.data}/{one.preset}/scores/{key}.parquet"


def _keys(one: StudyResults, listing: str) -> list[str]:
    file = one.results / f"{listing}.csv"
    return list(dict.fromkeys(read(file)["key"])) if file.is_file() else []


def _inputs(one: StudyResults) -> dict[str, str]:
    inputs = {f"{INSIDE}, version": version("lrface")}
    notebook = project_root() / "notebooks" / f"{one.study}.ipynb"
    if notebook.is_file():
        inputs[f"notebooks/{notebook.name}, code"] = provenance.code(notebook)
    inputs[f"{PUBLISHED}, values shown"] = _values_shown(one)
    inputs |= {f"{EMBEDDED[name]}, faces": faces(name) for name in embedded_sets(one.record())}
    return inputs


def embedded_sets(record: dict | None) -> list[str]:
    """The embedded sets that a run has read, by its record."""
    parts = (record or {}).get("provenance")
    parts = parts if isinstance(parts, dict) else {}  # records of an older form have none
    return [name for name in EMBEDDED if f"data {name}" in parts]


def _values_shown(one: StudyResults) -> str:
    """The hash of those published values that the tables of a study show."""
    by, shown = ["method", "setting", "metric"], set()
    for file in one.tables().values():
        try:
            frame = read(file)
        except (OSError, ValueError):  # the table itself is reported
            continue
        if {*by, "published"} <= {*frame}:
            rows = frame.loc[frame["published"] != "", by]
            shown |= set(rows.itertuples(index=False, name=None))
    values = read(published_file())
    rows = values[[row in shown for row in values[by].itertuples(index=False, name=None)]]
    text = rows.sort_values(list(rows)).to_csv(index=False)
    return hashlib.sha256(text.encode()).hexdigest()


def of_rest(root: Path, studies: list[StudyResults]) -> Parts:
    """What the manifest of all that is no study's must list."""
    results = root / "results"
    places = [one.results / NAME for one in studies if committed(one)]
    places += [results / name for name in TOP_FILES]
    places += sorted(results.glob("benchmarks/*.csv"))
    places += sorted(root.glob("figures/*/benchmarks/*"))
    places += [project_root() / name for name in (PUBLISHED, REGISTER)]
    for folder in EMBEDDED.values():
        places += sorted((project_root() / folder).glob("*"))
    inputs = {}
    for file in [project_root() / "README.md", *notebook_files()]:
        if file.is_file():
            inputs[f"{_name(file)}, numbers in prose"] = _hash(prose.numbers_of(file))
    for file in notebook_files():
        inputs[f"{_name(file)}, outputs"] = _hash(_outputs(file))
    return Parts({_name(f, root): sha256(f) for f in places if f.is_file()}, inputs)


def notebook_files() -> list[Path]:
    """The notebooks of the studies."""
    return sorted((project_root() / "notebooks").glob("[0-9][0-9]_*.ipynb"))


def _outputs(notebook: Path) -> list[object]:
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    return [cell.get("outputs", []) for cell in cells]


def _hash(facts: object) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _name(file: Path, root: Path | None = None) -> str:
    base = root if root and file.is_relative_to(root) else project_root()
    return file.relative_to(base).as_posix()


def committed(one: StudyResults) -> bool:
    """Whether these are results of the repository, not a user's own."""
    return one.data not in NOT_COMMITTED and one.preset not in NOT_COMMITTED


def write(studies: list[StudyResults], root: Path) -> list[Path]:
    """Write the manifests of these studies and, after them, that of all else.

    Raises
    ------
    LrfaceError
        A study has no record: nothing says what made its results.
    """
    chosen = [one for one in studies if committed(one)]
    if without := [one.name for one in chosen if one.record() is None]:
        raise LrfaceError(
            f"results/{without[0]} has no record.json that can be read: reproduce the study first"
        )
    written = [_write(one.results / NAME, of_study(one)) for one in chosen]
    return [*written, _write(root / "results" / NAME, of_rest(root, chosen))]


def _write(file: Path, parts: Parts) -> Path:
    return write_text(file, json.dumps(parts._asdict(), indent=1, sort_keys=True) + "\n")


def _read(file: Path) -> Parts | None:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        return Parts(dict(found["files"]), dict(found["inputs"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def check_study(one: StudyResults) -> Iterator[Drift]:
    """How a study differs from its manifest."""
    if committed(one):
        private = not one.data.startswith("synthetic")
        yield from _check(one.root, one.results / NAME, of_study(one), private)


def check_rest(root: Path, studies: list[StudyResults]) -> Iterator[Drift]:
    """How all else differs from its manifest, and files that no manifest lists."""
    yield from _check(root, root / "results" / NAME, of_rest(root, studies))
    listed = {f"results/{NAME}"}
    for one in studies:
        parts = _read(one.results / NAME)
        listed |= {*(parts.files if parts else ()), f"results/{one.name}/{NAME}"}
    parts = _read(root / "results" / NAME)
    listed |= set(parts.files if parts else ())
    for name in _committed_files(root):
        if name not in listed:
            yield Drift(name, UNLISTED)


def _committed_files(root: Path) -> Iterator[str]:
    """Every file under ``results/`` and ``figures/`` but a user's own."""
    for kind in ("results", "figures"):
        for file in sorted((root / kind).rglob("*")):
            folders = file.relative_to(root / kind).parts[:-1]
            own = set(folders[:2]) & set(NOT_COMMITTED)
            hidden = any(part.startswith(".") for part in file.relative_to(root).parts)
            # an executed notebook, or the trace of a failed run, stays on the machine
            if file.is_file() and not own and not hidden and file.suffix != ".ipynb":
                yield file.relative_to(root).as_posix()


def _check(root: Path, file: Path, now: Parts, private: bool = False) -> Iterator[Drift]:
    listed, name = _read(file), file.relative_to(root).as_posix()
    if listed is None:
        yield Drift(name, f"missing or damaged: {REMEDY}")
        return
    for path, digest in listed.files.items():
        place = root / path if (root / path).is_file() else project_root() / path
        if not place.is_file():
            if not (private and (path.startswith("figures/") or "/scores/" in path)):
                yield Drift(path, ABSENT)
        elif sha256(place) != digest:
            yield Drift(path, OTHER_FILE)
    for path in now.files.keys() - listed.files.keys():
        yield Drift(path, UNLISTED)
    for what in {**listed.inputs, **now.inputs}:
        before, after = listed.inputs.get(what), now.inputs.get(what)
        if before != after:
            place, _, part = what.partition(", ")
            state = "new" if before is None else "gone" if after is None else "changed"
            yield Drift(
                place, f"its {part} {'are' if part.endswith('s') else 'is'} {state}: {name}"
            )
