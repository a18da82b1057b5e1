"""Are stored decisions those of a training?

On another processor a repeated training takes another course from its last bits on, so its
decisions are compared as those of another seed are.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from sklearn.metrics import cohen_kappa_score

ALIKE = 0.95
"""Share of faces on which a repeated training decides alike, on the same processor."""
KAPPA = 0.1
"""Cohen's kappa that is asked where fewer are alike: chance agreement has 0."""


def disagreement(
    stored: np.ndarray, again: np.ndarray, peers: Sequence[np.ndarray] = ()
) -> str | None:
    """Compare stored decisions with those of the same training, made again.

    They are to agree on :data:`ALIKE` of the faces, or on as many as two seeds of this method do
    (less 3 %), and then clearly above chance: the stored seeds may have been spoilt together.

    Parameters
    ----------
    stored, again : bool (N,), the decisions on the same faces.
    peers : decisions of other seeds of the method; ``stored`` is not among them, for it is no
        yardstick of itself.

    Returns
    -------
    None, or a phrase.

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
