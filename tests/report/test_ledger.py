"""The findings of all studies: one verdict over the sets, and the pages written of them."""

import pandas as pd
import pytest
from lrface.files import project_root
from lrface.report import ledger, page, register
from lrface.report.findings import COLUMNS, EVIDENCE


def row(name, data, verdict, trivial=False, preset="quick", **more):
    entered = register.registered().set_index("id").loc[name]
    about = {key: entered[key] for key in ("paper", "table", "sentence", "metric", "unit")}
    about |= {"published": entered["published"], "contrast": "a minus b", "effect": 0.5}
    about |= {"low": 0.4, "high": 0.6, "people": 50, "trainings": 3, "lacks": "", "reason": ""}
    if verdict == "not tested":
        about |= {"lacks": "converged", "reason": "it rises"}
    study = "01_degradation_settings"
    about |= {"study": study, "figure": "scores", "data": data, "preset": preset, "id": name}
    return (
        dict.fromkeys(COLUMNS, float("nan"))
        | about
        | {"verdict": verdict, "trivial": trivial}
        | more
    )


def over(*rows):
    found = ledger.over_sets(pd.DataFrame(rows, columns=COLUMNS))
    return list(zip(found["verdict"], found["trivial"], strict=True))


@pytest.mark.parametrize(
    ("verdicts", "whole"),
    [
        (["supported", "supported"], "supported"),
        (["supported", "inconclusive"], "supported"),
        (["supported", "not tested"], "supported"),
        (["not supported", "inconclusive"], "not supported"),
        (["supported", "not supported"], "inconclusive"),
        (["inconclusive", "not tested"], "inconclusive"),
        (["not tested", "not tested"], "not tested"),
    ],
)
def test_one_verdict_over_the_sets(verdicts, whole):
    sets = ("synthetic", "celeba")
    assert over(*(row("csri-best", d, v) for d, v in zip(sets, verdicts, strict=True))) == [
        (whole, False)
    ]


def test_a_finding_is_trivial_where_it_is_on_every_set_that_decides():
    name = "noise-costs-fidelity"
    both = [row(name, "synthetic", "supported", True), row(name, "celeba", "supported", True)]
    assert over(*both) == [("supported", True)]
    assert over(both[0], row(name, "celeba", "supported")) == [("supported", False)]


def test_the_largest_preset_of_a_set_counts():
    rows = [
        row("csri-best", "synthetic", v, preset=p)
        for v, p in (("supported", "quick"), ("not supported", "gpu"))
    ]
    assert over(*rows) == [("not supported", False)]


@pytest.fixture
def written(own_places):
    """An output folder in which the findings of two sets were gathered."""
    root = own_places / "out"
    rows = {
        "synthetic": [
            row("noise-costs-fidelity", "synthetic", "supported", True, null=0.7),
            row("rcan-best-psnr-2x", "synthetic", "not supported", effect=-0.01),
            row("dicnet-best-psnr", "synthetic", "not tested"),
        ],
        "celeba": [row("rcan-best-psnr-2x", "celeba", "inconclusive")],
    }
    for data, some in rows.items():
        folder = root / "results" / data / "quick" / "01_degradation_settings"
        folder.mkdir(parents=True)
        pd.DataFrame(some, columns=COLUMNS).to_csv(folder / "findings.csv", index=False)
        pd.DataFrame(columns=EVIDENCE).to_csv(folder / "contrasts.csv", index=False)
    ledger.write()
    return root


def test_the_page_has_a_row_a_finding_and_ten_lines_above(written):
    text = (written / "results" / "README.md").read_text()
    assert [line[:3] for line in text.splitlines() if line[:1].isdigit()][-1] == "10."
    assert "**3 findings of the five works**" in text and "**Trivial: 1**" in text
    assert "every training has converged (1)" in text
    [noise] = [line for line in text.splitlines() if "`noise-costs-fidelity`" in line]
    assert "+1.13 dB" in noise and "+0.50 dB [+0.40, +0.60]" in noise and "○ trivial" in noise
    [best] = [line for line in text.splitlines() if "`rcan-best-psnr-2x`" in line]
    assert "−0.01 dB" in best and "✗ not supported" in best and "≈ inconclusive" in best
    assert "../notebooks/01_degradation_settings.ipynb" in best
    assert len(ledger.read(written / "results" / "findings.csv")) == 4 + 3


def test_the_page_is_what_its_tables_say(written):
    findings, contrasts = (ledger.read(written / "results" / f"{n}.csv") for n in ledger.NAMES)
    text = (written / "results" / "README.md").read_text()
    places = written / "results", written / "figures"
    assert text == page.page(findings, contrasts, *places)
    ledger.write()
    assert text == (written / "results" / "README.md").read_text()


def test_the_front_page_is_filled_between_its_markers(written):
    readme = project_root() / "README.md"
    findings = ledger.read(written / "results" / "findings.csv")
    section = page.front(findings, written)
    text = page.filled(f"top\n{page.BEGIN}\nold\n{page.END}\nbottom", section)
    assert text.startswith("top\n") and text.endswith("bottom") and "old" not in text
    assert "RCAN has the highest PSNR at 2x (published +0.01 dB" in text
    assert page.filled(text, section) == text
    assert page.BEGIN in readme.read_text() and page.END in readme.read_text()
    with pytest.raises(ValueError, match="no markers"):
        page.filled("no markers", section)


def test_the_front_page_where_nothing_could_be_tested(written):
    findings = ledger.read(written / "results" / "findings.csv").assign(verdict="not tested")
    section = page.front(findings, written)
    every = int((findings["data"] == "all").sum())
    assert section.startswith(f"Of {every} findings") and f"and {every} cannot be tested" in section


def test_the_committed_pages_are_what_the_code_writes_of_the_committed_findings():
    root = project_root()
    findings, contrasts = (ledger.read(root / "results" / f"{n}.csv") for n in ledger.NAMES)
    assert (root / "results" / "README.md").read_text() == page.page(
        findings, contrasts, root / "results", root / "figures"
    )
    readme = (root / "README.md").read_text()
    assert readme == page.filled(readme, page.front(findings, root))
