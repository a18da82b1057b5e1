"""How like photographs a set of rendered faces is, by measures that were made on photographs.

`.venv/bin/python benchmarks/realism.py SET [--photos celeba] [--measures spectrum,price] [--n 480]`
appends to `results/benchmarks/realism.csv` (or `--out`) a row a number: `set, measure, part, value,
n`. SET is any that `lrface.data.load` knows, such as `synthetic`, `synthetic-2` or
`synthetic:PATH`; the photographs are under LRFACE_DATA, and none leaves there. The committed rows
are of four pictures each of the first 120 people of both generations (`--per-person 4`; of the
second `.venv/bin/lrface data make PATH --identities 120 --per-identity 4 --seed 2026 --generation
2` makes these alone). The measures:

- `spectrum`: power of windows of 24 pixels on skin, eyes, mouth, hair and background over that of
  photographs, dB, in three bands of spatial frequency; 0 is the goal.
- `landmarks`: dlib's 68 landmarks from the true ones, mean over visible points, over the face box's
  side; photographs with points set by hand: 0.016 to 0.021 (300-W's, of other authors). Marks and
  brows of the second generation were placed with dlib at hand, so this is no independent test.
- `lost`: share of the faces that dlib finds and loses after bicubic enlargement from 8x.
- `bicubic`: PSNR of bicubic enlargement at 4x and 8x, by group; of photographs also by the darkness
  of the cheek (lowest and highest tenth) and, where they have it, CelebA's attributes.
- `verification`: accuracy of dlib's recogniser on pairs within each group, at the best threshold.
- `price`: PSNR on photographs that a small network loses if it learnt from the rendered faces and
  not from as many photographs of other people, dB at 4x and 8x. A minute of training each: a
  stand-in for the networks of study 01, not their value.
- `classifier`: area under the ROC curve of a small network that tells rendered from photographed
  windows of 64 pixels, by the place of the window; 0.5 is the goal, 1 a certain give-away.
"""

from __future__ import annotations

import argparse
import csv
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from lrface import data, degrade, models
from lrface.data.landmarks import Landmarker
from lrface.files import cache_dir
from lrface.metrics.fidelity import psnr
from lrface.metrics.spectrum import LUMA, power_spectrum
from lrface.models.recognition.dlib_resnet import chips
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn

WINDOW = 24
BANDS = {"low": slice(1, 4), "middle": slice(4, 8), "high": slice(8, 12)}
"""Rings of the spectrum of a window: 2-4, 5-8 and 9-12 periods across it."""
SECONDS = 60
"""Length of one training of `price`; as long as one of `classifier`."""

Row = tuple[str, str, float, int]
"""Measure, part, value, n."""


class Faces:
    """Pictures of a set with dlib's landmarks, and the truth of a rendered one."""

    def __init__(self, name: str, split: str | None, n: int, per_person: int | None = None) -> None:
        self.set = data.load(name, split, None if per_person else n)
        if per_person:
            table = self.set.table
            number = table["identity"].str[1:].astype(int)
            first = (number < n // per_person) & (table["view"] <= per_person)
            self.set = self.set.where(first.to_numpy())
        self.images = torch.cat([*self.set.batches(64)])
        store = cache_dir("realism") / f"{self.set.fingerprint}.npz"
        if not store.exists():
            finder = Landmarker()
            boxes = finder.detect(self.images)
            np.savez(store, boxes=boxes, points=finder.landmarks68(self.images, boxes))
        with np.load(store) as file:
            self.boxes, self.points = file["boxes"], file["points"]
        self.found = np.isfinite(self.boxes).all(1)

    @property
    def float(self) -> Tensor:
        return self.images.float() / 255


def places(points: np.ndarray, side: int) -> dict[str, list[tuple[float, float]]]:
    """Centres (x, y) of the windows of each region of a face with 68 landmarks."""
    brows, chin = points[17:27].mean(0), points[8]
    up = (brows - chin) * 0.62
    half = WINDOW / 2
    return {
        "skin": [tuple((points[a] + points[b]) / 2) for a, b in ((2, 31), (14, 35))],
        "eyes": [tuple(points[36:42].mean(0)), tuple(points[42:48].mean(0))],
        "mouth": [tuple(points[48:60].mean(0))],
        "hair": [(float((brows + up)[0]), max(float((brows + up)[1]), half))],
        "background": [(half, half), (side - half, half)],
    }


def windows(faces: Faces) -> dict[str, Tensor]:
    """Float windows (n, 3, 24, 24) of each region that lie inside the pictures."""
    side, found = faces.images.shape[-1], {}
    for row in np.flatnonzero(faces.found):
        for region, centres in places(faces.points[row], side).items():
            for x, y in centres:
                left, top = round(x - WINDOW / 2), round(y - WINDOW / 2)
                if min(left, top) >= 0 and max(left, top) + WINDOW <= side:
                    one = faces.images[row, :, top : top + WINDOW, left : left + WINDOW]
                    found.setdefault(region, []).append(one)
    return {region: torch.stack(found[region]).float() / 255 for region in sorted(found)}


def spectrum(rendered: Faces, photos: Faces) -> Iterator[Row]:
    """Mean logarithm of the power in each band over that of photographs, in dB."""
    theirs = {k: power_spectrum(w)[1].clamp_min(1e-8) for k, w in windows(photos).items()}
    for region, window in windows(rendered).items():
        mine = power_spectrum(window)[1].clamp_min(1e-8)
        for band, rings in BANDS.items():
            level = [10 * p[:, rings].mean(1).log10().mean() for p in (mine, theirs[region])]
            yield "spectrum", f"{region} {band}", float(level[0] - level[1]), len(window)


def landmark_error(rendered: Faces, photos: Faces) -> Iterator[Row]:
    """As study 00 measures it; then the mean shift of dlib's points by part of the face."""
    stored = rendered.set.stored("landmarks", "landmarks_visible")
    true = np.stack(stored["landmarks"].to_numpy()).reshape(-1, 68, 2)
    visible = np.stack(stored["landmarks_visible"].to_numpy())
    box = np.sqrt(np.prod(true.max(1) - true.min(1), axis=1))
    off = np.linalg.norm(rendered.points - true, axis=2) / box[:, None]
    off = np.where(visible, off, np.nan)[rendered.found]
    yield "landmarks", "all", float(np.nanmean(np.nanmean(off, 1))), len(off)
    shift = ((rendered.points - true) / box[:, None, None])[rendered.found]
    shift = np.where(visible[rendered.found][..., None], shift, np.nan)
    parts = {
        "jaw": slice(0, 17),
        "brows": slice(17, 27),
        "nose": slice(27, 36),
        "eyes": slice(36, 48),
        "mouth": slice(48, 68),
    }
    for part, rows in parts.items():
        yield "landmarks", part, float(np.nanmean(off[:, rows])), len(off)
        yield "landmarks", f"{part} down", float(np.nanmean(shift[:, rows, 1])), len(off)
    yield "landmarks", "faces found", float(rendered.found.mean()), len(rendered.found)


def lost(rendered: Faces, photos: Faces) -> Iterator[Row]:
    setting, finder = degrade.setting("8x"), Landmarker()
    for name, faces in (("rendered", rendered), ("photographs", photos)):
        small = degrade.resize(setting(faces.float), faces.images.shape[-2:])
        again = np.isfinite(finder.detect(degrade.to_uint8(small))).all(1)
        share = (faces.found & ~again).sum() / faces.found.sum()
        yield "lost", name, float(share), int(faces.found.sum())


def cheeks(faces: Faces) -> np.ndarray:
    """Luma of the cheeks (n,) in 0 to 1, NaN where dlib finds no face."""
    luma = np.full(len(faces.images), np.nan)
    for row in np.flatnonzero(faces.found):
        centres = places(faces.points[row], faces.images.shape[-1])["skin"]
        spots = [
            faces.images[row, :, int(y) - 4 : int(y) + 5, int(x) - 4 : int(x) + 5].float()
            for x, y in np.clip(centres, 4, faces.images.shape[-1] - 5)
        ]
        colour = torch.stack([spot.mean((1, 2)) for spot in spots]).mean(0) / 255
        luma[row] = float((colour * torch.tensor(LUMA)).sum())
    return luma


def bicubic(rendered: Faces, photos: Faces) -> Iterator[Row]:
    for name, faces in (("rendered", rendered), ("photographs", photos)):
        table, dark = faces.set.table, cheeks(faces)
        tenths = np.nanquantile(dark, (0.1, 0.9))
        parts = {"all": np.ones(len(dark), bool)}
        if "group" in table:
            parts |= {g: (table["group"] == g).to_numpy() for g in sorted(table["group"].unique())}
        parts |= {"darkest cheeks": dark <= tenths[0], "lightest cheeks": dark >= tenths[1]}
        for label in ("Black_Hair", "Pale_Skin", "Male"):
            if name == "photographs" and label in table:
                parts[label] = table[label].astype(bool).to_numpy()
        for scale in ("4x", "8x"):
            hr, setting = faces.float, degrade.setting(scale)
            back = degrade.resize(setting(hr), hr.shape[-2:])
            value = psnr(degrade.round_uint8(back), hr).numpy()
            for part, rows in parts.items():
                mean, count = float(value[rows].mean()), int(rows.sum())
                yield "bicubic", f"{name} {scale} {part}", mean, count


def verification(rendered: Faces, photos: Faces) -> Iterator[Row]:
    """Pairs of a person's pictures against as many pairs of two people of one group and gender."""
    judge, finder = models.embedder("dlib"), Landmarker()
    rows = np.flatnonzero(rendered.found)
    images = rendered.images[rows]
    five = finder.landmarks5(images, rendered.boxes[rows])
    vectors = models.in_batches(judge, chips(images, five)).numpy()
    table = rendered.set.table.iloc[rows]
    who, group = table["identity"].to_numpy(), table["group"].to_numpy()
    gender, rng = table["gender"].to_numpy(), np.random.default_rng(0)
    a, b = np.triu_indices(len(rows), 1)
    like = (group[a] == group[b]) & (gender[a] == gender[b])
    a, b = a[like], b[like]
    same = who[a] == who[b]
    for part in [*sorted(set(group)), "all"]:
        chosen = np.ones(len(a), bool) if part == "all" else group[a] == part
        true, false = (np.flatnonzero(chosen & s) for s in (same, ~same))
        count = min(len(true), len(false))
        pick = np.concatenate([rng.choice(true, count, False), rng.choice(false, count, False)])
        gap = np.linalg.norm(vectors[a[pick]] - vectors[b[pick]], axis=1)
        right = [(gap <= t) == same[pick] for t in np.linspace(0.2, 1.0, 161)]
        yield "verification", part, float(np.max([r.mean() for r in right])), 2 * count


def train(net: nn.Module, loss, seconds: float, rate: float) -> None:
    """Adam with a cosine schedule over processor time: the machine's load is no matter."""
    optimiser = torch.optim.Adam(net.parameters(), rate)
    began = time.process_time()
    net.train()
    while (share := (time.process_time() - began) / seconds) < 1:
        optimiser.param_groups[0]["lr"] = rate * 0.5 * (1 + np.cos(np.pi * share))
        optimiser.zero_grad()
        loss().backward()
        optimiser.step()
    net.eval()


class Restorer(nn.Module):
    """A small EDSR: what it adds to the bicubic enlargement is nothing before it is trained."""

    def __init__(self, scale: int, width: int = 24, blocks: int = 3) -> None:
        super().__init__()
        self.scale, self.head = scale, nn.Conv2d(3, width, 3, 1, 1)
        self.body = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(width, width, 3, 1, 1), nn.ReLU(), nn.Conv2d(width, width, 3, 1, 1)
            )
            for _ in range(blocks)
        )
        self.tail = nn.Conv2d(width, 3 * scale**2, 3, 1, 1)
        nn.init.zeros_(self.tail.weight)
        nn.init.zeros_(self.tail.bias)

    def forward(self, lr: Tensor) -> Tensor:
        x = self.head(lr - 0.45)
        for block in self.body:
            x = x + block(x)
        side = [self.scale * n for n in lr.shape[-2:]]
        return degrade.resize(lr, side) + F.pixel_shuffle(self.tail(x), self.scale)


def restorer(images: Tensor, scale: int, seconds: float) -> nn.Module:
    """Trained on whole faces with L1."""
    torch.manual_seed(0)
    net, setting = Restorer(scale), degrade.setting(f"{scale}x")
    draw = torch.Generator().manual_seed(0)

    def loss() -> Tensor:
        hr = images[torch.randint(len(images), (8,), generator=draw)].float() / 255
        if torch.rand((), generator=draw) < 0.5:
            hr = hr.flip(3)
        return F.l1_loss(net(setting(hr)), hr)

    train(net, loss, seconds, 2e-3)
    return net


def price(rendered: Faces, photos: Faces) -> Iterator[Row]:
    """Trained on half of the people of the photographs, tested on the others."""
    people = photos.set.table["identity"].to_numpy()
    names = np.unique(people)
    learnt = np.isin(people, names[: len(names) // 2])
    test = photos.float[torch.from_numpy(~learnt)]
    own = photos.images[torch.from_numpy(learnt)]
    for scale in (4, 8):
        small, value = degrade.setting(f"{scale}x")(test), {}
        for name, images in (("rendered", rendered.images[: len(own)]), ("photographs", own)):
            store = cache_dir("realism") / f"price-{photos.set.fingerprint}-{scale}-{SECONDS}.npy"
            if name == "photographs" and store.exists():
                value[name] = float(np.load(store))
            else:
                net = restorer(images, scale, SECONDS)
                restored = degrade.round_uint8(models.in_batches(net, small))
                value[name] = float(psnr(restored, test).mean())
                if name == "photographs":
                    np.save(store, value[name])
            yield "price", f"{scale}x psnr after {name}", value[name], len(test)
        yield "price", f"{scale}x", value["photographs"] - value["rendered"], len(test)


def classifier(rendered: Faces, photos: Faces) -> Iterator[Row]:
    """Trained on half of the people of each set, tested on the others at nine places."""
    torch.manual_seed(0)
    channels = [3, 16, 32, 64, 64]
    layers: list[nn.Module] = []
    for a, b in zip(channels[:-1], channels[1:], strict=True):
        layers += [nn.Conv2d(a, b, 3, 2, 1, bias=False), nn.BatchNorm2d(b), nn.ReLU()]
    net = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 1))
    draw, halves = torch.Generator().manual_seed(0), []
    for faces in (rendered, photos):
        names = faces.set.table["identity"].to_numpy()
        first = torch.from_numpy(np.isin(names, np.unique(names)[::2]))
        halves.append((faces.images[first], faces.images[~first]))

    def crops(images: Tensor, count: int) -> Tensor:
        rows = torch.randint(len(images), (count,), generator=draw)
        at = torch.randint(65, (count, 2), generator=draw).tolist()
        cut = [images[r, :, y : y + 64, x : x + 64] for r, (y, x) in zip(rows, at, strict=True)]
        return torch.stack([c.flip(2) if i % 2 else c for i, c in enumerate(cut)]).float() / 255

    def loss() -> Tensor:
        batch = torch.cat([crops(half[0], 16) for half in halves])
        truth = torch.cat([torch.ones(16), torch.zeros(16)])
        return F.binary_cross_entropy_with_logits(net(batch - 0.45)[:, 0], truth)

    train(net, loss, SECONDS, 2e-3)
    truth = np.concatenate([np.ones(len(halves[0][1])), np.zeros(len(halves[1][1]))])
    for i, y in enumerate((0, 32, 64)):
        for j, x in enumerate((0, 32, 64)):
            tests = [half[1][:, :, y : y + 64, x : x + 64].float() / 255 for half in halves]
            with torch.no_grad():
                score = torch.cat([net(test - 0.45)[:, 0] for test in tests]).numpy()
            place = f"{('top', 'middle', 'bottom')[i]} {('left', 'centre', 'right')[j]}"
            yield "classifier", place, float(roc_auc_score(truth, score)), len(truth)


MEASURES = {
    "spectrum": spectrum,
    "landmarks": landmark_error,
    "lost": lost,
    "bicubic": bicubic,
    "verification": verification,
    "classifier": classifier,
    "price": price,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("set")
    parser.add_argument("--photos", default="celeba")
    parser.add_argument("--measures", default=",".join(MEASURES))
    parser.add_argument("--n", type=int, default=480)
    parser.add_argument("--split")
    parser.add_argument("--per-person", type=int, help="so many of the first people, not a sample")
    parser.add_argument("--label", help="name of the set in the file")
    parser.add_argument("--out", type=Path, default=Path("results/benchmarks/realism.csv"))
    given = parser.parse_args()
    rendered = Faces(given.set, given.split, given.n, given.per_person)
    photos = Faces(given.photos, None, 2 * given.n)
    given.out.parent.mkdir(parents=True, exist_ok=True)
    fresh = not given.out.exists()
    with open(given.out, "a", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        if fresh:
            writer.writerow(["set", "photographs", "measure", "part", "value", "n"])
        for name in given.measures.split(","):
            for measure, part, value, n in MEASURES[name](rendered, photos):
                writer.writerow(
                    [given.label or given.set, given.photos, measure, part, f"{value:.4f}", n]
                )
                print(f"{measure:13} {part:32} {value:8.4f} {n:6}", flush=True)
            file.flush()


if __name__ == "__main__":
    main()
