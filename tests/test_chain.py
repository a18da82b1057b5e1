"""The chain from a scene to a name: geometry, restoration by size, and the search."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from lrface import models
from lrface.data.readers.rendered import CROP
from lrface.inference import chain


@given(st.integers(10, 300), st.floats(0.5, 1.2), st.integers(-20, 400))
def test_a_box_lies_in_its_crop_as_in_a_portrait(height, aspect, x):
    box = np.array([[x, 30.0, aspect * height, height]])
    square = chain.framed(box)
    corners = np.stack([box[:, :2], box[:, :2] + box[:, 2:]], 1) - 0.5
    (left, top), (right, bottom) = chain.in_crop(corners, square)[0] + 0.5
    wanted = np.array(CROP.face) * 128
    pixel = 128 / square[0, 2]  # of the scene, by which squares are rounded
    assert abs((left + right) / 2 - (wanted[0] + wanted[2]) / 2) <= pixel
    assert abs(top - wanted[1]) <= 1.5 * pixel and abs(bottom - wanted[3]) <= 1.5 * pixel


def test_landmarks_go_with_the_pixels():
    scene = np.zeros((80, 90, 3), np.uint8)
    scene[40, 50] = 255
    squares = np.array([[30, 20, 64]])
    face = chain.restored(scene, squares, {}, torch.device("cpu"))[0].float().mean(0)
    y, x = np.unravel_index(int(face.argmax()), face.shape)
    at = chain.in_crop(np.array([[[50.0, 40.0]]]), squares)[0, 0]
    assert abs(at[0] - x) <= 0.6 and abs(at[1] - y) <= 0.6


def test_each_size_has_its_restorer():
    scene = np.random.default_rng(0).integers(0, 256, (150, 150, 3)).astype(np.uint8)
    seen = []

    def net(scale):
        def enlarge(small):
            seen.append((scale, small.shape[2]))
            return models.restorer("bicubic", scale)(small)

        return enlarge

    squares = np.array([[0, 0, 10], [5, 5, 30], [5, 5, 90], [0, 0, 140]])
    faces = chain.restored(scene, squares, {s: net(s) for s in (2, 4, 8)}, torch.device("cpu"))
    assert faces.shape == (4, 3, 128, 128) and seen == [(8, 16), (4, 32), (2, 64)]
    as_it_is = chain.restored(scene, np.array([[3, 4, 128]]), {}, torch.device("cpu"))[0]
    assert np.array_equal(as_it_is.permute(1, 2, 0).numpy(), scene[4:132, 3:131])


def test_ranks_of_known_distances():
    gallery = torch.tensor([[0.0], [1.0], [2.0]])
    found = chain.ranks(torch.tensor([[0.1], [0.1], [1.5]]), gallery, np.array([0, 2, 1]))
    assert found.tolist() == [1, 3, 2]  # of equal distances the own person is the last
    assert chain.ranks(gallery[:0], gallery, np.array([], int)).shape == (0,)
    assert found == pytest.approx(found.round())
