"""Windows that a trained first-stage network proposes, to train the second stage on.

What it proposes wrongly are the hard negatives. The paper (WIDER FACE, section 4.2) calls a
proposal a face if it overlaps a true box by more than 0.5, and gives it the nearest one's box. Our
choices: of each scene at most 30 wrong proposals, the surest first, and 30 right ones; a further
window around every true face of the range, its box off by up to a tenth in size and position, so
that the second stage sees faces that the first one misses. A scene without a face in the range is
searched twice: as it is, and at a size that brings one of its faces into the range (enlarged twice
at most). Else a stage that learns from portraits, where every face is large, would learn that
nothing small is a face.
"""

from __future__ import annotations

from functools import partial

import cv2
import numpy as np
import pandas as pd

from lrface import data
from lrface.data import WindowSet
from lrface.data.scenes import SceneSet
from lrface.data.windows import LABELS, OVERLAP, Range, overlaps, targets, usable
from lrface.errors import LrfaceError
from lrface.files import progress
from lrface.models.detection import cascade
from lrface.training.config import RunRef
from lrface.training.run_store import Run, load_run

VERSION = 2
"""To be raised when the same network gives other windows."""
MOST = 30


def mined(
    first: RunRef,
    split: str = "train",
    limit: int | None = None,
    seed: int = 0,
    name: str | None = None,
) -> WindowSet:
    """The windows for the second stage of a trained first-stage network.

    Parameters
    ----------
    first : RunRef
        The run of the first stage. It must be at hand when the windows are cut, and for another
        split than ``train`` at once.
    split : {"train", "val", "test"}
        Of the scenes of its data set.
    limit : int, optional
        At most this many scenes.
    seed : int
        Of the sample of scenes and of the windows around true faces.
    name : str, optional
        Another set of scenes than that of the first stage.

    Returns
    -------
    WindowSet
        Its fingerprint follows from the first run's key; of another split than ``train`` from its
        weights, too.

    Raises
    ------
    LrfaceError
        The run is not there.
    """
    config = first.config
    chosen = cascade.PARTS[config.method].range
    name = name or config.data
    scenes, listed, photos = data.scenes_of(name, split, limit, seed)
    recipe = f"{scenes[0]}\nproposed by {first.key}\n{seed}\n{VERSION}"
    if split != "train":  # released weights are rounded, and may propose others
        recipe += f"\n{_run(first.key, config.label).record['sha256']}"
    choose = partial(_proposed, scenes[1], chosen, first.key, config.label, seed)
    most = 5 * MOST * len(listed)
    return WindowSet(name, chosen, listed, recipe, most, choose, photos)


def _run(key: str, label: str) -> Run:
    run = load_run(key)
    if run is None:
        raise LrfaceError(f"{label} ({key}), which proposes windows, is not there: train it first")
    return run


def _proposed(
    opened: partial, range: Range, key: str, label: str, seed: int
) -> tuple[SceneSet, pd.DataFrame]:
    net, scenes = _run(key, label).model(), opened()
    good = np.split(usable(scenes.boxes), np.cumsum([len(t) for t in scenes.truth()])[:-1])
    random = np.random.Generator(np.random.Philox(key=[seed, range.window]))
    parts = []
    with progress(f"{label}: proposals", len(scenes)) as advance:
        for row, truth in enumerate(scenes.truth()):
            picture = scenes.read(row)
            for scale in sizes(truth[good[row], 3], range, random):
                boxes, _ = cascade.propose(net, range, _resized(picture, scale))
                found = labelled(row, boxes, truth * scale, good[row], range, random)
                squares = found[["left", "top", "side"]] / scale
                parts.append(found.assign(**squares.round().astype(int)))
            advance()
    return scenes, pd.concat(parts, ignore_index=True)


def sizes(heights: np.ndarray, range: Range, random: np.random.Generator) -> list[float]:
    """At which sizes, as shares of its own, a scene with faces of these heights is searched.

    Examples
    --------
    >>> from lrface.data.windows import RANGES
    >>> random = np.random.default_rng(0)
    >>> sizes(np.array([12.0, 300.0]), RANGES["10-30"], random)
    [1.0]
    >>> [round(one, 2) for one in sizes(np.array([300.0]), RANGES["10-30"], random)]
    [1.0, 0.07]
    >>> sizes(np.array([12.0]), RANGES["240-480"], random)
    [1.0]
    """
    low, high = range.edges[0], range.edges[-1] * max(range.levels)
    if ((heights >= low) & (heights < high)).any() or not (heights >= low / 2).any():
        return [1.0]
    face = random.choice(heights[heights >= low / 2])
    wanted = np.exp(random.uniform(np.log(low), np.log(min(high, 2 * face))))
    return [1.0, float(wanted / face)]


def _resized(picture: np.ndarray, scale: float) -> np.ndarray:
    if scale == 1:
        return picture
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return cv2.resize(picture, None, fx=scale, fy=scale, interpolation=how)


def labelled(
    scene: int,
    proposals: np.ndarray,
    truth: np.ndarray,
    good: np.ndarray,
    range: Range,
    random: np.random.Generator,
) -> pd.DataFrame:
    """The windows of one scene with their labels.

    Parameters
    ----------
    scene : int
    proposals : float (N, 4)
        By falling score.
    truth : float (G, 4)
        All faces.
    good : bool (G,)
        Those that are learnt from; a proposal of another is left out.
    range : Range
    random : Generator

    Returns
    -------
    DataFrame
        As :attr:`lrface.data.WindowSet.choose` gives it.
    """
    faces = truth if len(truth) else np.array([[-1e6, -1e6, 1.0, 1.0]])
    good = good if len(truth) else np.array([False])
    own = good & (faces[:, 3] >= range.edges[0] * 0.9)
    own &= faces[:, 3] < range.edges[-1] * max(range.levels) * 1.1
    moved = faces[own] + random.uniform(-0.1, 0.1, (own.sum(), 4)) * faces[own][:, [3, 3, 2, 3]]
    boxes = np.concatenate([proposals, moved])
    shared = overlaps(boxes, faces)
    nearest, best = shared.argmax(1), shared.max(1)
    right = np.flatnonzero((best > OVERLAP) & good[nearest])
    right = np.concatenate([right[right < len(proposals)][:MOST], right[right >= len(proposals)]])
    wrong = np.flatnonzero(best <= OVERLAP)[:MOST]
    kept = np.concatenate([right, wrong]).astype(int)
    squares = cascade.squares_around(boxes[kept])
    table = pd.DataFrame({"scene": scene}, index=np.arange(len(kept)))
    table[["left", "top", "side"]] = squares
    table[list(LABELS)] = np.nan
    table[list(LABELS[1:4])] = -1.0
    table["face"] = (np.arange(len(kept)) < len(right)).astype(float)
    box = targets(squares[: len(right)], faces[nearest[right]])
    table.loc[: len(right) - 1, list(LABELS[4:])] = box
    return table
