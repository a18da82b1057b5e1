"""dlib's pretrained face recogniser (ResNet-29, 128-d) as a PyTorch module: the judge of identity
that needs no download.

The weights (Davis E. King, public domain) come from the ``face-recognition-models`` package; the
module gives dlib's own vectors, but in batches, on any device, and with gradients. Every parameter
stays frozen.

Faces enter as chips: 150x150 crops turned upright by five landmarks. The chip's geometry is dlib's
too (``get_face_chip``, padding 0.25), to the pixel.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lrface.data.landmarks import model_file
from lrface.errors import LrfaceError, UsageError

CHIP_SIZE = 150
PADDING = 0.25
TEMPLATE = (
    (0.8595674595992, 0.2134981538014),
    (0.6460604764104, 0.2289674387677),
    (0.1205750620789, 0.2137274526848),
    (0.3340850613712, 0.2290642403242),
    (0.4901123135679, 0.6277975316475),
)
"""dlib's mean positions (x, y) of its five landmarks in the unit square: the outer and inner corner
of the eye on the image's right, the same two of the eye on its left, the base of the nose."""
FIVE_OF_68 = (45, 42, 36, 39, 33)
"""The same five points among the 68 of iBUG 300-W, in dlib's order: ``landmarks68[:, FIVE_OF_68]``."""


def _integer(data: bytes, at: int) -> tuple[int, int]:
    """An integer of dlib's serialisation: a byte holding its length (and, in the top bit, its
    sign), then little-endian bytes."""
    end = at + 1 + (data[at] & 0x0F)
    value = int.from_bytes(data[at + 1 : end], "little")
    return (-value if data[at] & 0x80 else value), end


def _tensor(data: bytes, at: int) -> Tensor:
    """A tensor of dlib's serialisation, flattened: its format version, four sizes, then float32
    values."""
    version, at = _integer(data, at)
    if version != 2:
        raise LrfaceError(
            f"dlib's network file holds a tensor of format {version}, only format 2 is known"
        )
    sizes = []
    for _ in range(4):
        size, at = _integer(data, at)
        sizes.append(size)
    return torch.from_numpy(np.frombuffer(data, "<f4", int(np.prod(sizes)), at).astype(np.float32))


def _weights(data: bytes) -> Iterator[Tensor]:
    """The learned tensors of dlib's network file, input layer first: (convolution, affine) 29
    times, then the dense layer.

    A layer starts with its name (a length, then letters); between the name and the weights the
    dense layer has its two widths. The gradients and caches a layer also stores are skipped by
    looking for the next name.
    """
    integers_before = {b"con_4": 0, b"affine_": 0, b"fc_2": 2}
    names = b"|".join(bytes([1, len(name)]) + b"(?:" + name + b")" for name in integers_before)
    for layer in re.finditer(names, data):
        at = layer.end()
        for _ in range(integers_before[layer.group()[2:]]):
            _, at = _integer(data, at)
        yield _tensor(data, at)


def _conv(
    weights: Iterator[Tensor], cin: int, cout: int, size: int, stride: int = 1, padding: int = 0
) -> nn.Conv2d:
    """The file's next convolution, with the affine layer that follows it folded in."""
    packed, affine = next(weights), next(weights)
    kernel, bias = packed[:-cout].view(cout, cin, size, size), packed[-cout:]
    gain, shift = affine.chunk(2)
    # skip_init: a judge that drew random numbers here would change the training it is built beside.
    conv = nn.utils.skip_init(nn.Conv2d, cin, cout, size, stride=stride, padding=padding)
    conv.weight = nn.Parameter(kernel * gain.view(-1, 1, 1, 1))
    conv.bias = nn.Parameter(bias * gain + shift)
    return conv


class _Residual(nn.Module):
    """dlib's ``residual`` or, with ``down``, ``residual_down``: half the resolution, the shortcut
    averaged over 2x2."""

    def __init__(self, weights: Iterator[Tensor], cin: int, cout: int, down: bool) -> None:
        super().__init__()
        self.down = down
        # dlib pads no convolution that has a stride.
        self.first = (
            _conv(weights, cin, cout, 3, stride=2)
            if down
            else _conv(weights, cin, cout, 3, padding=1)
        )
        self.second = _conv(weights, cout, cout, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.second(F.relu(self.first(x)))
        if self.down:
            x = F.avg_pool2d(x, 2)
            # dlib's add_prev sums tensors of unequal size: each is zero-padded at its end, in
            # channels, rows and columns.
            sizes = [max(a, b) for a, b in zip(x.shape[1:], y.shape[1:], strict=True)]
            x, y = _padded(x, sizes), _padded(y, sizes)
        return F.relu(x + y)


def _padded(x: Tensor, sizes: list[int]) -> Tensor:
    channels, rows, columns = (size - old for size, old in zip(sizes, x.shape[1:], strict=True))
    return F.pad(x, (0, columns, 0, rows, 0, channels))


class DlibResNet(nn.Module):
    """dlib's face recognition network (``dlib_face_recognition_resnet_model_v1``), frozen: 150x150
    chips to 128-d vectors.

    Vectors are not normalised (norms about 1.4); two faces are compared by Euclidean distance, and
    dlib calls them the same person below 0.6. Raises :class:`LrfaceError` if the weights are
    missing or damaged.
    """

    distance = "euclidean"
    chip_size = CHIP_SIZE
    stages = ((32, 3, False), (64, 4, True), (128, 3, True), (256, 3, True), (256, 1, True))
    """Width, residual blocks, and whether the first of them halves the resolution."""

    def __init__(self) -> None:
        super().__init__()
        weights = _weights(model_file("dlib_face_recognition_resnet_model_v1.dat").read_bytes())
        self.stem = _conv(weights, 3, 32, 7, stride=2)
        blocks, cin = [], 32
        for width, depth, down in self.stages:
            for k in range(depth):
                blocks.append(_Residual(weights, cin, width, down and k == 0))
                cin = width
        self.blocks = nn.Sequential(*blocks)
        self.project = nn.Parameter(next(weights).view(256, 128))
        self.register_buffer("mean", torch.tensor([122.782, 117.001, 104.298]).view(1, 3, 1, 1))
        self.requires_grad_(False).eval()

    def forward(self, chips: Tensor) -> Tensor:
        """RGB chips, uint8 or float in 0..255 (not 0..1), (N, 3, 150, 150) to float32 (N, 128).

        Gradients reach a float input. Under autocast it still computes in float32: bfloat16 moves a
        component by up to 3e-3, and a judge's scores should not depend on how the judged network
        was trained. On CUDA, PyTorch's own TF32 setting applies (rounding to TF32 moves a component
        by up to 2e-4). Raises :class:`UsageError` for any other shape.
        """
        if chips.shape[1:] != (3, CHIP_SIZE, CHIP_SIZE):
            raise UsageError(
                f"dlib's network wants chips of shape (N, 3, {CHIP_SIZE}, {CHIP_SIZE}), got {tuple(chips.shape)}"
            )
        with torch.autocast(chips.device.type, enabled=False):
            x = (chips.to(self.mean.dtype) - self.mean) / 256
            x = F.relu(self.stem(x.contiguous(memory_format=torch.channels_last)))
            x = self.blocks(F.max_pool2d(x, 3, 2))
            return x.mean((2, 3)) @ self.project


def chip_transform(landmarks5: Tensor | np.ndarray) -> Tensor:
    """The similarity transform from a chip's pixels to the image's, (N, 2, 3) float64, as dlib's
    ``get_face_chip_details(150, 0.25)``.

    ``landmarks5`` is (N, 5, 2): x, y in pixels, in dlib's order (see ``TEMPLATE``), (0, 0) being
    the centre of the first pixel. The transform is the least-squares fit (Umeyama, 1991) of the
    padded template to the landmarks, so that ``matrix @ (x, y, 1)`` is the place in the image of
    the chip's pixel (x, y). A face with a NaN landmark gets a matrix of NaN.
    """
    points = torch.as_tensor(landmarks5).double()
    if points.ndim != 3 or points.shape[1:] != (5, 2):
        raise UsageError(f"a chip wants landmarks of shape (N, 5, 2), got {tuple(points.shape)}")
    template = torch.tensor(TEMPLATE, dtype=torch.float64, device=points.device)
    template = (PADDING + template) / (2 * PADDING + 1) * CHIP_SIZE
    # In the complex plane a similarity is z -> scale * z + offset, with the rotation inside the
    # complex scale.
    z, w = torch.complex(*template.unbind(-1)), torch.complex(*points.unbind(-1))
    z_mean, w_mean = z.mean(), w.mean(1)
    scale = ((z - z_mean).conj() * (w - w_mean[:, None])).sum(1) / (z - z_mean).abs().square().sum()
    middle = w_mean + scale * (complex(CHIP_SIZE / 2, CHIP_SIZE / 2) - z_mean)
    # dlib's rectangles include their last pixel: the chip's 149 steps span the 150 units less one
    # pixel of the image.
    scale = scale * (CHIP_SIZE - 1 / scale.abs()) / (CHIP_SIZE - 1)
    offset = middle - scale * complex((CHIP_SIZE - 1) / 2, (CHIP_SIZE - 1) / 2)
    rows = torch.stack(
        [scale.real, -scale.imag, offset.real, scale.imag, scale.real, offset.imag], dim=1
    )
    return rows.view(-1, 2, 3)


def chips(images: Tensor, landmarks5: Tensor | np.ndarray) -> Tensor:
    """Upright 150x150 chips of faces, float (N, 3, 150, 150) in 0..255, as dlib's ``get_face_chip``
    before it drops the fraction.

    ``images`` is uint8 or float (N, 3, H, W) in 0..255; ``landmarks5`` as in
    :func:`chip_transform`. Sampling is bilinear and passes gradients to float images. It does not
    antialias, which is right while a face's chip covers at most 300 pixels of its image (here it
    covers fewer than 150); beyond that dlib halves the image first and this does not. As in dlib, a
    pixel whose four neighbours do not all lie in the image is 0. A face with a NaN landmark gets a
    chip of NaN, so that its vector is NaN too and can be counted.
    """
    if images.ndim != 4 or min(images.shape[2:]) < 2 or len(images) != len(landmarks5):
        raise UsageError(
            f"chips wants images (N, C, H, W) with as many landmarks, got {tuple(images.shape)} and {len(landmarks5)} faces"
        )
    images = images if images.dtype == torch.float64 else images.float()
    matrix = chip_transform(landmarks5).to(images.device, images.dtype)
    found = matrix.isfinite().all(2).all(1).view(-1, 1, 1, 1)
    matrix = torch.where(found[..., 0], matrix, torch.zeros_like(matrix))
    steps = torch.arange(CHIP_SIZE, dtype=images.dtype, device=images.device)
    along_x, along_y, offset = matrix[:, None, None].unbind(-1)
    # Sums, not a matrix product: autocast or TF32 would round the places to a tenth of a pixel or
    # worse.
    places = along_x * steps[:, None] + along_y * steps[:, None, None] + offset
    last = torch.tensor(
        [images.shape[3] - 1, images.shape[2] - 1], dtype=images.dtype, device=images.device
    )
    inside = ((places >= 0) & (places < last)).all(-1)[:, None]
    sampled = F.grid_sample(
        images, places * (2 / last) - 1, mode="bilinear", padding_mode="border", align_corners=True
    )
    sampled = torch.where(inside, sampled, torch.zeros_like(sampled))
    return torch.where(found, sampled, torch.full_like(sampled, torch.nan))
