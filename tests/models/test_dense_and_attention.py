"""RDN and HAN: what their blocks compute, and that all of it is trained."""

import pytest
import torch
from lrface import models
from lrface.models.losses import Pixelwise
from lrface.models.objective import Batch
from lrface.models.sr.han import ChannelSpatialAttention, LayerAttention
from lrface.models.sr.rdn import ResidualDenseBlock
from torch.nn import functional as F


def trained_a_little(net, objective, lr, hr, steps=2):
    """The gradients of one step after ``steps`` others: a factor that starts at zero has moved by
    then."""
    optimiser = torch.optim.Adam(net.parameters(), 1e-3)
    for _ in range(steps + 1):
        optimiser.zero_grad()
        objective(net.train(), Batch(lr, hr))["loss"].backward()
        optimiser.step()
    return {name: p.grad for name, p in net.named_parameters()}


@pytest.mark.parametrize("name", ["RDN", "HAN", "WaveletSRNet"])
def test_gradients_reach_every_parameter(name):
    torch.manual_seed(0)
    net = models.restorer(name, 4)
    own = models.method(name).objectives.get("paper")
    objective = own(net) if own else Pixelwise("l1")
    hr = torch.rand(8, 3, 1, 1) + 0.1 * torch.randn(
        8, 3, 32, 32
    )  # dark and bright, so that no gate is shut for all of them
    gradients = trained_a_little(net, objective, F.avg_pool2d(hr, 4), hr)
    assert not [key for key, g in gradients.items() if g is None or not g.abs().max() > 0]


def test_a_dense_block_reads_all_earlier_outputs():
    torch.manual_seed(0)
    block, x = ResidualDenseBlock(6, 4, 3), torch.randn(2, 6, 5, 7)
    inputs = [x]
    for conv in block.convs:
        inputs.append(F.relu(F.conv2d(torch.cat(inputs, 1), conv.weight, conv.bias, padding=1)))
    weight = block.fuse.weight.flatten(1)
    fused = torch.einsum("oc,nchw->nohw", weight, torch.cat(inputs, 1)) + block.fuse.bias.view(
        1, -1, 1, 1
    )
    torch.testing.assert_close(block(x), x + fused)


def test_layer_attention_by_loops():
    torch.manual_seed(0)
    attention, maps = LayerAttention().double(), torch.randn(2, 3, 4, 5, 6).double() / 5
    assert torch.equal(attention(maps), maps.flatten(1, 2))  # gamma starts at 0
    attention.gamma.data.fill_(0.7)
    expected = maps.clone()
    for b in range(2):
        for i in range(3):
            energy = torch.stack([(maps[b, i] * maps[b, j]).sum() for j in range(3)])
            share = torch.exp(energy.max() - energy) / torch.exp(energy.max() - energy).sum()
            expected[b, i] += 0.7 * sum(share[j] * maps[b, j] for j in range(3))
    torch.testing.assert_close(attention(maps), expected.flatten(1, 2))


def test_channel_spatial_attention_is_a_convolution_in_three_dimensions():
    torch.manual_seed(0)
    attention, x = ChannelSpatialAttention(), torch.randn(2, 6, 5, 7)
    assert torch.equal(attention(x), x)
    attention.gamma.data.fill_(0.7)
    volume = F.conv3d(
        x.unsqueeze(1), attention.conv.weight.unsqueeze(1), attention.conv.bias, padding=1
    ).squeeze(1)
    torch.testing.assert_close(attention(x), x * (1 + 0.7 * volume.sigmoid()))
