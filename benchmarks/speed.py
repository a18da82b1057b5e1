"""Speed of the degradation and of the training loop as ratios to a peer in the same process.

`.venv/bin/python benchmarks/speed.py` prints a JSON line for each measurement. Rounds are
interleaved and their median is taken, so that a busy machine slows both sides alike. Random pixels:
no data set is needed.
"""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from lrface import degrade, models
from lrface.models import losses
from lrface.training import loop
from lrface.training.batches import TrainingData
from lrface.training.hyperparameters import Hyperparameters
from PIL import Image
from torch.nn import functional as F


def rounds(*sides, repeats: int = 7):
    """Median seconds of each callable over interleaved rounds, after one warm-up."""
    for side in sides:
        side()
    times = [[] for _ in sides]
    for _ in range(repeats):
        for side, own in zip(sides, times, strict=True):
            began = time.perf_counter()
            side()
            own.append(time.perf_counter() - began)
    return [statistics.median(own) for own in times]


def degradation() -> None:
    """Milliseconds to degrade one 128x128 RGB face on one core.

    Ours takes batches of 16 float faces, as training does; PIL one uint8 picture at a time.
    """
    torch.set_num_threads(1)
    pixels = np.random.default_rng(0).integers(0, 256, (16, 128, 128, 3), dtype=np.uint8)
    batch = torch.from_numpy(pixels).permute(0, 3, 1, 2).float().div(255).contiguous()
    pictures = [Image.fromarray(p) for p in pixels]
    for scale in (2, 4, 8):
        size, ours = (128 // scale,) * 2, degrade.setting(f"{scale}x")

        def pil(size=size):
            for picture in pictures:
                picture.resize(size, Image.Resampling.BICUBIC)

        def library(size=size):
            F.interpolate(batch, size, mode="bicubic", antialias=True)

        times = rounds(lambda ours=ours: ours(batch), pil, library, repeats=101)
        a, b, c = (t / 16 * 1e3 for t in times)
        line = {
            "what": f"degrade {scale}x",
            "ms": round(a, 4),
            "pil_ms": round(b, 4),
            "torch_antialias_ms": round(c, 4),
            "pil_ratio": round(b / a, 2),
        }
        print(json.dumps(line))


class Still:
    """A face set that is already decoded, so that both loops do the same work."""

    def __init__(self, hr: torch.Tensor):
        self.hr = hr

    def __len__(self) -> int:
        return len(self.hr)

    def stack(self, rows) -> torch.Tensor:
        return self.hr[torch.as_tensor(rows)]


def training(steps: int = 6) -> None:
    """Images a second of the library's loop and of the plainest PyTorch loop.

    EDSR at paper size, 4x, batches of 16 faces of 128x128 pixels.
    """
    torch.set_num_threads(2)
    hr = torch.randint(0, 256, (64, 3, 128, 128), dtype=torch.uint8)
    setting = degrade.setting("4x")
    high = hr[:16].float() / 255
    low = setting(high)

    def plain() -> None:
        net = models.restorer("EDSR", 4, "paper").to(memory_format=torch.channels_last)
        optimiser = torch.optim.Adam(net.parameters(), 1e-4)
        a, b = (t.contiguous(memory_format=torch.channels_last) for t in (low, high))
        for _ in range(steps):
            loss = F.l1_loss(net(a), b)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()

    def ours() -> None:
        with tempfile.TemporaryDirectory() as folder:
            hyper = Hyperparameters(steps=steps, batch=16, patch=None, lr=1e-4)
            training = TrainingData(Still(hr), setting)
            net = models.restorer("EDSR", 4, "paper")
            where = dict(checkpoint=Path(folder, "c.pt"), label="benchmark")
            loop.train(net, training, losses.Pixelwise("l1"), hyper, **where)

    a, b = rounds(ours, plain, repeats=5)
    line = {
        "what": "train EDSR paper 4x",
        "images_per_s": round(16 * steps / a, 2),
        "plain": round(16 * steps / b, 2),
        "ratio": round(b / a, 3),
    }
    print(json.dumps(line))


if __name__ == "__main__":
    degradation()
    training()
