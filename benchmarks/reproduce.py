"""How long `make reproduce` takes on this machine: each study, cold and warm, and its first figure.

`.venv/bin/python benchmarks/reproduce.py [--studies 00,01] [--preset quick]` writes
`results/benchmarks/reproduce_cpu.csv`. Cold: an empty cache, as after a fresh clone. Warm: the same
command again, forced, with the cache that the first has left. Results go to a temporary folder.
Where the table is there already, `before_s` is its `seconds` and `ratio` how many times as long it
took then.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pandas as pd
from lrface.execution import notebooks
from lrface.files import output_root, write_atomic


def run(study: str, preset: str, cache: Path, out: Path) -> dict:
    """One study: seconds until its first figure is written, and in all."""
    began, first, stop = time.monotonic(), float("nan"), threading.Event()

    def watch() -> None:
        nonlocal first
        while not stop.wait(0.2):
            if any(out.rglob("*.png")):
                first = time.monotonic() - began
                return

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    words = [str(Path(sys.executable).with_name("lrface")), "reproduce"]
    words += ["--study", study, "--preset", preset, "--force"]
    own = {"LRFACE_CACHE": str(cache), "LRFACE_OUT": str(out)}
    done = subprocess.run(words, env=os.environ | own, capture_output=True, text=True)
    seconds = time.monotonic() - began
    stop.set()
    thread.join()
    if done.returncode:
        raise SystemExit(f"study {study} failed: {(done.stdout + done.stderr)[-500:]}")
    return {"seconds": seconds, "first_figure_s": first}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--studies", default=",".join(p.stem[:2] for p in notebooks.every()))
    parser.add_argument("--preset", default="quick")
    given = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        cache = Path(folder, "cache")
        for state in ("cold", "warm"):
            for study in given.studies.split(","):
                out = Path(folder, f"{state}-{study}")
                found = run(study, given.preset, cache, out)
                rows.append({"study": study, "state": state, "preset": given.preset} | found)
                print(rows[-1], flush=True)
    table = pd.DataFrame(rows)
    total = table.groupby("state", sort=False)["seconds"].sum().reset_index()
    total = total.assign(study="all", preset=given.preset)
    table = pd.concat([table, total], ignore_index=True).assign(cores=os.cpu_count())
    file = output_root() / "results" / "benchmarks" / "reproduce_cpu.csv"
    if file.is_file():
        same = ["study", "state", "preset"]
        before = pd.read_csv(file, dtype={"study": str})[[*same, "seconds"]]
        table = table.merge(before.rename(columns={"seconds": "before_s"}), "left", on=same)
        table["ratio"] = table["before_s"] / table["seconds"]
    how = dict(index=False, float_format="%.4g")
    write_atomic(file, lambda path: table.to_csv(path, **how))
    print(table.to_string(index=False))


if __name__ == "__main__":
    main()
