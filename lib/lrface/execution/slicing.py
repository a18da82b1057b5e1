"""Which statements of a notebook a statement depends on (a backward program slice).

Statements are those at the top level of its cells. A statement is needed if it defines or changes a
name that a needed one reads. A plain assignment ends the search for its name; in-place changes
(``x[0] = 1``, ``x |= y``, ``x.append(y)``, a function that does so) do not. Names that a function's
body reads count wherever they are defined, since it may be called at any time.
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import NamedTuple

from lrface.execution import notebooks

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
INNER = (*FUNCTIONS, ast.Lambda, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
"""Nodes with a scope of their own."""


OUTPUTS = "study"
"""The name of a notebook's outputs: its methods write files and change nothing that is trained."""


class Statement(NamedTuple):
    """A statement at the top level of a cell."""

    node: ast.stmt
    cell: int
    """The number of its code cell, from 1."""
    parameters: bool
    """Whether it stands in the cell of the parameters."""


def statements(path: Path) -> list[Statement]:
    """The statements of a notebook in order; cells that are no Python are left out."""
    found = []
    for number, (source, tags) in enumerate(notebooks.cells(path), 1):
        try:
            body = ast.parse(source).body
        except SyntaxError:  # a magic command
            continue
        found += [Statement(node, number, "parameters" in tags) for node in body]
    return found


def calls(node: ast.AST, names: Collection[str]) -> bool:
    """Whether a statement calls one of these functions, each written ``module.function``."""
    return any(
        isinstance(inner, ast.Call) and ast.unparse(inner.func) in names for inner in ast.walk(node)
    ) and not isinstance(node, FUNCTIONS)


def until_call(node: ast.stmt, names: Collection[str]) -> ast.stmt:
    """The statement without what follows such a call in the same block."""
    node = copy.deepcopy(node)
    for block in ("body", "orelse", "finalbody"):
        inside = getattr(node, block, None)
        if not isinstance(inside, list):
            continue
        for at, inner in enumerate(inside):
            if calls(inner, names):
                setattr(node, block, [*inside[:at], until_call(inner, names)])
                break
    return node


def first_argument_alone(node: ast.stmt) -> ast.stmt:
    """The statement with only the first argument of every call of ``sweep.fit``."""
    node = copy.deepcopy(node)
    for inner in ast.walk(node):
        if isinstance(inner, ast.Call) and ast.unparse(inner.func) == "sweep.fit":
            inner.args, inner.keywords = inner.args[:1], []
    return node


def assigns(node: ast.stmt, name: str) -> bool:
    """Whether a statement assigns this name, and in any case."""
    return name in _killed(node)


def needed(nodes: list[ast.stmt], targets: dict[int, ast.stmt]) -> set[int]:
    """The places of the statements that must be executed for those of ``targets``.

    Parameters
    ----------
    nodes : list of stmt
        All statements, in order.
    targets : dict of int to stmt
        By place, the statements that are wanted, perhaps shortened.
    """
    nodes = [targets.get(i, node) for i, node in enumerate(nodes)]
    changers = {node.name: _changed_by(node) for node in nodes if isinstance(node, FUNCTIONS)}
    late: set[str] = set()
    while True:
        chosen, names = set(targets), set()
        for i in reversed(range(max(targets, default=-1) + 1)):
            node = nodes[i]
            touched = _defined(node) | _changed(node, changers)
            if i in targets or touched & (names | late):
                chosen.add(i)
                names -= _killed(node)
                names |= _read(node)
        functions = [nodes[i] for i in chosen if isinstance(nodes[i], FUNCTIONS)]
        inside = {name for node in functions for name in _free(node)}
        if inside <= late:
            return chosen
        late |= inside


def _own(node: ast.AST) -> Iterator[ast.AST]:
    """A node and those below it, but for what has a scope of its own."""
    yield node
    if not isinstance(node, INNER):
        for child in ast.iter_child_nodes(node):
            yield from _own(child)


def _names(node: ast.AST, context: type[ast.expr_context]) -> set[str]:
    """The names in a node that are read or stored, but for those that a comprehension binds."""
    if isinstance(node, ast.Name):
        return {node.id} if isinstance(node.ctx, context) else set()
    found = {name for child in ast.iter_child_nodes(node) for name in _names(child, context)}
    if isinstance(node, ast.Lambda):
        return found - {argument.arg for argument in node.args.args}
    if isinstance(node, INNER) and not isinstance(node, FUNCTIONS):
        return found - {n for part in node.generators for n in _names(part.target, ast.Store)}
    return found


def _free(function: ast.stmt) -> set[str]:
    """The names that a function's body reads and does not define itself."""
    found = _names(function, ast.Load)
    if isinstance(function, ast.ClassDef):
        return found
    return found - (_local(function) - _declared(function))


def _local(function: ast.stmt) -> set[str]:
    own = {a.arg for n in ast.walk(function) if isinstance(n, ast.arguments) for a in n.args}
    return _names(function, ast.Store) | own


def _declared(function: ast.stmt) -> set[str]:
    return {name for n in ast.walk(function) if isinstance(n, ast.Global) for name in n.names}


def _defined(node: ast.stmt) -> set[str]:
    found = set()
    for inner in _own(node):
        if isinstance(inner, FUNCTIONS):
            found.add(inner.name)
        elif isinstance(inner, ast.Import | ast.ImportFrom):
            found |= {(alias.asname or alias.name).partition(".")[0] for alias in inner.names}
        elif isinstance(inner, ast.Name) and isinstance(inner.ctx, ast.Store):
            found.add(inner.id)
    return found


def _killed(node: ast.stmt) -> set[str]:
    """The names whose earlier values nothing can see any more after this statement."""
    if isinstance(node, ast.Assign | ast.AnnAssign | ast.Import | ast.ImportFrom | ast.FunctionDef):
        # several modules of one package share a name: import a.b, import a.c
        dotted = isinstance(node, ast.Import) and any("." in a.name for a in node.names)
        return set() if dotted else _defined(node)
    return set()


def _read(node: ast.stmt) -> set[str]:
    if isinstance(node, FUNCTIONS):  # its body is read when it is called
        outside = [*node.decorator_list, *getattr(node, "bases", [])]
        outside += getattr(getattr(node, "args", None), "defaults", [])
        return {name for part in outside for name in _names(part, ast.Load)}
    return _exposed([node])


def _exposed(body: list[ast.stmt]) -> set[str]:
    """The names that a block reads before it has assigned them itself."""
    read: set[str] = set()
    known: set[str] = set()
    for node in body:
        blocks = [getattr(node, name, []) for name in ("body", "orelse", "finalbody", "handlers")]
        if isinstance(node, FUNCTIONS) or not any(blocks):
            in_place = [n for n in ast.walk(node) if isinstance(n, ast.AugAssign)]
            own = {name for n in in_place for name in _names(n.target, ast.Store)}
            found = own | _names(node, ast.Load)
        else:
            head = copy.copy(node)
            for name in ("body", "orelse", "finalbody", "handlers"):
                if hasattr(head, name):
                    setattr(head, name, [])
            found = _names(head, ast.Load)
            targets = _names(head, ast.Store)  # of a loop or a context
            for block in blocks:
                inner = [n for h in block for n in (h.body if hasattr(h, "type") else [h])]
                found |= _exposed(inner) - targets
        read |= found - known
        known |= _killed(node)
    return read


def _changed(node: ast.stmt, changers: dict[str, set[str]]) -> set[str]:
    """The names whose values a statement changes in place."""
    if isinstance(node, FUNCTIONS):
        return set()
    found = _changed_in_place(node)
    for inner in ast.walk(node):
        if isinstance(inner, ast.Call) and isinstance(inner.func, ast.Name):
            found |= changers.get(inner.func.id, set())
    return found


def _changed_in_place(node: ast.AST) -> set[str]:
    found = set()
    for inner in ast.walk(node):
        if isinstance(inner, ast.Subscript | ast.Attribute) and isinstance(inner.ctx, ast.Store):
            found.add(_root(inner))
        elif isinstance(inner, ast.AugAssign):
            found.add(_root(inner.target))
        elif isinstance(inner, ast.Expr) and isinstance(inner.value, ast.Call):
            found.add(_root(inner.value.func) if "." in ast.unparse(inner.value.func) else "")
    return found - {"", OUTPUTS}


def _changed_by(function: ast.stmt) -> set[str]:
    """The names outside a function that its body changes in place."""
    return (_changed_in_place(function) - _local(function)) | _declared(function)


def _root(node: ast.AST) -> str:
    while isinstance(node, ast.Subscript | ast.Attribute | ast.Call):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.id if isinstance(node, ast.Name) else ""
