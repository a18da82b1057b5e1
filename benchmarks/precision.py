"""Does training in bfloat16 end where training in float32 ends? The same trainings in both.

`.venv/bin/python benchmarks/precision.py [--trainings N]` writes
`results/benchmarks/precision_cpu.csv`, a row a method, training and logged step: loss and
validation PSNR in both, and the seconds of the whole training; and a figure of the curves,
`precision_cpu.png`. Seeds, faces and batches are the same. A finished training is taken from the
cache. On a processor without bfloat16's products it stops: both would be float32.
"""

from __future__ import annotations

import argparse
import sys

import pandas as pd
from lrface import data, degrade, numerics, runs
from lrface.files import output_root, write_atomic
from lrface.report import figures
from lrface.training import recipes

METHODS = ("EDSR", "RCAN", "WaveletSRNet")
"""At 4x in size narrow, with the recipes of preset quick."""


def curves(method: str, seed: int) -> pd.DataFrame:
    """A row a logged step: loss and validation PSNR in float32 (no suffix) and in bfloat16."""
    faces = data.load("synthetic-2", "train")
    how = dict(n_faces=len(faces), size="narrow", seed=seed)
    both = []
    for precision in ("32-true", "bf16-autocast"):
        config = recipes.config(
            method, degrade.setting("4x"), faces.name, "quick", precision=precision, **how
        )
        run = runs.fit(config, faces)
        log = pd.DataFrame(run.log)[["step", "loss", "val_psnr"]]
        both.append(log.assign(seconds=run.record["seconds"]).set_index("step"))
    table = both[0].join(both[1], rsuffix="_bf16").reset_index()
    return table.assign(method=method, seed=seed)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trainings", type=int, default=3)
    given = parser.parse_args()
    if not numerics.bf16_is_fast(runs.device()):
        sys.exit("this processor has no products of bfloat16 numbers: nothing to compare")
    parts = [curves(m, seed) for m in METHODS for seed in range(given.trainings)]
    table = pd.concat(parts, ignore_index=True)
    folder = output_root() / "results" / "benchmarks"
    folder.mkdir(parents=True, exist_ok=True)
    write_atomic(folder / "precision_cpu.csv", lambda path: table.to_csv(path, index=False))
    figure, panels = figures.axes(ncols=len(METHODS), size=(9, 2.8))
    for ax, (method, part) in zip(panels, table.groupby("method", sort=False), strict=True):
        for column, label in (("val_psnr", "float32"), ("val_psnr_bf16", "bfloat16")):
            drawn = part.dropna(subset=column).groupby("step")[column].mean()
            ax.plot(drawn.index, drawn, "o-", ms=2, label=label)
        ax.set(title=method, xlabel="step", ylabel="validation PSNR, dB")
    figures.legend(figure, panels[0])
    figure.savefig(folder / "precision_cpu.png", dpi=200)
    ends = table.dropna(subset="val_psnr").groupby(["method", "seed"]).last()
    ends["difference"] = ends["val_psnr_bf16"] - ends["val_psnr"]
    ends["times_as_fast"] = ends["seconds"] / ends["seconds_bf16"]
    print(ends[["val_psnr", "val_psnr_bf16", "difference", "times_as_fast"]].round(3))


if __name__ == "__main__":
    main()
