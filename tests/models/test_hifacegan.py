"""HiFaceGAN's blocks and objective by slow formulas, and the deep features that stand in for
VGG19's."""

import numpy as np
import pytest
import torch
from conftest import draw, noise, train_tiny
from lrface import models
from lrface.models import losses
from lrface.models.objective import Batch
from lrface.models.sr import hifacegan
from torch.nn import functional as F


def net(scale=4, levels=2):
    torch.manual_seed(0)
    made = hifacegan.HiFaceGAN(scale, features=4, levels=levels)
    made.scale = scale
    return made


def batch(scale=4, side=32):
    random = torch.Generator().manual_seed(1)
    return torch.rand(2, 3, side // scale, side // scale, generator=random), torch.rand(
        2, 3, side, side, generator=random
    )


@pytest.mark.slow
@pytest.mark.parametrize("features, parameters", [(64, 130_568_012), (48, 79_873_084)])
def test_released_sizes(features, parameters):
    with torch.device("meta"):
        made = hifacegan.HiFaceGAN(4, features)
    assert sum(p.numel() for p in made.parameters()) == parameters


def test_five_halvings_of_128_pixels_leave_4x4():
    with torch.device("meta"):
        encoder = hifacegan.Suppression([2, 4, 8, 16, 32, 32])
        sides = [f.shape[1:] for f in encoder(torch.zeros(1, 3, 128, 128))]
    assert sides == [(2, 128, 128), (4, 64, 64), (8, 32, 32), (16, 16, 16), (32, 8, 8), (32, 4, 4)]


@pytest.mark.slow
@pytest.mark.parametrize("scale", [2, 4, 8])
@pytest.mark.parametrize("h, w", [(4, 4), (5, 7)])
def test_faces_of_any_shape_at_every_scale(scale, h, w):
    made, lr = net(scale).train(), torch.rand(2, 3, h, w)
    assert made(lr).shape == (2, 3, h * scale, w * scale)
    with torch.no_grad():
        image = made.eval()(lr)
        assert torch.equal(image, made(lr)) and image.min() >= 0 and image.max() <= 1


def test_local_importance_pooling_is_a_weighted_average():
    torch.manual_seed(0)
    pool, x = hifacegan.LocalImportancePool(3), torch.rand(1, 3, 6, 6)
    out = pool(x)
    weight = (12 * torch.sigmoid(pool.importance[1](pool.importance[0](x)))).exp()
    assert out.shape == (1, 3, 3, 3)
    for i, j in ((0, 0), (1, 2), (2, 1)):
        rows, columns = slice(max(0, 2 * i - 1), 2 * i + 2), slice(max(0, 2 * j - 1), 2 * j + 2)
        mean = (x * weight)[0, :, rows, columns].sum((1, 2)) / weight[0, :, rows, columns].sum(
            (1, 2)
        )
        assert torch.allclose(out[0, :, i, j], mean, rtol=1e-4)


def test_spade_scales_by_gamma_alone():
    torch.manual_seed(0)
    spade, x, condition = hifacegan.SPADE(6, 4), torch.randn(3, 6, 5, 5), torch.randn(3, 4, 5, 5)
    normal = (x - x.mean((0, 2, 3), keepdim=True)) / (
        x.var((0, 2, 3), unbiased=False, keepdim=True) + 1e-5
    ).sqrt()
    hidden = spade.shared(condition)
    assert torch.allclose(
        spade(x, condition), normal * spade.gamma(hidden) + spade.beta(hidden), atol=1e-5
    )
    torch.nn.init.zeros_(spade.gamma.weight)
    assert torch.allclose(
        spade(x, condition), spade.beta(hidden)
    )  # with a gamma of 0 nothing of x is left


def test_the_objective_has_no_pixel_loss():
    made, (lr, hr) = net(), batch()
    objective = hifacegan.OBJECTIVES["paper"](made)
    assert objective.adam == {"betas": (0.0, 0.9)} and objective.discriminator_lr_ratio == 4
    (
        made.eval(),
        objective.discriminator.eval(),
    )  # spectral and batch normalisation are fixed between the two computations
    found = objective(made, Batch(lr, hr))
    with torch.no_grad():
        sr, given = made(lr), 2 * models.restorer("bicubic", 4)(lr) - 1
        fake, real = (
            objective.discriminator(torch.cat([given, 2 * sr - 1], 1)),
            objective.discriminator(torch.cat([given, 2 * hr - 1], 1)),
        )
        gan = sum((scale[-1] - 1).square().mean() for scale in fake) / 2
        matching = (
            sum((fake[s][i] - real[s][i]).abs().mean() for s in range(2) for i in range(4)) / 2
        )
        pairs = zip(
            (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1),
            objective.features(sr),
            objective.features(hr),
            strict=True,
        )
        deep = sum(weight * (a - b).abs().mean() for weight, a, b in pairs)
        discriminator = (
            sum(
                (r[-1] - 1).square().mean() + f[-1].square().mean()
                for r, f in zip(real, fake, strict=True)
            )
            / 2
        )
    assert found["loss"].item() == pytest.approx((gan + 10 * matching + 10 * deep).item(), rel=1e-4)
    assert found["discriminator"].item() == pytest.approx(discriminator.item(), rel=1e-4)


def test_discriminators_do_not_teach_each_other():
    made, (lr, hr) = net(), batch()
    objective = hifacegan.OBJECTIVES["paper"](made)
    found = objective(made, Batch(lr, hr))
    found["loss"].backward()
    assert all(p.grad is None for p in objective.discriminator.parameters())
    used = {
        name: p.grad
        for name, p in made.named_parameters()
        if not name.startswith("exits") or name.startswith("exits.0")
    }
    assert all(g is not None and g.isfinite().all() for g in used.values())
    made.zero_grad(set_to_none=True)
    found["discriminator"].backward()
    assert all(p.grad is None for p in made.parameters())
    assert all(
        p.grad is not None and p.grad.isfinite().all() for p in objective.discriminator.parameters()
    )


@pytest.mark.slow
def test_the_discriminator_judges_patches_at_two_scales():
    with torch.device("meta"):
        found = hifacegan.Discriminator()(torch.zeros(1, 6, 128, 128))
    assert [[f.shape[1:] for f in scale] for scale in found] == [
        [(64, 65, 65), (128, 33, 33), (256, 17, 17), (512, 18, 18), (1, 19, 19)],
        [(64, 33, 33), (128, 17, 17), (256, 9, 9), (512, 10, 10), (1, 11, 11)],
    ]


def test_deep_features_are_dlibs_frozen_and_differentiable():
    features, judge = losses.DeepFeatures(), models.embedder("dlib")
    before = [p.clone() for p in features.parameters()]
    x = torch.rand(1, 3, 128, 128, requires_grad=True)
    found = features.train()(x)
    assert [f.shape[1:] for f in found] == [
        (32, 72, 72),
        (32, 35, 35),
        (64, 17, 17),
        (128, 8, 8),
        (256, 2, 2),
    ]
    chip = F.interpolate(x, size=(150, 150), mode="bilinear", align_corners=False) * 255
    assert torch.allclose(found[-1].mean((2, 3)) @ judge.project, judge(chip), atol=1e-4)
    sum(f.mean() for f in found).backward()
    assert x.grad.isfinite().all() and (x.grad != 0).any()
    assert not any(p.requires_grad for p in features.parameters())
    assert all(torch.equal(a, b) for a, b in zip(before, features.parameters(), strict=True))


@pytest.mark.slow
def test_deep_features_hardly_see_fine_colour_and_the_finest_pattern():
    faces = torch.from_numpy(np.stack([draw(i, 128, 128) for i in range(2)]))
    faces, features = faces.permute(0, 3, 1, 2) / 255, losses.DeepFeatures()
    y, x = torch.meshgrid(torch.arange(128.0), torch.arange(128.0), indexing="ij")
    grey = torch.sin(torch.pi * x / 2 + 0.7) * torch.sin(torch.pi * y / 2 + 0.7)
    errors = {
        "finest": ((x + y) % 2 * 2 - 1).expand(3, -1, -1),
        "noise": torch.randn(3, 128, 128, generator=torch.Generator().manual_seed(0)),
        "grey": grey.expand(3, -1, -1),
        "colour": grey * torch.tensor([1.0, -1.0, 0.0]).view(3, 1, 1),
    }
    cost = {}
    with torch.no_grad():
        true = features(faces)
        for name, error in errors.items():
            found = features(faces + 0.03 * error / error.square().mean().sqrt())
            terms = zip(hifacegan.Renovation.weights, found, true, strict=True)
            cost[name] = sum(w * float(F.l1_loss(a, b)) for w, a, b in terms)
    assert cost["finest"] < 0.1 * cost["noise"] and cost["colour"] < 0.25 * cost["grey"]


def test_deep_features_do_not_change_the_weights_drawn_beside_them():
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    losses.DeepFeatures()
    assert torch.equal(torch.rand(3), expected)


def test_frozen_lets_gradients_through_and_is_lifted_after_an_error():
    layer, x = torch.nn.Linear(2, 1), torch.ones(1, 2, requires_grad=True)
    with pytest.raises(ZeroDivisionError), losses.frozen(layer):
        out = layer(x)
        raise ZeroDivisionError
    out.sum().backward()
    assert x.grad is not None and layer.weight.grad is None and layer.weight.requires_grad


@pytest.mark.slow
def test_an_interrupted_run_ends_with_the_same_weights(interrupted):
    """Batch statistics, the vectors of spectral normalisation and the discriminator are all in the
    checkpoint; the deep features are not."""

    def run(checkpoint):
        made = net()
        torch.manual_seed(0)
        fields = {
            "batch": 2,
            "patch": None,
            "lr": 1e-3,
            "schedule": "constant",
            "steps": 4,
        }
        objective = hifacegan.OBJECTIVES["paper"](made)
        train_tiny(made, noise(2, 32), "4x", objective, checkpoint, **fields)
        return [*made.state_dict().values(), *objective.discriminator.state_dict().values()]

    uninterrupted, stopped = interrupted(run, 2)
    assert all(torch.equal(a, b) for a, b in zip(uninterrupted, run(stopped), strict=True))
    assert stopped.stat().st_size < 3_000_000  # dlib's network alone would be 20 MB
