"""Object proposals: how many candidate boxes of an image it takes to cover each face.

The detection rate of WIDER FACE's Figure 3 is the share of faces whose rank is at most the number
of proposals.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lrface.errors import UsageError
from lrface.metrics.detection import OVERLAP, Found, checked_boxes, checked_found, overlaps


def proposal_ranks(
    boxes: Sequence[np.ndarray], proposals: Sequence[Found], overlap: float = OVERLAP
) -> np.ndarray:
    """How many proposals of its image it takes until one covers a face.

    Parameters
    ----------
    boxes : sequence of float (G_i, 4)
        All faces of each image: x, y, w, h in pixels.
    proposals : sequence of (float (N_i, 4), float (N_i,))
        The proposals of each image, boxes and scores; the highest scores come first.
    overlap : float
        The least intersection over union (:func:`lrface.metrics.detection.overlaps`) of a proposal
        and the face that it covers, in (0, 1]. WIDER FACE does not say which it used.

    Returns
    -------
    float64 (G,)
        From 1, all images' faces one after the other; infinite if none covers it.

    Raises
    ------
    UsageError
        Other shapes, or values that are not finite.

    Source
    ------
    WIDER FACE (Yang et al., CVPR 2016), section 3.2 and Figure 3.

    Examples
    --------
    >>> face = np.array([[10, 10, 20, 20]])
    >>> proposals = np.array([[80, 10, 20, 20], [11, 11, 20, 20]]), np.array([0.9, 0.8])
    >>> proposal_ranks([face], [proposals])
    array([2.])
    """
    if len(boxes) != len(proposals):
        raise UsageError(f"{len(boxes)} images have boxes and {len(proposals)} have proposals")
    if not 0 < overlap <= 1:
        raise UsageError(f"want an overlap in (0, 1], got {overlap}")
    ranks = [np.zeros(0)]
    for i, (truth, pair) in enumerate(zip(boxes, proposals, strict=True)):
        truth = checked_boxes(truth, f"the boxes of image {i}")
        found, scores = checked_found(*pair, i)
        covers = overlaps(truth, found[np.argsort(-scores, kind="stable")]) >= overlap
        covers = np.concatenate([covers, np.ones((len(truth), 1), bool)], 1)
        first = covers.argmax(1).astype(float)
        ranks.append(np.where(first < len(found), first + 1, np.inf))
    return np.concatenate(ranks)
