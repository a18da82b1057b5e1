"""The runner: what is reused and why not, what counts as done, how a failure is told, and what the
earlier results go through."""

import json
import re
import shutil
import signal
import sys
from pathlib import Path

import nbformat
import pandas as pd
import pytest
from conftest import TINY
from lrface import files
from lrface.errors import LrfaceError
from lrface.execution import kernel, notebooks, provenance, runner, staging

SHORT = {"train": "loss = 0.5"}
"""Without the training, a kernel of two seconds."""


KERNEL = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}


def outcome(path, force=False, timeout=None, **given):
    values = notebooks.parameters(path, given)
    runner.check(path, values)
    return runner.run(path, values, force, timeout)


def written(root: Path) -> dict[str, bytes]:
    """Everything under results and figures that should be the same in two runs."""
    found = (
        f
        for kind in ("results", "figures")
        for f in sorted((root / kind).rglob("*"))
        if f.is_file()
    )
    return {
        f.relative_to(root).as_posix(): f.read_bytes()
        for f in found
        if f.suffix in (".csv", ".md", ".png", ".pdf")
    }


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A copy of the package's sources, to be changed."""
    copy = tmp_path / "lrface"
    shutil.copytree(
        provenance.PACKAGE, copy, ignore=shutil.ignore_patterns("embedded", "__pycache__")
    )
    monkeypatch.setattr(provenance, "PACKAGE", copy)
    return copy


def test_only_what_a_used_module_means_is_a_reason_to_compute(package, project):
    path = project()
    values = notebooks.parameters(path, {})

    def reason():
        return provenance.difference(provenance.parts(path, values), before)

    before = provenance.parts(path, values)
    assert {
        "lrface.degrade",
        "lrface.training.loop",
        "lrface.report.tables",
        "lrface/report/published.csv",
    } <= before.keys()
    assert (
        not {
            "lrface.inference",
            "lrface.cli",
            "lrface.execution.runner",
            "lrface.training.cost_model",
        }
        & before.keys()
    )
    degrade, plan = package / "degrade.py", package / "training" / "cost_model.py"
    text = degrade.read_text()
    degrade.write_text(
        text.replace('"""', '"""Another docstring. ', 1).replace(
            "\n\n\n", "\n\n\n# a comment\n\n", 1
        )
    )
    plan.write_text(plan.read_text().replace("FLOPS = 40e12", "FLOPS = 41e12"))
    assert reason() == ""
    number = re.search(r"\d+\.\d+", re.sub(r'"""(.|\n)*?"""', "", text))[0]
    degrade.write_text(text.replace(number, "0.123", 1))
    assert reason() == "lrface.degrade changed"
    degrade.write_text(text)
    published = package / "report" / "published.csv"
    published.write_text(published.read_text() + "x,x,x,x,x,1\n")
    assert reason() == "lrface/report/published.csv changed"


def test_a_phrase_says_what_changed(project, monkeypatch):
    path = project()
    before = provenance.parts(path, notebooks.parameters(path, {}))
    now = provenance.parts(path, notebooks.parameters(path, {"steps": "5"}))
    assert provenance.difference(now, before) == "parameter steps: 5, was 3"
    assert (
        provenance.difference(
            before | {"package torch": "2.15"}, before | {"package torch": "2.14"}
        )
        == "package torch: 2.15, was 2.14"
    )
    later = {
        name: "other" if name.startswith("lrface") else state for name, state in before.items()
    }
    assert re.fullmatch(
        r"(lrface\S* changed, ){3}and \d+ more", provenance.difference(later, before)
    )
    assert provenance.difference(later | {"python": "3.14.0"}, before).startswith(
        "python: 3.14.0, was "
    )
    assert (
        provenance.difference(before | {"data lfw": "absent"}, before | {"data lfw": "a"})
        == "data lfw is no longer at hand"
    )
    monkeypatch.setenv("LRFACE_RETRAIN", "1")
    assert (
        provenance.difference(provenance.parts(path, notebooks.parameters(path, {})), before)
        == "retrain: yes, was no"
    )


def test_comments_in_a_notebook_do_not_count_and_its_strings_do(project):
    path = project()
    values = notebooks.parameters(path, {})
    before = provenance.parts(path, values)
    assert provenance.parts(project(study="# why\n" + TINY["study"] + "\n\n"), values) == before
    shown = provenance.parts(project(study=TINY["study"] + "\n'shown'"), values)
    assert provenance.difference(shown, before) == "notebook changed"
    assert (
        provenance.difference(
            provenance.parts(project(study="%time 1\n" + TINY["study"]), values), before
        )
        == "notebook changed"
    )


def test_a_module_beside_the_notebooks_counts(project, own_places):
    path = project(mine="import mine")
    values = notebooks.parameters(path, {})
    (own_places / "project" / "mine.py").write_text("x = 1\n")
    before = provenance.parts(path, values)
    (own_places / "project" / "mine.py").write_text("x = 2\n")
    assert provenance.difference(provenance.parts(path, values), before) == "mine changed"


def test_what_a_notebook_declares_is_read_from_its_code(project):
    sometimes = """
if data: study.table("maybe", 1)
for x in "ab": study.figure(f"of_{x}", 1, 2)
study.table("one", 1) if data else 0
data and study.listing("two", 1)
[study.listing("three", 1) for _ in data]
shown = study.listing("sure", 1).head()
other.table("not", 1)
"""
    base = [
        "figures/curve.csv",
        "figures/curve.pdf",
        "figures/curve.png",
        "results/claims.csv",
        "results/list.csv",
    ]
    assert staging.declares(project(more=sometimes)) == sorted(
        [*base, "results/sure.csv", "results/table1.csv", "results/table1.md"]
    )


def test_other_studies_are_seen_from_the_stage_and_cannot_be_written_over(project, own_places):
    project()
    stage = staging.Stage("celeba", "quick", "07_tiny")
    other, own = (
        own_places / "project" / "results" / "celeba" / "quick" / name / "a.csv"
        for name in ("06_other", "07_tiny")
    )
    for file in (other, own):
        files.write_text(file, "x\n1\n")
    stage.prepare()
    seen = stage.folder / "results" / "celeba" / "quick"
    assert (seen / "06_other" / "a.csv").read_text() == "x\n1\n" and not (
        seen / "07_tiny" / "a.csv"
    ).exists()
    files.write_text(seen / "06_other" / "a.csv", "y")
    stage.discard()
    assert other.read_text() == own.read_text() == "x\n1\n"


@pytest.mark.parametrize(
    "text", ["", "[]", '{"outputs": 1}', '{"outputs": {}, "provenance": 3}', '{"provenance": {}}']
)
def test_a_record_that_cannot_be_believed_is_none(project, own_places, text):
    path = project()
    files.write_text(
        own_places / "project" / "results" / "celeba" / "quick" / "07_tiny" / "record.json", text
    )
    assert runner.standing(path, notebooks.parameters(path, {})) is None


def test_an_output_is_opened_as_what_its_name_says(tmp_path):
    for name, good, bad in (
        ("a.csv", b"x,y\n1,2\n", b""),
        ("a.pdf", b"%PDF-1.4", b"PNG"),
        ("a.md", b"|", b""),
    ):
        (tmp_path / name).write_bytes(good)
        assert staging.readable(tmp_path / name)
        (tmp_path / name).write_bytes(bad)
        assert not staging.readable(tmp_path / name)
    files.write_text(tmp_path / "a.csv", pd.DataFrame().to_csv(index=False))
    assert staging.readable(tmp_path / "a.csv")
    from PIL import Image

    Image.new("RGB", (64, 64)).save(tmp_path / "a.png")
    assert staging.readable(tmp_path / "a.png") and not staging.readable(tmp_path / "none.png")
    whole = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(whole[: len(whole) // 2])
    assert not staging.readable(tmp_path / "a.png")


def test_what_cuda_says_gives_the_batch_that_fits():
    said = (
        "CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has a total capacity of 80.00 GiB of which 10.00 GiB is free. Including "
        "non-PyTorch memory, this process has 70.00 GiB memory in use."
    )
    assert kernel.fits(said) == pytest.approx(80 / 90)
    failure = kernel._raised(3, "OutOfMemoryError", said)
    assert failure.kind == "out of memory" and failure.sentence.endswith(
        "(about 89% of the batch would fit)"
    )
    assert (
        kernel.fits("out of memory") is None
        and kernel._raised(1, "MemoryError", "").kind == "out of memory"
    )
    assert (
        kernel._raised(1, "LrfaceError", "cannot write x: No space left on device").kind
        == "disk full"
    )
    assert (
        kernel._raised(1, "KeyboardInterrupt", "").kind == "interrupted"
        and kernel._raised(1, "KeyError", "'x'").kind == "exception"
    )


def test_a_kernel_killed_while_the_system_ran_out_of_memory_is_told_apart(monkeypatch):
    life = kernel.Life(Path("x"), print, 3, None, executed=2, ended=-signal.SIGKILL, kills=4)
    for kills, kind in ((4, "kernel killed"), (5, "out of memory")):
        monkeypatch.setattr(kernel, "_oom_kills", lambda kills=kills: kills)
        assert kernel._died(life).kind == kind and "cell 2 (SIGKILL)" in kernel._died(life).sentence


def test_kills_are_counted_in_ones_own_control_group(tmp_path):
    group = tmp_path / "sys/fs/cgroup/job_7/step_0"
    for folder in (group, tmp_path / "proc/self"):
        folder.mkdir(parents=True)
    assert kernel._oom_kills(tmp_path) == 0
    (tmp_path / "proc/vmstat").write_text("oom_kills_of_others 3\noom_kill 11\n")
    (tmp_path / "proc/self/cgroup").write_text("4:memory:/old\n0::/job_7/step_0\n")
    assert kernel._oom_kills(tmp_path) == 11
    (group / "memory.events").write_text("low 0\noom 5\noom_kill 2\noom_group_kill 0\n")
    assert kernel._oom_kills(tmp_path) == 2


def test_progress_bars_are_not_saved():
    def stream(text, name="stdout"):
        return nbformat.v4.new_output("stream", name=name, text=text)

    kept = kernel._without_progress(
        [
            stream("one\n"),
            stream("\r  0%|", "stderr"),
            stream("\r 50%|##  ", "stderr"),
            stream("\r100%|####|\n", "stderr"),
            stream("a warning\r\n", "stderr"),
            stream("two\n"),
        ]
    )
    assert [o.text for o in kept] == ["one\n", "a warning\n", "two\n"]


def test_a_preset_for_gpus_is_refused_without_one(project, monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    path = project()
    values = notebooks.parameters(path, {"preset": "gpu"})
    with pytest.raises(LrfaceError, match="preset gpu needs a GPU"):
        runner.check(path, values)
    monkeypatch.setenv("LRFACE_DEVICE", "cpu")
    monkeypatch.setattr(runner, "FREE_MB", dict.fromkeys(runner.FREE_MB, 1))
    runner.check(path, values)


def test_one_notebook_at_a_time_on_a_gpu(monkeypatch, tmp_path):
    import torch
    from filelock import FileLock, Timeout

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(
        torch.cuda, "get_device_properties", lambda _: type("P", (), {"uuid": "GPU 1/2"})
    )
    monkeypatch.setattr(kernel.tempfile, "gettempdir", lambda: str(tmp_path))
    with kernel._gpu():
        (lock,) = tmp_path.iterdir()
        with pytest.raises(Timeout):
            FileLock(lock, timeout=0).acquire()
    FileLock(lock, timeout=0).acquire()


def test_a_log_gets_few_plain_lines(monkeypatch, capsys):
    now = [0.0]
    monkeypatch.setattr(files.time, "monotonic", lambda: now[0])
    ticks = iter([(5, "a"), (11, "b"), (15, "c"), (22, "c"), (60, "c"), (83, "c")])

    class Event:
        def wait(self, _):
            try:
                now[0], text = next(ticks)
                say(text)
                return False
            except StopIteration:
                return True

        def set(self): ...

    class Thread:
        def __init__(self, target, daemon):
            self.target = target

        def start(self): ...

        def join(self):
            self.target()

    monkeypatch.setattr(files.threading, "Event", Event)
    monkeypatch.setattr(files.threading, "Thread", Thread)
    with files.relayed("07") as say:
        pass
    assert capsys.readouterr().err.splitlines() == [
        "07: b, 0:11 elapsed",
        "07: c, 0:22 elapsed",
        "07: c, 1:23 elapsed",
    ]


@pytest.mark.slow
def test_a_run_counts_when_all_is_there_and_is_then_reused(project, own_places):
    root = own_places / "project"
    first = outcome(
        project(**SHORT, bar="for i in range(3): print(f'\\r{i}', end='')\nprint()\nprint('kept')")
    )
    assert first.status == "computed" and first.why == "there is no record of a complete run", (
        first.why
    )
    record = json.loads((first.results / "record.json").read_text())
    assert (
        set(record["outputs"]) == set(first.outputs) and len(written(root)) == 7 + 1
    )  # and the ledger
    assert {"data celeba", "notebook", "lrface.report", "python"} <= record["provenance"].keys()
    saved = nbformat.read(first.results / "notebook.ipynb", 4)
    assert saved.cells[-1].outputs[0].text == "kept\n" and "papermill" not in saved.metadata
    ledger = pd.read_csv(root / "results" / "claims.csv")
    assert list(ledger["id"]) == ["tiny"] and not list((root / ".lrface").glob("celeba*07_tiny"))
    assert runner.standing(notebooks.find("07"), record["parameters"]).outputs == first.outputs
    # a notebook that writes less leaves nothing old behind, and a success no failure
    (first.results / "failed.ipynb").touch()
    short = TINY["outputs"].replace('study.listing("list", table[["method"]])\n', "")
    second = outcome(project(**SHORT, outputs=short))
    assert second.why == "notebook changed" and not (second.results / "list.csv").exists()
    assert not (second.results / "failed.ipynb").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    "cell, kind, sentence",
    [
        ("1 / 0", "exception", "cell 6: ZeroDivisionError: division by zero"),
        (
            "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
            "kernel killed",
            "cell 6 (SIGKILL)",
        ),
        ("import os; os._exit(3)", "kernel killed", "cell 6 (exit status 3)"),
        ("raise MemoryError", "out of memory", "MemoryError"),
        ("raise KeyboardInterrupt", "interrupted", "KeyboardInterrupt"),
        ("import time; time.sleep(60)", "time-out", "longer than the 3 s"),
        (
            "import os; os.remove(study.results / 'table1.md')",
            "missing output",
            "no readable results/celeba/quick/07_tiny/table1.md",
        ),
        ("open(study.figures / 'curve.png', 'wb').write(b'')", "missing output", "curve.png"),
    ],
)
def test_a_failure_is_told_apart_and_costs_nothing(project, own_places, cell, kind, sentence):
    root, out = (
        own_places / "project",
        own_places / "project" / "results" / "celeba" / "quick" / "07_tiny",
    )
    out.mkdir(parents=True)
    (out / "table1.csv").write_text("earlier\n1\n")
    (out / "record.json").write_text(
        json.dumps({"outputs": {"results/celeba/quick/07_tiny/table1.csv": "0"}})
    )
    before = written(root)
    failed = outcome(project(**SHORT, more=cell), timeout=3 if kind == "time-out" else None)
    assert (failed.status, failed.kind) == ("failed", kind) and sentence in failed.why, failed.why
    assert (
        written(root) == before and (out / "failed.ipynb").exists() and "failed.ipynb" in failed.why
    )
    assert not (root / ".lrface" / "celeba.quick.07_tiny").exists()


@pytest.mark.slow
def test_kernels_started_at_the_same_moment_do_not_meet(tmp_path):
    import time
    from multiprocessing import get_context

    path, moment = tmp_path / "short.ipynb", time.time() + 5.0
    nbformat.write(
        nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("x = 1")], metadata=KERNEL), path
    )
    with get_context("spawn").Pool(4) as pool:
        failures = pool.starmap_async(
            _at, [(moment, path, tmp_path / f"{i}") for i in range(4)]
        ).get(timeout=300)
    assert failures == [None] * 4


def _at(moment: float, path: Path, place: Path) -> kernel.Failure | None:
    import time

    place.mkdir()
    kernel.START = 60
    time.sleep(max(0.0, moment - time.time()))
    return kernel.execute(path, place / "out.ipynb", {}, {}, place / "kernel.json")


@pytest.mark.slow
def test_a_reuse_is_decided_without_torch(project, own_places, lrface):
    import subprocess

    done = outcome(project(**SHORT))
    assert done.status == "computed", done.why
    code = "import sys; from lrface.execution import notebooks, runner; p = notebooks.find('07'); "
    code += "o = runner.standing(p, notebooks.parameters(p, {})); print(o.status, 'torch' in sys.modules)"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert said.stdout == "reused False\n", said.stderr
    code, out, _ = lrface("reproduce", "--data", "celeba")
    assert code == 0 and out.splitlines()[-1] == "computed 0, reused 1, failed 0"
    code, out, _ = lrface("reproduce", "--data", "celeba", "-p", "steps=4")
    assert (
        code == 0
        and "(parameter steps: 4, was 3)" in out
        and out.splitlines()[-1] == "computed 1, reused 0, failed 0"
    )
