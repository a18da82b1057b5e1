"""Sentences whose numbers the last cell of a notebook fills in."""

from types import SimpleNamespace

import nbformat
import numpy as np
import papermill
import pytest
from lrface import report
from lrface.errors import UsageError
from lrface.metrics import Estimate
from lrface.report import Summary, words

GAIN = Estimate(0.117, 0.067, 0.175, 612)


def test_placeholders_are_dashes_until_they_are_filled():
    summary = Summary("""
        A gains {gain:+.1%} over {n} faces.

        - It is {how}.
    """)
    assert summary.text == "A gains – over – faces.\n\n- It is –."
    summary.fill(gain=GAIN, n=612, how="clear")
    assert summary.text == "A gains +11.7 % [+6.7, +17.5] over 612 faces.\n\n- It is clear."


@pytest.mark.parametrize(
    "value, shown",
    [
        (np.float32("nan"), "–"),
        (None, "–"),
        (Estimate(np.nan, np.nan, np.nan, 0), "–"),
        (Estimate(1.5, np.nan, np.nan, 1), "+1.50"),
        (np.float64(2), "+2.00"),
        (-3, "-3.00"),
    ],
)
def test_what_is_not_known_is_a_dash(value, shown):
    summary = Summary("{gain:+.2f}")
    summary.fill(gain=value)
    assert summary.text == shown


@pytest.mark.parametrize(
    "text, values, sentence",
    [
        ("{n} {m}", {"m": 1}, "no value for {n}"),
        ("{n}", {"n": 1, "m": 2}, "no placeholder {m}"),
        ("{n:.2f}", {"n": "many"}, "does not fit its format"),
        ("{} faces", {}, "needs a name"),
    ],
)
def test_each_placeholder_has_one_value_that_fits(text, values, sentence):
    with pytest.raises(UsageError, match=sentence):
        Summary(text).fill(**values)


def test_words_follow_the_interval():
    assert words(GAIN) == "above" and words(Estimate(-1, -2, -0.5, 9)) == "below"
    assert words(Estimate(0, -1, 1, 9), unclear="level with") == "level with"
    assert words(Estimate(1, np.nan, np.nan, 1)) == "not distinguishable from"


def test_a_study_saves_its_summary_with_the_footer():
    faces = SimpleNamespace(name="synthetic", fingerprint="0123abcd", photos=False)
    study = report.Study("07_tiny", faces, "smoke")
    Summary("A gains {gain:+.1%}.").fill(study, gain=GAIN)
    saved = (study.results / "summary.md").read_text()
    assert saved.splitlines() == [
        "A gains +11.7 % [+6.7, +17.5].",
        "",
        "synthetic / smoke, fingerprint 0123abcd.",
    ]


@pytest.mark.slow
def test_the_first_output_of_a_saved_notebook_holds_the_numbers(tmp_path):
    cells = [
        "from lrface.report import Summary\nsummary = Summary('It is {n}.')",
        "summary.fill(n=42)",
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in cells])
    notebook.metadata.kernelspec = {"name": "python3", "language": "python", "display_name": ""}
    nbformat.write(notebook, tmp_path / "in.ipynb")
    papermill.execute_notebook(tmp_path / "in.ipynb", tmp_path / "out.ipynb", progress_bar=False)
    first, last = nbformat.read(tmp_path / "out.ipynb", 4).cells
    (shown,) = first.outputs
    assert shown.data["text/markdown"] == "It is 42." and not last.outputs
