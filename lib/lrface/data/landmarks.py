"""Face detection and landmarks by dlib, and the landmarks of a whole set, which are cached."""

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
    "dlib_face_recognition_resnet_model_v1.dat": (
        "55533b28a95800a551ba546ba62fe69625c7e95a7061c338adffead08719da30"
    ),
    "mmod_human_face_detector.dat": (
        "4cb19393e2fbaf2b1609a9319ad5386618c886a6234ec1b971f3e87c85d87fe6"
    ),
    "shape_predictor_5_face_landmarks.dat": (
        "c4b1e9804792707d3a405c2c16a80a20269e6675021f64a41d30fffafbc41888"
    ),
    "shape_predictor_68_face_landmarks.dat": (
        "fbdc2cb80eb9aa7a758672cbfdda32ba6300efe9b6e6c7a299ff7e736b11b92f"
    ),
}
"""The model files of face-recognition-models 0.3.0 that this library reads."""


def model_file(name: str) -> Path:
    """Path of one of dlib's model files (a key of ``SHA256``), after a check of its hash.

    The package that carries it is not imported. Raises :class:`LrfaceError` if the package or the
    file is missing, or the file is not the one that this library was tested with.
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
            f"dlib's model file {path} is damaged or another version "
            f"(sha256 {found}, expected {SHA256[name]}): {repair}"
        )
    return path


def _pixels(images: Tensor) -> np.ndarray:
    """uint8 (N, 3, H, W) to the contiguous uint8 (N, H, W, 3) that dlib reads."""
    if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] != 3:
        got = f"{images.dtype} of shape {tuple(images.shape)}"
        raise UsageError(f"dlib wants uint8 images (N, 3, H, W), got {got}")
    return images.permute(0, 2, 3, 1).cpu().numpy().copy(order="C")


class Landmarker:
    """dlib's HOG face detector and its predictors of 68 and 5 landmarks, loaded when first used.

    Parameters
    ----------
    upsample : int
        How often an image is doubled in size before detection; 1 finds faces from about 40 pixels.
    threads : int, optional
        Threads that share the detection, by default as many as torch uses. The result does not
        depend on it. An instance may be called from several threads at once.

    Notes
    -----
    Calling it maps uint8 images (N, 3, H, W) to 68 landmarks (N, 68, 2), detecting each face
    unless ``boxes`` are given.
    """

    def __init__(self, upsample: int = 1, threads: int | None = None) -> None:
        self.upsample = upsample
        self.threads = threads or torch.get_num_threads()
        self._free: list = []  # detectors that no thread uses at present

    @cached_property
    def _predictor68(self):
        return dlib.shape_predictor(str(model_file("shape_predictor_68_face_landmarks.dat")))

    @cached_property
    def _predictor5(self):
        return dlib.shape_predictor(str(model_file("shape_predictor_5_face_landmarks.dat")))

    def __call__(self, images: Tensor, boxes: np.ndarray | None = None) -> np.ndarray:
        return self.landmarks68(images, self.detect(images) if boxes is None else boxes)

    def detect(self, images: Tensor) -> np.ndarray:
        """The face box of each uint8 image (N, 3, H, W), float64 (N, 4) in pixels.

        Left, top, right and bottom, the last pixel included; of several faces the detector's most
        confident, NaN where there is none. Boxes may extend beyond the image.
        """
        pixels = _pixels(images)
        workers = max(1, min(self.threads, len(pixels) // 8))
        with ThreadPoolExecutor(workers) as pool:
            return np.concatenate(list(pool.map(self._detect, np.array_split(pixels, workers))))

    def _detect(self, pixels: np.ndarray) -> np.ndarray:
        # One detector a thread: dlib releases the GIL, and a detector that two threads share gives
        # wrong boxes.
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
        """68 landmarks (iBUG 300-W order) of the face in each box, float64 (N, 68, 2).

        x and y in whole pixels, NaN for a NaN box. ``images`` is uint8 (N, 3, H, W), ``boxes``
        (N, 4) as :meth:`detect` gives them.
        """
        return _landmarks(self._predictor68, 68, images, boxes)

    def landmarks5(self, images: Tensor, boxes: np.ndarray) -> np.ndarray:
        """dlib's 5 landmarks, which its recogniser aligns by, float64 (N, 5, 2).

        Otherwise as :meth:`landmarks68`.
        """
        return _landmarks(self._predictor5, 5, images, boxes)


def _landmarks(predictor, count: int, images: Tensor, boxes: np.ndarray) -> np.ndarray:
    pixels, boxes = _pixels(images), np.asarray(boxes, np.float64)
    if boxes.shape != (len(pixels), 4):
        n = len(pixels)
        raise UsageError(f"{n} images want boxes of shape ({n}, 4), got {boxes.shape}")
    points = np.full((len(pixels), count, 2), np.nan)
    for i in np.flatnonzero(np.isfinite(boxes).all(1)):
        edges = [round(edge) for edge in boxes[i].tolist()]
        shape = predictor(pixels[i], dlib.rectangle(*edges))
        points[i] = [(point.x, point.y) for point in shape.parts()]
    return points


_JAW_AND_BROWS = [*range(16, -1, -1), *range(26, 16, -1)]
_NOSE = [*range(27, 31), *range(35, 30, -1)]
_EYES = [*range(45, 41, -1), 47, 46, *range(39, 35, -1), 41, 40]
_MOUTH = [*range(54, 47, -1), *range(59, 54, -1), *range(64, 59, -1), 67, 66, 65]
MIRRORED = np.array(_JAW_AND_BROWS + _NOSE + _EYES + _MOUTH)
"""Index of each of the 68 points in the mirror image.

The landmarks of a mirrored face are ``points[:, MIRRORED]`` after ``x -> width - 1 - x``.
"""


def landmarks(faces: FaceSet) -> np.ndarray:
    """68 landmarks of every face, in the order of the table.

    Sets with landmarks of their own give those. Otherwise dlib finds them once, and they are cached
    by the set's fingerprint.

    Returns
    -------
    ndarray
        float32 (N, 68, 2), x and y in pixels of the images that are read; NaN where unknown.

    Examples
    --------
    >>> from lrface import data
    >>> landmarks(data.load("synthetic", "val", 3)).shape
    (3, 68, 2)
    """
    if len(faces) and "landmarks" in faces.table:
        stored = np.stack(faces.table["landmarks"].to_list())
        return stored if "magnified" in faces.table else _sized(stored, faces)
    if len(faces) and packed.is_packed(faces.table["path"].iat[0]):
        stored = np.stack(faces.stored("landmarks")["landmarks"].to_numpy())
        return _sized(stored.astype(np.float32).reshape(-1, 68, 2), faces)
    store = cache_dir("landmarks") / f"{faces.fingerprint}.npy"
    if store.exists():
        try:
            cached = np.load(store)
            if cached.shape == (len(faces), 68, 2):
                return cached
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


def _sized(points: np.ndarray, faces: FaceSet) -> np.ndarray:
    """Landmarks of the crop in pixels of the size that faces are read at."""
    side = faces.side or faces.crop.size
    if side == faces.crop.size:
        return points
    return ((points + 0.5) * (side / faces.crop.size) - 0.5).astype(np.float32)
