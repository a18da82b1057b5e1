"""A notebook before it runs: its study number, its typed parameters."""

from __future__ import annotations

import difflib
import re
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import nbformat
import yaml
from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from lrface.errors import LrfaceError, UsageError
from lrface.files import notebooks_folder


def every() -> list[Path]:
    """The notebooks of all studies, in order."""
    return sorted(notebooks_folder().glob("[0-9][0-9]_*.ipynb"))


def find(study: str) -> Path:
    """The notebook of a study, by its number (``1``, ``01``) or its whole name."""
    known = every()
    for path in known:
        if study in (path.stem, path.stem[:2]) or study.zfill(2) == path.stem[:2]:
            return path
    names = ", ".join(path.stem for path in known) or "none"
    raise UsageError(f"no study {study!r}: this version has {names}")


def cells(path: Path) -> list[tuple[str, list[str]]]:
    """The source and the tags of every code cell."""
    return [
        (c.source, c.metadata.get("tags", []))
        for c in nbformat.read(path, 4).cells
        if c.cell_type == "code"
    ]


def contract(path: Path) -> type[BaseModel]:
    """The notebook's parameters as a strict pydantic model.

    It is read from the annotations of the notebook's one cell tagged ``parameters``.
    """
    tagged = [source for source, tags in cells(path) if "parameters" in tags]
    if len(tagged) != 1:
        raise LrfaceError(
            f"{path.name} has {len(tagged)} cells tagged 'parameters': a notebook needs exactly one"
        )
    space: dict[str, Any] = {}
    exec(compile(tagged[0], f"{path.name}, parameters", "exec", dont_inherit=True), space)
    fields = {name: (kind, space[name]) for name, kind in space.get("__annotations__", {}).items()}
    return create_model(path.stem, __config__=ConfigDict(extra="forbid", strict=True), **fields)


def _without(path: Path, name: str) -> str:
    """Why a notebook has no parameter of this name, if its cell of parameters says so:
    ``# no NAME: the reason``."""
    tagged = (source for source, tags in cells(path) if "parameters" in tags)
    found = re.search(rf"^# no {re.escape(name)}: (.+)$", "\n".join(tagged), re.MULTILINE)
    return found[1] if found else ""


def _plain(kind: Any) -> bool:
    """Whether a parameter's value is a text, taken from the shell as it is."""
    if get_origin(kind) is Literal:
        return all(isinstance(value, str) for value in get_args(kind))
    return kind is str


def _listed(kind: Any) -> bool:
    """Whether a parameter may be a list: ``list[str]``, with limits or None beside it."""
    return get_origin(kind) is list or any(_listed(part) for part in get_args(kind))


def _absolute(value: Any) -> Any:
    """The value, with the names of face sets in it made absolute: notebooks run elsewhere."""
    from lrface import data

    if isinstance(value, list):
        return [_absolute(one) for one in value]
    return data.absolute(value) if isinstance(value, str) else value


def parameters(path: Path, given: dict[str, str]) -> dict[str, Any]:
    """Read ``name=value`` texts by the types of :func:`contract`, and fill in the defaults.

    A ``str`` is taken as it is, lists may be written ``a,b`` or ``[a, b]``, the rest is YAML. The
    path of a face set (``folder:PATH``) is made absolute.

    Raises
    ------
    UsageError
        An unknown name, a wrong type, or a value out of range.
    """
    model = contract(path)
    values: dict[str, Any] = {}
    for name, text in given.items():
        if name not in model.model_fields:
            if reason := _without(path, name):
                raise UsageError(f"{path.stem} has no parameter {name!r}: {reason}")
            close = difflib.get_close_matches(name, model.model_fields, 1)
            hint = f"did you mean {close[0]!r}? " if close else ""
            known = ", ".join(model.model_fields)
            raise UsageError(f"{path.stem} has no parameter {name!r}: {hint}it has {known}")
        kind = model.model_fields[name].annotation
        if _plain(kind):
            values[name] = text
        elif _listed(kind) and text != "null" and not text.lstrip().startswith("["):
            values[name] = [part.strip() for part in text.split(",") if part.strip()]
        else:
            try:
                values[name] = yaml.safe_load(text)
            except yaml.YAMLError:
                values[name] = text
    try:
        return {name: _absolute(value) for name, value in model(**values).model_dump().items()}
    except ValidationError as error:
        first = error.errors()[0]
        name = first["loc"][0]
        problem = f"{first['msg'].lower()}, got {given.get(name)!r}"
        raise UsageError(f"parameter {name} of {path.stem}: {problem}") from None
