"""The register of findings: known contrasts, and what its check finds."""

import pytest
from lrface.report import register


@pytest.mark.slow
@pytest.mark.parametrize(
    ("finding", "contrast"),
    [
        ("vidface-above-edvr", 29.46 - 29.08),
        ("vidface-best-ijbc", 24.89 - 24.64),
        ("csri-best", 0.448 - 0.321),
        ("native-harder-than-shrunken", (0.064 + 0.189) / 2),
        ("hallucination-harms", 0.9635 - 0.9630),
        ("joint-above-separate-ytf", 0.9065 - 0.8820),
        ("rcan-best-psnr-2x", 31.42 - 31.41),
        ("more-faces-second-step", (0.28 + 0.32 + 0.28 + 0.34) / 4),
        ("accuracy-hides-minority", 0.8724 - 0.8002),
        ("tinyface-far-smaller", 119 - 20),
    ],
)
def test_a_published_contrast_is_the_papers(finding, contrast):
    assert register.published_contrast(finding) == pytest.approx(contrast, abs=1e-6)


def test_noise_costs_rcan_what_table_2_says():
    cost = register.difference("edface", "2/4x/RCAN/psnr", "2/4x_DN/RCAN/psnr")
    assert cost == pytest.approx(27.64 - 26.66)


def test_the_best_rival_is_found_in_each_setting():
    # at 2x HAN (31.41), at 4x DICNet (29.06)
    more, rivals = "2/2x|4x/RCAN/psnr", "max 2/2x/HAN|EDSR/psnr ; max 2/4x/DICNet|HAN/psnr"
    gain = register.difference("edface", more, rivals)
    assert gain == pytest.approx((31.42 + 27.64) / 2 - (31.41 + 29.06) / 2)


def test_the_register_has_no_fault():
    assert register.problems(register.registered()) == []


def test_every_paper_and_study_has_findings():
    rows = register.registered()
    assert set(rows["paper"]) == set(register.PAPERS)
    assert set(rows["study"]) == set(register.STUDIES)
    assert [*rows.columns] == [*register.COLUMNS, "published"]


def test_a_contrast_is_missing_only_where_none_is_printed():
    rows = register.registered()
    assert (rows["published"].isna() == (rows["more"] == "")).all()
    assert (rows.loc[rows["quoted"] != "", "published"].isna()).all()


@pytest.mark.parametrize("all_of_them", ["noise-costs-fidelity", "blur-raises-psnr"])
def test_what_is_said_of_every_method_holds_for_every_method(all_of_them):
    f = register.registered().set_index("id").loc[all_of_them]
    [more], [less] = register.terms(f["more"]), register.terms(f["less"])
    for method in more.methods:
        pair = (f"2/{term.settings[0]}/{method}/{f['metric']}" for term in (more, less))
        assert register.difference(f["paper"], *pair) > 0


@pytest.mark.parametrize(
    ("column", "value", "fault"),
    [
        ("id", "csri-best", "stands twice"),
        ("paper", "edvr", "paper 'edvr'"),
        ("study", "09", "study '09'"),
        ("null", "luck", "null model 'luck'"),
        ("less", "1/tufs/TDAN/psnr", "not entered: 1/tufs/TDAN/psnr"),
        ("published", -0.38, "contradicts"),
        ("more", "", "one side alone"),
        ("metric", "ssim", "another metric"),
        ("quoted", "significantly outperforming EDVR", "not both"),
        ("where", "section 4.3", "line"),
        ("needs", "trainings; luck", "need 'luck'"),
    ],
)
def test_the_check_finds_a_fault(column, value, fault):
    rows = register.registered()
    rows.loc[rows["id"] == "vidface-above-edvr", column] = value
    assert any(fault in line for line in register.problems(rows))


def test_a_term_needs_four_parts():
    with pytest.raises(ValueError, match="table/setting/method/metric"):
        register.terms("2/4x/RCAN")


def test_an_unknown_finding_is_named():
    with pytest.raises(KeyError, match="no finding 'vidface'"):
        register.published_contrast("vidface")
