"""Check stored decisions against the same training, repeated.

On another processor a repeated training diverges from its last bits on, so its decisions can only
be expected to agree as well as those of another seed do.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from sklearn.metrics import cohen_kappa_score

ALIKE = 0.95
"""Share of faces on which a training repeated on the same processor agrees."""
KAPPA = 0.1
"""Least Cohen's kappa where fewer agree; agreement by chance has 0."""


def disagreement(
    stored: np.ndarray, again: np.ndarray, peers: Sequence[np.ndarray] = ()
) -> str | None:
    """How stored decisions differ from those of the same training, repeated: None, or a phrase.

    They must agree on :data:`ALIKE` of the faces, or on as many as two seeds of this method do
    (minus 3 %); and then clearly above chance, because all stored seeds may have been altered.

    Parameters
    ----------
    stored, again : bool (N,)
        The decisions on the same faces.
    peers : sequence of bool (N,)
        Decisions of other seeds of the method. ``stored`` itself must not be among them.

    Examples
    --------
    >>> yes = np.arange(100) < 30
    >>> disagreement(yes, yes) is None
    True
    >>> disagreement(yes, ~yes, peers=[yes])
    'decided alike for 0 % of the faces only'
    """
    seeds = [again, *peers]
    enough = min((np.mean(a == b) for a in seeds for b in seeds), default=1.0) - 0.03
    alike = float(np.mean(again == stored))
    chance = alike < ALIKE and cohen_kappa_score(again, stored) < KAPPA
    if alike < min(ALIKE, enough) or chance:
        return f"decided alike for {alike:.0%} of the faces only".replace("%", " %")
    return None
