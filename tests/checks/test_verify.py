"""`lrface verify` finds what was changed by hand, not the last digits of another run; `lrface why`
says what made a table."""

import hashlib
import io
import json
import shutil
import subprocess
from base64 import b64encode
from pathlib import Path
from types import SimpleNamespace

import nbformat
import numpy as np
import pandas as pd
import pytest
from lrface import report
from lrface.checks import compare, lineage, other_run, study_results, verify
from lrface.checks.study_results import StudyResults
from lrface.metrics.intervals import Estimate, resampled_means
from matplotlib.figure import Figure
from PIL import Image

ROOT = Path(__file__).parents[2]
STUDY = "01_small"


def make(study: report.Study) -> None:
    rows = [
        report.row(method, setting, metric, Estimate(value, value - width, value + width, 500))
        for method, shift in (("bicubic", 0.0), ("EDSR", 2.0))
        for setting in ("2x", "4x")
        for metric, value, width in (
            ("psnr", 27.123456 + shift, 0.25),
            ("ssim", 0.81 + shift / 100, 0.004),
        )
    ]
    table = report.long(rows, STUDY, "2+3", "edface", ("2",))
    study.table("table2_fidelity", table, note="RGB.")
    study.summary("EDSR is 2.00 dB above bicubic.")
    cost = [
        report.row("EDSR", "4x", "ms", 7.1, 48),
        report.row("EDSR", "4x", "parameters", 195971.0, 1),
    ]
    study.table("cost", report.long(cost, STUDY, "2+3", "edface", ("2",)))
    study.listing(
        "groups", pd.DataFrame({"group": ["a", "b"], "images": [12, 13], "seconds": [1.5, 2.5]})
    )
    for number, name in enumerate(("scores", "others")):
        figure = Figure(figsize=(4, 2))
        figure.subplots().bar(range(4), np.roll([1, 9, 4, 2], number))
        study.figure(name, figure, table, alt="Bars.")
    study.findings(a_few_findings())


def a_few_findings() -> report.findings.Found:
    """Three contrasts of three trainings and 60 people: above zero, about zero and below it."""
    random, people = np.random.default_rng(0), np.arange(120) // 2
    names = {"real-lr-improved": 1.0, "strangers-grow-alike": 0.0, "skewed-races-bias": -1.0}
    given = []
    for name, effect in names.items():
        drawn = resampled_means(effect + random.normal(0, 0.2, (3, 120)), people)
        for said in ("a minus b", "b minus a"):  # the first decides, the second is evidence
            given.append(report.findings.given(name, said, drawn, people=60))
            drawn = -drawn
    facts = dict.fromkeys(report.needs.NEEDS, "")
    return report.findings.evaluate("01", lambda *_: None, facts, given)


def write_record(study: StudyResults) -> None:
    """A record as the runner writes it, with the files' hashes as they are."""
    files = [
        file
        for folder in (study.results, study.figures)
        for file in folder.glob("[!.]*")
        if file.name != "record.json"
    ]
    record = {
        "study": STUDY,
        "parameters": {"data": study.data, "preset": study.preset, "n_test": 500, "seed": 0},
        "seconds": 61.2,
        "finished": "2026-11-22T10:00:00+00:00",
        "versions": {"python": "3.11.7", "torch": "2.14.1"},
        "platform": "Linux x86_64",
        "cpu_capability": "AVX512",
        "commit": "0123456789abcdef",
        "dirty": False,
        "outputs": {
            file.relative_to(study.root).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest()
            for file in files
        },
    }
    (study.results / "record.json").write_text(json.dumps(record))


def write_notebook(study: StudyResults) -> None:
    """The executed notebook of the study: its tables, findings, and figures in fewer dots."""
    texts = [file.read_text() for file in sorted(study.results.glob("*.md"))]
    findings = report.page.of_study(report.ledger.read(study.results / "findings.csv"))
    outputs = [
        nbformat.v4.new_output("display_data", {"text/markdown": t}) for t in [*texts, findings]
    ]
    for file in sorted(study.figures.glob("*.png")):
        small = io.BytesIO()
        with Image.open(file) as picture:
            picture.convert("RGB").resize((440, 220), Image.Resampling.BOX).save(small, "png")
        mark = {"lrface": {"figure": file.stem, "photos": False}}
        outputs.append(
            nbformat.v4.new_output(
                "display_data", {"image/png": b64encode(small.getvalue()).decode()}, metadata=mark
            )
        )
    cell = nbformat.v4.new_code_cell("study", outputs=outputs, execution_count=1)
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), study.results / "notebook.ipynb")


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """An output folder with one study's tables, figures and findings, its record and its executed
    notebook."""
    root = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LRFACE_OUT", str(root))
        make(
            report.Study(
                STUDY,
                SimpleNamespace(name="synthetic", fingerprint="0123abcd", photos=False),
                "quick",
            )
        )
        study = StudyResults(root, "synthetic", "quick", STUDY)
        write_notebook(study)
        write_record(study)
    return root


@pytest.fixture
def study(made, own_places, monkeypatch) -> StudyResults:
    """A copy to spoil, where LRFACE_OUT points; no other study is near."""
    shutil.copytree(made, own_places / "out")
    monkeypatch.setenv("LRFACE_ROOT", str(own_places))
    return StudyResults(own_places / "out", "synthetic", "quick", STUDY)


def found(study: StudyResults) -> list[compare.Drift]:
    return verify.stored(study.root, study_results.find(study.root)).drifts


def edit(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert text.count(old) == 1, (old, text)
    file.write_text(text.replace(old, new))


@pytest.mark.slow
def test_results_as_they_were_made_verify(study, lrface):
    code, out, err = lrface("verify")
    assert (
        (code, err) == (0, "")
        and f"synthetic/quick/{STUDY}: no drift" in out
        and "checked on" in out
    )


@pytest.mark.slow
@pytest.mark.parametrize("adjusted", [False, True], ids=["as it was", "hashes adjusted"])
def test_a_number_changed_by_hand_is_found_with_its_row_and_column(study, lrface, adjusted):
    edit(study.results / "table2_fidelity.csv", "EDSR,4x,psnr,29.1235,", "EDSR,4x,psnr,29.2235,")
    if adjusted:
        write_record(study)
    code, out, _ = lrface("verify")
    assert code == 1
    line = next(
        line
        for line in out.splitlines()
        if line.startswith(f"results/synthetic/quick/{STUDY}/table2_fidelity.csv")
    )
    assert "EDSR, 4x, psnr: value 29.12 committed, 29.2235 now" in line and "Markdown" in line
    figure = f"figures/synthetic/quick/{STUDY}/scores.csv"  # the two disagree
    assert f"{figure}: EDSR, 4x, psnr: value 29.2235 committed, 29.1235 now" in out


def test_a_change_in_the_csv_and_its_markdown_is_found_by_the_executed_notebook(study):
    edit(study.results / "table2_fidelity.csv", "EDSR,4x,psnr,29.1235,", "EDSR,4x,psnr,29.2235,")
    text = (study.results / "table2_fidelity.md").read_text().splitlines(keepends=True)
    row = next(i for i, line in enumerate(text) if line.startswith("| 4x") and "psnr" in line)
    text[row] = text[row].replace("29.12", "29.22", 1)
    (study.results / "table2_fidelity.md").write_text("".join(text))
    write_record(study)
    said = [d for d in found(study) if d.file.endswith("table2_fidelity.md")]
    assert [(d.row, d.column, d.why) for d in said] == [
        ("4x, psnr", "EDSR", "committed: notebook.ipynb")
    ]


def test_a_change_without_a_second_source_is_found_by_the_hash_and_named_by_the_history(study):
    git = ["git", "-C", str(study.root), "-c", "user.name=a", "-c", "user.email=a@example.org"]
    edit(study.results / "groups.csv", "a,12,1.5", "a,14,1.5")
    only_hash = found(study)
    assert [(Path(d.file).name, d.why) for d in only_hash] == [("groups.csv", verify.CHANGED)]
    edit(study.results / "groups.csv", "a,14,1.5", "a,12,1.5")
    subprocess.run([*git, "init", "-q"], check=True)
    for content in ("a,12,1.5", "a,14,1.5"):
        edit(study.results / "groups.csv", "a,12,1.5", content)
        subprocess.run([*git, "add", "results"], check=True)
        subprocess.run([*git, "commit", "-qm", content], check=True)
    (named,) = found(study)
    assert (named.row, named.column, named.committed, named.now) == ("a", "images", "12", "14")


@pytest.mark.parametrize("adjusted", [False, True], ids=["as it was", "hashes adjusted"])
def test_a_swapped_png_is_found(study, adjusted):
    shutil.copy(study.figures / "others.png", study.figures / "scores.png")
    if adjusted:
        write_record(study)
    (swapped,) = found(study)
    assert swapped.file.endswith("scores.png") and "this one is its others" in swapped.why


def test_a_broken_png_and_a_figure_without_its_csv_are_found(study):
    (study.figures / "scores.png").write_bytes((study.figures / "scores.png").read_bytes()[:500])
    (study.figures / "others.csv").unlink()
    write_record(study)
    whys = {Path(d.file).name: d.why for d in found(study)}
    assert whys == {
        "scores.png": "the PNG does not open",
        "others.png": "the CSV it was drawn from is missing",
    }


@pytest.mark.parametrize("adjusted", [False, True], ids=["as it was", "hashes adjusted"])
def test_a_finding_whose_interval_crosses_zero_but_says_supported_is_found(study, lrface, adjusted):
    edit(study.results / "findings.csv", "inconclusive", "supported")
    if adjusted:  # everything that could give it away but its own numbers
        whole = study.root / "results" / "findings.csv"
        whole.write_text(whole.read_text().replace("inconclusive", "supported"))
        write_notebook(study)
        write_record(study)
    code, out, _ = lrface("verify")
    assert code == 1
    said = "strangers-grow-alike: verdict inconclusive committed, supported now"
    assert f"findings.csv: {said} (inconclusive is what its interval says" in out


@pytest.mark.parametrize("table", ["findings", "contrasts"])
def test_the_tables_of_all_findings_are_the_studies_own(study, table):
    whole = study.root / "results" / f"{table}.csv"
    frame = pd.read_csv(whole, dtype=str, keep_default_na=False)
    if table == "findings":
        row = frame.index[frame["id"] == "real-lr-improved"][0]
        frame.loc[row, "people"] = "61"
        frame.to_csv(whole, index=False)
        (drift,) = found(study)
        assert (drift.file, drift.row, drift.column, drift.now) == (
            "results/findings.csv",
            "real-lr-improved",
            "people",
            "61",
        )
    whole.unlink()
    assert f"missing: the studies have {table}" in [d.why for d in found(study)]


def test_a_missing_row_a_missing_file_and_one_that_no_record_names_are_found(study):
    file = study.results / "table2_fidelity.csv"
    file.write_text(
        "".join(
            line
            for line in file.read_text().splitlines(keepends=True)
            if "bicubic,2x,ssim" not in line
        )
    )
    (study.figures / "others.pdf").unlink()
    (study.results / "mine.csv").write_text("a\n1\n")
    said = {(Path(d.file).name, d.row, d.why) for d in found(study)}
    assert (
        "table2_fidelity.csv",
        "bicubic, 2x, ssim",
        "this row of the Markdown beside it is missing",
    ) in said
    assert ("others.pdf", "", "the record names it, and it is missing") in said
    assert ("mine.csv", "", "no record names it") in said


def test_a_summary_changed_by_hand_is_found_by_the_executed_notebook(study):
    edit(study.results / "summary.md", "2.00 dB", "3.00 dB")
    write_record(study)
    (changed,) = found(study)
    assert changed.why == "notebook.ipynb shows no such text"
    assert changed.file.endswith("summary.md")


def test_a_published_value_is_the_papers(study):
    edit(study.results / "table2_fidelity.csv", "500,26.99", "500,26.89")
    write_record(study)
    assert ("EDSR, 4x, psnr", "published", "26.89") in {
        (d.row, d.column, d.now) for d in found(study)
    }


def test_results_without_a_record_and_mangled_ones_are_drift_not_a_traceback(study, lrface):
    (study.results / "record.json").write_text("{")
    (study.results / "table2_fidelity.csv").write_bytes(b"\xff\xfe\x00")
    (study.results / "cost.csv").write_text("a,b\n1,2\n")
    code, out, err = lrface("verify")
    assert code == 1 and err == "" and "record.json: missing or damaged" in out
    assert (
        "table2_fidelity.csv: it cannot be read as a table" in out
        and "cost.csv: it cannot be compared" in out
    )


def test_only_figures_of_people_may_be_missing(study):
    shutil.rmtree(study.figures)
    assert {d.why for d in found(study)} == {"the record names it, and it is missing"}
    people = StudyResults(study.root, "celeba", "quick", STUDY)
    study.results.parents[1].rename(people.results.parents[1])
    text = (people.results / "record.json").read_text().replace("/synthetic/", "/celeba/")
    (people.results / "record.json").write_text(text)
    report = verify.stored(study.root, study_results.find(study.root))
    assert (
        not [d for d in report.drifts if "figures/" in d.file]
        and "6 figure files of celeba" in report.left_out[0]
    )


@pytest.fixture
def other(made, tmp_path) -> StudyResults:
    """Another run of the same study."""
    shutil.copytree(made, tmp_path / "ci")
    return StudyResults(tmp_path / "ci", "synthetic", "quick", STUDY)


@pytest.mark.slow
def test_a_difference_over_the_tolerance_is_drift_and_one_under_it_is_not(
    study, other, lrface, tmp_path
):
    edit(
        other.results / "table2_fidelity.csv", "EDSR,4x,psnr,29.1235,", "EDSR,4x,psnr,29.1385,"
    )  # 0.015 dB
    edit(other.results / "cost.csv", "ms,7.1,", "ms,71,")
    edit(other.results / "groups.csv", "a,12,1.5", "a,12,99.5")
    assert lrface("verify", "--against", other.root)[0] == 0
    edit(
        other.results / "table2_fidelity.csv", "EDSR,2x,psnr,29.1235,", "EDSR,2x,psnr,29.1485,"
    )  # 0.025 dB
    record = json.loads((other.results / "record.json").read_text())
    record |= {"cpu_capability": "AVX2", "versions": {"python": "3.11.7", "torch": "2.15.0"}}
    (other.results / "record.json").write_text(json.dumps(record))
    code, out, _ = lrface("verify", "--against", other.root, "--report", tmp_path / "drift.md")
    assert code == 1 and out.count("committed, ") == 1
    said = "value 29.1235 committed, 29.1485 now, off by 0.025, tolerance 0.02 (dB"
    assert f"table2_fidelity.csv: EDSR, 2x, psnr: {said}" in out
    assert "made on Linux x86_64, AVX2" in out and "committed on Linux x86_64, AVX512" in out
    assert "torch 2.15.0 (committed with 2.14.1)" in out
    written = (tmp_path / "drift.md").read_text()
    assert "| EDSR, 2x, psnr | value    | 29.1235     | 29.1485 | 0.025    | 0.02" in written
    assert "psnr: 0.02;" in written and "seconds: not compared, a time" in written


def test_counts_verdicts_rows_and_files_are_exact(study, other):
    edit(other.results / "groups.csv", "b,13", "b,14")
    edit(other.results / "cost.csv", "195971", "195970")
    edit(other.results / "findings.csv", "inconclusive", "supported")
    edit(other.results / "findings.csv", "han-aligns-best,", "han-aligns,")
    (other.figures / "others.csv").unlink()
    drifts = other_run.against(study_results.find(study.root), other.root).drifts
    assert {(Path(d.file).name, d.row, d.column, d.why) for d in drifts} == {
        ("groups.csv", "b", "images", "counts are exact"),
        ("cost.csv", "EDSR, 4x, parameters", "value", "counts are exact"),
        ("findings.csv", "strangers-grow-alike", "verdict", "words and gaps are exact"),
        ("findings.csv", "han-aligns-best", "", "this row is missing now"),
        ("findings.csv", "han-aligns", "", "this row was added"),
        ("others.csv", "", "", "this table is missing now"),
    }


@pytest.mark.slow
def test_rows_on_faces_that_are_not_at_hand_are_left_out_and_named(study, other):
    lines = (study.results / "groups.csv").read_text()
    (study.results / "groups.csv").write_text(lines + '"lfw, official",7,1\n')
    (other.results / "groups.csv").write_text(
        lines + '"lfw, as published",7,1\n'
    )  # a curve of another run, say
    (study.results / "photographs.csv").write_text("set,images\nlfw,7\n")
    for at, data in (
        (study, {"data synthetic": "1", "data lfw": "2"}),
        (other, {"data synthetic": "1", "data lfw": "absent"}),
    ):
        record = json.loads((at.results / "record.json").read_text())
        (at.results / "record.json").write_text(json.dumps(record | {"provenance": data}))
    report = other_run.against(study_results.find(study.root), other.root)
    assert report.drifts == [] and report.left_out == [
        "2 rows of synthetic/quick/01_small on lfw (not at hand in the other run)"
    ]
    edit(other.results / "record.json", "absent", "2")
    assert {
        d.why for d in other_run.against(study_results.find(study.root), other.root).drifts
    } == {
        "this row is missing now",
        "this row was added",
        "this table is missing now",
    }


def test_a_run_that_did_not_complete_is_drift(study, other):
    (other.results / "record.json").unlink()
    (drifted,) = other_run.against(study_results.find(study.root), other.root).drifts
    assert "left no record" in drifted.why


@pytest.mark.parametrize(
    "words, sentence",
    [
        (["--study", "07"], "holds no results of study 07"),
        (["--data", "celeba"], "holds no results on celeba"),
        (["--against", "/nowhere"], "--against /nowhere: give another output folder"),
        (["--fresh", "--against", "/nowhere"], "exclude one another"),
    ],
)
def test_a_wrong_request_is_one_sentence_and_exit_2(study, lrface, words, sentence):
    code, out, err = lrface("verify", *words)
    assert (code, out) == (2, "") and sentence in err and len(err.strip().splitlines()) == 1


def test_nothing_in_common_is_a_wrong_request(study, lrface, tmp_path):
    (tmp_path / "ci" / "results" / "celeba" / "quick").mkdir(parents=True)
    code, _, err = lrface("verify", "--against", tmp_path / "ci")
    assert code == 2 and "holds no results to compare with" in err


@pytest.mark.slow
def test_the_committed_results_verify(monkeypatch):
    """What this repository states in several places is the same in all of them."""
    monkeypatch.setenv("LRFACE_ROOT", str(ROOT))
    monkeypatch.delenv("LRFACE_OUT")
    result = verify.run(None, None, None, None, False)
    assert [str(d) for d in result.drifts] == [] and len(result.checked) >= 10
    [(name, results)] = lineage.find("synthetic/table2_fidelity").items()
    assert lineage.explain(name, results)["files"].count("(unchanged)") == 2


NOTEBOOK = """
from types import SimpleNamespace
from lrface import report
faces = SimpleNamespace(name="celeba", fingerprint="0123abcd", photos=True)
study = report.Study("01_small", faces, preset)
rows = [report.row("bicubic", "4x", "psnr", 27.0 + seed, 5)]
study.table("table2_fidelity", report.long(rows, study.name, "2", "edface", ("2",)))
"""


@pytest.mark.slow
def test_a_fresh_run_is_compared_with_the_committed_one_and_leaves_it_alone(
    own_places, monkeypatch, lrface
):
    parameters = nbformat.v4.new_code_cell(
        "data: str = 'celeba'\npreset: str = 'quick'\nseed: int = 0",
        metadata={"tags": ["parameters"]},
    )
    (own_places / "notebooks").mkdir()
    path = own_places / "notebooks" / f"{STUDY}.ipynb"
    kernel = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    nbformat.write(
        nbformat.v4.new_notebook(
            cells=[parameters, nbformat.v4.new_code_cell(NOTEBOOK)], metadata=kernel
        ),
        path,
    )
    (own_places / "pyproject.toml").touch()
    monkeypatch.setenv("LRFACE_ROOT", str(own_places))
    code, out, err = lrface("reproduce", "--data", "celeba", "-p", "seed=2")
    assert code == 0, err
    table = own_places / "out" / "results" / "celeba" / "quick" / STUDY / "table2_fidelity.csv"
    code, out, _ = lrface("verify", "--fresh")
    assert (
        code == 0
        and "no drift (committed results against a run made now)" in out
        and "as committed" in out
    )
    edit(table, "psnr,29,", "psnr,29.5,")
    code, out, _ = lrface("verify", "--fresh")
    assert (
        code == 1
        and "value 29.5 committed, 29 now, off by 0.5, tolerance 0.02" in out
        and "psnr,29.5," in table.read_text()
    )
    edit(path, "27.0 + seed", "1 / 0 + seed")
    code, out, _ = lrface("verify", "--fresh")
    assert code == 1 and "executing it again failed" in out and "ZeroDivisionError" in out


def test_why_says_what_made_a_table(study, lrface):
    code, out, _ = lrface("why", "01/table2")
    assert code == 0
    for words in (
        "lrface reproduce --study 01 --data synthetic --preset quick -p n_test=500 -p seed=0",
        f"notebooks/{STUDY}.ipynb",
        "0123456789abcdef, clean",
        "tested on 0123abcd",
        "torch 2.14.1",
        "2026-11-22T10:00:00+00:00, in 1:01",
        "table2_fidelity.csv (unchanged)",
    ):
        assert words in out
    edit(study.results / "table2_fidelity.csv", "EDSR,4x,psnr,29.1235,", "EDSR,4x,psnr,29.2235,")
    out = lrface("why", study.results / "table2_fidelity.csv")[1]
    assert (
        "table2_fidelity.csv (CHANGED since it was made)" in out
        and "table2_fidelity.md (unchanged)" in out
    )


def test_why_lists_several_and_suggests_the_nearest(study, lrface):
    people = study.root / "results" / "celeba" / "quick" / STUDY
    shutil.copytree(study.results, people)
    (people / "record.json").write_text(
        (people / "record.json").read_text().replace("/synthetic/", "/celeba/")
    )
    code, out, _ = lrface("why", "cost")  # of two sets the rendered faces
    assert code == 0 and f"results/synthetic/quick/{STUDY}/cost.csv" in out
    other = study.root / "results" / "synthetic" / "gpu" / STUDY
    shutil.copytree(study.results, other)
    record = (other / "record.json").read_text()
    (other / "record.json").write_text(record.replace("/quick/", "/gpu/"))
    code, out, err = lrface("why", "synthetic/cost")
    assert code == 2 and len(out.split()) == 2 and "any of these 2" in err
    assert lrface("why", "celeba/cost")[0] == 0
    code, out, err = lrface("why", "tabel2_fidelty")
    assert (code, out) == (2, "") and "did you mean table2_fidelity?" in err


def test_why_answers_for_a_finding(study, lrface):
    code, out, _ = lrface("why", "strangers-grow-alike")
    words = ("Different people's faces are more similar", "section 4.5, Figure 6", "≈ inconclusive")
    assert code == 0 and all(word in out for word in words)
    assert "60 people; 3 trainings" in out and f"notebooks/{STUDY}.ipynb" in out
    code, out, _ = lrface("why", "csri-best")  # of a study without results
    assert code == 0 and "+12.7 %" in out and "not yet" in out
