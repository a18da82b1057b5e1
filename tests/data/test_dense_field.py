"""The exact dense field of rendered faces: its vertices against the landmarks that are known."""

import numpy as np
import pytest
from lrface import data
from lrface.data.eye_distance import at_eye_distance
from lrface.data.landmarks import landmarks
from lrface.data.synthetic.dense_field import face_vertices


@pytest.mark.slow
def test_vertices_lie_where_the_landmarks_on_the_skin_do():
    faces = data.load("synthetic", "val", 4)
    points, vertices = landmarks(faces), face_vertices(faces)
    on_skin = [*range(17), *range(27, 48)]  # brows are drawn, the inner lips are the mouth's
    nearest = np.linalg.norm(points[:, on_skin, None] - vertices[:, None], axis=3).min(2)
    assert nearest.max() < 0.1
    brought = at_eye_distance(faces, 40).faces
    near = np.linalg.norm(
        landmarks(brought)[:, on_skin, None] - face_vertices(brought)[:, None], axis=3
    ).min(2)
    assert len(brought) >= 3 and near.max() < 0.15


@pytest.mark.slow
def test_a_vertex_is_the_same_point_in_every_face():
    faces = data.load("synthetic", "val", 3)
    points, vertices = landmarks(faces), face_vertices(faces)
    tip = np.linalg.norm(vertices - points[:, 30, None], axis=2).argmin(1)
    assert len(set(tip.tolist())) == 1
