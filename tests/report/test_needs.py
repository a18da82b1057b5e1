"""Facts that answer needs: learning curves, what was seen, how far trainings differ."""

import math

import pandas as pd
import pytest
from lrface.metrics import Estimate
from lrface.report import needs


def curve(losses, psnr=None):
    steps = range(1, len(losses) + 1)
    psnr = psnr or [math.nan] * len(losses)
    rows = zip(steps, losses, psnr, strict=True)
    return [{"step": k, "loss": v, "lr": 1e-3, "val_psnr": p} for k, v, p in rows]


@pytest.mark.parametrize(
    ("log", "classes", "said"),
    [
        (curve([1.0] * 10, [*range(20, 27), 28, 28, 28.05]), None, ""),
        (curve([1.0] * 10, [*range(20, 30)]), None, "rises by 2.00 dB"),
        (curve([5.0, 2, 1, 0.5, 0.4, 0.31, 0.3, 0.3, 0.3, 0.3]), None, ""),
        (curve([5.0, 4.8, 4.5, 4.2, 4, 3.5, 3, 2.5, 2, 1.5]), None, "loss falls by 20.0 %"),
        (curve([4.6] * 10), 100, "ends at 100 % of its trivial value"),
        (curve([4.6, 3, 2, 1, 0.5, 0.2, 0.1, 0.1, 0.1, 0.1]), 100, ""),
        (curve([math.nan]), None, ""),  # computed in one pass
        (curve([1.0, 0.9]), None, "too few points"),
        # a network that restores and recognises: its loss may exceed a classifier's
        (curve([90.0, 50, 20, 10, 9, 8, 8, 8, 8, 8], [20.0] * 10), 100, ""),
        (curve([90.0, 80, 70, 60, 50, 40, 30, 20, 10, 5], [20.0] * 10), 100, "of its first value"),
    ],
)
def test_a_training_has_converged_by_its_learning_curve(log, classes, said):
    reason = needs.unsettled(log, classes)
    assert (said in reason) if said else reason == ""


def in_stages(losses, trivial=2.0):
    rows = [
        row | {"stage": f"cascade {k}, A", "trivial": trivial} for k in (1, 2) for row in losses
    ]
    return [row | {"step": i} for i, row in enumerate(rows, 1)]


@pytest.mark.parametrize(
    ("losses", "said"),
    [
        ([2.0, 1.5, 1.2, 1.1, 1, 0.9, 0.9, 0.9, 0.9, 0.9], ""),
        (
            [2.0, 1.9, 1.8, 1.7, 1.6, 1.5, 1.4, 1.3, 1.2, 1.1],
            "cascade 1, A: its loss falls by 10.0 %",
        ),
        ([2.5] * 10, "cascade 1, A: its loss ends above that of adding nothing"),
    ],
)
def test_a_training_in_stages_is_judged_stage_by_stage(losses, said):
    log = in_stages(curve(losses))
    found = needs.unsettled(log)
    assert (said in found) if said else found == ""
    # a later stage begins with a larger loss, or ends with one, without harm to the first
    log = in_stages(curve([2.0, 1, 1, 1, 1, 1, 1, 1, 1, 1]))
    assert needs.unsettled(log) == ""


def test_a_collapsed_embedding_is_told_by_its_loss():
    assert "100 %" in needs.unsettled(curve([0.6] * 10), trivial=0.6)
    assert (
        needs.unsettled(curve([0.6, 0.5, 0.4, 0.3, 0.2, 0.15, 0.15, 0.15, 0.15, 0.15]), trivial=0.6)
        == ""
    )


def test_arms_without_a_learning_curve_are_not_known_to_have_converged():
    assert needs.converged({}, also=["RPCN"]) == {"RPCN": "its learning curve is not at hand"}


def test_reasons_are_gathered_by_arm():
    fact = {("4x", "HAN"): "it rises", "EDSR": "it rises", ("8x", "RDN"): "it fell"}
    arms = [("4x", "HAN"), ("8x", "HAN"), ("4x", "EDSR"), ("8x", "EDSR"), ("8x", "RDN")]
    said = needs.reason("converged", fact, arms)
    assert said == "HAN (4x), EDSR (4x, 8x): it rises; RDN (8x): it fell"
    assert needs.reason("converged", fact, [("2x", "RCAN")]) == ""


def test_above_wants_the_whole_interval():
    found = needs.above({"a": Estimate(1, 0.5, 2, 9), "b": Estimate(1, math.nan, math.nan, 1)}, "c")
    assert found == {"b": "not surely above c"}


def test_the_spread_between_trainings_is_another_studys_and_named(own_places):
    folder = own_places / "out/results/synthetic/quick/02_training_size"
    folder.mkdir(parents=True)
    rows = [("psnr", 0.1), ("psnr", 0.3), ("ssim", 0.01), ("ssim", math.nan)]
    pd.DataFrame(rows, columns=["metric", "seed_sd"]).to_csv(folder / "t.csv", index=False)
    for data in ("synthetic", "celeba"):  # a set without such a table takes the rendered faces'
        found = needs.spread_between_trainings(data, "quick", "02_training_size/t")
        assert found["psnr"] == (0.3, "synthetic/quick/02_training_size/t")
        assert found["ssim"].sd == 0.01
    assert needs.spread_between_trainings("celeba", "gpu", "02_training_size/t") == {}
