"""dlib's face detector by a convolutional network, trained by max-margin object detection."""

from __future__ import annotations

from dataclasses import dataclass, field

import dlib
import numpy as np

from lrface.data.landmarks import model_file
from lrface.errors import UsageError
from lrface.models.detection.boxes import Pool, checked, ordered

FILE = "mmod_human_face_detector.dat"
SMALLEST = 16
"""Images with a side below this are not searched: the network's filters do not fit into them."""


@dataclass(frozen=True)
class MMOD:
    """dlib's network on an image pyramid (King 2015). On a CPU a photograph takes seconds.

    Parameters
    ----------
    upsample : int
        How often the image is doubled in size first: 0 finds faces from about 80 pixels, 1 from
        about 40, at four times the cost and memory. The least score is the network's own.

    Examples
    --------
    >>> from lrface import data
    >>> boxes, scores = MMOD().detect(data.load("synthetic", "val", 1).read(0))
    >>> boxes.shape
    (1, 4)
    """

    upsample: int = 0
    _pool: Pool = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.upsample < 0:
            raise UsageError(f"an image is doubled 0 times or more, got {self.upsample}")

        def make() -> dlib.cnn_face_detection_model_v1:
            return dlib.cnn_face_detection_model_v1(str(model_file(FILE)))

        object.__setattr__(self, "_pool", Pool(make))

    def detect(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Boxes float64 (N, 4) and scores float64 (N,) of an image uint8 (H, W, 3)."""
        image = checked(image)
        if min(image.shape[:2]) < SMALLEST:
            return ordered([], [])
        with self._pool.one() as network:
            found = list(network(image, self.upsample))
        boxes = [(f.rect.left(), f.rect.top(), f.rect.width(), f.rect.height()) for f in found]
        return ordered(boxes, [f.confidence for f in found])
