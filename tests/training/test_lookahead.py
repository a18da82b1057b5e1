"""Lookahead against a loop that keeps the slow weights itself, and through a checkpoint."""

import io

import torch
from lightning_fabric import Fabric
from lrface.training.lookahead import Lookahead


def made():
    torch.manual_seed(0)
    net = torch.nn.Linear(3, 2)
    return net, torch.optim.Adam(net.parameters(), 0.1, betas=(0.9, 0.99))


def step(net, optimiser, number):
    x = torch.randn(4, 3, generator=torch.Generator().manual_seed(number))
    optimiser.zero_grad()
    net(x).square().sum().backward()
    optimiser.step()


def test_slow_weights_start_at_the_sixth_step_and_moments_go_on():
    (fast, adam), (net, optimiser) = made(), made()
    Lookahead(optimiser, alpha=0.5, every=6)
    slow = None
    for number in range(20):
        step(fast, adam, number)
        if number % 6 == 5:
            now = [p.detach().clone() for p in fast.parameters()]
            slow = now if slow is None else [(a + b) / 2 for a, b in zip(slow, now, strict=True)]
            for p, value in zip(fast.parameters(), slow, strict=True):
                p.data.copy_(value)
        step(net, optimiser, number)
        for a, b in zip(fast.parameters(), net.parameters(), strict=True):
            assert torch.allclose(a, b, atol=1e-6)


def test_a_checkpoint_holds_the_slow_weights():
    net, optimiser = made()
    Lookahead(optimiser)
    other, resumed = made()
    Lookahead(resumed)
    for number in range(15):
        if number == 8:
            held = io.BytesIO()
            torch.save([net.state_dict(), optimiser.state_dict()], held)
            held.seek(0)
            weights, state = torch.load(held, weights_only=True)
            other.load_state_dict(weights)
            resumed.load_state_dict(state)
        step(net, optimiser, number)
        if number >= 8:
            step(other, resumed, number)
    assert all(map(torch.equal, net.parameters(), other.parameters()))


def test_fabric_runs_the_hook():
    (fast, adam), (net, optimiser) = made(), made()
    Lookahead(adam, every=2)
    Lookahead(optimiser, every=2)
    wrapped, steps = Fabric(accelerator="cpu", devices=1).setup(net, optimiser)
    for number in range(5):
        step(fast, adam, number)
        step(wrapped, steps, number)
    assert all(map(torch.equal, fast.parameters(), net.parameters()))
    assert optimiser.state_dict()["param_groups"][0]["lookahead_steps"] == 5
