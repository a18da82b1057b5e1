"""The cascade: a window gives the same inside an image and alone; its losses and its detections."""

import numpy as np
import pytest
import torch
from conftest import disc_scene
from lrface.data.windows import RANGES, STRIDE, cut, targets
from lrface.errors import UsageError
from lrface.metrics import match_detections
from lrface.models.detection import cascade
from lrface.models.detection.cascade import Cascade, FirstLoss, SecondLoss, Stage
from lrface.models.objective import Batch


def stage(name, number=1, seed=0):
    torch.manual_seed(seed)
    return Stage(RANGES[name].side, 4 if number == 1 else 5).eval()


@pytest.mark.parametrize("name", RANGES)
def test_the_whole_image_gives_what_its_windows_give(name):
    image = np.random.default_rng(0).integers(0, 256, (70, 93, 3)).astype(np.uint8)
    net, chosen = stage(name), RANGES[name]
    for level in chosen.levels[:2]:
        with torch.no_grad():
            found = net(cascade._reduced(image, chosen, level))[0]
        step, side = STRIDE * chosen.pool * level, chosen.window * level
        places = [(0, 0), (found.shape[1] - 1, found.shape[2] - 1), (1, 2)]
        squares = np.array([[x * step - side // 2, y * step - side // 2, side] for y, x in places])
        windows = torch.from_numpy(cut(image, squares, chosen.side)).permute(0, 3, 1, 2) / 255
        with torch.no_grad():
            alone = net(windows)[:, :, 0, 0]
        for (y, x), one in zip(places, alone, strict=True):
            assert torch.allclose(found[:, y, x], one, atol=2e-3)
        # every pixel of the image is within half a step of a window's centre
        assert (found.shape[1] - 1) * step >= 70 - step
        assert (found.shape[2] - 1) * step >= 93 - step


def window_labels(n=12, seed=0):
    random = np.random.default_rng(seed)
    labels = np.full((n, 8), np.nan, np.float32)
    labels[:, :4] = (0, -1, -1, -1)
    labels[: n // 3, :4] = np.eye(4)[random.integers(1, 4, n // 3)]
    labels[: n // 3, 0] = 1
    labels[: n // 3, 4:] = random.normal(0, 0.1, (n // 3, 4))
    return labels


class Constant(torch.nn.Module):
    """Gives the same numbers for every window."""

    def __init__(self, values):
        super().__init__()
        self.values = torch.nn.Parameter(torch.tensor(values, dtype=torch.float32))

    def forward(self, windows):
        return self.values.expand(len(windows), -1)[:, :, None, None]


@pytest.mark.parametrize("number, loss", [(1, FirstLoss()), (2, SecondLoss())])
def test_no_constant_is_below_the_trivial_loss(number, loss):
    labels = window_labels()
    face = labels[:, 0] == 1
    shares = np.array([face.mean(), *labels[face, 1:4].mean(0)])
    logits = np.log(np.clip(shares, 1e-9, 1) / np.clip(1 - shares, 1e-9, 1))
    best = logits if number == 1 else [logits[0], *labels[face, 4:].mean(0)]
    batch = Batch(torch.zeros(12, 3, 1, 1), torch.zeros(12, 3, 1, 1), None, torch.tensor(labels))
    least = cascade.trivial_loss(labels, number)
    net = Constant(best)
    found = loss(net, batch)["loss"]
    assert float(found) == pytest.approx(least, abs=1e-5)
    found.backward()
    assert net.values.grad.abs().max() < 1e-5
    assert float(loss(Constant(np.array(best) + 0.3), batch)["loss"]) > least


@pytest.mark.parametrize("side", [30, 60])
def test_the_second_stage_starts_without_an_opinion(side):
    """However large the features are that it takes over: a large first loss kills its ReLUs."""
    torch.manual_seed(0)
    net, windows = Stage(side, 5), torch.rand(12, 3, side, side)
    with torch.no_grad():
        net.body[-2].weight *= 100
    labels = window_labels()
    with torch.no_grad():
        loss = float(SecondLoss()(net, Batch(windows, windows, None, torch.tensor(labels)))["loss"])
    assert loss < 2 * cascade.trivial_loss(labels, 2)


@pytest.mark.parametrize("loss, outputs", [(FirstLoss(), 4), (SecondLoss(), 5)])
def test_a_window_without_a_face_teaches_no_height_and_no_box(loss, outputs):
    labels = torch.tensor([[0.0, -1, -1, -1, *4 * [np.nan]]])
    batch = Batch(torch.zeros(1, 3, 1, 1), torch.zeros(1, 3, 1, 1), None, labels)
    net = Constant(outputs * [0.7])
    loss(net, batch)["loss"].backward()
    assert net.values.grad[0] != 0 and (net.values.grad[1:] == 0).all()


def test_a_height_between_two_sub_classes_lies_between_theirs():
    chosen = RANGES["10-30"]

    class Two(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.unused = torch.nn.Parameter(torch.zeros(1))

        def forward(self, x):
            h, w = (side // STRIDE - 6 for side in x.shape[2:])
            return torch.tensor([0.0, 9, 9, -30])[None, :, None, None].expand(1, 4, h, w)

    boxes, _ = cascade.propose(Two(), chosen, np.zeros((40, 40, 3), np.uint8), most=3)
    assert boxes[:, 3] == pytest.approx(np.sqrt(chosen.heights[0] * chosen.heights[1]))
    assert boxes[:, 2] / boxes[:, 3] == pytest.approx(0.75)


def test_the_weaker_of_two_overlapping_boxes_goes():
    boxes = np.array([[0.0, 0, 10, 10], [1, 0, 10, 10], [30, 0, 10, 10]])
    assert cascade.suppressed(boxes, np.array([0.5, 0.9, 0.1]), 0.4).tolist() == [1, 2]
    assert cascade.suppressed(boxes, np.array([0.5, 0.9, 0.1]), 0.9).tolist() == [1, 0, 2]


def test_a_cascade_wants_both_stages_of_its_ranges():
    with pytest.raises(UsageError, match="two networks for each of its ranges"):
        Cascade({"10-30": stage("10-30")}, {})
    with pytest.raises(UsageError, match="two networks for each of its ranges"):
        Cascade({"5-10": stage("10-30")}, {"5-10": stage("10-30", 2)})


@pytest.mark.parametrize("shape", [(1, 1), (20, 300), (64, 64)])
def test_an_image_of_any_size_is_searched(shape):
    names = ("10-30", "240-480", "pyramid")
    net = Cascade({n: stage(n) for n in names}, {n: stage(n, 2) for n in names}, most=9)
    boxes, scores = net.detect(np.full((*shape, 3), 90, np.uint8))
    assert boxes.shape == (len(scores), 4) and (np.diff(scores) <= 0).all()
    proposed, chance = net.propose(np.full((*shape, 3), 90, np.uint8))
    assert len(proposed) <= 27 and (np.diff(chance) <= 0).all() and (chance > 0).all()
    with pytest.raises(UsageError, match="uint8"):
        net.detect(np.zeros((*shape, 3)))


def learnt(loss, outputs, windows, labels, steps, side=30):
    torch.manual_seed(0)
    net = Stage(side, outputs)
    optimiser = torch.optim.Adam(net.parameters(), 3e-3)
    seen, values = torch.from_numpy(windows).permute(0, 3, 1, 2) / 255, torch.from_numpy(labels)
    for _ in range(steps):
        optimiser.zero_grad()
        loss(net, Batch(seen, seen, None, values))["loss"].backward()
        optimiser.step()
    return net.eval()


@pytest.mark.slow
def test_it_finds_discs_after_learning_them():
    random, chosen = np.random.default_rng(0), RANGES["10-30"]
    scenes = [disc_scene(random, 120, (11, 28)) for _ in range(16)]
    stages = {}
    for number, loss, outputs in ((1, FirstLoss(), 4), (2, SecondLoss(), 5)):
        seen, labels = [], []
        for image, truth in scenes:
            side = np.full(len(truth), 30) if number == 1 else np.rint(1.5 * truth[:, 3])
            corner = np.rint(truth[:, :2] + truth[:, 2:] / 2 - side[:, None] / 2)
            squares = np.concatenate([corner, side[:, None]], 1).astype(int)
            away = np.concatenate([random.integers(0, 90, (12, 2)), np.full((12, 1), 30)], 1)
            k = np.digitize(truth[:, 3], chosen.edges[1:3])
            one = np.concatenate([np.ones((3, 1)), np.eye(3)[k], targets(squares, truth)], 1)
            middle = away[:, None, :2] + 15 - (truth[:, :2] + truth[:, 2:] / 2)
            free = (np.abs(middle) > 8).any(2).all(1)
            none = np.tile([0, -1, -1, -1, *4 * [np.nan]], (free.sum(), 1))
            seen.append(cut(image, np.concatenate([squares, away[free]]), 30))
            labels.append(np.concatenate([one, none]))
        labels = np.concatenate(labels).astype(np.float32)
        stages[number] = learnt(loss, outputs, np.concatenate(seen), labels, 60)
    detector = Cascade({"10-30": stages[1]}, {"10-30": stages[2]}, most=40)
    fresh = [disc_scene(random, 120, (11, 28)) for _ in range(6)]
    found = [detector.detect(image) for image, _ in fresh]
    assert match_detections([truth for _, truth in fresh], found).on().AP > 0.8
