"""The parameters of a notebook that was not started by the runner, but in JupyterLab, say.

The notebook may have computed with a parameter since (``n = n or 300``), so that its value does not
say any more what was asked for: the cells that were executed do.
"""

from __future__ import annotations

import ast
from typing import Any

import nbformat
from IPython import get_ipython

from lrface.files import notebooks_folder

INJECTED = "# Parameters"
"""How the cell begins that papermill puts below the notebook's own parameters."""


def changed(study: str) -> dict[str, Any]:
    """What was executed here as a notebook's parameters and differs from the committed defaults.

    Data set and preset are left out: they name folders by themselves. Empty outside a kernel, and
    for a notebook that is not one of the library's.
    """
    shell, path = get_ipython(), notebooks_folder() / f"{study}.ipynb"
    if shell is None or not path.is_file():
        return {}
    cells = nbformat.read(path, 4).cells
    usual = [c.source for c in cells if "parameters" in c.metadata.get("tags", [])]
    return _differing(_assigned("\n".join(usual)), shell.user_ns.get("In", []))


def _differing(usual: dict[str, Any], executed: list[str]) -> dict[str, Any]:
    given: dict[str, Any] = {}
    for source in executed:
        found = _assigned(source)
        if usual.keys() <= found.keys():
            given = found
        elif source.startswith(INJECTED):
            given |= found
    names = usual.keys() & given.keys() - {"data", "preset"}
    return {name: given[name] for name in sorted(names) if given[name] != usual[name]}


def _assigned(source: str) -> dict[str, Any]:
    """The names that a cell gives a literal, and their values."""
    found = {}
    try:
        statements = ast.parse(source).body
    except SyntaxError:  # of a magic command, say
        return {}
    for one in statements:
        match one:
            case ast.Assign([ast.Name(name)], value) | ast.AnnAssign(ast.Name(name), _, value):
                try:
                    found[name] = ast.literal_eval(value) if value is not None else None
                except ValueError:
                    continue
    return found
