"""The second stage learns from what the first proposes; both are runs like all others."""

import numpy as np
import pytest
import torch
from conftest import disc_wider
from lrface import data, degrade, runs
from lrface.data.windows import LABELS, RANGES, boxes_of, overlaps
from lrface.errors import LrfaceError
from lrface.training import cost_model, mining, sweep

RANGE = RANGES["10-30"]


def config(method, **changes):
    fields = dict(degradation=degrade.HR, data="wider", steps=3, batch=8, lr=1e-3, loss="paper")
    return runs.Config(method=method, **(fields | changes))


def test_proposals_are_right_wrong_or_left_out():
    truth = np.array([[50.0, 50, 15, 20], [100, 50, 15, 20], [10, 10, 75, 100]])
    good = np.array([True, False, True])
    proposals = np.array([[51.0, 51, 15, 20], [101, 50, 15, 20], [200, 200, 15, 20]])
    random = np.random.default_rng(0)
    table = mining.labelled(4, proposals, truth, good, RANGE, random)
    # the second proposal is of a face that nothing is learnt from, the third is of no face; the
    # first face is shown once more, the large one belongs to another range
    assert table["face"].tolist() == [1, 1, 0] and (table["scene"] == 4).all()
    squares = table[["left", "top", "side"]].to_numpy()
    found = boxes_of(squares[:2], table.loc[:1, list(LABELS[4:])].to_numpy())
    assert overlaps(found, truth[:1]) == pytest.approx(np.ones((2, 1)))
    assert table.loc[2, list(LABELS[4:])].isna().all()
    nothing = mining.labelled(0, proposals[:0], truth[:0], good[:0], RANGE, random)
    assert len(nothing) == 0
    only_wrong = mining.labelled(0, proposals, truth[:0], good[:0], RANGE, random)
    assert only_wrong["face"].tolist() == [0, 0, 0]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["10-30", "30-120"])
def test_both_stages_are_runs(name, tmp_path, monkeypatch):
    """The second sees faces, too, where the scenes have none in its range: all are below 25 px."""
    monkeypatch.setenv("LRFACE_DATA", str(disc_wider(tmp_path)))
    train = data.load_windows("wider", name)
    first = config(f"cascade {name}")
    ref = runs.RunRef(config=first, faces=train.fingerprint)
    second = config(f"cascade {name}, second", init=ref)
    hard = mining.mined(ref)
    key = runs.key_for(second, hard)  # known before the first is trained
    with pytest.raises(LrfaceError, match="which proposes windows, is not there: train it first"):
        len(hard)
    trained, diverged = sweep.fit({"first": (first, train), "second": (second, hard)})
    assert not diverged and trained["second"].record["key"] == key
    assert trained["second"].record["data"]["fingerprint"] == hard.fingerprint
    assert (hard.labels[:, 0] == 1).any() and (hard.labels[:, 0] == 0).any()
    box = hard.labels[hard.labels[:, 0] == 1, 4:]  # the square is 1.5 times as high as the box
    assert np.median(np.exp(box[:, 3])) == pytest.approx(1 / 1.5, abs=0.08)
    again = runs.fit(second)  # by its config alone
    assert again.record["key"] == key and again.source == "cached"
    weights = [trained[name].model().state_dict() for name in ("first", "second")]
    assert weights[0].keys() != weights[1].keys()
    with pytest.raises(LrfaceError, match="name that run"):
        runs.fit(config(f"cascade {name}, second"))


def test_a_mirrored_window_has_a_mirrored_box(tmp_path, monkeypatch):
    from lrface.training.batches import TrainingData, batches
    from lrface.training.hyperparameters import Hyperparameters

    monkeypatch.setenv("LRFACE_DATA", str(disc_wider(tmp_path)))
    train = data.load_windows("wider", RANGE.name, per_class=4, negatives=4)
    how = TrainingData(
        train, degrade.HR, labels=train.labels, mirrored_labels=train.mirrored_labels
    )
    hyper = Hyperparameters(steps=2, batch=8, patch=None, lr=1e-3)
    seen = set()
    for batch in batches(how, hyper):
        for picture, label in zip(batch.hr, batch.labels, strict=True):
            originals = train.stack(range(len(train))).float() / 255
            for original, own in zip(originals, train.labels, strict=True):
                if torch.equal(picture, original) and not torch.equal(picture, original.flip(2)):
                    assert torch.allclose(label, torch.from_numpy(own), equal_nan=True)
                    seen.add("as it is")
                if torch.equal(picture, original.flip(2)) and own[0] == 1 and abs(own[4]) > 1e-3:
                    assert label[4] == -own[4] and label[5] == own[5]
                    seen.add("mirrored")
    assert seen == {"as it is", "mirrored"}


@pytest.mark.parametrize("wrong", [{"patch": 16}, {"degradation": degrade.setting("2x")}])
def test_a_detector_learns_from_whole_windows(wrong):
    with pytest.raises(ValueError, match="learns from whole windows as they are"):
        config("two-stage", **wrong)


def test_a_training_can_be_planned():
    costs = cost_model.plan([config("cascade 10-30"), config("cascade 30-120")], 1000)
    assert (costs["parameters"].iloc[0] < 60_000) and (costs["macs"] > 1e6).all()
