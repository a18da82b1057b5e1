"""Dockerfile, dev container and Binder: what they name exists, and nothing of a user gets in.

No image is built here: that would want a network.
"""

import fnmatch
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
LINES = [
    line.strip()
    for line in re.sub(r"\\\n", " ", DOCKERFILE).splitlines()
    if line.strip() and not line.startswith("#")
]
MAKEFILE = (ROOT / "Makefile").read_text()


def instructions(name):
    return [line.partition(" ")[2] for line in LINES if line.startswith(f"{name} ")]


def makes(text):
    """The targets and variables of every call of make in a text."""
    called = r"""(?:^|[!"`]|&& )make (\w+)((?: \w+="?\$?\w+)*)"""
    return re.findall(called, text, re.M)


def packages():
    (line,) = [run for run in instructions("RUN") if "apt-get install" in run]
    words = line.partition("apt-get install")[2].partition("&&")[0].split()
    return {word for word in words if not word.startswith("-")}


def test_what_is_copied_into_the_image_exists():
    copied = [line.split() for line in instructions("COPY")]
    sources = [word for line in copied for word in line[:-1] if not word.startswith("--")]
    assert sources[-1] == "." and all((ROOT / source).exists() for source in sources)
    assert all("--chown=reader" in line for line in copied)


@pytest.mark.parametrize(
    "file", ["Dockerfile", ".devcontainer/devcontainer.json", ".binder/postBuild", "README.md"]
)
def test_every_call_of_make_is_one_that_there_is(file):
    calls = makes((ROOT / file).read_text())
    assert ("setup", " TORCH=cpu") in calls or file == "Dockerfile"
    for target, variables in calls:
        assert re.search(rf"^{target}:", MAKEFILE, re.M), target
        for name, value in re.findall(r'(\w+)="?(\S+)', variables):
            assert re.search(rf"\b{name}\b", MAKEFILE), name
            assert name != "TORCH" or value in ("cpu", "cuda", "$TORCH")


def test_cpu_and_cuda_are_one_build_argument():
    assert instructions("ARG") == ["TORCH=cuda"] and 'make setup TORCH="$TORCH"' in DOCKERFILE
    assert re.search(r"^TORCH \?= cuda$", MAKEFILE, re.M)


def test_the_image_has_the_project_s_python_and_no_root():
    assert instructions("FROM") == ["python:3.11-slim-bookworm AS system", "system"]
    assert instructions("USER") == ["reader"]
    assert (ROOT / ".binder" / "runtime.txt").read_text().strip() == "python-3.11"


def test_pictures_and_environments_of_a_user_stay_out_of_the_image():
    ignored = [
        line
        for line in (ROOT / ".dockerignore").read_text().splitlines()
        if line and not line.startswith("#")
    ]
    for place in ("results/local", "figures/local", ".venv", ".venv-uv", ".git", "site"):
        assert any(fnmatch.fnmatch(place, pattern) for pattern in ignored), place
    for needed in (
        "lib",
        "notebooks",
        "results/synthetic",
        "figures/synthetic",
        "requirements.lock",
    ):
        assert not any(fnmatch.fnmatch(needed, pattern) for pattern in ignored), needed


def test_binder_and_the_image_install_the_same_packages_of_the_system():
    binder = set((ROOT / ".binder" / "apt.txt").read_text().split())
    assert binder == packages() - {"git"}


def test_binder_s_script_is_sound_and_may_be_executed():
    script = ROOT / ".binder" / "postBuild"
    assert os.access(script, os.X_OK) and "set -euo pipefail" in script.read_text()
    assert subprocess.run(["bash", "-n", str(script)]).returncode == 0
    listed = (ROOT / ".binder" / "requirements.txt").read_text().splitlines()
    assert all(line.startswith("#") for line in listed)  # packages come from the lock alone


def test_the_dev_container_is_built_from_the_dockerfile_s_first_part():
    given = json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text())
    build = given["build"]
    assert (ROOT / ".devcontainer" / build["dockerfile"]).resolve() == ROOT / "Dockerfile"
    assert any(line.endswith(f"AS {build['target']}") for line in instructions("FROM"))
    assert given["remoteUser"] == instructions("USER")[0]


@pytest.mark.slow
def test_the_files_of_the_environment_s_layer_are_enough_to_install_it(tmp_path):
    layer = next(i for i, line in enumerate(LINES) if "make setup" in line)
    for line in (line for line in LINES[:layer] if line.startswith("COPY ")):
        *sources, target = [w for w in line.split()[1:] if not w.startswith("--")]
        for source in sources:
            place = tmp_path / (source if target == "./" else target)
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / source, place)
    (tmp_path / "notebooks").mkdir()
    build = "import hatchling.build as b, sys; print(b.build_editable(sys.argv[1]))"
    command = [sys.executable, "-c", build, str(tmp_path / "wheels")]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert list((tmp_path / "wheels").glob("lrface-*.whl"))
