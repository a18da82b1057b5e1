"""Batches: every face once an epoch, aligned pairs, landmarks that follow, shares of a batch."""

import numpy as np
import pytest
import torch
from conftest import Still, noise
from lrface import data, degrade
from lrface.data.landmarks import MIRRORED
from lrface.training.batches import TrainingData, batch_indices, batches
from lrface.training.hyperparameters import Hyperparameters


def test_every_epoch_shows_every_face_once():
    rows = np.concatenate([batch_indices(10, 4, step, seed=0) for step in range(5)])
    assert sorted(rows[:10]) == sorted(rows[10:]) == list(range(10))
    assert not np.array_equal(rows[:10], rows[10:])


def test_batches_are_aligned_pairs_whatever_the_start():
    faces, d = data.load("celeba", "train", 16), degrade.setting("4x", rounding="none")
    training, hyper = TrainingData(faces, d), Hyperparameters(steps=5, batch=4, patch=64, lr=1.0)
    all_of_them, later = list(batches(training, hyper)), batches(training, hyper, 3)
    for (lr, hr, *_), (lr2, hr2, *_) in zip(all_of_them[3:], later, strict=True):
        assert torch.equal(lr, lr2) and torch.equal(hr, hr2)
    lr, hr, *_ = all_of_them[0]
    assert lr.shape == (4, 3, 16, 16) and hr.shape == (4, 3, 64, 64)
    # away from the border of the cut, the patch degrades to its own LR patch
    assert torch.allclose(d(hr)[..., 3:-3, 3:-3], lr[..., 3:-3, 3:-3], atol=1e-5)


@pytest.mark.parametrize("patch", [None, 64])
def test_landmarks_follow_the_mirror_and_the_cut(patch):
    """A dark dot at every landmark: whatever a batch did to the picture, the dots are where the
    landmarks say."""

    points = np.random.default_rng(3).integers(8, 120, (3, 68, 2)).astype(np.float32)
    pictures = torch.full((3, 3, 128, 128), 255, dtype=torch.uint8)
    for i in range(3):
        pictures[i, :, points[i, :, 1].astype(int), points[i, :, 0].astype(int)] = 0
    training = TrainingData(Still(pictures), degrade.setting("4x"), points)
    hyper = Hyperparameters(steps=3, batch=6, patch=patch, lr=1.0)
    for _, hr, marks, *_ in batches(training, hyper):
        inside = ((marks >= 0) & (marks < hr.shape[2])).all(2)
        assert inside.any() and (patch is not None or inside.all())
        for i in range(6):
            x, y = marks[i][inside[i]].long().T
            assert (hr[i, :, y, x] == 0).all()


def test_the_mirror_image_of_the_landmarks_has_their_names():
    # left and right change places; twice mirrored is unchanged; the middle of the face stays
    assert sorted(MIRRORED) == list(range(68)) and (MIRRORED[MIRRORED] == np.arange(68)).all()
    assert all(MIRRORED[i] == i for i in (8, 27, 28, 29, 30, 33, 51, 57, 62, 66))
    assert (
        MIRRORED[36] == 45
        and MIRRORED[17] == 26
        and MIRRORED[48] == 54
        and MIRRORED[60] == 64
        and MIRRORED[31] == 35
    )


def test_shares_of_a_batch_are_the_batch():
    faces, points, labels = (
        noise(9, 48),
        np.random.default_rng(0).random((9, 68, 2), np.float32),
        np.arange(9),
    )
    setting = degrade.setting("4x_DN")
    training = TrainingData(faces, setting, points, labels, labels % 2 == 0)
    hyper = Hyperparameters(steps=4, batch=6, patch=32, lr=1.0, seed=1)
    shares = [batches(training, hyper, 2, slice(i, None, 3)) for i in range(3)]
    for whole, *parts in zip(batches(training, hyper, 2), *shares, strict=True):
        for i, part in enumerate(parts):
            assert all(
                torch.equal(mine, all_[i::3])
                for mine, all_ in zip(part[1:], whole[1:], strict=True)
            )
            assert torch.allclose(part.lr, whole.lr[i::3], atol=1e-6)
