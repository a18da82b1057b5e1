"""``lrface report``: all that was measured on one's own faces, in one file that needs no other."""

import base64
import json
from html.parser import HTMLParser

import pandas as pd
import pytest
from lrface.errors import LrfaceError, UsageError
from lrface.files import slug
from lrface.report.findings import COLUMNS
from lrface.report.tables import COLUMNS as NUMBERS
from lrface.site import own_report
from PIL import Image
from PIL.PngImagePlugin import PngInfo

STUDY, TABLE = "01_degradation_settings", "table2_fidelity.csv"
RECORD = {
    "study": STUDY,
    "parameters": {"data": "folder:/me", "preset": "quick", "methods": ["bicubic", "EDSR"]},
    "seconds": 75.0,
    "finished": "2026-11-27T02:10:11+00:00",
    "versions": {"lrface": "0.1.0", "torch": "2.14.1"},
    "platform": "Linux x86_64",
    "commit": "0123456789abcdef",
    "dirty": False,
}


class Page(HTMLParser):
    """The text of a page, its tags, and all that it would load."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.loads, self.said, self.cells = [], [], "", [[]]
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.tags.append(tag)
        self.loads += [found[name] for name in ("src", "href", "srcset", "data") if name in found]
        self.cells += [[]] if tag == "tr" else []

    def handle_data(self, text):
        self.said += text
        if text.strip() and self.tags[-1] in ("td", "th"):
            self.cells[-1].append(text)


def numbers(psnr, **more):
    rows = [
        ("bicubic", "4x", "psnr", psnr, psnr - 1, psnr + 1, 20, ""),
        ("EDSR", "4x", "psnr", psnr + 2, psnr + 1, psnr + 3, 20, 26.99),
    ]
    frame = pd.DataFrame(rows, columns=[*NUMBERS[2:]])
    return frame.assign(study=STUDY, table="2", **more)[[*NUMBERS, *more]]


def finding(data, effect, verdict, **more):
    row = dict.fromkeys(COLUMNS, "") | {"id": "blur-scores-higher", "sentence": "Blur is easier"}
    row |= {"unit": "dB", "published": 0.28, "effect": effect, "low": effect - 0.1}
    row |= {"high": effect + 0.1, "verdict": verdict, "trivial": False, "data": data}
    return row | {"study": STUDY, "preset": "quick", "contrast": "a - b"} | more


def put(folder, table=None, findings=(), record=None, summary=""):
    folder.mkdir(parents=True)
    if table is not None:
        table.to_csv(folder / TABLE, index=False)
    if findings:
        pd.DataFrame(findings).to_csv(folder / "findings.csv", index=False)
    if record:
        (folder / "record.json").write_text(json.dumps(record))
    if summary:
        (folder / "summary.md").write_text(summary)
    return folder


@pytest.fixture
def places(own_places, monkeypatch):
    """A project with committed results of two sets, and one's own, which are written elsewhere."""
    root, out = own_places / "project", own_places / "out"
    monkeypatch.setenv("LRFACE_ROOT", str(root))
    committed = [finding("synthetic", -0.25, "not supported"), finding("celeba", 0.1, "supported")]
    put(root / "results/synthetic/quick" / STUDY, numbers(31.0))
    put(root / "results/celeba/gpu" / STUDY, numbers(32.0).tail(1))
    pd.DataFrame(committed).to_csv(root / "results" / "findings.csv", index=False)
    own = put(
        out / "results" / slug("folder:/me") / "quick" / STUDY,
        numbers(20.5),
        [finding(slug("folder:/me"), 0.4, "inconclusive", lacks="", reason="few people")],
        RECORD,
        "**EDSR** gains 2 dB\n\nfolder-me / quick, fingerprint 0123456789abcdef.\n",
    )
    return root, out, own


def test_published_committed_and_own_numbers_stand_beside_one_another(places):
    page = Page(own_report.write("folder:/me").read_text())
    head = ["method", "setting", "metric", "published", "celeba (gpu)", "synthetic", "yours", "n"]
    assert head in page.cells
    assert ["EDSR", "4x", "psnr", "26.99", "34.00", "33.00", "22.50 [21.50, 23.50]", "20"] in (
        page.cells
    )
    bicubic = next(cells for cells in page.cells if cells[:1] == ["bicubic"])
    assert bicubic == ["bicubic", "4x", "psnr", "31.00", "20.50 [19.50, 21.50]", "20"]


def test_a_finding_has_the_paper_s_the_committed_and_one_s_own_verdict(places):
    text = own_report.write("folder:/me").read_text()
    for said in ("Blur is easier", "+0.28 dB", "−0.25 dB [−0.35, −0.15]", "few people"):
        assert said in text
    order = [text.index(f"<b>{v}</b>") for v in ("not supported", "supported", "inconclusive")]
    assert order == sorted(order)


def test_the_record_and_the_summary_are_there(places):
    page = Page(own_report.write("folder:/me").read_text())
    for said in (
        *("lrface reproduce --study 01 --data folder:/me --preset quick", "methods=bicubic,EDSR"),
        *("0123456789abcdef", "1:15", "torch 2.14.1", "Linux x86_64", "EDSR gains 2 dB"),
    ):
        assert said in page.said
    assert "strong" in page.tags


def test_the_file_loads_nothing_and_runs_nothing(places, tmp_path):
    _, out, own = places
    about = PngInfo()
    about.add_text("Description", "Two <curves>.")
    figures = out / "figures" / own.relative_to(out / "results")
    figures.mkdir(parents=True)
    Image.new("RGB", (3, 2)).save(figures / "curve.png", pnginfo=about)
    text = own_report.write("folder:/me", tmp_path / "mine.html").read_text()
    page = Page(text)
    assert not {"script", "link", "iframe", "object", "embed", "form"} & set(page.tags)
    shown = [one for one in page.loads if not one.startswith("#")]
    assert [base64.b64decode(one.partition(",")[2]) for one in shown] == [
        (figures / "curve.png").read_bytes()
    ]
    assert "default-src 'none'" in text and 'alt="Two &lt;curves&gt;."' in text
    assert all(f'id="{one[1:]}"' in text for one in page.loads if one.startswith("#"))


@pytest.mark.parametrize(
    "text", ["<script>a</script>", '"><img src=x>', "{{ 7 * 7 }}", "&lt;b&gt;"]
)
def test_no_text_becomes_markup(text):
    frame = own_report._shown(own_report.Path("a.csv"), pd.DataFrame({text: [text]}), "")
    study = {"id": "a", "title": text, "summary": "", "numbers": [], "rest": [frame]}
    study |= {"figures": [], "record": {"a": text}, "failed": False}
    page = Page(own_report.rendered(text, [study], [], [], [text]))
    assert not {"script", "img", "b"} & set(page.tags)
    # title and heading, list, smoke, head of the study, of a column, a cell, the record
    assert page.said.count(text) == 8


def test_raw_html_in_a_summary_is_shown_as_text(places):
    (places[2] / "summary.md").write_text("<script>x</script> [a](javascript:x) ![b](http://c/d)")
    page = Page(own_report.write("folder:/me").read_text())
    assert "script" not in page.tags and "<script>x</script>" in page.said
    assert not any(one.startswith("javascript") for one in page.loads)


def test_without_results_one_sentence_says_what_to_do(places, lrface):
    code, out, err = lrface("report", "folder:/you")
    assert code == 2 and not out
    assert "nothing was measured on folder:/you yet: run `lrface reproduce --data" in err
    assert f"there is something on {slug('folder:/me')}" in err
    with pytest.raises(UsageError, match=r"run `lrface reproduce --data 'folder:/a b'` first"):
        own_report.write("folder:/a b")


def test_the_command_writes_beside_the_results_or_where_it_is_told(places, lrface, tmp_path):
    _, out, own = places
    code, said, _ = lrface("report", "folder:/me")
    assert (
        code == 0 and (own.parents[1] / "report.html").is_file() and "report.html: 0.0 MB" in said
    )
    code, _, _ = lrface("report", own.parents[1].name, "--out", tmp_path / "there" / "mine.html")
    assert code == 0 and (tmp_path / "there" / "mine.html").is_file()
    # it is no study, and is found again by none
    assert len(own_report.measured("folder:/me")) == 1


def test_all_presets_and_variants_are_shown_smoke_last(places):
    _, out, own = places
    put(own.parents[1] / "smoke" / STUDY, numbers(10.0))
    put(own.parent / f"{STUDY}@a1b2c3", numbers(21.0))
    (own / "failed.ipynb").touch()
    titles = [one.title for one in own_report.measured("folder:/me")]
    assert titles == [
        "01 degradation settings, quick",
        "01 degradation settings, quick, other parameters (a1b2c3)",
        "01 degradation settings, smoke",
    ]
    text = own_report.write("folder:/me").read_text()
    assert "numbers mean nothing" in text and "A later run of this study failed" in text
    assert "none: this study was not run to its end" in text


def test_long_tables_and_damaged_files(places):
    own = places[2]
    many = pd.DataFrame({"face": range(own_report.ROWS + 7), "psnr": 20.0})
    many.to_csv(own / "by_face.csv", index=False)
    assert "7 more rows are in by_face.csv" in own_report.write("folder:/me").read_text()
    (own / "by_face.csv").write_text("")
    with pytest.raises(LrfaceError, match=r"by_face.csv is no table .* run its study again"):
        own_report.write("folder:/me")
    assert "by_face" in (own.parents[1] / "report.html").read_text()  # the last whole one
