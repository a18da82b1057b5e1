"""Which statements a statement depends on."""

import ast

import pytest
from lrface.execution import slicing


def kept(code: str) -> list[str]:
    """The statements that the last one needs, itself left out."""
    nodes = ast.parse(code).body
    chosen = slicing.needed(nodes, {len(nodes) - 1: nodes[-1]})
    return [ast.unparse(nodes[i]) for i in sorted(chosen)[:-1]]


@pytest.mark.parametrize(
    "code, needs",
    [
        ("a = 1\nb = 2\nf(a)", ["a = 1"]),
        ("a = 1\na = 2\nf(a)", ["a = 2"]),
        ("a = 1\na += 2\nf(a)", ["a = 1", "a += 2"]),
        ("a = {}\na['x'] = 1\nb['x'] = 1\nf(a)", ["a = {}", "a['x'] = 1"]),
        ("a = []\na.append(1)\nf(a)", ["a = []", "a.append(1)"]),
        ("study.table('x')\nf(study)", []),  # outputs change nothing
        ("x = 1\nf([x for x in y])", []),
        ("x = 1\nf(lambda x: x)", []),
        ("y = 2\ny = [y for y in z]\nf(y)", ["y = [y for y in z]"]),
        ("import a.b\nimport a.c\nf(a)", ["import a.b", "import a.c"]),
    ],
)
def test_assignments_and_changes_in_place(code, needs):
    assert kept(code) == needs


def test_a_condition_does_not_end_the_search():
    assert kept("a = 1\nif b:\n    a = 2\nf(a)") == ["a = 1", "if b:\n    a = 2"]


def test_a_block_needs_what_it_reads_before_it_has_assigned_it():
    code = "a = 1\nb = 1\nif c:\n    a = 2\n    d = a + b\nf(d)"
    assert kept(code) == ["b = 1", "if c:\n    a = 2\n    d = a + b"]


def test_a_function_may_read_what_is_assigned_after_it_and_change_what_is_not_its_own():
    code = "def g(x):\n    found[x] = more\nfound = {}\nmore = 1\ng(1)\nother = 2\nf(found)"
    assert kept(code) == [
        "def g(x):\n    found[x] = more",
        "found = {}",
        "more = 1",
        "g(1)",
    ]


def test_what_a_function_defines_itself_is_not_read_from_outside():
    code = "for row in trained:\n    cell = row\ndef g(row):\n    cell = row\n    return cell\nf(g)"
    assert kept(code) == ["def g(row):\n    cell = row\n    return cell"]


def test_what_follows_a_call_in_its_block_is_cut():
    (node,) = ast.parse("if a:\n    b = 1\n    runs.fit(b)\n    c = 2").body
    assert slicing.calls(node, ("runs.fit",))
    shortened = slicing.until_call(node, ("runs.fit",))
    assert ast.unparse(shortened) == "if a:\n    b = 1\n    runs.fit(b)"
    (call,) = ast.parse("a, b = sweep.fit(wanted, needed)").body
    assert ast.unparse(slicing.first_argument_alone(call)) == "a, b = sweep.fit(wanted)"
