"""Study 05 at smoke: its tables, the score cache, the other protocol, TinyFace in its layout."""

import shutil

import numpy as np
import pandas as pd
import pytest
import scipy.io
from conftest import REAL, draw, needs_real
from lrface import report
from lrface.execution import notebooks, runner
from PIL import Image

pytestmark = pytest.mark.slow
FIGURES = {
    "figure4_heights",
    "figure6_native_and_synthetic",
    "figure7_cmc",
    "figure8_super_resolved",
    "rank20_by_height",
}


def computed(**given):
    path = notebooks.find("05")
    outcome = runner.run(path, notebooks.parameters(path, {"preset": "smoke", **given}), force=True)
    assert outcome.status == "computed", outcome.reason
    tables = sorted(
        name for name in outcome.outputs if name.endswith(".csv")
    )  # a figure's before the table of the same name
    return outcome, {
        name.rpartition("/")[2].removesuffix(".csv"): pd.read_csv(report.output_root() / name)
        for name in tables
    }


def test_smoke_of_native_faces(monkeypatch):
    monkeypatch.delenv("LRFACE_DATA")
    outcome, table = computed()
    assert table.keys() >= FIGURES
    assert all((outcome.figures / f"{name}.png").exists() for name in FIGURES)
    for name in (
        "table3_generic",
        "table4_native_or_synthetic",
        "table5_super_resolution",
        "table6_joint",
        "table7_complement",
    ):
        measured = (
            table[name]
            .query("value == value")
            .pivot(index=["method", "setting"], columns="metric", values="value")
        )
        assert ((measured >= 0) & (measured <= 1)).all(axis=None) and len(measured) >= 2, name
        assert (
            measured[["rank1", "rank5", "rank10", "rank20", "rank50"]].diff(axis=1).iloc[:, 1:] >= 0
        ).all(axis=None), name
        assert set(table[name].loc[table[name]["published"].notna(), "metric"]) == {
            "rank1",
            "rank20",
            "rank50",
            "mAP",
        }
    five = table["table5_super_resolution"].set_index(["method", "metric"])
    assert five["published"]["CSRI", "rank1"] == 0.448
    assert len(set(five.index.get_level_values(0))) == 10
    sizes = table["table2_search"].set_index("part")["images"]
    assert sizes["probe"] == sizes["gallery"] == 12 and sizes["distractor"] == 24 + 16
    stages = table["camera_stages"].query("metric == 'gained'")
    assert stages["setting"].nunique() == 11 and stages["method"].nunique() == 2
    assert table["domain_classifier"]["value"].between(0, 1).all()
    found = table["findings"].set_index("id")
    assert len(found) == 10 and len(table["contrasts"]) > 20
    assert set(found["verdict"]) == {"not tested"}  # of two people nobody learns to tell others
    # cached scores are used again, and give the same tables
    before = {name: frame for name, frame in table.items() if name != "runs"}
    _, again = computed()
    for name, frame in before.items():
        pd.testing.assert_frame_equal(again[name], frame)
    # the other protocol is its own: other numbers, none published, nothing tested
    _, aligned = computed(protocol="aligned")
    assert set(aligned["table5_super_resolution"]["metric"]) == {"rank1", "rank5", "rank20"}
    assert aligned["findings"]["lacks"].str.contains("published protocol|not run").all()
    assert aligned["table5_super_resolution"]["published"].isna().all()


def test_tinyface_in_its_official_layout(own_places, drawn_root, tmp_path, monkeypatch):
    """A holder of TinyFace names it, and the paper's own experiment runs: CelebA's large faces,
    TinyFace's small ones and its lists."""
    monkeypatch.setenv("LRFACE_DATA", str(tmp_path))
    shutil.copytree(drawn_root / "celeba", tmp_path / "celeba")
    test = tmp_path / "tinyface" / "Testing_Set"
    parts = {"Probe": ("probe", 2), "Gallery_Match": ("gallery_match", 1)}
    files = [
        tmp_path / "tinyface" / "Training_Set" / f"9{who}" / f"9{who}_{k}.jpg"
        for who in range(3)
        for k in range(3)
    ]
    listed = {
        part: [(f"8{who}_{part[0]}{k}.jpg", 80 + who) for who in range(3) for k in range(n)]
        for part, (_, n) in parts.items()
    }
    files += [test / part / name for part, rows in listed.items() for name, _ in rows]
    files += [test / "Gallery_Distractor" / f"0_{k}.jpg" for k in range(7)]
    for seed, file in enumerate(files):
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(draw(1000 + seed, 14 + seed % 5, 17 + seed % 9)).save(file)
    for part, (name, _) in parts.items():
        names, ids = zip(*listed[part], strict=True)
        kind = name.partition("_")[0]
        cells = np.array([[one] for one in names], dtype=object)
        scipy.io.savemat(
            test / f"{name}_img_ID_pairs.mat",
            {f"{kind}_set": cells, f"{kind}_ids": np.array([ids]).T},
        )
    _, table = computed(data="celeba", native="tinyface")
    sizes = table["table2_search"].set_index(["set", "part"])["images"]
    assert [sizes["native", part] for part in ("probe", "gallery", "distractor")] == [6, 3, 7]
    assert table["table2_search"].query("set == 'native'")["published_images"].tolist() == [
        3728,
        4443,
        153428,
    ]
    five = table["table5_super_resolution"].query("value == value")
    assert five["n"].unique().tolist() == [6] and five["method"].nunique() == 10
    assert "down-sampled" in set(table["table4_native_or_synthetic"]["setting"])
    assert "camera_stages" not in table


@needs_real
def test_frames_of_video_as_native_faces(monkeypatch):
    """YouTube Faces beside CelebA: half of the people searched for, probes and mates of other
    clips, and WIDER's crops in a figure."""
    monkeypatch.setenv("LRFACE_DATA", REAL)
    outcome, table = computed(data="celeba", native="ytf")
    assert outcome.figures.joinpath("figure8_wider.png").exists()
    sizes = table["table2_search"].set_index(["set", "part"])
    people = sizes["people"].xs("probe", level="part")
    assert people["native"] == people["down-sampled"] == 2 and (sizes["images"] > 0).all()
    in_gallery = sizes["images"].drop("probe", level="part").groupby("set").sum()
    assert in_gallery["down-sampled"] <= in_gallery["native"]
    n = table["table4_native_or_synthetic"].query("value == value").groupby("setting")["n"].unique()
    assert {name: list(values) for name, values in n.items()} == {
        name: [sizes["images"][name, "probe"]] for name in ("native", "down-sampled")
    }


def test_released_networks_search_for_everybody(monkeypatch, own_places):
    """Study 05 by the six networks that are released; rows of the others are left out."""
    monkeypatch.delenv("LRFACE_DATA")
    outcome, table = computed(trained_on="synthetic")
    assert not [p for p in (own_places / "cache" / "runs").glob("*") if p.is_dir()]
    assert set(table["table3_generic"].query("value == value")["method"]) == {"CentreFace"}
    assert "table6_joint" not in table
    summary = (outcome.results / "summary.md").read_text()
    assert "of every network (networks trained elsewhere: " in summary
    assert "Down-sampled faces are not compared here" in summary
