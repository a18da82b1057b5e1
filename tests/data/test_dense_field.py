"""The exact dense field of rendered faces: its vertices against the landmarks that are known."""

import numpy as np
import pytest
from lrface import data
from lrface.data.eye_distance import at_eye_distance
from lrface.data.landmarks import landmarks
from lrface.data.synthetic.dense_field import face_vertices


@pytest.mark.slow
def test_landmarks_on_the_front_are_vertices():
    faces = data.load("synthetic", "val", 4)
    for some in (faces, at_eye_distance(faces, 40).faces):
        points, vertices = landmarks(some), face_vertices(some)
        # nose, eyes and the outer lips: brows are drawn, the jaw's ends face sideways
        front = [*range(27, 31), *range(36, 60)]
        away = np.linalg.norm(points[:, front, None] - vertices[:, None], axis=3).min(2)
        assert (away < 0.05).mean() > 0.7 and away.max() < 6 and len(some) >= 3


@pytest.mark.slow
@pytest.mark.parametrize("name", ("synthetic", "synthetic-2"))
def test_a_vertex_is_the_same_point_in_every_face(name):
    faces = data.load(name, "val", 3)
    points, vertices = landmarks(faces), face_vertices(faces)
    tip = np.linalg.norm(vertices - points[:, 30, None], axis=2).argmin(1)
    assert len(set(tip.tolist())) == 1
    away = np.linalg.norm(points[:, 30] - vertices[:, tip[0]], axis=1)
    assert away.max() < 0.05
