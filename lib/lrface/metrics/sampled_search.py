"""Is a stored search true? A few of its probes, searched again in a small draw of its gallery."""

from __future__ import annotations

import numpy as np
from scipy.spatial.distance import cdist

from lrface.data.search import Part

SIGMAS = 5.0
"""How many standard errors the drawn and the stored share may lie apart."""


def disagreement(
    part: Part, vectors: np.ndarray, first_rank: np.ndarray, distance: str = "euclidean"
) -> str | None:
    """Compare the stored ranks of a few probes with a search of a small part of their gallery.

    A gallery of many thousand distractors cannot be embedded again to check a table. But the share
    of a random draw of it that stands before a probe's first mate is what the stored rank says of
    the whole: (rank - 1) / gallery size.

    Parameters
    ----------
    part : probes, their mates and drawn gallery faces (:meth:`lrface.data.search.Gallery.part`).
    vectors : float (N, D), of the faces of ``part``.
    first_rank : int (P,), the stored rank of the first mate of every probe of the search, from 1.
    distance : ``euclidean`` or ``cosine``.

    Returns
    -------
    None if the two shares agree within :data:`SIGMAS` standard errors, else a phrase with both. The
    error is that between the drawn faces, for all probes are compared with the same ones.
    """
    probes, mates, drawn = (vectors[rows] for rows in (part.probes, part.mates, part.drawn))
    person = part.identities[part.probes][:, None]
    is_mate = person == part.identities[part.mates]
    nearest = np.where(is_mate, cdist(probes, mates, distance), np.inf).min(1, keepdims=True)
    nearer = (cdist(probes, drawn, distance) <= nearest) & (person != part.identities[part.drawn])
    counts = nearer.mean(0)
    stored = ((first_rank[part.numbers] - 1) / part.gallery_size).mean()
    error = counts.std(ddof=1) / np.sqrt(len(counts)) + 1 / nearer.size
    if abs(counts.mean() - stored) <= SIGMAS * error:
        return None
    return (
        f"{100 * counts.mean():.0f} % of {len(counts)} drawn gallery faces stand before the mates, "
        f"{100 * stored:.0f} % according to the stored ranks"
    )
