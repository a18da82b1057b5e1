"""Face detectors behind one contract: an image gives boxes and scores.

``detector(name)`` gives one of the stock detectors, which come with their weights:

- ``Haar``: OpenCV's cascade of Haar features (:mod:`lrface.models.detection.haar`);
- ``HOG``: dlib's sliding window on oriented gradients (:mod:`lrface.models.detection.dlib_hog`);
- ``MMOD``: dlib's convolutional network (:mod:`lrface.models.detection.dlib_mmod`).

The networks that are trained here become a detector in :mod:`lrface.models.detection.cascade`.
"""

from __future__ import annotations

import dataclasses
import difflib
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

import numpy as np

from lrface.data import SceneSet
from lrface.errors import UsageError
from lrface.files import progress


class Detector(Protocol):
    """What a face detector does."""

    def detect(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Find the faces of an image.

        Parameters
        ----------
        image : uint8 (H, W, 3)
            RGB.

        Returns
        -------
        boxes : float64 (N, 4)
            x, y, w, h in pixels of the image; they may extend beyond it.
        scores : float64 (N,)
            Falling; higher is surer. Their scale is the detector's own.
        """


def detector(name: str, **options) -> Detector:
    """A stock face detector by name.

    Parameters
    ----------
    name : {"Haar", "HOG", "MMOD"}
    **options
        Fields of its class: :class:`~lrface.models.detection.haar.Haar`,
        :class:`~lrface.models.detection.dlib_hog.HOG` or
        :class:`~lrface.models.detection.dlib_mmod.MMOD`.

    Returns
    -------
    Detector
        Its ``detect`` gives the same result in every call and may be called from several threads.

    Raises
    ------
    UsageError
        Another name, or an option that the detector lacks.

    Examples
    --------
    >>> from lrface import data
    >>> from lrface.models.detection import detector
    >>> face = data.load("synthetic", "val", 1).read(0)
    >>> boxes, scores = detector("HOG", upsample=1).detect(face)
    >>> boxes.shape, scores.shape
    ((1, 4), (1,))
    """
    from lrface.models.detection.dlib_hog import HOG
    from lrface.models.detection.dlib_mmod import MMOD
    from lrface.models.detection.haar import Haar

    known = {"Haar": Haar, "HOG": HOG, "MMOD": MMOD}
    if name not in known:
        close = difflib.get_close_matches(name, known, 1, 0.4)
        hint = f"did you mean {close[0]!r}? " if close else ""
        raise UsageError(f"unknown detector {name!r}: {hint}known are {', '.join(known)}")
    try:
        return known[name](**options)
    except TypeError:
        fields = ", ".join(f.name for f in dataclasses.fields(known[name]) if f.init)
        raise UsageError(
            f"detector {name} has the options {fields}; got {', '.join(options)}"
        ) from None


def search(
    find: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]], scenes: SceneSet
) -> list[tuple[np.ndarray, np.ndarray]]:
    """What a detector finds in each scene of a set, by as many threads as there are cores.

    Parameters
    ----------
    find : callable
        ``detect`` of a detector, or ``propose`` of one that proposes faces.
    scenes : SceneSet

    Returns
    -------
    list of (float64 (N_i, 4), float64 (N_i,))
        Boxes and scores of each scene, in their order.

    Examples
    --------
    >>> from lrface import data
    >>> crowds = data.load_scenes("rendered-crowds", "test", 2)
    >>> [boxes.shape[1] for boxes, scores in search(detector("HOG").detect, crowds)]
    [4, 4]
    """

    def one(row: int) -> tuple[np.ndarray, np.ndarray]:
        return find(scenes.read(row))

    found = []
    with ThreadPoolExecutor(os.cpu_count()) as pool, progress("scenes", len(scenes)) as advance:
        for pair in pool.map(one, range(len(scenes))):
            found.append(pair)
            advance()
    return found
