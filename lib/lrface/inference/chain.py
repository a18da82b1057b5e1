"""From a scene to a name, step by step: find a face, restore it, align it, search for the person.

A face is cut out of the scene so that its box lies where rendered portraits have it, at as many
pixels as the scene has of it, and enlarged to 128 by the restorer for that size: 8x below 24 pixels
of the crop's side, 4x below 48, 2x below 96, none above. Which restorer is for which size is our
choice; the papers restore faces of one size.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from lrface.data.readers.rendered import CROP
from lrface.data.windows import OVERLAP, cut, overlaps
from lrface.degrade import resize, to_uint8

SIDE = 128
LIMITS = {8: 24, 4: 48, 2: 96}
"""Sides of a crop in pixels of the scene below which it is restored at this scale."""


def framed(boxes: np.ndarray) -> np.ndarray:
    """The squares in which boxes lie as faces do in rendered portraits.

    Parameters
    ----------
    boxes : float (N, 4)
        x, y, w, h in pixels of the scene. The height decides the size.

    Returns
    -------
    int64 (N, 3)
        Left, top and side in whole pixels.

    Examples
    --------
    >>> framed(np.array([[100.0, 50, 60, 75]])).tolist()
    [[80, 30, 100]]
    """
    left, top, right, bottom = CROP.face
    boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
    side = np.maximum(np.rint(boxes[:, 3] / (bottom - top)), 2)
    x = boxes[:, 0] + boxes[:, 2] / 2 - (left + right) / 2 * side
    y = boxes[:, 1] + boxes[:, 3] / 2 - (top + bottom) / 2 * side
    return np.stack([np.rint(x), np.rint(y), side], 1).astype(np.int64)


def surest(
    boxes: np.ndarray, scores: np.ndarray, truth: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Of each true face the surest detection that overlaps it by half.

    Parameters
    ----------
    boxes, scores : float (N, 4), (N,)
        What was found, by falling score.
    truth : float (G, 4)

    Returns
    -------
    boxes : float (G, 4)
        Of a face that was not found the surest box of all, or its own if there is none.
    found : bool (G,)

    Examples
    --------
    >>> truth = np.array([[10.0, 10, 20, 20], [80, 80, 20, 20]])
    >>> surest(np.array([[11.0, 10, 20, 20]]), np.array([0.9]), truth)[1]
    array([ True, False])
    """
    if not len(boxes):
        return truth, np.zeros(len(truth), bool)
    shared = overlaps(truth, boxes) >= OVERLAP
    return np.asarray(boxes)[shared.argmax(1)], shared.any(1)


def scale_for(side: int) -> int:
    """The scale at which a crop of so many pixels is restored; 1: it is not.

    Examples
    --------
    >>> [scale_for(side) for side in (8, 23, 24, 60, 200)]
    [8, 8, 4, 2, 1]
    """
    return next((scale for scale, limit in LIMITS.items() if side < limit), 1)


@torch.no_grad()
def restored(
    image: np.ndarray, squares: np.ndarray, nets: Mapping[int, nn.Module], device: torch.device
) -> Tensor:
    """The faces in the squares of a scene at 128 pixels.

    Parameters
    ----------
    image : uint8 (H, W, 3)
    squares : int (N, 3)
        Left, top and side; the scene's edge is repeated outside it.
    nets : mapping of int to Module
        A restorer for each scale, on ``device``; bicubic interpolation where there is none.
    device : torch.device

    Returns
    -------
    Tensor
        uint8 (N, 3, 128, 128), on the CPU.
    """
    found = torch.empty(len(squares), 3, SIDE, SIDE, dtype=torch.uint8)
    for i, square in enumerate(np.asarray(squares)):
        scale = scale_for(int(square[2]))
        small = torch.from_numpy(cut(image, square[None], SIDE // scale)).permute(0, 3, 1, 2)
        small = small.float().div(255)
        enlarge = nets.get(scale, lambda x: resize(x, (SIDE, SIDE)))
        found[i] = to_uint8(enlarge(small.to(device)).cpu())[0]
    return found


def in_crop(points: np.ndarray, squares: np.ndarray) -> np.ndarray:
    """Landmarks of a scene (N, K, 2) in pixels of the crops that :func:`restored` makes.

    Examples
    --------
    >>> in_crop(np.array([[[79.5, 29.5], [179.5, 129.5]]]), np.array([[80, 30, 100]])).tolist()
    [[[-0.5, -0.5], [127.5, 127.5]]]
    """
    squares = np.asarray(squares, np.float64)[:, None]
    return (np.asarray(points) + 0.5 - squares[..., :2]) * (SIDE / squares[..., 2:]) - 0.5


def ranks(vectors: Tensor, gallery: Tensor, own: np.ndarray) -> np.ndarray:
    """The place of each face's own person in the search of a gallery, from 1.

    Parameters
    ----------
    vectors, gallery : float (N, D), (M, D)
        Compared by Euclidean distance.
    own : int (N,)
        The row of the gallery that is the same person.

    Returns
    -------
    float64 (N,)
        Of equal distances the own person's counts as the last.

    Examples
    --------
    >>> ranks(torch.tensor([[0.0], [3.0]]), torch.tensor([[1.0], [0.5], [4.0]]), np.array([1, 0]))
    array([1., 2.])
    """
    distance = torch.cdist(vectors.double(), gallery.double()).numpy()
    mate = distance[np.arange(len(own)), own][:, None]
    return (distance <= mate).sum(1).astype(np.float64)
