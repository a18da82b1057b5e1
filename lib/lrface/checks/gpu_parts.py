"""The parts of ``lrface gpu-check``, each in a process of its own.

``python -m lrface.checks.gpu_parts PART [ARGUMENT] [--phantom]`` prints what it found as one line
of JSON, the last of its output. With ``--phantom`` the process runs on the device that is not there
(:mod:`lrface.checks.phantom`), and what only a GPU can show is skipped.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch

from lrface import data, degrade, models, numerics
from lrface.errors import LrfaceError
from lrface.training import cost_model, loop, runs
from lrface.training.batches import TrainingData
from lrface.training.hyperparameters import Hyperparameters

LOSS = 1e-3
"""Largest relative difference of a first loss between GPU and CPU, in IEEE float32."""
LATER = 1e-2
"""The same of the second loss, which the first gradients have moved, and of the first in TF32."""
MEMORY = (0.8, 3.0)
"""Peak memory over the plan, which is a lower bound without workspaces and the allocator's gaps."""
NETWORKS = ("EDSR", "RCAN", "RDN", "HAN", "WaveletSRNet", "HiFaceGAN")


class Found(NamedTuple):
    """What a part found."""

    verdict: Literal["PASS", "FAIL", "SKIP"]
    text: str
    facts: Any = None


def probe(phantom: bool) -> Found:
    """The GPU adds two numbers; its driver and compute capability are known."""
    if phantom:
        return Found(
            "SKIP", "no GPU here: the rest runs on the phantom, a device that is not there"
        )
    problem = numerics.gpu_problem()
    if problem is None:
        return Found("FAIL", "PyTorch sees no GPU")
    if problem:
        return Found("FAIL", numerics.gpu_sentence(problem))
    facts = numerics.record()["gpu"]
    facts["memory_gb"] = round(torch.cuda.get_device_properties(0).total_memory / 1e9, 1)
    runs.device()
    facts["deterministic"] = torch.are_deterministic_algorithms_enabled()
    return Found("PASS", f"{facts['name']}, driver {facts['driver']}", facts)


def steps(phantom: bool, size: str = "small", kinds: str = "") -> Found:
    """Two steps of every method with every objective, on the GPU and on the CPU.

    On the phantom one: the second shows rounding, and there is none. ``kinds`` with commas.
    """
    from lrface.checks import gpu_steps

    rows, failed = [], []
    for case in gpu_steps.cases(size, kinds.split(",") if kinds else gpu_steps.KINDS):
        try:
            row = gpu_steps.compared(case, 1 if phantom else 2)
            later = max(row.get("second", 0.0), row.get("tf32", 0.0))
            far = row["first"] > LOSS or later > LATER
            failed += [f"{case.name} ({row['first']:.1g}, then {later:.1g})"] * far
        except Exception as error:  # the other methods are still tried
            row = {"name": case.name, "error": f"{type(error).__name__}: {error}"}
            failed.append(f"{case.name} ({row['error'].splitlines()[0]})")
        rows.append(row)
    if failed:
        return Found("FAIL", f"{len(failed)} of {len(rows)}: {'; '.join(failed)}", rows)
    worst = max(row["first"] for row in rows)
    text = f"{len(rows)} methods and objectives, the first losses differ by {worst:.1g} at most"
    return Found("PASS", text, rows)


def study(phantom: bool, number: str) -> Found:
    """A study at smoke, trained from nothing, its results thrown away."""
    words = [sys.executable, "-m", "lrface.checks.phantom", number]
    if not phantom:
        command = str(Path(sys.executable).with_name("lrface"))
        words = [command, "reproduce", "--study", number, "--preset", "smoke", "--jobs", "here"]
    code, said = _elsewhere(words)
    lines = said.strip().splitlines() or [""]
    if code:
        return Found("FAIL", f"{number}: {lines[-1]}", lines[-30:])
    return Found("PASS", number)


def scores(phantom: bool) -> Found:
    """Rows of every released score file of study 01 are computed again, and agree."""
    given = {"preset": "quick"}
    if phantom:  # a few cells: the whole study takes minutes
        given |= {"settings": "4x,8x", "methods": "bicubic,Eigenface,SRCNN,EDSR"}
        words = [sys.executable, "-m", "lrface.checks.phantom", "01"]
        words += [f"{name}={value}" for name, value in given.items()]
        code, said = _elsewhere(words)
    else:
        command = str(Path(sys.executable).with_name("lrface"))
        code, said = _elsewhere([command, "reproduce", "--study", "01", "--force"], keep="*.ipynb")
    summaries = re.findall(r"(\d+) cells?: (\d+) computed", said)
    if code or not summaries:
        return Found("FAIL", (said.strip().splitlines() or ["no output"])[-1])
    cells, computed = (sum(int(pair[i]) for pair in summaries) for i in range(2))
    refused = re.findall(r"[^\n\"]* is not used, [^\n\"]*", said)
    if computed:
        return Found(
            "FAIL", f"{computed} of {cells} cells disagree with the released ones", refused
        )
    return Found("PASS", f"{cells} cells agree with the released ones, to rounding")


def speed(phantom: bool) -> Found:
    """Faces a second, busy share and peak memory of six networks at paper size, 4x, batch 16."""
    rows = [_speed(method, phantom) for method in NETWORKS]
    rates = ", ".join(f"{row['method']} {row['faces_per_second']:.0f}" for row in rows)
    if phantom:
        return Found("SKIP", "speed and memory are a CPU's; every network took its steps", rows)
    outside = [r for r in rows if not MEMORY[0] <= r["memory_over_plan"] <= MEMORY[1]]
    if outside:
        names = ", ".join(f"{r['method']} {r['memory_over_plan']:.1f}" for r in outside)
        return Found("FAIL", f"peak memory over the plan: {names}", rows)
    return Found("PASS", f"faces a second: {rates}", rows)


def _speed(method: str, phantom: bool) -> dict[str, Any]:
    size, batch, count = ("small", 2, 1) if phantom else ("paper", 16, 40)
    own = models.method(method).objectives
    loss, setting = "paper" if "paper" in own else "l1", degrade.setting("4x")
    config = runs.Config(
        method=method, degradation=setting, data="synthetic", size=size, steps=count, batch=batch,
        loss=loss,
    )  # fmt: skip
    given = TrainingData(data.load("synthetic", "train", 64), setting)
    torch.manual_seed(0)
    busy: list[float] = []

    def train(steps: int) -> tuple[float, dict[str, Any]]:
        net = config.build()
        hyper = Hyperparameters(steps, batch, None, 1e-4)
        with tempfile.TemporaryDirectory() as folder:
            how = dict(checkpoint=Path(folder, "last.pt"), label=method)
            began = time.monotonic()
            facts = loop.train(net, given, config.objective(net), hyper, **how)[2]
        return time.monotonic() - began, facts

    if phantom:
        seconds, facts = train(count)
    else:
        train(5)  # kernels are chosen, faces decoded
        few, _ = train(5)
        with _sampled(busy):
            seconds, facts = train(count + 5)
        seconds -= few
    plan = cost_model.cost(config)
    planned = plan.memory / 1e6
    peak = facts.get("peak_gpu_memory_mb")
    return {
        "method": method,
        "faces_per_second": batch * count / max(seconds, 1e-9),
        "busy_percent": sum(busy) / len(busy) if busy else None,
        "peak_mb": peak,
        "memory_over_plan": peak and peak / planned,
        "tflops": 2 * plan.macs * batch * count / max(seconds, 1e-9) / 1e12,
    }


@contextmanager
def _sampled(busy: list[float]):
    """While the block runs, note the share of time in which the GPU ran a kernel, in per cent."""
    words = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits"]
    stop = threading.Event()

    def watch() -> None:
        while not stop.wait(0.5):
            said = subprocess.run(words, capture_output=True, text=True).stdout.split()
            busy.extend(float(word) for word in said[:1])

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def resumed(phantom: bool) -> Found:
    """A training that is killed and started again ends with the weights of one that is not."""
    from safetensors.torch import load_file

    flag = ["--phantom"] * phantom
    with tempfile.TemporaryDirectory() as folder:
        killed, whole = Path(folder, "killed"), Path(folder, "whole")
        words = [sys.executable, "-m", "lrface.checks.gpu_parts", "train", *flag]
        first = _start(words, killed)
        while not list(killed.glob("runs/*.training/last.pt")) and first.poll() is None:
            time.sleep(0.02)
        first.send_signal(signal.SIGKILL)
        first.communicate()
        done = [_start(words, place).communicate()[0] for place in (killed, whole)]
        files = [list(place.glob("runs/*/model.safetensors")) for place in (killed, whole)]
        if not all(files):
            return Found("FAIL", "\n".join(done)[-500:])
        a, b = (load_file(file) for (file,) in files)
        times = json.loads(files[0][0].with_name("record.json").read_text())["resumed"]
    apart = max(float((a[name] - b[name]).abs().max()) for name in b)
    facts = {"resumed": times, "largest_difference": apart}
    if times and apart == 0:
        return Found("PASS", "it ends with the same weights", facts)
    how = f"resumed {times} times, weights differ by up to {apart:.2g}"
    return Found("PASS" if times and apart < 1e-5 else "FAIL", how, facts)


def train(phantom: bool) -> Found:
    """A short training with a checkpoint at every step, for :func:`resumed`."""
    loop.SAVE_SECONDS, loop.SAVE_RATIO = 0.0, 0
    count = 30 if phantom else 400
    config = runs.Config(
        method="SRCNN", degradation=degrade.setting("4x_DN"), data="synthetic", n_train=32,
        steps=count, batch=4, patch=32,
    )  # fmt: skip
    run = runs.fit(config)
    return Found("PASS", run.source, run.record["resumed"])


def memory(phantom: bool) -> Found:
    """A step that does not fit ends in a sentence with a batch that does."""
    if phantom:
        return Found("SKIP", "the memory is the CPU's")
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction(min(1.0, 3e9 / total))
    given = TrainingData(data.load("synthetic", "train", 64), degrade.setting("4x"))
    net = models.restorer("RCAN", 4, "paper")
    from lrface.models.losses import Pixelwise

    try:
        with tempfile.TemporaryDirectory() as folder:
            how = dict(checkpoint=Path(folder, "last.pt"), label="RCAN-paper 4x")
            hyper = Hyperparameters(1, 64, None, 1e-4)
            loop.train(net, given, Pixelwise("l1"), hyper, **how)
    except LrfaceError as error:
        found = re.search(r"with batch 64: batch \d+ fits$", str(error))
        return Found("PASS" if found else "FAIL", str(error))
    return Found("FAIL", "RCAN with 64 faces a step fitted into 3 GB")


def processes(phantom: bool) -> Found:
    """Two processes train one network by torchrun, where there are two GPUs."""
    if phantom or torch.cuda.device_count() < 2:
        return Found("SKIP", f"{torch.cuda.device_count()} GPUs: two are needed")
    config = runs.Config(
        method="EDSR", degradation=degrade.setting("4x"), data="synthetic", n_train=64,
        steps=50, batch=8, patch=64, lr=1e-3,
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "config.json")
        file.write_text(config.model_dump_json())
        torchrun = str(Path(sys.executable).with_name("torchrun"))
        words = [torchrun, "--standalone", "--nproc-per-node", "2", "-m", "lrface.training"]
        code, said = _elsewhere([*words, str(file)])
    line = (said.strip().splitlines() or ["no output"])[-1]
    return Found("FAIL" if code else "PASS", re.sub(r", /.*", "", line))


def _environment(cache: Path) -> dict[str, str]:
    own = {"LRFACE_CACHE": str(cache), "LRFACE_OUT": str(cache / "out")}
    return os.environ | own


def _start(words: list[str], cache: Path) -> subprocess.Popen:
    pipes = dict(stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    return subprocess.Popen(words, env=_environment(cache), **pipes)


def _elsewhere(words: list[str], keep: str = "") -> tuple[int, str]:
    """Run a command whose results and cache are thrown away; its exit code and what it printed.

    ``keep`` is a pattern of files whose text is added.
    """
    with tempfile.TemporaryDirectory() as folder:
        process = _start(words, Path(folder))
        said = process.communicate()[0]
        if keep:
            said += "".join(file.read_text() for file in Path(folder).rglob(keep))
    return process.returncode, said


PARTS: dict[str, Callable[..., Found]] = {
    part.__name__: part
    for part in (probe, steps, study, scores, speed, resumed, train, memory, processes)
}


def main() -> None:
    """The module as a command."""
    words = [word for word in sys.argv[1:] if word != "--phantom"]
    on_phantom = "--phantom" in sys.argv
    if on_phantom:
        from lrface.checks import phantom

        phantom.install()
    found = PARTS[words[0]](on_phantom, *words[1:])
    print(json.dumps(found._asdict()), flush=True)


if __name__ == "__main__":
    main()
