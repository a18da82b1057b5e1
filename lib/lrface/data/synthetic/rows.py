"""The columns of a rendered set: a picture with its ground truth as one flat, typed row."""

from __future__ import annotations

import hashlib
import io
import json

import numpy as np
import pyarrow as pa
from PIL import Image

from lrface.data.synthetic.camera import Camera, capture, sample_camera
from lrface.data.synthetic.person import Person
from lrface.data.synthetic.prevalence import ATTRIBUTES
from lrface.data.synthetic.protocols import split_of
from lrface.data.synthetic.render import Frame
from lrface.data.synthetic.streams import stream
from lrface.data.synthetic.truth import attributes, face_box
from lrface.data.synthetic.views import FACE_UNITS, View

_IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
_TEXT, _NUMBER, _FLAG = pa.string(), pa.float32(), pa.bool_()
# fmt: off
_CAMERA = {
    "height": pa.int16(), "bayer": _FLAG, "chroma_420": _FLAG, "jpeg": pa.int16(),
    "jpeg_x": pa.int16(), "jpeg_y": pa.int16(),
}
_LIGHT = (
    "azimuth", "elevation", "key", "ambient", "warmth", "slope", "fill", "fill_azimuth", "exposure",
)
_KINDS = (
    "hairstyle", "hair_texture", "hair_colour", "eye_colour", "glasses", "hat", "clothes", "scene",
)
# fmt: on
_FRAMING = ("scale", "x", "y", "distance")
CAMERA_COLUMNS = tuple(Camera.__dataclass_fields__)

SCHEMA = pa.schema(
    [
        ("key", _TEXT),
        ("identity", _TEXT),
        ("split", _TEXT),
        ("view", pa.int32()),
        ("clip", pa.int32()),
        ("frame", pa.int16()),
        ("image", _IMAGE),
        ("digest", _TEXT),
    ]
    + [(name, _TEXT) for name in ("group", "gender")]
    + [(name, _NUMBER) for name in ("age", "yaw", "pitch", "roll", "gaze_yaw", "gaze_pitch")]
    + [("landmarks", pa.list_(_NUMBER, 136)), ("landmarks_visible", pa.list_(_FLAG, 68))]
    + [(f"box_{side}", _NUMBER) for side in ("left", "top", "right", "bottom")]
    + [(name, _FLAG) for name in ATTRIBUTES]
    + [(f"expression_{unit}", _NUMBER) for unit in FACE_UNITS]
    + [(name, _TEXT) for name in _KINDS]
    + [("skin_depth", _NUMBER)]
    + [(f"light_{name}", _NUMBER) for name in _LIGHT]
    + [(f"framing_{name}", _NUMBER) for name in _FRAMING]
    + [("native", _IMAGE)]
    + [(f"native_{name}", _CAMERA.get(name, _NUMBER)) for name in CAMERA_COLUMNS]
)
"""Columns of every Parquet file of a rendered set. ``clip`` and ``frame`` are null for stills,
``native`` and ``native_*`` in a set without native captures."""


def _features() -> dict:
    """The schema as the `datasets` library describes it."""
    kinds = {
        _TEXT: "string",
        _NUMBER: "float32",
        _FLAG: "bool",
        pa.int16(): "int16",
        pa.int32(): "int32",
    }
    features: dict = {}
    for column in SCHEMA:
        if column.type == _IMAGE:
            features[column.name] = {"_type": "Image"}
        elif pa.types.is_fixed_size_list(column.type):
            inner = {"dtype": kinds[column.type.value_type], "_type": "Value"}
            features[column.name] = {
                "feature": inner,
                "length": column.type.list_size,
                "_type": "Sequence",
            }
        else:
            features[column.name] = {"dtype": kinds[column.type], "_type": "Value"}
    return features


# so that the `datasets` library shows images; pandas and pyarrow ignore it
_INFO = json.dumps({"info": {"features": _features()}}, separators=(",", ":"))
SCHEMA = SCHEMA.with_metadata({"huggingface": _INFO})


def name_of(number: int) -> str:
    """The name of an identity in the tables."""
    return f"s{number:06d}"


def encode(picture: np.ndarray, quality: int) -> bytes:
    """uint8 (H, W, 3) as WebP of a quality from 1 to 100; 0: lossless PNG."""
    file = io.BytesIO()
    if quality:
        Image.fromarray(picture).save(file, "WEBP", quality=quality, method=4)
    else:
        Image.fromarray(picture).save(file, "PNG", optimize=True)
    return file.getvalue()


def decode(data: bytes) -> np.ndarray:
    """uint8 (H, W, 3) of an encoded picture."""
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB"))


def row(
    person: Person,
    view: View,
    frame: Frame,
    picture: np.ndarray,
    points: np.ndarray,
    visible: np.ndarray,
    *,
    seed: int,
    quality: int,
    clip: int | None = None,
    number: int | None = None,
    camera: Camera | None = None,
) -> dict:
    """The row of a still, or of frame ``number`` of ``clip``, by column.

    ``points`` (68, 2) and ``visible`` (68,) are the landmarks; with a ``camera`` the row has its
    native capture.
    """
    identity = person.identity
    name = name_of(identity.number)
    key = f"{name}_{view.number:03d}" if clip is None else f"{name}_c{clip:03d}_{number:02d}"
    data = encode(picture, quality)
    left, top, right, bottom = face_box(points, frame.size)
    found = {
        "key": key,
        "identity": name,
        "split": split_of(name, seed),
        "view": view.number,
        "clip": clip,
        "frame": number,
        "image": {"bytes": data, "path": f"{key}.{'webp' if quality else 'png'}"},
        "digest": hashlib.sha256(decode(data).tobytes()).hexdigest()[:16],
        "group": identity.group,
        "gender": identity.gender,
        "age": identity.age,
        "yaw": view.yaw,
        "pitch": view.pitch,
        "roll": view.roll,
        "gaze_yaw": view.gaze[0],
        "gaze_pitch": view.gaze[1],
        "landmarks": points.ravel().tolist(),
        "landmarks_visible": visible.tolist(),
        "box_left": left,
        "box_top": top,
        "box_right": right,
        "box_bottom": bottom,
        "hairstyle": identity.hairstyle,
        "hair_texture": identity.texture,
        "hair_colour": identity.hair_colour,
        "eye_colour": identity.eye_colour,
        "glasses": view.glasses,
        "hat": view.hat,
        "clothes": view.clothes.kind,
        "scene": frame.scene,
        "skin_depth": identity.depth,
    }
    found |= attributes(person, view)
    found |= {f"expression_{unit}": view.expression.get(unit, 0.0) for unit in FACE_UNITS}
    found |= {f"light_{k}": getattr(view.light, k) for k in _LIGHT}
    found |= {f"framing_{k}": getattr(view.framing, k) for k in _FRAMING}
    if camera is not None:
        rng = stream(identity.seed, identity.number, view.number, "sensor")
        native = capture(frame, camera, rng)
        found["native"] = {"bytes": encode(native, 0), "path": f"{key}_native.png"}
        found |= {f"native_{k}": getattr(camera, k) for k in CAMERA_COLUMNS}
    return found


def camera_for(person: Person, view_number: int) -> Camera:
    """The low-quality camera of a picture, or of a clip, whose number is its first view's."""
    identity = person.identity
    return sample_camera(stream(identity.seed, identity.number, view_number, "camera"))


def to_table(rows: list[dict]) -> pa.Table:
    """Rows as an Arrow table of ``SCHEMA``; columns that a row lacks are null."""
    columns = {
        column.name: pa.array([row.get(column.name) for row in rows], column.type)
        for column in SCHEMA
    }
    return pa.table(columns, schema=SCHEMA)
