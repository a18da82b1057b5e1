"""The exact dense correspondence of rendered faces: every vertex of the face's skin, in each."""

from __future__ import annotations

import json

import numpy as np

from lrface.data.faceset import FaceSet
from lrface.data.synthetic.assets import BODY, MOUTH, head
from lrface.data.synthetic.identities import identity
from lrface.data.synthetic.kernel import vertex_normals
from lrface.data.synthetic.person import person
from lrface.data.synthetic.render import vertices_in_picture
from lrface.data.synthetic.views import view

FORWARDS = 0.1
"""The least part of a vertex's normal, in the head at rest, that points to the front."""


def face_vertices(faces: FaceSet) -> np.ndarray:
    """Where the vertices of the skin are in each picture of a rendered set.

    Parameters
    ----------
    faces : FaceSet
        Of a rendered set, as it is cropped or brought to a distance of the eyes
        (:func:`lrface.data.eye_distance.at_eye_distance`).

    Returns
    -------
    float32 (N, V, 2)
        x and y in pixels of the images that are read; hidden vertices, too, but none within the
        mouth or on the back of the head. Vertex v is the same point of the skin in every face.

    Examples
    --------
    >>> from lrface import data
    >>> faces = data.load("synthetic", "val", 2)
    >>> points = face_vertices(faces)
    >>> points.shape[0], points.shape[1] > 1000
    (2, True)
    """
    plan = json.loads((faces.root / "plan.json").read_text())
    seed, drawn = plan["seed"], plan.get("generation", 1)
    skin, found = _skin(), []
    size, side = faces.crop.size, faces.side or faces.crop.size
    for row in faces.table.itertuples():
        who = person(identity(seed, int(row.identity[1:]), generation=drawn))
        points = vertices_in_picture(who, view(who.identity, int(row.view)), size)[skin]
        magnified = getattr(row, "magnified", side / size)
        found.append((points - (size - 1) / 2) * magnified + (side - 1) / 2)
    return np.stack(found).astype(np.float32)


def _skin() -> np.ndarray:
    """Numbers of the vertices of the skin that face forwards, without the mouth's inside: the back
    of the head lies behind the face in a picture."""
    template = head()
    skin = template.triangles[template.part == BODY]
    outer = np.unique(skin[template.skin_masks[MOUTH] < 0.5])
    normals = vertex_normals(template.vertices, template.triangles)
    return outer[normals[outer, 2] > FORWARDS]
