"""Candidate boxes without training, to compare the networks' proposals with: windows everywhere,
and dlib's selective search."""

from __future__ import annotations

import dlib
import numpy as np

from lrface.data.windows import ASPECT
from lrface.models.detection.boxes import checked, ordered


def dense_windows(
    image: np.ndarray,
    heights: tuple[float, float] = (8, 400),
    ratio: float = 1.4,
    step: float = 0.3,
    seed: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """Boxes of a face's shape all over an image, in random order.

    Parameters
    ----------
    image : uint8 (H, W, 3)
    heights : (float, float)
        Smallest and largest height in pixels.
    ratio, step : float
        Of successive heights; distance of neighbours as a share of the height.
    seed : int
        Of the order.

    Returns
    -------
    boxes : float64 (N, 4)
    scores : float64 (N,)
        Falling; they mean nothing.

    Examples
    --------
    >>> boxes, scores = dense_windows(np.zeros((60, 60, 3), np.uint8), (20, 50))
    >>> boxes[:, 3].min(), len(boxes) == len(scores)
    (np.float64(20.0), True)
    """
    h, w = checked(image).shape[:2]
    boxes, height = [], heights[0]
    while height <= min(heights[1], h):
        width = ASPECT * height
        x, y = (np.arange(0, max(n, 1), step * height) for n in (w - width, h - height))
        grid = np.stack(np.meshgrid(x, y), -1).reshape(-1, 2)
        boxes.append(np.concatenate([grid, np.tile([width, height], (len(grid), 1))], 1))
        height *= ratio
    found = np.concatenate(boxes) if boxes else np.zeros((0, 4))
    random = np.random.Generator(np.random.Philox(seed))
    return ordered(found, random.permutation(len(found)))


def selective_search(image: np.ndarray, least: int = 60) -> tuple[np.ndarray, np.ndarray]:
    """Boxes of regions that dlib merges from a segmentation (van de Sande et al., ICCV 2011).

    Parameters
    ----------
    image : uint8 (H, W, 3)
    least : int
        Boxes of fewer pixels are left out.

    Returns
    -------
    boxes : float64 (N, 4)
    scores : float64 (N,)
        Falling, in dlib's order; they mean nothing.
    """
    found = []
    dlib.find_candidate_object_locations(checked(image), found, min_size=least)
    boxes = np.array([(r.left(), r.top(), r.width(), r.height()) for r in found], np.float64)
    return boxes.reshape(-1, 4), -np.arange(len(found), dtype=np.float64)
