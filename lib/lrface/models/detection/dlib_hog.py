"""dlib's face detector: a sliding window on histograms of oriented gradients (King 2015)."""

from __future__ import annotations

from dataclasses import dataclass, field

import dlib
import numpy as np

from lrface.errors import UsageError
from lrface.models.detection.boxes import Pool, checked, ordered


@dataclass(frozen=True)
class HOG:
    """dlib's frontal face detector, five linear filters on an image pyramid.

    Parameters
    ----------
    upsample : int
        How often the image is doubled in size first: 0 finds faces from about 80 pixels, 1 from
        about 40, at four times the cost.
    threshold : float
        The least score; dlib's own is 0, lower values give more detections.

    Examples
    --------
    >>> from lrface import data
    >>> boxes, scores = HOG(upsample=1).detect(data.load("synthetic", "val", 1).read(0))
    >>> boxes.shape
    (1, 4)
    """

    upsample: int = 0
    threshold: float = 0.0
    _pool: Pool = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.upsample < 0:
            raise UsageError(f"an image is doubled 0 times or more, got {self.upsample}")
        object.__setattr__(self, "_pool", Pool(dlib.get_frontal_face_detector))

    def detect(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Boxes float64 (N, 4) and scores float64 (N,) of an image uint8 (H, W, 3)."""
        image = checked(image)
        with self._pool.one() as detector:
            found, scores, _ = detector.run(image, self.upsample, self.threshold)
        return ordered([(r.left(), r.top(), r.width(), r.height()) for r in found], scores)
