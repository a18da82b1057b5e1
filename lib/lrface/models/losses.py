"""What the objectives of several methods share: deep features, a frozen preprocessor."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import accumulate

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lrface.degrade import round_uint8
from lrface.models.objective import Batch, Objective
from lrface.models.recognition.align import unaligned_crop
from lrface.models.recognition.dlib_resnet import CHIP_SIZE, FIVE_OF_68, DlibResNet, chips

PIXEL = {"l1": F.l1_loss, "mse": F.mse_loss}
"""Losses between the restored and the true face that every restorer can be trained with."""


class Pixelwise(Objective):
    """One loss of :data:`PIXEL` between the restored and the true face."""

    def __init__(self, loss: str):
        super().__init__()
        self.loss = PIXEL[loss]

    def forward(self, net: nn.Module, batch: Batch) -> dict[str, Tensor]:
        return {"loss": self.loss(net(batch.lr).float(), batch.hr)}


class DeepFeatures(nn.Module):
    """A face's features at five depths of a frozen network, for perceptual losses.

    float (N, 3, H, W) in [0, 1] to five tensors, shallow to deep; gradients reach the face. The
    papers take VGG19 (HiFaceGAN) or LightCNN-9 (DICGAN), whose weights need a download. **Here it
    is dlib's pretrained face recogniser**, installed with the package: after its first convolution
    and after its first, second, third and last stage. The crop is resized to 150x150 without
    alignment. Two consequences: an identity score by the same network favours a restorer trained
    with it, so a second judge must be read beside it; and it hardly sees fine colour or the finest
    pattern, for its first convolution has a stride of 2. On rendered faces, weighted as HiFaceGAN
    does, a pattern of period 2 costs a fiftieth of white noise of the same power, and one of period
    4 in red against green a tenth of the same in grey. VGG19's first features are at full
    resolution. What these features do not see is left to the discriminator.
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


class IdentityLoss(Objective):
    """L1 of the face + :attr:`weight` times one minus the cosine of its and the true vector.

    Vectors are those of dlib's pretrained recogniser, on chips cut by the true face's landmarks. An
    identity score by the same network favours a restorer trained with this loss: a second judge is
    needed. With L1 near 0.03 and one minus the cosine near 0.05, both terms weigh about the same.
    Ours, after the joint model (Wu et al. 2016), whose recogniser is trained with the restorer.
    """

    needs_landmarks = True
    weight = 0.5

    def __init__(self) -> None:
        super().__init__()
        self.judge = DlibResNet()

    def forward(self, net: nn.Module, batch: Batch) -> dict[str, Tensor]:
        sr = net(batch.lr).float()
        pixels = F.l1_loss(sr, batch.hr)
        found = batch.points.isfinite().all(2).all(1)
        if found.is_meta:  # a step that is planned has shapes, no numbers: all faces count
            found = slice(None)
        points = batch.points[found][:, FIVE_OF_68]
        ours, true = (self.judge(chips(x[found] * 255, points)) for x in (sr, batch.hr))
        distance = (1 - F.cosine_similarity(ours, true)).sum() / len(batch.points)
        return {
            "loss": pixels + self.weight * distance,
            "pixels": pixels.detach(),
            "identity": distance.detach(),
        }


def mean_over(values: Tensor, faces: Tensor) -> Tensor:
    """The mean of ``values`` (N,) over the rows marked in ``faces`` (N,) bool; 0 without any."""
    return (values * faces).sum() / faces.sum().clamp_min(1)


class Classification(Objective):
    """Cross-entropy over the training identities, of unaligned faces cut to ``net.input_size``."""

    adam = {"weight_decay": 5e-4}

    def forward(self, net: nn.Module, batch: Batch) -> dict[str, Tensor]:
        _, logits = net(unaligned_crop(batch.hr, net.input_size))
        return {"loss": F.cross_entropy(logits.float(), batch.labels)}


class WithPreprocessor(Objective):
    """A recogniser's objective on faces restored by a frozen network, in place of the true ones.

    They are rounded to 8 bits, as in a set of stored faces (joint model, section 4.2, settings 4
    and 5: networks trained on enlarged or hallucinated faces).
    """

    def __init__(self, preprocessor: nn.Module, objective: Objective):
        super().__init__()
        self.preprocessor = preprocessor.eval().requires_grad_(False)
        self.objective, self.state = objective, objective.state
        self.adam = objective.adam
        self.needs_landmarks = objective.needs_landmarks
        self.needs_whole_batch = objective.needs_whole_batch

    def forward(self, net: nn.Module, batch: Batch) -> dict[str, Tensor]:
        with torch.no_grad():
            restored = round_uint8(self.preprocessor(batch.lr))
        return self.objective(net, batch._replace(hr=restored))


@contextmanager
def frozen(module: nn.Module) -> Iterator[None]:
    """Inside, gradients pass through the module without reaching its own parameters."""
    module.requires_grad_(False)
    try:
        yield
    finally:
        module.requires_grad_(True)
