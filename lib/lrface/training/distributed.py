"""One training by several processes (DDP), as torchrun starts them. No-ops in a single process."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

import torch
from filelock import FileLock, Timeout
from lightning_fabric import Fabric
from lightning_fabric.strategies import DDPStrategy
from torch import nn

from lrface import numerics, settings
from lrface.errors import LrfaceError
from lrface.models.objective import Objective

Result = TypeVar("Result")
TIMEOUT = timedelta(hours=12)
"""How long a process waits for another: the first may have a million faces to read."""


def fabric() -> Fabric:
    """Lightning Fabric on one device a process, launched; LRFACE_DEVICE=cpu keeps it off the GPU.

    Under torchrun the processes form one group: NCCL on GPUs, gloo on CPUs. On a GPU this process
    computes as :func:`lrface.numerics.prepare` says from then on. Raises :class:`LrfaceError` if a
    GPU is asked for and none can be used, or a node has fewer GPUs than processes.
    """
    return _fabric(settings.current().device)


@lru_cache
def _fabric(asked: str) -> Fabric:
    found = _on(numerics.accelerator(asked))
    numerics.prepare(found.device)
    return found


def _on(accelerator: str) -> Fabric:
    local, world = (int(os.environ.get(n, 1)) for n in ("LOCAL_WORLD_SIZE", "WORLD_SIZE"))
    with warnings.catch_warnings():
        # a machine with Slurm need not be one of its jobs
        warnings.filterwarnings("ignore", ".*srun")
        if world == 1:
            return Fabric(accelerator=accelerator, devices=1)
        gpus = torch.cuda.device_count() if accelerator != "cpu" else 0
        if 0 < gpus < local:
            advice = "start no more than one a GPU, or set LRFACE_DEVICE=cpu"
            raise LrfaceError(f"{local} processes on a node of {gpus} GPUs: {advice}")
        # Buffers change alike in every process, and rank 0 alone validates, waiting for nobody.
        strategy = DDPStrategy(
            broadcast_buffers=False,
            timeout=TIMEOUT,
            process_group_backend="nccl" if gpus else "gloo",
        )
        size = dict(devices=local, num_nodes=world // local)
        found = Fabric(accelerator=accelerator, strategy=strategy, **size)
        found.launch()
    return found


def rank_and_world_size() -> tuple[int, int]:
    """This process's number, from 0, and how many there are."""
    return fabric().global_rank, fabric().world_size


def broadcast_from_rank0(work: Callable[[], Result]) -> Result:
    """What ``work`` returns on rank 0, in every process; the others do not call it."""
    return fabric().broadcast(work() if fabric().global_rank == 0 else None)


def rank0_first():
    """Context manager in which rank 0 goes first; the others then find what it has cached."""
    return fabric().rank_zero_first()


@contextmanager
def locked(path: Path, label: str) -> Iterator[None]:
    """Hold a file lock, waiting until it is free.

    Of several processes rank 0 holds it for all, and raises :class:`LrfaceError` where it would
    have to wait: the others could wait for rank 0 only so long.
    """
    rank, world_size = rank_and_world_size()
    if rank:
        yield
        return
    lock = FileLock(path, timeout=-1 if world_size == 1 else 0)
    try:
        lock.acquire()
    except Timeout:
        advice = "wait for it, then run the same line again"
        raise LrfaceError(f"{label} is being trained by another process: {advice}") from None
    try:
        yield
    finally:
        lock.release()


def check_batch(batch: int, label: str) -> None:
    """Raise :class:`LrfaceError` if the processes cannot have equal shares of a batch."""
    world_size = rank_and_world_size()[1]
    if batch % world_size:
        what = f"a batch of {batch} cannot be shared equally by {world_size} processes"
        raise LrfaceError(f"{label}: {what}: choose a number that divides it")


def check_split(net: nn.Module, objective: Objective, batch: int, label: str) -> None:
    """Raise :class:`LrfaceError` unless gradients averaged over processes are the batch's."""
    check_batch(batch, label)
    if rank_and_world_size()[1] == 1:
        return
    why = None
    if any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in net.modules()):
        why = "batch normalisation would see a share of each batch in each process"
    elif objective.discriminator is not None:
        why = "an adversarial objective trains two networks in turn, which several processes do not"
    elif objective.needs_whole_batch:
        why = "its objective is no mean over faces, it compares or counts those of the whole batch"
    if why:
        raise LrfaceError(f"{label}: {why}: train it in one process")
