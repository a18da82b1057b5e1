"""Cards of networks and face sets say what records say, and credit a score to nobody else."""

import json

import pandas as pd
import pytest
from conftest import tiny_config
from lrface.checks.study_results import StudyResults
from lrface.data import fetch, rendered_scenes
from lrface.errors import LrfaceError
from lrface.files import project_root
from lrface.report.tables import COLUMNS
from lrface.site import cards, face_cards
from lrface.training.run_store import Run

STUDY = "01_degradation_settings"
RECORD = {
    "key": "0123456789abcdef",
    "data": {"name": "synthetic", "n": 3384, "fingerprint": "265f0141bba37192"},
    "parameters": 9539,
    "val_psnr": 29.4,
    "seconds": 125.0,
    "device": "cpu",
    "peak_memory_mb": 1755,
    "platform": "Linux x86_64",
    "commit": "f89334e9745130dc2a85caa622ef041968b1a9cf",
    "sha256": "e3" * 32,
}
RISING = "step,loss,lr,val_psnr\n" + "".join(
    f"{s},0.1,0.001,{20 + s / 50}\n" for s in range(0, 600, 50)
)


@pytest.fixture
def a_run(tmp_path):
    def make(log=RISING, **changes):
        (tmp_path / "log.csv").write_text(log)
        return Run(tmp_path, tiny_config(data="synthetic", **changes), RECORD, "released")

    return make


@pytest.fixture
def study(own_places, monkeypatch):
    """``study(runs, rows)``: a project's study 01 with these networks and these scores."""
    root = own_places / "project"
    monkeypatch.setenv("LRFACE_ROOT", str(root))

    def make(runs, rows):
        one = StudyResults(root, "synthetic", "quick", STUDY)
        one.results.mkdir(parents=True)
        columns = ["key", "method", "setting", "train_fingerprint"]
        pd.DataFrame(runs, columns=columns).to_csv(one.results / "runs.csv", index=False)
        names = ["method", "setting", "metric", "value", "low", "high", "n"]
        frame = pd.DataFrame(rows, columns=names)
        table = frame.assign(study=STUDY, table="2", published="")[COLUMNS]
        table.to_csv(one.results / "table2.csv", index=False)
        pd.DataFrame({"method": ["EDSR"]}).to_csv(one.results / "other.csv", index=False)
        return one

    return make


def test_a_card_says_what_the_record_says(a_run):
    scores = [cards.Score("synthetic", STUDY, "psnr", 29.171, 28.96, 29.4, 500)]
    text = cards.card(a_run(), "01, 03", scores)
    for said in (
        *("9,539 numbers", "3,384 of `synthetic`", "265f0141bba37192", "4 times smaller, bicubic"),
        *("6 steps of 4, patches of 32 pixels", "2:05 on cpu, 1.8 GB at most", "study 01, 03"),
        *("`f89334e97451`", '`runs.load_run("0123456789abcdef").model()`', "e3" * 32),
        "| synthetic | [01](../notebooks/01_degradation_settings.html) | PSNR (dB) | "
        "29.17 [28.96, 29.40] | 500 |",
    ):
        assert said in text
    assert text.startswith('<a id="0123456789abcdef"></a>')


def test_a_card_says_what_the_network_is_not(a_run):
    text = cards.card(a_run(), "", [])
    for said in (
        *("not its paper's network", "had not converged", "rendered people only", "no table of"),
        *("as `4x` does", cards.NOT_SCORED),
    ):
        assert said in text
    settled = "step,loss,lr,val_psnr\n" + "".join(f"{s},0.1,0.001,29\n" for s in range(0, 600, 50))
    narrow = cards.card(a_run(log=settled, method="EDSR", size="narrow"), "", [])
    assert "a fraction of its paper's width" in narrow and "not its paper's network" not in narrow


def test_a_score_is_credited_to_a_network_only_where_it_rests_on_it_alone(study):
    usual, part = "aaaa", "bbbb"
    study(
        [
            ("k1", "EDSR", "4x", usual),
            ("k2", "RCAN", "4x", usual),
            ("k3", "RCAN", "4x", usual),  # a second training: the table has their mean
            ("k4", "EDSR", "8x", usual),
            ("k5", "EDSR", "8x", part),  # trained on fewer people, for another table
        ],
        [
            ("EDSR", "4x", "psnr", 29.0, 28.0, 30.0, 500),
            ("EDSR", "4x", "ms", 5.0, float("nan"), float("nan"), 500),
            ("RCAN", "4x", "psnr", 29.5, 28.5, 30.5, 500),
            ("EDSR", "8x", "psnr", 25.0, 24.0, 26.0, 500),
            ("EDSR", "8x", "ssim", 0.7, 0.6, 0.8, 500),
            ("EDSR", "8x", "ssim", 0.8, 0.7, 0.9, 400),  # two numbers: of what, is not said
        ],
    )
    found = {key: scores for key, scores in cards._scores().items() if scores}
    assert {key: [s.metric for s in scores] for key, scores in found.items()} == {
        "k1": ["psnr"],
        "k4": ["psnr"],
    }
    assert found["k4"][0][3:] == (25.0, 24.0, 26.0, 500.0)


def test_a_study_that_trained_nothing_credits_nobody(study):
    one = study([], [("bicubic", "4x", "psnr", 26.0, 25.0, 27.0, 500)])
    assert cards._alone(one) == []


@pytest.mark.slow  # it opens every checkpoint
def test_every_released_network_is_on_the_page_of_its_method():
    pages = cards.of_methods()
    keys = [f.parent.name for f in project_root().glob("results/*/*/checkpoints/*/record.json")]
    text = "".join(pages.values())
    assert keys and all(text.count(f'<a id="{key}"></a>') == 1 for key in keys)
    listing = cards.page([])
    assert all(f"\nnetworks/{name}\n" in listing for name in pages)
    assert "| PSNR (dB) |" in pages["edsr"] and "Lim et al., CVPRW 2017" in pages["edsr"]


def test_every_face_set_has_a_card_whose_links_lead_to_files():
    text, files = face_cards.page()
    names = {*face_cards.RENDERED, *fetch.ADDRESSES, "tufs", *rendered_scenes.SCENES}
    assert all(f"\n### {name}\n" in text for name in names)
    assert files and all((project_root() / name).is_file() for name in files)
    assert "Croissant" in text and "**Not for** claims about people" in text
    assert "[study 01](notebooks/01_degradation_settings.html)" in text


def test_the_card_of_a_rendered_set_is_written_from_its_manifest(tmp_path):
    manifest = json.loads((face_cards.EMBEDDED / "manifest.json").read_text())
    manifest["plan"] |= {"identities": 7, "clips": 0, "seed": 5}
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    (tmp_path / "croissant.json").write_text('{"license": "https://example.org/licence"}')
    text = face_cards.rendered("synthetic", [], tmp_path)
    assert "7 people, 12 pictures each" in text and "seed 5" in text and "clips" not in text
    assert "<https://example.org/licence>" in text and "nothing that is committed" in text
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(LrfaceError, match=r"manifest.json cannot be read .* get it from"):
        face_cards.rendered("synthetic", [], tmp_path)
