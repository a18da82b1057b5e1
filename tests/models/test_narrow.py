"""``narrow`` networks: the papers' depth and topology, a fraction of the width, at one cost."""

import pytest
import torch
from lrface import models
from lrface.errors import UsageError
from torch.utils.flop_counter import FlopCounterMode

NARROW = [
    name
    for name, m in models.METHODS.items()
    if "narrow" in m.sizes and name != "DICGAN" and not name.startswith("CBN")
]
SAME_AS_PAPER = {"SRCNN", "Eigenface"}


def network(name, scale, size):
    with torch.device("meta"):
        return models.restorer(name, scale, size)


def topology(net):
    """Every layer by its place, with all that decides it but the width."""
    kept = ("kernel_size", "stride", "padding", "dilation", "upscale_factor")
    return [
        (place, type(layer).__name__, *(getattr(layer, what, None) for what in kept))
        for place, layer in net.named_modules()
    ]


@pytest.mark.slow
@pytest.mark.parametrize(
    "name, scale",  # HiFaceGAN enlarges first: one network for every scale
    [(name, scale) for name in NARROW for scale in (4, 8) if (name, scale) != ("HiFaceGAN", 4)],
)
def test_it_has_every_layer_of_the_papers_network(name, scale):
    narrow, paper = (network(name, scale, size) for size in ("narrow", "paper"))
    assert topology(narrow) == topology(paper)
    count = [sum(p.numel() for p in net.parameters()) for net in (narrow, paper)]
    assert count[0] == count[1] if name in SAME_AS_PAPER else count[0] < count[1] / 5


MACS = 0.29e9
"""Multiply-accumulates of a narrow network for one face at 4x, to 15 % or so."""


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted({*NARROW} - {"Eigenface"}))
def test_a_face_at_4x_costs_alike(name):
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(name, 4, "narrow").eval()(torch.zeros(1, 3, 32, 32, device="meta"))
    assert counter.get_total_flops() / 2 == pytest.approx(MACS, rel=0.15)


def test_edsr_comes_at_its_papers_largest_size_too():
    net = network("EDSR", 4, "large")
    assert sum(p.numel() for p in net.parameters()) == 43_089_923
    block, x = net.body[0], torch.rand(1, 256, 3, 3)
    assert block.scale == 0.1 and len(net.body) == 33
    block = block.to_empty(device="cpu").requires_grad_(False)
    for weight in block.parameters():
        torch.nn.init.normal_(weight, std=0.02)
    torch.testing.assert_close(block(x), x + 0.1 * block.body(x))
    with pytest.raises(UsageError, match="unknown size 'large' for RCAN"):
        models.restorer("RCAN", 4, "large")
