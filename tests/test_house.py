"""The house rules that a reader relies on: imports run one way, files stay short, nothing names a
machine."""

import ast
import json
import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "lib" / "lrface"
STAGES = [
    *(
        "errors",
        "settings",
        "files",
        "numerics",
        "behaviour",
        "data",
        "degrade",
        "models",
        "training",
    ),
    *("training", "metrics", "report", "execution", "checks", "inference", "site", "cli"),
]
"""The folders and files at the top of the library, in the order of the flow: each imports only
those before it."""


def imported(file: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if (
            isinstance(node, ast.ImportFrom)
            and node.module
            and node.module.split(".")[0] == "lrface"
        ):
            parts = node.module.split(".")
            names |= {parts[1]} if len(parts) > 1 else {alias.name for alias in node.names}
        elif isinstance(node, ast.Import):
            names |= {a.name.split(".")[1] for a in node.names if a.name.startswith("lrface.")}
    return names


@pytest.mark.parametrize(
    "file", sorted(PACKAGE.rglob("*.py")), ids=lambda f: f.relative_to(PACKAGE).as_posix()
)
def test_a_stage_imports_only_those_before_it(file):
    relative = file.relative_to(PACKAGE)
    stage = relative.parts[0].removesuffix(".py")
    if stage == "__init__":
        return
    later = imported(file) - set(STAGES[: STAGES.index(stage) + 1])
    assert not later, f"{relative} imports {later}, which come after it"


def test_the_top_of_the_library_is_ten_modules_at_most():
    top = [f.name for f in PACKAGE.glob("*.py")]
    assert len(top) <= 10, top


def test_the_stages_are_the_folders():
    there = {f.stem for f in PACKAGE.glob("*.py")} | {
        f.parent.name for f in PACKAGE.glob("*/__init__.py")
    }
    assert there - {"__init__"} == set(STAGES)


def test_the_lock_names_no_host_and_the_traps_are_avoided():
    lock = (ROOT / "requirements.lock").read_text()
    assert "://" not in lock and "--" not in re.sub(r"--hash=sha256:", "", lock)
    assert re.search(r"^torch==2\.14\.1 ", lock, re.M) and re.search(
        r"^torchvision==0\.29\.1 ", lock, re.M
    )
    assert re.search(r"^opencv-python==4\.", lock, re.M)
    assert all("--hash" in block for block in re.split(r"\n(?=\S)", lock.strip()))


def test_environment_yml_has_the_ranges_of_pyproject():
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = set(project["dependencies"]) | set(project["optional-dependencies"]["test"])
    conda = yaml.safe_load((ROOT / "environment.yml").read_text())
    pip = next(d["pip"] for d in conda["dependencies"] if isinstance(d, dict))
    assert set(pip) - {"-e ."} == wanted


NOTEBOOKS = sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_s_cells_are_short_and_it_begins_with_what_came_out(path):
    cells = json.loads(path.read_text())["cells"]
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    lines = [len(source.splitlines()) for source in code]
    assert max(lines) <= 40 and sorted(lines)[len(lines) // 2] <= 20
    assert "summary = report.Summary(" in code[0] and "summary.fill(" in "".join(code[-2:])


def test_the_citation_names_the_studies_and_the_version_that_there_are():
    from lrface import __version__

    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    notes = [work["notes"] for work in citation["references"]]
    cited = {n for note in notes if note.startswith("Stud") for n in re.findall(r"\b\d\d\b", note)}
    assert cited == {path.stem[:2] for path in NOTEBOOKS}
    assert citation["version"] == __version__


def test_a_wheel_brings_the_notebooks():
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert wheel["force-include"] == {"notebooks": "lrface/notebooks"}
