"""Time and memory by the number of faces, 10^3 to 10^6: is every part linear, and at what cost?

`.venv/bin/python benchmarks/scale.py [--most 1000000]` writes `results/benchmarks/scale_cpu.csv`
and a figure of it. The embedded rendered faces are repeated under other names (people, keys and
hashes differ, pictures repeat), in a temporary folder: 7 GB at a million. Each size has its own
process, with one thread; memory is its peak, `more_gb` what a part adds to it.

- `scan`: the table of the set, its files checked; `fingerprint`; `split`: people divided by a hash
  of their names, and the manifest; `leakage`: training against held-out faces.
- `epoch`: faces decoded, mirrored, degraded (4x) and cut for SRCNN, timed over at most 4,096 of
  them and scaled; `score`: a face restored, PSNR, SSIM and landmarks, over 64 and scaled.
- `search`: 1,000 probes in a gallery of so many random vectors of 128 numbers, exactly.

`exponent` is the slope in a doubly logarithmic plot over the larger half of the sizes: 1 is linear.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

SIZES = (1_000, 10_000, 100_000, 1_000_000)
PARTS = ("scan", "fingerprint", "split", "leakage", "epoch", "score", "search")


def write(folder: Path, faces: int) -> None:
    """A rendered set of so many faces, in files of the embedded one's size."""
    import pyarrow as pa
    import pyarrow.parquet as pq
    from lrface.data.readers import rendered

    source = pq.read_table(next(rendered.EMBEDDED.glob("images-*.parquet")))
    files, done = {}, 0
    for copy in range(-(-faces // len(source))):
        table = source.slice(0, min(len(source), faces - done))
        done += len(table)
        for name in ("key", "identity", "digest"):
            values = [f"{copy:04d}{value}" for value in table[name].to_pylist()]
            place = table.schema.get_field_index(name)
            table = table.set_column(place, table.schema.field(place), pa.array(values))
        file = folder / f"images-{copy:05d}.parquet"
        pq.write_table(table, file, row_group_size=64)
        files[file.name] = {"bytes": file.stat().st_size, "sha256": ""}
    manifest = {"files": files, "not_made": {}}
    (folder / "manifest.json").write_text(json.dumps(manifest))


def measure(folder: Path, faces: int) -> list[dict]:
    """Every part at one size, in this process."""
    import torch
    from lrface import data, degrade, metrics, models
    from lrface.data import splits
    from lrface.data.readers import rendered
    from lrface.training.batches import TrainingData, batches
    from lrface.training.hyperparameters import Hyperparameters

    torch.set_num_threads(1)
    rendered.CHECKED = 0  # sizes of files are compared, as of any large set
    found: list[dict] = []

    def timed(part: str, act: Callable[[], object], share: float = 1.0) -> object:
        before, began, used = peak(), time.perf_counter(), time.process_time()
        result = act()
        seconds, cpu = time.perf_counter() - began, time.process_time() - used
        row = {"part": part, "faces": faces, "seconds": seconds / share, "cpu_s": cpu / share}
        found.append(row | {"more_gb": peak() - before, "peak_gb": peak()})
        return result

    base = peak()
    every = timed("scan", lambda: data.load(f"synthetic:{folder}"))
    timed("fingerprint", lambda: every.fingerprint)
    timed("split", lambda: (splits.by_identity(every.table["identity"]), every.manifest))
    train = every.where(every.table["split"] == "train")
    held_out = every.table[every.table["split"] != "train"]
    timed("leakage", lambda: data.check_leakage(train.table, held_out, "training and held-out"))

    setting, steps = degrade.setting("4x"), max(1, min(4096, len(train)) // 16)
    given, hyper = TrainingData(train, setting), Hyperparameters(steps, 16, 64, 1e-3)
    timed("epoch", lambda: [None for _ in batches(given, hyper)], 16 * steps / faces)

    net, landmarker = models.restorer("SRCNN", 4).eval(), metrics.Landmarker()

    def score() -> None:
        hr = every.stack(range(64))
        sr = degrade.to_uint8(models.in_batches(net, setting(hr.float() / 255)))
        metrics.psnr(sr, hr), metrics.ssim(sr, hr), landmarker(sr)

    timed("score", score, 64 / faces)
    random = np.random.default_rng(0)
    vectors = random.standard_normal((faces, 128), dtype=np.float32)
    ids = np.arange(faces) // 10
    probes = random.choice(faces, min(1000, faces), replace=False)
    probe = vectors[probes] + 0.1
    timed("search", lambda: metrics.identification(probe, vectors, ids[probes], ids))
    return [row | {"libraries_gb": base} for row in found]


def peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def exponents(table: pd.DataFrame) -> pd.Series:
    """The slope of each part over the larger half of the sizes."""
    found = {}
    for part, own in table.groupby("part"):
        own = own.sort_values("faces").tail(max(2, len(own) // 2 + 1))
        if len(own) > 1:
            found[part] = np.polyfit(np.log(own["faces"]), np.log(own["cpu_s"]), 1)[0]
    return pd.Series(found, name="exponent")


def figure(table: pd.DataFrame, file: Path) -> None:
    from lrface.report import figures

    drawn, [ax] = figures.axes(size=(5.5, 3.6))
    for part in PARTS:
        own = table[table["part"] == part].sort_values("faces")
        ax.plot(own["faces"], own["cpu_s"], "o-", label=part)
    ax.set(xscale="log", yscale="log", xlabel="faces", ylabel="seconds of one core")
    ax.grid(alpha=0.3)
    figures.legend(ax)
    drawn.savefig(file, dpi=200)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--most", type=int, default=100_000, help="largest number of faces")
    parser.add_argument("--least", type=int, default=SIZES[0], help=argparse.SUPPRESS)
    parser.add_argument("--alone", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.alone:
        for row in measure(Path(given.alone[0]), int(given.alone[1])):
            print(json.dumps(row), flush=True)
        return
    from lrface.files import output_root, write_atomic

    rows = []
    for faces in (size for size in SIZES if given.least <= size <= given.most):
        with tempfile.TemporaryDirectory() as folder:
            write(Path(folder), faces)
            words = [sys.executable, __file__, "--alone", folder, str(faces)]
            done = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True)
        rows += [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    table = pd.DataFrame(rows)
    table["us_per_face"] = 1e6 * table["cpu_s"] / table["faces"]
    table = table.merge(exponents(table), left_on="part", right_index=True, how="left")
    print(table.to_string(index=False))
    folder = output_root() / "results" / "benchmarks"
    how = dict(index=False, float_format="%.4g")
    write_atomic(folder / "scale_cpu.csv", lambda path: table.to_csv(path, **how))
    write_atomic(folder / "scale_cpu.png", lambda path: figure(table, path))


if __name__ == "__main__":
    main()
