"""The faces in a photograph: all that are found are restored at the crop that the network was
trained at, and pasted back; the rest is enlarged by bicubic interpolation.

A crop is cut by the least-squares similarity transform of five points (centres of the eyes, tip of
the nose, corners of the mouth) to their mean places in the training crops, so that the network sees
faces as it saw them in training. A face that is larger in the photograph than in training is cut at
its own size, if the network may be given any. How faces are framed and blended is our choice: none
of the papers restores whole photographs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from lrface import degrade, models
from lrface.data.landmarks import Landmarker
from lrface.errors import LrfaceError
from lrface.inference import device_of, restore
from lrface.models.detection import detector
from lrface.models.recognition.align import five_points
from lrface.models.video.registration import similarity

CROP = 128
"""Rows and columns of the training crops."""
PLACES = {
    "synthetic": ((0.369, 0.479), (0.616, 0.478), (0.489, 0.639), (0.379, 0.734), (0.608, 0.734)),
    "celeba": ((0.348, 0.433), (0.647, 0.435), (0.483, 0.601), (0.363, 0.747), (0.633, 0.749)),
    "lfw": ((0.332, 0.375), (0.661, 0.368), (0.497, 0.559), (0.355, 0.731), (0.654, 0.724)),
    "ytf": ((0.345, 0.415), (0.640, 0.410), (0.495, 0.595), (0.376, 0.745), (0.614, 0.745)),
}
"""Mean places of the five points in the crops of a set, as fractions: of 60 test faces each."""
LARGER = 1.5
"""A face up to so many times as large as in training is restored at the size of training."""
SEARCHED, UPSAMPLE = 3200, 2
"""Longest side at which a photograph is searched for faces, and how often it is doubled at most."""
FEATHER = 0.12
"""The part of a crop's side over which it fades into the photograph."""


@dataclass(frozen=True, eq=False)
class Face:
    """A face that was found in a photograph."""

    points: np.ndarray
    """float64 (5, 2): eyes, nose and mouth, in pixels of the photograph."""
    side: float
    """Width of its crop in the photograph, in pixels."""
    restored: bool
    """Whether the network restored it: else it is enlarged with the rest."""


@dataclass(frozen=True)
class Framing:
    """How the faces were cut that a network was trained on, and what it can be given."""

    places: Sequence[tuple[float, float]]
    """The five points in the crop, as fractions of its side."""
    any_size: bool = True
    """Whether the network restores faces of any size."""
    tiles: bool = True
    """Whether it restores large pictures in tiles."""

    @classmethod
    def of(cls, method: str, data: str) -> Framing:
        """That of a method trained on a set; other sets are framed as the rendered one is."""
        chosen = models.method(method)
        any_size = chosen.face_size is None and chosen.tiles
        return cls(PLACES.get(data, PLACES["synthetic"]), any_size, chosen.tiles)


def find(photo: np.ndarray) -> list[np.ndarray]:
    """All faces in a photograph.

    Parameters
    ----------
    photo : ndarray
        uint8 (H, W, 3). It is searched by dlib's HOG detector, at up to four times its size:
        frontal faces from about 20 pixels are found.

    Returns
    -------
    list of ndarray
        Of each face the five points, float64 (5, 2), in pixels; from the smallest face.
    """
    longest = max(photo.shape[:2])
    scale = min(1.0, SEARCHED / longest)
    seen = photo
    if scale < 1:
        height, width = (max(1, round(side * scale)) for side in photo.shape[:2])
        seen = cv2.resize(photo, (width, height), interpolation=cv2.INTER_AREA)
    doubled = int(np.clip(np.log2(SEARCHED / max(seen.shape[:2])), 0, UPSAMPLE))
    boxes, _ = detector("HOG", upsample=doubled).detect(seen)
    if not len(boxes):
        return []
    edges = np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:] - 1], 1)
    image = torch.from_numpy(np.ascontiguousarray(seen)).permute(2, 0, 1)
    images = image[None].expand(len(boxes), -1, -1, -1)
    points = torch.from_numpy(Landmarker().landmarks68(images, edges))
    five = (five_points(points).numpy() + 0.5) / scale - 0.5
    order = np.argsort(boxes[:, 2], kind="stable")
    return [five[i] for i in order]


def hallucinate(
    net: nn.Module, photo: Tensor, framing: Framing, found: Sequence[np.ndarray] | None = None
) -> tuple[Tensor, list[Face]]:
    """Enlarge a photograph and restore the faces in it.

    Parameters
    ----------
    net : Module
        A restorer of faces in evaluation mode, with ``net.scale`` = s.
    photo : Tensor
        uint8 (3, h, w).
    framing : Framing
        Of the faces that the network was trained on.
    found : sequence of (5, 2) arrays, optional
        The faces; by default those that :func:`find` finds.

    Returns
    -------
    enlarged : Tensor
        uint8 (3, h * s, w * s).
    faces : list of Face
        What was found, from the smallest; empty if nothing was.
    """
    scale = net.scale
    if found is None:
        found = find(photo.permute(1, 2, 0).numpy())
    enlarged = restore(models.restorer("bicubic", scale), photo)
    canvas = enlarged.permute(1, 2, 0).numpy()
    picture = photo.permute(1, 2, 0).float().numpy()
    faces = []
    for points in found:
        matrix = _to_photo(points, np.array(framing.places) * CROP - 0.5)
        side = CROP * float(np.hypot(*matrix[:, 0]))
        trained = CROP // scale
        fits = side <= LARGER * trained
        if fits or framing.any_size:
            size = trained if fits else int(np.ceil(side))
            restored = _restored(net, _cut(picture, matrix, size))
            _paste(canvas, restored, matrix, scale)
        faces.append(Face(points, side, fits or framing.any_size))
    return torch.from_numpy(canvas).permute(2, 0, 1).contiguous(), faces


def restored(
    net: nn.Module, photo: Tensor, framing: Framing, whole: bool = False
) -> tuple[Tensor, str]:
    """A picture as ``lrface hallucinate`` restores it, and what there is to say of it.

    A picture that is not much larger than the network's training input is a face already and is
    restored as it is; so is every one if ``whole``, or if no face is found and the network takes
    any size.
    """
    small = max(photo.shape[1:]) <= LARGER * CROP // net.scale
    if whole or small:
        return restore(net, photo, framing.tiles), ""
    enlarged, faces = hallucinate(net, photo, framing)
    if not faces:
        if not framing.any_size:
            return enlarged, "no face found: enlarged by bicubic interpolation"
        return restore(net, photo, framing.tiles), "no face found: restored as a whole"
    sides = [round(face.side) for face in faces]
    span = f"{min(sides)}" + (f" to {max(sides)}" if len(sides) > 1 else "")
    note = f"{len(faces)} face{'s' * (len(faces) > 1)}, {span} pixels wide"
    if left := sum(not face.restored for face in faces):
        note += f"; {left} larger than the network can be given, enlarged with the rest"
    return enlarged, note


def _to_photo(points: np.ndarray, template: np.ndarray) -> np.ndarray:
    """The similarity transform (2, 3) of a crop's pixels to a photograph's: least squares."""
    matrix = similarity(*(torch.from_numpy(np.asarray(x, float)) for x in (template, points)))
    if not matrix.isfinite().all() or torch.linalg.det(matrix[:, :2]) < 1e-12:
        raise LrfaceError("the five points of a face fall on one another")
    return matrix.numpy()


def _scaled(matrix: np.ndarray, size: float) -> np.ndarray:
    """The transform from a crop of another size, whose outer edges are the same."""
    step = CROP / size
    middle = matrix[:, :2] @ np.full(2, 0.5 * step - 0.5) + matrix[:, 2]
    return np.column_stack([matrix[:, :2] * step, middle])


def _cut(picture: np.ndarray, matrix: np.ndarray, size: int) -> np.ndarray:
    """A crop of so many pixels, float32 (size, size, 3); the edge is repeated outside."""
    shrink = np.hypot(*matrix[:, 0]) * CROP / size
    if shrink > 1:  # an average first, so that nothing is skipped
        picture = cv2.GaussianBlur(picture, (0, 0), 0.5 * np.sqrt(shrink**2 - 1) + 1e-3)
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(
        picture, _scaled(matrix, size), (size, size), flags=flags, borderMode=cv2.BORDER_REPLICATE
    )


@torch.no_grad()
def _restored(net: nn.Module, crop: np.ndarray) -> np.ndarray:
    """float32 (h, w, 3) in 0..255 to (h * s, w * s, 3), clipped."""
    lr = torch.from_numpy(crop).permute(2, 0, 1)[None] / 255
    lr = degrade.round_uint8(lr).to(device_of(net, lr))
    sr = net(lr)[0].clamp(0, 1).mul(255).cpu()
    return np.ascontiguousarray(sr.permute(1, 2, 0).float().numpy())


def _paste(canvas: np.ndarray, face: np.ndarray, matrix: np.ndarray, scale: int) -> None:
    """Blend a restored crop into the enlarged photograph, fading out towards its border."""
    side = scale * CROP * float(np.hypot(*matrix[:, 0]))  # in the enlarged photograph
    if side < len(face):  # smaller there than it was restored: an average first
        small = torch.from_numpy(face).permute(2, 0, 1)
        face = degrade.resize(small, (max(8, round(side)),) * 2).permute(1, 2, 0).numpy()
        face = np.ascontiguousarray(face)
    size = len(face)
    forward = _scaled(matrix, size)
    forward = np.column_stack([forward[:, :2] * scale, (forward[:, 2] + 0.5) * scale - 0.5])
    corners = np.array([[0, 0, 1], [size, 0, 1], [0, size, 1], [size, size, 1]]) @ forward.T
    low = np.maximum(np.floor(corners.min(0)).astype(int) - 1, 0)
    high = np.minimum(np.ceil(corners.max(0)).astype(int) + 2, canvas.shape[1::-1])
    width, height = high - low
    if width <= 0 or height <= 0:
        return
    forward[:, 2] -= low
    ramp = np.clip((np.arange(size) + 0.5) / (FEATHER * size), 0, 1)
    ramp = 0.5 - 0.5 * np.cos(np.pi * np.minimum(ramp, ramp[::-1]))
    mask = np.outer(ramp, ramp).astype(np.float32)
    how = dict(flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    warped = cv2.warpAffine(face, forward, (int(width), int(height)), **how)
    alpha = cv2.warpAffine(mask, forward, (int(width), int(height)), flags=cv2.INTER_LINEAR)
    place = canvas[low[1] : high[1], low[0] : high[0]]
    alpha = alpha[..., None]
    place[:] = np.clip(place + alpha * (warped - place) + 0.5, 0, 255).astype(np.uint8)


def preview(photo: Tensor, enlarged: Tensor, longest: int = 1600) -> Tensor:
    """Before and after beside each other, uint8 (3, H, W): the pixels of the photograph enlarged,
    and the result. Both are shrunk to ``longest`` columns at most."""
    before = cv2.resize(
        photo.permute(1, 2, 0).numpy(), enlarged.shape[:0:-1], interpolation=cv2.INTER_NEAREST
    )
    both = [before, enlarged.permute(1, 2, 0).numpy()]
    shrink = min(1.0, longest / (2 * before.shape[1]))
    if shrink < 1:
        size = tuple(max(1, round(shrink * side)) for side in before.shape[1::-1])
        both = [cv2.resize(one, size, interpolation=cv2.INTER_AREA) for one in both]
    gap = np.full((both[0].shape[0], 8, 3), 255, np.uint8)
    return torch.from_numpy(np.hstack([both[0], gap, both[1]])).permute(2, 0, 1).contiguous()
