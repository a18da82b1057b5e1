"""Every page of *Adapt it* runs from its first block to its last, in a folder of its own."""

import os
import re
import shlex
import sys
from pathlib import Path
from types import ModuleType

import pytest
import typer
from lrface import cli, models
from lrface.files import project_root
from lrface.models.recognition import judges

PAGES = sorted((project_root() / "docs" / "adapt").glob("*.md"))
BLOCK = re.compile(r"^```(python|sh)\n(.*?)^```$", re.M | re.S)
STUDIES = ("reproduce", "report")
"""Commands that take minutes, or what these leave: of these only the words are checked."""


def blocks(page):
    return BLOCK.findall(page.read_text())


def commands(text):
    """The words after ``lrface`` of each line."""
    return [
        shlex.split(line, comments=True)[1:]
        for line in text.splitlines()
        if line.startswith(".venv/bin/lrface ")
    ]


@pytest.fixture
def nothing_stays(monkeypatch):
    """What a page registers is gone after it."""
    monkeypatch.setattr(models, "METHODS", dict(models.METHODS))
    monkeypatch.setattr(judges, "EMBEDDERS", dict(judges.EMBEDDERS))


def test_there_is_a_page_for_each_thing_that_can_be_ones_own():
    index = next(page for page in PAGES if page.stem == "index").read_text()
    stems = {page.stem for page in PAGES} - {"index"}
    assert stems == {"method", "degradation", "faces", "judge", "checkpoint", "paper"}
    assert all(f"({stem}.md)" in index and f"\n{stem}\n" in index for stem in stems)


@pytest.mark.slow
@pytest.mark.parametrize("page", [p for p in PAGES if p.stem != "index"], ids=lambda p: p.stem)
def test_a_page_runs(page, tmp_path, monkeypatch, lrface, nothing_stays):
    monkeypatch.chdir(tmp_path)
    program = ModuleType("adapted")
    monkeypatch.setitem(sys.modules, program.__name__, program)  # dataclasses look it up
    found = blocks(page)
    assert len(found) >= 3
    for kind, text in found:
        if kind == "python":
            exec(compile(text, page.name, "exec"), vars(program))
            continue
        for words in commands(text):
            if words[0] not in STUDIES:
                code, out, err = lrface(*words)
                assert code == 0, (words, out, err)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_what_a_page_names_exists(page):
    text, known = page.read_text(), typer.main.get_command(cli.app).commands
    for kind, block in blocks(page):
        lines = [line for line in block.splitlines() if kind == "sh"]
        assert len(lines) == len(commands("\n".join(lines))), "a line that is no lrface command"
        for words in commands("\n".join(lines)):
            command = known[words[0]]
            if words[0] == "data":
                command = command.commands[words[1]]
            options = {option for parameter in command.params for option in parameter.opts}
            assert {word for word in words if word.startswith("-")} <= options
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", BLOCK.sub("", text)):
        if not target.startswith("https://"):
            assert Path(os.path.normpath(page.parent / target)).is_file(), target
