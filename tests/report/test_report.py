"""Tables with their published values, and where they lie."""

from types import SimpleNamespace

import pandas as pd
import pytest
from lrface import report
from lrface.errors import UsageError
from lrface.metrics import Estimate


def test_the_published_tables_are_the_papers():
    known = (
        report.published()
        .query("paper == 'edface' and table in ['2', '3']")
        .set_index(["table", "setting", "method", "metric"])["value"]
    )
    assert len(known) == 152 and known.index.is_unique
    # spot checks against the printed tables, and the sentences under them
    assert (
        known["2", "2x", "RCAN", "psnr"] == 31.42
        and known["3", "4x_DN", "WaveletSRNet", "identity"] == 0.7857
    )
    psnr = known.xs("2").xs("psnr", level="metric")
    for setting in ("4x", "4x_BD", "4x_DN", "8x"):
        assert psnr[setting].idxmax() == "DICNet"
    assert psnr["2x"].idxmax() == "RCAN"
    best = {
        s: known["3", s].xs("alignment", level="metric").idxmin()
        for s in ("2x", "4x", "4x_BD", "4x_DN", "8x")
    }
    assert best == {"2x": "HAN", "4x": "HAN", "4x_BD": "RCAN", "4x_DN": "HAN", "8x": "RDN"}


def test_the_published_training_sizes():
    table4 = (
        report.published()
        .query("paper == 'edface' and table == '4'")
        .set_index(["setting", "method", "metric"])["value"]
    )
    assert (
        len(table4) == 24
        and table4["8x", "DICNet 0.3", "psnr"] == 24.63
        and table4["4x_DN", "DICNet 0.7", "ssim"] == 0.8073
    )
    # its last column repeats Table 2
    table2 = (
        report.published()
        .query("paper == 'edface' and table == '2' and method == 'DICNet'")
        .set_index(["setting", "metric"])["value"]
    )
    assert table4.xs("DICNet 1.35", level="method").sort_index().equals(table2.sort_index())


def test_the_published_tinyface_tables():
    known = (
        report.published()
        .query("paper == 'csri'")
        .set_index(["table", "setting", "method", "metric"])["value"]
    )
    assert (
        known["3", "native", "CentreFace", "rank1"] == 0.321
        and known["4", "down-sampled", "CentreFace", "rank50"] == 0.702
    )
    assert (
        known["5", "native", "CSRI", "mAP"] == 0.362
        and known["5", "native", "VGG-Face-like + VDSR", "rank20"] == 0.383
    )
    assert known["6", "native", "joint", "rank1"] - known[
        "6", "native", "independent", "rank1"
    ] == pytest.approx(0.101)  # section 5.3
    assert (known.xs("native", level=1).groupby(level=(0, 1)).size() == 4).all()


def test_the_published_tables_of_cbn():
    known = (
        report.published()
        .query("paper == 'slides' and table in ['cbn', 'cbn ablation']")
        .set_index(["table", "setting", "method", "metric"])["value"]
    )
    assert known.index.is_unique
    assert (len(known["cbn"]), len(known["cbn ablation"])) == (14 * 6 + 8 * 3, 15)
    assert known["cbn", "MultiPIE 5px", "[52]", "ssim"] == 0.774
    assert known["cbn", "PubFig 3x", "CSCN", "psnr"] == 32.88
    assert known["cbn", "HELEN 5px", "[8]", "psnr"] == 20.64
    assert known["cbn ablation", "PubFig83", "single cascade", "psnr"] == 26.70
    # CBN is best everywhere, and the ablation's full model is that of 5 pixels
    for (_, metric), row in known["cbn"].groupby(level=("setting", "metric")):
        assert row.idxmax()[1:] == ("CBN", metric)
    for people in ("PubFig", "HELEN"):
        full = known["cbn ablation", people, "CBN", "psnr"]
        assert full == known["cbn", f"{people} 5px", "CBN", "psnr"]


def test_the_published_curves_of_wider_face():
    known = (
        report.published()
        .query("paper == 'slides' and table == 'wider'")
        .set_index(["setting", "method", "metric"])["value"]
    )
    assert len(known) == 36 and known.index.is_unique  # 8 methods on test, 4 on val, 3 lists
    assert known["hard", "multi-scale cascade", "AP"] == 0.4
    assert known["easy val", "Faceness-WIDER", "AP"] == 0.714
    assert known.between(0, 1).all()
    # every method finds fewer of the harder faces, and training on WIDER FACE helps
    for setting in ("", " val"):
        easy, medium, hard = (known[f"{name}{setting}"] for name in ("easy", "medium", "hard"))
        assert (easy > medium).all() and (medium > hard).all()
    for name in ("easy", "medium", "hard"):
        assert known[name, "ACF-WIDER", "AP"] > known[name, "ACF", "AP"]
    assert known["hard"].idxmax() == ("multi-scale cascade", "AP")


def test_a_table_has_published_beside_measured():
    rows = [
        report.row("EDSR", "4x", "psnr", Estimate(28.123, 27.9, 28.3, 500)),
        report.row("bicubic", "4x", "psnr", Estimate(26.5, 26.3, 26.7, 500)),
        report.row("DICNet", "4x", "psnr", float("nan")),
    ]
    frame = report.long(rows, "01", "2", "edface", ("2",))
    assert frame["published"].tolist()[0] == 26.99 and pd.isna(frame["published"][1])
    line = report.pivot(frame).iloc[0]
    assert line["EDSR"] == "**28.12** [27.90, 28.30] (26.99)"
    assert (
        line["bicubic"] == "26.50 [26.30, 26.70]"
        and line["DICNet"] == "– (29.06)"
        and line["n"] == "500"
    )


@pytest.mark.parametrize("metric, better", [("psnr", "a"), ("lost", "b")])
def test_the_best_is_bold_whichever_way_is_better(metric, better):
    rows = [report.row("a", "4x", metric, 2.0), report.row("b", "4x", metric, 1.0)]
    line = report.pivot(report.long(rows, "01", "t", "edface", ())).iloc[0]
    assert line[better].startswith("**") and sum("**" in line[m] for m in "ab") == 1


@pytest.mark.parametrize(
    ("metric", "bold"),
    [
        ("tpr_at_1e-3", "b"),
        ("accuracy (dlib)", "b"),
        ("identity_frnet", "b"),
        ("lost", "a"),
        ("psnr lost", ""),
        ("p (McNemar)", ""),
    ],
)
def test_the_better_end_is_known_from_the_metrics_name(metric, bold):
    rows = [report.row(m, "4x", metric, v) for m, v in (("a", 0.25), ("b", 0.5))]
    table = report.pivot(report.long(rows, "03", "4", "joint", ())).iloc[0]
    assert [m for m in ("a", "b") if "**" in table[m]] == list(bold)


def test_a_study_of_one_set_tested_on_another_lies_with_the_first(own_places, capsys):
    faces = SimpleNamespace(name="lfw", fingerprint="f" * 16, photos=True)
    study = report.Study("03_x", faces, "smoke", "celeba")
    study.table(
        "t", report.long([report.row("bicubic", "lfw", "psnr", 1.0)], study.name, "t", "joint", ())
    )
    assert (study.results, study.figures) == report.study_folders(
        "celeba", "smoke", "03_x"
    ) and not (own_places / "out/results/lfw").exists()
    assert f"celeba / smoke, lfw, fingerprint {'f' * 16}." in (study.results / "t.md").read_text()
    study.findings(report.findings.evaluate("00", lambda *_: None, {}))
    assert set(pd.read_csv(study.results / "findings.csv")["data"]) == {"celeba"}


def test_a_table_without_rows_has_its_columns():
    frame = report.long([], "05", "6", "csri", ("6",))
    assert frame.empty and {"method", "value", "published"} <= set(frame.columns)


def test_a_table_that_no_value_is_entered_of_is_a_mistake():
    rows = [report.row("AFW", "counts", "faces", float("nan"))]
    frame = report.long(rows, "08", "sets", "slides", ("detection sets",))
    assert frame["published"].item() == 468
    assert report.pivot(frame)["AFW"].item() == "– (468)"
    with pytest.raises(UsageError, match="no table 'datasets' of slides: it has "):
        report.long([], "08", "sets", "slides", ("datasets",))
