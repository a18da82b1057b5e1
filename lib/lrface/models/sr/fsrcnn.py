"""FSRCNN (Dong, Loy and Tang, ECCV 2016): SRCNN made fast, on the picture as it is.

FSRCNN(d, s, m): a 5x5 convolution extracts d features of the small picture, a 1x1 shrinks them to
s, m 3x3 convolutions map them, a 1x1 expands them to d, and a 9x9 transposed convolution of the
scale's stride enlarges. PReLU follows all but the last. Only the transposed convolution differs
between scales.

Where the paper and this module differ:

- The paper restores luminance; here all three colours go in and out, as in every other study. In
  one channel (``FSRCNN(..., channels=1)``) the weights, without biases and slopes of PReLU, are the
  paper's 12,464 for (56, 12, 4) and 3,937 for (32, 5, 1).
- Caffe's transposed convolution (padding 4) gives n f - n + 1 pixels for f at scale n, and n - 1
  are cropped off the truth. Here the same pixels stand at the same places, and the n - 1 around
  them, half on each side, are computed too, so that the face has its full size. Ports that add
  ``output_padding`` shift the picture instead.
- The paper trains 3x from nothing, and 2x and 4x by fine-tuning the transposed convolution alone,
  with data of 91 and 100 images; here each scale is trained whole. It trains by SGD, the transposed
  convolution at a tenth of the others' rate; here by Adam at one rate. Its loss is ``mse``.
"""

from __future__ import annotations

from torch import Tensor, nn

from lrface.errors import UsageError
from lrface.models.recipe import Recipe

VERSION = 1
SCALES = (2, 3, 4, 8)
RECIPE = Recipe(
    steps=2000,
    loss="mse",
    schedule="constant",
    source="the paper: constant rates, halved when 100 images are added, under SGD and by layer",
)
SIZES = {
    "paper": {"features": 56, "shrunk": 12, "mappings": 4},
    "small": {"features": 32, "shrunk": 5, "mappings": 1},
}
"""``small`` is the paper's own FSRCNN-s."""
KERNEL = 9


def _prelu(n_in: int, n_out: int, kernel: int) -> list[nn.Module]:
    layer = nn.Conv2d(n_in, n_out, kernel, padding=kernel // 2)
    nn.init.kaiming_normal_(layer.weight, a=0.25)
    nn.init.zeros_(layer.bias)
    return [layer, nn.PReLU(n_out)]


class FSRCNN(nn.Module):
    """FSRCNN(56, 12, 4): 24,683 parameters in RGB (``paper``).

    Parameters
    ----------
    scale : int
        2, 3, 4 or 8; 8x is ours.
    features, shrunk, mappings : int
        The paper's d, s and m.
    channels : int
        3 for colours, 1 for luminance.

    Examples
    --------
    >>> net = FSRCNN(3, features=56, shrunk=12, mappings=4)
    >>> sum(p.numel() for p in net.parameters())
    24683
    """

    def __init__(self, scale: int, features: int, shrunk: int, mappings: int, channels: int = 3):
        super().__init__()
        if scale >= KERNEL:
            raise UsageError(f"FSRCNN's kernel of {KERNEL} pixels cannot enlarge by {scale}")
        self.scale = scale
        self.layers = nn.Sequential(
            *_prelu(channels, features, 5),
            *_prelu(features, shrunk, 1),
            *(layer for _ in range(mappings) for layer in _prelu(shrunk, shrunk, 3)),
            *_prelu(shrunk, features, 1),
        )
        self.enlarge = nn.ConvTranspose2d(features, channels, KERNEL, stride=scale)
        nn.init.normal_(self.enlarge.weight, std=0.001)
        nn.init.zeros_(self.enlarge.bias)

    def forward(self, lr: Tensor) -> Tensor:
        h, w = (side * self.scale for side in lr.shape[-2:])
        # the middle of the kernel stands in the middle of its scale x scale pixels
        first = KERNEL // 2 - (self.scale - 1) // 2
        return self.enlarge(self.layers(lr))[..., first : first + h, first : first + w]


def build(scale: int, size: str) -> FSRCNN:
    return FSRCNN(scale, **SIZES[size])
