"""The runner: when results are reused, when a run counts, and how failures are classified."""

import json
import re
import shutil
import signal
import sys
import time
from pathlib import Path

import nbformat
import pandas as pd
import pytest
from conftest import TINY, in_process
from lrface import files, numerics
from lrface.errors import LrfaceError
from lrface.execution import kernel, notebooks, provenance, runner, staging

SHORT = {"train": "loss = 0.5"}
"""Cells of a notebook without training, whose kernel takes two seconds."""
KERNEL = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}


def outcome(path, force=False, timeout=None, **given):
    values = notebooks.parameters(path, given)
    runner.check(path, values)
    return runner.run(path, values, force, timeout)


def written(root: Path) -> dict[str, bytes]:
    """The contents of all outputs under results and figures that two equal runs share."""
    found = [f for kind in ("results", "figures") for f in sorted((root / kind).rglob("*"))]
    return {
        f.relative_to(root).as_posix(): f.read_bytes()
        for f in found
        if f.suffix in (".csv", ".md", ".png", ".pdf")
    }


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A copy of the package's sources that the test may change."""
    copy = tmp_path / "lrface"
    shutil.copytree(
        provenance.PACKAGE, copy, ignore=shutil.ignore_patterns("embedded*", "__pycache__")
    )
    monkeypatch.setattr(provenance, "PACKAGE", copy)
    return copy


@pytest.mark.slow
def test_only_what_a_used_module_means_is_a_reason_to_compute(package, project):
    path = project()
    values = notebooks.parameters(path, {})

    def reason():
        return provenance.difference(provenance.parts(path, values), before)

    before = provenance.parts(path, values)
    used = ("degrade", "training.loop", "report.tables")
    assert {*(f"lrface.{name}" for name in used), "lrface/report/published.csv"} <= before.keys()
    unused = ("inference", "cli", "execution.runner", "training.cost_model")
    assert not {f"lrface.{name}" for name in unused} & before.keys()
    degrade, cost_model = package / "degrade.py", package / "training" / "cost_model.py"
    text = degrade.read_text()
    commented = text.replace('"""', '"""Another docstring. ', 1)
    degrade.write_text(commented.replace("\n\n\n", "\n\n\n# a comment\n\n", 1))
    cost_model.write_text(cost_model.read_text().replace("FLOPS = 40e12", "FLOPS = 41e12"))
    assert reason() == ""
    number = re.search(r"\d+\.\d+", re.sub(r'"""(.|\n)*?"""', "", text))[0]
    degrade.write_text(text.replace(number, "0.123", 1))
    assert reason() == "lrface.degrade changed"
    degrade.write_text(text)
    published = package / "report" / "published.csv"
    published.write_text(published.read_text() + "x,x,x,x,x,1\n")
    assert reason() == "lrface/report/published.csv changed"


@pytest.mark.slow
def test_a_phrase_says_what_changed(project, monkeypatch):
    path = project()

    def parts(**given):
        return provenance.parts(path, notebooks.parameters(path, given))

    before, difference = parts(), provenance.difference
    assert difference(parts(steps="5"), before) == "parameter steps: 5, was 3"
    torch = [before | {"package torch": version} for version in ("2.15", "2.14")]
    assert difference(*torch) == "package torch: 2.15, was 2.14"
    changed = {n: "other" if n.startswith("lrface") else state for n, state in before.items()}
    assert re.fullmatch(r"(lrface\S* changed, ){3}and \d+ more", difference(changed, before))
    newer = difference(changed | {"python": "3.14.0"}, before)
    assert newer.startswith("python: 3.14.0, was ")
    sets = [before | {"data lfw": state} for state in ("absent", "a")]
    assert difference(*sets) == "data lfw is no longer at hand"
    monkeypatch.setenv("LRFACE_RETRAIN", "1")
    assert difference(parts(), before) == "retrain: yes, was no"


@pytest.mark.slow
def test_comments_in_a_notebook_do_not_count_and_its_strings_do(project):
    path = project()
    values = notebooks.parameters(path, {})
    before = provenance.parts(path, values)
    assert provenance.parts(project(study="# why\n" + TINY["study"] + "\n\n"), values) == before
    shown = provenance.parts(project(study=TINY["study"] + "\n'shown'"), values)
    assert provenance.difference(shown, before) == "notebook changed"
    magic = provenance.parts(project(study="%time 1\n" + TINY["study"]), values)
    assert provenance.difference(magic, before) == "notebook changed"


def test_a_module_beside_the_notebooks_counts(project, own_places):
    path = project(mine="import mine")
    values = notebooks.parameters(path, {})
    (own_places / "project" / "mine.py").write_text("x = 1\n")
    before = provenance.parts(path, values)
    (own_places / "project" / "mine.py").write_text("x = 2\n")
    assert provenance.difference(provenance.parts(path, values), before) == "mine changed"


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
    assert (seen / "06_other" / "a.csv").read_text() == "x\n1\n"
    assert not (seen / "07_tiny" / "a.csv").exists()
    files.write_text(seen / "06_other" / "a.csv", "y")
    stage.discard()
    assert other.read_text() == own.read_text() == "x\n1\n"


@pytest.mark.slow
@pytest.mark.parametrize(
    "text", ["", "[]", '{"outputs": 1}', '{"outputs": {}, "provenance": 3}', '{"provenance": {}}']
)
def test_a_record_that_cannot_be_believed_is_none(project, own_places, text):
    path = project()
    results = own_places / "project" / "results" / "celeba" / "quick" / "07_tiny"
    files.write_text(results / "record.json", text)
    assert runner.reusable(path, notebooks.parameters(path, {})) is None


def test_an_output_is_opened_as_what_its_name_says(tmp_path):
    contents = {"a.csv": (b"x\n1\n", b""), "a.pdf": (b"%PDF-1.4", b"PNG"), "a.md": (b"|", b"")}
    for name, (good, bad) in contents.items():
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


@pytest.mark.parametrize(
    "name, message, kind",
    [
        ("OutOfMemoryError", "CUDA out of memory. Tried to allocate 20.00 GiB.", "out of memory"),
        ("MemoryError", "", "out of memory"),
        ("LrfaceError", "SRCNN: out of memory on H100 with batch 12", "out of memory"),
        ("LrfaceError", "cannot write x: No space left on device", "disk full"),
        ("KeyboardInterrupt", "", "interrupted"),
        ("KeyError", "'x'", "exception"),
    ],
)
def test_an_exception_in_a_cell_is_classified(name, message, kind):
    failure = kernel._cell_failure(3, name, message)
    assert failure.kind == kind
    assert failure.sentence == f"cell 3: {name}: {message or 'no message'}"


def test_a_kernel_killed_while_the_system_ran_out_of_memory_is_told_apart(monkeypatch):
    state = kernel.KernelState(
        Path("x"), print, 3, None, executed=2, exit_status=-signal.SIGKILL, oom_kills=4
    )
    for kills, kind in ((4, "kernel killed"), (5, "out of memory")):
        monkeypatch.setattr(kernel, "_oom_kills", lambda kills=kills: kills)
        failure = kernel._kernel_failure(state)
        assert failure.kind == kind and "cell 2 (SIGKILL)" in failure.sentence


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

    bar = [stream(f"\r {share}", "stderr") for share in ("0%|", "50%|##  ", "100%|####|\n")]
    outputs = [stream("one\n"), *bar, stream("a warning\r\n", "stderr"), stream("two\n")]
    texts = [output.text for output in kernel.without_progress(outputs)]
    assert texts == ["one\n", "a warning\n", "two\n"]


def test_a_preset_for_gpus_is_refused_without_one(project, monkeypatch):
    monkeypatch.setattr(kernel, "_gpu_problem", lambda: None)
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

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(numerics, "gpu", lambda: {"uuid": "GPU 1/2"})
    monkeypatch.setattr(kernel.tempfile, "gettempdir", lambda: str(tmp_path))
    with kernel._gpu():
        (lock,) = tmp_path.iterdir()
        with pytest.raises(Timeout):
            FileLock(lock, timeout=0).acquire()
    FileLock(lock, timeout=0).acquire()


@pytest.mark.slow
def test_results_are_reused_until_a_part_or_an_output_changes(project, monkeypatch):
    monkeypatch.setattr(kernel, "execute", in_process)
    path = project(**SHORT)
    first = outcome(path)
    assert first.reason == "there is no record of a complete run"
    assert outcome(path).status == "reused"
    assert runner.reusable(path, notebooks.parameters(path, {})).outputs == first.outputs
    (first.results / "table1.csv").write_text("changed by hand")
    assert runner.reusable(path, notebooks.parameters(path, {})) is None
    again = outcome(path)
    assert (again.status, again.reason) == ("computed", "table1.csv is not as it was written")
    assert outcome(path, steps="4").reason == "parameter steps: 4, was 3"
    assert outcome(path, force=True, steps="4").reason == "asked for"
    monkeypatch.setattr(provenance, "data_state", lambda name: "other files")
    monkeypatch.setattr(provenance.data_state, "cache_clear", lambda: None, raising=False)
    assert outcome(path, steps="4").reason == "data celeba changed"


SCORES = """
from lrface.metrics import score_cache
scores = score_cache.compute(
    [("SRCNN", "4x"), ("EDSR", "4x")],
    key=lambda cell: score_cache.key(cell=cell),
    score=lambda cell, rows: pd.DataFrame({"psnr": 30.0 + rows}),
    rows=3,
    workers="serial",
)
study.listing("scores", scores.listing("method", "setting"))"""


@pytest.mark.slow
def test_the_record_states_the_hash_of_every_score_file(project, monkeypatch):
    monkeypatch.setattr(kernel, "execute", in_process)
    done = outcome(project(**SHORT, more=SCORES))
    assert done.status == "computed", done.reason
    record = json.loads((done.results / "record.json").read_text())
    keys = pd.read_csv(done.results / "scores.csv", dtype=str)["key"]
    files_ = {key: files.cache_dir("scores") / f"{key}.parquet" for key in keys}
    assert record["scores"] == {key: files.sha256(file) for key, file in files_.items()}
    assert len(record["scores"]) == 2


@pytest.mark.slow
def test_a_listed_key_without_a_score_file_fails_the_run(project, monkeypatch):
    monkeypatch.setattr(kernel, "execute", in_process)
    other = SCORES + "\nstudy.listing('scores', pd.DataFrame({'key': ['0123456789abcdef']}))"
    failed = outcome(project(**SHORT, more=other))
    assert (failed.status, failed.kind) == ("failed", "missing output")
    assert "lists 0123456789abcdef, and there is no such score file" in failed.reason
    assert not (failed.results / "record.json").exists()


def test_a_log_gets_few_plain_lines(monkeypatch, capsys):
    """A line when the text has changed, with the last text; none while it has not."""
    monkeypatch.setattr(files, "TICK_SECONDS", 0.01)
    monkeypatch.setattr(files, "CHANGED_SECONDS", 0.3)
    seen = []

    def next_line():
        until = time.monotonic() + 60
        while not seen and time.monotonic() < until:
            time.sleep(0.01)
            seen.extend(capsys.readouterr().err.splitlines())
        return seen.pop(0)

    with files.relayed("07") as say:
        for text in ("a", "b"):
            say(text)
        assert re.fullmatch(r"07: b, 0:\d\d elapsed", next_line())
        say("c")
        assert re.fullmatch(r"07: c, 0:\d\d elapsed", next_line())
        time.sleep(0.6)
    assert not seen and capsys.readouterr().err == ""


@pytest.mark.slow
def test_a_run_counts_when_all_is_there_and_is_then_reused(project, own_places):
    root = own_places / "project"
    first = outcome(
        project(**SHORT, bar="for i in range(3): print(f'\\r{i}', end='')\nprint()\nprint('kept')")
    )
    assert first.status == "computed" and first.reason == "there is no record of a complete run", (
        first.reason
    )
    record = json.loads((first.results / "record.json").read_text())
    assert (
        set(record["outputs"]) == set(first.outputs) and len(written(root)) == 8 + 3
    )  # and the findings of all studies
    assert {"data celeba", "notebook", "lrface.report", "python"} <= record["provenance"].keys()
    saved = nbformat.read(first.results / "notebook.ipynb", 4)
    assert saved.cells[-1].outputs[0].text == "kept\n" and "papermill" not in saved.metadata
    every = pd.read_csv(root / "results" / "findings.csv")
    assert set(every["data"]) == {"celeba", "all"} and not list(
        (root / ".lrface").glob("celeba*07_tiny")
    )
    assert runner.reusable(notebooks.find("07"), record["parameters"]).outputs == first.outputs
    # a notebook that writes less leaves nothing old behind, and a success no failure
    (first.results / "failed.ipynb").touch()
    short = TINY["outputs"].replace('study.listing("list", table[["method"]])\n', "")
    second = outcome(project(**SHORT, outputs=short))
    assert second.reason == "notebook changed" and not (second.results / "list.csv").exists()
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
    root = own_places / "project"
    out = root / "results" / "celeba" / "quick" / "07_tiny"
    out.mkdir(parents=True)
    (out / "table1.csv").write_text("earlier\n1\n")
    record = {"outputs": {"results/celeba/quick/07_tiny/table1.csv": "0"}}
    (out / "record.json").write_text(json.dumps(record))
    before = written(root)
    failed = outcome(project(**SHORT, more=cell), timeout=3 if kind == "time-out" else None)
    assert (failed.status, failed.kind) == ("failed", kind)
    assert sentence in failed.reason
    assert written(root) == before
    assert (out / "failed.ipynb").exists() and "failed.ipynb" in failed.reason
    assert not (root / ".lrface" / "celeba.quick.07_tiny").exists()


@pytest.mark.slow
def test_kernels_started_at_the_same_moment_do_not_meet(tmp_path):
    from multiprocessing import get_context

    path, moment = tmp_path / "short.ipynb", time.time() + 5.0
    cell = nbformat.v4.new_code_cell("x = 1")
    nbformat.write(nbformat.v4.new_notebook(cells=[cell], metadata=KERNEL), path)
    calls = [(moment, path, tmp_path / f"{i}") for i in range(4)]
    with get_context("spawn").Pool(4) as pool:
        failures = pool.starmap_async(_at, calls).get(timeout=300)
    assert failures == [None] * 4


def _at(moment: float, path: Path, place: Path) -> kernel.Failure | None:
    place.mkdir()
    kernel.START_SECONDS = 60
    time.sleep(max(0.0, moment - time.time()))
    return kernel.execute(path, place / "out.ipynb", {}, {}, place / "kernel.json")


@pytest.mark.slow
def test_a_reuse_is_decided_without_torch(project, own_places, lrface):
    import subprocess

    done = outcome(project(**SHORT))
    assert done.status == "computed", done.reason
    code = """
import sys
from lrface.execution import notebooks, runner
path = notebooks.find('07')
outcome = runner.reusable(path, notebooks.parameters(path, {}))
print(outcome.status, 'torch' in sys.modules)"""
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert process.stdout == "reused False\n", process.stderr
    code, out, _ = lrface("reproduce", "--data", "celeba")
    assert code == 0 and out.splitlines()[-1] == "computed 0, reused 1, failed 0"
    code, out, _ = lrface("reproduce", "--data", "celeba", "-p", "steps=4")
    assert (
        code == 0
        and "(parameter steps: 4, was 3)" in out
        and out.splitlines()[-1] == "computed 1, reused 0, failed 0"
    )
