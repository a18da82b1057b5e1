"""Object proposals: how many faces are covered by the first few candidate boxes of an image."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lrface.errors import UsageError
from lrface.metrics.detection import OVERLAP, Found, checked_boxes, checked_found, overlaps


def proposal_rate(
    boxes: Sequence[np.ndarray],
    proposals: Sequence[Found],
    numbers: Sequence[int],
    overlap: float = OVERLAP,
    listed: np.ndarray | None = None,
) -> np.ndarray:
    """The detection rate of proposals over their number: faces that at least one of them covers.

    Parameters
    ----------
    boxes : sequence of float (G_i, 4)
        All faces of each image: x, y, w, h in pixels.
    proposals : sequence of (float (N_i, 4), float (N_i,))
        The proposals of each image, boxes and scores; the highest scores come first.
    numbers : sequence of int (K,)
        How many proposals of each image are used, from 0.
    overlap : float
        The least intersection over union (:func:`lrface.metrics.detection.overlaps`) of a proposal
        and the face that it covers, in (0, 1]. WIDER FACE does not say which it used.
    listed : bool (G,), optional
        Which faces count, all images' boxes one after the other; by default all.

    Returns
    -------
    float64 (K,)
        In [0, 1]; NaN without a face.

    Raises
    ------
    UsageError
        Other shapes, values that are not finite, or negative numbers.

    Source
    ------
    WIDER FACE (Yang et al., CVPR 2016), section 3.2 and Figure 3.

    Examples
    --------
    >>> face = np.array([[10, 10, 20, 20]])
    >>> proposals = np.array([[80, 10, 20, 20], [11, 11, 20, 20]]), np.array([0.9, 0.8])
    >>> proposal_rate([face], [proposals], [1, 2])
    array([0., 1.])
    """
    if len(boxes) != len(proposals):
        raise UsageError(f"{len(boxes)} images have boxes and {len(proposals)} have proposals")
    numbers = np.asarray(numbers)
    if numbers.ndim != 1 or (numbers < 0).any() or not 0 < overlap <= 1:
        raise UsageError("want numbers of proposals from 0, and an overlap in (0, 1]")
    ranks = [np.zeros(0)]  # of the first proposal that covers each face
    for i, (truth, pair) in enumerate(zip(boxes, proposals, strict=True)):
        truth = checked_boxes(truth, f"the boxes of image {i}")
        found, scores = checked_found(*pair, i)
        covers = overlaps(truth, found[np.argsort(-scores, kind="stable")]) >= overlap
        covers = np.concatenate([covers, np.ones((len(truth), 1), bool)], 1)
        first = covers.argmax(1).astype(float)
        ranks.append(np.where(first < len(found), first, np.inf))
    ranks = np.concatenate(ranks)
    if listed is not None:
        listed = np.asarray(listed)
        if listed.shape != ranks.shape or listed.dtype != bool:
            raise UsageError(f"want a list of {len(ranks)} booleans, one a box")
        ranks = ranks[listed]
    if not len(ranks):
        return np.full(len(numbers), np.nan)
    return (ranks[:, None] < numbers).mean(0)
