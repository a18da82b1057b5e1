"""Time and memory of the networks that restore clips: seven frames of 16x12 pixels to 128x96.

`.venv/bin/python benchmarks/video.py` writes `results/benchmarks/video_cpu.csv` (`video_cuda.csv`
on a GPU): seconds a clip of each network, in evaluation, as a ratio to bicubic interpolation of the
same frames in the same run too; parameters and multiply-accumulates; and for VidFace, which takes
clips of any length, the bytes that autograd stores in a forward pass of 7, 16 and 32 frames: with
fused attention they grow with the number of frames, and not with its square. One thread.
"""

from __future__ import annotations

import time

import pandas as pd
import torch
from lrface import models, runs
from lrface.files import project_root, write_atomic
from lrface.models.video.cost import cost

LENGTHS = (7, 16, 32)
SECONDS = 3.0
"""An inference is repeated for so long, and the median is taken."""


def seconds(act, synchronise) -> float:
    """Median seconds of a call, after a warm-up."""
    act()
    synchronise()
    found: list[float] = []
    while sum(found) < SECONDS:
        began = time.perf_counter()
        act()
        synchronise()
        found.append(time.perf_counter() - began)
    return sorted(found)[len(found) // 2]


def stored(net: torch.nn.Module, clip: torch.Tensor) -> int:
    """Bytes that autograd keeps of a forward pass in training, weights not counted."""
    own = {p.untyped_storage().data_ptr() for p in net.parameters()}
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        faces = net.train()(clip)
        size = sum(kept.values())  # while the graph, and so every storage, is alive
    del faces
    return size


def main() -> None:
    torch.set_num_threads(1)
    device = runs.device()
    synchronise = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    clip = torch.rand(1, 7, 3, 16, 12, device=device)
    bicubic = models.restorer("bicubic", 8)
    base = seconds(lambda: bicubic(clip[0]), synchronise)
    rows = [dict(method="bicubic", size="", frames=7, seconds=base, ratio=1.0)]
    for method in ("VidFace", "EDVR", "MuCAN"):
        for size in ("narrow", "paper"):
            net = models.restorer(method, 8, size).to(device).eval()
            with torch.no_grad():
                took = seconds(lambda net=net: net(clip), synchronise)
            row = dict(method=method, size=size, frames=7, seconds=took, ratio=took / base)
            rows.append(row | cost(net))
            lengths = LENGTHS if method == "VidFace" else ()
            for frames in lengths:
                longer = torch.rand(1, frames, 3, 16, 12, device=device)
                row = dict(method=method, size=size, frames=frames, stored=stored(net, longer))
                rows.append(row)
            print(pd.DataFrame(rows).tail(1 + len(lengths)).to_string(header=False))
    table = pd.DataFrame(rows)
    target = project_root() / "results" / "benchmarks" / f"video_{device.type}.csv"
    write_atomic(target, lambda path: table.to_csv(path, index=False, float_format="%.4g"))
    print(f"{target}\n{table.to_string(index=False)}")


if __name__ == "__main__":
    main()
