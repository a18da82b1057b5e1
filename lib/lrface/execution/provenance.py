"""What a result stands on, part by part, so that it is computed again when one of them changed, and
only then."""

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
NAMED = 3
"""So many changed parts are named in a phrase, the others counted."""


def parts(
    path: Path, values: dict[str, Any], sets: Iterable[str] = (), consulted: Iterable[str] = ()
) -> dict[str, str]:
    """Every part that the results of a notebook with these parameters stand on, and its state.

    ``notebook`` is the code of its cells and ``lrface.x`` that of a module it uses, directly or
    through another: their syntax trees, so that comments, blank lines and docstrings do not count;
    a module of the reader's own beside the notebooks counts alike, and so do the files that lie in
    the folder of a module. ``data x`` is the state of a face set: the asked for, and ``sets``.
    ``notebook x`` is the code of a notebook that this one reads (``consulted``). The rest are
    ``parameter x``, ``package x``, ``python`` and ``retrain``.
    """
    read = {
        f"notebook {stem}": path.with_name(f"{stem}.ipynb")
        for stem in sorted(set(consulted) - {path.stem})
    }
    found = {"python": platform.python_version(), **packages(), "notebook": _code(path)}
    found |= {name: _code(other) for name, other in read.items()}
    found |= {
        f"parameter {name}": json.dumps(value, sort_keys=True) for name, value in values.items()
    }
    found["retrain"] = "yes" if current().retrain else "no"
    found |= {f"data {name}": standing(name) for name in sorted({values["data"], *sets})}
    return found | modules([path, *read.values()])


standing = cache(data.standing)
"""The state of a face set, found out once: its ``cache_clear`` makes it look again."""


def key(parts: dict[str, str]) -> str:
    """One hash over all parts."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def named(parts: dict[str, str], kind: str) -> list[str]:
    """The names of the parts of a kind: the sets of ``data``, the notebooks of ``notebook``."""
    return [name.removeprefix(f"{kind} ") for name in parts if name.startswith(f"{kind} ")]


def difference(now: dict[str, str], then: dict[str, str]) -> str:
    """A short phrase that names the parts that differ; empty if none does."""
    changed = [
        name
        for name in [*now, *(n for n in then if n not in now)]
        if now.get(name) != then.get(name)
    ]
    if "python" in changed:  # another Python writes every syntax tree in another way
        changed = [name for name in changed if _kind(name) != "code"]
    phrases = [_phrase(name, now.get(name), then.get(name)) for name in changed]
    more = len(phrases) - NAMED
    return ", ".join(phrases[:NAMED]) + (f", and {more} more" if more > 0 else "")


def _kind(name: str) -> str:
    if name in ("python", "retrain") or name.startswith(("parameter ", "package ")):
        return "value"
    return "data" if name.startswith("data ") else "code"


def _phrase(name: str, now: str | None, then: str | None) -> str:
    if _kind(name) == "value":
        short = [
            None if value is None else value if len(value) <= 40 else f"{value[:37]}..."
            for value in (now, then)
        ]
        return f"{name}: {short[0] or 'gone'}, was {short[1] or 'not there'}"
    if _kind(name) == "data" and "absent" in (now, then):
        return f"{name} is {'no longer' if now == 'absent' else 'now'} at hand"
    return (
        f"{name} {'is no longer used' if now is None else 'is new' if then is None else 'changed'}"
    )


def packages() -> dict[str, str]:
    """The installed version of every package that ``requirements.lock`` names, as ``package x``."""
    try:
        return _versions((project_root() / "requirements.lock").read_text(encoding="utf-8"))
    except OSError:
        return {}


@lru_cache(maxsize=1)
def _versions(lock: str) -> dict[str, str]:
    found = {}
    for name in sorted(re.findall(r"^([\w.-]+)==", lock, re.M)):
        try:
            found[f"package {name}"] = version(name)
        except PackageNotFoundError:  # for another platform
            continue
    return found


def modules(paths: Iterable[Path]) -> dict[str, str]:
    """The modules that notebooks import, with those that these import, and so on, and the files
    beside them: name and hash."""
    ahead = [
        name for path in paths for source in _cells(path) for name in _imports(_tree(source), "")
    ]
    found: dict[str, str] = {}
    folders: set[Path] = set()
    while ahead:
        name = ahead.pop()
        if name in found or (file := _file(name)) is None:
            continue
        stat = file.stat()
        found[name], further = _read(file, name, stat.st_mtime_ns, stat.st_size)
        ahead += further
        if file.is_relative_to(PACKAGE):
            folders.add(file.parent)
    beside = (file for folder in sorted(folders) for file in _beside(folder))
    return dict(sorted(found.items())) | {
        f.relative_to(PACKAGE.parent).as_posix(): sha256(f)[:16] for f in beside
    }


def _file(name: str) -> Path | None:
    """Where a module of lrface, or one beside the notebooks, lies; None for all others."""
    root = PACKAGE.parent if name.split(".")[0] == PACKAGE.name else project_root()
    place = root.joinpath(*name.split("."))
    return next((f for f in (place.with_suffix(".py"), place / "__init__.py") if f.is_file()), None)


def _beside(folder: Path) -> Iterator[Path]:
    """The files that the modules of a folder may read, without those of the embedded faces, which
    are data."""
    for file in sorted(folder.iterdir()):
        if file.is_dir():
            if file.name not in ("__pycache__", "embedded") and not (file / "__init__.py").exists():
                yield from _beside(file)
        elif file.suffix not in (".py", ".md") and not file.name.startswith("."):
            yield file


@cache
def _read(file: Path, name: str, changed: int, size: int) -> tuple[str, tuple[str, ...]]:
    """Hash and imports of a module, read once for each state of its file."""
    tree = _tree(file.read_text(encoding="utf-8"))
    imports = tuple(_imports(tree, name if file.name == "__init__.py" else name.rpartition(".")[0]))
    return hashlib.sha256(_meaning(tree, bare=True).encode()).hexdigest()[:16], imports


def _cells(path: Path) -> list[str]:
    try:
        return [source for source, _ in notebooks.cells(path)]
    except OSError:  # consulted once, and gone since
        return []


def _code(path: Path) -> str:
    trees = [_meaning(_tree(source), bare=False) for source in _cells(path)]
    return hashlib.sha256("\0".join(trees).encode()).hexdigest()[:16] if trees else "absent"


def _tree(source: str) -> ast.Module | str:
    """A syntax tree, of what IPython makes of a cell where that is no plain Python; the text itself
    where it is no Python at all."""
    try:
        return ast.parse(source)
    except SyntaxError:
        from IPython.core.inputtransformer2 import TransformerManager

        with contextlib.suppress(SyntaxError):
            return ast.parse(TransformerManager().transform_cell(source))
        return source


def _meaning(tree: ast.Module | str, bare: bool) -> str:
    """A tree as text, without docstrings; ``bare``: at the top level too, where in a notebook a
    string is shown."""
    if isinstance(tree, str):
        return tree
    for node in ast.walk(tree):
        if isinstance(body := getattr(node, "body", None), list) and (bare or node is not tree):
            node.body = [statement for statement in body if not _is_text(statement)]
    return ast.dump(tree)


def _is_text(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def _imports(tree: ast.Module | str, package: str) -> Iterator[str]:
    """Every dotted name that a tree may import, with its parents; names that are no module are
    found out later."""
    for node in ast.walk(tree) if isinstance(tree, ast.Module) else ():
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = (
                package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            )
            base = ".".join([*above, *([node.module] if node.module else [])])
            names = [base, *(f"{base}.{alias.name}" for alias in node.names)]
        else:
            continue
        for name in names:
            steps = name.split(".")
            yield from (".".join(steps[: i + 1]) for i in range(len(steps)))
