"""Released networks as ONNX files that a browser runs, each compared with PyTorch's answer."""

from __future__ import annotations

import contextlib
import hashlib
import io
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize

from lrface import degrade, metrics
from lrface.errors import LrfaceError
from lrface.files import project_root, write_atomic
from lrface.site.pictures import save
from lrface.training.run_store import Run, load_run

STUDY = "results/synthetic/quick/01_degradation_settings"
"""The study whose networks the page offers."""
TOLERANCE = 1e-4
"""The largest difference between a face by ONNX and by PyTorch, in [0, 1]."""
OPSET = 18
FACE = 128


class Exported(NamedTuple):
    """A released network and its ONNX file."""

    method: str
    setting: str
    run: Run
    file: Path
    psnr: list[float]
    """Of each face that it restored, in dB."""
    difference: float
    """Of a pixel in [0, 1] from PyTorch's, the largest."""

    def picture(self, i: int) -> Path:
        """The i-th face that it restored, a PNG."""
        return self.file.with_name(f"{self.file.stem}-{i}.png")


def released() -> list[tuple[str, str, Run]]:
    """Method, setting and run of the networks of study 01's tables that are released.

    Raises
    ------
    LrfaceError
        There is none.
    """
    listed = pd.read_csv(project_root() / STUDY / "runs.csv", dtype=str)
    listed = listed.drop_duplicates(["method", "setting"])  # after the table's come those by group
    runs = [(row["method"], row["setting"], load_run(row["key"])) for _, row in listed.iterrows()]
    known = degrade.SETTINGS
    found = [(method, name, run) for method, name, run in runs if run and name in known]
    if not found:
        raise LrfaceError(f"no network of {STUDY}/runs.csv is released")
    return found


def export(net: nn.Module, scale: int) -> bytes:
    """A restorer as an ONNX graph for one face.

    Parameters
    ----------
    net : Module
        (1, 3, 128 / scale, 128 / scale) float in [0, 1] -> (1, 3, 128, 128), in evaluation mode.
        Weights that it computes from others become plain ones.
    scale : int

    Returns
    -------
    bytes
        Its input is called ``lr``, its output ``sr``; weights are float32.
    """
    small, file = torch.zeros(1, 3, FACE // scale, FACE // scale), io.BytesIO()
    for module in list(net.modules()):
        # a weight that is computed from another, as by spectral normalisation, becomes a number
        for name in list(getattr(module, "parametrizations", ())):
            parametrize.remove_parametrizations(module, name)
    with _traceable(), warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        # The exporter by tracing needs half a second a network, the one by compiling twelve.
        torch.onnx.export(
            net,
            (small,),
            file,
            input_names=["lr"],
            output_names=["sr"],
            opset_version=OPSET,
            dynamo=False,
        )
    return file.getvalue()


@contextlib.contextmanager
def _traceable() -> Iterator[None]:
    """What a tracer cannot follow, for the time of an export.

    Sides of a picture are then tensors, from which no matrix can be built; and ONNX shuffles pixels
    of four dimensions alone.
    """
    matrix, shuffle = degrade.resize_matrix, F.pixel_shuffle

    def of_numbers(n_in: int, n_out: int) -> np.ndarray:
        return matrix(int(n_in), int(n_out))

    def of_four(x: Tensor, factor: int) -> Tensor:
        if x.ndim == 4:
            return shuffle(x, factor)
        lead, last = x.shape[:-3], x.shape[-3:]
        y = shuffle(x.reshape(-1, *last), factor)
        return y.reshape(*lead, *y.shape[-3:])

    degrade.resize_matrix, F.pixel_shuffle = of_numbers, of_four
    try:
        yield
    finally:
        degrade.resize_matrix, F.pixel_shuffle = matrix, shuffle


def by_onnx(graph: bytes, small: Tensor) -> np.ndarray:
    """Faces (N, 3, 128, 128) as the graph of :func:`export` restores them from (N, 3, h, w)."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    return np.concatenate([session.run(None, {"lr": one[None].numpy()})[0] for one in small])


def exported(store: Path, faces: Tensor) -> list[Exported]:
    """Every released restorer as an ONNX file, with the faces that it restores.

    Parameters
    ----------
    store : Path
        A folder for ``KEY.onnx`` and ``KEY-0.png``, ... by the key of the run, in a folder of this
        version of torch: what is there is not made again. ``networks.csv`` says how far each is
        from PyTorch, and the PSNR of each face.
    faces : Tensor
        Float (N, 3, 128, 128) in [0, 1]: the faces that both restore.

    Raises
    ------
    LrfaceError
        An export differs from the released network by more than :data:`TOLERANCE`.
    """
    made_with = [torch.__version__, OPSET, hashlib.sha256(faces.numpy().tobytes()).hexdigest()]
    store /= hashlib.sha256(repr(made_with).encode()).hexdigest()[:8]
    store.mkdir(parents=True, exist_ok=True)
    listing = store / "networks.csv"
    rows = pd.read_csv(listing, dtype=str).to_dict("records") if listing.is_file() else []
    known, found = {row["key"]: row for row in rows}, []
    for method, name, run in released():
        key, setting = run.record["key"], degrade.setting(name)
        if key not in known:
            net, small = run.model().eval(), setting(faces)
            with torch.no_grad():
                sr = torch.cat([net(one[None]) for one in small])
            graph = export(net, setting.scale)
            worst = float(np.abs(by_onnx(graph, small) - sr.numpy()).max())
            if not worst <= TOLERANCE:
                raise LrfaceError(f"{method} at {name}: ONNX differs from PyTorch by {worst:.1e}")
            (store / f"{key}.onnx").write_bytes(graph)
            for i, picture in enumerate(degrade.to_uint8(sr)):
                save(picture, store / f"{key}-{i}.png")
            dB = " ".join(f"{v:.2f}" for v in metrics.psnr(degrade.to_uint8(sr), faces))
            known[key] = {"key": key, "method": method, "setting": name}
            known[key] |= {"difference": f"{worst:.1e}", "psnr": dB}
            # last: a row stands for files that are whole
            write_atomic(
                listing, lambda path: pd.DataFrame(known.values()).to_csv(path, index=False)
            )
        psnr = [float(value) for value in known[key]["psnr"].split()]
        worst = float(known[key]["difference"])
        found.append(Exported(method, name, run, store / f"{key}.onnx", psnr, worst))
    return found
