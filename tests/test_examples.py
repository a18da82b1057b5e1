"""Every example in a docstring runs, in a folder and a cache of its own."""

import doctest
import importlib
from pathlib import Path

import pytest

LIB = Path(__file__).parents[1] / "lib"
OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
MODULES = [
    ".".join(file.relative_to(LIB).with_suffix("").parts).removesuffix(".__init__")
    for file in sorted(LIB.rglob("*.py"))
    if ">>> " in file.read_text()
]


@pytest.mark.slow
@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    result = doctest.testmod(importlib.import_module(name), optionflags=OPTIONS)
    assert result.attempted and not result.failed
