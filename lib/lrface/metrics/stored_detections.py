"""What detectors find in a set of scenes, stored as scores are (:mod:`lrface.metrics.score_cache`).

A detector finds another number of boxes in every scene, and a score file has a row per thing that
is scored: so each scene has :data:`MOST` rows, NaN where there is no box. Of every stored cell
whose detector is at hand a few scenes, drawn anew each time, are searched again.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping

import numpy as np
import pandas as pd

from lrface.data import SceneSet
from lrface.metrics import score_cache
from lrface.metrics.detection import Found, overlaps

MOST = 300
"""Boxes that are kept of a scene, the surest."""
COLUMNS = ["x", "y", "w", "h", "score"]
SAME, SCORE, SHARE = 0.9, 0.02, 0.9
"""Two searches agree if so many of the boxes of either have one in the other that overlaps so much
and whose score is as near: another processor moves single boxes over a threshold."""

Find = Callable[[np.ndarray], Found]


def detections(
    cells: Iterable[Hashable],
    find: Callable[[Hashable], Find],
    scenes: SceneSet,
    *,
    key: Mapping[Hashable, str] | Callable[[Hashable], str],
    at_hand: Callable[[Hashable], bool] = lambda cell: True,
    check: int = 2,
) -> tuple[dict[Hashable, list[Found]], score_cache.Scores]:
    """What each detector finds in each scene: stored where that can be trusted, else searched.

    Parameters
    ----------
    cells : iterable of hashable values
        The detectors' names, for example ``(arm, seed)``.
    find : function
        Cell -> its ``detect``; asked only if the cell is at hand.
    scenes : SceneSet
    key, at_hand
        As in :func:`lrface.metrics.score_cache.compute`.
    check : int
        How many scenes of a stored cell are searched again.

    Returns
    -------
    found : dict
        Cell -> boxes float64 (N_i, 4) and scores float64 (N_i,) of each scene, by falling score, at
        most :data:`MOST`; rounded to float32, as stored.
    scores : Scores
        The same as they are stored, for a listing.

    Examples
    --------
    >>> from lrface import data
    >>> from lrface.models.detection import detector
    >>> crowds = data.load_scenes("rendered-crowds", "test", 2)
    >>> name = score_cache.key(detector="HOG", faces=crowds.fingerprint)
    >>> found, _ = detections(["HOG"], lambda _: detector("HOG").detect, crowds, key={"HOG": name})
    ... # doctest: +ELLIPSIS
    1 cell: ...
    >>> len(found["HOG"]), found["HOG"][0][0].shape[1]
    (2, 4)
    """

    def score(cell: Hashable, rows: np.ndarray) -> pd.DataFrame:
        detect, images = find(cell), rows // MOST
        tables = {i: _table(*detect(scenes.read(i))) for i in np.unique(images)}
        found = [tables[i][row] for i, row in zip(images, rows % MOST, strict=True)]
        return pd.DataFrame(found, columns=COLUMNS)

    def differs(cell: Hashable, stored: pd.DataFrame) -> str | None:
        some = np.random.default_rng().permutation(len(scenes))[:check]
        detect = find(cell)
        for i in some:
            if not _agree(boxes_of(stored, i), _rounded(*detect(scenes.read(i)))):
                return f"other boxes are found in scene {i}"
        return None

    kept = score_cache.compute(
        cells,
        key=key,
        score=score,
        rows=MOST * len(scenes),
        check=differs,
        at_hand=at_hand,
        label="detectors",
    )
    found = {c: [boxes_of(frame, i) for i in range(len(scenes))] for c, frame in kept.items()}
    return found, kept


def _table(boxes: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """The rows of a scene, float (MOST, 5)."""
    table = np.full((MOST, 5), np.nan)
    order = np.argsort(-np.asarray(scores), kind="stable")[:MOST]
    table[: len(order), :4] = np.asarray(boxes).reshape(-1, 4)[order]
    table[: len(order), 4] = np.asarray(scores)[order]
    return table


def _rounded(boxes: np.ndarray, scores: np.ndarray) -> Found:
    return _known(_table(boxes, scores).astype(np.float32).astype(np.float64))


def boxes_of(frame: pd.DataFrame, scene: int) -> Found:
    """The boxes and scores of a scene in a stored table of ``MOST`` rows a scene.

    Examples
    --------
    >>> frame = pd.DataFrame(_table(np.ones((1, 4)), np.ones(1)), columns=COLUMNS)
    >>> boxes_of(frame, 0)
    (array([[1., 1., 1., 1.]]), array([1.]))
    """
    return _known(frame[COLUMNS].to_numpy(np.float64)[MOST * scene : MOST * (scene + 1)])


def _known(table: np.ndarray) -> Found:
    there = ~np.isnan(table[:, 4])
    return table[there, :4], table[there, 4]


def _agree(a: Found, b: Found) -> bool:
    if not len(a[0]) or not len(b[0]):
        return len(a[0]) == len(b[0])
    same = overlaps(a[0], b[0]) >= SAME
    same &= np.abs(a[1][:, None] - b[1]) <= SCORE * (1 + np.abs(a[1][:, None]))
    return min(same.any(1).mean(), same.any(0).mean()) >= SHARE
