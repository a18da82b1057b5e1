"""DICNet and DICGAN: heat maps, fusion, and every term of their objectives by a slow formula."""

import math

import pytest
import torch
from lrface import models
from lrface.errors import UsageError
from lrface.models.objective import Batch
from lrface.models.sr import dic
from torch.nn import functional as F


def net(scale=4):
    torch.manual_seed(0)
    made = dic.DIC(scale, features=6, groups=2, fusions=1, landmark_features=8, climb=4)
    for last in (
        made.exit[1],
        made.hourglass.maps[-1],
    ):  # they start at zero, which would hide what comes before them
        torch.nn.init.normal_(last.weight, std=0.05)
    made.scale = scale
    return made


def batch(scale=4, side=32, n=2):
    random = torch.Generator().manual_seed(1)
    lr = torch.rand(n, 3, side // scale, side // scale, generator=random)
    return (
        lr,
        torch.rand(n, 3, side, side, generator=random),
        torch.rand(n, 68, 2, generator=random) * side,
    )


@pytest.mark.parametrize("name", ["DICNet", "DICGAN"])
@pytest.mark.parametrize("scale, restoring", [(4, 5_390_262), (8, 9_804_677)])
def test_both_parts_have_the_papers_size(name, scale, restoring):
    with torch.device("meta"):
        made = models.restorer(name, scale, "paper")
    landmarks = sum(p.numel() for p in made.hourglass.parameters())
    assert landmarks == 11_999_172
    assert sum(p.numel() for p in made.parameters()) == restoring + landmarks


def test_2x_is_refused_in_one_sentence():
    for name in ("DICNet", "DICGAN"):
        with pytest.raises(UsageError, match=f"^{name} does not work at 2x: choose one of 4x, 8x$"):
            models.restorer(name, 2)


@pytest.mark.parametrize("scale", [4, 8])
def test_faces_and_heat_maps_of_four_steps(scale):
    made, (lr, hr, _) = net(scale), batch(scale, 64)
    faces, maps = made.train()(lr)
    assert [f.shape for f in faces] == [hr.shape] * 4 and [m.shape for m in maps] == [
        (2, 68, 16, 16)
    ] * 4
    with torch.no_grad():
        image, again = made.eval()(lr), made(lr)
    assert torch.equal(image, again) and torch.allclose(image, faces[-1], atol=1e-5)
    assert not torch.allclose(faces[1], faces[2], atol=1e-4)  # each step adds something


def test_training_starts_from_the_bilinear_enlargement():
    lr, _, _ = batch()
    expected = F.interpolate(lr, scale_factor=4, mode="bilinear", align_corners=False)
    with torch.no_grad():
        assert torch.allclose(models.restorer("DICNet", 4).eval()(lr), expected, atol=1e-5)


def test_heat_maps_peak_where_the_landmarks_are():
    points = torch.tensor(
        [[[8.0, 20.0], [40.0, 4.0], [5.0, 9.0]]]
    )  # x, y: two in the middle of a cell, one between cells
    maps = dic.heat_maps(points, 8, 12)
    assert maps.shape == (1, 3, 8, 12) and maps[0, 0, 5, 2] == 1 and maps[0, 1, 1, 10] == 1
    x, y = 5 / 4, 9 / 4
    assert maps[0, 2, 3, 4].item() == pytest.approx(
        math.exp(-((4 - x) ** 2 + (3 - y) ** 2) / 2), rel=1e-5
    )


def test_maps_are_merged_by_part():
    maps = torch.zeros(1, 68, 4, 4)
    for i in range(68):
        maps[0, i, 0, 0] = 0.5 + i  # a highest value of its own: each map counts as one
    assert torch.allclose(
        dic.merge_maps(maps)[0, :, 0, 0], torch.tensor([6.0, 6.0, 9.0, 20.0, 27.0])
    )
    maps[:] = 0.01  # below the floor of 0.05
    assert torch.allclose(
        dic.merge_maps(maps)[0, :, 0, 0], 0.2 * torch.tensor([6.0, 6.0, 9.0, 20.0, 27.0])
    )


def test_fusion_refines_five_groups_separately_and_sums_them_by_softmax():
    torch.manual_seed(0)
    fusion, x, parts = dic.Fusion(4, 2), torch.rand(1, 4, 5, 5), torch.randn(1, 5, 5, 5)
    y = fusion.expand(x)
    for block in fusion.blocks:
        pieces = []
        for g in range(5):  # the same layers with the group's own weights alone
            piece, own = y[:, 4 * g : 4 * g + 4], slice(4 * g, 4 * g + 4)
            for i in (0, 2):
                piece = F.conv2d(piece, block[i].weight[own], block[i].bias[own], padding=1)
                piece = F.leaky_relu(piece, 0.2) if i == 0 else piece
            pieces.append(piece)
        y = y + torch.cat(pieces, 1)
    weight = parts.exp() / parts.exp().sum(1, keepdim=True)
    expected = sum(weight[:, g : g + 1] * y[:, 4 * g : 4 * g + 4] for g in range(5))
    assert torch.allclose(fusion(x, parts), expected, atol=1e-5)


def slow_alignment(maps, points):
    total = 0.0
    for found in maps:
        errors = []
        for n in range(len(points)):
            for k in range(68):
                x, y = (points[n, k] / 4).tolist()
                if math.isnan(x):
                    continue
                for i in range(found.shape[2]):
                    for j in range(found.shape[3]):
                        errors.append(
                            (
                                found[n, k, i, j].item()
                                - math.exp(-((j - x) ** 2 + (i - y) ** 2) / 2)
                            )
                            ** 2
                        )
        total += sum(errors) / len(errors) if errors else 0.0
    return total


@pytest.mark.parametrize("unknown", ["none", "a landmark", "a face", "all"])
def test_nan_landmarks_are_left_out(unknown):
    _, _, points = batch(side=16)
    maps = [torch.rand(2, 68, 4, 4, requires_grad=True) for _ in range(2)]
    points[{"none": slice(0), "a landmark": (0, 3), "a face": 1, "all": slice(None)}[unknown]] = (
        torch.nan
    )
    loss = dic.alignment_loss(maps, points)
    loss.backward()
    assert loss.item() == pytest.approx(slow_alignment(maps, points), rel=1e-4, abs=1e-7)
    assert maps[0].grad.isfinite().all()
    if unknown == "a face":
        assert (maps[0].grad[1] == 0).all() and (maps[0].grad[0] != 0).any()


@pytest.mark.slow
def test_dicnets_objective():
    made, (lr, hr, points) = net(), batch()
    losses = dic.NET_OBJECTIVES["paper"](made)(made, Batch(lr, hr, points))
    faces, maps = made(lr)
    pixel = sum((face - hr).abs().mean().item() for face in faces)
    assert losses["loss"].item() == pytest.approx(
        pixel + 0.1 * slow_alignment(maps, points), rel=1e-4
    )
    assert all(p.requires_grad for p in made.parameters())
    losses["loss"].backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in made.parameters())


def test_the_hourglass_learns_from_landmarks_alone():
    made, (lr, hr, points) = net(), batch()
    losses = dic.NET_OBJECTIVES["paper"](made)(made, Batch(lr, hr, points))
    weights = list(made.hourglass.parameters())
    by_pixels = torch.autograd.grad(losses["pixel"], weights, retain_graph=True, allow_unused=True)
    assert all(g is None for g in by_pixels)
    assert all((g != 0).any() for g in torch.autograd.grad(losses["align"], weights))


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["paper", "code"])
def test_dicgans_objective(variant):
    made, (lr, hr, points) = net(), batch()
    objective = dic.GAN_OBJECTIVES[variant](made)
    losses = objective(made, Batch(lr, hr, points))
    with torch.no_grad():
        faces, maps = made(lr)
        last = faces[-1]
        # the released solver's quirk: the last face in place of every step's
        pixel = (
            4 * (last - hr).abs().mean()
            if variant == "code"
            else sum((face - hr).abs().mean() for face in faces)
        )
        feature = (objective.features(last)[-1] - objective.features(hr)[-1]).abs().mean()
        fake, real = (
            torch.sigmoid(objective.discriminator(last)),
            torch.sigmoid(objective.discriminator(hr)),
        )
        expected = (
            pixel + 0.1 * slow_alignment(maps, points) + 0.1 * feature - 0.005 * fake.log().mean()
        )
        assert losses["loss"].item() == pytest.approx(expected.item(), rel=1e-4)
        assert losses["discriminator"].item() == pytest.approx(
            -(real.log().mean() + (1 - fake).log().mean()).item(), rel=1e-4
        )


def test_the_released_quirk_changes_what_the_first_steps_learn():
    made, (lr, hr, points) = net(), batch()
    pixel = {
        name: make(made)(made, Batch(lr, hr, points))["pixel"]
        for name, make in dic.GAN_OBJECTIVES.items()
    }
    assert pixel["code"].item() != pytest.approx(pixel["paper"].item(), rel=1e-6)


def test_discriminators_do_not_teach_each_other_and_the_hourglass_holds_still():
    made, (lr, hr, points) = net(), batch()
    objective = dic.GAN_OBJECTIVES["paper"](made)
    losses = objective(made, Batch(lr, hr, points))
    losses["loss"].backward()
    assert all(p.grad is None for p in objective.discriminator.parameters())
    assert all(p.grad is None and not p.requires_grad for p in made.hourglass.parameters())
    assert any((p.grad != 0).any() for p in made.first.parameters())
    made.zero_grad(set_to_none=True)
    losses["discriminator"].backward()
    assert all(p.grad is None for p in made.parameters())
    assert all(p.grad is not None for p in objective.discriminator.parameters())
    assert all(not p.requires_grad for p in objective.features.parameters())


def test_the_discriminator_has_lightcnns_layout():
    with torch.device("meta"):
        discriminator = dic.LightCNN9()
        assert discriminator(torch.zeros(2, 3, 128, 128)).shape == (2, 1)
        assert discriminator.features(torch.zeros(1, 3, 128, 128)).shape == (1, 128, 8, 8)
    widths = [
        m.layer.weight.shape[0] // 2
        for m in discriminator.modules()
        if isinstance(m, dic.MaxFeatureMap)
    ]
    assert widths == [48, 48, 96, 96, 192, 192, 128, 128, 128, 256]
