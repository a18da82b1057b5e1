"""1:N search at TinyFace's size, and in a gallery of a million.

`.venv/bin/python benchmarks/identification.py` prints a JSON line for each measurement and writes
`results/benchmarks/identification_cpu.csv`. No data set is needed: random unit vectors of 512
numbers, those of one identity a little alike.

Each measurement has its own process, so that its peak memory is its own; `before_gb` is that of the
interpreter, the libraries and the vectors, `memory_ratio` compares what comes on top of it with
ours. At TinyFace's size (3,728 probes, 4,443 mates, 153,428 distractors) the peers compute the
whole matrix of distances, and sort it whole, or probe by probe as the published evaluation does.
One thread each, interleaved, and the median of the rounds: a busy machine slows them alike, and
hardly changes `cpu_s`. The million vectors (2 GB) are read from a temporary file.
"""

from __future__ import annotations

import csv
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np
import torch
from lrface.files import output_root, write_atomic
from lrface.metrics import identification

PROBES, MATES, DISTRACTORS, PEOPLE, DIMS = 3728, 4443, 153_428, 2569, 512
MILLION = 1_000_000


def unit(random: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    x = random.standard_normal(shape, dtype=np.float32)
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def faces(distractors: int, path: Path | None = None):
    """Probes, gallery, and their ids; the gallery in memory, or memory-mapped at ``path``."""
    random = np.random.default_rng(0)
    people = unit(random, (PEOPLE, DIMS))
    probe_ids, mate_ids = (
        np.append(np.arange(PEOPLE), random.integers(0, PEOPLE, n - PEOPLE))
        for n in (PROBES, MATES)
    )
    probe, mates = (
        people[ids] + 2.2 * unit(random, (len(ids), DIMS)) for ids in (probe_ids, mate_ids)
    )
    probe, mates = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (probe, mates))
    ids = np.append(mate_ids, np.full(distractors, -100))
    if path is not None and path.exists():
        return probe, np.load(path, mmap_mode="r"), probe_ids, ids
    shape = (MATES + distractors, DIMS)
    gallery = (
        np.lib.format.open_memmap(path, "w+", np.float32, shape)
        if path
        else np.empty(shape, np.float32)
    )
    gallery[:MATES] = mates
    for start in range(MATES, len(gallery), 20_000):
        part = gallery[start : start + 20_000]
        part[:] = unit(random, part.shape)
    return probe, gallery, probe_ids, ids


def naive(probe, gallery, probe_ids, ids, whole: bool) -> tuple[float, float]:
    """Rank-1 and mAP from all distances, sorted in one call or probe by probe."""
    distances = torch.cdist(torch.from_numpy(probe), torch.from_numpy(gallery)).numpy()
    order = distances.argsort(axis=1) if whole else None
    first, areas = [], []
    for i, identity in enumerate(probe_ids):
        row = order[i] if whole else distances[i].argsort()
        rank = np.flatnonzero(ids[row] == identity) + 1
        place = np.arange(1, len(rank) + 1)
        before = np.where(rank > 1, (place - 1) / np.maximum(rank - 1, 1), 1)
        first.append(rank[0])
        areas.append((before + place / rank).mean() / 2)
    return float(np.mean(np.array(first) == 1)), float(np.mean(areas))


def peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def measure(way: str, path: str = "") -> None:
    if way == "write":
        faces(MILLION - MATES, Path(path))
        return
    case = faces(MILLION - MATES, Path(path)) if path else faces(DISTRACTORS)
    torch.set_num_threads(1)
    before, began, used = peak(), time.perf_counter(), time.process_time()
    if way == "lrface":
        found = identification(*case)
        rank1, mean = found.rank(1), found.mAP
    else:
        rank1, mean = naive(*case, whole=way == "sorted whole")
    line = {
        "seconds": time.perf_counter() - began,
        "cpu_s": time.process_time() - used,
        "peak_gb": peak(),
        "before_gb": before,
    }
    print(json.dumps(line | {"rank1": rank1, "mAP": mean}))


def apart(*arguments: str) -> dict:
    """One measurement in its own process."""
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    done = subprocess.run(
        [sys.executable, __file__, *arguments],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | threads,
    )
    return json.loads(done.stdout) if done.stdout else {}


def median(runs: list[dict]) -> dict:
    return {name: statistics.median(run[name] for run in runs) for name in runs[0]}


def row(way: str, gallery: int, middle: dict, rounds: int, ours: dict) -> dict:
    """A row of the table; ratios are those of the peer's seconds and memory to ours."""
    size = {
        "way": way,
        "probes": PROBES,
        "gallery": gallery,
        "dims": DIMS,
        "threads": 1,
        "rounds": rounds,
    }
    ratios = {f"{name}_ratio": round(middle[name] / ours[name], 2) for name in ("seconds", "cpu_s")}
    own, theirs = (one["peak_gb"] - one["before_gb"] for one in (ours, middle))
    found = size | {k: round(v, 6 if k in ("rank1", "mAP") else 3) for k, v in middle.items()}
    found |= ratios | {"memory_ratio": round(theirs / own, 2)}
    print(json.dumps(found), flush=True)
    return found


def write(rows: list[dict], path: Path) -> None:
    with open(path, "w", newline="") as file:
        table = csv.DictWriter(file, rows[0].keys())
        table.writeheader()
        table.writerows(rows)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        measure(*sys.argv[1:])
        sys.exit()
    ways = ["lrface", "sorted whole", "sorted a probe at a time"]
    rounds = [[apart(way) for way in ways] for _ in range(3)]
    middle = [median(runs) for runs in zip(*rounds, strict=True)]
    rows = [
        row(way, MATES + DISTRACTORS, found, len(rounds), middle[0])
        for way, found in zip(ways, middle, strict=True)
    ]
    with tempfile.TemporaryDirectory() as folder:
        file = str(Path(folder, "gallery.npy"))
        apart("write", file)
        found = apart("lrface", file)
        rows.append(row("lrface, from disk", MILLION, found, 1, found))
    target = Path(output_root(), "results", "benchmarks", "identification_cpu.csv")
    write_atomic(target, partial(write, rows))
