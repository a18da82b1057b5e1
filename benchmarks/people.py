"""LFW accuracy of one recogniser against the number of rendered people it learnt from.

`.venv/bin/python benchmarks/people.py [--people 282,1000,3000,10000] [--generation 2]` renders the
people into `--folder` (the user's cache by default), trains a recogniser on each number of them,
and appends to `results/benchmarks/people.csv` a row a number: LFW's accuracy with its 95 % interval
over the ten folds, as study 03 measures it. Rendering and training go on where they were
interrupted; what is there is not made again. `--dry-run` says what there is to do.

The sets have the same number of pictures a person, the networks the same number of steps and of
faces a step, so that the number of people is what differs. The network is FRNET of the size
`small`, of two million parameters, on aligned faces; `--size paper` has ten times as many.
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import torch
from lrface import data, degrade, metrics, models, runs
from lrface.data import pair_sets, synthetic
from lrface.files import cache_dir
from lrface.models.recognition import frnet

PICTURES = 12
TRAINED = 0.7
"""Share of a rendered set's people that are in its training split."""
SEED = 77
"""Of the rendered people, who are in no study."""
PICTURES_A_SECOND = 7
"""Of one core, at least."""
COLUMNS = ("generation", "people", "size", "steps", "accuracy", "low", "high", "pairs", "seconds")


def rendered(place: Path, people: int, generation: int) -> str:
    """The name of a set with about so many people in its training split; renders it if need be."""
    target = place / f"generation{generation}-{people}"
    if not (target / "manifest.json").exists():
        count = round(people / TRAINED)
        synthetic.make(target, count, PICTURES, SEED, native=False, generation=generation)
    return f"synthetic:{target}"


def config(name: str, size: str, steps: int) -> runs.Config:
    """The training on a set: the same for all numbers of people."""
    return runs.Config(
        method="FRNET",
        degradation=degrade.HR,
        data=name,
        size=size,
        steps=steps,
        batch=64,
        lr=1e-3,
        schedule="drops",
        loss="paper",
    )


def accuracy(net: torch.nn.Module, pairs: pair_sets.PairSet) -> metrics.Verification:
    """As study 03 compares two faces: the cosine of their vectors after PCA."""

    def describe(faces: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
        return frnet.describe(net, models.align(faces.float() / 255, points))

    vectors = models.in_batches(describe, pairs.hr, pairs.points).numpy()
    pair = vectors[pairs.first], vectors[pairs.second]
    scores = metrics.cosine_after_pca(*pair, pairs.fold, 128)
    return metrics.verification(scores, pairs.same, pairs.fold)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--people", default="282,1000,3000,10000")
    parser.add_argument("--generation", type=int, default=2)
    parser.add_argument("--size", default="small")
    parser.add_argument("--steps", type=int, default=12_000)
    parser.add_argument("--pairs", type=int, help="LFW pairs; default: all 6,000")
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--out", type=Path, default=Path("results/benchmarks/people.csv"))
    parser.add_argument("--dry-run", action="store_true")
    given = parser.parse_args()
    numbers = [int(number) for number in given.people.split(",")]
    if given.dry_run:
        for number in numbers:
            pictures = round(number / TRAINED) * PICTURES
            hours = pictures / PICTURES_A_SECOND / 3600
            print(f"{number} people: {pictures} pictures, {hours:.1f} hours of one core")
        return
    place = given.folder or cache_dir("people")
    pairs = pair_sets.load("lfw", given.pairs)
    given.out.parent.mkdir(parents=True, exist_ok=True)
    fresh = not given.out.exists()
    with open(given.out, "a", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        if fresh:
            writer.writerow(COLUMNS)
        for number in numbers:
            name = rendered(place, number, given.generation)
            run = runs.fit(config(name, given.size, given.steps))
            there = data.load(name, "train").table["identity"].nunique()
            found = accuracy(run.model().eval(), pairs)
            low, high = found.accuracy - 1.96 * found.stderr, found.accuracy + 1.96 * found.stderr
            row = [given.generation, there, given.size, given.steps, round(found.accuracy, 4)]
            row += [round(low, 4), round(high, 4), len(pairs.same), run.record.get("seconds")]
            writer.writerow(row)
            file.flush()
            print(dict(zip(COLUMNS, row, strict=True)), flush=True)


if __name__ == "__main__":
    main()
