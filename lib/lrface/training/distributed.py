"""Several processes of one training, as torchrun starts them. Alone, everything here does nothing."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

import torch
from filelock import FileLock, Timeout
from lightning_fabric import Fabric
from lightning_fabric.strategies import DDPStrategy
from torch import distributed, nn

from lrface import settings
from lrface.errors import LrfaceError

Result = TypeVar("Result")
PATIENCE = timedelta(hours=12)
"""How long a process waits for another: the first may have a million faces to read."""


def fabric(precision: str) -> Fabric:
    """One device a process, chosen by what is there; LRFACE_DEVICE=cpu keeps a run off the GPU."""
    accelerator = settings.current().device
    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", ".*srun"
        )  # a machine with Slurm need not be one of its jobs
        if not distributed.is_initialized():
            return Fabric(accelerator=accelerator, devices=1, precision=precision)
        here, all_ = int(os.environ["LOCAL_WORLD_SIZE"]), int(os.environ["WORLD_SIZE"])
        # buffers change alike in every process, and a validation by the first alone must wait for
        # nobody
        strategy = DDPStrategy(broadcast_buffers=False, timeout=PATIENCE)
        runner = Fabric(
            accelerator=accelerator,
            devices=here,
            num_nodes=all_ // here,
            strategy=strategy,
            precision=precision,
        )
    runner.launch()
    return runner


def join() -> None:
    """Meet the other processes that torchrun started, if any: gloo on CPUs, NCCL on GPUs, one for
    each process.

    Raises one sentence (:class:`LrfaceError`) if a node has fewer GPUs than processes.
    """
    here, all_ = int(os.environ.get("LOCAL_WORLD_SIZE", 1)), int(os.environ.get("WORLD_SIZE", 1))
    if all_ == 1:
        return
    gpus = torch.cuda.device_count() if settings.current().device != "cpu" else 0
    if 0 < gpus < here:
        raise LrfaceError(
            f"{here} processes on a node of {gpus} GPUs: start no more than one a GPU, or set LRFACE_DEVICE=cpu"
        )
    if gpus:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    distributed.init_process_group("nccl" if gpus else "gloo", timeout=PATIENCE)


def share() -> tuple[int, int]:
    """This process's number, from 0, and how many there are."""
    return (
        (distributed.get_rank(), distributed.get_world_size())
        if distributed.is_initialized()
        else (0, 1)
    )


def by_first(work: Callable[[], Result]) -> Result:
    """What ``work`` gives to the first process, in every process; the others do not call it."""
    if not distributed.is_initialized():
        return work()
    given = [work() if distributed.get_rank() == 0 else None]
    distributed.broadcast_object_list(given)
    return given[0]


@contextmanager
def first_first() -> Iterator[None]:
    """The first process passes the block before the others enter it: what it computes and keeps,
    they find."""
    alone, number = not distributed.is_initialized(), share()[0]
    if not alone and number:
        distributed.barrier()
    yield
    if not alone and not number:
        distributed.barrier()


@contextmanager
def locked(path: Path, label: str) -> Iterator[None]:
    """Hold a file lock, waiting for it; of several processes only the first holds it, and waits for
    nobody, for the others wait too."""
    number, processes = share()
    if number:
        yield
        return
    lock = FileLock(path, timeout=-1 if processes == 1 else 0)
    try:
        lock.acquire()
    except Timeout:
        raise LrfaceError(
            f"{label} is being trained by another process: wait for it, then run the same line again"
        ) from None
    try:
        yield
    finally:
        lock.release()


def check_batch(batch: int, label: str) -> None:
    """Raise one sentence (:class:`LrfaceError`) if the processes cannot have equal shares of a
    batch."""
    processes = share()[1]
    if batch % processes:
        raise LrfaceError(
            f"{label}: a batch of {batch} cannot be shared equally by {processes} processes: choose a number that divides it"
        )


def check_split(net: nn.Module, objective: nn.Module, batch: int, label: str) -> None:
    """Raise one sentence (:class:`LrfaceError`) unless the processes' shares of a batch, averaged,
    are the batch."""
    check_batch(batch, label)
    if share()[1] == 1:
        return
    alone = "train it in one process"
    if any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in net.modules()):
        raise LrfaceError(
            f"{label}: batch normalisation would see a share of each batch in each process: {alone}"
        )
    if getattr(objective, "rival", None) is not None:
        raise LrfaceError(
            f"{label}: an adversarial objective descends for two networks in turn, which several processes do not: {alone}"
        )
    if getattr(objective, "whole_batch", False):
        raise LrfaceError(
            f"{label}: its objective is no mean over faces, it compares or counts those of the whole batch: {alone}"
        )
