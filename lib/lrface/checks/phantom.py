"""A GPU that is not there: run code written for a GPU on a machine without one.

:func:`install` registers a device of its own type (PyTorch's PrivateUse1), whose tensors are
computed on the CPU and say that they lie elsewhere. What would fail on CUDA because two devices
meet fails here on the same line: an operation between a phantom and a CPU tensor, ``.numpy()``, a
CPU tensor indexed by a phantom. What CUDA allows is allowed: copies, CPU scalars in pointwise
operations, CPU indices into a phantom. Results are the CPU's.

It does not show a GPU's numbers, speed or memory, kernels missing for a dtype, streams, or NCCL.
``_setup_privateuseone_for_python_backend`` is experimental in PyTorch, so a later release may need
changes here. A process may install it once, and is then fit for nothing else:

``python -m lrface.checks.phantom 04 data=celeba`` executes a study's notebook on it, at smoke.
"""

from __future__ import annotations

import contextlib
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent import futures
from typing import Any

import torch
from lightning_fabric import Fabric
from torch.utils import _pytree as tree
from torch.utils import backend_registration as registration
from torch.utils._python_dispatch import TorchDispatchMode

from lrface.training.cost_model import FREE

aten = torch.ops.aten
NAME = "phantom"
_COPIES = {aten.copy_.default, aten._to_copy.default}
_INDEXING = {
    *(aten.index.Tensor, aten.index_put.default, aten.index_put_.default),
    *(aten._index_put_impl_.default, aten._unsafe_index.Tensor),
}
_WAITS = {
    *(aten._local_scalar_dense.default, aten.nonzero.default, aten.masked_select.default),
    *(aten.equal.default, aten._unique2.default),
}
_PHYSICAL = {
    aten._conj.default: aten._conj_physical.default,
    aten._neg_view.default: aten.neg.default,
}
_SCALARS = ("where", "masked_fill", "fill", "lerp", "addc", "_foreach")
"""Operations not marked as pointwise that take CPU scalars."""
_UNSTEADY = (
    *("adaptive_avg_pool2d_backward", "adaptive_max_pool2d_backward", "avg_pool3d_backward"),
    *("upsample_bicubic2d_backward", "upsample_linear1d_backward"),
    *("grid_sampler_2d_backward", "reflection_pad2d_backward", "replication_pad2d_backward"),
    *("scatter_reduce", "histc", "ctc_loss_backward", "nll_loss2d", "put_", "bincount"),
)
"""Operations that CUDA has in no deterministic form (torch.use_deterministic_algorithms). Bilinear
enlargement has one: PyTorch then composes it of others, also on the phantom."""

launched: Counter[str] = Counter()
"""Operations that would be kernels on a GPU, by name."""
waits: Counter[str] = Counter()
"""Places (file:line) that would wait for the GPU."""


class Tensor(torch.Tensor):
    """A tensor that says it lies on the phantom; ``inner`` is the CPU tensor that it is."""

    inner: torch.Tensor

    @staticmethod
    def __new__(cls, inner: torch.Tensor) -> Tensor:
        layout = {"strides": inner.stride(), "storage_offset": inner.storage_offset()}
        own = torch.Tensor._make_wrapper_subclass(
            cls, inner.size(), device=torch.device(NAME, 0), dtype=inner.dtype, **layout
        )
        own.inner = inner
        return own

    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return _run(func, args, kwargs or {})

    def tolist(self) -> list:
        return self.cpu().tolist()

    def __reduce_ex__(self, protocol):
        # a checkpoint holds plain tensors, as one from a GPU does that is loaded to the CPU
        return self.inner.__reduce_ex__(protocol)

    def __repr__(self, **_) -> str:
        return f"phantom({tuple(self.shape)}, {self.dtype})"


class _Mode(TorchDispatchMode):
    """Inside, tensors can be made on the phantom: ``torch.zeros(3, device="phantom")``."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return _run(func, args, kwargs or {})


def _place() -> str:
    """The line outside PyTorch that asked for an operation."""
    inside = ("/torch/", "phantom.py", "/contextlib.py", "lightning_fabric")
    frame = sys._getframe(2)
    while frame and any(part in frame.f_code.co_filename for part in inside):
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno}" if frame else "backward pass"


def _run(func, args, kwargs) -> Any:
    """An operation: checked as CUDA would, computed on the CPU."""
    if func is aten._copy_from.default:
        func, args = aten.copy_.default, (args[1], args[0])
    # a lazy conjugate would be lost here, below the layer of PyTorch that resolves it
    func = _PHYSICAL.get(func, func)
    flat = [x for x in tree.tree_leaves((args, kwargs)) if isinstance(x, torch.Tensor)]
    here = [x for x in flat if isinstance(x, Tensor)]
    elsewhere = [x for x in flat if not isinstance(x, Tensor)]
    asked = kwargs.get("device")
    target = torch.device(asked).type == NAME if asked is not None else bool(here)
    if here:
        _check(func, args, elsewhere)
        _count_wait(func, args, target)
    if (here or target) and not func.is_view and not func.__name__.startswith(FREE):
        launched[func.__name__.split(".")[0]] += 1
    owner = {id(x.inner): x for x in here}
    args, kwargs = tree.tree_map_only(Tensor, lambda x: x.inner, (args, kwargs))
    if asked is not None and target:  # another device, such as meta, is what it is
        kwargs = kwargs | {"device": torch.device("cpu")}
    out = func(*args, **kwargs)

    def back(x: torch.Tensor) -> torch.Tensor:
        if id(x) not in owner:
            return Tensor(x) if target else x
        if owner[id(x)].shape != x.shape:  # written in place, or into out=
            raise RuntimeError(f"{func} changes the shape of a phantom in place")
        return owner[id(x)]

    return tree.tree_map_only(torch.Tensor, back, out)


def _check(func, args, elsewhere: list[torch.Tensor]) -> None:
    """Raise what CUDA raises where tensors of two devices meet."""
    if func in _COPIES:
        return
    if func in _INDEXING and isinstance(args[0], Tensor):
        values = [x for x in args[2:3] if isinstance(x, torch.Tensor)]
        elsewhere = [x for x in values if not isinstance(x, Tensor) and x.dim()]
    elif torch.Tag.pointwise in func.tags or func.__name__.startswith(_SCALARS):
        elsewhere = [x for x in elsewhere if x.dim()]
    if elsewhere:
        shapes = ", ".join(str(tuple(x.shape)) for x in elsewhere)
        raise RuntimeError(
            "Expected all tensors to be on the same device, but found at least two devices, "
            f"{NAME}:0 and cpu ({func}; on the CPU: {shapes})"
        )


def _count_wait(func, args, target: bool) -> None:
    to_cpu = func is aten._to_copy.default and not target
    to_cpu |= func is aten.copy_.default and not isinstance(args[0], Tensor)
    mask = func in _INDEXING and any(getattr(i, "dtype", 0) is torch.bool for i in args[1])
    if func in _WAITS or to_cpu or mask:
        waits[_place()] += 1


def unsteady() -> dict[str, int]:
    """Launched operations that add in an order of their own on CUDA, and how often."""
    return {name: n for name, n in launched.items() if name.lstrip("_").startswith(_UNSTEADY)}


@contextlib.contextmanager
def counted() -> Iterator[None]:
    """Count from nothing."""
    launched.clear()
    waits.clear()
    yield


_kept: list[Any] = []


def install() -> torch.device:
    """Make the phantom this process's device, for all of lrface; it is entered in every thread.

    Modules that are moved to it keep their parameters' identity, and threads of pools know it.
    """
    from lrface import numerics
    from lrface.settings import current
    from lrface.training import distributed

    more = {
        "get_amp_supported_dtype": lambda self: [torch.bfloat16],
        "get_rng_state": lambda self, device=0: torch.zeros(16, dtype=torch.uint8),
        "set_rng_state": lambda self, state, device=0: None,
    }
    backend = type("Backend", (registration._DummyBackendModule,), more)()
    registration._setup_privateuseone_for_python_backend(NAME, backend_module=backend)
    library = torch.library.Library("aten", "IMPL")  # torch.tensor(..., device=) passes no mode
    for func in (aten.empty_strided.default, aten.empty.memory_format, aten._copy_from.default):
        library.impl(func, lambda *args, func=func, **kw: _run(func, args, kw), "PrivateUse1")
    _kept.append(library)
    numerics.fix_order_of_sums()
    # tensors of inference mode cannot be wrapped
    torch.inference_mode = lambda mode=True: torch.no_grad() if mode else contextlib.nullcontext()
    torch.__future__.set_swap_module_params_on_conversion(True)
    plain = futures.ThreadPoolExecutor.__init__

    def init(self, max_workers=None, thread_name_prefix="", initializer=None, initargs=()):
        def begin(*given):
            _Mode().__enter__()
            if initializer:
                initializer(*given)

        plain(self, max_workers, thread_name_prefix, begin, initargs)

    futures.ThreadPoolExecutor.__init__ = init
    plain_fabric, runner = distributed.fabric, Fabric(accelerator="cpu", devices=1)
    runner._strategy._root_device = torch.device(NAME, 0)
    runner._accelerator.setup_device = lambda device: None
    distributed.fabric = lambda: plain_fabric() if current().device == "cpu" else runner
    _Mode().__enter__()
    return torch.device(NAME, 0)


def execute(study: str, given: dict[str, str]) -> None:
    """Execute the code cells of a study's notebook in this process, at smoke unless ``given``."""
    import __main__
    from lrface.execution import notebooks

    path = notebooks.find(study)
    values = notebooks.parameters(path, {"preset": "smoke"} | given)
    space = __main__.__dict__
    space["display"] = lambda *shown, **options: None
    for number, (source, tags) in enumerate(notebooks.cells(path), 1):
        exec(compile(source, f"{path.stem}, cell {number}", "exec", dont_inherit=True), space)
        if "parameters" in tags:
            space |= values


def main() -> None:
    """The module as a command: a study, and parameters as name=value."""
    from lrface.checks import phantom  # not __main__: one module holds the counters
    from lrface.files import project_root

    phantom.install()
    with contextlib.chdir(project_root()):
        phantom.execute(sys.argv[1], dict(word.split("=", 1) for word in sys.argv[2:]))
    print(f"{sys.argv[1]}: every cell ran on the phantom, {sum(phantom.launched.values())} kernels")


if __name__ == "__main__":
    main()
