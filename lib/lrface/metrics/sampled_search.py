"""Check a stored search by searching a few of its probes again in a small sample of its gallery."""

from __future__ import annotations

import numpy as np
from scipy.spatial.distance import cdist

from lrface.data.search import Part

SIGMAS = 5.0
"""How many standard errors the sampled and the stored share may differ by."""


def disagreement(
    part: Part, vectors: np.ndarray, first_rank: np.ndarray, distance: str = "euclidean"
) -> str | None:
    """How stored ranks differ from those in a sample of the gallery: None, or a phrase.

    A gallery of many thousand distractors cannot be embedded again to check a table. But the share
    of a random sample of it that is nearer than a probe's first mate estimates what the stored rank
    says of the whole: (rank - 1) / gallery size.

    Parameters
    ----------
    part : Part
        Probes, their mates and sampled gallery faces (:meth:`lrface.data.search.Gallery.part`).
    vectors : float (N, D)
        Embeddings of the faces of ``part``.
    first_rank : int (P,)
        The stored rank of the first mate of every probe of the search, from 1.
    distance : {"euclidean", "cosine"}

    Returns
    -------
    str or None
        None if the two shares agree within :data:`SIGMAS` standard errors. All probes are compared
        with the same faces, so the error is that over the sampled faces.
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
