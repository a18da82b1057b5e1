"""Judges of identity by name: dlib's network, and those that a user registers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from lrface.errors import UsageError
from lrface.models import own
from lrface.models.recognition.align import align
from lrface.models.recognition.dlib_resnet import FIVE_OF_68, DlibResNet, chips


@dataclass(frozen=True)
class Embedder:
    """How a judge is built and faces are cut for it: :func:`lrface.models.register_embedder`."""

    name: str
    build: Callable[[], nn.Module]
    source: str
    distance: Literal["euclidean", "cosine"]
    crop: Callable[[Tensor, Tensor], Tensor] | tuple[int, int]

    def cut(self, images: Tensor, points: Tensor) -> Tensor:
        """Faces uint8 or float (N, 3, H, W) in 0..255 by landmarks (N, 68, 2), as it wants them."""
        if callable(self.crop):
            return self.crop(images, points)
        return align(images.float(), points, self.crop)


def _chips(images: Tensor, points: Tensor) -> Tensor:
    return chips(images, torch.as_tensor(points)[:, FIVE_OF_68])


EMBEDDERS: dict[str, Embedder] = {
    "dlib": Embedder("dlib", DlibResNet, "King 2017", "euclidean", _chips),
}
"""Every judge by its name."""


def build(name: str) -> nn.Module:
    """The judge of this name; see :func:`lrface.models.embedder`."""
    if name not in EMBEDDERS:
        known = ", ".join(EMBEDDERS)
        raise UsageError(f"unknown embedder {name!r}: known are {known}, register yours first")
    chosen = EMBEDDERS[name]
    net = chosen.build().eval()
    net.distance, net.crop = chosen.distance, chosen.cut
    net.label = "dlib 128-d" if name == "dlib" else name
    return net


def known_as(name: str, net: nn.Module) -> str:
    """What tells a judge from others in the keys of scores: its name, and of a user's own its
    behaviour on a random face, weights included."""
    if isinstance(net, DlibResNet):
        return name

    def run(dtype: torch.dtype) -> list[Tensor]:
        random = torch.Generator().manual_seed(1)
        faces = 255 * torch.rand(2, 3, 128, 128, generator=random)
        points = 128 * torch.rand(2, 68, 2, generator=random)
        where = next(iter(net.parameters()), faces).device
        with torch.no_grad():
            return [net(net.crop(faces, points).to(where))]

    return f"{name} {own.behaviour(run)}"
