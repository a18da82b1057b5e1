"""On a device that is not there: what would meet on two devices on a GPU fails.

The phantom changes its process, so each of these runs one of its own.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

STUDIES = ("04",)
"""Each costs two to five processor minutes; the others are run by hand before a release."""
MEETS = """
import torch
from lrface.checks import phantom
device = phantom.install()
here, there = torch.ones(2, 2), torch.ones(2, 2, device=device)
bad = {
    "matmul": lambda: there @ here,
    "add": lambda: there + here,
    "numpy": lambda: there.numpy(),
    "index a CPU tensor": lambda: here[torch.zeros(2, dtype=torch.long, device=device)],
    "convolution": lambda: torch.conv2d(there[None, None], here[None, None]),
    "module elsewhere": lambda: torch.nn.Linear(2, 2)(there),
}
good = {
    "scalar": lambda: there + torch.tensor(1.0),
    "CPU index": lambda: there[torch.zeros(2, dtype=torch.long)],
    "copy": lambda: there.copy_(here),
    "where": lambda: torch.where(there > 0, there, torch.tensor(0.0)),
    "back": lambda: (there @ there).cpu().numpy(),
    "module": lambda: torch.nn.Linear(2, 2).to(device)(there).sum().backward(),
}
for name, call in (bad | good).items():
    try:
        call()
        print(name, "passes")
    except (RuntimeError, TypeError):
        print(name, "fails")
z = torch.complex(torch.tensor([1.0, 2.0]), torch.tensor([3.0, -1.0]))
found = (z.to(device).conj() * torch.tensor(1j)).imag.cpu()
assert torch.equal(found, (z.conj() * 1j).imag)  # a lazy conjugate is not lost
waits = dict(phantom.waits)
_ = bool((there > 0).all()), float(there.sum()), there.cpu()
print(sum(phantom.waits.values()) - sum(waits.values()), "waits")
"""


def ran(*words: str, **options) -> str:
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, **options)
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    return done.stdout


@pytest.mark.slow
def test_two_devices_meet_as_on_cuda():
    lines = ran("-c", MEETS).splitlines()
    assert [line for line in lines if line.endswith("fails")] == [
        f"{name} fails" for name in ("matmul", "add", "numpy", "index a CPU tensor", "convolution")
    ] + ["module elsewhere fails"]
    assert sum(line.endswith("passes") for line in lines) == 6 and lines[-1] == "3 waits"


@pytest.mark.slow
def test_public_functions_follow_the_device_of_what_they_are_given():
    lines = ran(str(Path(__file__).with_name("phantom_public_functions.py"))).splitlines()
    assert len(lines) > 30 and [line for line in lines if not line.endswith(": ok")] == []


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "least"), [("METHODS", 18), ("RECOGNISERS", 18), ("VIDEO", 14)])
def test_every_method_takes_the_step_of_a_cpu(kind, least):
    """Every objective: on the phantom the numbers are the CPU's, but for the order of a sum."""
    words = ("-m", "lrface.checks.gpu_parts", "steps", "small", kind, "--phantom")
    found = json.loads(ran(*words).splitlines()[-1])
    assert found["verdict"] == "PASS", found["text"]
    assert len(found["facts"]) >= least and all(row["first"] < 1e-5 for row in found["facts"])


@pytest.mark.slow
@pytest.mark.parametrize("study", STUDIES)
def test_a_study_runs_on_it_at_smoke(study):
    assert "every cell ran on the phantom" in ran("-m", "lrface.checks.phantom", study)
