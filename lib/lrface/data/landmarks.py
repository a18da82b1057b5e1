"""Where the parts of a face are: dlib's detector and landmarks, and the landmarks of a whole set,
found once and kept."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path

import dlib
import numpy as np
import torch
from torch import Tensor

from lrface.data import packed
from lrface.data.faceset import FaceSet
from lrface.errors import LrfaceError, UsageError
from lrface.files import cache_dir, progress, write_atomic

SHA256 = {
    "dlib_face_recognition_resnet_model_v1.dat": "55533b28a95800a551ba546ba62fe69625c7e95a7061c338adffead08719da30",
    "shape_predictor_5_face_landmarks.dat": "c4b1e9804792707d3a405c2c16a80a20269e6675021f64a41d30fffafbc41888",
    "shape_predictor_68_face_landmarks.dat": "fbdc2cb80eb9aa7a758672cbfdda32ba6300efe9b6e6c7a299ff7e736b11b92f",
}
"""The model files of face-recognition-models 0.3.0 that this library reads."""


def model_file(name: str) -> Path:
    """Path of one of dlib's model files (a key of ``SHA256``), located without importing the
    package that carries it.

    Raises :class:`LrfaceError` if the package or the file is missing, or if the file is not the one
    this library was tested with.
    """
    if name not in SHA256:
        raise UsageError(f"unknown dlib model file {name!r}: choose one of {', '.join(SHA256)}")
    # Importing the package itself fails under a recent setuptools: it asks for pkg_resources.
    package = find_spec("face_recognition_models")
    repair = (
        "reinstall it with `pip install --force-reinstall --no-deps face-recognition-models==0.3.0`"
    )
    if package is None or not package.submodule_search_locations:
        raise LrfaceError(
            f"the package face-recognition-models, which carries {name}, is not installed: {repair}"
        )
    path = Path(package.submodule_search_locations[0], "models", name)
    try:
        with open(path, "rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise LrfaceError(
            f"cannot read dlib's model file {path} ({error.strerror}): {repair}"
        ) from None
    if found != SHA256[name]:
        raise LrfaceError(
            f"dlib's model file {path} is damaged or another version (sha256 {found}, expected {SHA256[name]}): {repair}"
        )
    return path


def _pixels(images: Tensor) -> np.ndarray:
    """uint8 (N, 3, H, W) to the contiguous uint8 (N, H, W, 3) array dlib reads."""
    if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] != 3:
        raise UsageError(
            f"dlib wants uint8 images (N, 3, H, W), got {images.dtype} of shape {tuple(images.shape)}"
        )
    return images.permute(0, 2, 3, 1).cpu().numpy().copy(order="C")


class Landmarker:
    """dlib's HOG face detector and its predictors of 68 and 5 landmarks, each loaded when first
    needed.

    ``upsample`` is how often the image is doubled before detection (1 finds faces from about 40
    pixels). ``threads`` share the detection, by default as many as torch uses; the result does not
    depend on it, and several threads may call it at once. Calling it maps uint8 images (N, 3, H, W)
    to 68 landmarks (N, 68, 2), detecting each face unless ``boxes`` are given.
    """

    def __init__(self, upsample: int = 1, threads: int | None = None) -> None:
        self.upsample = upsample
        self.threads = threads or torch.get_num_threads()
        self._free: list = []

    @cached_property
    def _predictor68(self):
        return dlib.shape_predictor(str(model_file("shape_predictor_68_face_landmarks.dat")))

    @cached_property
    def _predictor5(self):
        return dlib.shape_predictor(str(model_file("shape_predictor_5_face_landmarks.dat")))

    def __call__(self, images: Tensor, boxes: np.ndarray | None = None) -> np.ndarray:
        return self.landmarks68(images, self.detect(images) if boxes is None else boxes)

    def detect(self, images: Tensor) -> np.ndarray:
        """The face box of each uint8 image (N, 3, H, W): float64 (N, 4) as left, top, right, bottom
        in pixels, the last included.

        Where several faces are found, the detector's most confident one; where none is, a row of
        NaN. Boxes may reach outside the image.
        """
        pixels = _pixels(images)
        workers = max(1, min(self.threads, len(pixels) // 8))
        with ThreadPoolExecutor(workers) as pool:
            return np.concatenate(list(pool.map(self._detect, np.array_split(pixels, workers))))

    def _detect(self, pixels: np.ndarray) -> np.ndarray:
        # One detector a thread: dlib lets go of the GIL, and a detector that two threads share
        # gives wrong boxes.
        try:
            detector = self._free.pop()
        except IndexError:
            detector = dlib.get_frontal_face_detector()
        boxes = np.full((len(pixels), 4), np.nan)
        for i, image in enumerate(pixels):
            found, confidence, _ = detector.run(image, self.upsample)
            if found:
                best = found[int(np.argmax(confidence))]
                boxes[i] = best.left(), best.top(), best.right(), best.bottom()
        self._free.append(detector)
        return boxes

    def landmarks68(self, images: Tensor, boxes: np.ndarray) -> np.ndarray:
        """68 landmarks (iBUG 300-W order) of the face in each box: float64 (N, 68, 2), x and y in
        whole pixels; NaN for a NaN box.

        ``images`` is uint8 (N, 3, H, W), ``boxes`` (N, 4) as :meth:`detect` gives them.
        """
        return _landmarks(self._predictor68, 68, images, boxes)

    def landmarks5(self, images: Tensor, boxes: np.ndarray) -> np.ndarray:
        """dlib's 5 landmarks, those a recognition chip is aligned by: float64 (N, 5, 2); else as
        :meth:`landmarks68`."""
        return _landmarks(self._predictor5, 5, images, boxes)


def _landmarks(predictor, count: int, images: Tensor, boxes: np.ndarray) -> np.ndarray:
    pixels, boxes = _pixels(images), np.asarray(boxes, np.float64)
    if boxes.shape != (len(pixels), 4):
        raise UsageError(
            f"{len(pixels)} images want boxes of shape ({len(pixels)}, 4), got {boxes.shape}"
        )
    points = np.full((len(pixels), count, 2), np.nan)
    for i in np.flatnonzero(np.isfinite(boxes).all(1)):
        shape = predictor(pixels[i], dlib.rectangle(*(round(edge) for edge in boxes[i].tolist())))
        points[i] = [(point.x, point.y) for point in shape.parts()]
    return points


MIRRORED = np.array(
    [
        *range(16, -1, -1),
        *range(26, 16, -1),
        *range(27, 31),
        *range(35, 30, -1),
        45,
        44,
        43,
        42,
        47,
        46,
        39,
        38,
        37,
        36,
        41,
        40,
    ]
    + [*range(54, 47, -1), *range(59, 54, -1), *range(64, 59, -1), 67, 66, 65]
)
"""Which of the 68 points each becomes in the mirror image: ``points[:, MIRRORED]`` after ``x ->
width - 1 - x``."""


def landmarks(faces: FaceSet) -> np.ndarray:
    """68 landmarks of every face in table order: float32 (N, 68, 2), x and y in pixels of the crop;
    NaN where none are known.

    A set that comes with landmarks gives its own. Else dlib's are found once and kept beside the
    scans, by the set's fingerprint.
    """
    if len(faces) and "landmarks" in faces.table:
        return np.stack(faces.table["landmarks"].to_list())
    if len(faces) and packed.is_packed(faces.table["path"].iat[0]):
        return (
            np.stack(faces.stored("landmarks")["landmarks"].to_numpy())
            .astype(np.float32)
            .reshape(-1, 68, 2)
        )
    store = cache_dir("landmarks") / f"{faces.fingerprint}.npy"
    if store.exists():
        try:
            kept = np.load(store)
            if kept.shape == (len(faces), 68, 2):
                return kept
        except (OSError, ValueError, EOFError):
            pass  # damaged: found again below
    find, found = Landmarker(), []
    with progress(f"landmarks of {faces.name}", len(faces)) as advance:
        for batch in faces.batches(64):
            found.append(find(batch).astype(np.float32))
            advance(len(batch))
    points = np.concatenate(found)
    write_atomic(store, lambda path: np.save(path, points))
    return points
