"""What somebody could change by hand in the committed results: `lrface verify` names the file.

Each change is made where it shows, and its traces are removed as far as they are known: hashes in
records, the Markdown beside a table, the executed notebook. Most are found even if the manifests
are written anew afterwards; the others rest on the manifests, and say so.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import pytest
from lrface.checks import manifest, networks, records, study_results, verify
from lrface.execution import provenance
from lrface.files import sha256
from PIL import Image, ImageDraw

ROOT = Path(__file__).parents[2]
STUDY = "03_hallucinated_vs_lr_recognition"
HERE, PICTURES = f"results/synthetic/quick/{STUDY}", f"figures/synthetic/quick/{STUDY}"
PEOPLE = f"results/celeba/quick/{STUDY}"
NOTEBOOK = f"notebooks/{STUDY}.ipynb"
COPIED = ("README.md", "pyproject.toml", "requirements.lock", manifest.PUBLISHED, manifest.REGISTER)


def put(file: Path, content: str | bytes) -> None:
    """Replace a file: the copy's may be a link to the committed one."""
    file.unlink(missing_ok=True)
    file.write_bytes(content.encode() if isinstance(content, str) else content)


def edit(file: Path, *changes: tuple[str, str]) -> None:
    text = file.read_text(encoding="utf-8")
    for old, new in changes:
        assert old in text, (file, old)
        text = text.replace(old, new)
    put(file, text)


def amend(root: Path, *, study: str = HERE, hashes: bool = True, **fields: object) -> None:
    """Change fields of a record, and make all it says of itself agree again."""
    file = root / study / "record.json"
    record = json.loads(file.read_text())
    record |= fields
    if parts := record.get("provenance"):  # records of an older form have none
        parts |= {f"parameter {n}": json.dumps(v) for n, v in record["parameters"].items()}
        known = {f"package {n}": v for n, v in record["versions"].items()}
        parts |= {name: v for name, v in known.items() if name in parts}
        record["source"] = provenance.key(parts)
    if hashes:
        there = {name: root / name for name in record["outputs"]}
        record["outputs"] |= {name: sha256(f) for name, f in there.items() if f.is_file()}
        scores = (root / study).parent / "scores"
        for key in record.get("scores", {}):
            if (scores / f"{key}.parquet").is_file():
                record["scores"][key] = sha256(scores / f"{key}.parquet")
    put(file, json.dumps(record, indent=1))


def recorded(root: Path) -> dict:
    return json.loads((root / HERE / "record.json").read_text())


def a_value(root: Path) -> None:
    table = root / HERE / "table4_six_settings"
    rows = pd.read_csv(table.with_suffix(".csv"), dtype=str)
    row = rows.query("method == 'LR / LR' and metric == 'accuracy'").iloc[0]
    shown, better = f"{float(row['value']):.4f}", f"{float(row['value']) + 0.01:.4f}"
    edit(table.with_suffix(".csv"), (f"accuracy,{row['value']},", f"accuracy,{better},"))
    edit(table.with_suffix(".md"), (shown, better))
    edit(root / NOTEBOOK, (shown, better))
    amend(root)


def a_painted_png(root: Path) -> None:
    file = root / PICTURES / "roc.png"
    with Image.open(file) as image:
        text, picture = image.text, image.convert("RGB")
    w, h = picture.size
    ImageDraw.Draw(picture).rectangle([w // 3, h // 3, w // 3 + 80, h // 3 + 60], fill="white")
    ImageDraw.Draw(picture).ellipse([w // 3, h // 3, w // 3 + 80, h // 3 + 60], fill="black")
    file.unlink()
    picture.save(file)
    assert "Description" in text
    amend(root)


def another_pdf(root: Path) -> None:
    put(root / PICTURES / "roc.pdf", (root / PICTURES / "resolution.pdf").read_bytes())
    amend(root)


def another_commit(root: Path) -> None:
    first = ["git", "-C", str(ROOT), "rev-list", "--max-parents=0", "HEAD"]
    amend(root, commit=subprocess.run(first, capture_output=True, text=True).stdout.split()[0])


def a_commit_that_never_was(root: Path) -> None:
    amend(root, commit="0123456789abcdef0123456789abcdef01234567")


def parameters(root: Path) -> None:
    amend(root, parameters=recorded(root)["parameters"] | {"seed": 1})


def versions(root: Path) -> None:
    amend(root, versions=recorded(root)["versions"] | {"torch": "2.13.0"})


def seconds(root: Path) -> None:
    amend(root, seconds=2.0)


def a_table_less(root: Path) -> None:
    outputs = recorded(root)["outputs"]
    for suffix in ("csv", "md"):
        name = f"{HERE}/pretrained_judge.{suffix}"
        (root / name).unlink()
        del outputs[name]
    amend(root, outputs=outputs)


def a_bogus_table(root: Path) -> None:
    put(root / "results" / "answers.csv", "finding,verdict\nall,supported\n")


def a_bogus_table_of_a_study(root: Path) -> None:
    put(root / HERE / "table9.csv", "method,value\nours,1.0\n")
    amend(root, outputs=recorded(root)["outputs"] | {f"{HERE}/table9.csv": ""})


def score_files(root: Path) -> None:
    listed = pd.read_csv(root / HERE / "scores.csv", dtype=str)
    for key in listed.query("setting == 'Joint'")["key"]:
        file = root / HERE / ".." / "scores" / f"{key}.parquet"
        scores = pd.read_parquet(file).assign(correct=1.0)
        file.unlink()
        scores.to_parquet(file)
    amend(root)


def a_published_value(root: Path) -> None:
    edit(root / manifest.PUBLISHED, ("DeepFace,accuracy,0.9735", "DeepFace,accuracy,0.9635"))


def a_byte_of_the_faces(root: Path) -> None:
    folder = root / manifest.EMBEDDED["synthetic"]
    file = folder / "images-00000-of-00001.parquet"
    content, before = bytearray(file.read_bytes()), sha256(file)
    content[len(content) // 2] ^= 1
    put(file, bytes(content))
    edit(folder / "manifest.json", (before, sha256(file)))


def a_cell(root: Path) -> None:
    edit(root / NOTEBOOK, ("resamples=500", "resamples=50"))


def a_value_on_real_faces(root: Path) -> None:
    table = root / PEOPLE / "joint_bayesian"
    row = pd.read_csv(table.with_suffix(".csv"), dtype=str).iloc[0]
    shown, better = f"{float(row['value']):.4f}", f"{float(row['value']) + 0.01:.4f}"
    edit(table.with_suffix(".csv"), (f",{row['value']},", f",{better},"))
    edit(table.with_suffix(".md"), (shown, better))
    amend(root, study=PEOPLE)


def a_number_in_prose(root: Path) -> None:
    edit(root / NOTEBOOK, ("at 16,000 and", "at 18,000 and"))


def a_number_in_the_readme(root: Path) -> None:
    edit(root / "README.md", ("4,800 rendered", "9,700 rendered"))


class Tampering(NamedTuple):
    """What is done, and what is said of it."""

    does: Callable[[Path], None]
    file: str
    """The file that is named, or its beginning."""
    says: str
    """Part of what is said once the manifests are written anew; "" if nothing is then."""
    of_study: bool = True
    """Whether a study shows it, or what is no study's."""


RECORD = f"{HERE}/record.json"
TAMPERINGS = [
    Tampering(a_value, f"{HERE}/table4_six_settings.csv", "computed again from the score files"),
    Tampering(a_painted_png, f"{PICTURES}/roc.png", "grey levels apart"),
    Tampering(another_pdf, f"{PICTURES}/roc.pdf", "another size than the PNG"),
    Tampering(another_commit, RECORD, "notebook"),
    Tampering(a_commit_that_never_was, RECORD, "git knows no such ancestor"),
    Tampering(parameters, RECORD, "seed 0 committed, 1 now"),
    Tampering(versions, RECORD, "torch 2.14.1 committed, 2.13.0 now"),
    Tampering(seconds, RECORD, "seconds"),
    Tampering(a_table_less, f"{HERE}", "shows a table that no file holds"),
    Tampering(a_bogus_table, "results/answers.csv", manifest.UNLISTED, False),
    Tampering(a_bogus_table_of_a_study, f"{HERE}/table9.csv", "no cell of"),
    Tampering(score_files, f"{HERE}/table4_six_settings.csv", "Joint, synthetic, accuracy"),
    Tampering(a_published_value, f"{HERE}/table3_published.csv", "published 0.9635 committed"),
    Tampering(a_byte_of_the_faces, RECORD, "data synthetic"),
    Tampering(a_cell, RECORD, "notebook"),
    Tampering(a_value_on_real_faces, f"{PEOPLE}/joint_bayesian.csv", ""),
    Tampering(a_number_in_prose, NOTEBOOK, "neither filled in nor quoted", False),
    Tampering(a_number_in_the_readme, "README.md", "neither filled in nor quoted", False),
]

BY_HISTORY = (another_commit, a_commit_that_never_was, versions)
"""Without their manifests these are known by git's history alone."""


@pytest.fixture
def repository(own_places, monkeypatch) -> Path:
    """A copy of all that verify reads, with such history of the repository as there is."""

    def link(source, target):  # files are replaced, not edited
        try:
            os.link(source, target)
        except OSError:
            shutil.copy(source, target)

    root = own_places / "repository"
    own = shutil.ignore_patterns("local", "smoke", "*.ipynb")
    for folder in ("results", "figures"):
        shutil.copytree(ROOT / folder, root / folder, ignore=own, copy_function=link)
    for folder in ("notebooks", *manifest.EMBEDDED.values()):
        shutil.copytree(ROOT / folder, root / folder, copy_function=link)
    for name in COPIED:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        link(ROOT / name, root / name)
    git = ["git", "-C", str(ROOT), "rev-parse", "--absolute-git-dir"]
    place = subprocess.run(git, capture_output=True, text=True, check=True).stdout
    (root / ".git").write_text(f"gitdir: {place}")
    monkeypatch.setenv("LRFACE_ROOT", str(root))
    monkeypatch.setenv("LRFACE_OUT", str(root))
    # asked in a test of its own
    monkeypatch.setattr(networks, "check", lambda one, record: ([], 0))
    return root


def found(root: Path, tampering: Tampering) -> list[str]:
    every = study_results.find(root)
    if not tampering.of_study:
        return [str(drift) for drift in verify.of_rest(root, every)]
    (one,) = [one for one in every if tampering.file.partition("/")[2].startswith(one.name)]
    return [str(drift) for drift in verify.stored(root, [one]).drifts]


def name(tampering: Tampering) -> str:
    return tampering.does.__name__


@pytest.mark.slow
@pytest.mark.parametrize("tampering", TAMPERINGS, ids=name)
def test_what_is_changed_by_hand_is_named(repository, tampering):
    tampering.does(repository)
    lines = found(repository, tampering)
    assert [line for line in lines if line.startswith(tampering.file)], lines


@pytest.mark.slow
@pytest.mark.parametrize("tampering", TAMPERINGS, ids=name)
def test_writing_the_manifests_anew_does_not_hide_it(repository, tampering):
    if tampering.does in BY_HISTORY and not records.history(ROOT):
        pytest.skip("git has no whole history here, the only second source of this")
    tampering.does(repository)
    manifest.write(study_results.find(repository), repository)
    lines = found(repository, tampering)
    if not tampering.says:  # no second source: scores of real people are not here
        assert lines == []
    else:
        named = [line for line in lines if line.startswith(tampering.file)]
        assert any(tampering.says in line for line in named), lines


@pytest.mark.slow
def test_verify_ends_with_1_and_names_what_was_changed(repository, lrface):
    seconds(repository)
    code, out, _ = lrface("verify", "--study", "03", "--data", "synthetic")
    assert code == 1 and f"{RECORD}: seconds" in out


@pytest.mark.slow
def test_scores_of_a_released_network_are_asked_for_again(repository, monkeypatch):
    """A score file changed with its record, its table and the manifests: the network tells."""
    monkeypatch.undo()
    monkeypatch.setenv("LRFACE_ROOT", str(repository))
    monkeypatch.setenv("LRFACE_OUT", str(repository))
    one = study_results.StudyResults(repository, "synthetic", "quick", "02_training_size")
    listing = pd.read_csv(one.results / "scores.csv", dtype=str)
    chosen = listing.query("method == 'SRCNN' and setting == '4x' and seed == '0'")
    put(one.results / "scores.csv", chosen.to_csv(index=False))
    key = chosen["key"].iloc[0]
    file = one.results.parent / "scores" / f"{key}.parquet"
    better = pd.read_parquet(file) + 0.5
    file.unlink()
    better.to_parquet(file)
    drifts, asked = networks.check(one, one.record())
    assert asked == chosen.shape[0] and [Path(d.file).stem for d in drifts] == [key]
    assert "its psnr is off by 0.5" in drifts[0].why
