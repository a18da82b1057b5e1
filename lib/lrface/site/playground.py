"""What a browser computes with: faces, matrices, noise and networks, as scripts.

A page that is opened as a file may not read other files, but may load scripts. So whatever is read
comes as a script that hands base64 over: ``lrGive(NAME, BASE64)``, gzipped where it is large.
"""

from __future__ import annotations

import base64
import gzip
import json
import shutil
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lrface import data, degrade, metrics
from lrface.errors import LrfaceError
from lrface.files import project_root
from lrface.site import captures, networks
from lrface.site.pictures import as_uri, save

COMPARED = 3
"""Faces whose restorations are pictures of the site; the others are restored in the browser."""
OFFERED = 8
RUNTIME = "onnxruntime-web/dist"
SETTINGS = {
    "2x": "2x: 64 pixels, bicubic",
    "4x": "4x: 32 pixels, bicubic",
    "4x_BD": "4x_BD: 32 pixels, blurred, then sampled",
    "4x_DN": "4x_DN: 32 pixels, bicubic, noise of sigma 30",
    "8x": "8x: 16 pixels, bicubic",
}


@lru_cache(maxsize=1)
def faces() -> Tensor:
    """The rendered test faces on offer, float (N, 3, 128, 128) in [0, 1]: as many of each group.

    They show people who do not exist.
    """
    test = data.load("synthetic", "test")
    people = test.table.reset_index(drop=True).drop_duplicates("identity")
    frontal = people[people["yaw"].abs() < 20]
    each = OFFERED // frontal["group"].nunique()
    # people in turns by group, so that the first few differ as well
    order = frontal.groupby("group").cumcount()
    chosen = frontal[order < each].assign(turn=order).sort_values(["turn", "group"], kind="stable")
    return test.stack(chosen.index.to_numpy()).float() / 255


def write(folder: Path, store: Path) -> list[networks.Exported]:
    """Write the scripts that the page *Play* loads, and the pictures of the comparison.

    Parameters
    ----------
    folder : Path
        ``_static/play`` of the site.
    store : Path
        Where exported networks are kept between builds.

    Returns
    -------
    list of Exported
        The networks on offer.

    Raises
    ------
    LrfaceError
        An exported network is not the released one, or an npm package is not installed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    found = networks.exported(store, faces()[:COMPARED])
    offered = {name: [] for name in SETTINGS}
    for one in found:
        file = f"network-{one.setting}-{one.method}.js"
        _give(folder / file, f"{one.setting}/{one.method}", one.file.read_bytes())
        about = {"method": one.method, "parameters": one.run.record["parameters"], "file": file}
        offered[one.setting].append(about)
    _runtime(folder)
    plain = {
        "networks": offered,
        "settings": {name: _setting(name) for name in SETTINGS},
        "faces": [as_uri(face) for face in degrade.to_uint8(faces())],
    }
    (folder / "data.js").write_text(f"window.lrData = {json.dumps(plain)};\n")
    (folder / "camera.js").write_text(f"window.lrCamera = {json.dumps(captures.every())};\n")
    (folder / "compare.js").write_text(
        f"window.lrCompared = {json.dumps(_compared(folder / 'faces', found))};\n"
    )
    return found


def _setting(name: str) -> dict[str, object]:
    """A setting as a browser applies it: its own matrices, and its noise for one face."""
    setting = degrade.setting(name)
    n = networks.FACE
    small = n // setting.scale
    said = {
        "title": SETTINGS[name],
        "scale": setting.scale,
        "down": _floats(setting.matrix(n)),
        "up": _floats(degrade.resize_matrix(small, n)),
    }
    if setting.noise:
        # what the library adds to the first face of a call
        flat = degrade.setting(name, rounding="none")(torch.zeros(1, 3, n, n))
        said["noise"] = _floats(flat.numpy())
    return said


def _floats(values: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(values, "<f4").tobytes()).decode()


def _give(file: Path, name: str, content: bytes) -> None:
    # a fixed time stamp: the same content is the same file
    packed = base64.b64encode(gzip.compress(content, 9, mtime=0)).decode()
    file.write_text(f'lrGive("{name}", "{packed}");\n')


def _runtime(folder: Path) -> None:
    """ONNX Runtime for browsers, without threads, which a page from a file may not have."""
    source = project_root() / "docs" / "node_modules" / RUNTIME
    if not source.is_dir():
        raise LrfaceError(f"{source} is missing: `make site` installs it")
    shutil.copy(source / "ort.wasm.min.js", folder / "ort.js")
    for suffix in ("wasm", "mjs"):
        content = (source / f"ort-wasm-simd-threaded.{suffix}").read_bytes()
        _give(folder / f"runtime-{suffix}.js", suffix, content)


def _compared(folder: Path, found: list[networks.Exported]) -> dict[str, list]:
    """The pictures of the comparison: of each setting, of each face, name, file and PSNR."""
    folder.mkdir(exist_ok=True)
    hr, every = faces()[:COMPARED], {}
    for i, face in enumerate(degrade.to_uint8(hr)):
        save(face, folder / f"truth-{i}.png")
    for name in SETTINGS:
        setting = degrade.setting(name)
        lr = setting(hr)
        bicubic = degrade.to_uint8(degrade.resize(lr, hr.shape[2:]))
        dB = metrics.psnr(bicubic, hr)
        sets = []
        for i in range(COMPARED):
            save(degrade.to_uint8(lr[i]), folder / f"{name}-small-{i}.png")
            save(bicubic[i], folder / f"{name}-bicubic-{i}.png")
            items = [
                {"name": "small face", "file": f"{name}-small-{i}.png"},
                {"name": "bicubic", "file": f"{name}-bicubic-{i}.png", "psnr": f"{dB[i]:.2f}"},
            ]
            for one in found:
                if one.setting == name:
                    file = f"{name}-{one.method}-{i}.png"
                    shutil.copy(one.picture(i), folder / file)
                    psnr = f"{one.psnr[i]:.2f}"
                    items.append({"name": one.method, "file": file, "psnr": psnr})
            sets.append([*items, {"name": "truth", "file": f"truth-{i}.png"}])
        every[name] = sets
    return every
