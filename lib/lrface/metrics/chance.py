"""What a random order of the gallery gets in a search: the chance rows of 1:N identification."""

from __future__ import annotations

import numpy as np

from lrface.errors import UsageError


def search_chance(metric: str, mates: np.ndarray, gallery: int) -> np.ndarray:
    """The expected score of each probe if the gallery stands in a random order.

    Parameters
    ----------
    metric : str
        ``"rank<k>"`` (the share of probes with a mate among the first k) or ``"mAP"``.
    mates : int (N,)
        The number of each probe's mates in the gallery.
    gallery : int
        The number of faces in the gallery.

    Returns
    -------
    float64 (N,)

    Raises
    ------
    UsageError
        Another metric.

    Notes
    -----
    With m mates among G faces, no mate is among the first k with probability
    C(G - m, k) / C(G, k). The precision at a mate of rank r is on average
    (1 + (r - 1) (m - 1) / (G - 1)) / r, and a mate has every rank alike: average precision is
    q + (1 - q) H(G) / G on average, with q = (m - 1) / (G - 1) and H the harmonic number.

    Examples
    --------
    >>> search_chance("rank1", [1, 2], 10).round(6).tolist()
    [0.1, 0.2]
    """
    mates = np.asarray(mates, np.float64)
    if metric == "mAP":
        q = (mates - 1) / max(gallery - 1, 1)
        return q + (1 - q) * (1 / np.arange(1, gallery + 1)).sum() / gallery
    rank = metric.removeprefix("rank")
    if not (metric.startswith("rank") and rank.isdigit()):
        raise UsageError(f"no chance level of {metric!r} is known: want rank<k> or mAP")
    drawn = np.arange(min(int(rank), gallery))
    share = np.clip((gallery - mates[:, None] - drawn) / (gallery - drawn), 0, 1)
    return 1 - share.prod(1)
