"""Which device networks run on, and the arithmetic on it."""

import subprocess

import pytest
import torch
from conftest import noise, train_tiny
from lrface import degrade, models, numerics
from lrface.errors import LrfaceError
from lrface.execution import kernel
from lrface.models import losses
from lrface.models.recognition.dlib_resnet import DlibResNet
from lrface.training import loop

OLD = {"name": "Tesla K80", "capability": "3.7", "driver": "470.82.01", "uuid": "GPU-1"}
TOO_OLD = "CUDA error: no kernel image is available for execution on the device"


def refused():
    return TOO_OLD


def nothing():
    return None


def usable():
    return ""


@pytest.fixture
def old_card(monkeypatch):
    monkeypatch.setattr(numerics, "gpu", lambda: OLD)
    numerics.accelerator.cache_clear()
    yield
    numerics.accelerator.cache_clear()


def test_a_gpu_that_cannot_be_used_gives_way_to_the_cpu_under_auto_with_one_sentence(
    old_card, capsys
):
    assert numerics.accelerator("auto", probe=refused) == "cpu"
    assert numerics.accelerator("auto", probe=refused) == "cpu"
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("lrface: the GPU (Tesla K80, compute capability 3.7, driver 470.82.01)")
    assert "no kernel image" in line and "driver 580 or newer" in line
    assert line.endswith("networks run on the CPU")


@pytest.mark.parametrize("asked", ["gpu", "cuda"])
def test_a_gpu_that_is_asked_for_and_cannot_be_used_is_refused(old_card, asked):
    what = f"LRFACE_DEVICE={asked} needs a GPU, and the GPU .*capability 3.7, driver 470.82.01"
    with pytest.raises(LrfaceError, match=what):
        numerics.accelerator(asked, probe=refused)
    with pytest.raises(LrfaceError, match=f"LRFACE_DEVICE={asked} needs a GPU and PyTorch.* none"):
        numerics.accelerator(asked, probe=nothing)


def test_a_preset_needs_a_gpu_under_auto_and_none_under_cpu(old_card):
    with pytest.raises(LrfaceError, match="preset gpu needs a GPU, and the GPU"):
        numerics.accelerator("auto", "preset gpu", refused)
    assert numerics.accelerator("cpu", "preset gpu", refused) == "cpu"
    assert numerics.accelerator("auto", "preset gpu", usable) == "cuda"
    assert numerics.accelerator("auto", probe=nothing) == "auto"


def test_without_a_gpu_nothing_is_probed_and_the_runner_asks_another_process(monkeypatch):
    kernel._gpu_problem.cache_clear()
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert numerics.gpu_problem.__wrapped__() is None and kernel._gpu_problem() is None
    kernel._gpu_problem.cache_clear()
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    done = subprocess.CompletedProcess([], 0, 'a warning\n"driver too old"\n', "")
    monkeypatch.setattr(kernel.subprocess, "run", lambda *words, **options: done)
    assert kernel._gpu_problem() == "driver too old"
    kernel._gpu_problem.cache_clear()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_driver_that_lists_a_gpu_is_not_believed(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)  # as NVML says of an old driver
    assert numerics.gpu_problem.__wrapped__()


def test_gpu_reads_the_driver_s_own_tool(monkeypatch):
    said = "NVIDIA H100, 9.0, 580.65.06, GPU-abc\nNVIDIA H100, 9.0, 580.65.06, GPU-def\n"
    asked = []

    def run(words, **options):
        asked.append(words)
        return subprocess.CompletedProcess(words, 0, said, "")

    monkeypatch.setattr(numerics.subprocess, "run", run)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1,0")
    expected = {"name": "NVIDIA H100", "capability": "9.0", "driver": "580.65.06"}
    assert numerics.gpu.__wrapped__() == expected | {"uuid": "GPU-abc"}
    assert asked[0][-2:] == ["-i", "1"]
    monkeypatch.setattr(numerics.subprocess, "run", lambda *a, **o: (_ for _ in ()).throw(OSError))
    assert numerics.gpu.__wrapped__() == {}


def test_on_a_cpu_nothing_is_set():
    cpu = torch.device("cpu")
    before = torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.conv.fp32_precision
    numerics.prepare(cpu)
    with numerics.training(cpu):
        after = torch.are_deterministic_algorithms_enabled()
        assert (after, torch.backends.cudnn.conv.fp32_precision) == before


def test_on_a_gpu_training_alone_uses_tf32(monkeypatch):
    cuda, backends = torch.device("cuda"), (torch.backends.cuda.matmul, torch.backends.cudnn.conv)
    before = [one.fp32_precision for one in backends]
    try:
        for one in backends:
            one.fp32_precision = "ieee"  # as prepare leaves it
        with numerics.training(cuda):
            assert [one.fp32_precision for one in backends] == ["tf32", "tf32"]
            with numerics._float32(cuda, "ieee"):  # validation, alignment, degradation
                assert [one.fp32_precision for one in backends] == ["ieee", "ieee"]
            assert [one.fp32_precision for one in backends] == ["tf32", "tf32"]
        assert [one.fp32_precision for one in backends] == ["ieee", "ieee"]
    finally:
        for one, value in zip(backends, before, strict=True):
            one.fp32_precision = value


def test_ieee_float32_holds_within_autocast():
    faces, cpu = torch.rand(1, 3, 8, 8), torch.device("cpu")
    expected = degrade.setting("2x")(faces)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(degrade.setting("2x")(faces), expected)
        with numerics.ieee_float32(cpu):
            assert (faces @ faces).dtype == torch.float32
    with numerics.ieee_float32(torch.device("meta")):  # has no autocast
        pass


class Seen(losses.Pixelwise):
    """Notes the types of what a network is given and gives."""

    def forward(self, net, batch):
        restored = net(batch.lr)
        self.types = {batch.lr.dtype, batch.hr.dtype, restored.dtype}
        return {"loss": self.loss(restored, batch.hr)}


def test_bf16_reaches_the_network_s_layers_and_nothing_else(tmp_path, monkeypatch):
    monkeypatch.setattr(numerics, "bf16_is_fast", lambda device: True)
    torch.manual_seed(0)
    net, inside = models.restorer("SRCNN", 4), []
    conv = next(m for m in net.modules() if isinstance(m, torch.nn.Conv2d))
    conv.register_forward_hook(lambda module, given, out: inside.append(out.dtype))
    objective = Seen("l1")
    fields = dict(steps=1, batch=2, patch=32, lr=1e-3, precision="bf16-autocast")
    trained, _, _ = train_tiny(net, noise(4, 64), "4x", objective, tmp_path / "a.pt", **fields)
    assert inside == [torch.bfloat16] and objective.types == {torch.float32}
    assert {w.dtype for w in trained.state_dict().values()} == {torch.float32}
    trained.eval()(torch.rand(1, 3, 8, 8))
    assert inside[-1] == torch.float32  # validation and scores


@pytest.mark.parametrize("fast", (True, False))
def test_a_record_says_what_bf16_was_computed_in(fast, tmp_path, monkeypatch):
    monkeypatch.setattr(numerics, "bf16_is_fast", lambda device: fast)
    net, inside = models.restorer("SRCNN", 4), []
    conv = next(m for m in net.modules() if isinstance(m, torch.nn.Conv2d))
    conv.register_forward_hook(lambda module, given, out: inside.append(out.dtype))
    fields = dict(steps=1, batch=2, patch=32, lr=1e-3, precision="bf16-autocast")
    how = (Seen("l1"), tmp_path / "a.pt")
    *_, facts = train_tiny(net, noise(4, 64), "4x", *how, **fields)
    assert facts["computed_in"] == ("bf16-autocast" if fast else "32-true")
    assert inside == [torch.bfloat16 if fast else torch.float32]


@pytest.mark.slow
def test_bf16_changes_a_loss_by_rounding_only(tmp_path, monkeypatch):
    """The joint model aligns by landmarks, which bfloat16 would move by half a pixel."""
    monkeypatch.setattr(numerics, "bf16_is_fast", lambda device: True)
    points = torch.rand(4, 68, 2, generator=torch.Generator().manual_seed(0)) * 40 + 40
    found = {}
    for precision in ("32-true", "bf16-autocast"):
        torch.manual_seed(0)
        net = models.build("Joint", 4, classes=4)
        objective = models.find("Joint").objectives["paper"](net)
        given = dict(landmarks=points.numpy(), labels=torch.arange(4).numpy())
        fields = dict(steps=1, batch=4, patch=None, lr=1e-4, precision=precision)
        how = (tmp_path / precision, precision)
        found[precision] = train_tiny(net, noise(4, 128), "4x", objective, *how, **given, **fields)
    plain, half = (log[0]["loss"] for _, log, _ in found.values())
    assert half == pytest.approx(plain, rel=0.01)


def test_the_judge_is_exact_whatever_is_set():
    judge = DlibResNet()
    chip = torch.randint(0, 256, (1, 3, 150, 150), generator=torch.Generator().manual_seed(0))
    expected = judge(chip.byte())
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(judge(chip.byte()), expected)


def test_a_checkpoint_costs_a_twentieth_at_most(tmp_path, monkeypatch):
    clock, saves = [0.0], []
    monkeypatch.setattr(loop.time, "monotonic", lambda: clock[0])

    def save(learner, done, checkpoint):
        saves.append(clock[0])
        clock[0] += 10.0  # a slow disk

    class Slow(losses.Pixelwise):
        def forward(self, net, batch):
            clock[0] += 1.0
            return super().forward(net, batch)

    monkeypatch.setattr(loop, "_save", save)
    fields = dict(steps=500, batch=1, patch=8, lr=1e-3)
    train_tiny(
        models.restorer("SRCNN", 4), noise(1, 16), "4x", Slow("l1"), tmp_path / "a", **fields
    )
    gaps = [b - a - 10 for a, b in zip(saves, saves[1:], strict=False)]
    assert 30 < saves[0] < 33 and min(gaps) >= 200 and len(gaps) == 2
