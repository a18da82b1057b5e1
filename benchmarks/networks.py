"""Time and memory of every restoration network at paper size, 4x, on whole 128x128 faces.

`.venv/bin/python benchmarks/networks.py [--methods SRCNN,EDSR]` writes
`results/benchmarks/networks_cpu.csv` (`networks_cuda.csv` on a GPU) after each network: seconds of
a training step (objective, backward, Adam) and of an inference, and the memory of a step beside
what `lrface.training.cost_model` predicts. Random pixels: no data set is needed.

Each network has its own process, so that the peak is its own; on a CPU the peak is the resident
memory over that before the network was built. Batches of 16; a network that does not fit is tried
with half, and half again. `batch` 0: not even one face fits.
"""

from __future__ import annotations

import argparse
import csv
import json
import resource
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

BATCH = 16
SCALE = 4
SECONDS = 5.0
"""A step is repeated for so long, and the mean is taken."""
NO_ROOM = 3
"""Exit code of a process whose network did not fit."""


def seconds(act, synchronise) -> float:
    """Mean seconds of a call of ``act``, after a warm-up."""
    act()
    synchronise()
    rounds, began = 0, time.perf_counter()
    while not rounds or time.perf_counter() - began < SECONDS:
        act()
        synchronise()
        rounds += 1
    return (time.perf_counter() - began) / rounds


def measure(method: str, batch: int) -> dict:
    """Measure one network in this process; raises what the allocator raises if it does not fit."""
    import psutil
    import torch
    from lrface import degrade, models, runs
    from lrface.models.objective import Batch
    from lrface.training import cost_model

    chosen = models.method(method)
    loss = "paper" if "paper" in chosen.objectives else "l1"
    config = runs.Config(
        method=method,
        degradation=degrade.setting(f"{SCALE}x"),
        data="synthetic",
        size="paper",
        steps=1,
        batch=batch,
        loss=loss,
    )
    predicted = cost_model.cost(config)
    device, process = runs.device(), psutil.Process()
    cuda = device.type == "cuda"
    torch.manual_seed(0)
    hr = torch.rand(batch, 3, cost_model.FACE, cost_model.FACE)
    one = Batch(config.degradation(hr), hr, torch.rand(batch, 68, 2) * cost_model.FACE).to(device)
    before = process.memory_info().rss
    # a network that is too large then raises an error here, and the system kills no other program
    if not cuda:
        room = process.memory_info().vms + int(0.95 * psutil.virtual_memory().available)
        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        soft = room if hard == resource.RLIM_INFINITY else min(room, hard)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))

    net = models.restorer(method, SCALE, "paper")
    objective = config.objective(net)
    net.to(device, memory_format=torch.channels_last)
    objective.to(device)
    adam, trainable = objective.adam, [p for p in net.parameters() if p.requires_grad]
    learners = {"loss": torch.optim.Adam(trainable, 1e-4, **adam)}
    if (discriminator := objective.discriminator) is not None:
        learners["discriminator"] = torch.optim.Adam(discriminator.parameters(), 1e-4, **adam)

    def step() -> None:
        losses = objective(net, one)
        for name, learner in learners.items():
            learner.zero_grad()
            losses[name].backward()
            learner.step()

    def infer() -> None:
        with torch.no_grad():
            net(one.lr)

    def synchronise() -> None:
        if cuda:
            torch.cuda.synchronize()

    step_seconds = seconds(step, synchronise)
    peak = (
        torch.cuda.max_memory_allocated()
        if cuda
        else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before
    )
    net.eval()
    infer_seconds = seconds(infer, synchronise)
    return {
        "method": method,
        "batch": batch,
        "parameters": predicted.parameters,
        "step_seconds": round(step_seconds, 4),
        "train_faces_per_second": round(batch / step_seconds, 3),
        "infer_faces_per_second": round(batch / infer_seconds, 3),
        "peak_gb": round(peak / 1e9, 3),
        "predicted_gb": round(predicted.memory / 1e9, 3),
        "gflop_per_second": round(2 * predicted.macs * batch / step_seconds / 1e9, 1),
        "device": torch.cuda.get_device_name() if cuda else "cpu",
        "threads": torch.get_num_threads(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
    }


def alone(method: str, batch: int) -> None:
    """The measuring process: one JSON line, or the exit code :data:`NO_ROOM`."""
    try:
        print(json.dumps(measure(method, batch)))
    except MemoryError:
        sys.exit(NO_ROOM)
    except RuntimeError as error:  # torch.OutOfMemoryError is one, and so is the CPU allocator's
        if not any(word in str(error).lower() for word in ("memory", "alloc")):
            raise
        sys.exit(NO_ROOM)


def largest(method: str) -> dict | None:
    """The row of the largest batch that fits, or None."""
    batch = BATCH
    while batch:
        done = subprocess.run(
            [sys.executable, __file__, "--alone", method, str(batch)],
            stdout=subprocess.PIPE,
            text=True,
        )
        if done.returncode == 0:
            return json.loads(done.stdout.splitlines()[-1])
        if done.returncode != NO_ROOM and done.returncode > 0:
            raise SystemExit(f"{method}, batch {batch}: failed, see above")
        batch //= 2  # no room, or killed by the system (a negative code)
    return None


def asked() -> tuple[str, list[str]]:
    """The kind of device and the trainable methods.

    Another process finds them out: what this one imports would count in its children's peak.
    """
    code = (
        "from lrface import models, runs\n"
        "methods = models.METHODS.values()\n"
        "trained = (m.name for m in methods if m.trainable and not m.fit_closed_form)\n"
        "print(runs.device().type, *trained)"
    )
    kind, *names = subprocess.run(
        [sys.executable, "-c", code], check=True, stdout=subprocess.PIPE, text=True
    ).stdout.split()
    return kind, names


def write(rows: list[dict], path: Path) -> None:
    with open(path, "w", newline="") as file:
        table = csv.DictWriter(file, max(rows, key=len).keys())
        table.writeheader()
        table.writerows(rows)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--methods", help="names with commas; default: all that are trained")
    parser.add_argument("--alone", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.alone:
        alone(given.alone[0], int(given.alone[1]))
        sys.exit()

    from lrface.files import output_root, write_atomic

    kind, known = asked()
    target = Path(output_root(), "results", "benchmarks", f"networks_{kind}.csv")
    rows = []
    for method in given.methods.split(",") if given.methods else known:
        rows.append(largest(method) or {"method": method, "batch": 0})
        nothing = f"{method}: not even one face fits into this machine's memory"
        print(json.dumps(rows[-1]) if rows[-1]["batch"] else nothing, flush=True)
        write_atomic(target, partial(write, rows))
