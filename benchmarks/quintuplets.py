"""One refresh of LMLE's quintuplets at CelebA's size.

`.venv/bin/python benchmarks/quintuplets.py` prints a JSON line for each measurement and writes
`results/benchmarks/quintuplets_cpu.csv`. No data set is needed: 160,000 random unit vectors of 128
numbers around 800 centres, 200 around each; 24 of the centres (3 % of the rows) are a rare class.

The peers are plain NumPy loops over the anchors, timed on a sample and scaled to all: by
differences of vectors, as the definition reads, and by products. They are timed before and after
the refresh, and the mean is taken: a busy machine slows them alike, and hardly changes `cpu_s`.
Each measurement has one thread and its own process, so that its peak memory is its own;
`before_gb` is that of the interpreter, the libraries and the vectors. `agree` is the fraction of
the sampled anchors whose four members a loop in float64 confirms.
"""

from __future__ import annotations

import csv
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import torch
from lrface.files import output_root, write_atomic
from lrface.models.lmle import quintuplets

CLUSTERS, MEMBERS, RARE, DIMS = 800, 200, 24, 128
SAMPLE = 48
"""Number of anchors that a loop is timed on."""


def faces() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Vectors, classes and clusters, in random order."""
    random = np.random.default_rng(0)
    cluster = random.permutation(np.repeat(np.arange(CLUSTERS), MEMBERS))
    centres, noise = (
        random.standard_normal((n, DIMS), dtype=np.float32) for n in (CLUSTERS, len(cluster))
    )
    features = centres[cluster] + noise
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    return features, (cluster < RARE).astype(int), cluster


def loop(features, labels, cluster, anchors, by_products: bool) -> np.ndarray:
    half, found = np.square(features).sum(1) / 2, []
    for i in anchors:
        if by_products:
            far = half - features @ features[i]
        else:
            far = np.square(features - features[i]).sum(1)
        same, near = labels == labels[i], cluster == cluster[i]
        among = [np.flatnonzero(kind) for kind in (near, same & ~near, same, ~same)]
        pick = (np.argmax, np.argmin, np.argmax, np.argmin)
        found.append([rows[f(far[rows])] for f, rows in zip(pick, among, strict=True)])
    return np.array(found)


def peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def measure(way: str) -> None:
    features, labels, cluster = faces()
    torch.set_num_threads(1)
    anchors = range(0, len(features), len(features) // SAMPLE)
    before, began, used = peak(), time.perf_counter(), time.process_time()
    if way == "lrface":
        found, scale = quintuplets(features, labels, cluster), 1.0
    else:
        found = loop(features, labels, cluster, anchors, way == "products")
        scale = len(features) / len(anchors)
    line = {
        "seconds": scale * (time.perf_counter() - began),
        "cpu_s": scale * (time.process_time() - used),
    }
    line |= {"peak_gb": peak(), "before_gb": before}
    if way == "lrface":
        same = found[anchors] == loop(features.astype(np.float64), labels, cluster, anchors, False)
        line["agree"] = float(same.all(1).mean())
    print(json.dumps(line))


def apart(way: str) -> dict[str, float]:
    """One measurement in its own process."""
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    done = subprocess.run(
        [sys.executable, __file__, way],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | threads,
    )
    return json.loads(done.stdout)


def write(rows: list[dict], path: Path) -> None:
    with open(path, "w", newline="") as file:
        table = csv.DictWriter(file, rows[0].keys())
        table.writeheader()
        table.writerows(rows)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        measure(sys.argv[1])
        sys.exit()
    order = ["differences", "products", "lrface", "products", "differences"]
    runs = [(way, apart(way)) for way in order]
    middle = {
        way: {k: statistics.mean(r[k] for w, r in runs if w == way) for k in dict(runs)[way]}
        for way in ("lrface", *order[:2])
    }
    rows = []
    for way, found in middle.items():
        size = {
            "way": way,
            "rows": CLUSTERS * MEMBERS,
            "dims": DIMS,
            "clusters": CLUSTERS,
            "rare": RARE / CLUSTERS,
            "threads": 1,
        }
        ours = middle["lrface"]
        ratios = {f"{k}_ratio": round(found[k] / ours[k], 1) for k in ("seconds", "cpu_s")}
        measured = {k: round(x, 2) for k, x in found.items() if k != "agree"}
        rows.append(size | measured | ratios | {"agree": found.get("agree", "")})
        print(json.dumps(rows[-1]))
    target = Path(output_root(), "results", "benchmarks", "quintuplets_cpu.csv")
    write_atomic(target, partial(write, rows))
