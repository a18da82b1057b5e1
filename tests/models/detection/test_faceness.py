"""Faceness: sums by integral images, the configuration of parts, its learning, and proposals."""

import numpy as np
import pytest
import torch
from conftest import disc_scene
from hypothesis import given
from hypothesis import strategies as st
from lrface import data, degrade, models, runs
from lrface.data.part_windows import ATTRIBUTES, COLUMNS, PARTS
from lrface.data.windows import LABELS, overlaps, targets
from lrface.errors import UsageError
from lrface.models.detection import faceness, part_configuration
from lrface.models.detection.cascade import Stage
from lrface.models.detection.faceness import Faceness, PartLoss, PartNetworks
from lrface.models.detection.part_configuration import AROUND, Configuration, box_sums, integral
from lrface.models.objective import Batch
from lrface.training import cost_model


def networks(seed=0):
    torch.manual_seed(seed)
    return PartNetworks().eval()


def by_loops(image, box, region):
    """The sum of a map over a region of a box, cell by cell."""
    x, y, w, h = box
    left, top, right, bottom = (
        x + region[0] * w,
        y + region[1] * h,
        x + region[2] * w,
        y + region[3] * h,
    )
    total = 0.0
    for row in range(image.shape[0]):
        for column in range(image.shape[1]):
            across = min(right, column + 1) - max(left, column)
            down = min(bottom, row + 1) - max(top, row)
            total += image[row, column] * max(across, 0) * max(down, 0)
    return total


places = st.floats(-3, 12, allow_subnormal=False)
sides = st.floats(0.1, 9)


@given(st.tuples(places, places, sides, sides), st.integers(0, 99))
def test_an_integral_image_gives_the_sum_over_a_box(box, seed):
    random = np.random.default_rng(seed)
    maps = random.random((2, 7, 9))
    region = np.sort(random.uniform(-0.4, 1.2, (2, 2)), 0).ravel()
    tables = integral(maps)
    assert tables.shape == (2, 8, 10)
    for which in (0, 1):
        found = box_sums(tables, np.array([box]), region, which)
        assert found[0] == pytest.approx(by_loops(maps[which], box, region), abs=1e-9)
    both = box_sums(tables, np.array([box, box]), region, np.array([0, 1]))
    assert both[1] == pytest.approx(found[0])


REGIONS = np.array(
    [
        [0.125, -0.25, 0.875, 0.125],  # hair
        [0.125, 0.25, 0.875, 0.5],  # eyes
        [0.375, 0.375, 0.625, 0.75],  # nose
        [0.25, 0.75, 0.75, 0.875],  # mouth
        [0.125, 0.75, 0.875, 1],  # beard
    ]
)
PLANTED = Configuration(REGIONS, np.full(5, 0.05), np.ones(5), np.zeros(5))
FACE = np.array([20.0, 18, 12, 16])


def planted(box=FACE, shape=(60, 64), parts=range(5), level=1.0):
    """Maps in which each part responds where the face in a box has it, and nowhere else."""
    maps = np.zeros((5, *shape))
    rows, columns = (np.arange(n) + 0.5 for n in shape)
    for k in parts:
        left, top = box[:2] + REGIONS[k, :2] * box[2:]
        right, bottom = box[:2] + REGIONS[k, 2:] * box[2:]
        inside = ((rows > top) & (rows < bottom))[:, None] & ((columns > left) & (columns < right))
        maps[k][inside] = level
    return maps


def everywhere(height=16.0):
    x, y = np.meshgrid(np.arange(2, 48.0), np.arange(6, 40.0))
    boxes = np.stack([x, y, np.full_like(x, 0.75 * height), np.full_like(x, height)], -1)
    return boxes.reshape(-1, 4)


def test_the_window_whose_parts_are_where_they_should_be_scores_highest():
    boxes = np.concatenate([everywhere(16), everywhere(11), everywhere(23)])
    scores = PLANTED.faceness(integral(planted()), boxes)
    assert np.array_equal(boxes[scores.argmax()], FACE)
    # the same parts upside down are no face
    wrong = planted()[[4, 1, 2, 3, 0]]
    assert PLANTED.faceness(integral(wrong), FACE[None]) < scores.max() / 2
    # nor is a map that responds everywhere alike: it says nothing
    flat = PLANTED.faceness(integral(np.ones((5, 60, 64))), everywhere()[::99])
    assert np.allclose(flat, 0)


def test_a_hidden_part_costs_only_its_own_evidence():
    whole = PLANTED.ratios(integral(planted()), FACE[None])[0]
    hidden = PLANTED.ratios(integral(planted(parts=(0, 1, 2))), FACE[None])[0]
    assert hidden[:3] == pytest.approx(whole[:3]) and hidden[3:] == pytest.approx(0)
    boxes = everywhere()
    scores = PLANTED.faceness(integral(planted(parts=(0, 1, 2))), boxes)
    assert np.array_equal(boxes[scores.argmax()], FACE)


@given(st.integers(-8, 12), st.integers(-4, 12), st.floats(0.1, 10))
def test_faceness_moves_with_the_face_and_does_not_depend_on_the_strength(dx, dy, strength):
    moved = FACE + (dx, dy, 0, 0)
    here = PLANTED.faceness(integral(planted()), FACE[None])
    there = PLANTED.faceness(integral(planted(moved)), moved[None])
    assert there == pytest.approx(here)
    louder = Configuration(REGIONS, strength * PLANTED.floor, PLANTED.slope, PLANTED.middle)
    assert louder.faceness(integral(planted(level=strength)), FACE[None]) == pytest.approx(here)


def test_a_face_of_twice_the_size_in_maps_of_twice_the_size_has_the_same_faceness():
    maps = planted()
    large = maps.repeat(2, 1).repeat(2, 2)
    scores = [PLANTED.faceness(integral(m), b[None]) for m, b in ((maps, FACE), (large, 2 * FACE))]
    assert scores[0] == pytest.approx(scores[1])


def test_the_region_of_a_part_is_found_from_boxes():
    random = np.random.default_rng(0)
    tables, boxes, on_face = [], [], []
    for _ in range(40):
        face = np.array([random.uniform(6, 10), random.uniform(8, 12), 12, 16]).round()
        tables.append(integral(planted(face, (40, 30))[3] + 0.05 * random.random((40, 30))))
        others = face + random.uniform(-4, 4, (60, 4)) * (1, 1, 1.5, 1.5)
        others = others[overlaps(others, face[None])[:, 0] < 0.6][:8]
        boxes.append([face + random.uniform(-0.5, 0.5, 4), *others])
        on_face += [True] + 8 * [False]
    which, tables = np.repeat(np.arange(40), 9), np.stack(tables)
    boxes, on_face = np.concatenate(boxes), np.array(on_face)
    region, slope, middle = part_configuration.best_region(tables, which, boxes, on_face, 0.02)
    assert np.abs(region - REGIONS[3]).max() <= 0.25 and slope > 0
    how = Configuration(region[None], np.array([0.02]), np.array([slope]), np.array([middle]))
    found = [how.faceness(tables[[w]], box[None])[0] for w, box in zip(which, boxes, strict=True)]
    assert np.mean((np.array(found) > 0) == on_face) > 0.8
    nothing = part_configuration.best_region(tables, which, boxes, on_face | True, 0.02)
    assert nothing[0].tolist() == [0, 0, 1, 1] and nothing[1:] == (0, 0)


def labelled(n=8, side=56, seed=0):
    random = np.random.default_rng(seed)
    labels = np.zeros((n, len(COLUMNS)), np.float32)
    labels[:, -4:] = np.nan
    labels[: n // 2, 0] = 1
    labels[: n // 2, 1:-4] = random.random((n // 2, len(ATTRIBUTES))) < 0.4
    box = np.tile([16.0, 13, 24, 30], (n // 2, 1))
    labels[: n // 2, -4:] = targets(np.tile([0, 0, side], (n // 2, 1)), box)
    images = torch.from_numpy(random.random((n, 3, side, side), np.float32))
    images[: n // 2, :, 13:43, 16:40] = 1
    return Batch(images, images, None, torch.from_numpy(labels))


class Constant(torch.nn.Module):
    """Gives the same logits for every window."""

    def __init__(self, attributes, there):
        super().__init__()
        self.values = torch.nn.Parameter(torch.tensor(np.concatenate([attributes, there])).float())

    def forward(self, windows):
        attributes, there = self.values.split([len(ATTRIBUTES), len(PARTS)])
        n = len(windows)
        return windows, attributes.expand(n, -1), there.expand(n, -1)


def test_no_constant_is_below_the_trivial_loss():
    batch = labelled(40)
    labels = batch.labels.numpy()
    face = labels[:, 0] == 1
    share = labels[face, 1:-4].mean(0).clip(1e-6, 1 - 1e-6)
    present = np.full(len(PARTS), face.mean())
    logits = [np.log(p / (1 - p)) for p in (share, present)]
    least = float(faceness.trivial_loss(batch.labels))
    assert float(PartLoss()(Constant(*logits), batch)["loss"].detach()) == pytest.approx(
        least, abs=1e-4
    )
    worse = Constant(logits[0] + 0.3, logits[1])
    assert float(PartLoss()(worse, batch)["loss"].detach()) > least


def test_attributes_are_asked_of_faces_alone():
    batch = labelled()
    net = Constant(np.zeros(25), np.zeros(5))
    before = float(PartLoss()(net, batch)["loss"].detach())
    batch.labels[4:, 1:-4] = 1  # what a background window "shows" does not count
    assert float(PartLoss()(net, batch)["loss"].detach()) == before


def test_each_part_learns_its_own_attributes_and_a_step_lowers_the_loss():
    batch, net = labelled(), PartNetworks().train()
    _, attributes, there = net(batch.hr)
    assert attributes.shape == (8, 25) and there.shape == (8, 5)
    (gradient,) = torch.autograd.grad(
        attributes[:, : len(PARTS["hair"])].sum(), net.parts["eye"][0].weight, allow_unused=True
    )[:1] or (None,)
    assert gradient is None or not gradient.any()
    optimiser, losses = torch.optim.Adam(net.parameters(), 1e-2), []
    for _ in range(12):
        loss = PartLoss()(net, batch)["loss"]
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.7 * losses[0]


def test_the_configuration_is_learnt_and_stored_with_the_weights():
    net, asked = networks(), []

    def faces(most):
        asked.append(most)
        yield labelled(24)
        yield labelled(24, seed=1)

    faceness.learn_configuration(net, faces)
    assert asked == [faceness.SEEN]
    how = net.configuration
    assert (how.floor > 0).all() and (how.slope > 0).all()
    assert (how.regions[:, :2] >= AROUND[:2]).all() and (how.regions[:, 2:] <= AROUND[2:]).all()
    assert np.allclose(how.regions[:, 0], 1 - how.regions[:, 2])
    again = PartNetworks()
    again.load_state_dict(net.state_dict())
    assert np.array_equal(again.configuration.regions, how.regions)
    faceness.learn_configuration(again.eval(), faces)
    assert np.array_equal(again.configuration.slope, how.slope)


def test_maps_lie_where_the_image_does():
    net = networks()
    image = np.random.default_rng(0).integers(0, 256, (64, 80, 3)).astype(np.uint8)
    whole = faceness.partness(net, image, 1.0)
    inner = faceness.partness(net, image[16:, 24:], 1.0)
    # far from the edges, a cell of the cut image is the cell four rows and six columns on
    assert np.allclose(inner[:, 8:14, 8:16], whole[:, 12:18, 14:22], atol=1e-5)
    for level in faceness.LEVELS:
        maps = faceness.partness(net, image, level)
        assert maps.shape[0] == 5 and maps.shape[1] * 4 * level >= 64 + 32 * level


def test_a_window_is_scored_at_the_level_of_its_height():
    net, seen = networks(), []
    image = np.random.default_rng(0).integers(0, 256, (96, 96, 3)).astype(np.uint8)
    boxes = np.array([[8.0, 8, 18, 24], [8, 8, 36, 48], [30, 30, 7.5, 10], [0, 0, 3, 4]])
    original = faceness.partness

    def watched(net, image, level):
        seen.append(level)
        return original(net, image, level)

    faceness.partness = watched
    try:
        together = faceness.faceness(net, image, boxes)
        assert seen == [0.5, 1.0, 2.0]
        alone = [faceness.faceness(net, image, box[None])[0] for box in boxes]
    finally:
        faceness.partness = original
    assert together == pytest.approx(alone)


@pytest.mark.parametrize("boxes", [np.zeros((2, 4)), np.ones(4), np.ones((2, 3))])
def test_wrong_boxes_are_refused(boxes):
    with pytest.raises(UsageError, match="want boxes"):
        faceness.faceness(networks(), np.zeros((64, 64, 3), np.uint8), boxes)


def test_proposals_are_windows_in_the_order_of_their_faceness():
    image, _ = disc_scene(np.random.default_rng(0), 96, (20, 40))
    net = networks()
    given = np.array([[10.0, 10, 15, 20], [60, 60, 15, 20], [60.2, 60, 15, 20], [30, 40, 22, 30]])
    one = Faceness(net, {}, windows=lambda image: (given, np.zeros(4)))
    boxes, scores = one.propose(image)
    assert len(boxes) == 3  # of two that are the same nearly, the better one
    assert scores == pytest.approx(faceness.faceness(net, image, boxes))
    assert (np.diff(scores) <= 0).all()
    assert len(Faceness(net, {}, one.windows, most=1).propose(image)[0]) == 1
    nothing = Faceness(net, {}, windows=lambda image: (np.zeros((0, 4)), np.zeros(0)))
    assert nothing.propose(image)[0].shape == (0, 4)


def test_the_second_stage_decides_what_a_face_is():
    image, _ = disc_scene(np.random.default_rng(0), 96, (20, 40))
    torch.manual_seed(0)
    second = {"10-30": Stage(30, 5).eval(), "30-120": Stage(60, 5).eval()}
    one = Faceness(networks(), second, most=30)
    boxes, scores = one.detect(image)
    assert boxes.shape == (len(scores), 4) and ((scores > 0) & (scores < 1)).all()
    again = one.detect(image)
    assert np.array_equal(boxes, again[0]) and np.array_equal(scores, again[1])
    small = one.detect(np.zeros((9, 7, 3), np.uint8))
    assert small[0].shape[1] == 4


@pytest.mark.parametrize("image", [np.zeros((20, 20), np.uint8), np.zeros((20, 20, 3)), None])
def test_an_image_that_is_none_is_refused(image):
    with pytest.raises(UsageError, match="a detector wants an image"):
        Faceness(networks(), {"10-30": Stage(30, 5).eval()}).detect(image)


def test_a_wrong_second_stage_is_refused():
    with pytest.raises(UsageError, match="the ranges of a second stage are 10-30"):
        Faceness(networks(), {"10-20": None})
    with pytest.raises(UsageError, match="proposes faces and detects none"):
        Faceness(networks(), {}).detect(np.zeros((30, 30, 3), np.uint8))


def config(**changes):
    fields = dict(data="rendered-crowds", degradation=degrade.HR, steps=2, batch=6, loss="paper")
    return runs.Config(method="Faceness", n_train=2, **(fields | changes))


def test_wrong_configs_are_refused():
    for wrong in ({"patch": 16}, {"degradation": degrade.setting("2x")}):
        with pytest.raises(ValueError, match="learns from whole windows as they are"):
            config(**wrong)
    with pytest.raises(UsageError, match="wider does not know its faces' attributes"):
        runs.fit(config(data="wider"))
    assert models.find("Faceness").labels == "parts"


def test_its_training_can_be_planned():
    cost = cost_model.plan([config(batch=64)], 1000).iloc[0]
    assert cost["parameters"] < 60_000 and cost["macs"] > 1e6


@pytest.mark.slow
def test_part_networks_are_a_run_like_all_others(monkeypatch):
    # the test crowds are at hand, training ones would be rendered
    windows = data.load_part_windows("rendered-crowds", "test", 2, count=6)
    monkeypatch.setattr(data, "held_out", lambda *_: windows.table.iloc[:0])
    run = runs.fit(config(), windows)
    assert run.record["key"] == runs.key_for(config(), windows) and run.source == "trained"
    assert runs.fit(config(), windows).source == "cached"
    net = run.model()
    assert not net.training and (net.configuration.floor != 1).all()
    assert set(LABELS[-4:]) <= set(windows.columns)
    boxes, _ = Faceness(net, {}, most=5).propose(np.zeros((64, 64, 3), np.uint8))
    assert len(boxes) <= 5
