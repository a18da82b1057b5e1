"""Every finding and every notebook is on a page, and what leads somewhere leads to something."""

import json

import pandas as pd
import pytest
from lrface.errors import LrfaceError
from lrface.execution.notebooks import every
from lrface.files import project_root
from lrface.report import ledger, page, register
from lrface.report.findings import COLUMNS, EVIDENCE
from lrface.site import answers, cards, notebooks, prose

VERDICTS = ("supported", "not supported", "inconclusive", "not tested")
NOTEBOOKS = every()


def a_ledger():
    """A row for every finding of the register on two sets, verdicts in turns."""
    study, rows = {n.stem[:2]: n.stem for n in NOTEBOOKS}, []
    for i, (_, entered) in enumerate(register.registered().iterrows()):
        for data in ("synthetic", "celeba"):
            tested = VERDICTS[i % 4] != "not tested"
            number = {"effect": 0.5, "low": 0.4, "high": 0.6} if tested else {}
            rows.append(
                dict.fromkeys(COLUMNS, float("nan"))
                | {c: entered[c] for c in ("id", "paper", "table", "sentence", "metric", "unit")}
                | {"published": entered["published"], "contrast": "a < b", "figure": ""}
                | {"people": 50, "trainings": 3, "lacks": "", "reason": "", **number}
                | ({} if tested else {"lacks": "converged", "reason": "it rises"})
                | {"study": study.get(entered["study"], ""), "data": data, "preset": "quick"}
                | {"verdict": VERDICTS[i % 4], "trivial": i % 8 == 0}
            )
    found = pd.DataFrame(rows, columns=COLUMNS)
    return pd.concat([found, ledger.over_sets(found)], ignore_index=True)


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    root = tmp_path_factory.mktemp("published")
    found = a_ledger()
    evidence = found[found["data"] != "all"].rename(columns={"id": "finding"})
    evidence = evidence.assign(setting="4x", method="EDSR")[EVIDENCE]
    (root / "results").mkdir()
    found.to_csv(root / "results" / "findings.csv", index=False)
    evidence.to_csv(root / "results" / "contrasts.csv", index=False)
    text = page.page(found, evidence, root / "results", root / "figures")
    (root / "results" / "README.md").write_text(text)
    return root


def test_the_first_page_has_a_row_for_every_finding_and_a_tile_that_leads_to_it(published):
    findings, contrasts = answers.read(published)
    studies = {n.stem: notebooks.study(n) for n in NOTEBOOKS}
    text = answers.page(findings, published, studies)
    for name in register.registered()["id"]:
        assert text.count(f'<tr id="{name}">') == 1
        assert f'class="lr-tile lr-{prose.anchor(word_of(findings, name))}" href="#{name}"' in text
        assert f"lrface why {name}" in text and f"evidence.html?q={name}" in text
    assert all(f"notebooks/{name}.html" in text for name in studies)
    assert "lacks: converged" in text and 'title="needed: every training has converged"' in text
    assert "\n10. " in text and "a &lt; b" in text
    assert answers.evidence(contrasts).count("<tr>") == len(contrasts) + 1


def word_of(findings, name):
    rows = findings[(findings["id"] == name) & (findings["data"] == "all")]
    return answers.verdict(rows.iloc[0])


def test_a_study_without_findings_says_so(published):
    findings, _ = answers.read(published)
    some = findings[findings["study"] != NOTEBOOKS[2].stem]
    studies = {n.stem: notebooks.study(n) for n in NOTEBOOKS}
    text = answers.page(some, published, studies)
    assert text.count("no finding of its own") == 1


def test_decided_findings_come_first(published):
    findings, _ = answers.read(published)
    text = answers.page(findings, published, {})
    table = text[text.index("<tbody>") :]
    names = [part.partition('"')[0] for part in table.split('<tr id="')[1:]]
    order = [list(answers.MEANING).index(word_of(findings, name)) for name in names]
    assert order == sorted(order) and set(order) == {0, 1, 2, 3, 4}


def test_without_published_findings_one_sentence_says_what_to_do(tmp_path):
    with pytest.raises(LrfaceError, match=r"findings.csv is missing: `make notebooks`"):
        answers.read(tmp_path)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_study_begins_with_what_came_out_and_its_code_is_folded(path):
    findings = answers.of(a_ledger(), path.stem)
    cells = notebooks.staged(path, [], findings)["cells"]
    sources = ["".join(cell["source"]) for cell in cells]
    assert sources[0].startswith("# ") and "\n" not in sources[0]
    assert cells[1]["metadata"]["tags"] == ["remove-input"]
    assert "What came out" in json.dumps(cells[1]["outputs"])
    assert findings.empty or all(f"index.html#{name}" in sources[2] for name in findings["id"])
    assert f"make reproduce STUDY={path.stem[:2]}" in "".join(sources[2:4])
    code = [cell for cell in cells[2:] if cell["cell_type"] == "code"]
    assert all("hide-input" in cell["metadata"]["tags"] for cell in code)
    assert not any("NBVAL" in "".join(cell["source"]) for cell in code)
    assert all(cell["metadata"]["mystnb"]["image"]["alt"].startswith("Figure: ") for cell in code)
    n = len(json.loads(path.read_text())["cells"])
    assert len(cells) >= n and len({cell["id"] for cell in cells}) == len(cells)


def test_a_study_s_table_of_findings_is_linked_row_by_row():
    text = "| id       | sentence |\n|:--|:--|\n| csri-best | CSRI is best |\n| other-x | y |\n"
    output = {"output_type": "display_data", "data": {"text/markdown": text}}
    linked = notebooks._linked(output, {"csri-best"})["data"]["text/markdown"]
    assert '| <a id="csri-best" href="../index.html#csri-best">csri-best</a> |' in linked
    assert "| other-x | y |" in linked and "| id       |" in linked


@pytest.mark.slow  # it opens every checkpoint
def test_every_released_network_has_a_card():
    text = cards.page([])
    released = list((project_root() / "results").glob("*/*/checkpoints/*/record.json"))
    assert released and f"{len(released)} networks." in text
    for file in released:
        record = json.loads(file.read_text())
        assert text.count(f'<tr id="{record["key"]}">') == 1 and record["sha256"] in text
    assert "**Not for** telling who somebody is" in text


@pytest.mark.parametrize("path", ["README.md", "lib/lrface/data/embedded/DATASHEET.md"])
def test_what_a_page_of_prose_leads_to_is_a_page_or_a_file(path):
    root = project_root()
    folder = path.rpartition("/")[0]
    text, files = prose.relinked((root / path).read_text(), folder, prose.PAGES[path])
    assert files and all((root / name).is_file() for name in files)
    targets = [match[3] for match in prose.LINK.finditer(text)]
    assert targets and not any(".ipynb" in one or one.endswith(".md") for one in targets)


def test_links_are_relative_to_the_page_that_has_them():
    turned = prose.relinked
    text = "![a](../figures/x.png) [b](../results/README.md) [c](https://x.org) [d](../LICENSE#e)"
    found, files = turned(text, "notebooks", "notebooks/01_x.html")
    assert '<img src="../figures/x.png" alt="a">' in found
    assert "[b](../index.html#findings)" in found and "[c](https://x.org)" in found
    assert "[d](../LICENSE.txt#e)" in found
    assert files == {"figures/x.png", "LICENSE"}
