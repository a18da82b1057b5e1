"""Numbers in the prose of notebooks and README: each is quoted from where it can be looked up.

What is measured is filled into a summary from results, and never typed. A number that is typed must
be one of these: the name of something (Table 4, section 4.2, 8x), a value in the notebook's own
code, a number that a paper prints (``published.csv``), or part of a phrase that
``quoted.csv`` lists with its source.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from lrface.checks.compare import Drift, number, read
from lrface.files import project_root
from lrface.report import page

QUOTED = Path(__file__).with_name("quoted.csv")
"""``file, phrase, source``: a phrase of the prose as it stands, and where its numbers are from."""
NUMBER = re.compile(r"(?<![\w.\-/^])[+\-]?\d[\d,]*(?:\.\d+)?(?:e-?\d+)?(?![\w/]|\.\d|-[a-z])")
CODE = re.compile(r"```.*?```|`[^`]*`|\]\([^)]*\)|<[^>]*>", re.S)
"""Fenced and inline code, the targets of links, HTML."""
LIST = r"\d[\w.]*(?:(?:, and | and |, | to |-)\d[\w.]*)*"
NAMES = re.compile(
    rf"\b(?:Tables?|Figures?|Figs?\.?|[Ss]ections?|[Ss]ettings?|[Ee]quations?) {LIST}"
    rf"|\b[Ss]tud(?:y|ies) {LIST}"
    rf"|\([A-Z][^()]*\b(?:19|20)\d\d\w?\)|\b(?:Previous|[Nn]ext): \d\d|\b\d\d's"
    rf"|\[{LIST}[^\]]*\]|^#+ \d\d\b|^\| \d\d \|",
    re.M,
)
"""Numbers that are names: tables, sections, studies, years of works."""


def texts(file: Path) -> list[str]:
    """The prose of a file: a notebook's Markdown cells, or a Markdown file.

    The findings on the front page are no prose: they are written from the ledger, and a check of
    their own compares them with it.
    """
    if file.suffix != ".ipynb":
        text = file.read_text(encoding="utf-8")
        return [page.filled(text, "") if page.BEGIN in text else text]
    cells = json.loads(file.read_text(encoding="utf-8"))["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown"]


def _spans(text: str) -> Iterator[tuple[str, int]]:
    """The numbers of a text that are not in code, with their places."""
    bare = CODE.sub(lambda found: " " * len(found[0]), text)
    bare = NAMES.sub(lambda found: " " * len(found[0]), bare)
    for found in NUMBER.finditer(bare):
        yield found[0].strip("+,"), found.start()


def numbers_of(file: Path) -> list[str]:
    """The numbers in the prose of a file, in order."""
    return [found for text in texts(file) for found, _ in _spans(text)]


def check(file: Path) -> Iterator[Drift]:
    """Numbers in the prose of a file that stand nowhere else, and phrases that it has no more."""
    if not file.is_file():
        return
    name = file.relative_to(project_root()).as_posix()
    quoted = read(QUOTED).query("file == @name")
    known = _values_in_code(file) if file.suffix == ".ipynb" else set()
    whole = [_spaced(text) for text in texts(file)]
    for phrase in quoted["phrase"]:
        if not any(_spaced(phrase) in text for text in whole):
            yield Drift(name, "quoted.csv lists this phrase, and the prose has it no more", phrase)
    for text in texts(file):
        covered = [range(*found.span()) for found in _phrases(quoted["phrase"], text)]
        for shown, at in _spans(text):
            value = abs(number(shown) or 0)
            printed = len(re.sub(r"\D", "", shown)) > 2 and value in _published()
            if value not in known and not printed and not any(at in place for place in covered):
                words = _spaced(text[max(0, at - 40) : at + 40])
                why = f"this number is neither filled in nor quoted: ...{words}..."
                yield Drift(name, why, shown)


def _phrases(phrases: list[str], text: str) -> Iterator[re.Match[str]]:
    for phrase in phrases:
        words = r"\s+".join(map(re.escape, phrase.split()))
        yield from re.finditer(words, text)


def _spaced(text: str) -> str:
    return " ".join(text.split())


def _values_in_code(notebook: Path) -> set[float]:
    """The numbers that a notebook's code holds, also within its texts."""
    found = set()
    for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"]:
        if cell["cell_type"] != "code":
            continue
        try:
            tree = ast.parse("".join(cell["source"]))
        except SyntaxError:
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
                found.add(float(node.value))
    return found


@lru_cache(maxsize=1)
def _published() -> set[float]:
    """The published values, also in per cent."""
    from lrface.checks.manifest import published_file

    values = [number(text) for text in read(published_file())["value"]]
    known = [value for value in values if value is not None]
    return {*known, *(round(100 * value, 6) for value in known)}
