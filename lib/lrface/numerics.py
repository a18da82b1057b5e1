"""The GPU, if it can be used, and the arithmetic that numbers are computed in.

Scores are computed in IEEE float32: TF32, which NVIDIA's tensor cores offer for float32, keeps 10
bits of a factor's mantissa and moves a kept alignment score beyond its tolerance. Networks are
trained with it (:func:`training`), which costs no quality and is several times as fast. On a CPU
nothing is set, except within :func:`ieee_float32`.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache, wraps
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

from lrface.errors import LrfaceError

DRIVER = 580
"""The oldest NVIDIA driver that the locked PyTorch runs on: its wheels are built for CUDA 13."""
CAPABILITIES = ("7.5", "12.0")
"""Lowest and highest compute capability of the cards that these wheels hold kernels for."""
SUPPORTED = (
    f"the locked PyTorch needs driver {DRIVER} or newer and a card of compute capability "
    f"{CAPABILITIES[0]} to {CAPABILITIES[1]}"
)


@lru_cache
def gpu() -> dict[str, str]:
    """Name, capability, driver and uuid of the first GPU that this process sees; empty without one.

    As the driver's own tool says it, which also works where PyTorch cannot use the GPU.
    """
    fields = dict(name="name", capability="compute_cap", driver="driver_version", uuid="uuid")
    words = ["nvidia-smi", f"--query-gpu={','.join(fields.values())}", "--format=csv,noheader"]
    if visible := os.environ.get("CUDA_VISIBLE_DEVICES"):
        words += ["-i", visible.split(",")[0]]
    try:
        said = subprocess.run(words, capture_output=True, text=True, timeout=60, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return {}
    values = [value.strip() for value in said.splitlines()[0].split(",")] if said else []
    return dict(zip(fields, values, strict=False))


@lru_cache
def gpu_problem() -> str | None:
    """What keeps PyTorch from computing on the GPU: a phrase, "" if nothing, None without a GPU.

    It is asked to add two numbers: that a driver lists a GPU does not mean that these wheels run
    on it. It is then in use by this process (some hundred MB); under torchrun it is its own one.
    """
    count = torch.cuda.device_count()  # asks the driver's library, not CUDA
    if not count:
        return None
    own = torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)) % count)
    try:
        one = torch.ones(2, device=own)
        added = bool(((one + one) == 2).all())
        torch.cuda.synchronize(own)
    except (RuntimeError, AssertionError) as error:
        return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
    return "" if added else "it computes 1 + 1 wrong"


def gpu_sentence(problem: str) -> str:
    """That the GPU cannot be used and why, with its driver and compute capability."""
    about = gpu()
    what = f"the GPU ({about['name']}, " if about else "the GPU ("
    for key, words in (("capability", "compute capability"), ("driver", "driver")):
        what += f"{words} {about.get(key) or 'unknown'}, "
    return f"{what.removesuffix(', ')}) cannot be used ({problem}): {SUPPORTED}"


@lru_cache
def accelerator(asked: str, needed: str = "", probe: Callable[[], str | None] = gpu_problem) -> str:
    """What networks run on, from what ``LRFACE_DEVICE`` asks for.

    A GPU that cannot be used gives way to the CPU under ``auto``, with one sentence on standard
    error.

    Parameters
    ----------
    asked : {"auto", "cpu", "gpu", "cuda", "mps"}
        What the setting says.
    needed : str
        What needs a GPU, for the sentence; a CPU will then not do under ``auto``.
    probe : callable
        As :func:`gpu_problem`.

    Returns
    -------
    str
        ``cpu``, ``cuda``, ``mps`` or ``auto`` (there is no NVIDIA GPU): what Lightning calls it.

    Raises
    ------
    LrfaceError
        There is no GPU that can be used, and one is asked for or needed.

    Examples
    --------
    >>> accelerator("cpu")
    'cpu'
    """
    if asked in ("cpu", "mps"):
        return asked
    problem = probe()
    if problem == "":
        return "cuda"
    asked_for = needed or (f"LRFACE_DEVICE={asked}" if asked != "auto" else "")
    if asked_for and problem is None:
        built = "" if torch.backends.cuda.is_built() else ", which was installed for CPUs only"
        raise LrfaceError(
            f"{asked_for} needs a GPU and PyTorch{built} sees none: choose preset quick, or set "
            "LRFACE_DEVICE=cpu and be patient"
        )
    if asked_for:
        advice = "update the driver, or set LRFACE_DEVICE=cpu and be patient"
        raise LrfaceError(f"{asked_for} needs a GPU, and {gpu_sentence(problem)}; {advice}")
    if problem is None:
        return "auto"
    print(f"lrface: {gpu_sentence(problem)}; networks run on the CPU", file=sys.stderr)
    return "cpu"


def prepare(device: torch.device) -> None:
    """Set up this process for a GPU: IEEE float32, and operations that add in a fixed order.

    Where CUDA has no such operation PyTorch warns, once each. On other devices nothing is set.
    """
    if device.type != "cuda":
        return
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when cuBLAS starts
    for backend in (torch.backends.cuda.matmul, torch.backends.cudnn.conv):
        backend.fp32_precision = "ieee"  # PyTorch's own default for convolutions is TF32
    fix_order_of_sums()


def fix_order_of_sums() -> None:
    """Have cuDNN and PyTorch add in the same order every time, where they can."""
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # nothing here reads such memory


def record() -> dict[str, Any]:
    """What a record states of the GPU that was used: card, driver, CUDA, cuDNN, arithmetic."""
    versions = {"cuda": torch.version.cuda, "cudnn": torch.backends.cudnn.version()}
    about = {key: value for key, value in gpu().items() if key != "uuid"}
    return {"gpu": about | versions | {"scores": "float32 (IEEE)", "training": "TF32"}}


@contextmanager
def _float32(device: torch.device, mode: str) -> Iterator[None]:
    """Set how a device multiplies float32 numbers, where that is another way than now."""
    backends = torch.backends.mkldnn.matmul, torch.backends.mkldnn.conv
    same = {mode, "none"}  # on a CPU "none" is IEEE
    if device.type == "cuda":
        backends, same = (torch.backends.cuda.matmul, torch.backends.cudnn.conv), {mode}
    before = [backend.fp32_precision for backend in backends]
    changed = [pair for pair in zip(backends, before, strict=True) if pair[1] not in same]
    for backend, _ in changed:
        backend.fp32_precision = mode
    try:
        yield
    finally:
        for backend, value in changed:
            backend.fp32_precision = value


@contextmanager
def ieee_float32(device: torch.device) -> Iterator[None]:
    """Compute without TF32, bfloat16 and autocast inside the block, with gradients as they are.

    Examples
    --------
    >>> with torch.autocast("cpu", torch.bfloat16), ieee_float32(torch.device("cpu")):
    ...     (torch.ones(2, 2) @ torch.ones(2, 2)).dtype
    torch.float32
    """
    if not torch.amp.is_autocast_available(device.type):  # such as meta
        yield
        return
    with torch.autocast(device.type, enabled=False), _float32(device, "ieee"):
        yield


@contextmanager
def whole_float32(device: torch.device) -> Iterator[None]:
    """:func:`ieee_float32` without gradients, for an exact search.

    With a lower precision the bound on float32's rounding error does not hold.

    Examples
    --------
    >>> import torch
    >>> with whole_float32(torch.device("cpu")):
    ...     float(torch.ones(2) @ torch.ones(2))
    2.0
    """
    with ieee_float32(device), torch.inference_mode():
        yield


@contextmanager
def training(device: torch.device) -> Iterator[None]:
    """Inside, a GPU multiplies float32 numbers as TF32; a no-op on other devices."""
    if device.type != "cuda":
        yield
        return
    with _float32(device, "tf32"):
        yield


def bf16_is_fast(device: torch.device) -> bool:
    """Whether a device multiplies bfloat16 numbers faster than float32.

    Of processors those with AVX-512's bfloat16 products; AMX has them, too. Others compute bfloat16
    by way of float32, at a tenth of the speed in the worst case.
    """
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == "cpu" and bool(torch.cpu.get_capabilities().get("avx512_bf16"))


def autocast_in_training(net: nn.Module) -> nn.Module:
    """Run a network's forward pass under bfloat16 autocast while it is in training mode.

    Weights, inputs (landmarks among them) and what it returns are float32; in evaluation mode
    nothing is changed. The network is changed in place, once, and returned.
    """
    forward = net.forward
    if getattr(forward, "mixed", False):
        return net

    @wraps(forward)
    def mixed(first: Tensor, *others: Any, **options: Any) -> Any:
        if not net.training:
            return forward(first, *others, **options)
        with torch.autocast(first.device.type, torch.bfloat16):
            found = forward(first, *others, **options)
        half = (torch.bfloat16, torch.float16)
        return tree_map_only(Tensor, lambda x: x.float() if x.dtype in half else x, found)

    mixed.mixed = True
    net.forward = mixed
    return net
