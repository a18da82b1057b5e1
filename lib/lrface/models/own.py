"""What is a user's own: methods and judges from elsewhere, and how keys tell them apart.

The library's methods have versions (:attr:`lrface.models.Method.version`) that a test compares with
their behaviour. A user's code has neither, so that its behaviour itself is part of the keys of
networks and scores: what it computes from fixed weights, faces and random numbers.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

from lrface.behaviour import behaviour
from lrface.errors import LrfaceError, UsageError
from lrface.models.objective import Batch, Objective


def of_method(
    build: Callable[[int, str], nn.Module],
    scale: int,
    size: str,
    objective: Callable[[nn.Module], nn.Module] | None = None,
) -> str:
    """The behaviour of a method: its network as it is built, and one step of its own objective.

    Parameters
    ----------
    build : callable
        (scale, size) -> network, as in :func:`lrface.models.register`.
    scale, size : int, str
        What it is asked for.
    objective : callable, optional
        Network -> objective (:class:`lrface.models.objective.Objective`), if it has its own.
    """

    def run(dtype: torch.dtype) -> Iterator[Tensor]:
        net = build(scale, size).to(dtype)
        lr = _picture(net, scale, dtype)
        for mode in (False, True):
            net.train(mode)
            with torch.no_grad():
                yield from _tensors(net(lr))
        if objective is not None:
            yield from _step(net, objective(net).to(dtype), lr, scale)

    return behaviour(run)


def of_network(net: nn.Module) -> str:
    """The behaviour of a ready-made network in evaluation mode, its weights included.

    Examples
    --------
    >>> nets = [nn.Sequential(nn.Upsample(scale_factor=2)) for _ in range(2)]
    >>> of_network(nets[0]) == of_network(nets[1]) != of_network(nn.Identity())
    True
    """

    def run(dtype: torch.dtype) -> Iterator[Tensor]:
        one = copy.deepcopy(net).cpu().to(dtype).eval()
        with torch.no_grad():
            yield from _tensors(one(_picture(one, getattr(net, "scale", 1), dtype)))
        yield from (t for t in one.state_dict().values() if t.is_floating_point())

    return behaviour(run)


@torch.no_grad()
def _picture(net: nn.Module, scale: int, dtype: torch.dtype) -> Tensor:
    """A random picture that the network takes: 16 pixels wide, else as wide as of a whole face."""
    for side in (16, 128 // scale):
        picture = torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(1)).to(dtype)
        with contextlib.suppress(Exception):
            copy.deepcopy(net).eval()(picture)
            return picture
    return picture


def _tensors(result: object) -> Iterator[Tensor]:
    """The tensors in what a network returns."""
    if torch.is_tensor(result):
        yield result
    elif isinstance(result, dict):
        yield from (t for value in result.values() for t in _tensors(value))
    elif isinstance(result, list | tuple):
        yield from (t for value in result for t in _tensors(value))


def _step(net: nn.Module, objective: Objective, lr: Tensor, scale: int) -> Iterator[Tensor]:
    """The losses of one batch, and the gradients of the network."""
    random = torch.Generator().manual_seed(2)
    side = lr.shape[-1] * scale
    hr = torch.rand(2, 3, side, side, generator=random).to(lr)
    points = side * torch.rand(2, 68, 2, generator=random).to(lr)
    losses = objective(net, Batch(lr, hr, points, torch.arange(2)))
    losses["loss"].backward()
    yield from (torch.as_tensor(value) for value in losses.values())
    yield from (p.grad for p in net.parameters() if p.grad is not None)


class Foreign(nn.Module):
    """A network that spandrel opened: any size of picture, its output clipped to [0, 1]."""

    def __init__(self, descriptor) -> None:
        super().__init__()
        self.net, self.scale, self.descriptor = descriptor.model, descriptor.scale, descriptor

    def forward(self, lr: Tensor) -> Tensor:
        """float (N, 3, h, w) in [0, 1] to (N, 3, h * scale, w * scale)."""
        grey = self.descriptor.input_channels == 1
        if grey:  # each channel is a picture of its own
            lr = lr.flatten(0, 1)[:, None]
        sr = torch.cat([self.descriptor(picture[None]) for picture in lr]) if len(lr) else lr
        return sr.unflatten(0, (-1, 3)).squeeze(2) if grey else sr


def open_foreign(path: Path) -> tuple[Foreign, str, str]:
    """A checkpoint of any architecture that spandrel knows, its name, and the file's sha256.

    Only tensors are read from the file, never code.

    Raises
    ------
    UsageError
        The file is missing, or its name does not end in .pth, .pt, .ckpt or .safetensors.
    LrfaceError
        It is damaged, spandrel does not know its architecture, or it restores no colour pictures.
    """
    import spandrel
    from safetensors.torch import load_file

    from lrface.files import sha256

    kind = path.suffix.lower()
    if not path.is_file() or kind not in (".pth", ".pt", ".ckpt", ".safetensors"):
        raise UsageError(f"{path} is no checkpoint: give a .pth, .pt, .ckpt or .safetensors file")
    try:
        if kind == ".safetensors":
            weights = load_file(path)
        else:
            weights = torch.load(path, map_location="cpu", weights_only=True)
        descriptor = spandrel.ModelLoader().load_from_state_dict(weights)
    except spandrel.UnsupportedModelError:
        raise LrfaceError(f"{path}: spandrel knows no architecture with such weights") from None
    except Exception as error:  # of a damaged file torch and spandrel raise a dozen kinds
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise LrfaceError(f"{path} cannot be opened as a checkpoint ({first[:120]})") from None
    channels = getattr(descriptor, "input_channels", 0), getattr(descriptor, "output_channels", 0)
    if channels not in ((3, 3), (1, 1)):
        what = f"{descriptor.architecture.name} with {channels[0]} channels in, {channels[1]} out"
        raise LrfaceError(f"{path} holds {what}: one that restores colour pictures is needed")
    return Foreign(descriptor).eval(), descriptor.architecture.name, sha256(path)
