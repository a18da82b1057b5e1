"""What a training would cost: its real step on PyTorch's meta device, where tensors have a shape and
no contents."""

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
from torch.utils.flop_counter import conv_flop_count, flop_registry

from lrface import models
from lrface.errors import LrfaceError
from lrface.models.losses import Pixelwise, WithPreprocessor
from lrface.models.objective import Batch
from lrface.training.config import Config, RunRef

FACE = 128
"""Side in pixels of a whole HR face."""
FLOPS = 40e12
"""Floating-point operations a second that one data-centre GPU is taken to sustain over a whole
training (TF32 or bfloat16)."""
EFFICIENCY = 0.9
"""Share of eight times that speed that eight GPUs are taken to reach together."""
ASSUMPTION = (
    f"times assume {FLOPS / 1e12:g} TFLOP/s sustained on one GPU and {EFFICIENCY:.0%} of eight times that on eight; memory is a lower "
    "bound, in GB of 1e9 bytes; every network counts as trained from nothing"
)
SECONDS = ("seconds_1_gpu", "seconds_8_gpus")


class Cost(NamedTuple):
    """Of one training step."""

    parameters: int
    """Of the network alone."""
    macs: int
    """Multiply-accumulates for one sample, forward and backward, of the network and of all that its
    objective adds."""
    activations: int
    """Bytes of the tensors that autograd keeps from the forward pass for the backward pass, for the
    whole batch."""
    weights: int
    """Bytes of all weights, of the gradients and of Adam's two moments: what a step needs whatever
    its batch."""


def plan(
    configs: Iterable[Config],
    n_train: int,
    identities: int | None = None,
    attributes: int | None = None,
) -> pd.DataFrame:
    """A row a network to train, in order, each once: what its training on ``n_train`` faces costs.
    Nothing is computed or allocated.

    Columns: ``method, size, setting, steps, batch, epochs, parameters, macs, memory_gb,
    seconds_1_gpu, seconds_8_gpus``. ``macs`` are those of a training sample (see :class:`Cost`),
    about three times those of an inference. ``memory_gb`` (1e9 bytes) is ``activations`` and
    ``weights`` together: a lower bound, for a convolution's workspace, the allocator's gaps and the framework
    itself come on top. It is that of float32; ``bf16-mixed`` needs less. Seconds are operations
    over an **assumed** speed, :data:`FLOPS` on one GPU and :data:`EFFICIENCY` of eight times that
    on eight.

    A config's ``init`` or ``preprocessor`` is a network to train too, and stands before it. A method
    with a closed form has one pass over the faces, one forward computation a sample, and no optimiser; what
    it holds meanwhile is not counted. ``identities`` is the number of people in the training faces
    and ``attributes`` that of the attributes they are labelled with: a recognition network ends in
    as many outputs of the one or the other, and without it raises :class:`LrfaceError`, as does a
    network that needs numbers where only shapes are known.
    """
    rows, costs = [], {}
    for config in dict.fromkeys(one for given in configs for one in _from_the_start(given)):
        method = models.find(config.method)
        degradation, descends = config.degradation, _descends(method)
        shape = (config.method, config.size, degradation.scale, config.loss, config.batch)
        shape = (*shape, config.patch, *_preprocessor_size(config))
        if shape not in costs:
            costs[shape] = cost(config, identities, attributes)
        step = costs[shape]
        faces = min(n_train, config.n_train or n_train)
        steps = config.steps if descends else math.ceil(faces / config.batch) * method.trainable
        samples = steps * config.batch if descends else faces * method.trainable
        seconds = samples * 2 * step.macs / FLOPS
        row = (config.method, config.size, degradation.name, steps, config.batch, samples / faces)
        row = (*row, step.parameters, step.macs, (step.activations + step.weights) / 1e9)
        rows.append((*row, seconds, seconds / (8 * EFFICIENCY)))
    columns = "method size setting steps batch epochs parameters macs memory_gb"
    return pd.DataFrame(rows, columns=[*columns.split(), *SECONDS])


def cost(config: Config, identities: int | None = None, attributes: int | None = None) -> Cost:
    """The cost of one step of this config, as :func:`lrface.training.loop.train` takes it; raises
    as :func:`plan` does."""
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
    with meta:
        labels = torch.zeros(batch, dtype=torch.int64)
        if method.labels == "attributes":
            labels = torch.zeros(batch, classes)
        one = Batch(lr, hr, torch.zeros(batch, 68, 2), labels)
        net = config.build(classes)
        parameters = sum(p.numel() for p in net.parameters())
        own_loss = config.loss in method.objectives
        objective = method.objectives[config.loss](net) if own_loss else Pixelwise(config.loss)
        before = _preprocessor(config)
        if isinstance(before, str):
            objective = WithPreprocessor(models.build(before, scale), objective)
        elif before is not None:
            objective = WithPreprocessor(before.build(), objective)
    parts = nn.ModuleList([net, objective]).to(meta)  # what was read from a file is not there yet
    weights = [*parts.parameters(), *parts.buffers()]
    # the loop clears gradients after the forward pass, so the last step's are still there during it
    held = _bytes(weights)
    if _descends(method):  # gradients and Adam's two moments
        held += 3 * _bytes(p for p in weights if p.requires_grad)
    if not _descends(method):
        with torch.no_grad(), _Operations() as operations:
            net.eval()(lr)
        return Cost(parameters, operations.flops // 2 // batch, _bytes([lr, hr]), held)

    own, kept = {w.untyped_storage() for w in weights}, WeakSet()

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        kept.add(tensor.untyped_storage())
        return tensor

    with _Operations() as operations:
        with saved_tensors_hooks(pack, lambda tensor: tensor):
            losses = objective(net, one)
        size = sum(storage.nbytes() for storage in kept if storage not in own)
        for name in ("loss", "discriminator"):
            if name in losses:
                losses[name].backward()
    return Cost(parameters, operations.flops // 2 // batch, size, held)


class _Operations(TorchDispatchMode):
    """Counts as PyTorch's FlopCounterMode does, with its formulas, in a third of the time: by
    operation, not by module.

    One formula is ours: PyTorch 2.14 counts the weight gradient of a grouped convolution as if it
    had one group.
    """

    flops = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        if func is torch.ops.aten.convolution_backward.default:
            (gradient, x, weight), transposed, wanted = args[:3], args[7], args[10]
            self.flops += sum(wanted[:2]) * conv_flop_count(
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


def _from_the_start(config: Config) -> Iterator[Config]:
    """A config after those on the same faces that are trained before it."""
    for parent in config.parents:
        if isinstance(parent, Config):
            yield from _from_the_start(parent)
    yield config


def _bytes(tensors: Iterable[torch.Tensor]) -> int:
    return sum(t.nbytes for t in tensors)
