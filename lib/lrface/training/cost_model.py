"""What a training would cost, from its real step on PyTorch's meta device.

Tensors have a shape there and no contents, so nothing is computed or allocated.
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
ASSUMPTION = (
    f"times assume {FLOPS / 1e12:g} TFLOP/s sustained on one GPU and {EFFICIENCY:.0%} of eight "
    "times that on eight; memory is a lower bound, in GB of 1e9 bytes"
)
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
    moved: int
    """Bytes that the operations of the step read and write, for the whole batch."""


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
        the framework come on top; ``seconds_1_gpu`` and ``seconds_8_gpus``: operations over an
        assumed speed (:data:`FLOPS`, :data:`EFFICIENCY`). A network with a closed form has one
        pass over the faces, one forward pass a sample, and no optimiser.

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
        seconds = samples * 2 * step.macs / FLOPS
        row = (config.method, config.size, degradation.name, steps, config.batch, samples / faces)
        row = (*row, step.parameters, step.macs, (step.activations + step.weights) / 1e9)
        row = (*row, seconds, seconds / (8 * EFFICIENCY))
        if core:
            optimiser = 3 * step.weights if descends else 0  # each is read, and all are written
            moved = steps * (step.moved + optimiser)
            row = (*row, core.seconds(samples * step.macs, moved), config.patch or 0)
        rows.append(row)
    columns = "method size setting steps batch epochs parameters macs memory_gb"
    return pd.DataFrame(
        rows, columns=[*columns.split(), *SECONDS, *([CPU, "patch"] if core else [])]
    )


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
        return _step(config, method, classes)
    except (NotImplementedError, RuntimeError) as error:
        why = str(error).strip().splitlines()[0]
        what = "cannot be planned, for it needs numbers where only shapes are known"
        raise LrfaceError(f"{config.label} {what}: {why}") from error


def _step(config: Config, method: models.Method, classes: int | None) -> Cost:
    scale, batch, meta = config.degradation.scale, config.batch, torch.device("meta")
    cut = (config.patch if _descends(method) and config.patch else FACE) // scale
    lr, hr = (torch.zeros(batch, 3, side, side, device=meta) for side in (cut, cut * scale))
    if config.frames is not None:
        t = () if config.frames == 1 else (config.frames,)
        small = HEIGHT // scale, WIDTH // scale
        lr, hr = (torch.zeros(batch, *t, 3, *s, device=meta) for s in (small, (HEIGHT, WIDTH)))
    with meta:
        labels = torch.zeros(batch, dtype=torch.int64)
        if method.labels == "attributes":
            labels = torch.zeros(batch, classes)
        one = Batch(lr, hr, torch.zeros(*hr.shape[:-3], 68, 2), labels)
        net = config.build(classes)
        parameters = sum(p.numel() for p in net.parameters())
        objective = config.objective(net)
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
        return Cost(parameters, macs, _bytes([lr, hr]), total, operations.moved)

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
    macs = operations.flops // 2 // batch
    return Cost(parameters, macs, size, total, operations.moved)


class _Operations(TorchDispatchMode):
    """Counts operations by PyTorch's formulas, and the bytes that they read and write.

    As its FlopCounterMode, in a third of the time: by operation, not by module. One formula is
    ours: PyTorch 2.14 counts the weight gradient of a grouped convolution as if it had one group.
    """

    flops = moved = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
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
