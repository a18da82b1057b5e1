"""Findings are measured as printed, judged by rule, and not tested where a need is not met."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given as over
from hypothesis import strategies as st
from lrface.metrics import Estimate
from lrface.report import findings, needs, register
from lrface.report.findings import Contrast, Spread, Unmet, cell, evaluate

PEOPLE = np.repeat(np.arange(50), 4)
EVERYTHING = dict.fromkeys(needs.NEEDS, "")
numbers = st.floats(-10, 10, allow_nan=False)


def contrast(low, high, **more):
    about = {"people": 50, "trainings": 3, "metric": "psnr", "unit": "dB"} | more
    return Contrast(
        "x", "A sentence", "a minus b", estimate=Estimate((low + high) / 2, low, high, 50), **about
    )


def lookup_of(means, trainings=3, noise=0.05):
    """A lookup of PSNR: the same faces under every method, each with noise of its own."""
    base = np.random.default_rng(0).normal(0, 2, 200)

    def lookup(_, setting, method, metric):
        if metric != "psnr" or (setting, method) not in means:
            return None
        seed = abs(hash((setting, method))) % 2**32
        own = np.random.default_rng(sum(map(ord, setting + method)) or seed)
        values = base + means[setting, method] + own.normal(0, noise, (trainings, 200))
        return cell(values, PEOPLE, trained=method != "bicubic")

    return lookup


def of_table_2(offsets, settings=("2x", "4x", "4x_BD", "4x_DN", "8x")):
    level = {"2x": 31, "4x": 28, "4x_BD": 28.4, "4x_DN": 26, "8x": 24}
    return {(s, m): level[s] + off for s in settings for m, off in offsets.items()}


ALL = {"DICNet": 2, "DICGAN": 1, "WaveletSRNet": 0, "HiFaceGAN": -1}
ALL |= {"EDSR": 0.5, "RDN": 0.6, "RCAN": 0.7, "HAN": 0.6, "bicubic": -2}


@over(numbers, numbers, st.one_of(st.just(math.nan), st.floats(0.01, 5)))
def test_a_verdict_never_contradicts_its_interval(a, b, margin):
    low, high = min(a, b), max(a, b)
    one = contrast(low, high, margin=margin)
    said, least = one.judged[0], 0 if math.isnan(margin) else -margin
    assert said == (
        "supported" if low > least else "not supported" if high < least else "inconclusive"
    )
    own = None if math.isnan(margin) else margin
    assert said in findings.allowed(low, high, own, lacking=False)


def test_what_a_need_lacks_comes_before_every_verdict():
    one = contrast(1, 2, unmet=(Unmet("converged", "it rises"), Unmet("people", "3 people")))
    assert one.judged == ("not tested", "it rises; 3 people")
    assert one.row()["lacks"] == "converged, people"
    assert contrast(math.nan, math.nan).judged[0] == "not tested"


def test_one_training_decides_what_exceeds_two_standard_deviations():
    spread = Spread(0.1, "study 02")
    said, reason = contrast(0.1, 0.2, trainings=1, spread=spread).judged
    assert said == "inconclusive" and "0.2 dB, study 02" in reason
    assert contrast(0.2, 0.3, trainings=1, spread=spread).judged == ("supported", "")
    assert contrast(-0.3, -0.2, trainings=1, spread=spread).judged == ("not supported", "")
    assert "how far two differ in psnr is open" in contrast(1, 2, trainings=1).judged[1]
    assert contrast(0.1, 0.2, trainings=0).judged == ("supported", "")  # nothing was trained


@pytest.mark.slow
def test_a_finding_is_the_contrast_that_the_paper_prints():
    found = evaluate("01", lookup_of(of_table_2(ALL)), EVERYTHING)
    noise = found.findings["noise-costs-fidelity"]
    assert noise.estimate.value == pytest.approx(2.0, abs=0.01)
    assert noise.published == register.published_contrast("noise-costs-fidelity")
    assert noise.judged[0] == "supported" and noise.trivial  # bicubic loses as much
    assert noise.null.value == pytest.approx(2.0, abs=0.02)
    best = found.findings["dicnet-best-psnr"]
    assert best.estimate.value == pytest.approx(1.0, abs=0.02) and not best.trivial
    assert best.judged[0] == "supported" and best.people == 50 and best.trainings == 3
    assert found.findings["rcan-best-psnr-2x"].estimate.value == pytest.approx(0.1, abs=0.02)
    # its parts: a pair a method, a setting each of the best
    parts = [c for c in found.contrasts if c.finding == "noise-costs-fidelity"]
    assert [c.method for c in parts] == [
        m
        for m in register.slots(
            "2/4x/DICNet|DICGAN|WaveletSRNet|HiFaceGAN|EDSR|RDN|RCAN|HAN/psnr", "2/4x/HAN/psnr"
        )[:0]
    ] + ["DICNet", "DICGAN", "WaveletSRNet", "HiFaceGAN", "EDSR", "RDN", "RCAN", "HAN"]
    assert np.mean([c.estimate.value for c in parts]) == pytest.approx(noise.estimate.value)
    assert found.findings["dicnet-best-ssim"].judged[0] == "not tested"  # no SSIM was run
    assert found.findings["strangers-grow-alike"].unmet[0].need == "not run"


@pytest.mark.slow
def test_settings_that_were_not_run_leave_both_the_measured_and_the_published_contrast():
    found = evaluate("01", lookup_of(of_table_2(ALL, ("4x", "8x"))), EVERYTHING, absent="gone")
    best = found.findings["dicnet-best-psnr"]
    assert best.contrast == "DICNet minus the highest of 7 others at 4x, 8x"
    printed = register.difference(
        "edface",
        "2/4x|8x/DICNet/psnr",
        "max 2/4x|8x/DICGAN|WaveletSRNet|HiFaceGAN|EDSR|RDN|RCAN|HAN/psnr",
    )
    assert best.published == pytest.approx(printed) != register.published_contrast(best.finding)
    # a method that is missing at a setting that was run is another matter
    few = {m: v for m, v in ALL.items() if m != "RDN"}
    lost = evaluate("01", lookup_of(of_table_2(few)), EVERYTHING).findings
    assert lost["noise-costs-fidelity"].judged[0] == "not tested"
    assert "RDN at 4x" in lost["noise-costs-fidelity"].judged[1]


@pytest.mark.slow
def test_facts_are_asked_for_by_need_finding_and_arm():
    lookup = lookup_of(of_table_2(ALL))
    facts = EVERYTHING | {
        "converged": {("8x", "HAN"): "it rises"},
        ("one factor", "blur-raises-psnr"): "the phase differs, too",
    }
    found = evaluate("01", lookup, facts)
    assert found.findings["scale-costs-fidelity"].judged == ("not tested", "HAN (8x): it rises")
    assert found.findings["noise-costs-fidelity"].judged[0] == "supported"
    assert found.findings["blur-raises-psnr"].unmet == (
        Unmet("one factor", "the phase differs, too"),
    )
    by_method = {
        c.method: c.judged[0] for c in found.contrasts if c.finding == "scale-costs-fidelity"
    }
    assert by_method.pop("HAN") == "not tested" and set(by_method.values()) == {"supported"}
    del facts["converged"]
    silent = evaluate("01", lookup, facts).findings["noise-costs-fidelity"]
    assert silent.judged == ("not tested", "not stated: every training has converged")


def of_recognition(right, people=60):
    random, folds = np.random.default_rng(1), np.arange(2000) % 10

    def lookup(table, setting, method, metric):
        if setting != "lfw" or metric != "accuracy":
            return None
        if method == "chance":
            return cell(np.full(2000, 0.5), folds, people, trained=False)
        share = right.get(method)
        if share is None:
            return None
        return cell(random.random((3, 2000)) < share, folds, people)

    return lookup


@pytest.mark.slow
def test_an_arm_at_chance_tests_nothing_and_few_people_neither():
    facts = {n: "" for n in needs.NEEDS if n != "above chance"}
    right = {"HR / HR": 0.9, "HR / LR": 0.5, "LR / LR": 0.8}
    found = evaluate("03", of_recognition(right), facts).findings
    lost = found["lr-costs-recognition"]
    assert lost.judged == ("not tested", "HR / LR at lfw is not surely above chance")
    right["HR / LR"] = 0.7
    found = evaluate("03", of_recognition(right), facts).findings
    assert found["lr-costs-recognition"].judged[0] == "supported"
    assert not found["lr-costs-recognition"].trivial  # chance gains nothing
    few = evaluate("03", of_recognition(right, people=12), facts).findings
    assert few["lr-costs-recognition"].judged == ("not tested", "12 people, fewer than 20")


@pytest.mark.slow
def test_faces_that_a_method_loses_are_left_out_for_all_and_too_few_test_nothing():
    means = of_table_2({m: -v / 1000 for m, v in ALL.items()})
    plain = lookup_of(means)

    def lookup(lost):
        def of(table, setting, method, metric):
            one = plain(table, setting, method, "psnr") if metric == "alignment" else None
            if one is not None and method == "HiFaceGAN":
                one.values[:, : int(lost * 200)] = np.nan
            return one

        return of

    few = evaluate("01", lookup(0.2), EVERYTHING).findings["sisr-aligns-better"]
    assert "faces kept" not in [u.need for u in few.unmet]
    many = evaluate("01", lookup(0.6), EVERYTHING).findings["sisr-aligns-better"]
    assert "40 % of the faces are kept at 2x" in many.judged[1]


def test_two_families_are_set_against_families_dealt_at_random():
    found = evaluate("01", lookup_of(of_table_2(ALL)), EVERYTHING).findings
    assert found["sisr-aligns-better"].null is None  # not run
    slots = register.slots("2/4x/A|B/psnr", "2/4x/C|D/psnr")
    means = dict(zip("ABCD", (4.0, 3.0, 2.0, 1.0), strict=True))
    cells = {("2", "4x", m, "psnr"): cell([v, v], [0, 1]) for m, v in means.items()}
    null = findings._dealt(slots, cells)
    assert null.n == 6 and null.value == 0 and null.high == pytest.approx(1.875)


def test_a_question_of_ours_counts_for_no_finding():
    drawn = np.concatenate([[1.0], np.random.default_rng(0).normal(1, 0.1, 500)])
    own = findings.given("", "a minus b", drawn, people=30, metric="psnr", sentence="Is a above b?")
    found = evaluate("02", lambda *_: None, {}, [own])
    _, contrasts = found.frames("02_x", "synthetic", "quick")
    row = contrasts.iloc[-1]
    assert row["finding"] == "" and row["unit"] == "dB" and pd.isna(row["published"])
    assert set(found.findings) == {"more-faces-first-step", "more-faces-second-step"}
    few = findings.given("", "a minus b", drawn, people=3, metric="psnr", sentence="Is a above b?")
    assert evaluate("02", lambda *_: None, {}, [few]).contrasts[-1].judged[0] == "not tested"


def test_a_cell_that_was_trained_once_makes_a_contrast_of_one_training():
    once, thrice = (lookup_of(of_table_2(ALL), trainings=k) for k in (1, 3))

    def lookup(table, setting, method, metric):
        return (once if setting == "8x" else thrice)(table, setting, method, metric)

    found = evaluate("01", lookup, EVERYTHING).findings["scale-costs-fidelity"]
    assert found.trainings == 1 and found.judged[0] == "inconclusive"


def test_a_contrast_of_two_metrics_keeps_them_apart():
    level = {"accuracy": 0.9, "balanced_accuracy": 0.8}

    def lookup(_, setting, method, metric):
        constant = {"majority class": {"accuracy": 0.7, "balanced_accuracy": 0.5}}
        value = constant.get(method, level)[metric]
        trained = method not in ("majority class", "chance")
        noise = np.random.default_rng(len(method + metric)).normal(0, 0.01, (3, 200))
        return cell(value + noise, PEOPLE, trained=trained)

    found = evaluate("04", lookup, EVERYTHING).findings["accuracy-hides-minority"]
    assert found.estimate.value == pytest.approx(0.1, abs=0.005) and found.trivial
    assert found.contrast == "accuracy of ANet minus balanced_accuracy of ANet at average"


@pytest.mark.parametrize("people", (3, 50))
def test_a_metric_that_no_face_has_tests_nothing(people):
    def lookup(*_):
        return cell(np.full((1, 4 * people), math.nan), np.repeat(np.arange(people), 4))

    found = evaluate("01", lookup, EVERYTHING).findings
    assert {one.judged[0] for one in found.values()} == {"not tested"}


def of_cbn(offsets):
    lookup = lookup_of(
        {(f"PubFig {s}", m): 20 + v for s in ("8px", "5px") for m, v in offsets.items()}
    )
    return lambda table, *cell: lookup(table, *cell) if table == "cbn" else None


@pytest.mark.slow
def test_others_stand_for_rivals_that_nobody_can_run():
    lookup = of_cbn({"CBN": 1, "A+": 0, "EDSR": 0.6, "bicubic": -1})
    name = "cbn-best-very-low"
    assert "CSCN, NBF" in evaluate("07", lookup, EVERYTHING).findings[name].judged[1]
    found = evaluate("07", lookup, EVERYTHING, rivals={name: ["A+", "EDSR"]})
    one = found.findings[name]
    assert one.contrast == "CBN minus the highest of 2 others at PubFig 8px, PubFig 5px"
    assert one.estimate.value == pytest.approx(0.4, abs=0.02) and one.judged[0] == "supported"
    more = "cbn/PubFig 8px|PubFig 5px/CBN/psnr"
    less = "max cbn/PubFig 8px|PubFig 5px/A+|SRCNN|CSCN|NBF/psnr"
    assert one.published == pytest.approx(register.difference("slides", more, less))
    assert not one.trivial and one.null.value == pytest.approx(-1.6, abs=0.02)
    parts = [c for c in found.contrasts if c.finding == name]
    assert [c.setting for c in parts] == ["PubFig 8px", "PubFig 5px"]
    assert not any(math.isnan(c.published) for c in parts)


def test_a_study_says_why_a_finding_was_not_measured_and_which_part_was():
    draws = np.linspace(0.1, 0.2, 101)[None]
    name = "wider-hard-is-harder"
    part = findings.given(name, "easy minus hard", draws, people=50, published=0.25)
    absent = {"faceness-on-fddb": "no photographs"}
    found = evaluate("08", lambda *_: None, EVERYTHING, [part], absent=absent).findings
    assert found["faceness-on-fddb"].judged == ("not tested", "no photographs")
    assert found["multiscale-best-hard"].judged[1].startswith("not run here")
    assert found[name].published == 0.25
    whole = part._replace(contrast=findings.replace(part.contrast, published=math.nan))
    found = evaluate("08", lambda *_: None, EVERYTHING, [whole]).findings
    assert found[name].published == register.published_contrast(name)
