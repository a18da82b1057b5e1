"""Where in a face's box its parts respond, and the faceness of a window that follows.

In Faceness (Yang, Luo, Loy and Tang, ICCV 2015) a window is scored by the response of a part's map
inside the region where a face has this part, over that in the rest of the window, by integral
images, and the regions are learnt from training boxes. What is known of it stands in
:mod:`lrface.models.detection.faceness`; chosen here:

- the **ratio** of a part is the logarithm of its mean response in the region over that around it,
  within the box and a margin;
- the **region** is the rectangle on a grid of eighths of the box, symmetrical left and right, whose
  ratio tells boxes on faces from others best;
- the part's **evidence** is its ratio as log odds, of two normal distributions;
- a window's **faceness** is the sum over its parts.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

GRID = 8
"""Cells of the grid of regions along a box."""
ACROSS, DOWN = (-1, 9), (-3, 9)
"""First and last line of that grid: a margin around the box, above it for the hair."""
AROUND = np.array([ACROSS[0], DOWN[0], ACROSS[1], DOWN[1]]) / GRID
"""The box and its margin, as a region."""


def integral(maps: np.ndarray) -> np.ndarray:
    """Integral images: sums of maps (..., H, W) above and left of each corner, (..., H+1, W+1).

    Examples
    --------
    >>> integral(np.ones((1, 2)))
    array([[0., 0., 0.],
           [0., 1., 2.]])
    """
    sums = np.asarray(maps, np.float64).cumsum(-2).cumsum(-1)
    return np.pad(sums, [(0, 0)] * (sums.ndim - 2) + [(1, 0), (1, 0)])


def box_sums(
    tables: np.ndarray, boxes: np.ndarray, region: np.ndarray, which: np.ndarray | int = 0
) -> np.ndarray:
    """The sums of maps over a region of each box. A map is constant in a cell, and 0 outside.

    Parameters
    ----------
    tables : float (N, H+1, W+1)
        Of :func:`integral`.
    boxes : float (M, 4)
        x, y, w, h in cells of the maps.
    region : float (4,)
        Left, top, right and bottom as shares of the box.
    which : int (M,) or int
        The map of each box.

    Returns
    -------
    float64 (M,)

    Examples
    --------
    >>> tables = integral(np.ones((1, 4, 6)))
    >>> box_sums(tables, np.array([[1, 1, 4, 2]]), np.array([0, 0, 0.5, 1]))
    array([4.])
    """
    left, right = (boxes[:, 0] + region[k] * boxes[:, 2] for k in (0, 2))
    top, bottom = (boxes[:, 1] + region[k] * boxes[:, 3] for k in (1, 3))
    corners = ((right, bottom, 1), (left, bottom, -1), (right, top, -1), (left, top, 1))
    return sum(sign * _up_to(tables, which, x, y) for x, y, sign in corners)


def _up_to(tables: np.ndarray, which: np.ndarray | int, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The sum of all that is above ``y`` and left of ``x``: linear between an integral image's
    corners."""
    _, rows, columns = tables.shape
    flat = tables.reshape(-1, columns)
    x, y = np.clip(x, 0, columns - 1), np.clip(y, 0, rows - 1)
    left, top = np.minimum(x.astype(int), columns - 2), np.minimum(y.astype(int), rows - 2)
    u, v, row = x - left, y - top, which * rows + top
    upper = flat[row, left] * (1 - u) + flat[row, left + 1] * u
    lower = flat[row + 1, left] * (1 - u) + flat[row + 1, left + 1] * u
    return upper * (1 - v) + lower * v


@dataclass(frozen=True, eq=False)
class Configuration:
    """The region of each part and its evidence.

    Examples
    --------
    >>> maps = np.zeros((5, 20, 20))
    >>> maps[:, 8:10, 8:12] = 1
    >>> upper = np.tile([0.0, 0, 1, 0.5], (5, 1))
    >>> how = Configuration(upper, np.full(5, 0.1), np.ones(5), np.zeros(5))
    >>> on, below = how.faceness(integral(maps), np.array([[8.0, 8, 4, 4], [8, 10, 4, 4]]))
    >>> bool(on > 0 > below)
    True
    """

    regions: np.ndarray
    """float (P, 4): left, top, right and bottom as shares of the box."""
    floor: np.ndarray
    """float (P,): added to both mean responses, so that a silent place says nothing."""
    slope: np.ndarray
    middle: np.ndarray
    """float (P,): a part's log odds are ``slope * (ratio - middle)``."""

    def ratios(self, tables: np.ndarray, boxes: np.ndarray) -> np.ndarray:
        """The ratio of each part in each box, float64 (M, P).

        Parameters
        ----------
        tables : float (P, H+1, W+1)
            Integral images of the partness maps.
        boxes : float (M, 4)
            x, y, w, h in cells of the maps, sides over 0.
        """
        found = []
        for part, (region, floor) in enumerate(zip(self.regions, self.floor, strict=True)):
            inside, whole = (box_sums(tables, boxes, r, part) for r in (region, AROUND))
            found.append(ratio(inside, whole, boxes, region, floor))
        return np.stack(found, 1)

    def faceness(self, tables: np.ndarray, boxes: np.ndarray) -> np.ndarray:
        """The sum of the parts' log odds for each box, float64 (M,)."""
        return (self.slope * (self.ratios(tables, boxes) - self.middle)).sum(1)


def ratio(
    inside: np.ndarray, whole: np.ndarray, boxes: np.ndarray, region: np.ndarray, floor: float
) -> np.ndarray:
    """The logarithm of the mean response in a region over that around it, float64 (M,).

    ``inside`` and ``whole`` (M,) are the sums over the region and over :data:`AROUND`.
    """
    area = boxes[:, 2] * boxes[:, 3]
    own, margin = area * _share(region), area * _share(AROUND)
    rest = np.maximum(whole - inside, 0) / (margin - own)
    return np.log((np.maximum(inside, 0) / own + floor) / (rest + floor))


def _share(region: np.ndarray) -> float:
    return float((region[2] - region[0]) * (region[3] - region[1]))


def best_region(
    tables: np.ndarray, which: np.ndarray, boxes: np.ndarray, on_face: np.ndarray, floor: float
) -> tuple[np.ndarray, float, float]:
    """The region of a part that tells boxes on faces from others best, and its evidence.

    Best is the largest distance of the two mean ratios over the standard deviation within.

    Parameters
    ----------
    tables : float (N, H+1, W+1)
        Integral images of the part's maps of training windows.
    which : int (M,)
        The window of each box.
    boxes : float (M, 4)
        x, y, w, h in cells.
    on_face : bool (M,)
    floor : float

    Returns
    -------
    region : float64 (4,)
        The whole box if there are no boxes of one kind.
    slope, middle : float
    """
    lines = {}

    def above(x: int, y: int) -> np.ndarray:
        # the sum over the strip between two lines across the box, all that is above a third
        if (x, y) not in lines:
            left, right = (boxes[:, 0] + n / GRID * boxes[:, 2] for n in (x, GRID - x))
            bottom = boxes[:, 1] + y / GRID * boxes[:, 3]
            lines[x, y] = _up_to(tables, which, right, bottom) - _up_to(tables, which, left, bottom)
        return lines[x, y]

    best = (-np.inf, np.array([0.0, 0, 1, 1]), 0.0, 0.0)
    if on_face.all() or not on_face.any():
        return best[1:]
    whole = above(ACROSS[0], DOWN[1]) - above(ACROSS[0], DOWN[0])
    for x in range(ACROSS[0], GRID // 2):
        for top in range(*DOWN):
            for bottom in range(top + 1, DOWN[1] + 1):
                region = np.array([x, top, GRID - x, bottom]) / GRID
                if (region == AROUND).all():
                    continue
                found = ratio(above(x, bottom) - above(x, top), whole, boxes, region, floor)
                kinds = found[~on_face], found[on_face]
                low, high = (one.mean() for one in kinds)
                spread = np.sqrt(np.mean([one.var() for one in kinds])) + 1e-9
                if (high - low) / spread > best[0]:
                    best = (
                        (high - low) / spread,
                        region,
                        (high - low) / spread**2,
                        (low + high) / 2,
                    )
    return best[1:]
