"""What a training would cost, from its real step on PyTorch's meta device.

Tensors have a shape there and no contents, so nothing is computed or allocated. A step takes as
long as the slowest of three: its operations, the launches of its kernels by the CPU (a small
network keeps no GPU busy), and the decoding of its faces.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import NamedTuple
from weakref import WeakSet

import pandas as pd
import torch
from torch import nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import conv_flop_count, flop_registry

from lrface import models
from lrface.data.clips import HEIGHT, WIDTH
from lrface.data.part_windows import COLUMNS
from lrface.data.windows import LABELS
from lrface.errors import LrfaceError
from lrface.models.losses import WithPreprocessor
from lrface.models.objective import Batch
from lrface.training.config import Config, RunRef
from lrface.training.throughput import Throughput

FACE = 128
"""Side in pixels of a whole HR face."""
FLOPS = 40e12
"""Assumed speed of one data-centre GPU over a whole training, floating-point operations a second
(TF32 or bfloat16)."""
EFFICIENCY = 0.9
"""Assumed speed of eight GPUs as a fraction of eight times that of one."""
LAUNCH = 8e-6
"""Assumed seconds in which PyTorch sends one operation to a GPU, with autograd's share."""
ADAM_LAUNCHES, ADAM_TENSORS = 14, 30
"""Operations of Adam's step, and how many weights one of them takes at a time."""
DECODE = 2e-3
"""Seconds in which one core decodes a face of 128x128 pixels (measured; WebP)."""
CORES = 8
"""Assumed cores beside each GPU."""
IEEE_FLOPS = 20e12
"""Assumed speed of one GPU in IEEE float32, in which scores are computed."""
ASSUMPTION = (
    f"times assume {FLOPS / 1e12:g} TFLOP/s sustained on one GPU ({IEEE_FLOPS / 1e12:g} in IEEE "
    f"float32, in which scores are computed), {EFFICIENCY:.0%} of eight times that on eight, "
    f"{LAUNCH * 1e6:g} microseconds a kernel and {CORES} cores beside each GPU; memory is a lower "
    "bound, in GB of 1e9 bytes"
)
WINDOWS = {"windows": len(LABELS), "parts": len(COLUMNS)}
"""By what a detector's network learns: how many labels a window has."""
SECONDS = ("seconds_1_gpu", "seconds_8_gpus")
CPU = "seconds_1_core"

Training = tuple[Config, int, int | None, int | None]
"""A config, and of its training faces their number, their people and their attributes."""


class Cost(NamedTuple):
    """The cost of one training step."""

    parameters: int
    """Of the network alone."""
    macs: int
    """Multiply-accumulates for one sample (a face, or a clip), forward and backward, of the network
    and of all that its objective adds."""
    activations: int
    """Bytes that autograd stores in the forward pass for the backward pass, for the whole batch.
    Attention counts with its matrix, which fused kernels do not store: for VidFace it is a bound
    from above."""
    weights: int
    """Bytes of all weights, their gradients and Adam's two moments, whatever the batch."""
    launches: int
    """Operations that are sent to a GPU in one step."""
    moved: int
    """Bytes that the operations of the step read and write, for the whole batch."""

    @property
    def memory(self) -> int:
        """Bytes of a step: activations and weights."""
        return self.activations + self.weights


def plan(
    configs: Iterable[Config],
    n_train: int,
    identities: int | None = None,
    attributes: int | None = None,
) -> pd.DataFrame:
    """The cost of training networks: a row each, parents before those that start from them.

    Parameters
    ----------
    configs : iterable of Config
        A config that comes twice is one network. Configs named by ``init`` or ``preprocessor``
        are networks to train, too.
    n_train : int
        Training faces there are.
    identities : int, optional
        People in the training faces: a recognition network ends in as many outputs.
    attributes : int, optional
        Attributes the faces are labelled with, for networks that learn these.

    Returns
    -------
    DataFrame
        ``method, size, setting, steps, batch, epochs, parameters``; ``macs`` of a training sample
        (see :class:`Cost`), about three times those of an inference; ``memory_gb`` (1e9 bytes):
        activations and weights in float32, a lower bound, as workspaces, the allocator's gaps and
        the framework come on top; ``bound``, what a step on one GPU takes longest for:
        ``compute``, ``launches`` or ``input``; ``seconds_1_gpu`` and ``seconds_8_gpus``, by the
        assumed speeds of this module. A network with a closed form has one pass over the faces,
        one forward pass a sample, and no optimiser.

    Raises
    ------
    LrfaceError
        If the number of outputs is not given, or a network needs numbers where only shapes are
        known.

    Examples
    --------
    >>> from lrface import degrade
    >>> config = Config(
    ...     method="SRCNN", degradation=degrade.setting("4x"), data="synthetic", steps=1000
    ... )
    >>> plan([config], n_train=8000)[["method", "epochs", "parameters"]]
      method  epochs  parameters
    0  SRCNN     2.0        9539
    """
    every = dict.fromkeys(one for given in configs for one in _with_parents(given))
    return table((one, n_train, identities, attributes) for one in every)


def table(trainings: Iterable[Training], core: Throughput | None = None) -> pd.DataFrame:
    """The cost of these trainings, a row each, as :func:`plan` has them.

    Parameters
    ----------
    trainings : iterable of Training
        Each counts as it stands; what it starts from does not.
    core : Throughput, optional
        One core of a processor (:func:`lrface.training.throughput.measured`). With it the table has
        columns ``seconds_1_core`` and ``patch`` (0: whole faces).
    """
    rows, costs = [], {}
    for config, n_train, identities, attributes in trainings:
        method = models.find(config.method)
        degradation, descends = config.degradation, _descends(method)
        shape = (config.method, config.size, degradation.scale, config.loss, config.batch)
        shape = (*shape, config.patch, config.frames, *_preprocessor_size(config))
        shape = (*shape, identities, attributes)
        if shape not in costs:
            costs[shape] = cost(config, identities, attributes)
        step = costs[shape]
        faces = min(n_train, config.n_train or n_train)
        steps = config.steps if descends else math.ceil(faces / config.batch) * method.trainable
        samples = steps * config.batch if descends else faces * method.trainable
        takes = _seconds(step, steps, samples, min(samples, faces) * (config.frames or 1))
        row = (config.method, config.size, degradation.name, steps, config.batch, samples / faces)
        row = (*row, step.parameters, step.macs, step.memory / 1e9, max(takes, key=takes.get))
        eight = takes | {name: takes[name] / (8 * EFFICIENCY) for name in ("compute", "input")}
        row = (*row, max(takes.values()), max(eight.values()))
        if core:
            optimiser = 3 * step.weights if descends else 0  # each is read, and all are written
            moved = steps * (step.moved + optimiser)
            row = (*row, core.seconds(samples * step.macs, moved), config.patch or 0)
        rows.append(row)
    columns = "method size setting steps batch epochs parameters macs memory_gb bound"
    return pd.DataFrame(
        rows, columns=[*columns.split(), *SECONDS, *([CPU, "patch"] if core else [])]
    )


def _seconds(step: Cost, steps: int, samples: int, decoded: int) -> dict[str, float]:
    """What a training on one GPU would take, were nothing else to do.

    ``decoded`` pictures are decoded: each once, as they are kept in memory.
    """
    return {
        "compute": samples * 2 * step.macs / FLOPS,
        "launches": steps * step.launches * LAUNCH,
        "input": decoded * DECODE / CORES,
    }


def cost(config: Config, identities: int | None = None, attributes: int | None = None) -> Cost:
    """The cost of one step of :func:`lrface.training.loop.train`; raises as :func:`plan` does."""
    method = models.find(config.method)
    classes, what = identities, "training identities"
    if method.labels == "attributes":
        classes, what = attributes, "attributes"
    if config.method in models.RECOGNISERS and not classes:
        why = "which decides the size of its last layer"
        raise LrfaceError(f"{config.label}: give the number of {what}, {why}")
    try:
        if method.stages is None:
            return _step(config, method, classes)
        return _in_stages(config, method)
    except (NotImplementedError, RuntimeError) as error:
        why = str(error).strip().splitlines()[0]
        what = "cannot be planned, for it needs numbers where only shapes are known"
        raise LrfaceError(f"{config.label} {what}: {why}") from error


def _in_stages(config: Config, method: models.Method) -> Cost:
    """Operations, launches and bytes moved as the mean of the stages', by their steps; the memory
    of the hungriest. Closed-form stages are not counted."""
    with torch.device("meta"):
        stages = method.stages(config.build(), config.loss, config.patch)
    descend = [number for number, stage in enumerate(stages) if stage.objective is not None]
    costs = [_step(config, method, None, number) for number in descend]
    shares = [stages[number].share for number in descend]

    def mean(name: str) -> int:
        values = (getattr(one, name) for one in costs)
        return sum(v * share for v, share in zip(values, shares, strict=True)) // sum(shares)

    memory = (max(getattr(one, name) for one in costs) for name in ("activations", "weights"))
    counted = (mean(name) for name in ("launches", "moved"))
    return Cost(costs[0].parameters, mean("macs"), *memory, *counted)


def _step(
    config: Config, method: models.Method, classes: int | None, stage: int | None = None
) -> Cost:
    scale, batch, meta = config.degradation.scale, config.batch, torch.device("meta")
    patches = config.patch and _descends(method) and not method.stages
    whole = method.face_size if method.labels in WINDOWS else FACE
    cut = (config.patch if patches else whole) // scale
    lr, hr = (torch.zeros(batch, 3, side, side, device=meta) for side in (cut, cut * scale))
    if config.frames is not None:
        t = () if config.frames == 1 else (config.frames,)
        small = HEIGHT // scale, WIDTH // scale
        lr, hr = (torch.zeros(batch, *t, 3, *s, device=meta) for s in (small, (HEIGHT, WIDTH)))
    with meta:
        labels = torch.zeros(batch, dtype=torch.int64)
        if method.labels == "attributes":
            labels = torch.zeros(batch, classes)
        if method.labels in WINDOWS:
            labels = torch.zeros(batch, WINDOWS[method.labels])
        one = Batch(lr, hr, torch.zeros(*hr.shape[:-3], 68, 2), labels)
        net = config.build(classes)
        parameters = sum(p.numel() for p in net.parameters())
        objective = config.objective(net)
        if stage is not None:
            objective = method.stages(net, config.loss, config.patch)[stage].objective
        before = _preprocessor(config)
        if isinstance(before, str):
            objective = WithPreprocessor(models.build(before, scale), objective)
        elif before is not None:
            objective = WithPreprocessor(before.build(), objective)
    # weights that were read from a file are not on the meta device yet
    parts = nn.ModuleList([net, objective]).to(meta)
    weights = [*parts.parameters(), *parts.buffers()]
    # the loop clears gradients after the forward pass: the last step's take memory during it
    total = _bytes(weights)
    if _descends(method):  # gradients and Adam's two moments
        total += 3 * _bytes(p for p in weights if p.requires_grad)
    if not _descends(method):
        with torch.no_grad(), _Operations() as operations:
            net.eval()(lr)
        macs = operations.flops // 2 // batch
        moved = operations.launches, operations.moved
        return Cost(parameters, macs, _bytes([lr, hr]), total, *moved)

    own, saved = {w.untyped_storage() for w in weights}, WeakSet()

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        saved.add(tensor.untyped_storage())
        return tensor

    with _Operations() as operations:
        with saved_tensors_hooks(pack, lambda tensor: tensor):
            losses = objective(net, one)
        size = sum(storage.nbytes() for storage in saved if storage not in own)
        for name in ("loss", "discriminator"):
            if name in losses:
                losses[name].backward()
    trained = sum(p.requires_grad for p in weights)
    launches = operations.launches + ADAM_LAUNCHES * math.ceil(trained / ADAM_TENSORS)
    macs = operations.flops // 2 // batch
    return Cost(parameters, macs, size, total, launches, operations.moved)


FREE = ("empty", "new_empty", "_unsafe_view", "detach", "lift_fresh", "_reshape_alias", "sym_")
"""Beginnings of the names of operations that launch no kernel though they are no views."""


class _Operations(TorchDispatchMode):
    """Counts operations by PyTorch's formulas, those that are sent to a GPU, and the bytes that
    they read and write.

    As its FlopCounterMode, in a third of the time: by operation, not by module. One formula is
    ours: PyTorch 2.14 counts the weight gradient of a grouped convolution as if it had one group.
    """

    flops = launches = moved = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        self.launches += not func.is_view and not func.__name__.startswith(FREE)
        if not func.is_view:
            touched = tree_leaves((args, kwargs, out))
            self.moved += sum(t.nbytes for t in touched if isinstance(t, torch.Tensor))
        if func is torch.ops.aten.convolution_backward.default:
            (gradient, x, weight), transposed, needs = args[:3], args[7], args[10]
            self.flops += sum(needs[:2]) * conv_flop_count(
                x.shape, weight.shape, gradient.shape, transposed
            )
        elif count := flop_registry.get(func.overloadpacket):
            self.flops += count(*args, **kwargs, out_val=out)
        return out


def _descends(method: models.Method) -> bool:
    return method.trainable and method.fit_closed_form is None


def _preprocessor_size(config: Config) -> tuple[str | None, str | None]:
    """Method and size of a recogniser's preprocessor."""
    before = _preprocessor(config)
    return (before.method, before.size) if isinstance(before, Config) else (before, None)


def _preprocessor(config: Config) -> Config | str | None:
    before = config.preprocessor
    return before.config if isinstance(before, RunRef) else before


def _with_parents(config: Config) -> Iterator[Config]:
    """A config after the configs that it starts from."""
    for parent in config.parents:
        if isinstance(parent, Config):
            yield from _with_parents(parent)
    yield config


def _bytes(tensors: Iterable[torch.Tensor]) -> int:
    return sum(t.nbytes for t in tensors)
