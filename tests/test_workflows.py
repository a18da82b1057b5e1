"""The workflows that nobody can run here: valid for the service, safe, and their scripts do what
they say."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
import typer
import yaml
from lrface import cli

ROOT = Path(__file__).parents[1]
FILES = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
WORKFLOWS = {
    file.name: yaml.safe_load(file.read_text()) for file in FILES
}  # YAML 1.1 reads the key `on` as True
STEPS = [
    (name, job, step)
    for name, flow in WORKFLOWS.items()
    for job in flow["jobs"].values()
    for step in job["steps"]
]
SCRIPTS = [step["run"] for _, _, step in STEPS if "run" in step]


@pytest.mark.slow
def test_they_are_valid_by_the_services_own_schema():
    command = [
        sys.executable,
        "-m",
        "check_jsonschema",
        "--builtin-schema",
        "vendor.github-workflows",
        *map(str, FILES),
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_the_schema_finds_a_mistake(tmp_path):
    wrong = (
        (ROOT / ".github" / "workflows" / "drift.yml")
        .read_text()
        .replace("timeout-minutes", "timeout-minute")
    )
    (tmp_path / "drift.yml").write_text(wrong)
    command = [
        sys.executable,
        "-m",
        "check_jsonschema",
        "--builtin-schema",
        "vendor.github-workflows",
        str(tmp_path / "drift.yml"),
    ]
    assert subprocess.run(command, capture_output=True).returncode == 1


def test_actions_are_pinned_to_a_commit_with_its_version_beside_it():
    used = [line for file in FILES for line in file.read_text().splitlines() if "uses:" in line]
    assert used and all(
        re.search(r"uses: actions/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$", line) for line in used
    ), used


def test_they_may_do_no_more_than_they_must():
    for name, flow in WORKFLOWS.items():
        assert flow["permissions"] == {"contents": "read"}
        rights = [job["permissions"] for job in flow["jobs"].values() if "permissions" in job]
        more = {
            "drift.yml": [{"contents": "read", "issues": "write"}],
            "site.yml": [{"pages": "write", "id-token": "write"}],
        }
        assert rights == more.get(name, [])
        assert all(0 < job["timeout-minutes"] <= 120 for job in flow["jobs"].values())
    for name, _, step in STEPS:
        assert (
            "checkout" not in step.get("uses", "") or step["with"]["persist-credentials"] is False
        ), name
    assert not any(
        "secrets." in file.read_text() or "pull_request_target" in file.read_text()
        for file in FILES
    )


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.splitlines()[0])
def test_a_script_is_sound(script):
    assert (
        subprocess.run(["bash", "-n"], input=script, text=True, capture_output=True).returncode == 0
    )
    assert "${{" not in script  # what comes from outside comes as a variable, never as code
    assert "\n" not in script.strip() or script.startswith("set -euo pipefail\n")
    for target in re.findall(r"^\s*make (\w+)", script, re.M):
        done = subprocess.run(
            ["make", "-n", "-C", str(ROOT), target], capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
    known = typer.main.get_command(cli.app).commands
    for line in re.findall(r"bin/lrface (.*?)(?: \|\||$)", script, re.M):
        name, *words = shlex.split(line)
        options = {option for parameter in known[name].params for option in parameter.opts}
        assert {word for word in words if word.startswith("--")} <= options


def test_the_schedule_is_weekly():
    schedule = WORKFLOWS["drift.yml"][True]["schedule"]
    minute, hour, day, month, weekday = schedule[0]["cron"].split()
    assert (
        0 <= int(minute) < 60
        and 0 <= int(hour) < 24
        and (day, month) == ("*", "*")
        and 0 <= int(weekday) < 7
    )


def stub(folder: Path, name: str, script: str) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/bash\n{script}\n")
    path.chmod(0o755)


def run_step(name: str, folder: Path, **environment: str) -> int:
    step = next(step for _, _, step in STEPS if step.get("name") == name)
    given = {key: value for key, value in step.get("env", {}).items() if "${{" not in value}
    path = f"{folder / 'bin'}:{os.environ['PATH']}"
    return subprocess.run(
        ["bash", "-c", step["run"]],
        cwd=folder,
        env={**os.environ, **given, "PATH": path, **environment},
    ).returncode


@pytest.mark.parametrize(
    "code, report, told, exit_code",
    [
        (0, True, "drift=0\n", 0),
        (1, True, "drift=1\n", 0),
        (1, False, "", 1),
        (2, False, "", 2),
        (0, False, "", 1),
    ],
    ids=["no drift", "drift", "a crash", "a wrong request", "no report"],
)
def test_a_drift_is_told_apart_from_a_crash(tmp_path, code, report, told, exit_code):
    stub(
        tmp_path / ".venv-newest" / "bin",
        "lrface",
        f"{'echo found > drift.md;' if report else ''} exit {code}",
    )
    out, summary = tmp_path / "output", tmp_path / "summary"
    out.touch()
    assert (
        run_step(
            "run and compare", tmp_path, GITHUB_OUTPUT=str(out), GITHUB_STEP_SUMMARY=str(summary)
        )
        == exit_code
    )
    assert out.read_text() == told and summary.exists() == report


@pytest.mark.parametrize(
    "open_issue, said",
    [("", "issue create --title Drift on the newest packages"), ("12", "issue edit 12")],
)
def test_one_issue_is_opened_and_then_kept_up_to_date(tmp_path, open_issue, said):
    (tmp_path / "drift.md").write_text("x" * 70_000)
    stub(tmp_path / "bin", "gh", f'[ "$2" = list ] && echo "{open_issue}" || echo "$@" >> said')
    assert run_step("tell", tmp_path) == 0
    assert (tmp_path / "said").read_text() == f"{said} --body-file body.md\n" and (
        tmp_path / "body.md"
    ).stat().st_size == 60_000


@pytest.mark.slow
def test_make_nbval_executes_the_notebooks_again_and_compares(tmp_path):
    cell = nbformat.v4.new_code_cell("# NBVAL_CHECK_OUTPUT\nprint(6 * 7)", execution_count=1)
    cell.outputs = [nbformat.v4.new_output("stream", name="stdout", text="42\n")]
    kernel = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    notebook = nbformat.v4.new_notebook(cells=[cell], metadata=kernel)
    (tmp_path / "notebooks").mkdir()
    shutil.copy(ROOT / "Makefile", tmp_path)
    command = [
        "make",
        "-C",
        str(tmp_path),
        "-o",
        "setup",
        "nbval",
        f"BIN={Path(sys.executable).parent}",
    ]
    for shown, code in (("42\n", 0), ("43\n", 2)):
        cell.outputs[0].text = shown
        nbformat.write(notebook, tmp_path / "notebooks" / "00_small.ipynb")
        assert subprocess.run(command, capture_output=True).returncode == code
