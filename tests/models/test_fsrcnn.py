"""FSRCNN: the paper's counts, Caffe's pixels at the paper's places, and what scales share."""

import pytest
import torch
from lrface import degrade
from lrface.errors import UsageError
from lrface.models.losses import Pixelwise
from lrface.models.objective import Batch
from lrface.models.sr import fsrcnn
from torch import nn
from torch.nn import functional as F


def weights(net):
    convolutions = (m for m in net.modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d))
    return sum(m.weight.numel() for m in convolutions)


@pytest.mark.parametrize(
    "d, s, m, count", [(56, 12, 4, 12_464), (32, 5, 1, 3_937), (48, 12, 2, 8_832)]
)
@pytest.mark.parametrize("scale", fsrcnn.SCALES)
def test_the_papers_weights_in_one_channel(d, s, m, count, scale):
    net = fsrcnn.FSRCNN(scale, d, s, m, channels=1)
    assert weights(net) == count == 9 * m * s**2 + 2 * s * d + 106 * d


def test_colours_biases_and_slopes():
    count = sum(p.numel() for p in fsrcnn.build(4, "paper").parameters())
    biases, slopes = 56 + 12 + 4 * 12 + 56 + 3, 56 + 12 + 4 * 12 + 56
    assert count == 9 * 4 * 12**2 + 2 * 12 * 56 + 3 * 106 * 56 + biases + slopes == 24_683


def test_only_the_transposed_convolution_knows_the_scale():
    shapes = [
        {k: v.shape for k, v in fsrcnn.build(s, "small").state_dict().items()} for s in (2, 3, 4)
    ]
    assert shapes[0] == shapes[1] == shapes[2]
    small, large = fsrcnn.build(2, "small"), fsrcnn.build(4, "small")
    large.load_state_dict(small.state_dict())
    x = torch.rand(1, 3, 7, 9)
    torch.testing.assert_close(small.layers(x), large.layers(x))
    assert small.enlarge.stride == (2, 2) and large.enlarge.stride == (4, 4)
    assert small(x).shape == (1, 3, 14, 18) and large(x).shape == (1, 3, 28, 36)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_caffes_pixels_are_its_middle(scale):
    torch.manual_seed(0)
    net, x = fsrcnn.build(scale, "small"), torch.rand(1, 3, 6, 5)
    caffe = F.conv_transpose2d(
        net.layers(x), net.enlarge.weight, net.enlarge.bias, stride=scale, padding=4
    )
    assert caffe.shape[2:] == (6 * scale - scale + 1, 5 * scale - scale + 1)
    first = (scale - 1) // 2
    inner = net(x)[..., first : first + caffe.shape[2], first : first + caffe.shape[3]]
    torch.testing.assert_close(inner, caffe)


def test_at_3x_a_picture_is_not_shifted():
    # a delta kernel puts each pixel in the middle of its 3x3
    layer = fsrcnn.FSRCNN(3, 1, 1, 0, channels=1)
    layer.layers = nn.Identity()
    nn.init.zeros_(layer.enlarge.weight)
    layer.enlarge.weight.data[0, 0, 4, 4] = 1
    x = torch.rand(1, 1, 4, 4)
    torch.testing.assert_close(layer(x)[..., 1::3, 1::3], x)


@pytest.mark.slow
def test_a_few_steps_learn():
    torch.manual_seed(0)
    net = fsrcnn.build(2, "small")
    hr = degrade.resize(torch.rand(4, 3, 8, 8), (32, 32)).clamp(0, 1)
    batch, objective = Batch(degrade.setting("2x")(hr), hr), Pixelwise("mse")
    optimiser, found = torch.optim.Adam(net.parameters(), 2e-3), []
    for _ in range(100):
        optimiser.zero_grad()
        loss = objective(net, batch)["loss"]
        loss.backward()
        optimiser.step()
        found.append(loss.item())
    assert found[-1] < found[0] / 10


def test_a_scale_that_the_kernel_does_not_cover_is_refused():
    with pytest.raises(UsageError, match="cannot enlarge by 9"):
        fsrcnn.FSRCNN(9, 8, 4, 1)
