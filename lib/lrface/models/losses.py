"""What objectives share: the batch a step sees, deep features of faces to compare, and a rival that
is asked without being taught."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import accumulate
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lrface.degrade import round_uint8
from lrface.models.recognition.align import unaligned_crop
from lrface.models.recognition.dlib_resnet import CHIP_SIZE, DlibResNet, chips


class Batch(NamedTuple):
    """What one step sees, on the device it runs on."""

    lr: Tensor
    """float (N, 3, h, w) in [0, 1]."""
    hr: Tensor
    """float (N, 3, H, W) in [0, 1]."""
    points: Tensor | None = None
    """float (N, 68, 2): the landmarks in pixels of ``hr``, NaN where unknown; only for a method
    that wants them."""
    labels: Tensor | None = None
    """int64 (N,): the number of each face's identity among the training identities in order of
    their names; or float (N, A): 1 for each attribute of the set that the face has, else 0."""
    native: Tensor | None = None
    """bool (N,): the native faces, pictures of few pixels, enlarged in ``hr``, for there is no
    high-resolution truth; None: none is."""

    def to(self, device: torch.device) -> Batch:
        pictures = (
            t.to(device).contiguous(memory_format=torch.channels_last) for t in (self.lr, self.hr)
        )
        return Batch(
            *pictures,
            *(t if t is None else t.to(device) for t in (self.points, self.labels, self.native)),
        )


class DeepFeatures(nn.Module):
    """Features at five depths of a face: float (N, 3, H, W) in [0, 1] to five tensors, shallow to
    deep. Frozen; gradients reach the face.

    The papers take VGG19 (HiFaceGAN) or LightCNN-9 (DICGAN), whose weights need a download. **This
    is dlib's pretrained face recogniser instead**, the one that comes with the package: after its
    stem and after its first, second, third and last stage. The whole crop is resized to 150x150 and
    not aligned. Two things follow. A restorer trained with it is flattered by an identity score
    from the same network, so another judge must be read beside that score. And, having learnt from
    faces alone, it says less about texture than VGG19.
    """

    def __init__(self) -> None:
        super().__init__()
        self.net = DlibResNet()
        ends = list(accumulate(depth for _, depth, _ in self.net.stages))
        self.taps = (0, *ends[:3], ends[-1])

    def forward(self, faces: Tensor) -> list[Tensor]:
        net = self.net
        x = F.interpolate(
            faces.float(), size=(CHIP_SIZE, CHIP_SIZE), mode="bilinear", align_corners=False
        )
        x = F.relu(net.stem((x * 255 - net.mean) / 256))
        found = [x]
        x = F.max_pool2d(x, 3, 2)
        for i, block in enumerate(net.blocks, 1):
            x = block(x)
            if i in self.taps:
                found.append(x)
        return found


FIVE_OF_68 = [45, 42, 36, 39, 33]
"""Which of the 68 landmarks dlib aligns a chip by: the corners of the eyes and the base of the
nose, in its order."""


class Identity(nn.Module):
    """L1 between the pictures, and one minus the cosine between the vectors that a frozen
    recogniser gives the restored and the true face.

    The recogniser is dlib's pretrained one, on chips cut by the true face's landmarks. A restorer
    trained with this is flattered by an identity score from the same network: another must judge.
    With L1 near 0.03 and one minus the cosine near 0.05, :attr:`weight` lets identity decide about
    as much as the pixels. Ours, after the joint model (Wu et al. 2016), whose recogniser learns
    along.
    """

    landmarks = True
    weight = 0.5

    def __init__(self) -> None:
        super().__init__()
        self.judge = DlibResNet()

    def forward(self, net: nn.Module, batch: Batch) -> dict[str, Tensor]:
        sr = net(batch.lr).float()
        pixels = F.l1_loss(sr, batch.hr)
        known = batch.points.isfinite().all(2).all(1)
        points = batch.points[known][:, FIVE_OF_68]
        ours, true = (self.judge(chips(x[known] * 255, points)) for x in (sr, batch.hr))
        apart = (1 - F.cosine_similarity(ours, true)).sum() / len(known)
        return {
            "loss": pixels + self.weight * apart,
            "pixels": pixels.detach(),
            "identity": apart.detach(),
        }


def mean_over(values: Tensor, faces: Tensor) -> Tensor:
    """The mean of ``values`` (N,) over the faces that bool ``faces`` (N,) marks; 0 where it marks
    none."""
    return (values * faces).sum() / faces.sum().clamp_min(1)


class Classification(nn.Module):
    """Cross-entropy over the training identities, of faces taken whole: no landmarks. The network
    says its ``input_size``."""

    adam = {"weight_decay": 5e-4}

    def forward(self, net: nn.Module, batch: Batch) -> dict[str, Tensor]:
        _, logits = net(unaligned_crop(batch.hr, net.input_size))
        return {"loss": F.cross_entropy(logits.float(), batch.labels)}


class Behind(nn.Module):
    """A recogniser's objective on what a frozen restorer makes of the degraded face, in place of
    the true face.

    Like a face of any other set it has 8 bits a colour (joint model, section 4.2, settings 4 and 5:
    networks trained on a set of enlarged or hallucinated faces).
    """

    def __init__(self, front: nn.Module, objective: nn.Module):
        super().__init__()
        self.front, self.objective = front.eval().requires_grad_(False), objective
        self.adam, self.memory = objective.adam, getattr(objective, "memory", None)
        self.landmarks = getattr(objective, "landmarks", False)
        self.whole_batch = getattr(objective, "whole_batch", False)

    def forward(self, net: nn.Module, batch: Batch) -> dict[str, Tensor]:
        with torch.no_grad():
            seen = round_uint8(self.front(batch.lr))
        return self.objective(net, batch._replace(hr=seen))


@contextmanager
def frozen(module: nn.Module) -> Iterator[None]:
    """Inside, what the module computes passes gradients on but leaves none in its own parameters."""
    module.requires_grad_(False)
    try:
        yield
    finally:
        module.requires_grad_(True)
