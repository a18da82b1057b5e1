"""The runner under faults: no earlier result is lost, and the next plain run is complete.

Faults: killed kernels and runners, full and read-only disks, damaged files, a clock set back.
"""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from conftest import TINY, in_process, make_celeba, make_project
from lrface.execution import kernel, runner
from test_runner import written

pytestmark = pytest.mark.slow
WAIT = {
    "more": """
import time
open('reached', 'w').close()
while open('go').read() != 'go': time.sleep(0.1)"""
}
"""A last cell that says that it was reached and waits for ``go``."""
PATCH = """
from lrface import cli
from lrface.execution import runner
runner.FREE_MB = dict.fromkeys(runner.FREE_MB, 1)
cli.main()"""
"""The command line without its check of free space."""


class Place:
    """A project of its own, and the command line run in it as a process."""

    def __init__(self, root: Path):
        self.root = root
        self.env = {
            **os.environ,
            "LRFACE_ROOT": str(root),
            "LRFACE_OUT": str(root),
            "LRFACE_CACHE": str(root / "cache"),
        }
        self.results = root / "results" / "celeba" / "quick" / "07_tiny"

    def notebook(self, **cells):
        (self.root / "go").write_text("go")
        return make_project(self.root, **cells)

    def hold(self):
        (self.root / "reached").unlink(missing_ok=True)
        (self.root / "go").write_text("wait")

    def start(self, *words):
        start = ["-c", "from lrface.cli import main; main()"]
        command = [sys.executable, *start, "reproduce", "--data", "celeba", *words]
        return subprocess.Popen(
            command, env=self.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def run(self, *words):
        process = self.start(*words)
        out, err = process.communicate(timeout=300)
        return process.returncode, out, err

    def reached(self, process):
        """Wait until the notebook is at its last cell; returns the kernel's process."""
        until = time.monotonic() + 200
        while not (self.root / "reached").exists():
            assert time.monotonic() < until and process.poll() is None, process.communicate()
            time.sleep(0.05)
        pid_file = self.root / ".lrface" / "celeba.quick.07_tiny" / "kernel.json"
        pid, _ = json.loads(pid_file.read_text())
        return psutil.Process(pid)

    def whole(self):
        """The results, after a check that the record names them and that no stage is left."""
        record = json.loads((self.results / "record.json").read_text())
        assert len(record["outputs"]) == 9
        assert not (self.root / ".lrface" / "celeba.quick.07_tiny").exists()
        return written(self.root)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """A project with complete results, and what it holds: made once, never written to."""
    place = Place(tmp_path_factory.mktemp("undisturbed"))
    place.env["LRFACE_DATA"] = str(make_celeba(tmp_path_factory.mktemp("faces")))
    place.notebook(**WAIT)
    code, out, err = place.run()
    assert code == 0 and "computed 1" in out, err
    return place, place.whole()


@pytest.fixture
def place(undisturbed, tmp_path):
    """A copy of the undisturbed project, with its trained network in its cache, to be damaged."""
    first, _ = undisturbed
    shutil.copytree(first.root, tmp_path / "project")
    place = Place(tmp_path / "project")
    place.env["LRFACE_DATA"] = first.env["LRFACE_DATA"]
    return place


def recovers(place, right, how="computed 1"):
    """The next plain run succeeds with the undisturbed run's bytes; the one after reuses them."""
    (place.root / "go").write_text("go")
    code, out, err = place.run()
    assert code == 0 and how in out, (out, err)
    assert place.whole() == right
    code, out, _ = place.run()
    assert code == 0 and "reused 1" in out


def gone(process):
    try:
        process.wait(60)
    except psutil.TimeoutExpired:
        return False
    except psutil.NoSuchProcess:
        pass
    return True


def test_a_killed_kernel(place, undisturbed):
    place.hold()
    process = place.start("--force")
    place.reached(process).kill()
    out, err = process.communicate(timeout=300)
    assert (
        process.returncode == 1
        and "kernel killed: the kernel ended in cell 6 (SIGKILL)" in err
        and "failed 1" in out
    )
    assert place.whole() == undisturbed[1] and (place.results / "failed.ipynb").exists()
    shutil.rmtree(place.results)  # and with nothing there before
    recovers(place, undisturbed[1])


def test_a_killed_runner(place, undisturbed):
    """Its kernel ends by itself; the next runner ends one that does not."""
    (place.results / "record.json").unlink()
    place.hold()
    process = place.start()
    orphan = place.reached(process)
    process.kill()
    process.wait()
    assert gone(orphan) and written(place.root) == undisturbed[1]
    recovers(place, undisturbed[1])


def test_an_interrupted_runner(place, undisturbed):
    place.hold()
    process = place.start("--force")
    orphan = place.reached(process)
    process.terminate()
    assert process.wait(300) == 130 and gone(orphan) and place.whole() == undisturbed[1]
    assert "interrupted; the same command goes on" in process.communicate()[1]
    recovers(place, undisturbed[1], "reused 1")


def test_two_runners_at_once(place, undisturbed):
    (place.results / "record.json").unlink()
    place.hold()
    first = place.start()
    place.reached(first)
    second = place.start()
    assert second.stdout.readline() == "07_tiny: waiting for another run of it\n"
    (place.root / "go").write_text("go")
    assert "computed 1, reused 0" in first.communicate(timeout=300)[0]
    assert "computed 0, reused 1" in second.communicate(timeout=300)[0]
    assert place.whole() == undisturbed[1]


def spoil_checkpoint(place):
    (weights,) = place.root.glob("cache/runs/*/model.safetensors")
    weights.write_bytes(weights.read_bytes()[:100])


def spoil_record_of_a_network(place):
    (record,) = place.root.glob("cache/runs/*/record.json")
    record.write_text(record.read_text().replace('"sha256": "', '"sha256": "0'))


def spoil_record(place):
    record = place.results / "record.json"
    record.write_text(record.read_text()[:200])


def spoil_outputs(place):
    table, figure = (
        place.results / "table1.csv",
        place.root / "figures" / "celeba" / "quick" / "07_tiny" / "curve.png",
    )
    table.write_text(table.read_text().replace("SRCNN", "EDSR"))
    figure.write_bytes(b"")
    (place.results / "table1.md").unlink()


SPOIL = [spoil_checkpoint, spoil_record_of_a_network, spoil_record, spoil_outputs]


@pytest.mark.parametrize("spoil", SPOIL, ids=lambda f: f.__name__)
def test_what_is_spoilt_is_made_again(place, undisturbed, spoil):
    spoil(place)
    if spoil in SPOIL[:2]:
        (place.results / "record.json").unlink()
    recovers(place, undisturbed[1])


def test_a_clock_set_back(place, undisturbed):
    """File times are compared with nothing: files from the future change nothing."""
    for file in place.root.rglob("*"):
        os.utime(file, (time.time() + 1e6,) * 2, follow_symlinks=False)
    code, out, _ = place.run()
    assert code == 0 and "reused 1" in out and place.whole() == undisturbed[1]
    spoil_outputs(place)
    recovers(place, undisturbed[1])


def mounted(*words) -> bool:
    return (
        not os.geteuid()
        and not subprocess.run(["mount", *map(str, words)], capture_output=True).returncode
    )


def test_a_results_folder_that_becomes_read_only(place, undisturbed):
    results = place.root / "results"
    if not mounted("--bind", results, results):
        pytest.skip("a bind mount needs root")
    try:
        place.hold()
        process = place.start("--force")
        place.reached(process)
        assert mounted("-o", "remount,bind,ro", results)
        (place.root / "go").write_text("go")
        out, err = process.communicate(timeout=300)
        assert process.returncode == 1 and "Read-only file system" in err and "Traceback" not in err
        code, _, err = place.run("--force")
        assert code == 1 and "cannot write to" in err and len(err.splitlines()) == 1
        for name, content in undisturbed[1].items():
            assert (place.root / name).read_bytes() == content
    finally:
        subprocess.run(["umount", "-l", results], check=True)
    recovers(place, undisturbed[1], "reused 1")


def test_a_disk_that_fills_up(place, undisturbed, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    if not mounted("-t", "tmpfs", "-o", "size=4m", "tmpfs", disk):
        pytest.skip("a small file system needs root")
    try:
        for kind in ("results", "figures", "cache"):
            shutil.copytree(place.root / kind, disk / kind)
        place.env |= {"LRFACE_OUT": str(disk), "LRFACE_CACHE": str(disk / "cache")}
        # the free space that is asked for before would stop it, so it fills up after
        fill = f"open({str(disk / 'filler')!r}, 'wb', buffering=0).write(bytes(8 << 20))\n"
        words = ["reproduce", "--data", "celeba", "--force"]
        place.notebook(**WAIT, outputs=fill + TINY["outputs"])
        done = subprocess.run(
            [sys.executable, "-c", PATCH, *words], env=place.env, capture_output=True, text=True
        )
        assert (
            done.returncode == 1
            and ", disk full: " in done.stderr
            and "Traceback" not in done.stderr
        ), done.stderr
        assert written(disk) == undisturbed[1]
        (disk / "filler").unlink()
        place.notebook(**WAIT)
        done = subprocess.run(
            [sys.executable, "-c", PATCH, *words[:-1]],
            env=place.env,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0 and "reused 1" in done.stdout
        done = subprocess.run(
            [sys.executable, "-c", PATCH, *words], env=place.env, capture_output=True, text=True
        )
        assert (
            done.returncode == 0 and "computed 1" in done.stdout and written(disk) == undisturbed[1]
        )
    finally:
        subprocess.run(["umount", "-l", disk], check=True)


def test_random_moments_of_real_runs(place, undisturbed):
    """The runner is killed at random moments of six real runs; then one run recovers."""
    moments = random.Random(8)
    for _ in range(6):
        (place.results / "record.json").unlink(missing_ok=True)
        process = place.start()
        time.sleep(moments.uniform(2, 12))
        process.kill()
        process.communicate()
        assert {
            name: b for name, b in written(place.root).items() if name in undisturbed[1]
        } == undisturbed[1]
    recovers(place, undisturbed[1], ", failed 0")


def killed_at(step, path, values):
    """A run in a forked process that is killed before its ``step``-th file operation.

    Returns its exit status and the number of operations seen; step 0 kills nothing.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child:
        os.close(writing)
        with os.fdopen(reading, "rb") as pipe:
            seen = len(pipe.read())
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), seen
    try:
        root, count = str(Path(os.environ["LRFACE_OUT"])), 0

        def watch(event, given):
            nonlocal count
            changes = event in (
                "os.rename",
                "os.remove",
                "os.mkdir",
                "os.rmdir",
                "os.symlink",
                "os.truncate",
            ) or (
                event == "open"
                and isinstance(given[2], int)
                and given[2] & (os.O_WRONLY | os.O_RDWR)
            )
            if changes and str(given[0]).startswith(root):
                count += 1
                os.write(writing, b".")
                if count == step:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(watch)
        status = runner.run(path, values).status
        os._exit({"computed": 0, "reused": 3}.get(status, 1))
    finally:
        os._exit(2)


def test_fifty_moments_between_two_changes_of_a_file(project, own_places, monkeypatch):
    """A run that replaces results is killed before 50 of its file operations; the next recovers."""
    import lrface.report  # noqa: F401  (before the fork)

    monkeypatch.setattr(kernel, "execute", in_process)
    monkeypatch.setattr("lrface.training.runs.environment", dict)
    root = own_places / "project"
    path = project(train="loss = steps / 6")
    old, new = ({"data": "celeba", "preset": "quick", "steps": steps} for steps in (3, 4))
    assert killed_at(0, path, old)[0] == 0
    before = written(root)
    shutil.copytree(root, own_places / "before")
    status, steps = killed_at(0, path, new)
    after = written(root)
    assert (
        status == 0
        and steps > 50
        and before.keys() == after.keys()
        and sum(before[n] != after[n] for n in before) > 4
    )
    completed = []
    for step in sorted(random.Random(8).sample(range(1, steps + 1), 50)):
        shutil.rmtree(root)
        shutil.copytree(own_places / "before", root)
        status, _ = killed_at(step, path, new)
        decided = (root / ".lrface" / "celeba.quick.07_tiny" / "record.json").exists()
        assert status == -signal.SIGKILL and (decided or written(root) in (before, after)), step
        status, _ = killed_at(0, path, new)
        completed.append(status == 3)  # a complete run is promoted, not computed again
        assert status == (3 if any(completed) else 0) and (not decided or status == 3), step
        assert runner.reusable(path, new).status == "reused" and written(root) == after, step
    assert 10 < sum(completed) < 40
