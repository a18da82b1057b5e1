"""Registration by landmarks: exact on known similarities, and unknown landmarks are left out."""

import math

import torch
from lrface.degrade import resize
from lrface.models.video.registration import registered_mean, similarity
from torch.nn import functional as F


def test_a_known_similarity_is_found():
    torch.manual_seed(0)
    points = torch.rand(5, 68, 2) * 100
    angle, size = torch.rand(5) * 6, 0.5 + torch.rand(5)
    cos, sin = size * angle.cos(), size * angle.sin()
    turn = torch.stack([cos, -sin, sin, cos], -1).view(5, 2, 2)
    shift = torch.randn(5, 2) * 10
    goal = points @ turn.mT + shift[:, None]
    found = similarity(points, goal)
    assert torch.allclose(found[..., :2], turn, atol=1e-4)
    assert torch.allclose(found[..., 2], shift, atol=1e-2)


def test_the_error_is_least():
    torch.manual_seed(1)
    points, goal = torch.rand(1, 5, 2), torch.rand(1, 5, 2)

    def error(m):
        return (points @ m[..., :2].mT + m[..., 2][:, None] - goal).square().sum()

    best = similarity(points, goal)
    for angle, size in ((0.01, 1.0), (-0.01, 1.0), (0, 1.01), (0, 0.99)):
        cos, sin = size * math.cos(angle), size * math.sin(angle)
        other = torch.tensor([[cos, -sin], [sin, cos]]) @ best
        assert error(other) > error(best)


def test_equal_frames_give_the_enlarged_frame():
    frame = torch.rand(2, 1, 3, 16, 12)
    points = torch.rand(2, 1, 68, 2) * 90
    found = registered_mean(frame.expand(-1, 7, -1, -1, -1), points.expand(-1, 7, -1, -1))
    assert torch.allclose(found, resize(frame[:, 0], (128, 96)), atol=1e-4)


def test_a_shifted_frame_is_moved_back():
    # by a whole LR pixel, eight of the enlarged ones
    smooth = F.avg_pool2d(torch.rand(1, 3, 40, 40), 9, 1, 4)
    first, second = smooth[..., 10:26, 10:22], smooth[..., 10:26, 11:23]
    clip = torch.stack([first, second], 1)
    points = torch.rand(1, 1, 68, 2) * 90
    both = torch.cat([points, points - torch.tensor([8.0, 0])], 1)
    found = registered_mean(clip, both, reference=0)
    goal = resize(first, (128, 96))
    inner = (..., slice(24, -24), slice(24, -24))
    assert (found - goal)[inner].abs().max() < 0.1 * (goal - resize(second, (128, 96)))[
        inner
    ].abs().max()


def test_frames_without_landmarks_are_left_out():
    clip, points = torch.rand(1, 3, 3, 16, 12), torch.rand(1, 3, 68, 2) * 90
    points[:, 2, 5] = torch.nan
    without = registered_mean(clip[:, :2], points[:, :2], reference=0)
    assert torch.allclose(registered_mean(clip, points, reference=0), without, atol=1e-5)
