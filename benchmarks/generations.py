"""The same people by both generations of rendered faces.

`.venv/bin/python benchmarks/generations.py` writes `generations_128.png` and `generations_512.png`
to `figures/synthetic/benchmarks` (or `--out`): in each the first generation above, the second
below, the same people at the same moments. They are the first people of the embedded set, not
chosen ones.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from lrface.data import synthetic
from PIL import Image

SEED = 2026
"""Of the embedded set."""
SHEETS = {128: (range(24), 12), 512: (range(1, 4), 3)}
"""Size of a picture -> people and columns."""
STEP = 4
"""Grey levels are rounded to multiples of this, so that a sheet is smaller than 1.5 MB."""


def sheet(size: int, people: range, columns: int) -> np.ndarray:
    """uint8 (H, W, 3)."""
    rows = []
    for generation in (1, 2):
        tiles = []
        for number in people:
            who = synthetic.person(synthetic.identity(SEED, number, generation=generation))
            tiles.append(synthetic.render(who, synthetic.view(who.identity, 1), size).picture())
        rows += [np.concatenate(tiles[i : i + columns], 1) for i in range(0, len(tiles), columns)]
    return np.minimum(np.round(np.concatenate(rows) / STEP) * STEP, 255).astype(np.uint8)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("figures/synthetic/benchmarks"))
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    for size, (people, columns) in SHEETS.items():
        Image.fromarray(sheet(size, people, columns)).save(
            out / f"generations_{size}.png", optimize=True
        )


if __name__ == "__main__":
    main()
