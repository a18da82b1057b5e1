"""The cost model: known answers, and nothing allocated."""

import resource

import pytest
from lrface import degrade, models, runs
from lrface.errors import LrfaceError
from lrface.models.losses import frozen
from lrface.training import cost_model, throughput
from torch import nn


def config(method="SRCNN", setting="4x", **changes):
    loss = "paper" if "paper" in models.METHODS[method].objectives else "l1"
    fields = {
        "degradation": degrade.setting(setting),
        "data": "celeba",
        "size": "paper",
        "steps": 100,
        "loss": loss,
    }
    return runs.Config(method=method, **(fields | changes))


@pytest.fixture
def toy(monkeypatch):
    """Two convolutions, the second in four groups, for 2x."""

    def build(scale, size):
        return nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(8, 12, 3, padding=1, groups=4),
            nn.PixelShuffle(2),
        )

    monkeypatch.setitem(models.METHODS, "Toy", models.Method("Toy", build, "a test"))
    return config("Toy", "2x", batch=5, patch=32)


def test_a_network_counted_by_hand(toy):
    found = cost_model.cost(toy)
    weights, pixels = (3 * 8 * 9 + 8) + (2 * 12 * 9 + 12), 16 * 16
    assert found.parameters == weights
    # the input has no gradient, so the first convolution is computed twice and the second three
    # times
    assert found.macs == pixels * (2 * 3 * 8 * 9 + 3 * 2 * 12 * 9)
    # the input, the rectified features (kept by two operations, counted once), and L1's difference
    # of the two faces
    assert found.activations == 5 * 4 * pixels * (3 + 8 + 12)
    assert found.weights == 4 * 4 * weights


def test_twice_the_batch_has_twice_the_activations_and_the_same_weights(toy):
    small, large = cost_model.cost(toy), cost_model.cost(toy.model_copy(update={"batch": 10}))
    assert (
        large.activations == 2 * small.activations
        and large[:2] == small[:2]
        and large.weights == small.weights
    )


@pytest.mark.parametrize("method", ["SRCNN", "EDSR"])
def test_parameters_and_operations_are_those_of_the_network(method):
    counted = models.cost(net := models.restorer(method, 4, "paper"), 32)
    first = next(m for m in net.modules() if isinstance(m, nn.Conv2d))
    found = cost_model.cost(config(method))
    assert found.parameters == counted["parameters"] == sum(p.numel() for p in net.parameters())
    # forward, and twice as much backward, but for the gradient of the input; what enlarges the
    # input of SRCNN has none either
    side = 128 if method == "SRCNN" else 32
    interpolated = cost_model.cost(config("bicubic")).macs if method == "SRCNN" else 0
    assert (
        found.macs
        == 3 * (counted["macs"] - interpolated) + interpolated - first.weight.numel() * side**2
    )


def test_steps_epochs_and_times(toy):
    start = toy.model_copy(update={"steps": 7})
    table = cost_model.plan(
        [toy, toy.model_copy(update={"init": start}), toy, toy.model_copy(update={"n_train": 50})],
        1000,
    )
    assert table["steps"].tolist() == [
        100,
        7,
        100,
        100,
    ]  # a config twice is one network, and a start is one too
    assert table["epochs"].tolist() == [0.5, 0.035, 0.5, 10.0]
    assert table["setting"].tolist() == ["2x"] * 4 and table["batch"].tolist() == [5] * 4
    assert table["memory_gb"][0] == cost_model.cost(toy).memory / 1e9


def test_a_step_takes_what_its_slowest_part_takes(toy, monkeypatch):
    step, faces = cost_model.cost(toy), 1000
    parts = {
        "compute": 100 * 5 * 2 * step.macs / cost_model.FLOPS,
        "launches": 100 * step.launches * cost_model.LAUNCH,
        "input": 500 * cost_model.DECODE / cost_model.CORES,
    }

    def found():
        row = cost_model.plan([toy], faces).iloc[0]
        return row["bound"], row["seconds_1_gpu"], row["seconds_8_gpus"]

    # one CPU sends the kernels of a step however many GPUs share the batch
    assert found() == ("input", parts["input"], parts["launches"])
    monkeypatch.setattr(cost_model, "DECODE", 0)
    assert found() == ("launches", parts["launches"], parts["launches"])
    monkeypatch.setattr(cost_model, "LAUNCH", 0)
    assert found() == ("compute", parts["compute"], pytest.approx(parts["compute"] / 7.2))


def test_launches_are_counted_by_hand(toy):
    # two convolutions and a rectifier forward and backward, L1 and its gradient; views are free
    launches = cost_model.cost(toy).launches - cost_model.ADAM_LAUNCHES
    assert 8 <= launches <= 20
    paper = cost_model.cost(config("EDSR"))
    assert paper.launches > 10 * launches


def test_a_closed_form_has_one_pass_and_no_optimiser():
    row = cost_model.plan([config("Eigenface", batch=16)], 1000).iloc[0]
    net = models.restorer("Eigenface", 4, "paper")
    assert row["steps"] == 63 and row["epochs"] == 1 and row["macs"] == models.cost(net, 32)["macs"]
    assert (
        row["memory_gb"]
        == (sum(b.nbytes for b in net.buffers()) + 16 * 4 * 3 * (32**2 + 128**2)) / 1e9
    )


class Judged(nn.Module):
    """A discriminator of 28 weights and a frozen layer of 12, for networks of RGB faces."""

    def __init__(self, net):
        super().__init__()
        self.discriminator, self.features = (
            nn.Conv2d(3, 1, 3),
            nn.Conv2d(3, 3, 1).requires_grad_(False),
        )

    def forward(self, net, batch):
        sr = net(batch.lr)
        with frozen(self.discriminator):
            loss = self.features(sr).square().mean() - self.discriminator(sr).mean()
        return {
            "loss": loss,
            "discriminator": self.discriminator(sr.detach()).mean()
            - self.discriminator(batch.hr).mean(),
        }


def test_the_objective_s_own_networks_count(toy, monkeypatch):
    method = models.Method(
        "Toy", models.METHODS["Toy"].build, "a test", objectives={"paper": Judged}
    )
    monkeypatch.setitem(models.METHODS, "Toy", method)
    plain, judged = cost_model.cost(toy), cost_model.cost(toy.model_copy(update={"loss": "paper"}))
    assert judged.parameters == plain.parameters
    assert judged.weights - plain.weights == 4 * 4 * 28 + 4 * 12
    # the frozen layers pass gradients to the face (twice their forward); the discriminator's two
    # passes give its weights theirs (twice, too)
    assert judged.macs - plain.macs == 2 * 3 * 3 * 32**2 + (2 + 2 + 2) * 27 * 30**2
    # the face once for all three, the true face, and the features that are squared, instead of the
    # difference
    assert judged.activations - plain.activations == 5 * 4 * 3 * 32**2 * (3 - 1)


def test_a_recogniser_needs_the_number_of_identities():
    chosen = runs.Config(
        method="FRNET", degradation=degrade.HR, data="celeba", steps=10, loss="softmax"
    )
    with pytest.raises(LrfaceError, match="number of training identities"):
        cost_model.plan([chosen], 100)
    expected = sum(p.numel() for p in models.recogniser("FRNET", 40).parameters())
    assert cost_model.plan([chosen], 100, 40)["parameters"][0] == expected


@pytest.mark.slow
def test_a_preprocessor_counts():
    fields = {
        "data": "celeba",
        "steps": 10,
        "batch": 2,
        "degradation": degrade.setting("4x"),
        "loss": "paper",
    }
    restorer = runs.Config(method="SRNET", **fields)
    plain, behind = (
        runs.Config(method="FRNET", preprocessor=given, **fields) for given in (None, restorer)
    )
    table = cost_model.plan([behind, plain, runs.Config(method="Joint", **fields)], 100, 40)
    assert table["method"].tolist() == ["SRNET", "FRNET", "FRNET", "Joint"]
    alone, after, without, joint = table["parameters"]
    assert after == without and joint == alone + without
    forward = models.cost(models.restorer("SRNET", 4), 32)["macs"]
    assert cost_model.cost(behind, 40).macs - cost_model.cost(plain, 40).macs == forward
    assert (
        cost_model.cost(behind, 40).weights - cost_model.cost(plain, 40).weights == 4 * alone
    )  # frozen: no gradient, no moments


def test_a_network_that_needs_numbers_is_refused_in_one_sentence(toy, monkeypatch):
    class Looks(nn.Conv2d):
        def forward(self, x):
            return super().forward(x) if x.mean() > 0 else x

    monkeypatch.setitem(
        models.METHODS, "Toy", models.Method("Toy", lambda scale, size: Looks(3, 3, 1), "a test")
    )
    with pytest.raises(LrfaceError, match="needs numbers where only shapes are known"):
        cost_model.plan([toy], 10)


def plans(pairs):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    table = cost_model.plan([config(method, f"{scale}x") for method, scale in pairs], 1_360_000)
    assert (
        resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    ) / 1024 < 500  # MB; the largest would need gigabytes
    assert list(zip(table["method"], table["setting"], strict=True)) == [
        (method, f"{scale}x") for method, scale in pairs
    ]
    assert (table["macs"] > 0).all() and (table["memory_gb"] > 0).all()
    assert (table.loc[table["method"] != "bicubic", "seconds_1_gpu"] > 0).all()
    return table


@pytest.mark.slow
def test_paper_size_allocates_nothing():
    table = plans([(name, 4) for name in ("bicubic", "SRCNN", "WaveletSRNet", "Eigenface")])
    assert table["memory_gb"].max() > 1


@pytest.mark.slow
def test_every_method_at_paper_size_at_every_scale():
    scales = [int(name[:-1]) for name in degrade.SETTINGS if name.endswith("x")]
    methods = models.METHODS.items()
    pairs = [(name, s) for name, method in methods for s in method.scales if s in scales]
    table = plans(pairs)
    assert table["memory_gb"].max() > 5


def test_an_attribute_network_ends_in_as_many_outputs_as_the_set_has_attributes():
    fields = {
        "degradation": degrade.HR,
        "data": "synthetic",
        "loss": "logistic",
        "steps": 10,
        "batch": 4,
    }
    one = runs.Config(method="ANet-like", **fields)
    assert cost_model.cost(one, 282, 36).parameters == sum(
        p.numel() for p in models.recogniser("ANet-like", 36).parameters()
    )
    with pytest.raises(LrfaceError, match="number of attributes"):
        cost_model.cost(one, 282)


def test_a_training_in_stages_is_planned_as_one():
    chosen = config("CBN", size="narrow", loss="even", batch=2)
    whole, common = cost_model.cost(chosen), cost_model.cost(config("CBN-common", size="narrow"))
    assert 0 < common.macs < whole.macs and 0 < common.launches < whole.launches
    assert whole.memory > whole.weights > common.weights


def test_the_time_of_a_core_is_of_its_operations_and_of_the_bytes_it_moves(toy):
    core, step = throughput.Throughput(flops=1e9, bytes=1e8), cost_model.cost(toy)
    trainings = [(toy, 1000, None, None), (toy.model_copy(update={"steps": 200}), 1000, None, None)]
    table = cost_model.table(trainings, core)
    moved = 100 * (step.moved + 3 * step.weights)
    expected = 100 * 5 * 2 * step.macs / core.flops + moved / core.bytes
    assert table[cost_model.CPU].tolist() == pytest.approx([expected, 2 * expected])
    assert step.moved > 2 * step.activations


def test_throughput_is_measured_once(monkeypatch):
    first = throughput.measured()
    assert first.flops > 1e8 and first.bytes > 1e7
    monkeypatch.setattr(throughput, "_flops", lambda: 1 / 0)
    assert throughput.measured() == first
