"""What the objectives of several methods share: the batch, deep features, a frozen preprocessor."""

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
from lrface.models.recognition.dlib_resnet import CHIP_SIZE, FIVE_OF_68, DlibResNet, chips


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
    """A face's features at five depths of a frozen network, for perceptual losses.

    float (N, 3, H, W) in [0, 1] to five tensors, shallow to deep; gradients reach the face. The
    papers take VGG19 (HiFaceGAN) or LightCNN-9 (DICGAN), whose weights need a download. **Here it
    is dlib's pretrained face recogniser**, installed with the package: after its first convolution
    and after its first, second, third and last stage. The crop is resized to 150x150 without
    alignment. Two consequences: an identity score by the same network favours a restorer trained
    with it, so a second judge must be read beside it; and, trained on faces only, it is less
    sensitive to texture than VGG19.
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
        features = [x]
        x = F.max_pool2d(x, 3, 2)
        for i, block in enumerate(net.blocks, 1):
            x = block(x)
            if i in self.taps:
                features.append(x)
        return features


class Identity(nn.Module):
    """L1 of the face + :attr:`weight` times one minus the cosine of its and the true vector.

    Vectors are those of dlib's pretrained recogniser, on chips cut by the true face's landmarks. An
    identity score by the same network favours a restorer trained with this loss: a second judge is
    needed. With L1 near 0.03 and one minus the cosine near 0.05, both terms weigh about the same.
    Ours, after the joint model (Wu et al. 2016), whose recogniser is trained with the restorer.
    """

    landmarks = True
    weight = 0.5

    def __init__(self) -> None:
        super().__init__()
        self.judge = DlibResNet()

    def forward(self, net: nn.Module, batch: Batch) -> dict[str, Tensor]:
        sr = net(batch.lr).float()
        pixels = F.l1_loss(sr, batch.hr)
        found = batch.points.isfinite().all(2).all(1)
        points = batch.points[found][:, FIVE_OF_68]
        ours, true = (self.judge(chips(x[found] * 255, points)) for x in (sr, batch.hr))
        distance = (1 - F.cosine_similarity(ours, true)).sum() / len(found)
        return {
            "loss": pixels + self.weight * distance,
            "pixels": pixels.detach(),
            "identity": distance.detach(),
        }


def mean_over(values: Tensor, faces: Tensor) -> Tensor:
    """The mean of ``values`` (N,) over the rows marked in ``faces`` (N,) bool; 0 without any."""
    return (values * faces).sum() / faces.sum().clamp_min(1)


class Classification(nn.Module):
    """Cross-entropy over the training identities, of unaligned faces at the network's
    ``input_size``."""

    adam = {"weight_decay": 5e-4}

    def forward(self, net: nn.Module, batch: Batch) -> dict[str, Tensor]:
        _, logits = net(unaligned_crop(batch.hr, net.input_size))
        return {"loss": F.cross_entropy(logits.float(), batch.labels)}


class Behind(nn.Module):
    """A recogniser's objective on faces restored by a frozen network, in place of the true ones.

    It is rounded to 8 bits, as in a set of stored faces (joint model, section 4.2, settings 4 and
    5: networks trained on enlarged or hallucinated faces).
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
    """Inside, gradients pass through the module without reaching its own parameters."""
    module.requires_grad_(False)
    try:
        yield
    finally:
        module.requires_grad_(True)
