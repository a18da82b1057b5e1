"""What a browser computes with is what the library computes with."""

import base64

import numpy as np
import pytest
import torch
from lrface import degrade, models
from lrface.errors import LrfaceError
from lrface.site import networks, playground


@pytest.mark.parametrize("name", list(degrade.SETTINGS))
def test_a_setting_s_matrices_and_noise_are_those_of_the_library(name):
    said, setting = playground._setting(name), degrade.setting(name)
    small = networks.FACE // setting.scale
    down, up = (
        np.frombuffer(base64.b64decode(said[key]), "<f4").reshape(shape)
        for key, shape in (("down", (small, networks.FACE)), ("up", (networks.FACE, small)))
    )
    assert np.abs(down - setting.matrix(networks.FACE)).max() < 1e-7
    assert np.abs(up - degrade.resize_matrix(small, networks.FACE)).max() < 1e-7
    assert set(playground.SETTINGS) == set(degrade.SETTINGS)
    assert ("noise" in said) == (setting.noise > 0)
    if setting.noise:
        noise = np.frombuffer(base64.b64decode(said["noise"]), "<f4").reshape(1, 3, small, small)
        grey = torch.full((1, 3, networks.FACE, networks.FACE), 128 / 255)
        wanted = setting(grey) - 128 / 255
        assert np.abs(noise - wanted.numpy())[wanted.abs() < 0.4].max() < 0.5 / 255 + 1e-6


def test_the_faces_on_offer_are_as_many_of_each_group_and_frontal():
    faces = playground.faces()
    assert faces.shape == (playground.OFFERED, 3, networks.FACE, networks.FACE)
    assert faces.min() >= 0 and faces.max() <= 1
    assert len({face.numpy().tobytes() for face in faces}) == playground.OFFERED


@pytest.mark.slow
@pytest.mark.parametrize("name", ["SRCNN", "DICNet", "WaveletSRNet", "HiFaceGAN"])
@pytest.mark.parametrize("scale", [4, 8])
def test_an_exported_network_restores_as_pytorch_does(name, scale):
    pytest.importorskip("onnx", reason="the site's packages are not installed: make site")
    pytest.importorskip("onnxruntime", reason="the site's packages are not installed: make site")
    torch.manual_seed(0)
    net = models.restorer(name, scale, "small").eval()
    small = torch.rand(2, 3, networks.FACE // scale, networks.FACE // scale)
    with torch.no_grad():
        wanted = net(small)
    found = networks.by_onnx(networks.export(net, scale), small)
    assert np.abs(found - wanted.numpy()).max() < networks.TOLERANCE
    assert degrade.resize_matrix(8, 16).shape == (16, 8)  # as it was before


@pytest.mark.slow
def test_an_export_that_differs_is_refused(tmp_path, monkeypatch):
    pytest.importorskip("onnx", reason="the site's packages are not installed: make site")
    pytest.importorskip("onnxruntime", reason="the site's packages are not installed: make site")
    honest = networks.by_onnx
    monkeypatch.setattr(networks, "by_onnx", lambda *given: honest(*given) + 2e-4)
    with pytest.raises(LrfaceError, match="ONNX differs from PyTorch by 2.0e-04"):
        networks.exported(tmp_path, playground.faces()[:1])
    assert not list(tmp_path.rglob("*.onnx"))
