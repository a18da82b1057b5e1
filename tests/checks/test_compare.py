"""Two runs of one table: exactly what differs by more than its tolerance is drift."""

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lrface.checks import compare


def frame(values: list[float], metric: str = "psnr") -> pd.DataFrame:
    rows = {
        "method": [f"m{i}" for i in range(len(values))],
        "metric": metric,
        "value": [f"{v:.6g}" for v in values],
    }
    return pd.DataFrame(rows).astype(str)


@pytest.mark.slow
@settings(max_examples=40)
@given(st.lists(st.floats(10, 40), min_size=1, max_size=8), st.data())
def test_exactly_the_numbers_beyond_the_tolerance_drift(values, data):
    moved = [v + data.draw(st.sampled_from([0.0, 0.01, -0.015, 0.03, -2.0])) for v in values]
    before, after = frame(values), frame(moved)
    order = data.draw(st.permutations(range(len(values))))
    drifts = compare.compare(
        "x.csv", before, after.iloc[order].reset_index(drop=True)
    )  # the order of rows means nothing
    far = {
        f"m{i}, psnr"
        for i, (a, b) in enumerate(zip(before["value"], after["value"], strict=True))
        if abs(float(a) - float(b)) > 0.021
    }
    assert {d.row for d in drifts} == far and all(d.off > d.tolerance == 0.02 for d in drifts)
    assert not compare.compare("x.csv", before, before)


@pytest.mark.parametrize(
    "metric, off, drifts",
    [
        ("p (McNemar, against bicubic)", 0.9, 0),
        ("identity, own", 0.0015, 0),
        ("identity, own", 0.0025, 1),
        ("identity_frnet", 0.0025, 0),
        ("tpr_at_1e-3 (dlib)", 0.015, 0),
        ("tpr_at_1e-3 (dlib)", 0.03, 1),
        ("something new", 0.004, 0),
        ("something new", 0.02, 1),
    ],
)
def test_a_metric_has_the_tolerance_of_the_longest_name_it_begins_with(metric, off, drifts):
    assert len(compare.compare("x.csv", frame([0.5], metric), frame([0.5 + off], metric))) == drifts


def test_a_table_whose_rows_nothing_identifies_is_compared_in_its_order():
    table = pd.DataFrame({"faces": ["10", "20"], "lost": ["1", "2"]})
    assert compare.identifying(table) == [] and not compare.compare("x.csv", table, table)
    (drift,) = compare.compare("x.csv", table, table.assign(faces=["10", "21"]))
    assert (drift.row, drift.column, drift.now) == ("(number 2)", "faces", "21")
    (gone,) = compare.compare("x.csv", table, table[:1])
    assert "missing" in gone.why and "(number 2)" in str(gone)
    assert len(list(compare.numbers(table, table))) == 4
