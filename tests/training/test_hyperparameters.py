"""Learning-rate schedules have the milestones that the papers print."""

import pytest
from lrface.training.hyperparameters import learning_rate


def test_schedules():
    rates = [learning_rate("cosine", 1.0, s, 100) for s in range(100)]
    assert rates[0] == 0.5 and max(rates) == 1.0 and rates[-1] < 0.001
    assert [learning_rate("halve", 1.0, s, 10) for s in (0, 2, 9)] == [1.0, 0.5, 0.0625]
    assert [learning_rate("halve-once", 1.0, s, 300) for s in (0, 199, 200, 299)] == [
        1.0,
        1.0,
        0.5,
        0.5,
    ]  # EDSR: epoch 200 of 300
    early = [
        learning_rate("halve-early", 1.0, s, 150_000)
        for s in (9_999, 10_000, 20_000, 40_000, 80_000)
    ]
    assert early == [1.0, 0.5, 0.25, 0.125, 0.0625]  # DICNet's printed milestones
    drops = [
        learning_rate("drops", 1e-5, s, 28_000) for s in (0, 15_999, 16_000, 23_999, 24_000, 27_999)
    ]
    assert drops == pytest.approx(
        [1e-5, 1e-5, 1e-6, 1e-6, 1e-7, 1e-7], rel=1e-12
    )  # the joint model's printed steps
    assert [learning_rate("drops", 1.0, s, 7) for s in (3, 4, 5, 6)] == pytest.approx(
        [1, 0.1, 0.1, 0.01]
    )
    assert [learning_rate("tail", 1.0, s, 50) for s in (0, 29, 30, 40, 49)] == [
        1.0,
        1.0,
        1.0,
        0.5,
        0.05,
    ]  # HiFaceGAN: 30 + 20 epochs
