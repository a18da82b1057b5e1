"""OpenCV's face detector by a cascade of Haar features (Viola and Jones 2001; Lienhart 2002)."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import cv2
import numpy as np

from lrface.errors import LrfaceError, UsageError
from lrface.models.detection.boxes import Pool, checked, ordered


@dataclass(frozen=True)
class Haar:
    """The cascade that comes with OpenCV, with a score for each detection.

    Parameters
    ----------
    cascade : str
        A file in OpenCV's folder of Haar cascades.
    scale_factor : float
        Ratio of the sizes of windows, over 1.
    least : int
        The smallest window in pixels; the cascade's own size (20 or 24) is the limit.
    neighbours : int
        Windows that pass are merged where they overlap; a box needs more of them than this, from 1.
    score : {"weight", "neighbours"}
        ``weight``: the largest sum of the cascade's last stage among the box's windows.
        ``neighbours``: their number.

    Examples
    --------
    >>> from lrface import data
    >>> boxes, scores = Haar().detect(data.load("synthetic", "val", 1).read(0))
    >>> boxes.shape[1], len(boxes) == len(scores)
    (4, True)
    """

    cascade: str = "haarcascade_frontalface_default.xml"
    scale_factor: float = 1.1
    least: int = 1
    neighbours: int = 1
    score: Literal["weight", "neighbours"] = "weight"
    _pool: Pool = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.scale_factor <= 1 or self.least < 1 or self.neighbours < 1:
            raise UsageError(
                "want a scale factor over 1, a smallest window from 1 pixel and neighbours from 1, "
                f"got {self.scale_factor}, {self.least} and {self.neighbours}"
            )
        if self.score not in ("weight", "neighbours"):
            raise UsageError(f"a score is 'weight' or 'neighbours', got {self.score!r}")
        file = Path(cv2.data.haarcascades, self.cascade)

        def make() -> cv2.CascadeClassifier:
            found = cv2.CascadeClassifier(str(file)) if file.is_file() else None
            if found is None or found.empty():
                raise LrfaceError(
                    f"cannot read OpenCV's cascade {file}: install opencv-python again, or name "
                    f"another file of {file.parent}"
                )
            return found

        object.__setattr__(self, "_pool", Pool(make))

    def detect(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Boxes float64 (N, 4) and scores float64 (N,) of an image uint8 (H, W, 3)."""
        grey = cv2.cvtColor(checked(image), cv2.COLOR_RGB2GRAY)
        how = dict(
            scaleFactor=self.scale_factor,
            minNeighbors=self.neighbours,
            minSize=(self.least, self.least),
        )
        with self._pool.one() as cascade:
            if self.score == "weight":
                boxes, _, scores = cascade.detectMultiScale3(grey, outputRejectLevels=True, **how)
            else:
                boxes, scores = cascade.detectMultiScale2(grey, **how)
        return ordered(boxes, scores)
