"""The LRFACE_* variables: one object, one table in the README, wrong values refused."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from lrface import settings
from lrface.errors import UsageError

ROOT = Path(__file__).parents[1]


def test_the_readme_has_the_table_of_all_fields():
    assert settings.table() in (ROOT / "README.md").read_text()


def test_no_other_module_reads_a_variable():
    reads = re.compile(r"""(environ(\.get|\.pop)?[\[(]|getenv\()["']LRFACE_""")
    found = [
        f"{file.name}: {line.strip()}"
        for file in [*ROOT.glob("lib/**/*.py"), *ROOT.glob("benchmarks/*.py")]
        for line in file.read_text().splitlines()
        if reads.search(line) and not line.strip().startswith("os.environ[")
    ]
    assert not found


def test_the_environment_is_read_afresh(monkeypatch, tmp_path):
    monkeypatch.setenv("LRFACE_CACHE", str(tmp_path))
    assert settings.current().cache == tmp_path
    monkeypatch.setenv("LRFACE_CACHE", "")
    assert settings.current().cache is None
    with settings.override(retrain="yes", device="cpu"):
        assert settings.current().retrain and settings.current().device == "cpu"
        with settings.override(device=None):
            assert settings.current().device == "auto"
    assert not settings.current().retrain


@pytest.mark.parametrize(
    "name, value, problem",
    [
        ("DEVICE", "tpu", "choose 'auto', 'cpu', "),
        ("RETRAIN", "perhaps", "choose 1 or 0"),
        ("JOBS", "cloud", "choose here, local, or slurm"),
        ("JOBS", "here:time=3", "choose here, local, or slurm"),
    ],
)
def test_a_wrong_value_is_one_sentence(monkeypatch, lrface, name, value, problem):
    monkeypatch.setenv(f"LRFACE_{name}", value)
    with pytest.raises(UsageError, match=f"^LRFACE_{name}={value}: {problem}"):
        settings.current()
    code, out, err = lrface("list")
    assert code == 2 and out == "" and f"LRFACE_{name}={value}: " in err
    assert len(err.strip().splitlines()) == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    "name, hint",
    [("LRFACE_CAHCE", "did you mean LRFACE_CACHE?"), ("LRFACE_XYZ", "known are LRFACE_DATA, ")],
)
def test_an_unknown_name_is_one_line(monkeypatch, name, hint):
    monkeypatch.setenv(name, "1")
    code = "from lrface import settings; settings.current(); settings.current()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout == "" and done.stderr.count("\n") == 1
    assert name in done.stderr and hint in done.stderr
    monkeypatch.setenv("LRFACE_NOTES", "notes.jsonl")  # a kernel: the command line has said it
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).stderr == b""
