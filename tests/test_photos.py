"""Faces in photographs: found, restored at the crop of training, and pasted back without a seam."""

import numpy as np
import pytest
import torch
from conftest import draw
from lrface import data, degrade, inference, models
from lrface.inference import photos
from PIL import Image
from torch import nn

REGISTER = """
from lrface import models
from torch import nn

models.register(
    "Mine", lambda scale, size: nn.Upsample(scale_factor=scale), source="me", trainable=False
)
"""
FRAMING = photos.Framing(photos.PLACES["synthetic"])


def places(left, top, side):
    """The five points of a face whose crop is this upright square."""
    return np.array(FRAMING.places) * side - 0.5 + (left, top)


def photo(seed=3, width=150, height=130):
    return torch.from_numpy(draw(seed, width, height).copy()).permute(2, 0, 1)


class Seen(nn.Module):
    """Bicubic interpolation that notes what it was given."""

    def __init__(self, scale):
        super().__init__()
        self.net, self.scale, self.pictures = models.restorer("bicubic", scale), scale, []

    def forward(self, lr):
        self.pictures.append(lr)
        return self.net(lr)


def test_a_crop_is_cut_where_the_training_s_was():
    net, picture = Seen(4), photo()
    photos.hallucinate(net, picture, FRAMING, [places(30, 40, 32)])
    (seen,) = net.pictures
    expected = picture[:, 40:72, 30:62].float() / 255
    assert seen.shape == (1, 3, 32, 32) and (seen[0] - expected).abs().max() < 1 / 255


@pytest.mark.parametrize("side, size", [(20, 32), (40, 32), (70, 70)])
def test_a_face_of_any_size_is_pasted_back_where_it_was(side, size):
    net, picture = Seen(4), photo()
    turn = np.array([[np.cos(0.2), -np.sin(0.2)], [np.sin(0.2), np.cos(0.2)]])
    points = places(40, 30, side)
    points = (points - points.mean(0)) @ turn.T + points.mean(0)
    plain = inference.restore(net.net, picture)
    found, (face,) = photos.hallucinate(net, picture, FRAMING, [points])
    assert net.pictures[0].shape[-1] == pytest.approx(size, abs=1)
    assert face.restored and face.side == pytest.approx(side)
    # interpolated twice, and in its place: half a pixel off it would be five times as much
    apart = (found.int() - plain.int()).abs().float()
    assert found.shape == plain.shape == (3, 520, 600) and apart.mean() < 0.4
    assert apart.amax(0)[:80].max() == 0


class White(nn.Module):
    scale = 4

    def forward(self, lr):
        return torch.ones(len(lr), 3, *(4 * side for side in lr.shape[2:]))


def test_a_face_fades_into_the_photograph():
    grey = torch.full((3, 100, 100), 100, dtype=torch.uint8)
    found, _ = photos.hallucinate(White(), grey, FRAMING, [places(30, 30, 40)])
    assert found[0, 200, 200] == 255 and found[0, 100, 100] == 100
    line = found[0, 200].int()
    assert line.diff().abs().max() < 20  # of a step of 155
    beyond, _ = photos.hallucinate(White(), grey, FRAMING, [places(80, -20, 40)])
    assert beyond[0, 20, 395] > 200  # a face that is cut off by the border


def test_a_network_of_one_size_leaves_larger_faces_enlarged():
    framing = photos.Framing(FRAMING.places, any_size=False)
    net, picture = Seen(4), photo()
    found, faces = photos.hallucinate(net, picture, framing, [places(40, 30, 70)])
    assert not faces[0].restored and not net.pictures
    assert torch.equal(found, inference.restore(net.net, picture))
    assert not photos.Framing.of("HiFaceGAN", "synthetic").any_size
    assert photos.Framing.of("EDSR", "celeba").places == photos.PLACES["celeba"]


def test_small_pictures_and_pictures_without_a_face_are_restored_whole():
    net = Seen(4)
    small, said = photos.restored(net, photo(3, 40, 32), FRAMING)
    assert small.shape == (3, 128, 160) and said == "" and net.pictures[0].shape[2:] == (32, 40)
    nobody = torch.full((3, 60, 90), 90, dtype=torch.uint8)
    found, said = photos.restored(net, nobody, FRAMING)
    assert found.shape == (3, 240, 360) and said == "no face found: restored as a whole"
    framing = photos.Framing(FRAMING.places, any_size=False)
    assert "enlarged by bicubic" in photos.restored(net, nobody, framing)[1]


@pytest.fixture(scope="module")
def crowd():
    """Two rendered faces of 64 pixels on grey."""
    faces = data.load("synthetic", "test", 12)
    frontal = np.flatnonzero(faces.table["yaw"].abs() < 15)[:2]
    picture = torch.full((3, 128, 240), 110, dtype=torch.uint8)
    for k, row in enumerate(frontal):
        hr = torch.from_numpy(faces.read(row).copy()).permute(2, 0, 1)[None].float() / 255
        picture[:, 30:94, 20 + 110 * k : 84 + 110 * k] = degrade.to_uint8(
            degrade.resize(hr, (64, 64))
        )[0]
    return picture


@pytest.mark.slow
def test_all_faces_are_found_and_restored_from_the_command_line(crowd, lrface, tmp_path):
    points = photos.find(crowd.permute(1, 2, 0).numpy())
    eyes = sorted(face[:2].mean(0)[0] for face in points)
    assert len(points) == 2 and eyes == pytest.approx([52, 162], abs=6)
    Image.fromarray(crowd.permute(1, 2, 0).numpy()).save(tmp_path / "a.png")
    register = tmp_path / "mine.py"
    register.write_text(REGISTER)
    words = ["--method", "Mine", "--register", register, "--preview"]
    try:
        code, out, _ = lrface("hallucinate", tmp_path / "a.png", tmp_path / "b.png", *words)
    finally:
        models.METHODS.pop("Mine", None)
    assert code == 0 and "a.png: 2 faces, 6" in out
    assert Image.open(tmp_path / "b.png").size == (960, 512)
    assert Image.open(tmp_path / "b.preview.png").size[0] <= 1608


def test_wrong_requests_of_whose_network(lrface, tmp_path):
    Image.fromarray(draw(0, 24, 24)).save(tmp_path / "a.png")
    (tmp_path / "broken.py").write_text("import nothing_of_this_name")
    for words, code, sentence in (
        (["--run", "0123456789abcdef"], 2, "no run 0123456789abcdef is at hand"),
        (["--register", tmp_path / "broken.py"], 2, "broken.py: ModuleNotFoundError"),
        (["--method", "DICNet", "--scale", 2], 1, "DICNet does not work at 2x: choose --scale"),
        (["--trained-on", "lfw"], 1, "no trained EDSR for 4x on lfw is at hand"),
        (["--method", "VDSR"], 1, "no study trains it"),
    ):
        given, _, err = lrface("hallucinate", tmp_path / "a.png", tmp_path / "b.png", *words)
        assert given == code and sentence in err and not (tmp_path / "b.png").exists(), err
