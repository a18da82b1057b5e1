"""dlib's pretrained face recogniser (ResNet-29, 128-d) as a PyTorch module.

It is the judge of identity that needs no download: the weights (Davis E. King, public domain) are
those of the ``face-recognition-models`` package. The module computes dlib's own vectors, but in
batches, on any device and with gradients with respect to the face. Its parameters are frozen.

Layers: a 7x7 convolution of stride 2 and 3x3 max pooling, then 14 residual blocks of two 3x3
convolutions in five stages of 32, 64, 128, 256 and 256 channels, global average pooling and a
linear map to 128 numbers. Each convolution's affine layer is folded into it.

It takes chips: 150x150 crops turned upright by five landmarks, with the geometry of dlib's
``get_face_chip`` (padding 0.25) to the pixel.
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
from lrface.numerics import ieee_float32

CHIP_SIZE = 150
PADDING = 0.25
TEMPLATE = (
    (0.8595674595992, 0.2134981538014),
    (0.6460604764104, 0.2289674387677),
    (0.1205750620789, 0.2137274526848),
    (0.3340850613712, 0.2290642403242),
    (0.4901123135679, 0.6277975316475),
)
"""dlib's mean positions (x, y) of its five landmarks in the unit square: outer and inner corner of
the eye on the image's right, outer and inner corner of the eye on its left, base of the nose."""
FIVE_OF_68 = (45, 42, 36, 39, 33)
"""These five among the 68 landmarks of iBUG 300-W, in dlib's order."""


def _integer(data: bytes, at: int) -> tuple[int, int]:
    """An integer in dlib's serialisation, and where it ends: a byte with its length (the top bit is
    the sign), then little-endian bytes."""
    end = at + 1 + (data[at] & 0x0F)
    value = int.from_bytes(data[at + 1 : end], "little")
    return (-value if data[at] & 0x80 else value), end


def _tensor(data: bytes, at: int) -> Tensor:
    """A tensor in dlib's serialisation, flattened: format version, four sizes, float32 values."""
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
    """The learned tensors of dlib's network file, from the input on: (convolution, affine) 29
    times, then the dense layer.

    A layer starts with its name (a length, then letters); the dense layer has its two widths
    between the name and the weights. The gradients and caches that a layer also stores are skipped
    by searching for the next name.
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
    # skip_init: random numbers drawn here would change a training that builds this network
    conv = nn.utils.skip_init(nn.Conv2d, cin, cout, size, stride=stride, padding=padding)
    conv.weight = nn.Parameter(kernel * gain.view(-1, 1, 1, 1))
    conv.bias = nn.Parameter(bias * gain + shift)
    return conv


class _Residual(nn.Module):
    """dlib's ``residual`` or, with ``down``, ``residual_down``: half the resolution, with 2x2
    average pooling on the shortcut."""

    def __init__(self, weights: Iterator[Tensor], cin: int, cout: int, down: bool) -> None:
        super().__init__()
        self.down = down
        # dlib does not pad a convolution that has a stride
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
            # dlib's add_prev adds tensors of unequal size: each is zero-padded at its end, in
            # channels, rows and columns
            sizes = [max(a, b) for a, b in zip(x.shape[1:], y.shape[1:], strict=True)]
            x, y = _padded(x, sizes), _padded(y, sizes)
        return F.relu(x + y)


def _padded(x: Tensor, sizes: list[int]) -> Tensor:
    channels, rows, columns = (size - old for size, old in zip(sizes, x.shape[1:], strict=True))
    return F.pad(x, (0, columns, 0, rows, 0, channels))


class DlibResNet(nn.Module):
    """dlib's ``dlib_face_recognition_resnet_model_v1``, frozen: 150x150 chips to 128-d vectors.

    Vectors are not normalised (their norms are about 1.4). They are compared by Euclidean distance;
    dlib takes two faces for the same person below 0.6. Building it raises :class:`LrfaceError` if
    the weights are missing or damaged.
    """

    distance = "euclidean"
    chip_size = CHIP_SIZE
    stages = ((32, 3, False), (64, 4, True), (128, 3, True), (256, 3, True), (256, 1, True))
    """Of each stage: channels, residual blocks, whether the first block halves the resolution."""

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
        """RGB chips (N, 3, 150, 150), uint8 or float in 0..255 (not 0..1), to float32 (N, 128).

        Gradients reach a float input. It computes in IEEE float32, whatever is set: bfloat16
        changes a component by up to 3e-3 and TF32 by up to 2e-4, and a judge's scores should not
        depend on how the judged network was trained. Raises :class:`UsageError` for any other
        shape.
        """
        if chips.shape[1:] != (3, CHIP_SIZE, CHIP_SIZE):
            raise UsageError(
                f"dlib's network wants chips of shape (N, 3, {CHIP_SIZE}, {CHIP_SIZE}), "
                f"got {tuple(chips.shape)}"
            )
        with ieee_float32(chips.device):
            x = (chips.to(self.mean.dtype) - self.mean) / 256
            x = F.relu(self.stem(x.contiguous(memory_format=torch.channels_last)))
            x = self.blocks(F.max_pool2d(x, 3, 2))
            return x.mean((2, 3)) @ self.project


def chip_transform(landmarks5: Tensor | np.ndarray) -> Tensor:
    """The similarity transform from a chip's pixels to the image's, as dlib computes it.

    The least-squares fit (Umeyama 1991) of the padded template to the landmarks, as
    ``get_face_chip_details(150, 0.25)``.

    Parameters
    ----------
    landmarks5 : (N, 5, 2) array or tensor
        x, y in pixels, in dlib's order (see ``TEMPLATE``); (0, 0) is the centre of the first pixel.

    Returns
    -------
    (N, 2, 3) float64 tensor
        ``matrix @ (x, y, 1)`` is the place in the image of the chip's pixel (x, y); NaN for a face
        with a NaN landmark.

    Raises
    ------
    UsageError
        For another shape.
    """
    points = torch.as_tensor(landmarks5).double()
    if points.ndim != 3 or points.shape[1:] != (5, 2):
        raise UsageError(f"a chip wants landmarks of shape (N, 5, 2), got {tuple(points.shape)}")
    template = torch.tensor(TEMPLATE, dtype=torch.float64, device=points.device)
    template = (PADDING + template) / (2 * PADDING + 1) * CHIP_SIZE
    # in the complex plane a similarity transform is z -> scale * z + offset, the rotation being the
    # angle of the complex scale
    z, w = torch.complex(*template.unbind(-1)), torch.complex(*points.unbind(-1))
    z_mean, w_mean = z.mean(), w.mean(1)
    scale = ((z - z_mean).conj() * (w - w_mean[:, None])).sum(1) / (z - z_mean).abs().square().sum()
    middle = w_mean + scale * (complex(CHIP_SIZE / 2, CHIP_SIZE / 2) - z_mean)
    # dlib's rectangles include their last pixel: the chip's 149 steps span the 150 units less one
    # pixel of the image
    scale = scale * (CHIP_SIZE - 1 / scale.abs()) / (CHIP_SIZE - 1)
    offset = middle - scale * complex((CHIP_SIZE - 1) / 2, (CHIP_SIZE - 1) / 2)
    rows = torch.stack(
        [scale.real, -scale.imag, offset.real, scale.imag, scale.real, offset.imag], dim=1
    )
    return rows.view(-1, 2, 3)


def chips(images: Tensor, landmarks5: Tensor | np.ndarray) -> Tensor:
    """Upright 150x150 crops of faces, as dlib's ``get_face_chip`` before it drops the fraction.

    Sampling is bilinear, without antialiasing. That equals dlib while a chip covers at most 300
    pixels of its image (here fewer than 150); beyond that dlib halves the image first and this
    function does not. As in dlib, a pixel whose four neighbours do not all lie in the image is 0.

    Parameters
    ----------
    images : (N, 3, H, W) uint8 or float tensor in 0..255
        Gradients reach a float input.
    landmarks5 : (N, 5, 2) array or tensor
        x, y in pixels, in dlib's order: of 68 landmarks ``landmarks68[:, FIVE_OF_68]``.

    Returns
    -------
    (N, 3, 150, 150) float tensor in 0..255
        NaN for a face with a NaN landmark, so that its vector is NaN too and can be counted.

    Raises
    ------
    UsageError
        For other shapes, or another number of landmarks than of images.

    Examples
    --------
    >>> eyes_and_nose = [[86, 46], [71, 47], [36, 46], [50, 47], [61, 74]]
    >>> chips(torch.zeros(1, 3, 128, 128), torch.tensor([eyes_and_nose])).shape
    torch.Size([1, 3, 150, 150])
    """
    if images.ndim != 4 or min(images.shape[2:]) < 2 or len(images) != len(landmarks5):
        raise UsageError(
            "chips wants images (N, C, H, W) with as many landmarks, "
            f"got {tuple(images.shape)} and {len(landmarks5)} faces"
        )
    images = images if images.dtype == torch.float64 else images.float()
    matrix = chip_transform(landmarks5).to(images.device, images.dtype)
    found = matrix.isfinite().all(2).all(1).view(-1, 1, 1, 1)
    matrix = torch.where(found[..., 0], matrix, torch.zeros_like(matrix))
    steps = torch.arange(CHIP_SIZE, dtype=images.dtype, device=images.device)
    along_x, along_y, offset = matrix[:, None, None].unbind(-1)
    # sums, not a matrix product: autocast or TF32 would round the places to a tenth of a pixel or
    # worse
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
