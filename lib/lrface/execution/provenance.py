"""What a study's results were computed from, part by part: they are computed again if one changed.

A part is a name and a state: ``notebook`` is the code of the notebook's cells, ``lrface.x`` that of
a module that it uses, directly or through another (syntax trees, so comments, blank lines and
docstrings do not count); a file path is a file beside such a module; ``data x`` is a face set,
``parameter x`` a parameter, ``package x`` an installed version; then ``python`` and ``retrain``.
"""

from __future__ import annotations

import ast
import contextlib
import hashlib
import json
import platform
import re
from collections.abc import Iterable, Iterator
from functools import cache, lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from lrface import data
from lrface.execution import notebooks
from lrface.files import project_root, sha256
from lrface.settings import current

PACKAGE = Path(__file__).parents[1]
LOCKED = re.compile(r"^([\w.-]+)==([^\s;\\]+)", re.M)
"""A package and its version in ``requirements.lock``."""
SHOWN = 3
"""How many changed parts a phrase names; it counts the others."""


def parts(path: Path, values: dict[str, Any], sets: Iterable[str] = ()) -> dict[str, str]:
    """Every part that the results of a notebook with these parameters depend on, and its state.

    Parameters
    ----------
    path : the notebook.
    values : its parameters.
    sets : names of face sets that it loads, beside the parameter ``data``.
    """
    found = {"python": platform.python_version(), **packages(), "notebook": code(path)}
    found |= {
        f"parameter {name}": json.dumps(value, sort_keys=True) for name, value in values.items()
    }
    found["retrain"] = "yes" if current().retrain else "no"
    found |= {f"data {name}": data_state(name) for name in sorted({values["data"], *sets})}
    return found | modules(path)


data_state = cache(data.state_or_absent)
"""The state of a face set, determined once a run (``cache_clear``)."""


def key(parts: dict[str, str]) -> str:
    """One hash over all parts."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def sets(parts: dict[str, str]) -> list[str]:
    """The names of the face sets among the parts."""
    return [name.removeprefix("data ") for name in parts if name.startswith("data ")]


def difference(now: dict[str, str], then: dict[str, str]) -> str:
    """A short phrase that names the parts that differ; empty if none does."""
    every = [*now, *(name for name in then if name not in now)]
    changed = [name for name in every if now.get(name) != then.get(name)]
    if "python" in changed:  # each Python version dumps syntax trees in its own way
        changed = [name for name in changed if _kind(name) != "code"]
    phrases = [_phrase(name, now.get(name), then.get(name)) for name in changed]
    more = len(phrases) - SHOWN
    return ", ".join(phrases[:SHOWN]) + (f", and {more} more" if more > 0 else "")


def _kind(name: str) -> str:
    if name in ("python", "retrain") or name.startswith(("parameter ", "package ")):
        return "value"
    return "data" if name.startswith("data ") else "code"


def _phrase(name: str, now: str | None, then: str | None) -> str:
    if _kind(name) == "value":
        return f"{name}: {_short(now) or 'gone'}, was {_short(then) or 'not there'}"
    if _kind(name) == "data" and "absent" in (now, then):
        return f"{name} is {'no longer' if now == 'absent' else 'now'} at hand"
    if now is None:
        return f"{name} is no longer used"
    return f"{name} {'is new' if then is None else 'changed'}"


def _short(value: str | None) -> str | None:
    return value if value is None or len(value) <= 40 else f"{value[:37]}..."


def packages() -> dict[str, str]:
    """The installed version of every package that ``requirements.lock`` names, as ``package x``."""
    try:
        return _versions((project_root() / "requirements.lock").read_text(encoding="utf-8"))
    except OSError:
        return {}


@lru_cache(maxsize=1)
def _versions(lock: str) -> dict[str, str]:
    found = {}
    for name in sorted(name for name, _ in LOCKED.findall(lock)):
        try:
            found[f"package {name}"] = version(name)
        except PackageNotFoundError:  # for another platform
            continue
    return found


def modules(path: Path) -> dict[str, str]:
    """Hashes of the modules that a notebook imports, directly or not, and of files beside them."""
    trees = [_tree(source) for source, _ in notebooks.cells(path)]
    pending = [name for tree in trees for name in _imports(tree, "")]
    found: dict[str, str] = {}
    folders: set[Path] = set()
    while pending:
        name = pending.pop()
        if name in found or (file := _file(name)) is None:
            continue
        stat = file.stat()
        found[name], imports = _read(file, name, stat.st_mtime_ns, stat.st_size)
        pending += imports
        if file.is_relative_to(PACKAGE):
            folders.add(file.parent)
    beside = [file for folder in sorted(folders) for file in _beside(folder)]
    files = {f.relative_to(PACKAGE.parent).as_posix(): sha256(f)[:16] for f in beside}
    return dict(sorted(found.items())) | files


def _file(name: str) -> Path | None:
    """The file of a module of lrface or of one in the repository's root; None for all others."""
    root = PACKAGE.parent if name.split(".")[0] == PACKAGE.name else project_root()
    place = root.joinpath(*name.split("."))
    return next((f for f in (place.with_suffix(".py"), place / "__init__.py") if f.is_file()), None)


def _beside(folder: Path) -> Iterator[Path]:
    """The files that the modules of a folder may read, but for the embedded face sets."""
    for file in sorted(folder.iterdir()):
        if file.is_dir():
            own = file.name == "__pycache__" or file.name.startswith("embedded")
            if not own and not (file / "__init__.py").exists():
                yield from _beside(file)
        elif file.suffix not in (".py", ".md") and not file.name.startswith("."):
            yield file


@cache
def _read(file: Path, name: str, changed: int, size: int) -> tuple[str, tuple[str, ...]]:
    """Hash and imports of a module; ``changed`` and ``size`` are there for the cache."""
    tree = _tree(file.read_text(encoding="utf-8"))
    imports = tuple(_imports(tree, name if file.name == "__init__.py" else name.rpartition(".")[0]))
    return hashlib.sha256(_meaning(tree, bare=True).encode()).hexdigest()[:16], imports


def code(path: Path) -> str:
    """The hash of a notebook's code; comments do not count."""
    return code_hash(source for source, _ in notebooks.cells(path))


def code_hash(sources: Iterable[str]) -> str:
    """The hash of the code of cells."""
    trees = [_meaning(_tree(source), bare=False) for source in sources]
    return hashlib.sha256("\0".join(trees).encode()).hexdigest()[:16]


def _tree(source: str) -> ast.Module | str:
    """The syntax tree of a cell, with its magics translated; the text if it is no Python."""
    try:
        return ast.parse(source)
    except SyntaxError:
        from IPython.core.inputtransformer2 import TransformerManager

        with contextlib.suppress(SyntaxError):
            return ast.parse(TransformerManager().transform_cell(source))
        return source


def _meaning(tree: ast.Module | str, bare: bool) -> str:
    """A tree as text without docstrings.

    ``bare``: without strings at the top level, too; in a notebook such a string is shown.
    """
    if isinstance(tree, str):
        return tree
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list) and (bare or node is not tree):
            node.body = [statement for statement in body if not _is_text(statement)]
    return ast.dump(tree)


def _is_text(node: ast.AST) -> bool:
    constant = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    return constant and isinstance(node.value.value, str)


def _imports(tree: ast.Module | str, package: str) -> Iterator[str]:
    """Every dotted name that a tree may import, with its parents; some may be no modules."""
    for node in ast.walk(tree) if isinstance(tree, ast.Module) else ():
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            steps = package.split(".")
            parents = steps[: len(steps) - node.level + 1] if node.level else []
            base = ".".join([*parents, *([node.module] if node.module else [])])
            names = [base, *(f"{base}.{alias.name}" for alias in node.names)]
        else:
            continue
        for name in names:
            steps = name.split(".")
            yield from (".".join(steps[: i + 1]) for i in range(len(steps)))
