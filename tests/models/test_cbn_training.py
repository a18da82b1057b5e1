"""CBN's stages: the field in closed form, what each trains, and what a saved network holds."""

import numpy as np
import pytest
import torch
from conftest import draw, face_shapes
from lrface import degrade, models
from lrface.errors import LrfaceError, UsageError
from lrface.models.objective import Batch
from lrface.models.sr import cbn, cbn_training
from lrface.models.stages import steps_of
from safetensors.torch import load, save


def faces(n=24, side=64, scale=4):
    """Drawn faces, moved to where made-up landmarks are, as a closed-form stage asks for them."""
    points = torch.from_numpy(face_shapes(n, side, side))
    hr = torch.from_numpy(np.stack([draw(i, side, side) for i in range(n)])).permute(0, 3, 1, 2)
    hr = hr.float() / 255
    lr = degrade.Degradation("small", scale)(hr)
    batches = [Batch(*part) for part in zip(lr.split(8), hr.split(8), points.split(8), strict=True)]
    return lambda most: iter(batches)


def fitted(arm="CBN", scale=4):
    torch.manual_seed(0)
    net = models.restorer(arm, scale)
    for stage in models.method(arm).stages(net, "even"):
        if stage.fit is not None:
            stage.fit(net, faces(scale=scale))
    return net


def test_an_untrained_network_is_nearly_bicubic_and_its_maps_are_empty():
    torch.manual_seed(0)
    net, lr = models.restorer("CBN", 4), torch.rand(2, 3, 8, 8)
    steps = net.steps(lr)
    assert all((step.prior == 0).all() for step in steps)
    assert (steps[-1].face - degrade.resize(lr, (32, 32))).square().mean().sqrt() < 0.1


@pytest.mark.parametrize("arm", cbn_training.ARMS)
def test_stages_in_their_order(arm):
    net = models.restorer(arm, 8)
    names = [stage.name for stage in cbn_training.stages(net, "paper")]
    cascades = [[f"cascade {k}, {part}" for part in ("A", "B", "joint")] for k in (1, 2, 3)]
    fields = [f"field {k}" for k in (1, 2, 3)]
    whole = sum(([field, *parts] for field, parts in zip(fields, cascades, strict=True)), [])
    expected = {
        "CBN": whole,
        "CBN-pure": [name for name in whole if name != "cascade 3, A"],
        "CBN-common": [parts[0] for parts in cascades],
        "CBN-high-frequency": [name for name in whole if not name.endswith("A")],
        "CBN-fixed": fields + sum(cascades, []),
        "CBN-single": whole[:4],
    }[arm]
    assert names == expected


@pytest.mark.parametrize("arm", cbn_training.ARMS)
@pytest.mark.parametrize("total", [1, 4, 100, 1801])
def test_every_cascade_has_its_share_of_the_steps(arm, total):
    net = models.restorer(arm, 8)
    stages = cbn_training.stages(net, "even")
    steps = steps_of(stages, total)
    assert sum(steps) == total and min(steps) >= 0
    each = [
        sum(
            n
            for stage, n in zip(stages, steps, strict=True)
            if stage.name.startswith(f"cascade {k}")
        )
        for k in range(1, len(net.cascades) + 1)
    ]
    assert max(each) - min(each) <= 2
    assert all(n == 0 for stage, n in zip(stages, steps, strict=True) if stage.fit is not None)


def test_rates_are_the_tables_or_even():
    net = models.restorer("CBN", 4)
    joint = cbn_training.Stage(1, "joint").groups(net)
    assert [g["rate"] for g in joint] == pytest.approx([0.01, 0.001, 0.01, 0.001, 0.1, 0.01])
    assert {g["rate"] for g in cbn_training.Stage(1, "joint", even=True).groups(net)} == {1.0}


def test_a_window_follows_from_the_faces_and_the_loss_is_that_of_the_window():
    net = models.restorer("CBN", 4)
    lr, hr = torch.rand(2, 3, 8, 8), torch.rand(2, 3, 32, 32)
    whole = cbn_training.Stage(1, "A")
    part, places = cbn_training.Stage(1, "A", patch=16), set()
    for _ in range(8):
        batch = Batch(torch.rand(2, 3, 8, 8), hr)
        places.add(str(part._window(batch, (32, 32))))
        assert part._window(batch, (32, 32)) == part._window(batch, (32, 32))
    assert len(places) > 4
    batch = Batch(lr, hr)
    rows, columns = part._window(batch, (32, 32))
    assert rows.stop - rows.start == columns.stop - columns.start == 16
    assert cbn_training.Stage(1, "A", patch=64)._window(batch, (32, 32))[0] == slice(0, 64)
    found = net(lr, 1, "A")
    wrong = (degrade.resize(hr, (32, 32)) * torch.tensor(cbn.LUMINANCE).view(3, 1, 1)).sum(1, True)
    wrong = (wrong - found.enlarged).square()
    torch.testing.assert_close(whole(net, batch)["trivial"], wrong.sum())
    torch.testing.assert_close(part(net, batch)["trivial"], wrong[..., rows, columns].sum())


@pytest.mark.slow
@pytest.mark.parametrize("arm", [arm for arm in cbn_training.ARMS if arm != "CBN-common"])
def test_a_saved_network_holds_each_thing_once_and_restores_alike(arm):
    net = fitted(arm).eval()
    weights = {name: w.contiguous() for name, w in net.state_dict().items()}
    again = models.restorer(arm, 4)
    lr = torch.rand(3, 3, 16, 16)
    again.eval()(lr)  # what it has made of an empty template must be forgotten
    again.load_state_dict(load(save(weights)))
    first, second = net.steps(lr), again.eval().steps(lr)
    for one, other in zip(first, second, strict=True):
        assert torch.equal(one.face, other.face) and torch.equal(one.prior, other.prior)
        assert torch.equal(one.state, other.state)
    large = [w for w in weights.values() if w.numel() > 20_000]
    assert not any(
        a.shape == b.shape and torch.equal(a, b) for i, a in enumerate(large) for b in large[:i]
    )
    dense = 2 * 128 * 128 * 24
    assert all(w.numel() < dense for w in weights.values())


@pytest.mark.slow
def test_the_field_follows_the_face_and_scales_with_it():
    net = fitted().eval()
    batches = [*faces()(1)]
    lr, points = (torch.cat([getattr(b, name) for b in batches]) for name in ("lr", "points"))
    steps = net.steps(lr)
    found = [net.guide.field(64).points(step.state) for step in steps]
    start = net.guide.field(64).points(torch.zeros_like(steps[0].state))
    errors = [(x - points).norm(dim=2).mean() for x in (start, *found)]
    assert errors[0] > errors[1] and errors[0] > 1.5 * errors[2]
    assert (steps[1].prior > 0).any() and ((steps[1].prior > 1e-3).float().mean() < 0.9)
    for side in (8, 24, 32):
        assert net(torch.rand(1, 3, side, side)).shape == (1, 3, 4 * side, 4 * side)
    with pytest.raises(UsageError, match="square faces, and this one is 24x16"):
        net(torch.rand(1, 3, 8, 12))


@pytest.mark.slow
def test_a_fixed_field_is_found_in_the_input():
    net = fitted("CBN-fixed", 4).eval()
    first, second = net.steps(torch.rand(2, 3, 16, 16))
    assert torch.equal(first.state, second.state) and int(net.guide.fitted) == 2


@pytest.mark.slow
def test_few_faces_have_few_bases():
    net = models.restorer("CBN", 2)
    batch = Batch(*(part[:3] for part in next(faces(scale=2)(1))[:3]))
    cbn_training.fit_field(net, lambda most: iter([batch]), 0)
    used = net.guide.shapes.abs().sum((0, 1)) > 0
    assert used.sum() == 5 and net(batch.lr)[0].state[:, 9:].abs().max() < 1e-5
    batch = batch._replace(points=torch.full_like(batch.points, torch.nan))
    with pytest.raises(LrfaceError, match="0 have them"):
        cbn_training.fit_field(net, lambda most: iter([batch]), 0)


def test_at_3x_the_cascades_are_2_and_a_half_more():
    net = models.restorer("CBN", 3)
    sizes = [tuple(step.face.shape[2:]) for step in net.steps(torch.rand(1, 3, 14, 14))]
    assert sizes == [(28, 28), (42, 42)]
