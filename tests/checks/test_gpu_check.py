"""The acceptance run of a GPU: its lines and its JSON, and on a machine without one the phantom."""

import json
import subprocess

import pytest
from lrface.checks import gpu_check, gpu_parts
from lrface.errors import UsageError


def said(**by_part):
    """A stand-in for the parts' processes: the verdict of each, or what its process does."""

    def run(words, **options):
        found = by_part.get(words[3], "PASS")
        if found == "hangs":
            raise subprocess.TimeoutExpired(words, 1)
        if found == "crashes":
            return subprocess.CompletedProcess(words, -11, "", "Segmentation fault\n")
        out = json.dumps({"verdict": found, "text": " ".join(words[3:]), "facts": None})
        return subprocess.CompletedProcess(words, 0, f"a warning\n{out}\n", "")

    return run


def test_a_line_a_part_and_one_that_crashes_or_hangs_fails_alone(monkeypatch):
    monkeypatch.setattr(
        gpu_check.subprocess, "run", said(steps="crashes", speed="hangs", memory="SKIP")
    )
    lines = []
    found = gpu_check.run(say=lines.append, phantom=True)
    assert not found["passed"] and found["phantom"] and len(lines) == len(found["parts"])
    verdicts = {part["name"]: part["verdict"] for part in found["parts"]}
    failed = [name for name, verdict in verdicts.items() if verdict == "FAIL"]
    assert failed == ["steps", "speed"] and verdicts["memory"] == "SKIP"
    assert {"study:00", "study:05"} <= verdicts.keys() and "scores" in verdicts
    assert any(line.startswith("FAIL  steps: exit code -11: Segmentation fault") for line in lines)


def test_only_some_parts_and_the_json(monkeypatch, own_places):
    monkeypatch.setattr(gpu_check.subprocess, "run", said())
    found = gpu_check.run(["probe", "study:04"], lambda line: None, phantom=False)
    assert found["passed"] and [p["name"] for p in found["parts"]] == ["probe", "study:04"]
    file = gpu_check.keep(found)
    assert file == own_places / "out" / "results" / "local" / "gpu-check.json"
    assert json.loads(file.read_text()) == found
    with pytest.raises(UsageError, match="no part 'speeds'"):
        gpu_check.run(["speeds"])


def test_the_command_fails_with_a_part(lrface, monkeypatch, tmp_path):
    monkeypatch.setattr(gpu_check.subprocess, "run", said(probe="FAIL"))
    code, out, _ = lrface("gpu-check", "--part", "probe", "--out", tmp_path / "found.json")
    assert code == 1 and out.startswith("FAIL  probe") and "FAIL: " in out.splitlines()[-1]
    assert not json.loads((tmp_path / "found.json").read_text())["passed"]


def test_every_part_has_a_function():
    assert set(gpu_check.PARTS) <= set(gpu_parts.PARTS)


def test_what_only_a_gpu_shows_is_skipped_on_the_phantom():
    for part in (gpu_parts.probe, gpu_parts.memory, gpu_parts.processes):
        assert part(phantom=True).verdict == "SKIP"


@pytest.mark.slow
@pytest.mark.parametrize("part", ["speed", "resumed"])
def test_on_the_phantom_it_passes(part):
    found = gpu_check.run([part], phantom=True)
    assert found["passed"], found["parts"]
