"""Speed against the packages that others use for the same work, in one run on one CPU.

`.venv-peers/bin/python benchmarks/peers.py [SECTION ...]` writes `results/benchmarks/peers_cpu.csv`
and a figure of it, `results/benchmarks/peers_cpu.png`. Each section is a process of its own:
`training`, `loading`, `degradation`, `fidelity`, `judge`, `search`, `million`, `quintuplets`. A row
is a piece of work: median seconds of ours and of the peer over interleaved rounds after a warm-up,
so that a busy machine slows both alike, and `ratio`, how many times as long the peer takes; `agree`
says whether both find the same. Nothing is downloaded: faces are rendered or random.

The peers are no dependencies of the project. They go into an environment of their own:

    cp -r .venv .venv-peers
    VIRTUAL_ENV=.venv-peers .venv-uv/bin/uv pip install faiss-cpu torchmetrics lmdb addict future
    VIRTUAL_ENV=.venv-peers .venv-uv/bin/uv pip install --no-deps --no-build-isolation basicsr

A peer that is not installed has no row, and a line says so. `--tiny` tries every section in
seconds; its numbers mean nothing.
"""

from __future__ import annotations

import argparse
import importlib
import json
import statistics
import subprocess
import sys
import tempfile
import time
import types
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch.nn import functional as F

ROUNDS = 5
Row = dict[str, Any]
Side = Callable[[], object]


def timed(*sides: Side, rounds: int = ROUNDS) -> list[float]:
    """Median seconds of each over interleaved rounds, after a warm-up."""
    for side in sides:
        side()
    times: list[list[float]] = [[] for _ in sides]
    for _ in range(rounds):
        for side, own in zip(sides, times, strict=True):
            began = time.perf_counter()
            side()
            own.append(time.perf_counter() - began)
    return [statistics.median(own) for own in times]


def rows(what: str, ours: Side, peers: dict[str, Side], agree: str = "") -> Iterator[Row]:
    """A row a peer; all take turns in the same rounds. A peer may be ours in another way."""
    own, *others = timed(ours, *peers.values())
    for name, seconds in zip(peers, others, strict=True):
        row = {"what": what, "peer": name, "ours_s": own, "peer_s": seconds}
        yield row | {"ratio": seconds / own, "rounds": ROUNDS, "agree": agree}


def package(name: str) -> types.ModuleType | None:
    """A peer, or None with a line."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        print(f"{name} is not installed ({error}): its rows are left out", file=sys.stderr)
        return None


def basicsr() -> types.ModuleType | None:
    """BasicSR, with the module that it imports and torchvision no longer has."""
    from torchvision.transforms import functional

    stand_in = types.ModuleType("torchvision.transforms.functional_tensor")
    stand_in.rgb_to_grayscale = functional.rgb_to_grayscale
    sys.modules.setdefault(stand_in.__name__, stand_in)
    return package("basicsr.models.sr_model")


EDSR = dict(type="EDSR", num_feat=64, num_block=16, res_scale=1, img_range=1.0)
RCAN = dict(type="RCAN", num_feat=64, num_group=10, num_block=20, squeeze_factor=16, img_range=1.0)


def training(tiny: bool) -> Iterator[Row]:
    """Steps of EDSR and RCAN at paper size, 4x, 16 whole faces, against BasicSR's model class and
    the plainest loop; ours decodes nothing either, and degrades its faces. Where the processor has
    products of bfloat16 numbers (`precision.py`: the same curve), ours in these, too."""
    from lrface import degrade, models, numerics
    from lrface.models.losses import Pixelwise
    from lrface.training import loop
    from lrface.training.batches import TrainingData
    from lrface.training.hyperparameters import Hyperparameters

    batch, side = (2, 32) if tiny else (16, 128)
    hr = torch.randint(0, 256, (4 * batch, 3, side, side), dtype=torch.uint8)
    setting = degrade.setting("4x")
    high = hr[:batch].float() / 255
    low = setting(high)

    class Still:
        def __len__(self) -> int:
            return len(hr)

        def stack(self, picked: Any) -> torch.Tensor:
            return hr[torch.as_tensor(picked)]

    for name, options, steps in (("EDSR", EDSR, 3), ("RCAN", RCAN, 1)):
        steps = 1 if tiny else steps

        def ours(name=name, steps=steps, precision="32-true") -> None:
            net = models.restorer(name, 4, "paper")
            with tempfile.TemporaryDirectory() as folder:
                hyper = Hyperparameters(steps, batch, None, 1e-4, precision=precision)
                where = dict(checkpoint=Path(folder, "c.pt"), label=name)
                loop.train(net, TrainingData(Still(), setting), Pixelwise("l1"), hyper, **where)

        def plain(name=name, steps=steps) -> None:
            net = models.restorer(name, 4, "paper")
            optimiser = torch.optim.Adam(net.parameters(), 1e-4)
            for _ in range(steps):
                loss = F.l1_loss(net(low), high)
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()

        peers = {"a plain loop": plain}
        if (module := basicsr()) is not None:

            def theirs(options=options, steps=steps, module=module) -> None:
                model = module.SRModel(_basicsr_options(options))
                for step in range(steps):
                    model.feed_data({"lq": low, "gt": high})
                    model.optimize_parameters(step + 1)

            peers["BasicSR"] = theirs
        what = f"{name}, {steps} training steps of {batch}"
        yield from rows(what, ours, peers)
        if numerics.bf16_is_fast(torch.device("cpu")):
            mixed = partial(ours, precision="bf16-autocast")
            yield from rows(f"{what}, bfloat16", mixed, peers | {"ours in float32": ours})


def _basicsr_options(network: dict[str, Any]) -> dict[str, Any]:
    size = dict(num_in_ch=3, num_out_ch=3, upscale=4)
    descent = dict(
        optim_g=dict(type="Adam", lr=1e-4),
        scheduler=dict(type="MultiStepLR", milestones=[10**6], gamma=0.5),
        pixel_opt=dict(type="L1Loss", loss_weight=1.0, reduction="mean"),
        ema_decay=0,
    )
    where = dict(num_gpu=0, dist=False, rank=0, is_train=True, path={})
    return dict(network_g=network | size, train=descent, **where)


def loading(tiny: bool) -> Iterator[Row]:
    """Two epochs over a folder of JPEGs to float batches of 16, against torchvision's loader."""
    from lrface import data
    from lrface.training.batches import _Decoded
    from torch.utils.data import DataLoader
    from torchvision.datasets import ImageFolder
    from torchvision.transforms import v2

    count = 32 if tiny else 512
    with tempfile.TemporaryDirectory() as folder:
        given = data.load("synthetic", "train", count)
        for i in range(count):
            file = Path(folder, given.table["identity"].iat[i], f"{i}.jpg")
            file.parent.mkdir(exist_ok=True)
            Image.fromarray(given.read(i)).save(file, quality=95)
        faces = data.load(f"folder:{folder}", "train")
        to_float = v2.Compose([v2.ToImage(), v2.ToDtype(torch.float32, scale=True)])
        listed = ImageFolder(folder, to_float)
        loader = DataLoader(listed, 16, num_workers=2, persistent_workers=True)
        parts = np.array_split(np.arange(len(faces)), max(1, len(faces) // 16))

        def ours() -> None:
            kept = _Decoded(faces)
            for _ in range(2):
                for part in parts:
                    kept.stack(part).float().div(255)

        def theirs() -> None:
            for _ in range(2):
                for _pictures, _labels in loader:
                    pass

        # an epoch of ours has the training split alone
        yield from (
            row | {"peer_s": row["peer_s"] * len(faces) / len(listed)}
            | {"ratio": row["ratio"] * len(faces) / len(listed)}
            for row in rows(f"2 epochs of {len(faces)} JPEGs", ours, {"torchvision": theirs})
        )  # fmt: skip


def degradation(tiny: bool) -> Iterator[Row]:
    """16 faces of 128x128 made small, on one core, against PIL and torch's antialiased resize."""
    from lrface import degrade

    torch.set_num_threads(1)
    pixels = np.random.default_rng(0).integers(0, 256, (16, 128, 128, 3), dtype=np.uint8)
    batch = torch.from_numpy(pixels).permute(0, 3, 1, 2).float().div(255).contiguous()
    pictures = [Image.fromarray(p) for p in pixels]
    repeats = 2 if tiny else 40
    for scale in (2, 4, 8):
        size, setting = (128 // scale,) * 2, degrade.setting(f"{scale}x")

        def ours(setting=setting) -> None:
            for _ in range(repeats):
                setting(batch)

        def pil(size=size) -> None:
            for _ in range(repeats):
                for picture in pictures:
                    picture.resize(size, Image.Resampling.BICUBIC)

        def library(size=size) -> None:
            for _ in range(repeats):
                F.interpolate(batch, size, mode="bicubic", antialias=True)

        yield from rows(f"degrade {scale}x, 16 faces", ours, {"PIL": pil, "torch": library})


def fidelity(tiny: bool) -> Iterator[Row]:
    """PSNR and SSIM of 500 pairs against scikit-image and torchmetrics."""
    from lrface import metrics
    from skimage.metrics import peak_signal_noise_ratio, structural_similarity

    n = 8 if tiny else 500
    random = torch.Generator().manual_seed(0)
    hr = torch.rand(n, 3, 128, 128, generator=random)
    sr = (hr + 0.05 * torch.randn(hr.shape, generator=random)).clamp(0, 1)
    pairs = [x.permute(0, 2, 3, 1).double().numpy() for x in (sr, hr)]
    how = dict(gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=1.0)

    def skimage_psnr() -> list[float]:
        return [peak_signal_noise_ratio(b, a, data_range=1) for a, b in zip(*pairs, strict=True)]

    def skimage_ssim() -> list[float]:
        return [
            structural_similarity(a, b, channel_axis=2, **how) for a, b in zip(*pairs, strict=True)
        ]

    peers = {"psnr": {"scikit-image": skimage_psnr}, "ssim": {"scikit-image": skimage_ssim}}
    if package("torchmetrics") is not None:
        from torchmetrics.functional import image as theirs

        one = dict(data_range=1.0, reduction="none")
        peers["psnr"]["torchmetrics"] = lambda: theirs.peak_signal_noise_ratio(
            sr, hr, dim=(1, 2, 3), **one
        )
        peers["ssim"]["torchmetrics"] = lambda: theirs.structural_similarity_index_measure(
            sr, hr, **one
        )
    for name, against in peers.items():
        ours = getattr(metrics, name)
        apart = np.abs(ours(sr, hr).numpy() - np.array(against["scikit-image"]())).max()
        agree = f"scikit-image to {apart:.0e}"
        yield from rows(f"{name}, {n} pairs", lambda ours=ours: ours(sr, hr), against, agree)


def judge(tiny: bool) -> Iterator[Row]:
    """dlib's recogniser as a module against dlib: 64 chips, one thread."""
    import dlib
    from lrface import models
    from lrface.data.landmarks import model_file

    torch.set_num_threads(1)
    n = 4 if tiny else 64
    chips = torch.randint(0, 256, (n, 3, 150, 150), dtype=torch.uint8)
    net = models.embedder("dlib")
    own = dlib.face_recognition_model_v1(
        str(model_file("dlib_face_recognition_resnet_model_v1.dat"))
    )
    pictures = [np.ascontiguousarray(chip.permute(1, 2, 0).numpy()) for chip in chips]

    def ours() -> torch.Tensor:
        return models.in_batches(net, chips)

    def theirs() -> np.ndarray:
        return np.array([own.compute_face_descriptor(picture) for picture in pictures])

    apart = np.abs(ours().numpy() - theirs()).max()
    yield from rows(f"dlib's vectors, {n} chips", ours, {"dlib": theirs}, f"to {apart:.0e}")


def search(tiny: bool, gallery: int = 157_871, what: str = "TinyFace's size") -> Iterator[Row]:
    """1:N search by Euclidean distance: ours ranks every mate, exactly, and gives CMC and mAP;
    FAISS's flat index gives the 50 nearest."""
    from lrface import metrics

    faiss = package("faiss")
    if faiss is None:
        return
    torch.set_num_threads(1)
    faiss.omp_set_num_threads(1)
    probes, gallery = (64, 2000) if tiny else (3728, gallery)
    random = np.random.default_rng(0)
    rows_of = random.standard_normal((probes + gallery, 512), dtype=np.float32)
    rows_of /= np.linalg.norm(rows_of, axis=1, keepdims=True)
    probe, faces = rows_of[:probes], rows_of[probes:]
    people = random.integers(0, probes, probes)
    ids = np.concatenate([people, np.full(gallery - probes, -100)])
    faces[:probes] += 0.5 * probe
    names = np.arange(probes) if tiny else people
    names = np.where(np.isin(names, ids), names, people)

    def ours() -> Any:
        return metrics.identification(probe, faces, names, ids)

    def theirs() -> Any:
        index = faiss.IndexFlatL2(512)
        index.add(faces)
        return index.search(probe, 50)[1]

    found = ours()
    hits = (ids[theirs()] == names[:, None]).any(1).mean()
    agree = f"rank 50: {found.rank(50):.4f} and {hits:.4f}"
    yield from rows(f"search, {what}: {probes} in {gallery}", ours, {"FAISS": theirs}, agree)


def million(tiny: bool) -> Iterator[Row]:
    """As search, in a gallery of a million."""
    yield from search(tiny, 1_000_000, "a million")


def quintuplets(tiny: bool) -> Iterator[Row]:
    """The four members of every anchor, searched among all rows, against the hardest positive and
    negative of pytorch-metric-learning's miner, which holds all distances in memory."""
    from lrface.models import lmle
    from pytorch_metric_learning.distances import LpDistance
    from pytorch_metric_learning.miners import BatchHardMiner

    torch.set_num_threads(1)
    n = 200 if tiny else 8000
    random = torch.Generator().manual_seed(0)
    vectors = F.normalize(torch.randn(n, 128, generator=random), dim=1)
    cluster = torch.arange(n) // 200 if not tiny else torch.arange(n) // 20
    labels = (cluster % 10 == 0).long()
    miner = BatchHardMiner(distance=LpDistance(normalize_embeddings=False))

    def ours() -> np.ndarray:
        return lmle.quintuplets(vectors, labels.numpy(), cluster.numpy())

    def theirs() -> Any:
        return miner(vectors, labels)

    anchors, _, negatives = theirs()
    same = (ours()[anchors.numpy(), 3] == negatives.numpy()).mean()
    yield from rows(
        f"hardest members, {n} rows", ours, {"PML BatchHard": theirs}, f"negatives {same:.4f}"
    )


SECTIONS = {
    f.__name__: f
    for f in (training, loading, degradation, fidelity, judge, search, million, quintuplets)
}


def figure(table: pd.DataFrame, file: Path) -> None:
    """Every ratio as a point on a logarithmic axis; right of 1 ours is faster."""
    from lrface.report import figures

    drawn, [ax] = figures.axes(size=(6.5, 0.5 + 0.24 * len(table)))
    names = table["what"] + " · " + table["peer"]
    y = np.arange(len(table))[::-1]
    ax.plot(table["ratio"], y, "o", color=figures.PALETTE["blue"])
    ax.axvline(1, color=figures.PALETTE["grey"], lw=0.8)
    ax.set_yticks(y, names)
    ax.set(xscale="log", xlabel="seconds of the peer over ours")
    ax.grid(axis="x", alpha=0.3)
    drawn.savefig(file, dpi=200)


def main() -> None:
    global ROUNDS
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sections", nargs="*", choices=[[], *SECTIONS], default=[])
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--alone", choices=SECTIONS, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.alone:
        ROUNDS = 1 if given.tiny else ROUNDS
        for row in SECTIONS[given.alone](given.tiny):
            print(json.dumps(row), flush=True)
        return

    from lrface.files import output_root, write_atomic

    found = []
    for name in given.sections or SECTIONS:
        words = [sys.executable, __file__, "--alone", name, *["--tiny"] * given.tiny]
        with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
            for line in process.stdout:
                if line.startswith("{"):
                    print(line, end="", flush=True)
                    found.append(json.loads(line))
        if process.returncode:
            print(f"{name}: failed, see above", file=sys.stderr)
    if not found:
        raise SystemExit("nothing was measured")
    table = pd.DataFrame(found).assign(
        threads=torch.get_num_threads(), cpu_capability=torch.backends.cpu.get_cpu_capability()
    )
    if given.tiny:
        print(table.to_string())
        return
    folder = output_root() / "results" / "benchmarks"
    how = dict(index=False, float_format="%.4g")
    write_atomic(folder / "peers_cpu.csv", lambda path: table.to_csv(path, **how))
    write_atomic(folder / "peers_cpu.png", lambda path: figure(table, path))


if __name__ == "__main__":
    main()
