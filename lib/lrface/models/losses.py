"""What adversarial methods share: deep features of faces to compare, and a rival that is asked without being taught."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import accumulate

from torch import Tensor, nn
from torch.nn import functional as F

from lrface.models.recognition.dlib_resnet import CHIP_SIZE, DlibResNet


class DeepFeatures(nn.Module):
    """Features at five depths of a face: float (N, 3, H, W) in [0, 1] to five tensors, shallow to deep. Frozen; gradients reach the face.

    The papers take VGG19 (HiFaceGAN) or LightCNN-9 (DICGAN), whose weights need a download. **This is dlib's pretrained face recogniser
    instead**, the one that comes with the package: after its stem and after its first, second, third and last stage. The whole crop is
    resized to 150x150 and not aligned. Two things follow. A restorer trained with it is flattered by an identity score from the same
    network, so another judge must be read beside that score. And, having learnt from faces alone, it says less about texture than VGG19.
    """

    def __init__(self) -> None:
        super().__init__()
        self.net = DlibResNet()
        ends = list(accumulate(depth for _, depth, _ in self.net.stages))
        self.taps = (0, *ends[:3], ends[-1])

    def forward(self, faces: Tensor) -> list[Tensor]:
        net = self.net
        x = F.interpolate(faces.float(), size=(CHIP_SIZE, CHIP_SIZE), mode="bilinear", align_corners=False)
        x = F.relu(net.stem((x * 255 - net.mean) / 256))
        found = [x]
        x = F.max_pool2d(x, 3, 2)
        for i, block in enumerate(net.blocks, 1):
            x = block(x)
            if i in self.taps:
                found.append(x)
        return found


@contextmanager
def frozen(module: nn.Module) -> Iterator[None]:
    """Inside, what the module computes passes gradients on but leaves none in its own parameters."""
    module.requires_grad_(False)
    try:
        yield
    finally:
        module.requires_grad_(True)
