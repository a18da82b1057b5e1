"""OpenCV's face detector by a cascade of Haar features (Viola and Jones 2001; Lienhart 2002)."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from lrface.errors import LrfaceError, UsageError
from lrface.models.detection.boxes import Pool, checked, ordered


@dataclass(frozen=True)
class Haar:
    """The cascade that comes with OpenCV, with a score for each detection.

    A detection's score is the number of stages that its best window passes, plus a number in (0, 1)
    that grows with the sum of that window's last stage: windows that fail one of the last three
    stages only are detections of a low score. Neighbouring windows are merged into one box, and
    their number does not matter (OpenCV leaves it out when it reports stages).

    Parameters
    ----------
    cascade : str
        A file in OpenCV's folder of Haar cascades.
    scale_factor : float
        Ratio of the sizes of windows, over 1.
    least : int
        The smallest window in pixels; the cascade's own size (20 or 24) is the limit.
    stages : int
        Report only detections that pass at least this many stages, from 2. OpenCV keeps windows
        that fail one of the last three.

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
    stages: int = 2
    _pool: Pool = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.scale_factor <= 1 or self.least < 1 or self.stages < 2:
            raise UsageError(
                "want a scale factor over 1, a smallest window from 1 pixel and stages from 2, got "
                f"{self.scale_factor}, {self.least} and {self.stages}"
            )
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
        with self._pool.one() as cascade:
            boxes, levels, weights = cascade.detectMultiScale3(
                grey,
                scaleFactor=self.scale_factor,
                minNeighbors=self.stages - 1,
                minSize=(self.least, self.least),
                outputRejectLevels=True,
            )
        levels, weights = (np.asarray(x, np.float64).reshape(-1) for x in (levels, weights))
        return ordered(boxes, levels + 0.5 + np.arctan(weights) / np.pi)
